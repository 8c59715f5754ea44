//! Statuses as files, as a cluster would hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use contour_crds::HTTPProxyStatus;
use contour_disk::Batch;
use contour_graph::IngressNote;
use contour_graph::status::ProxyStatus;
use contour_objects::NamespacedName;
use serde::{Deserialize, Serialize};

use crate::problem::FileProblem;

const SUFFIX: &str = ".httpproxy.yaml";

/// The directory `status`: one file per HTTPProxy, `<namespace>/<name>.httpproxy.yaml`, and `problems.yaml`. A name over 240 characters
/// is cut, and ends in `~` and a hash of all of it.
#[derive(Debug)]
pub struct StatusFiles {
    directory: PathBuf,
    written: BTreeMap<NamespacedName, HTTPProxyStatus>,
}

/// An HTTPProxy as `kubectl get -o yaml` would show it, without its spec.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    api_version: String,
    kind: String,
    metadata: Metadata,
    status: HTTPProxyStatus,
}

#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    name: String,
    namespace: String,
    generation: i64,
}

#[derive(Serialize)]
struct Problems<'a> {
    files: &'a [FileProblem],
    ingresses: Vec<Note<'a>>,
}

#[derive(Serialize)]
struct Note<'a> {
    ingress: String,
    host: &'a str,
    message: &'a str,
}

impl StatusFiles {
    /// Statuses in `directory`, which is made when there is something to write.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), written: BTreeMap::new() }
    }

    /// Where all files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the status of an HTTPProxy is.
    pub fn path(&self, object: &NamespacedName) -> PathBuf {
        self.directory.join(&*object.namespace).join(contour_disk::file_name(&object.name, SUFFIX))
    }

    /// Writes statuses, except where a file already says so. How many were written. `now` is RFC 3339.
    ///
    /// # Errors
    /// The operating system's, for the first file that cannot be written; the next call tries again.
    pub fn set(&mut self, statuses: &[ProxyStatus], now: &str) -> io::Result<usize> {
        let (mut batch, mut said) = (Batch::default(), BTreeMap::new());
        for status in statuses {
            let path = self.path(&status.object);
            if let Some(body) = self.body(status, &path, now) {
                batch.add(path.clone(), yaml(&body)?.into_bytes());
                said.insert(path, (status.object.clone(), body.status));
            }
        }
        let failed = batch.commit();
        for (path, _) in &failed {
            said.remove(path);
        }
        let count = said.len();
        self.written.extend(said.into_values());
        match failed.into_iter().next() {
            Some((path, error)) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            None => Ok(count),
        }
    }

    /// What the file of a status is to hold, if it holds anything else.
    fn body(&self, status: &ProxyStatus, path: &Path, now: &str) -> Option<Body> {
        let existing = self.written.get(&status.object).cloned().or_else(|| read(path)).unwrap_or_default();
        Some(Body {
            api_version: "projectcontour.io/v1".to_owned(),
            kind: "HTTPProxy".to_owned(),
            metadata: Metadata {
                name: status.object.name.to_string(),
                namespace: status.object.namespace.to_string(),
                generation: status.generation,
            },
            status: status.merge(&existing, now)?,
        })
    }

    /// Removes the file of an HTTPProxy, if there is one.
    ///
    /// # Errors
    /// The operating system's.
    pub fn remove(&mut self, object: &NamespacedName) -> io::Result<()> {
        self.written.remove(object);
        match fs::remove_file(self.path(object)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the files of all other HTTPProxies, those of earlier processes included.
    ///
    /// # Errors
    /// The operating system's, for the first file that cannot be removed.
    pub fn retain(&mut self, objects: &BTreeSet<NamespacedName>) -> io::Result<()> {
        self.written.retain(|object, _| objects.contains(object));
        let keep: BTreeSet<PathBuf> = objects.iter().map(|object| self.path(object)).collect();
        for namespace in entries(&self.directory)?.into_iter().filter(|path| path.is_dir()) {
            let files = entries(&namespace)?;
            let ours = files.iter().filter(|path| path.to_string_lossy().ends_with(SUFFIX));
            for path in ours.filter(|path| !keep.contains(*path)) {
                fs::remove_file(path)?;
            }
            // Fails where something is left in it, which is right.
            let _ = fs::remove_dir(&namespace);
        }
        Ok(())
    }

    /// Writes `problems.yaml`: what is wrong with the files at present, and what Ingresses have to tell, which have no status for it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn problems(&self, files: &[FileProblem], ingresses: &[&IngressNote]) -> io::Result<()> {
        let path = self.directory.join("problems.yaml");
        let notes = ingresses.iter().map(|note| Note {
            ingress: note.ingress.to_string(),
            host: &note.host,
            message: &note.message,
        });
        let text = yaml(&Problems { files, ingresses: notes.collect() })?;
        if fs::read(&path).is_ok_and(|existing| existing == text.as_bytes()) {
            return Ok(());
        }
        contour_disk::replace(&path, text.as_bytes())
    }
}

fn read(path: &Path) -> Option<HTTPProxyStatus> {
    serde_saphyr::from_str::<Body>(&fs::read_to_string(path).ok()?).ok().map(|body| body.status)
}

fn yaml(value: &impl Serialize) -> io::Result<String> {
    serde_saphyr::to_string(value).map_err(io::Error::other)
}

/// Paths in a directory; none where it does not exist.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match directory.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

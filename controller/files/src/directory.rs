//! All files of a directory together: which objects there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use contour_crds::ContourDeployment;
use contour_objects::{Event, Kind, Namespace, NamespacedName, Object, ObjectRef, Proxy, Scope};

use crate::document::{Content, Document, Key};
use crate::file::{File, Standing};
use crate::generations::Generations;
use crate::patience::Moment;
use crate::problem::{FileProblem, Severity};
use crate::walk::{Walk, identity, read, walk};

/// The most files that are read of a directory.
const MOST_FILES: usize = 100_000;
/// The most bytes that are read of a directory, ten times what 10,000 hosts with certificates and all `kubectl get -o yaml` adds take.
const MOST_BYTES: u64 = 1 << 30;

/// A directory of YAML, its objects and its problems. Reading does IO and nothing else waits: call it where blocking is fine.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    state: Option<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    generations: Generations,
    objects: BTreeMap<ObjectRef, Object>,
    told: Option<BTreeMap<ObjectRef, Object>>,
    scans: u64,
    patient: bool,
    most: (usize, u64),
}

/// What a directory says, apart from the objects themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Everything that is wrong, by file and line.
    pub problems: Vec<FileProblem>,
    /// The ContourDeployment, if there is one.
    pub deployment: Option<Deployment>,
    /// Every HTTPProxy: the objects that have a status.
    pub proxies: BTreeSet<NamespacedName>,
    /// Every Ingress.
    pub ingresses: BTreeSet<NamespacedName>,
    /// How many objects there are of each kind, implied Namespaces included.
    pub counts: BTreeMap<Kind, usize>,
}

/// A ContourDeployment and where it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// The file, relative to the directory.
    pub file: PathBuf,
    /// The line it starts in.
    pub line: u32,
    /// What it says.
    pub object: Arc<ContourDeployment>,
}

/// Where a document is.
type Place<'a> = (&'a Path, &'a Document);

impl Directory {
    /// A directory, not read yet. Generations are kept in `state`, whose files are not read as objects.
    pub fn new(root: impl Into<PathBuf>, state: Option<PathBuf>) -> Self {
        let generations = Generations::open(state.as_ref().map(|state| state.join("generations.json")));
        let (files, objects) = (BTreeMap::new(), BTreeMap::new());
        let most = (MOST_FILES, MOST_BYTES);
        Self { root: root.into(), state, files, generations, objects, told: None, scans: 0, patient: false, most }
    }

    /// Keeps what vanishes from the files for a few seconds, in case they are only being written: the objects of a file that became
    /// empty for ten seconds, which is told; those of a file that is gone, or that are not in their file any more, for two.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Which directory the path leads to at present.
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        identity(&self.root)
    }

    /// The directory whose files are no objects.
    pub(crate) fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    /// Reads all files, and parses those that changed.
    pub fn scan(&mut self) -> Report {
        self.scan_at(Instant::now())
    }

    /// When to read the directory again although nothing changes: something ends then that only stayed for a while.
    pub fn due(&self) -> Option<Instant> {
        self.files.values().filter_map(File::due).min()
    }

    /// Reads all files, and parses those that changed, at a time that does not go back.
    pub fn scan_at(&mut self, now: Instant) -> Report {
        self.scans += 1;
        let moment = Moment { now, scan: self.scans, patient: self.patient };
        let mut problems = self.read(moment);
        problems.extend(self.files.values().flat_map(|file| file.problems.clone()));
        let (documents, repeated) = merge(&self.files);
        problems.extend(repeated);
        let (deployment, superfluous) = only_deployment(&documents);
        problems.extend(superfluous);
        self.objects = objects_of(documents.values().map(|(_, document)| *document), &mut self.generations);
        let proxies = names(&self.objects, Kind::HttpProxy);
        if let Err(error) = self.generations.settle(&proxies) {
            tracing::warn!(%error, "cannot write generations.json: generations start over after a restart");
        }
        let mut counts = BTreeMap::new();
        self.objects.keys().for_each(|reference| *counts.entry(reference.kind).or_default() += 1);
        problems.sort();
        let ingresses = names(&self.objects, Kind::Ingress);
        Report { problems, deployment, proxies, ingresses, counts }
    }

    /// Takes in what every file says now, one after the other; what is wrong with those that cannot be read.
    fn read(&mut self, moment: Moment) -> Vec<FileProblem> {
        let Walk { files, mut unreadable } = walk(&self.root, self.state.as_deref());
        let (mut seen, mut unread) = (BTreeSet::new(), None);
        let (mut files_left, mut bytes_left) = self.most;
        for path in &files {
            match read(&self.root.join(path)) {
                Ok(None) => continue,
                Err(why) => drop(unreadable.insert(path.clone(), why)),
                Ok(Some(content)) if files_left == 0 || content.len() as u64 > bytes_left => {
                    unread = Some(path);
                    break;
                }
                Ok(Some(content)) => {
                    (files_left, bytes_left) = (files_left - 1, bytes_left - content.len() as u64);
                    self.files.entry(path.clone()).or_default().update(path, &content, moment);
                }
            }
            seen.insert(path);
        }
        let mut problems: Vec<_> = unread.iter().map(|path| self.too_many(path, &files, moment)).collect();
        let gone = |path: &PathBuf| {
            !seen.contains(path)
                && !unread.is_some_and(|first| path >= first)
                && !unreadable.keys().any(|way| path.starts_with(way))
        };
        self.files.retain(|path, file| !gone(path) || file.missing(moment));
        problems.extend(unreadable.iter().map(|(path, why)| self.refuse(path, why, moment)));
        problems
    }

    /// Leaves the files that are beyond the bounds of a directory as they were.
    fn too_many(&mut self, first: &Path, found: &BTreeSet<PathBuf>, moment: Moment) -> FileProblem {
        let rest = found.iter().filter(|path| path.as_path() >= first).count();
        let (files, bytes) = self.most;
        let message = format!(
            "is not read, and {} files after it are not: a directory may have {files} files and {} MiB; this one has {} files. Move what \
             is no configuration out of it",
            rest - 1,
            bytes >> 20,
            found.len()
        );
        let below = self.files.iter_mut().filter(|(file, _)| file.as_path() >= first);
        let kept = below.map(|(_, file)| file.unreadable(moment)).fold(false, |any, kept| any | kept);
        let severity = Severity::Error;
        FileProblem { file: first.to_owned(), line: 0, object: None, severity, kept, message }
    }

    /// Leaves every file below a path that cannot be read as it was.
    fn refuse(&mut self, path: &Path, why: &str, moment: Moment) -> FileProblem {
        let below = self.files.iter_mut().filter(|(file, _)| file.starts_with(path));
        let kept = below.map(|(_, file)| file.unreadable(moment)).fold(false, |any, kept| any | kept);
        FileProblem {
            file: if path.as_os_str().is_empty() { self.root.clone() } else { path.to_owned() },
            line: 0,
            object: None,
            severity: Severity::Error,
            kept,
            message: why.to_owned(),
        }
    }

    /// What changed since the last call: one `Replace` of every kind at first, and differences afterwards.
    pub fn events(&mut self) -> Vec<Event> {
        let Some(told) = self.told.replace(self.objects.clone()) else { return self.everything() };
        let gone =
            told.keys().filter(|reference| !self.objects.contains_key(reference)).cloned().map(Event::Delete);
        let changed = self.objects.iter().filter(|(reference, object)| told.get(reference) != Some(object));
        changed.map(|(_, object)| Event::Apply(object.clone())).chain(gone).collect()
    }

    fn everything(&self) -> Vec<Event> {
        let of =
            |kind| self.objects.iter().filter(move |(r, _)| r.kind == kind).map(|(_, o)| o.clone()).collect();
        Kind::ALL.into_iter().map(|kind| Event::Replace(Scope { kind, namespace: None }, of(kind))).collect()
    }

    /// The scopes of the first [`Directory::events`]: what has to arrive before anything is served.
    pub fn scopes() -> Vec<Scope> {
        Kind::ALL.into_iter().map(|kind| Scope { kind, namespace: None }).collect()
    }
}

fn names(objects: &BTreeMap<ObjectRef, Object>, kind: Kind) -> BTreeSet<NamespacedName> {
    objects
        .keys()
        .filter(|reference| reference.kind == kind)
        .map(|reference| reference.name.clone())
        .collect()
}

/// All documents by object. The first of two about the same object applies; one that only stays from before yields to all others.
fn merge(files: &BTreeMap<PathBuf, File>) -> (BTreeMap<&Key, Place<'_>>, Vec<FileProblem>) {
    let mut documents: BTreeMap<&Key, Place<'_>> = BTreeMap::new();
    let mut problems = Vec::new();
    let all = |of: fn(&File) -> &Vec<Standing>| {
        files.iter().flat_map(move |(path, file)| of(file).iter().map(move |standing| (path.as_path(), standing)))
    };
    for (path, Standing { document, .. }) in all(|file| &file.fresh) {
        let Some((first, earlier)) = documents.get(&document.key) else {
            documents.insert(&document.key, (path, document));
            continue;
        };
        let message = format!("is already defined at {}:{}, which applies", first.display(), earlier.line);
        problems.push(problem_with(path, document, message));
    }
    if files.values().any(|file| !file.kept.is_empty()) {
        let claims = claims(all(|file| &file.fresh).map(|(_, fresh)| fresh));
        for (path, kept) in all(|file| &file.kept).filter(|(_, kept)| !taken(kept, &claims)) {
            documents.entry(&kept.document.key).or_insert((path, &kept.document));
        }
    }
    (documents, problems)
}

/// Who names a host now, and since which reading.
type Claims<'a> = BTreeMap<String, Vec<&'a Standing>>;

fn claims<'a>(fresh: impl Iterator<Item = &'a Standing>) -> Claims<'a> {
    let mut claims = Claims::new();
    for standing in fresh {
        for host in standing.document.hosts() {
            claims.entry(host).or_default().push(standing);
        }
    }
    claims
}

/// Whether something took the place of a document that only stays for a while: an object that came when it left, or later, names a
/// host of it, as when an object is renamed. Two of one host would spoil each other.
fn taken(kept: &Standing, claims: &Claims<'_>) -> bool {
    let takes = |other: &&Standing| other.scan >= kept.scan && other.document.key != kept.document.key;
    let lost = |host: &String| claims.get(host).is_some_and(|others| others.iter().any(|other| takes(&other)));
    kept.until.is_some() && kept.document.hosts().iter().any(lost)
}

fn problem_with(path: &Path, document: &Document, message: String) -> FileProblem {
    FileProblem {
        file: path.to_owned(),
        line: document.line,
        object: Some(document.key.to_string()),
        severity: Severity::Error,
        kept: false,
        message,
    }
}

/// The ContourDeployment that applies, the first by file and line, and a problem for each other one.
fn only_deployment(documents: &BTreeMap<&Key, Place<'_>>) -> (Option<Deployment>, Vec<FileProblem>) {
    let mut all: Vec<_> = documents
        .values()
        .filter_map(|(path, document)| match &document.content {
            Content::Deployment(object) => Some((*path, document.line, *document, object)),
            _ => None,
        })
        .collect();
    all.sort_by_key(|(path, line, ..)| (*path, *line));
    let Some((file, line, first, object)) = all.first() else { return (None, Vec::new()) };
    let deployment = Deployment { file: file.to_path_buf(), line: *line, object: Arc::clone(object) };
    let message = format!("only one can apply, and {} at {}:{line} does", first.key, file.display());
    let others = all[1..].iter().map(|(path, _, document, _)| problem_with(path, document, message.clone()));
    (Some(deployment), others.collect())
}

/// The objects of documents, HTTPProxies with their generation, and a Namespace for every namespace that is used.
fn objects_of<'a>(
    documents: impl Iterator<Item = &'a Document>,
    generations: &mut Generations,
) -> BTreeMap<ObjectRef, Object> {
    let mut objects = BTreeMap::new();
    for document in documents {
        let object = match &document.content {
            Content::Object(object) => object.clone(),
            Content::Proxy(proxy, digest) => {
                let generation = generations.of(&proxy.name, *digest);
                Object::HttpProxy(Arc::new(Proxy { generation, ..Proxy::clone(proxy) }))
            }
            Content::Deployment(_) | Content::Unused => continue,
        };
        objects.insert(object.reference(), object);
    }
    let used: BTreeSet<_> = objects.keys().map(|reference| Arc::clone(&reference.name.namespace)).collect();
    for namespace in used.into_iter().filter(|namespace| !namespace.is_empty()) {
        let name = NamespacedName::new("", Arc::clone(&namespace));
        let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_string())]);
        let implied = || Object::Namespace(Arc::new(Namespace { name: name.clone(), labels }));
        objects.entry(ObjectRef::new(Kind::Namespace, name.clone())).or_insert_with(implied);
    }
    objects
}

//! All files of a directory together: which objects there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use contour_crds::ContourDeployment;
use contour_objects::{Event, Kind, Namespace, NamespacedName, Object, ObjectRef, Proxy, Scope};

use crate::document::{Content, Document, Key};
use crate::file::File;
use crate::generations::Generations;
use crate::problem::{FileProblem, Severity};
use crate::walk::{Walk, identity, read, walk};

/// A directory of YAML, its objects and its problems. Reading does IO and nothing else waits: call it where blocking is fine.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    state: Option<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    generations: Generations,
    objects: BTreeMap<ObjectRef, Object>,
    told: Option<BTreeMap<ObjectRef, Object>>,
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
        Self { root: root.into(), state, files, generations, objects, told: None }
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

    /// When to read the directory again although nothing changes: a file that became empty loses its objects then.
    pub fn due(&self) -> Option<Instant> {
        self.files.values().filter_map(File::due).min()
    }

    /// Reads all files at a time that does not go back.
    pub fn scan_at(&mut self, now: Instant) -> Report {
        let mut problems = self.read(now);
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

    /// Takes in what every file says now; what is wrong with those that cannot be read.
    fn read(&mut self, now: Instant) -> Vec<FileProblem> {
        let Walk { files, mut unreadable } = walk(&self.root, self.state.as_deref());
        let mut seen = BTreeSet::new();
        for path in files {
            match read(&self.root.join(&path)) {
                Ok(None) => continue,
                Err(why) => drop(unreadable.insert(path.clone(), why)),
                Ok(Some(content)) => self.files.entry(path.clone()).or_default().update(&path, &content, now),
            }
            seen.insert(path);
        }
        // What is below a directory that cannot be read may still be there.
        let hidden = |path: &Path| unreadable.keys().any(|way| path.starts_with(way));
        self.files.retain(|path, _| seen.contains(path) || hidden(path));
        unreadable.iter().map(|(path, why)| self.refuse(path, why)).collect()
    }

    /// Leaves every file below a path that cannot be read as it was.
    fn refuse(&mut self, path: &Path, why: &str) -> FileProblem {
        let below = self.files.iter_mut().filter(|(file, _)| file.starts_with(path));
        let kept = below.map(|(_, file)| file.unreadable()).fold(false, |any, kept| any | kept);
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
    for (path, document) in files.iter().flat_map(|(path, file)| file.fresh.iter().map(move |d| (path, d))) {
        let Some((first, earlier)) = documents.get(&document.key) else {
            documents.insert(&document.key, (path, document));
            continue;
        };
        let message = format!("is already defined at {}:{}, which applies", first.display(), earlier.line);
        problems.push(problem_with(path, document, message));
    }
    for (path, document) in files.iter().flat_map(|(path, file)| file.kept.iter().map(move |d| (path, d))) {
        documents.entry(&document.key).or_insert((path, document));
    }
    (documents, problems)
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

//! Directories step by step: what is read from files, and what is told about them.
//!
//! Each case of `cases/` is a text: `== name` begins a step, `-- file --` a file; a file with the sole word `(delete)` is removed. The
//! snapshot of a case holds what each step told.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use contour_files::{Directory, StatusFiles};
use contour_graph::status::{Issue, ProxyStatus};
use contour_objects::{Event, NamespacedName, Object};

#[test]
fn every_case_tells_what_its_snapshot_says() {
    insta::glob!("cases/*.txt", |path| {
        let root = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(root.path(), Some(root.path().join(".contour")));
        let mut told = String::new();
        for step in fs::read_to_string(path).unwrap().split("== ").skip(1) {
            let (name, files) = step.split_once('\n').unwrap();
            writeln!(told, "== {name}").unwrap();
            files.split("-- ").skip(1).for_each(|file| put(root.path(), file));
            let report = directory.scan();
            report
                .problems
                .iter()
                .for_each(|problem| writeln!(told, "{:?}: {problem}", problem.severity).unwrap());
            if let Some(deployment) = &report.deployment {
                writeln!(told, "settings from {}:{}", deployment.file.display(), deployment.line).unwrap();
            }
            directory.events().iter().for_each(|event| tell(&mut told, event));
        }
        insta::assert_snapshot!(told);
    });
}

fn put(root: &Path, file: &str) {
    let (name, content) = file.split_once(" --\n").unwrap();
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match content.trim() {
        "(delete)" => fs::remove_file(path).unwrap(),
        link if link.starts_with("(link ") => {
            std::os::unix::fs::symlink(link.trim_start_matches("(link ").trim_end_matches(')'), path)
                .unwrap();
        }
        _ => fs::write(path, content).unwrap(),
    }
}

fn tell(told: &mut String, event: &Event) {
    match event {
        Event::Apply(object) => writeln!(told, "+ {}", summary(object)),
        Event::Delete(reference) => writeln!(told, "- {reference}"),
        Event::Replace(_, objects) if objects.is_empty() => Ok(()),
        Event::Replace(scope, objects) => {
            writeln!(told, "= {}: {}", scope.kind, objects.iter().map(summary).collect::<Vec<_>>().join(", "))
        }
    }
    .unwrap();
}

fn summary(object: &Object) -> String {
    match object {
        Object::HttpProxy(proxy) => format!("{} (generation {})", object.reference(), proxy.generation),
        _ => object.reference().to_string(),
    }
}

const PROXY: &str = "{apiVersion: projectcontour.io/v1, kind: HTTPProxy, metadata: {name: NAME}, spec: {virtualhost: {fqdn: HOST}}}";

fn proxy(name: &str, host: &str) -> String {
    PROXY.replace("NAME", name).replace("HOST", host)
}

#[test]
fn an_unreadable_directory_keeps_what_it_held() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("team")).unwrap();
    fs::write(root.path().join("team/a.yaml"), proxy("a", "a.example.com")).unwrap();
    let mut directory = Directory::new(root.path(), None);
    assert_eq!(directory.scan().proxies.len(), 1);
    fs::rename(root.path().join("team"), root.path().join("moved")).unwrap();
    std::os::unix::fs::symlink("team", root.path().join("team")).unwrap();
    let report = directory.scan();
    assert!(report.problems.iter().any(|p| p.file.starts_with("team")), "{:?}", report.problems);
    assert_eq!(report.proxies.len(), 1);
    drop(directory.events());
    fs::rename(root.path(), root.path().with_extension("gone")).unwrap();
    let report = directory.scan();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(directory.events().is_empty(), "a directory that is gone changes nothing");
    fs::rename(root.path().with_extension("gone"), root.path()).unwrap();
}

#[test]
fn a_file_that_is_empty_for_a_moment_keeps_its_objects() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.yaml");
    let mut directory = Directory::new(root.path(), None);
    let start = Instant::now();
    let mut step = |content: Option<&str>, seconds| {
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let report = directory.scan_at(start + Duration::from_secs(seconds));
        let told: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
        (report.proxies.len(), told.join("\n"), directory.due().map(|due| due - start))
    };
    let object = proxy("a", "a.example.com");
    assert_eq!(step(Some(&object), 0), (1, String::new(), None));
    // `helm template > a.yaml`: nothing, then what has no document yet, then all of it.
    let (proxies, told, due) = step(Some(""), 1);
    assert_eq!((proxies, due), (1, Some(Duration::from_secs(11))));
    assert!(told.contains("is empty now; if it stays so for 10 seconds"), "{told}");
    assert_eq!(step(Some("---\n# Source: chart/a.yaml\n"), 9).0, 1);
    assert_eq!(step(Some(&object), 10), (1, String::new(), None));
    // It stays empty, whatever is written into it that is no document: the time is not counted anew.
    assert_eq!(step(Some("\n"), 20).0, 1);
    assert_eq!(step(Some("# none\n"), 29), (1, told, Some(Duration::from_secs(30))));
    let ended = (0, "a.yaml: is empty: what it held is gone".to_owned(), None);
    assert_eq!(step(Some("# none\n"), 30), ended);
    assert_eq!(step(Some("# none\n"), 60), ended);
    // What is deleted, and a list that says that there is nothing, is meant so.
    assert_eq!(step(Some(&object), 61).0, 1);
    assert_eq!(step(Some("{apiVersion: v1, kind: List, items: []}"), 62), (0, String::new(), None));
    assert_eq!(step(Some(&object), 63).0, 1);
    assert_eq!(step(None, 64), (0, String::new(), None));
    // A file that is empty from the start is nothing to tell.
    assert_eq!(step(Some(""), 65), (0, String::new(), None));
}

#[test]
fn bytes_in_lines_are_taken_in_every_file() {
    let root = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata:\n  ca.crt: |\n    aGVs\n    bG8=\n  tls.crt: \"aGVs\\r\\nbG8=\\r\\n\"\n  tls.key: aGVsbG8=\n";
    fs::write(root.path().join("a.yaml"), text).unwrap();
    fs::write(root.path().join("b.yaml"), text.replace("name: a", "name: b").replace("bG8=", "bG 8="))
        .unwrap();
    let mut directory = Directory::new(root.path(), None);
    let problems: Vec<_> = directory.scan().problems.iter().map(ToString::to_string).collect();
    assert!(
        problems.len() == 3 && problems.iter().all(|p| p.contains("this has blanks in it")),
        "{problems:?}"
    );
    let objects = directory.events().into_iter().flat_map(|event| match event {
        Event::Replace(_, objects) => objects,
        _ => Vec::new(),
    });
    let secrets: Vec<_> = objects
        .filter_map(|object| match object {
            Object::Secret(secret) => Some(secret),
            _ => None,
        })
        .collect();
    // Both were decoded: there is something in them, which is no certificate.
    assert!(matches!(secrets[..], [ref a] if [a.tls.is_err(), a.ca.is_err()] == [true, true]));
    let told = format!("{:?} {:?}", secrets[0].tls, secrets[0].ca);
    assert!(!told.contains("Missing"), "{told}");
}

#[test]
fn a_fifo_does_not_block() {
    let root = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(root.path().join("x.yaml")).status().unwrap();
    assert!(made.success());
    let report = Directory::new(root.path(), None).scan();
    assert_eq!(report.problems[0].to_string(), "x.yaml: is not a regular file");
}

#[test]
fn generations_survive_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let state = Some(root.path().join("state"));
    let mut told = String::new();
    for host in ["a.example.com", "b.example.com", "b.example.com", "c.example.com"] {
        fs::write(root.path().join("a.yaml"), proxy("a", host)).unwrap();
        let mut directory = Directory::new(root.path(), state.clone());
        directory.scan();
        directory.events().iter().for_each(|event| tell(&mut told, event));
    }
    let generations: Vec<_> = told.lines().filter(|line| line.contains("HTTPProxy:")).collect();
    assert_eq!(
        generations,
        [1, 2, 2, 3].map(|g| format!("= HTTPProxy: HTTPProxy default/a (generation {g})"))
    );
}

#[tokio::test]
async fn a_watch_tells_changes_and_not_its_own_state() {
    let root = tempfile::tempdir().unwrap();
    let (events, mut received) = tokio::sync::mpsc::channel(64);
    let (reports, mut reported) = tokio::sync::watch::channel(contour_files::Report::default());
    let stop = tokio_util::sync::CancellationToken::new();
    let directory = Directory::new(root.path(), Some(root.path().join(".contour")));
    let watching = tokio::spawn(contour_files::watch(directory, events, reports, stop.clone()));
    for _ in Directory::scopes() {
        assert!(matches!(received.recv().await, Some(Event::Replace(_, objects)) if objects.is_empty()));
    }
    // As editors do it: a new file takes the place of the old one.
    fs::write(root.path().join("a.yaml.swp"), proxy("a", "a.example.com")).unwrap();
    fs::rename(root.path().join("a.yaml.swp"), root.path().join("a.yaml")).unwrap();
    let mut told = BTreeSet::new();
    for _ in 0..2 {
        let Some(Event::Apply(object)) = within(received.recv()).await else { panic!("not applied") };
        told.insert(object.reference().to_string());
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["HTTPProxy default/a", "Namespace default"]);
    // As kubelet does it for ConfigMaps: the files are links through a link that is swapped.
    for (version, host) in [("1", "b.example.com"), ("2", "c.example.com")] {
        fs::create_dir(root.path().join(format!("..{version}"))).unwrap();
        fs::write(root.path().join(format!("..{version}/b.yaml")), proxy("b", host)).unwrap();
        std::os::unix::fs::symlink(format!("..{version}"), root.path().join("..new")).unwrap();
        fs::rename(root.path().join("..new"), root.path().join("..data")).unwrap();
        if version == "1" {
            std::os::unix::fs::symlink("..data/b.yaml", root.path().join("b.yaml")).unwrap();
        }
        let Some(Event::Apply(object)) = within(received.recv()).await else { panic!("not applied") };
        assert_eq!(summary(&object), format!("HTTPProxy default/b (generation {version})"));
    }
    fs::write(root.path().join("a.yaml"), "{").unwrap();
    within(reported.wait_for(|report| !report.problems.is_empty())).await.unwrap();
    assert_eq!(reported.borrow().proxies.len(), 2);
    stop.cancel();
    within(watching).await.unwrap();
    assert!(received.recv().await.is_none(), "nothing else was told");
}

#[tokio::test]
async fn a_directory_that_is_missing_is_found_when_it_appears() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("late");
    let (events, mut received) = tokio::sync::mpsc::channel(64);
    let (reports, mut reported) = tokio::sync::watch::channel(contour_files::Report::default());
    let stop = tokio_util::sync::CancellationToken::new();
    let watching =
        tokio::spawn(contour_files::watch(Directory::new(&root, None), events, reports, stop.clone()));
    within(reported.wait_for(|report| report.problems.len() == 1)).await.unwrap();
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), proxy("a", "a.example.com")).unwrap();
    within(reported.wait_for(|report| report.proxies.len() == 1)).await.unwrap();
    // From here on it is watched, not polled.
    fs::write(root.join("b.yaml"), proxy("b", "b.example.com")).unwrap();
    within(reported.wait_for(|report| report.proxies.len() == 2)).await.unwrap();
    let mut told = Vec::new();
    while told.len() < Directory::scopes().len() + 3 {
        told.push(within(received.recv()).await.unwrap());
    }
    stop.cancel();
    within(watching).await.unwrap();
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(20), future).await.expect("it happens in time")
}

#[test]
fn statuses_are_written_as_a_cluster_holds_them_and_only_when_they_change() {
    let state = tempfile::tempdir().unwrap();
    let object = NamespacedName::new("team", "www");
    let errors = vec![Issue::new("RouteError", "ServiceUnresolvedReference", "Service \"x\" is missing")];
    let mut status =
        ProxyStatus { object: object.clone(), generation: 2, errors, warnings: Vec::new(), holds: None };
    let mut files = StatusFiles::new(state.path());
    assert_eq!(files.set(std::slice::from_ref(&status), "2030-01-02T03:04:05Z").unwrap(), 1);
    assert_eq!(files.set(std::slice::from_ref(&status), "2030-01-02T03:04:06Z").unwrap(), 0);
    insta::assert_snapshot!(fs::read_to_string(files.path(&object)).unwrap());
    // Another process goes on where this one stopped.
    let mut files = StatusFiles::new(state.path());
    assert_eq!(files.set(std::slice::from_ref(&status), "2030-01-02T03:04:07Z").unwrap(), 0);
    status.generation = 3;
    assert_eq!(files.set(std::slice::from_ref(&status), "2030-01-02T03:04:08Z").unwrap(), 1);
    let text = fs::read_to_string(files.path(&object)).unwrap();
    assert!(text.contains("observedGeneration: 3") && text.contains("2030-01-02T03:04:05Z"), "{text}");
    files.retain(&BTreeSet::new()).unwrap();
    assert!(!state.path().join("team").exists());
}

#[test]
fn the_longest_names_have_statuses_of_their_own() {
    let state = tempfile::tempdir().unwrap();
    let mut files = StatusFiles::new(state.path());
    let namespace = "n".repeat(63);
    let names = [239, 240, 241, 252].map(|length| format!("{}a", "x".repeat(length)));
    let names = names.into_iter().chain([format!("{}b", "x".repeat(252))]);
    let objects: BTreeSet<_> = names.map(|name| NamespacedName::new(namespace.as_str(), name)).collect();
    let statuses: Vec<_> = objects.iter().map(|object| status(object, 1)).collect();
    assert_eq!(files.set(&statuses, "2030-01-02T03:04:05Z").unwrap(), 5);
    for object in &objects {
        assert!(fs::read_to_string(files.path(object)).unwrap().contains(&*object.name));
    }
    // Another process knows its own.
    let mut files = StatusFiles::new(state.path());
    assert_eq!(files.set(&statuses, "2030-01-02T03:04:06Z").unwrap(), 0);
    files.retain(&objects).unwrap();
    assert_eq!(state.path().join(&namespace).read_dir().unwrap().count(), 5);
}

fn status(object: &NamespacedName, generation: i64) -> ProxyStatus {
    ProxyStatus { object: object.clone(), generation, errors: Vec::new(), warnings: Vec::new(), holds: None }
}

//! Runs `scripts/*.yaml`: objects change, and a client that speaks delta xDS is sent exactly what each step says.
//!
//! A step does one thing: `apply` (YAML documents; with `repeat`, once for each number in place of `{n}`), `delete` (`HTTPProxy team/www`),
//! `relist` (every kind is listed anew, as after a lost watch), `reconnect` (a new stream that says what it has). `expect` lists what is
//! sent, in order: `+cds name`, `~rds name [+host ~host -host]`, `-eds name`, and `=eds name` for what is sent again. `statuses` lists what is told to owners of HTTPProxies.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contour::engine::News;
use contour_files::Directory;
use contour_objects::{Event, Kind, NamespacedName, Object, ObjectRef, Scope};
use serde::Deserialize;

use support::peer::Peer;
use support::pipeline::Pipeline;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    /// What is shown.
    about: String,
    steps: Vec<Step>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Step {
    apply: Option<String>,
    repeat: Option<usize>,
    delete: Vec<String>,
    relist: bool,
    reconnect: bool,
    expect: Option<Vec<String>>,
    statuses: Option<Vec<String>>,
}

/// The objects of documents, as the embedded mode reads them.
fn parse(documents: &str) -> Vec<Object> {
    let home = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(home.path().join("step.yaml"), documents).expect("it can be written to");
    let mut directory = Directory::new(home.path(), None);
    let problems = directory.scan().problems;
    assert!(problems.is_empty(), "{problems:?}");
    let listed = directory.events().into_iter().flat_map(|event| match event {
        Event::Replace(_, objects) => objects,
        Event::Apply(object) => vec![object],
        Event::Delete(_) => Vec::new(),
    });
    listed.collect()
}

fn reference(text: &str) -> ObjectRef {
    let (kind, name) = text.split_once(' ').expect("a kind and a name");
    let kind = Kind::ALL.into_iter().find(|k| k.as_str() == kind).expect("a kind the store holds");
    ObjectRef::new(kind, NamespacedName::parse(name, &"".into()))
}

/// The objects as a source knows them.
#[derive(Default)]
struct World(BTreeMap<ObjectRef, Object>);

impl World {
    fn events(&mut self, step: &Step) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(documents) = &step.apply {
            let documents: Vec<String> = match step.repeat {
                None => vec![documents.clone()],
                Some(count) => (0..count).map(|n| documents.replace("{n}", &n.to_string())).collect(),
            };
            for object in parse(&documents.join("\n---\n")) {
                self.0.insert(object.reference(), object.clone());
                events.push(Event::Apply(object));
            }
        }
        for text in &step.delete {
            let reference = reference(text);
            assert!(self.0.remove(&reference).is_some(), "there is no {text}");
            events.push(Event::Delete(reference));
        }
        if step.relist {
            let of = |kind| self.0.iter().filter(move |(r, _)| r.kind == kind).map(|(_, o)| o.clone());
            events.extend(
                Kind::ALL.map(|kind| Event::Replace(Scope { kind, namespace: None }, of(kind).collect())),
            );
        }
        events
    }
}

fn statuses(news: &[News]) -> Vec<String> {
    let changed = news.iter().flat_map(|n| &n.statuses);
    let mut lines: Vec<String> =
        changed.map(|status| format!("{} {}", status.object, status.state().as_str())).collect();
    lines.extend(news.iter().flat_map(|n| &n.gone).map(|name| format!("{name} gone")));
    lines.sort();
    lines
}

async fn run(path: &Path) {
    let text = std::fs::read_to_string(path).expect("a readable script");
    let script: Script = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut pipeline = Pipeline::start();
    let mut world = World::default();
    // The empty configuration: what exists whatever is served.
    pipeline.step([]);
    let mut peer = Peer::new(pipeline.address, pipeline.cache.clone(), pipeline.nodes.clone());
    peer.connect().await;
    for (at, step) in script.steps.iter().enumerate() {
        let place = format!("{} ({}), step {}", path.display(), script.about.trim(), at + 1);
        let before = pipeline.cache.snapshot().sequence();
        let news = pipeline.step(world.events(step));
        let published = pipeline.cache.snapshot().sequence() != before;
        let sent = if step.reconnect { peer.connect().await } else { peer.follow().await };
        if let Some(expected) = &step.expect {
            assert_eq!(&sent, expected, "{place}: what is sent (left) is not what is expected (right)");
            // Nothing is published for nothing, either.
            assert!(
                published || !sent.iter().any(|line| line.starts_with(['+', '~'])) || step.reconnect,
                "{place}"
            );
            assert!(!published || !expected.is_empty(), "{place}: something was published, but not sent");
        }
        if let Some(expected) = &step.statuses {
            assert_eq!(&statuses(&news), expected, "{place}: what owners are told");
        }
    }
}

#[tokio::test]
async fn every_script_is_followed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let entries = std::fs::read_dir(&root).unwrap();
    let mut scripts: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 8, "the scripts are in {}", root.display());
    for script in scripts {
        run(&script).await;
    }
}

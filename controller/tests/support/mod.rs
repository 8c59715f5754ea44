//! A directory of YAML, taken through every pure stage.

#![allow(dead_code)] // Each test file uses a part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contour::engine::everything;
use contour_envoy::Assembly;
use contour_files::Directory;
use contour_graph::model::VirtualHost;
use contour_graph::status::ProxyStatus;
use contour_graph::{Graph, IngressNote, Settings};
use contour_objects::{Changes, Store};
use contour_resource::{Resource, ResourceType, Transaction};

/// Where the cases are.
pub fn golden_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every case: a directory with an `in.yaml`.
pub fn cases() -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for feature in std::fs::read_dir(golden_root()).unwrap() {
        let Ok(inner) = std::fs::read_dir(feature.unwrap().path()) else { continue };
        cases.extend(inner.map(|case| case.unwrap().path()).filter(|case| case.join("in.yaml").exists()));
    }
    cases.sort();
    cases
}

/// Settings of the cases: stock, with ExternalName Services on, so that their rules show.
pub fn settings() -> Settings {
    Settings { external_names: true, ..Settings::default() }
}

/// The results of every stage.
pub struct Built {
    pub store: Store,
    pub hosts: Vec<Arc<VirtualHost>>,
    pub statuses: Vec<ProxyStatus>,
    pub notes: Vec<IngressNote>,
    pub problems: Vec<String>,
    pub transaction: Transaction,
}

impl Built {
    /// Reads and builds a directory.
    pub fn from_directory(path: &Path) -> Self {
        let mut directory = Directory::new(path, None);
        let report = directory.scan();
        let mut store = Store::default();
        for event in directory.events() {
            store.apply(event, &mut Changes::default());
        }
        let mut graph = Graph::new(settings());
        let update = graph.update(&store, &everything(&store));
        let mut assembly = Assembly::new(contour_envoy::Settings::default());
        let mut transaction = assembly.initial();
        let hosts = assembly.hosts(&store, update.hosts.iter().cloned());
        transaction.set.extend(hosts.set);
        let mut statuses = update.statuses;
        statuses.sort_by(|a, b| a.object.cmp(&b.object));
        Self {
            store,
            hosts: update.hosts.into_iter().filter_map(|(_, host)| host).collect(),
            statuses,
            notes: update.notes,
            problems: report.problems.iter().map(ToString::to_string).collect(),
            transaction,
        }
    }

    /// The resources that depend on the input, by type and name.
    pub fn resources(&self) -> Vec<(ResourceType, Arc<Resource>)> {
        let mut resources: BTreeMap<(ResourceType, Arc<str>), Arc<Resource>> = BTreeMap::new();
        let always = ["envoy-admin", "stats-health", "dynamic"];
        for (kind, resource) in &self.transaction.set {
            if !always.contains(&&**resource.name()) {
                resources.insert((*kind, Arc::clone(resource.name())), Arc::clone(resource));
            }
        }
        resources.into_iter().map(|((kind, _), resource)| (kind, resource)).collect()
    }
}

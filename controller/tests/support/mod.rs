//! What the tests of the whole pipeline share.

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod judge;
pub(crate) mod peer;
pub(crate) mod pipeline;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contour::cli::{Cli, Command};
use contour::config::{ConfigFile, Environment, resolve};
use contour::engine::everything;
use contour_envoy::Assembly;
use contour_files::Directory;
use contour_graph::model::VirtualHost;
use contour_graph::status::ProxyStatus;
use contour_graph::{Graph, IngressNote, Settings};
use contour_objects::{Changes, Store};
use contour_resource::{Resource, ResourceType, Transaction};

/// Where the cases are.
pub(crate) fn golden_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every case: a directory with an `in.yaml`.
pub(crate) fn cases() -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for feature in std::fs::read_dir(golden_root()).expect("the cases are there") {
        let feature = feature.expect("a readable entry").path();
        let Ok(inner) = std::fs::read_dir(feature) else { continue };
        let inner = inner.map(|case| case.expect("a readable entry").path());
        cases.extend(inner.filter(|case| case.join("in.yaml").exists()));
    }
    cases.sort();
    cases
}

/// Settings of a case: those of [`settings`], and what the flags of `contour serve` in its file `flags` say.
fn settings_of(case: &Path) -> Settings {
    let Ok(flags) = std::fs::read_to_string(case.join("flags")) else { return settings() };
    let words = ["contour", "serve", "--insecure"].into_iter().chain(flags.split_whitespace());
    let cli = Cli::of(words.map(OsString::from)).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
    let Command::Serve(args) = cli.command else { panic!("not serve") };
    let file = ConfigFile { enable_external_name_service: Some(true), ..ConfigFile::default() };
    let resolved = resolve(&args, &file, &Environment::default());
    resolved.unwrap_or_else(|e| panic!("{}: {e:?}", case.display())).graph
}

/// Settings of the cases: stock, with ExternalName Services on, so that their rules show.
pub(crate) fn settings() -> Settings {
    Settings { external_names: true, ..Settings::default() }
}

/// The results of every pure stage.
pub(crate) struct Built {
    pub(crate) hosts: Vec<Arc<VirtualHost>>,
    pub(crate) statuses: Vec<ProxyStatus>,
    pub(crate) notes: Vec<IngressNote>,
    pub(crate) problems: Vec<String>,
    pub(crate) transaction: Transaction,
}

impl Built {
    /// Reads and builds a directory.
    pub(crate) fn from_directory(path: &Path) -> Self {
        let mut directory = Directory::new(path, None);
        let report = directory.scan();
        let mut store = Store::default();
        for event in directory.events() {
            store.apply(event, &mut Changes::default());
        }
        let mut graph = Graph::new(settings_of(path));
        let update = graph.update(&store, &everything(&store));
        let mut assembly = Assembly::new(contour_envoy::Settings::default());
        let mut transaction = assembly.initial();
        let hosts = assembly.hosts(&store, update.hosts.iter().cloned());
        transaction.set.extend(hosts.set);
        let mut statuses = update.statuses;
        statuses.sort_by(|a, b| a.object.cmp(&b.object));
        Self {
            hosts: update.hosts.into_iter().filter_map(|(_, host)| host).collect(),
            statuses,
            notes: update.notes,
            problems: report.problems.iter().map(ToString::to_string).collect(),
            transaction,
        }
    }

    /// The resources that depend on the input, by type and name.
    pub(crate) fn resources(&self) -> Vec<(ResourceType, Arc<Resource>)> {
        let mut resources: BTreeMap<(ResourceType, Arc<str>), Arc<Resource>> = BTreeMap::new();
        let always = ["envoy-admin", "stats-health", "dynamic", "trial"];
        for (kind, resource) in &self.transaction.set {
            if !always.contains(&&**resource.name()) {
                resources.insert((*kind, Arc::clone(resource.name())), Arc::clone(resource));
            }
        }
        resources.into_iter().map(|((kind, _), resource)| (kind, resource)).collect()
    }
}

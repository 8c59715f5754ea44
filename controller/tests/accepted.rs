//! A real Envoy accepts every golden state: each case's world replaces the one before it, so that what goes away is accepted, too.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contour_e2e::envoy::{Envoy, Launch};
use contour_e2e::wait::eventually;
use contour_resource::{Resource, ResourceType, Transaction};
use contour_xds::Snapshot;
use serde_json::Value;

use support::pipeline::Pipeline;
use support::{cases, golden_root};

/// A case takes a fraction of a second; on a loaded machine it may take its time.
const DEADLINE: Duration = Duration::from_secs(30);

type Versions = BTreeMap<String, String>;

/// The resources of a type and their versions, as published.
fn published(snapshot: &Snapshot, kind: ResourceType) -> Versions {
    let resources = snapshot.table(kind).iter();
    resources.map(|resource| (resource.name().to_string(), resource.version_text())).collect()
}

/// The entries of a list in one section of `/config_dump`: name and version.
fn held(dump: &Value, section: &str, list: &str, name: &str, version: &str) -> Versions {
    let sections = dump["configs"].as_array().into_iter().flatten();
    let entries = sections.filter(|s| s["@type"].as_str().is_some_and(|t| t.ends_with(section)));
    let entries = entries.flat_map(|s| s[list].as_array().into_iter().flatten());
    let text = |entry: &Value, path: &str| entry.pointer(path).and_then(Value::as_str).map(str::to_owned);
    entries.filter_map(|entry| Some((text(entry, name)?, text(entry, version).unwrap_or_default()))).collect()
}

/// Each active listener with the names its filter chains are for. The version is of no use: an update in place keeps the one before.
fn filter_chains(dump: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let sections = dump["configs"].as_array().into_iter().flatten();
    let listeners = sections.flat_map(|s| s["dynamic_listeners"].as_array().into_iter().flatten());
    // One that drains has a name, but no active state.
    let active = listeners.filter_map(|l| Some((l["name"].as_str()?, l.pointer("/active_state/listener")?)));
    let chains = active.map(|(name, listener)| {
        let chains = listener["filter_chains"].as_array().into_iter().flatten();
        let names =
            chains.flat_map(|c| c["filter_chain_match"]["server_names"].as_array().into_iter().flatten());
        (name.to_owned(), names.filter_map(Value::as_str).map(str::to_owned).collect())
    });
    chains.collect()
}

/// Each RouteConfiguration that active listeners refer to.
fn referred_routes(dump: &Value) -> BTreeSet<String> {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                names.extend(fields.get("route_config_name").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| collect(value, names));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    let sections = dump["configs"].as_array().into_iter().flatten();
    for listener in sections.flat_map(|s| s["dynamic_listeners"].as_array().into_iter().flatten()) {
        collect(&listener["active_state"], &mut names);
    }
    names
}

/// The listeners with the names of their filter chains, as published: a filter chain is a part of its listener, named after its host.
fn published_chains(snapshot: &Snapshot) -> BTreeMap<String, BTreeSet<String>> {
    let listeners = snapshot.table(ResourceType::Listener).iter();
    let chains = listeners.map(|listener| {
        let hosts = listener.parts().iter().map(|part| part.id.to_string()).filter(|id| !id.is_empty());
        (listener.name().to_string(), hosts.collect())
    });
    chains.collect()
}

/// Fails, with what is missing, until Envoy holds exactly what is published.
fn ensure_held(dump: &Value, snapshot: &Snapshot) -> Result<()> {
    let clusters =
        held(dump, ".ClustersConfigDump", "dynamic_active_clusters", "/cluster/name", "/version_info");
    let wanted = published(snapshot, ResourceType::Cluster);
    ensure!(clusters == wanted, "Envoy has clusters {clusters:?}, published are {wanted:?}");
    let listeners = filter_chains(dump);
    let wanted = published_chains(snapshot);
    ensure!(listeners == wanted, "Envoy has listeners {listeners:?}, published are {wanted:?}");
    let routes =
        held(dump, ".RoutesConfigDump", "dynamic_route_configs", "/route_config/name", "/version_info");
    let mut wanted_routes = published(snapshot, ResourceType::Route);
    // Envoy asks only for what its listeners refer to.
    let referred = referred_routes(dump);
    wanted_routes.retain(|name, _| referred.contains(name));
    ensure!(
        wanted_routes.len() == referred.len(),
        "Envoy refers to routes {referred:?}, not all are published"
    );
    let secrets = held(dump, ".SecretsConfigDump", "dynamic_active_secrets", "/name", "/version_info");
    let wanted_secrets = published(snapshot, ResourceType::Secret);
    // What drains may still hold more of these.
    for (what, has, wants) in [("routes", routes, wanted_routes), ("secrets", secrets, wanted_secrets)] {
        for (name, version) in wants {
            ensure!(has.get(&name) == Some(&version), "Envoy has {what} {has:?}, not {name} {version}");
        }
    }
    Ok(())
}

/// Fails unless everything sent was accepted.
async fn ensure_accepted(pipeline: &Pipeline, envoy: &Envoy) -> Result<()> {
    ensure!(pipeline.facts.present().is_empty(), "Envoy rejects {:#?}", pipeline.facts.present());
    let rejected = envoy.rejected_updates().await?;
    ensure!(rejected.is_empty(), "Envoy rejected updates: {rejected:?}");
    Ok(())
}

/// Publishes a directory in place of what there was, and waits until Envoy has it.
async fn accept(pipeline: &mut Pipeline, envoy: &Envoy, directory: &Path) -> Result<()> {
    pipeline.replace_by(directory);
    let snapshot = pipeline.cache.snapshot();
    let done = eventually(DEADLINE, || async {
        // Final: no use in waiting for the deadline.
        if let Err(rejected) = ensure_accepted(pipeline, envoy).await {
            return Ok(Err(rejected));
        }
        let nodes = pipeline.nodes.snapshot();
        let node = nodes.first().context("Envoy is not connected")?;
        for of in &node.types {
            ensure!(!of.in_flight && of.pending == 0, "{} is not settled: {of:?}", of.kind.short());
        }
        ensure_held(&envoy.config_dump().await?, &snapshot).map(Ok)
    });
    match done.await {
        Ok(accepted) => accepted?,
        Err(late) => {
            // What Envoy still waits for.
            let waiting = envoy.get("/init_dump").await?;

            return Err(late).with_context(|| format!("{waiting}\n{:#?}", pipeline.nodes.snapshot()));
        }
    }
    ensure_accepted(pipeline, envoy).await
}

async fn envoy_for(pipeline: &Pipeline) -> Result<(tempfile::TempDir, Envoy)> {
    let home = tempfile::tempdir()?;
    let files = pipeline.bootstrap(home.path()).render()?;
    let launch = Launch::bootstrap(files.bootstrap.to_string()).node("accepted", "contour");
    // What was removed is to go away while the test looks.
    let envoy = launch.args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"]).start().await?;
    Ok((home, envoy))
}

#[tokio::test]
async fn envoy_accepts_every_golden_state() -> Result<()> {
    let mut pipeline = Pipeline::start();
    pipeline.step([]);
    let (_home, envoy) = envoy_for(&pipeline).await?;
    envoy.ready().await?;
    let mut directories = cases();
    directories.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/standalone"));
    let mut failures = Vec::new();
    for directory in &directories {
        if let Err(error) = accept(&mut pipeline, &envoy, directory).await {
            let case = directory.strip_prefix(golden_root()).unwrap_or(directory);
            failures.push(format!("{}: {error:#}", case.display()));
            if failures.len() == 3 {
                break; // Enough to see what is wrong.
            }
        }
    }
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), envoy.process().log_tail());
    Ok(())
}

/// What the test above stands on.
#[tokio::test]
async fn a_refusal_is_noticed() -> Result<()> {
    let mut pipeline = Pipeline::start();
    pipeline.step([]);
    let (_home, envoy) = envoy_for(&pipeline).await?;
    envoy.ready().await?;
    ensure_accepted(&pipeline, &envoy).await?;
    // A Cluster without a name.
    let nameless = Arc::new(Resource::whole("nameless", Vec::new()));
    pipeline.cache.commit(Transaction { set: vec![(ResourceType::Cluster, nameless)], remove: Vec::new() });
    let refusal = eventually(DEADLINE, || async {
        let refusal = ensure_accepted(&pipeline, &envoy).await.err();
        refusal.context("nothing was refused")
    });
    let refusal = refusal.await?.to_string();
    ensure!(refusal.contains("cds nameless") || refusal.contains("update_rejected"), "{refusal}");
    Ok(())
}

//! A real kube-apiserver takes every child, and keeps every field of it as it is: nothing is refused, dropped or replaced by a default.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use contour_crds::{ContourDeployment, all_crds};
use contour_e2e::apiserver::{self, ApiServer};
use contour_operator::adoption::Adopted;
use contour_operator::build::{Inputs, build};
use contour_operator::child::Child;
use contour_operator::defaults::Defaults;
use contour_operator::names::{FIELD_MANAGER, Names};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

#[tokio::test]
async fn every_child_is_taken_as_it_is() -> Result<()> {
    let Some(server) = apiserver::require().await else { return Ok(()) };
    server.install_crds(&all_crds()).await?;
    let client = server.client().await?;
    for name in ["shop", "blog", "roots"] {
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    }
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build");
    let mut taken = 0;
    for entry in std::fs::read_dir(cases)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "yaml") {
            take(server, &client, &file).await.with_context(|| file.display().to_string())?;
            taken += 1;
        }
    }
    ensure!(taken > 8, "only {taken} cases are left");
    Ok(())
}

async fn take(server: &ApiServer, client: &Client, file: &Path) -> Result<()> {
    let namespace = server.namespace("build").await?;
    let spec: Value = serde_saphyr::from_str(&std::fs::read_to_string(file)?)?;
    let metadata = json!({ "name": "site", "namespace": namespace });
    let deployment: ContourDeployment = serde_json::from_value(json!({
        "apiVersion": "operator.projectcontour.io/v1alpha1", "kind": "ContourDeployment",
        "metadata": metadata, "spec": spec
    }))?;
    let deployments: Api<ContourDeployment> = Api::namespaced(client.clone(), &namespace);
    let deployment = deployments.create(&PostParams::default(), &deployment).await?;
    let names = Names::of(&deployment).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let defaults = Defaults {
        contour_image: "example/contour:v1".to_owned(),
        envoy_image: "example/envoy:v1".to_owned(),
        agent_image: "example/contour:v1".to_owned(),
        version: "1.0.0".to_owned(),
        namespace: "contour-operator".to_owned(),
    };
    let inputs = Inputs {
        deployment: &deployment,
        names: &names,
        defaults: &defaults,
        kept: None,
        addresses: &[],
        adopted: &Adopted::NOTHING,
    };
    for child in build(&inputs).all() {
        take_child(client, child).await.with_context(|| child.reference().to_string())?;
    }
    Ok(())
}

async fn take_child(client: &Client, child: &Child) -> Result<()> {
    let (resource, reference) = (child.kind.resource(), child.reference());
    let api: Api<DynamicObject> = match &reference.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    // Ports of nodes belong to one Service at a time, and classes to one case at a time.
    let params = PatchParams::apply(FIELD_MANAGER).force().dry_run();
    let live = api.patch(&reference.name, &params, &Patch::Apply(&child.object)).await?;
    kept("", &serde_json::to_value(&child.object)?, &serde_json::to_value(&live)?)
}

/// Every field that was sent is there as it was sent. Lists have as many items.
fn kept(path: &str, sent: &Value, live: &Value) -> Result<()> {
    match (sent, live) {
        (Value::Object(sent), Value::Object(live)) => {
            for (key, value) in sent {
                let live = live.get(key).with_context(|| format!("{path}.{key} is dropped"))?;
                kept(&format!("{path}.{key}"), value, live)?;
            }
            Ok(())
        }
        (Value::Array(sent), Value::Array(live)) => {
            ensure!(sent.len() == live.len(), "{path} has {} items for {}", live.len(), sent.len());
            sent.iter()
                .zip(live)
                .enumerate()
                .try_for_each(|(at, (sent, live))| kept(&format!("{path}[{at}]"), sent, live))
        }
        _ => {
            ensure!(sent == live, "{path} is {live} for {sent}");
            Ok(())
        }
    }
}

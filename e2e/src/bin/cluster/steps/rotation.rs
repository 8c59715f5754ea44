//! Certificates, and their authority, that last for a minute or two.

use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_e2e::wait::eventually;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::others::OTHERS;
use crate::objects::{CONTOUR_DEPLOYMENT, POD};
use crate::traffic::Traffic;
use crate::world::World;

/// How long the next change of an authority may take that lasts two minutes.
const ROTATION: Duration = Duration::from_mins(3);

/// While traffic runs, the authority is replaced twice and every certificate with it. No request fails, no pod restarts, and
/// Envoy goes on taking configuration: a route made after the first authority has ended is served.
pub(crate) async fn authority(world: &World) -> Result<()> {
    for node in &world.nodes {
        node.http(8180, "rotating.example.com").until_answered().await?;
    }
    let before = containers(world).await?;
    let traffic = Traffic::start(world.nodes.iter().map(|node| node.http(8180, "rotating.example.com")));
    let first = authority_after(world, None).await?;
    let second = authority_after(world, Some(&first)).await?;
    let third = authority_after(world, Some(&second)).await?;
    anyhow::ensure!(third != first, "the first authority came back");
    let host = "rotated.example.com";
    world.objects.apply(include_str!("../manifests/rotated.yaml")).await?;
    for node in &world.nodes {
        node.http(8180, host).until_answered().await?;
    }
    let after = eventually(crate::world::CHANGE, || containers(world)).await?;
    anyhow::ensure!(before == after, "containers changed: {before} became {after}");
    println!("      {} requests, none failed", traffic.finish()?);
    Ok(())
}

/// The fingerprint of the authority that issues, once it is another than this one.
async fn authority_after(world: &World, previous: Option<&str>) -> Result<String> {
    eventually(ROTATION, || async {
        let object = world.objects.get(CONTOUR_DEPLOYMENT, OTHERS, "rotating").await?;
        let certificates = &object["status"]["certificates"];
        let issuing = certificates["authority"]["sha256"].as_str();
        anyhow::ensure!(
            issuing.is_some() && issuing != previous,
            "the status of certificates is {certificates}"
        );
        Ok(issuing.unwrap_or_default().to_owned())
    })
    .await
    .context("the authority is not replaced")
}

/// The containers of the installation that rotates.
async fn containers(world: &World) -> Result<Value> {
    let labels = "operator.projectcontour.io/contourdeployment-name=rotating";
    let mut pods = Vec::new();
    for pod in world.objects.list(POD, labels).await? {
        let statuses = pod.data["status"]["containerStatuses"].as_array();
        let ids: Vec<&Value> = statuses.into_iter().flatten().map(|status| &status["containerID"]).collect();
        pods.push(json!([pod.name_any(), ids]));
    }
    pods.sort_by_key(ToString::to_string);
    anyhow::ensure!(!pods.is_empty(), "no pods have the label {labels}");
    Ok(Value::Array(pods))
}

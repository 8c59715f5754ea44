//! Another version of Contour, under an Envoy that does not notice.

use anyhow::Result;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::serve::{self, APPS};
use crate::objects::{CONTOUR_DEPLOYMENT, DAEMON_SET, Objects, POD};
use crate::traffic::Traffic;
use crate::world::{EDGE, World};

/// Changes Contour's image: its pods are replaced, not one request fails, and Envoy's pods and template stay as they are.
pub(crate) async fn contour(world: &World) -> Result<()> {
    let traffic = Traffic::start(serve::probes(world));
    let before = envoy_state(&world.objects).await?;
    let next = &world.images.operator_next;
    world
        .objects
        .merge(CONTOUR_DEPLOYMENT, EDGE.0, EDGE.1, &json!({"spec": {"contour": {"image": next}}}))
        .await?;
    let object = world.until_well(EDGE).await?;
    let images = &object["status"]["contour"]["images"];
    anyhow::ensure!(*images == json!([next]), "Contour's pods run {images} and not {next}");
    // The Envoys follow the new Contours: a route that only those know is served.
    let route = include_str!("../manifests/after-upgrade.yaml");
    world.objects.apply(route).await?;
    for node in &world.nodes {
        node.http(80, "after-upgrade.example.com").until_answered().await?;
    }
    let after = envoy_state(&world.objects).await?;
    anyhow::ensure!(before == after, "Envoy's pods or template changed: {before} became {after}");
    println!("      {} requests, none failed", traffic.finish()?);
    Ok(())
}

/// What must not change: the template, and which pods and containers run.
async fn envoy_state(objects: &Objects) -> Result<Value> {
    let daemon_set = objects.get(DAEMON_SET, EDGE.0, "envoy-edge").await?;
    let pods = pods(objects, "envoy").await?;
    Ok(
        json!({"template": daemon_set["spec"]["template"], "generation": daemon_set["metadata"]["generation"], "pods": pods}),
    )
}

/// The pods of a component with their containers, by which one sees whether any was replaced or restarted.
pub(crate) async fn pods(objects: &Objects, component: &str) -> Result<Vec<Value>> {
    let labels = format!(
        "app.kubernetes.io/component={component},operator.projectcontour.io/contourdeployment-name={}",
        EDGE.1
    );
    let mut pods = Vec::new();
    for pod in objects.list(POD, &labels).await? {
        let containers: Vec<&Value> = ["containerStatuses", "initContainerStatuses"]
            .iter()
            .flat_map(|kind| pod.data["status"][kind].as_array().into_iter().flatten())
            .map(|container| &container["containerID"])
            .collect();
        pods.push(json!([pod.name_any(), pod.metadata.uid, containers]));
    }
    anyhow::ensure!(!pods.is_empty(), "no pods have the labels {labels} in {APPS}");
    pods.sort_by_key(ToString::to_string);
    Ok(pods)
}

//! Definitions of ours that are missing: a state that is told, and no hang.

use anyhow::Result;
use contour_crds::all_crds;
use contour_e2e::apiserver::{self, ApiServer};
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::ChildKind;
use contour_operator::status::condition;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn an_operator_starts_and_uninstalls_without_definitions() -> Result<()> {
    if apiserver::require().await.is_none() {
        return Ok(());
    }
    let api = ApiServer::start().await?;
    let world = World::new(&api, "undefined").await?;
    let first = world.operator();
    world.create("edge", json!({})).await?;
    world.settled(&first, "edge").await?;
    first.stop().await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let configurations = "contourconfigurations.projectcontour.io";
    definitions.delete(configurations, &DeleteParams::default()).await?;
    eventually(SOON, || async {
        anyhow::ensure!(definitions.get_opt(configurations).await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;

    let _second = world.operator();
    let degraded = world.condition("edge", condition::DEGRADED, true, "NotFound").await?;
    assert!(degraded.message.contains("if its definition is missing"), "{}", degraded.message);
    api.install_crds(&all_crds()).await?;
    world.complete("edge").await?;

    definitions.delete(configurations, &DeleteParams::default()).await?;
    world.deployments().delete("edge", &DeleteParams::default()).await?;
    world.gone("edge").await?;
    let binding = format!("contour.served.{}.edge", world.namespace);
    for (kind, name) in [
        (ChildKind::Deployment, "contour-edge"),
        (ChildKind::DaemonSet, "envoy-edge"),
        (ChildKind::Secret, "contour-ca-edge"),
        (ChildKind::ClusterRoleBinding, binding.as_str()),
    ] {
        let child = world.child(kind, name);
        assert!(!world.exists(&child).await?, "{child} is left");
    }
    Ok(())
}

//! Connections that died without a sign, and a definition that went away and came back.

use std::time::Duration;

use anyhow::Result;
use contour_crds::all_crds;
use contour_e2e::apiserver::{self, ApiServer};
use contour_e2e::relay::Relay;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::{ClientSource, HungRequests, always_leading, connect};
use contour_operator::child::ChildKind;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use std::sync::Arc;

use crate::support::{Operator, World};

/// Half a minute, and as much again for a machine with other things to do.
const BLIND: Duration = Duration::from_mins(1);

#[tokio::test]
async fn what_is_deleted_while_connections_are_dead_comes_again() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "dead").await?;
    let relay = Relay::to(api).await?;
    let client = connect(&ClientSource::Kubeconfig(relay.kubeconfig()), &HungRequests::default()).await?;
    let operator = Operator::start(&client, &[&world.namespace], always_leading(), Arc::new(Timestamp::now));
    world.create("edge", json!({})).await?;
    world.settled(&operator, "edge").await?;

    relay.silence();
    let child = world.child(ChildKind::Service, "envoy-edge");
    world.api(&child).delete(&child.name, &DeleteParams::default()).await?;
    eventually(BLIND, || async {
        anyhow::ensure!(world.exists(&child).await?, "{child} is not there");
        Ok(())
    })
    .await?;
    assert!(operator.sum("contour_operator_errors_total{category=\"Unreachable\"}") > 0);
    Ok(())
}

#[tokio::test]
async fn a_definition_that_comes_back_is_taken_up() -> Result<()> {
    if apiserver::require().await.is_none() {
        return Ok(());
    }
    let api = ApiServer::start().await?;
    let world = World::new(&api, "defined").await?;
    let operator = world.operator();
    world.create("before", json!({})).await?;
    world.settled(&operator, "before").await?;
    world.deployments().delete("before", &DeleteParams::default()).await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    definitions.delete("contourdeployments.operator.projectcontour.io", &DeleteParams::default()).await?;
    // As long as it takes pauses that grow to be long.
    eventually(2 * SOON, || async {
        let asked = operator.sum("contour_operator_errors_total{category=\"NotFound\"}");
        anyhow::ensure!(asked >= 6, "asked for it {asked} times");
        Ok(())
    })
    .await?;
    api.install_crds(&all_crds()).await?;
    eventually(SOON, || async { world.create("after", json!({})).await }).await?;
    world.complete("after").await?;
    Ok(())
}

//! A node that is lost takes nothing from what serves, and holds nothing up.

use anyhow::Result;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::status::condition;
use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn a_lost_node_keeps_nothing_from_being_complete() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "lost").await?;
    let other = api.namespace("lost-other").await?;
    let operator = world.operator();
    world.create("edge", json!({"contour": {"watchNamespaces": [world.namespace, other]}})).await?;
    world.settled(&operator, "edge").await?;
    let ready = async |expected: &str| {
        eventually(SOON, || async {
            let status = world.status("edge").await?;
            let pods = [status.contour, status.envoy].map(|component| component.and_then(|c| c.pods));
            anyhow::ensure!(pods.iter().flatten().all(|pods| pods == expected), "{pods:?}");
            Ok(())
        })
        .await
    };

    world.kubelet.lose(1).await?;
    ready("1/2").await?;
    operator.look_again(&world, "edge").await?;
    world.complete("edge").await?;
    world.condition("edge", condition::DEGRADED, false, "AsExpected").await?;

    // What is changed comes to its end on the nodes that are there, and what is not needed any more goes.
    world
        .change(
            "edge",
            json!({
                "contour": {"watchNamespaces": [world.namespace], "autoscaling": null, "logLevel": "debug"},
                "envoy": {"logLevel": "debug", "updateStrategy": {"maxUnavailable": 1}},
            }),
        )
        .await?;
    let name = format!("contour.served.{}.edge", world.namespace);
    world
        .until(&ChildRef { kind: ChildKind::RoleBinding, namespace: Some(other.clone()), name }, false)
        .await?;
    world.complete("edge").await?;
    Ok(())
}

#[tokio::test]
async fn rights_are_revoked_whatever_is_rolled_out_meanwhile() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "revoked").await?;
    let (first, second) = (api.namespace("revoked-a").await?, api.namespace("revoked-b").await?);
    let operator = world.operator();
    world.create("edge", json!({"contour": {"watchNamespaces": [world.namespace, first, second]}})).await?;
    world.settled(&operator, "edge").await?;
    let revoked = async |namespace: &String| {
        let name = format!("contour.served.{}.edge", world.namespace);
        let binding = ChildRef { kind: ChildKind::RoleBinding, namespace: Some(namespace.clone()), name };
        world.until(&binding, false).await
    };

    // Envoy does not come to an end.
    world.kubelet.hold("envoy-edge", json!({}));
    world
        .change(
            "edge",
            json!({
                "contour": {"watchNamespaces": [world.namespace, first]}, "envoy": {"logLevel": "debug"},
            }),
        )
        .await?;
    revoked(&second).await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutEnvoy").await?;

    // Contour fails to.
    world.kubelet.hold(
        "contour-edge",
        json!({"containerStatuses": [{
            "name": "contour", "image": "example/contour:v1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no such key"}},
        }]}),
    );
    world.change("edge", json!({"contour": {"watchNamespaces": [world.namespace]}})).await?;
    world.condition("edge", condition::DEGRADED, true, "CreateContainerConfigError").await?;
    revoked(&first).await
}

//! `NetworkPolicies`: they come when what they let in runs, and never before.

use anyhow::Result;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::ChildKind;
use contour_operator::status::condition;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::World;

/// Who reaches the xDS port; `None`: there is no policy.
async fn xds(world: &World) -> Result<Option<Value>> {
    let policy = world.child(ChildKind::NetworkPolicy, "contour-edge");
    let found = world.api(&policy).get_opt(&policy.name).await?;
    Ok(found.map(|found| found.data["spec"]["ingress"][0]["from"].clone()))
}

#[tokio::test]
async fn nobody_is_shut_out_by_policies_on_their_way() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "guarded").await?;
    let operator = world.operator();
    let (contour, envoy) = (
        world.child(ChildKind::NetworkPolicy, "contour-edge"),
        world.child(ChildKind::NetworkPolicy, "envoy-edge"),
    );

    // On the network of nodes nothing can tell Envoys: xDS is open.
    world.create("edge", json!({"networkPolicies": {}})).await?;
    world.settled(&operator, "edge").await?;
    assert_eq!(xds(&world).await?, Some(Value::Null));
    assert!(!world.exists(&envoy).await?);

    // While Envoys leave the nodes, those that are there still come from nodes.
    world.kubelet.hold("envoy-edge", json!({"phase": "Pending"}));
    world.change("edge", json!({"publishing": {"type": "ClusterIPService"}})).await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutEnvoy").await?;
    assert_eq!(xds(&world).await?, Some(Value::Null));
    assert!(!world.exists(&envoy).await?);
    world.kubelet.release("envoy-edge").await?;
    world.complete("edge").await?;
    world.until(&envoy, true).await?;
    let envoys = xds(&world).await?.unwrap_or_default();
    assert_eq!(envoys[0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"], "envoy");
    let before = world.still(&operator, "edge").await?;

    // What somebody lets in beside is taken out again.
    let wide = json!({"spec": {"ingress": [{}]}});
    world.api(&contour).patch("contour-edge", &PatchParams::default(), &Patch::Merge(wide)).await?;
    eventually(SOON, || async {
        anyhow::ensure!(xds(&world).await?.as_ref() == Some(&envoys), "it is as somebody made it");
        Ok(())
    })
    .await?;
    let after = world.still(&operator, "edge").await?;
    assert_eq!(after.len(), before.len());

    // Back to the nodes: open before the first Envoy goes there.
    world.kubelet.hold("envoy-edge", json!({"phase": "Pending"}));
    world.change("edge", json!({"publishing": {"type": "HostNetwork"}})).await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutEnvoy").await?;
    assert_eq!(xds(&world).await?, Some(Value::Null));
    world.kubelet.release("envoy-edge").await?;
    world.complete("edge").await?;
    world.change("edge", json!({"networkPolicies": null})).await?;
    world.until(&contour, false).await
}

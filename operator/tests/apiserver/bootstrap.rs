//! A pod of Envoy finds the bootstrap that it was made with for as long as it is there.

use anyhow::Result;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::ChildKind;
use contour_operator::status::condition;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::World;

/// The names of the `ConfigMap`s with bootstraps.
async fn maps(world: &World) -> Result<Vec<String>> {
    let children = world.children("edge").await?;
    Ok(children
        .into_keys()
        .filter(|child| child.kind == ChildKind::ConfigMap)
        .map(|child| child.name)
        .collect())
}

#[tokio::test]
async fn a_bootstrap_stays_while_a_pod_uses_it() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "bootstrap").await?;
    let operator = world.operator();
    world.create("edge", json!({})).await?;
    world.settled(&operator, "edge").await?;
    let first = maps(&world).await?;
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].starts_with("envoy-bootstrap-edge-"), "{first:?}");

    world.kubelet.hold("envoy-edge", json!({}));
    world.change("edge", json!({"envoy": {"overload": {"maxHeapBytes": 1_000_000_000}}})).await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutEnvoy").await?;
    operator.look_again(&world, "edge").await?;
    let both = maps(&world).await?;
    assert!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
    let map = world.api(&world.child(ChildKind::ConfigMap, &first[0])).get(&first[0]).await?;
    let edit = Patch::Merge(json!({"data": {"envoy.json": "{}"}}));
    let edited = world.api(&world.child(ChildKind::ConfigMap, &first[0]));
    let refused = edited.patch(&map.name_any(), &PatchParams::default(), &edit).await.unwrap_err();
    assert!(refused.to_string().contains("immutable"), "{refused}");

    world.kubelet.release("envoy-edge").await?;
    world.complete("edge").await?;
    eventually(SOON, || async {
        let left = maps(&world).await?;
        anyhow::ensure!(left.len() == 1 && left[0] != first[0], "{left:?}");
        Ok(())
    })
    .await
}

//! A deleted installation leaves nothing; what holds it up is told.

use anyhow::Result;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::ChildKind;
use contour_operator::status::condition;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::lifecycle::told;
use crate::support::World;

#[tokio::test]
async fn nothing_is_left_and_nothing_else_is_touched() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "gone").await?;
    let other = api.namespace("gone-other").await?;
    let operator = world.operator();
    world.create("edge", json!({"contour": {"watchNamespaces": [world.namespace, other]}})).await?;
    world.create("kept", json!({})).await?;
    world.complete("edge").await?;
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.namespace);
    let lease = |name: &str| serde_json::from_value::<Lease>(json!({"metadata": {"name": name}}));
    for name in ["leader-elect-edge", "leader-elect-kept"] {
        leases.create(&PostParams::default(), &lease(name)?).await?;
    }
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), &world.namespace);
    let foreign = serde_json::from_value(json!({"metadata": {
        "name": "theirs", "labels": {"app.kubernetes.io/instance": "edge", "app.kubernetes.io/name": "envoy"},
    }}))?;
    maps.create(&PostParams::default(), &foreign).await?;
    let kept = world.settled(&operator, "kept").await?;

    world.deployments().delete("edge", &DeleteParams::default()).await?;
    world.gone("edge").await?;
    assert_eq!(world.children("edge").await?.keys().collect::<Vec<_>>(), Vec::<&_>::new());
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/instance=edge");
    assert_eq!(pods.list(&ours).await?.items, []);
    assert!(leases.get_opt("leader-elect-edge").await?.is_none());
    assert!(leases.get_opt("leader-elect-kept").await?.is_some());
    assert!(maps.get_opt("theirs").await?.is_some());
    assert_eq!(world.versions("kept").await?, kept);
    let series = format!("contour_operator_condition{{namespace=\"{}\",name=\"edge\"", world.namespace);
    assert_eq!(operator.sum(&series), 0);
    Ok(())
}

#[tokio::test]
async fn what_was_made_a_moment_ago_goes_as_well() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "hasty").await?;
    let _operator = world.operator();
    for _ in 0..3 {
        world.create("edge", json!({})).await?;
        world.until(&world.child(ChildKind::ServiceAccount, "contour-edge"), true).await?;
        world.deployments().delete("edge", &DeleteParams::default()).await?;
        world.gone("edge").await?;
        assert_eq!(world.children("edge").await?.keys().collect::<Vec<_>>(), Vec::<&_>::new());
    }
    Ok(())
}

#[tokio::test]
async fn a_stuck_deletion_says_why() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "stuck").await?;
    let _operator = world.operator();
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    let service = world.child(ChildKind::Service, "envoy-edge");
    let hold = json!({"metadata": {"finalizers": ["cloud.example.com/cleanup"]}});
    world.api(&service).patch("envoy-edge", &PatchParams::default(), &Patch::Merge(hold)).await?;
    world.deployments().delete("edge", &DeleteParams::default()).await?;

    let degraded = world.condition("edge", condition::DEGRADED, true, "DeletionBlocked").await?;
    assert!(
        degraded.message.contains("envoy-edge has the finalizer cloud.example.com/cleanup"),
        "{}",
        degraded.message
    );
    told(&world, "edge", &["DeletionBlocked"]).await?;
    eventually(SOON, || async {
        let left: Vec<String> = world.children("edge").await?.keys().map(ToString::to_string).collect();
        anyhow::ensure!(left == [format!("Service {}/envoy-edge", world.namespace)], "{left:?}");
        Ok(())
    })
    .await?;
    let unhold = json!({"metadata": {"finalizers": null}});
    world.api(&service).patch("envoy-edge", &PatchParams::default(), &Patch::Merge(unhold)).await?;
    world.gone("edge").await
}

//! An installation comes in order, goes on after a restart, and stands beside others.

use anyhow::Result;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::ChildKind;
use contour_operator::names::FINALIZER;
use contour_operator::status::condition;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::json;
use tokio::sync::watch;

use crate::kubelet::NODES;
use crate::support::{Operator, World};

#[tokio::test]
async fn an_installation_comes_in_order() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "order").await?;
    let _operator = world.operator();
    world.kubelet.hold("contour-edge", json!({}));
    world.create("edge", json!({})).await?;

    world.condition("edge", condition::PROGRESSING, true, "RollingOutContour").await?;
    let (contour, envoy) =
        (world.child(ChildKind::Deployment, "contour-edge"), world.child(ChildKind::DaemonSet, "envoy-edge"));
    world.until(&contour, true).await?;
    let children = world.children("edge").await?;
    assert!(!children.contains_key(&envoy), "Envoy came before Contour was there");
    let version = |child: &contour_operator::child::ChildRef| -> u64 {
        children[child].resource_version().unwrap().parse().unwrap()
    };
    for first in [
        world.child(ChildKind::ServiceAccount, "contour-edge"),
        world.child(ChildKind::RoleBinding, "contour.own.edge"),
        world.child(ChildKind::ContourConfiguration, "contour-edge"),
        world.child(ChildKind::Service, "contour-edge"),
    ] {
        assert!(version(&first) < version(&contour), "{first} came after Contour");
    }
    let deployment = world.deployments().get("edge").await?;
    assert!(deployment.finalizers().contains(&FINALIZER.to_owned()));
    let status = deployment.status.unwrap();
    assert_eq!(status.contour.unwrap().pods.as_deref(), Some("0/2"));
    assert_eq!(status.envoy, None);

    world.kubelet.hold("envoy-edge", json!({}));
    world.kubelet.release("contour-edge").await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutEnvoy").await?;
    world.condition("edge", condition::AVAILABLE, false, "EnvoyUnavailable").await?;
    world.until(&world.child(ChildKind::Service, "envoy-edge"), true).await?;
    world.kubelet.release("envoy-edge").await?;
    let status = world.complete("edge").await?;

    assert_eq!(status.reason.as_deref(), Some("Serving"));
    assert_eq!(status.addresses, NODES);
    assert_eq!(status.ingress_class, Some(format!("{}-edge", world.namespace)));
    let (contour, envoy) = (status.contour.unwrap(), status.envoy.unwrap());
    assert_eq!((contour.pods.as_deref(), contour.version.as_deref()), (Some("2/2"), Some("v1")));
    assert_eq!((envoy.pods.as_deref(), envoy.images), (Some("2/2"), vec!["example/envoy:v1".to_owned()]));
    let kinds: Vec<&str> = status.inventory.iter().map(|child| child.kind.as_str()).collect();
    assert_eq!(kinds, ["ClusterRoleBinding", "ClusterRoleBinding", "IngressClass"]);
    world.addresses_told("edge").await?;
    told(&world, "edge", &["RollingOutContour", "RollingOutEnvoy", "Available", "Complete"]).await
}

/// Waits until these reasons were told in Events of the object.
pub(crate) async fn told(world: &World, name: &str, reasons: &[&str]) -> Result<()> {
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    eventually(SOON, || async {
        let all = events.list(&ListParams::default()).await?;
        let about = |event: &&Event| event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name);
        let told: Vec<&str> =
            all.items.iter().filter(about).filter_map(|event| event.reason.as_deref()).collect();
        for reason in reasons {
            anyhow::ensure!(told.contains(reason), "{reason} was not told: {told:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_operator_goes_on_where_another_stopped() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "restart").await?;
    let first = world.operator();
    world.kubelet.hold("contour-edge", json!({}));
    world.create("edge", json!({})).await?;
    eventually(SOON, || async {
        let updated = world.status("edge").await?.contour.map(|contour| contour.updated);
        anyhow::ensure!(updated == Some(2), "{updated:?} pods are known");
        Ok(())
    })
    .await?;
    let before = world.still(&first, "edge").await?;
    first.stop().await?;

    let second = world.operator();
    second.look_again(&world, "edge").await?;
    assert_eq!(world.versions("edge").await?, before, "a restart alone changes nothing");
    assert_eq!(second.changes(), 0);
    world.kubelet.release("contour-edge").await?;
    world.complete("edge").await?;
    Ok(())
}

#[tokio::test]
async fn several_stand_side_by_side() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "several").await?;
    let operator = world.operator();
    for name in ["one", "two"] {
        world.create(name, json!({})).await?;
    }
    world.complete("one").await?;
    let before = world.settled(&operator, "two").await?;
    world.change("one", json!({"contour": {"image": "example/contour:v2"}})).await?;
    let changed = world.complete("one").await?;
    assert_eq!(changed.contour.unwrap().version.as_deref(), Some("v2"));
    operator.look_again(&world, "two").await?;
    assert_eq!(world.versions("two").await?, before, "what concerns one changed the other");
    Ok(())
}

#[tokio::test]
async fn an_upgrade_of_contour_changes_nothing_of_envoy() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "upgrade").await?;
    let first = world.operator();
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    let envoy = world.child(ChildKind::DaemonSet, "envoy-edge");
    let before = world.api(&envoy).get(&envoy.name).await?;
    first.stop().await?;

    // Another version of the operator brings another image of everything but Envoy.
    let mut newer = crate::support::defaults();
    newer.contour_image = "example/contour:v2".to_owned();
    newer.agent_image = "example/contour:v2".to_owned();
    newer.version = "2.0.0".to_owned();
    let _second = Operator::of(&world.client, &[&world.namespace], newer);
    eventually(SOON, || async {
        let version = world.status("edge").await?.contour.and_then(|contour| contour.version);
        anyhow::ensure!(version.as_deref() == Some("v2"), "Contour runs {version:?}");
        Ok(())
    })
    .await?;
    world.complete("edge").await?;
    let after = world.api(&envoy).get(&envoy.name).await?;
    assert_eq!(after.data["spec"], before.data["spec"]);
    assert_eq!(after.metadata.generation, before.metadata.generation);
    Ok(())
}

#[tokio::test]
async fn only_the_leader_works_and_a_new_one_takes_over() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "leader").await?;
    let (promote, leading) = watch::channel(false);
    let clock = std::sync::Arc::new(jiff::Timestamp::now);
    let second = Operator::start(&world.client, &[&world.namespace], leading, clock.clone());
    let first = Operator::start(&world.client, &[&world.namespace], contour_k8s::always_leading(), clock);
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    assert_eq!(second.sum("contour_operator_leader"), 0);
    assert_eq!(second.changes() + second.looks(), 0);
    first.stop().await?;

    let class = world.child(ChildKind::IngressClass, &format!("{}-edge", world.namespace));
    world.api(&class).delete(&class.name, &kube::api::DeleteParams::default()).await?;
    promote.send(true)?;
    world.until(&class, true).await?;
    assert_eq!(second.sum("contour_operator_leader"), 1);
    Ok(())
}

//! What cannot be is told, and changes nothing that runs.

use std::pin::pin;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use contour_crds::ContourDeployment;
use contour_crds::status::{ConditionStatus, DetailedCondition};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::always_leading;
use contour_operator::child::ChildKind;
use contour_operator::status::{condition, find};
use futures::TryStreamExt as _;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::lifecycle::told;
use crate::support::{Operator, World, clock};

/// Waits for the first status that an object ever has, and returns what that says of `Degraded`.
async fn first_told(world: &World, object: &ContourDeployment) -> Result<DetailedCondition> {
    let only = WatchParams::default().fields(&format!("metadata.name={}", object.name_any()));
    let version = object.resource_version().context("a created object has a version")?;
    let mut events = pin!(world.deployments().watch(&only, &version).await?);
    let first = async {
        loop {
            let event = events.try_next().await?.context("the watch ended")?;
            let WatchEvent::Modified(object) = event else { anyhow::bail!("{event:?}") };
            if let Some(status) = object.status {
                return find(&status, condition::DEGRADED).cloned().context("nothing is told");
            }
        }
    };
    tokio::time::timeout(SOON, first).await.context("no status comes")?
}

#[tokio::test]
async fn an_impossible_object_explains_itself_at_once() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "impossible").await?;
    let operator = world.operator();
    world.create("first", json!({})).await?;
    world.settled(&operator, "first").await?;
    let before = operator.changes();

    let bad = world.create("bad", json!({"contour": {"image": "Not An Image"}})).await?;
    let degraded = first_told(&world, &bad).await?;
    assert_eq!((degraded.status, degraded.reason.as_str()), (ConditionStatus::True, "Invalid"));
    assert!(degraded.message.starts_with("spec.contour.image: "), "{}", degraded.message);
    assert_eq!(degraded.errors.len(), 1);
    assert_eq!(world.children("bad").await?.len(), 0);
    assert_eq!(operator.changes(), before);
    told(&world, "bad", &["Invalid"]).await?;

    world.change("bad", json!({"contour": {"image": null}})).await?;
    world.complete("bad").await?;
    world.condition("bad", condition::DEGRADED, false, "AsExpected").await?;
    told(&world, "bad", &["Recovered"]).await
}

#[tokio::test]
async fn what_runs_stays_when_its_object_becomes_impossible() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "broken").await?;
    let operator = world.operator();
    world.create("edge", json!({})).await?;
    let mut before = world.settled(&operator, "edge").await?;
    let changes = operator.changes();

    world.change("edge", json!({"envoy": {"image": "Not An Image"}})).await?;
    world.condition("edge", condition::DEGRADED, true, "Invalid").await?;
    world.condition("edge", condition::AVAILABLE, true, "Serving").await?;
    world.condition("edge", condition::PROGRESSING, false, "Refused").await?;
    operator.look_again(&world, "edge").await?;
    let mut after = world.versions("edge").await?;
    assert!(before.remove("status") != after.remove("status"));
    assert_eq!(after, before);
    assert_eq!(operator.changes(), changes);
    Ok(())
}

#[tokio::test]
async fn the_later_of_two_that_clash_waits_for_the_earlier_to_go() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "clash").await?;
    let _operator = world.operator();
    let class = json!({"ingressClassName": format!("{}-shared", world.namespace)});
    world.create("a-early", class.clone()).await?;
    world.complete("a-early").await?;
    world.create("b-late", class).await?;
    let degraded = world.condition("b-late", condition::DEGRADED, true, "Clash").await?;
    assert!(degraded.message.contains(&format!("{}/a-early", world.namespace)), "{}", degraded.message);
    assert_eq!(world.children("b-late").await?.len(), 0);
    world.condition("a-early", condition::DEGRADED, false, "AsExpected").await?;

    world.deployments().delete("a-early", &DeleteParams::default()).await?;
    world.complete("b-late").await?;
    Ok(())
}

#[tokio::test]
async fn an_object_of_someone_else_is_not_taken_over() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "theirs").await?;
    let _operator = world.operator();
    let account = world.child(ChildKind::ServiceAccount, "contour-edge");
    let theirs = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "contour-edge"},
    }))?;
    let made = world.api(&account).create(&PostParams::default(), &theirs).await?;
    world.create("edge", json!({})).await?;
    let degraded = world.condition("edge", condition::DEGRADED, true, "NotOurs").await?;
    assert!(degraded.message.contains("was not made by this operator"), "{}", degraded.message);
    assert_eq!(world.api(&account).get("contour-edge").await?, made);

    world.api(&account).delete("contour-edge", &DeleteParams::default()).await?;
    world.complete("edge").await?;
    Ok(())
}

#[tokio::test]
async fn an_ingress_class_of_the_user_is_used_as_it_is() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "class").await?;
    let _operator = world.operator();
    let class = world.child(ChildKind::IngressClass, &format!("{}-edge", world.namespace));
    let theirs = serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": class.name},
        "spec": {"controller": "example.com/other"},
    }))?;
    let made = world.api(&class).create(&PostParams::default(), &theirs).await?;
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    world.deployments().delete("edge", &DeleteParams::default()).await?;
    world.gone("edge").await?;
    assert_eq!(world.api(&class).get(&class.name).await?, made);
    Ok(())
}

#[tokio::test]
async fn a_failing_rollout_stops_there_and_says_why() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "failing").await?;
    let (clock, second) = clock();
    let _operator = Operator::start(&world.client, &[&world.namespace], always_leading(), clock);
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    let envoy = world.child(ChildKind::DaemonSet, "envoy-edge");
    let before = world.api(&envoy).get("envoy-edge").await?;
    let stuck = json!({"containerStatuses": [{
        "name": "contour", "image": "example/contour:v9", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}},
    }]});
    world.kubelet.hold("contour-edge", stuck);
    world
        .change(
            "edge",
            json!({"contour": {"image": "example/contour:v9"}, "envoy": {"image": "example/envoy:v9"}}),
        )
        .await?;
    // An image is given time to come.
    second.fetch_add(500, Ordering::SeqCst);
    world.poke("edge").await?;
    let degraded = world.condition("edge", condition::DEGRADED, true, "ImagePullBackOff").await?;
    assert!(
        degraded
            .message
            .contains("container contour: ImagePullBackOff of image example/contour:v9: Back-off"),
        "{}",
        degraded.message
    );
    world.condition("edge", condition::UPGRADEABLE, false, "ImagePullBackOff").await?;
    assert_eq!(world.api(&envoy).get("envoy-edge").await?.metadata.generation, before.metadata.generation);
    told(&world, "edge", &["ImagePullBackOff"]).await?;

    world.kubelet.release("contour-edge").await?;
    world.complete("edge").await?;
    let after = world.status("edge").await?;
    assert_eq!(after.envoy.unwrap().images, ["example/envoy:v9"]);
    Ok(())
}

#[tokio::test]
async fn a_watched_namespace_that_does_not_exist_is_told() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "nowhere").await?;
    let operator = world.operator();
    let missing = format!("{}-missing", world.namespace);
    world.create("edge", json!({"contour": {"watchNamespaces": [missing]}})).await?;
    let degraded = world.condition("edge", condition::DEGRADED, true, "NotFound").await?;
    assert!(
        degraded.message.contains(&format!("namespaces \"{missing}\" not found")),
        "{}",
        degraded.message
    );
    eventually(SOON, || async {
        let errors = operator.sum("contour_operator_errors_total{category=\"NotFound\"}");
        anyhow::ensure!(errors > 0, "no error is counted");
        Ok(())
    })
    .await
}

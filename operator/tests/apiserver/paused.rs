//! A paused installation is left as it is, but for its certificates; and what of an object cannot change.

use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::always_leading;
use contour_operator::child::ChildKind;
use contour_operator::status::condition;
use kube::api::DeleteParams;
use serde_json::json;

use crate::lifecycle::told;
use crate::support::{Operator, World, clock};

#[tokio::test]
async fn nothing_is_written_but_certificates() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "paused").await?;
    let (clock, second) = clock();
    let operator = Operator::start(&world.client, &[&world.namespace], always_leading(), clock);
    world.create("edge", json!({})).await?;
    world.settled(&operator, "edge").await?;
    let generation = |kind, name: &str| {
        let child = world.child(kind, name);
        let api = world.api(&child);
        async move { anyhow::Ok(api.get(&child.name).await?.metadata.generation) }
    };
    let contour = generation(ChildKind::Deployment, "contour-edge").await?;

    world.change("edge", json!({"paused": true, "contour": {"image": "example/contour:v2"}})).await?;
    world.condition("edge", condition::PROGRESSING, false, "Paused").await?;
    world.condition("edge", condition::AVAILABLE, true, "Serving").await?;
    world.condition("edge", condition::UPGRADEABLE, false, "Paused").await?;
    told(&world, "edge", &["Paused"]).await?;
    assert_eq!(world.status("edge").await?.reason.as_deref(), Some("Paused"));
    let service = world.child(ChildKind::Service, "envoy-edge");
    world.api(&service).delete(&service.name, &DeleteParams::default()).await?;
    let writes = operator.changes();
    operator.look_again(&world, "edge").await?;
    assert!(!world.exists(&service).await?);
    assert_eq!(generation(ChildKind::Deployment, "contour-edge").await?, contour);
    assert_eq!(operator.changes(), writes);

    let valid = |status: contour_crds::ContourDeploymentStatus| {
        status.certificates.and_then(|told| told.valid_until).context("no certificates are told")
    };
    let before = valid(world.status("edge").await?)?;
    second.fetch_add(300 * 86_400, Ordering::SeqCst);
    world.poke("edge").await?;
    eventually(SOON, || async {
        let now = valid(world.status("edge").await?)?;
        anyhow::ensure!(now > before, "{now} is as before");
        Ok(())
    })
    .await?;
    assert!(operator.changes() > writes);
    assert!(!world.exists(&service).await?);

    world.change("edge", json!({"paused": false})).await?;
    world.complete("edge").await?;
    world.until(&service, true).await?;
    assert_ne!(generation(ChildKind::Deployment, "contour-edge").await?, contour);
    Ok(())
}

#[tokio::test]
async fn names_cannot_change() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "names").await?;
    world.create("edge", json!({})).await?;
    world.change("edge", json!({"names": "Derived"})).await?;
    let refused = world.change("edge", json!({"names": "Stock"})).await.unwrap_err();
    assert!(format!("{refused:#}").contains("names cannot change"), "{refused:#}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_change_is_told_with_the_way_out() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "immutable").await?;
    let _operator = world.operator();
    let class =
        |name: &str| json!({"publishing": {"type": "LoadBalancerService", "loadBalancerClass": name}});
    world.create("edge", class("example.com/one")).await?;
    world.complete("edge").await?;
    world.change("edge", class("example.com/two")).await?;
    let degraded = world.condition("edge", condition::DEGRADED, true, "Invalid").await?;
    assert!(degraded.message.contains("set it back, or delete the object"), "{}", degraded.message);
    Ok(())
}

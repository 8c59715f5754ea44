//! Of two operators that see the same object, one works on it and the other stands back, until it is handed over.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context as _, Result};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::names::OPERATED_BY;
use contour_operator::reconcile::claim::HANDOVER;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::lifecycle::told;
use crate::support::{Operator, World, clock, defaults};

const LASTS: i64 = 15;

/// An operator renews its Lease.
async fn renew(world: &World, lease: &str, second: &AtomicI64) -> Result<()> {
    let now = Timestamp::from_second(second.load(Ordering::SeqCst))?;
    let spec =
        json!({"holderIdentity": lease, "renewTime": format!("{now:.6}"), "leaseDurationSeconds": LASTS});
    let body = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": lease}, "spec": spec,
    });
    let api: Api<Lease> = Api::namespaced(world.client.clone(), &world.namespace);
    api.patch(lease, &PatchParams::apply("test").force(), &Patch::Apply(body)).await?;
    Ok(())
}

/// Waits until the object has this operator, and Contour runs its image.
async fn has(world: &World, operator: &str, version: &str) -> Result<()> {
    eventually(SOON, || async {
        let deployment = world.deployments().get("edge").await?;
        let noted = deployment.annotations().get(OPERATED_BY);
        anyhow::ensure!(noted.is_some_and(|noted| noted == operator), "{noted:?} has it");
        let runs = deployment.status.and_then(|status| status.contour).and_then(|contour| contour.version);
        anyhow::ensure!(runs.as_deref() == Some(version), "Contour runs {runs:?}");
        Ok(())
    })
    .await
}

/// Waits until an operator stands back, or does not.
async fn stands_back(operator: &Operator, back: bool) -> Result<()> {
    eventually(SOON, || async {
        let found = operator.sum("contour_operator_other_operator");
        anyhow::ensure!((found == 1) == back, "it stands back: {found}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_second_operator_stands_back_until_it_is_handed_over() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "two").await?;
    let (clock, second) = clock();
    let (a, b) = (format!("{}/a", world.namespace), format!("{}/b", world.namespace));
    let mut newer = defaults();
    newer.contour_image = "example/contour:v2".to_owned();
    let start = |name: &str, defaults| {
        Operator::called(&world.client, &[&world.namespace], clock.clone(), defaults, name)
    };
    renew(&world, "a", &second).await?;
    let first = start(&a, defaults());
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    has(&world, &a, "v1").await?;

    let other = start(&b, newer.clone());
    stands_back(&other, true).await?;
    told(&world, "edge", &["OtherOperator"]).await?;
    let before = world.status("edge").await?;
    world.change("edge", json!({"contour": {"logLevel": "debug"}})).await?;
    world.complete("edge").await?;
    has(&world, &a, "v1").await?;
    assert_eq!((other.changes(), other.looks()), (0, 0), "it worked on the other's object");
    assert_eq!(world.status("edge").await?.contour, before.contour);

    // The first ends. That its Lease is not renewed for a moment means nothing.
    first.stop().await?;
    second.fetch_add(LASTS, Ordering::SeqCst);
    world.poke("edge").await?;
    stands_back(&other, true).await?;
    second.fetch_add(HANDOVER.as_secs() + 1, Ordering::SeqCst);
    eventually(SOON, || async {
        // What is not there any more sends no event.
        world.poke("edge").await?;
        let noted = world.deployments().get("edge").await?.annotations().get(OPERATED_BY).cloned();
        anyhow::ensure!(noted.as_ref() == Some(&b), "{noted:?} has it");
        Ok(())
    })
    .await?;
    has(&world, &b, "v2").await?;
    stands_back(&other, false).await?;
    renew(&world, "b", &second).await?;

    // It comes back, and finds the other.
    renew(&world, "a", &second).await?;
    let first = start(&a, defaults());
    stands_back(&first, true).await?;
    world.complete("edge").await?;
    assert_eq!((first.changes(), first.looks()), (0, 0));

    // By hand.
    let patch = Patch::Merge(json!({"metadata": {"annotations": {OPERATED_BY: a}}}));
    let patched = world.deployments().patch("edge", &PatchParams::default(), &patch).await?;
    patched.status.context("a status")?;
    has(&world, &a, "v1").await?;
    stands_back(&first, false).await?;
    stands_back(&other, true).await
}

//! What cannot be done stops what depends on it, and nothing else.

use std::sync::atomic::Ordering;

use anyhow::Result;
use contour_crds::status::DetailedCondition;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::always_leading;
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::names::ADDRESSES;
use contour_operator::reconcile::addresses::HOLD;
use contour_operator::status::condition;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::kubelet::NODES;
use crate::rotation::own;
use crate::support::{Operator, World, clock};

/// Deletes Envoy's workload, and waits until it is there again.
pub(crate) async fn envoy_is_healed(world: &World) -> Result<()> {
    let envoy = world.child(ChildKind::DaemonSet, "envoy-edge");
    let before = world.api(&envoy).get(&envoy.name).await?;
    world.api(&envoy).delete(&envoy.name, &DeleteParams::default()).await?;
    eventually(SOON, || async {
        let now = world.api(&envoy).get(&envoy.name).await?;
        anyhow::ensure!(now.uid() != before.uid(), "it is still the old one");
        let image = |object: &kube::api::DynamicObject| {
            object.data.pointer("/spec/template/spec/containers/0/image").cloned()
        };
        anyhow::ensure!(image(&now) == image(&before), "{:?}", image(&now));
        Ok(())
    })
    .await?;
    eventually(SOON, || async {
        let pods = world.status("edge").await?.envoy.and_then(|envoy| envoy.pods);
        anyhow::ensure!(pods.as_deref() == Some("2/2"), "{pods:?}");
        Ok(())
    })
    .await
}

/// Waits for what `Degraded` says for this reason, whatever the generation.
async fn degraded(world: &World, reason: &str) -> Result<DetailedCondition> {
    world.condition("edge", condition::DEGRADED, true, reason).await
}

#[tokio::test]
async fn a_watched_namespace_that_is_being_deleted_stops_nothing_else() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "ending").await?;
    let (ending, narrowed) = (api.namespace("ending-other").await?, api.namespace("ending-narrow").await?);
    let (clock, second) = clock();
    let operator = Operator::start(&world.client, &[&world.namespace], always_leading(), clock);
    let watching = |namespaces: &[&String]| json!({"contour": {"watchNamespaces": namespaces}});
    world.create("edge", watching(&[&world.namespace, &ending, &narrowed])).await?;
    world.change("edge", json!({"certificates": {"lifetime": "24h"}})).await?;
    world.settled(&operator, "edge").await?;

    // Its owner keeps it from going; what was in it goes.
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.delete(&ending, &DeleteParams::default()).await?;
    let name = format!("contour.served.{}.edge", world.namespace);
    let binding_in = |namespace: &String| ChildRef {
        kind: ChildKind::RoleBinding,
        namespace: Some(namespace.clone()),
        name: name.clone(),
    };
    world.api(&binding_in(&ending)).delete(&name, &DeleteParams::default()).await?;
    let told = degraded(&world, "NamespaceTerminating").await?;
    assert!(told.message.contains(&ending), "{}", told.message);
    assert!(!told.message.contains("service account"), "it asks for rights: {}", told.message);
    assert!(told.message.contains("watchNamespaces"), "no way out: {}", told.message);
    world.condition("edge", condition::AVAILABLE, true, "Serving").await?;

    envoy_is_healed(&world).await?;

    // Certificates are renewed.
    let secret = world.child(ChildKind::Secret, "envoycert-edge");
    let before = world.api(&secret).get(&secret.name).await?.data;
    second.fetch_add(17 * 3600, Ordering::SeqCst);
    world.poke("edge").await?;
    eventually(SOON, || async {
        anyhow::ensure!(world.api(&secret).get(&secret.name).await?.data != before, "nothing was renewed");
        Ok(())
    })
    .await?;

    // Rights are revoked.
    world.change("edge", watching(&[&world.namespace, &ending])).await?;
    world.until(&binding_in(&narrowed), false).await?;
    degraded(&world, "NamespaceTerminating").await?;

    // Addresses are told.
    world.kubelet.lose(1).await?;
    let service = world.child(ChildKind::Service, "envoy-edge");
    eventually(SOON, || async {
        // A node that is not ready is held for a while.
        second.fetch_add(HOLD.as_secs(), Ordering::SeqCst);
        world.poke("edge").await?;
        let service = world.api(&service).get(&service.name).await?;
        let told = service.annotations().get(ADDRESSES).cloned();
        anyhow::ensure!(told.as_deref() == Some(NODES[0]), "the Service tells {told:?}");
        Ok(())
    })
    .await?;

    // The way out.
    world.change("edge", watching(&[&world.namespace])).await?;
    world.complete("edge").await?;
    world.condition("edge", condition::DEGRADED, false, "AsExpected").await?;
    Ok(())
}

#[tokio::test]
async fn a_typo_keeps_nothing_from_being_healed_whoever_the_operator_is_by_then() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "typed").await?;
    let operator = world.operator();
    world.create("edge", json!({})).await?;
    world.settled(&operator, "edge").await?;
    world
        .change("edge", json!({"envoy": {"image": "Not An Image"}, "contour": {"logLevel": "debug"}}))
        .await?;
    degraded(&world, "Invalid").await?;
    let contour = world.child(ChildKind::Deployment, "contour-edge");
    let before = world.api(&contour).get(&contour.name).await?;
    envoy_is_healed(&world).await?;

    operator.stop().await?;
    let later = world.operator();
    envoy_is_healed(&world).await?;
    let binding = world.child(ChildKind::RoleBinding, "contour.own.edge");
    world.api(&binding).delete(&binding.name, &DeleteParams::default()).await?;
    world.until(&binding, true).await?;
    later.look_again(&world, "edge").await?;
    degraded(&world, "Invalid").await?;
    let now = world.api(&contour).get(&contour.name).await?;
    assert_eq!(now.metadata.generation, before.metadata.generation, "what runs was changed");
    Ok(())
}

#[tokio::test]
async fn a_wrong_secret_of_the_user_keeps_nothing_from_being_healed() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "spoilt").await?;
    let operator = world.operator();
    let authority = contour_certs::Authority::create(
        jiff::Timestamp::now(),
        std::time::Duration::from_hours(2),
        contour_certs::KeyAlgorithm::default(),
    )?;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    for party in contour_certs::Party::ALL {
        let secret = serde_json::from_value(own(&authority, party, &world.namespace)?)?;
        secrets.create(&PostParams::default(), &secret).await?;
    }
    let refs = json!({"certificates": {"secretRefs": {"contour": "my-contour", "envoy": "my-envoy"}}});
    world.create("edge", refs).await?;
    world.settled(&operator, "edge").await?;

    let spoilt = json!({"stringData": {"ca.crt": "nothing"}});
    secrets.patch("my-envoy", &PatchParams::default(), &Patch::Merge(spoilt)).await?;
    world.poke("edge").await?;
    degraded(&world, "CertificateNotUsable").await?;
    envoy_is_healed(&world).await?;
    let told = degraded(&world, "CertificateNotUsable").await?;
    assert!(told.message.contains("my-envoy"), "{}", told.message);
    world.condition("edge", condition::AVAILABLE, true, "Serving").await?;
    Ok(())
}

#[tokio::test]
async fn an_object_of_someone_else_stops_only_what_needs_it() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "beside").await?;
    let _operator = world.operator();
    let scaler = world.child(ChildKind::HorizontalPodAutoscaler, "contour-edge");
    let theirs = serde_json::from_value(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": scaler.name},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}},
    }))?;
    world.api(&scaler).create(&PostParams::default(), &theirs).await?;
    world.create("edge", json!({"contour": {"autoscaling": {"maxReplicas": 3}}})).await?;
    degraded(&world, "NotOurs").await?;
    world.condition("edge", condition::AVAILABLE, true, "Serving").await?;
    envoy_is_healed(&world).await
}

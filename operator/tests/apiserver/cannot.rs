//! Workloads that make no pods, or whose pods do not start, say so: at once where it does not pass by itself, else after a while.

use std::sync::atomic::Ordering;

use anyhow::Result;
use contour_crds::status::DetailedCondition;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::always_leading;
use contour_operator::status::{condition, find};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{Operator, World, clock};

/// What pods may do in the namespace, as its owner says.
pub(crate) async fn enforce(world: &World, level: Value) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    namespaces.patch(&world.namespace, &PatchParams::default(), &Patch::Merge(labels)).await?;
    Ok(())
}

#[tokio::test]
async fn pods_that_are_forbidden_say_so() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    for workload in ["DaemonSet", "Deployment"] {
        let world = World::new(api, "forbidden").await?;
        let _operator = world.operator();
        // Contour itself asks for nothing that this forbids.
        enforce(&world, json!("restricted")).await?;
        world.create("edge", json!({"envoy": {"workload": workload}})).await?;
        let degraded = world.condition("edge", condition::DEGRADED, true, "FailedCreate").await?;
        assert!(degraded.message.starts_with("Envoy "), "{}", degraded.message);
        assert!(degraded.message.contains("violates PodSecurity"), "{}", degraded.message);

        // The way out. The workload's controller tries again by itself.
        enforce(&world, json!(null)).await?;
        world.kubelet.release("envoy-edge").await?;
        world.complete("edge").await?;
        world.condition("edge", condition::DEGRADED, false, "AsExpected").await?;
    }
    Ok(())
}

/// Waits until `Progressing` says this.
async fn waits(world: &World, said: &str) -> Result<DetailedCondition> {
    eventually(SOON, || async {
        let status = world.status("edge").await?;
        let found = find(&status, condition::PROGRESSING).filter(|found| found.message.contains(said));
        found.cloned().ok_or_else(|| anyhow::anyhow!("{:?}", status.conditions))
    })
    .await
}

#[tokio::test]
async fn what_may_pass_by_itself_is_given_time() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let pull = json!({"containerStatuses": [{
        "name": "envoy", "image": "example/envoy:v1", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}},
    }]});
    let full = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes: Insufficient cpu.",
    }]});
    for (held, said, reason) in
        [(pull, "Back-off pulling image", "ImagePullBackOff"), (full, "Insufficient cpu", "FailedScheduling")]
    {
        let world = World::new(api, "patient").await?;
        let (clock, second) = clock();
        let operator = Operator::start(&world.client, &[&world.namespace], always_leading(), clock);
        world.kubelet.hold("envoy-edge", held);
        world.create("edge", json!({})).await?;
        let progressing = waits(&world, said).await?;
        assert_eq!(progressing.reason, "RollingOutEnvoy");
        operator.look_again(&world, "edge").await?;
        world.condition("edge", condition::DEGRADED, false, "AsExpected").await?;

        // Well after the five minutes, as the pods came after the clock began to stand still, and before nothing came of it for ten.
        second.fetch_add(500, Ordering::SeqCst);
        world.poke("edge").await?;
        let degraded = world.condition("edge", condition::DEGRADED, true, reason).await?;
        assert!(degraded.message.contains(said), "{}", degraded.message);
        world.kubelet.release("envoy-edge").await?;
        world.complete("edge").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_daemon_set_that_comes_to_no_end_is_told() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "endless").await?;
    let (clock, second) = clock();
    let operator = Operator::start(&world.client, &[&world.namespace], always_leading(), clock);
    world.kubelet.hold("envoy-edge", json!({}));
    world.create("edge", json!({})).await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutEnvoy").await?;
    waits(&world, "2 of 2 pods are updated").await?;
    operator.look_again(&world, "edge").await?;
    world.condition("edge", condition::DEGRADED, false, "AsExpected").await?;
    second.fetch_add(700, Ordering::SeqCst);
    world.poke("edge").await?;
    world.condition("edge", condition::DEGRADED, true, "ProgressDeadlineExceeded").await?;

    // A later operator does not count anew.
    operator.stop().await?;
    let (clock, _) = crate::support::clock();
    let later = Operator::start(&world.client, &[&world.namespace], always_leading(), clock);
    later.look_again(&world, "edge").await?;
    world.condition("edge", condition::DEGRADED, true, "ProgressDeadlineExceeded").await?;
    world.kubelet.release("envoy-edge").await?;
    world.complete("edge").await?;
    Ok(())
}

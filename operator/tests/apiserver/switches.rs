//! What is not wanted any more goes when the new is there.

use std::collections::BTreeMap;
use std::pin::pin;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::names::YIELDS;
use contour_operator::pod::Pod;
use contour_operator::reconcile::rollout::is_ready;
use contour_operator::status::{condition, find};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn narrowed_namespaces_are_left() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "narrow").await?;
    let other = api.namespace("narrow-other").await?;
    let _operator = world.operator();
    world.create("edge", json!({"contour": {"watchNamespaces": [world.namespace, other]}})).await?;
    let status = world.complete("edge").await?;
    let name = format!("contour.served.{}.edge", world.namespace);
    let binding = ChildRef { kind: ChildKind::RoleBinding, namespace: Some(other.clone()), name };
    assert!(world.exists(&binding).await?);
    assert!(status.inventory.iter().any(|child| child.namespace.as_deref() == Some(&other)));

    // Pods of before still read there until the new ones have taken over.
    world.kubelet.hold("contour-edge", json!({}));
    world.change("edge", json!({"contour": {"watchNamespaces": [world.namespace]}})).await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutContour").await?;
    assert!(world.exists(&binding).await?);
    world.kubelet.release("contour-edge").await?;
    world.until(&binding, false).await?;
    eventually(SOON, || async {
        let inventory = world.status("edge").await?.inventory;
        anyhow::ensure!(
            inventory.iter().all(|child| child.namespace.as_deref() != Some(&other)),
            "{inventory:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn one_kind_of_workload_takes_over_from_the_other() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "kinds").await?;
    let _operator = world.operator();
    world.create("edge", json!({"publishing": {"type": "NodePortService"}})).await?;
    world.complete("edge").await?;
    let (set, deployment) =
        (world.child(ChildKind::DaemonSet, "envoy-edge"), world.child(ChildKind::Deployment, "envoy-edge"));

    world.kubelet.hold("envoy-edge", json!({}));
    world.change("edge", json!({"envoy": {"workload": "Deployment"}})).await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutEnvoy").await?;
    assert!(world.exists(&deployment).await?);
    assert!(world.exists(&set).await?, "the old went before the new was there");
    world.condition("edge", condition::AVAILABLE, true, "Serving").await?;
    world.kubelet.release("envoy-edge").await?;
    world.until(&set, false).await?;
    world.complete("edge").await?;

    world.change("edge", json!({"envoy": {"workload": null}})).await?;
    world.until(&set, true).await?;
    world.until(&deployment, false).await?;
    world.complete("edge").await?;
    Ok(())
}

/// How many pods of Envoy are ready, at each change of one of them, until `done` says that it is enough.
async fn least_ready(world: &World, done: impl AsyncFn() -> Result<()>) -> Result<usize> {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    let label = "app.kubernetes.io/component=envoy";
    let mut events = pin!(watcher(pods, watcher::Config::default().labels(label)));
    let (mut known, mut least) = (BTreeMap::new(), usize::MAX);
    let count = async {
        while let Some(event) = events.try_next().await? {
            match event {
                Event::Apply(pod) | Event::InitApply(pod) => {
                    known.insert(pod.name_any(), is_ready(&pod));
                }
                Event::Delete(pod) => {
                    known.remove(&pod.name_any());
                }
                Event::Init => continue,
                Event::InitDone => {}
            }
            if !known.is_empty() {
                least = least.min(known.values().filter(|ready| **ready).count());
            }
        }
        anyhow::bail!("the watch ended")
    };
    tokio::select! {
        ended = count => ended,
        done = done() => done,
    }?;
    Ok(least)
}

#[tokio::test]
async fn a_workload_that_has_the_ports_of_the_new_one_leaves_node_by_node() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "room").await?;
    let _operator = world.operator();
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    let (set, deployment) =
        (world.child(ChildKind::DaemonSet, "envoy-edge"), world.child(ChildKind::Deployment, "envoy-edge"));
    for (workload, gone) in [(json!("Deployment"), &set), (json!(null), &deployment)] {
        let least = least_ready(&world, async || {
            world.change("edge", json!({"envoy": {"workload": workload}})).await?;
            world.until(gone, false).await?;
            world.complete("edge").await.map(drop)
        })
        .await?;
        assert_eq!(least, 1, "pods of Envoy that were ready at the worst moment before {gone} was gone");
    }
    Ok(())
}

#[tokio::test]
async fn a_switch_that_is_taken_back_half_way_is_as_before() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "back").await?;
    let operator = world.operator();
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    let set = world.child(ChildKind::DaemonSet, "envoy-edge");
    let before = world.api(&set).get(&set.name).await?;
    let spec = |object: &DynamicObject| {
        let at = |pointer: &str| object.data.pointer(pointer).cloned();
        (at("/spec/updateStrategy"), at("/spec/template/spec/affinity"))
    };
    // As many pods as nodes: the last finds no room while one of this node is held.
    world.kubelet.lose(1).await?;
    world.change("edge", json!({"envoy": {"workload": "Deployment"}})).await?;
    eventually(SOON, || async {
        let now = world.api(&set).get(&set.name).await?;
        anyhow::ensure!(now.annotations().contains_key(YIELDS), "it gives up nothing");
        Ok(())
    })
    .await?;
    world.change("edge", json!({"envoy": {"workload": null}})).await?;
    eventually(SOON, || async {
        let now = world.api(&set).get(&set.name).await?;
        anyhow::ensure!(spec(&now).0 == spec(&before).0, "{:?}", spec(&now));
        anyhow::ensure!(!now.annotations().contains_key(YIELDS), "it still gives up");
        let affinity = spec(&now).1.unwrap_or_default();
        anyhow::ensure!(!affinity.to_string().contains("NotIn"), "{affinity}");
        Ok(())
    })
    .await?;
    drop(operator);
    Ok(())
}

#[tokio::test]
async fn a_new_workload_that_fits_no_node_takes_nothing_from_the_one_that_serves() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "typo").await?;
    let operator = world.operator();
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    let set = world.child(ChildKind::DaemonSet, "envoy-edge");
    let before = world.api(&set).get(&set.name).await?;
    let said = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
    world.kubelet.hold(
        "envoy-edge",
        json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said,
        }]}),
    );
    let placement = json!({"nodeSelector": {"edge": "yse"}});
    world.change("edge", json!({"envoy": {"workload": "Deployment", "placement": placement}})).await?;
    let told = eventually(SOON, || async {
        let status = world.status("edge").await?;
        let told = [condition::DEGRADED, condition::PROGRESSING].map(|kind| find(&status, kind).cloned());
        let told = told.into_iter().flatten().find(|condition| condition.message.contains(said));
        told.with_context(|| format!("{:?}", status.conditions))
    })
    .await?;
    assert!(told.message.contains("spec.envoy.placement"), "no way out: {}", told.message);
    operator.look_again(&world, "edge").await?;
    let now = world.api(&set).get(&set.name).await?;
    assert_eq!((now.uid(), now.metadata.generation), (before.uid(), before.metadata.generation));
    world.condition("edge", condition::AVAILABLE, true, "Serving").await?;

    // The way out.
    world.change("edge", json!({"envoy": {"workload": null, "placement": null}})).await?;
    world.kubelet.release("envoy-edge").await?;
    world.until(&world.child(ChildKind::Deployment, "envoy-edge"), false).await?;
    world.complete("edge").await?;
    Ok(())
}

#[tokio::test]
async fn a_way_in_is_opened_before_another_is_closed() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "publishing").await?;
    let _operator = world.operator();
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    let envoy = world.child(ChildKind::DaemonSet, "envoy-edge");
    let services: Api<Service> = Api::namespaced(world.client.clone(), &world.namespace);
    let kind = async || anyhow::Ok(services.get("envoy-edge").await?.spec.and_then(|spec| spec.type_));
    let on_host = async || {
        let envoy = world.api(&envoy).get("envoy-edge").await?;
        anyhow::Ok(envoy.data.pointer("/spec/template/spec/hostNetwork").is_some_and(|on| on == true))
    };
    assert!(on_host().await?);

    world.change("edge", json!({"publishing": {"type": "LoadBalancerService"}})).await?;
    world.condition("edge", condition::PROGRESSING, true, "WaitingForLoadBalancer").await?;
    assert_eq!(kind().await?.as_deref(), Some("LoadBalancer"));
    assert!(on_host().await?, "the nodes were left before the load balancer had an address");
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}});
    services.patch_status("envoy-edge", &PatchParams::default(), &Patch::Merge(status)).await?;
    let status = world.complete("edge").await?;
    assert_eq!(status.addresses, ["203.0.113.7"]);
    assert!(!on_host().await?);

    world.kubelet.hold("envoy-edge", json!({}));
    world.change("edge", json!({"publishing": {"type": null}})).await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutEnvoy").await?;
    assert_eq!(kind().await?.as_deref(), Some("LoadBalancer"), "closed before Envoy was on its nodes");
    world.kubelet.release("envoy-edge").await?;
    world.complete("edge").await?;
    eventually(SOON, || async {
        let kind = kind().await?;
        anyhow::ensure!(kind.as_deref() == Some("ClusterIP"), "{kind:?}");
        Ok(())
    })
    .await
}

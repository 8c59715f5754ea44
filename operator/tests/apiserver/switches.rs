//! What is not wanted any more goes when the new is there.

use anyhow::Result;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::status::condition;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
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
    let name = format!("contour-resources-{}.edge", world.namespace);
    let in_other = |kind| ChildRef { kind, namespace: Some(other.clone()), name: name.clone() };
    let (role, binding) = (in_other(ChildKind::Role), in_other(ChildKind::RoleBinding));
    assert!(world.exists(&role).await? && world.exists(&binding).await?);
    assert!(status.inventory.iter().any(|child| child.namespace.as_deref() == Some(&other)));

    // Pods of before still read there until the new ones have taken over.
    world.kubelet.hold("contour-edge", json!({}));
    world.change("edge", json!({"contour": {"watchNamespaces": [world.namespace]}})).await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutContour").await?;
    assert!(world.exists(&role).await?);
    world.kubelet.release("contour-edge").await?;
    world.until(&role, false).await?;
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

#[tokio::test]
async fn a_workload_that_has_the_ports_of_the_new_one_makes_room() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "room").await?;
    let _operator = world.operator();
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    let no_room = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.",
    }]});
    world.kubelet.hold("envoy-edge", no_room);
    world.change("edge", json!({"envoy": {"workload": "Deployment"}})).await?;
    world.until(&world.child(ChildKind::DaemonSet, "envoy-edge"), false).await?;
    world.kubelet.release("envoy-edge").await?;
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

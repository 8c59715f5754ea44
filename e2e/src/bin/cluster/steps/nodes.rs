//! A node that is cordoned, drained, taken away and returned.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_e2e::client::get;
use contour_e2e::wait::eventually;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{install, serve};
use crate::traffic::Traffic;
use crate::world::{EDGE, Place, ROLLOUT, World};

/// How long one eviction is asked for. Who hangs up early may leave a budget that waits two minutes for a pod that nobody deletes.
const ASKING: Duration = Duration::from_secs(30);

/// What the echo server answers after some seconds.
const SLOW: &str = "/delay/6000";

/// The taint that makes even a DaemonSet's pods leave.
const AWAY: &str = "contour-e2e/away";

/// Cordons a node and evicts its pods, as `kubectl drain --ignore-daemonsets` does: not one request fails, on that node's
/// Envoy neither.
pub(crate) async fn drain(world: &World) -> Result<()> {
    let node = leaving(world);
    let traffic = Traffic::start(serve::probes(world));
    change(world, node, &json!({"spec": {"unschedulable": true}})).await?;
    evict_all(world, node).await?;
    world.until_well(EDGE).await?;
    println!("      {} requests, none failed", traffic.finish()?);
    Ok(())
}

/// Cuts the power of the node that was drained: the others serve on, and the installation is well without it. With power it is back.
pub(crate) async fn killed(world: &World) -> Result<()> {
    let node = leaving(world);
    let Some(power) = &world.power else {
        println!("      left out: NODE_OFF and NODE_ON do not say how to turn a node off and on");
        return Ok(());
    };
    let stay: Vec<&Place> = world.nodes.iter().filter(|other| other.name != node.name).collect();
    let traffic = Traffic::start(stay.iter().flat_map(|node| serve::probes_of(world, node)));
    power.off(&node.name).await?;
    let mut addresses: Vec<String> = stay.iter().map(|node| node.address.to_string()).collect();
    addresses.sort();
    install::until_addresses(world, &addresses).await?;
    serve::until_addresses(world, &addresses).await?;
    let object = world.until_well(EDGE).await?;
    anyhow::ensure!(object["status"]["envoy"]["ready"] == stay.len(), "its status is {}", object["status"]);
    power.on().await?;
    for probe in serve::probes_of(world, node) {
        probe.until_answered().await?;
    }
    world.until_well(EDGE).await?;
    install::until_addresses(world, &world.addresses()).await?;
    println!("      {} requests to the other nodes, none failed", traffic.finish()?);
    Ok(())
}

/// Taints the node so that its Envoy has to leave as well: a request that is under way is answered, its address leaves all
/// statuses, and the others serve on.
pub(crate) async fn away(world: &World) -> Result<()> {
    let node = leaving(world);
    let slow = get(SocketAddr::new(node.address, 80), "www.example.com", SLOW);
    // Connected, and so the node's, before the taint; the answer is due long after.
    let mut connection = slow.connect().await?;
    let under_way = async move { connection.send(&slow).await };
    let under_way = tokio::spawn(under_way);
    let stay: Vec<&Place> = world.nodes.iter().filter(|other| other.name != node.name).collect();
    let traffic = Traffic::start(stay.iter().flat_map(|node| serve::probes_of(world, node)));
    let taint = json!({"key": AWAY, "effect": "NoExecute"});
    change(world, node, &json!({"spec": {"taints": [taint]}})).await?;
    let mut addresses: Vec<String> = stay.iter().map(|node| node.address.to_string()).collect();
    addresses.sort();
    node.http(80, "www.example.com").until_refused().await?;
    install::until_addresses(world, &addresses).await?;
    serve::until_addresses(world, &addresses).await?;
    let answer = under_way.await?.context("the request that was under way when Envoy had to leave")?;
    anyhow::ensure!(answer.status == 200, "the request under way ended with status {}", answer.status);
    println!("      {} requests to the other nodes, none failed", traffic.finish()?);
    Ok(())
}

/// Takes the taint away and lets pods in: the node serves again, and all statuses have its address.
pub(crate) async fn returned(world: &World) -> Result<()> {
    let node = leaving(world);
    change(world, node, &json!({"spec": {"taints": null, "unschedulable": null}})).await?;
    for probe in serve::probes_of(world, node) {
        probe.until_answered().await?;
    }
    world.until_well(EDGE).await?;
    install::until_addresses(world, &world.addresses()).await?;
    serve::until_addresses(world, &world.addresses()).await
}

/// The node that leaves: the last one.
fn leaving(world: &World) -> &Place {
    world.nodes.last().expect("the world has at least two nodes")
}

async fn change(world: &World, node: &Place, change: &Value) -> Result<()> {
    let nodes: Api<Node> = Api::all(world.objects.client());
    nodes.patch(&node.name, &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}

/// Evicts the pods of a node that no DaemonSet made, again while their disruption budgets forbid it, until none is left.
async fn evict_all(world: &World, node: &Place) -> Result<()> {
    eventually(ROLLOUT, || async {
        let pods = evictable(world, node).await?;
        join_all(pods.iter().map(|pod| evict(world, pod))).await;
        let left: Vec<String> = pods.iter().map(kube::ResourceExt::name_any).collect();
        anyhow::ensure!(left.is_empty(), "still on the node: {}", left.join(", "));
        Ok(())
    })
    .await
    .with_context(|| format!("node {} cannot be drained", node.name))
}

async fn evictable(world: &World, node: &Place) -> Result<Vec<Pod>> {
    let all: Api<Pod> = Api::all(world.objects.client());
    let on_node = ListParams::default().fields(&format!("spec.nodeName={}", node.name));
    let of_daemon_set = |pod: &Pod| pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet");
    Ok(all.list(&on_node).await?.items.into_iter().filter(|pod| !of_daemon_set(pod)).collect())
}

async fn evict(world: &World, pod: &Pod) {
    let Some(namespace) = pod.namespace().filter(|_| pod.metadata.deletion_timestamp.is_none()) else {
        return;
    };
    let pods: Api<Pod> = Api::namespaced(world.objects.client(), &namespace);
    // Refused while a budget forbids it, which the client would go on asking for; and who is gone is gone.
    let _ = tokio::time::timeout(ASKING, pods.evict(&pod.name_any(), &EvictParams::default())).await;
}

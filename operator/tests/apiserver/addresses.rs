//! A node that comes and goes does not have every status of the cluster written.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Result;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::always_leading;
use contour_operator::child::ChildKind;
use contour_operator::names::ADDRESSES;
use contour_operator::reconcile::addresses::{GATHER, HOLD};
use jiff::SignedDuration;
use kube::ResourceExt as _;
use serde_json::json;

use crate::kubelet::NODES;
use crate::support::{Operator, World, clock};

/// An installation on two nodes, and the time.
struct Site {
    world: World,
    second: Arc<AtomicI64>,
}

impl Site {
    /// Waits until so many Envoys are told to be ready.
    async fn ready(&self, expected: &str) -> Result<()> {
        eventually(SOON, || async {
            let pods = self.world.status("edge").await?.envoy.and_then(|envoy| envoy.pods);
            anyhow::ensure!(pods.as_deref() == Some(expected), "{pods:?}");
            Ok(())
        })
        .await
    }

    /// The second node's Envoy is ready or not, which is told.
    async fn turn(&self, ready: bool) -> Result<()> {
        self.world.kubelet.is_ready("envoy-edge", 1, ready).await?;
        self.ready(if ready { "2/2" } else { "1/2" }).await
    }

    /// The version of Envoy's Service, which says the addresses to Contour, and those.
    async fn published(&self) -> Result<(Option<String>, String, Vec<String>)> {
        let reference = self.world.child(ChildKind::Service, "envoy-edge");
        let service = self.world.api(&reference).get(&reference.name).await?;
        let annotation = service.annotations().get(ADDRESSES).cloned().unwrap_or_default();
        Ok((service.resource_version(), annotation, self.world.status("edge").await?.addresses))
    }

    /// Waits until these are published.
    async fn publishes(&self, expected: &[&str]) -> Result<()> {
        eventually(SOON, || async {
            let (_, annotation, told) = self.published().await?;
            anyhow::ensure!(annotation == expected.join(",") && told == expected, "{annotation}; {told:?}");
            Ok(())
        })
        .await
    }

    /// Time passes, and the operator looks.
    async fn pass(&self, operator: &Operator, time: SignedDuration) -> Result<()> {
        self.second.fetch_add(time.as_secs(), Ordering::SeqCst);
        operator.look_again(&self.world, "edge").await
    }
}

#[tokio::test]
async fn a_node_that_flaps_is_not_written_and_one_that_is_drained_leaves_at_once() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "flapping").await?;
    let (clock, second) = clock();
    let (client, namespace) = (world.client.clone(), world.namespace.clone());
    let start = || Operator::start(&client, &[&namespace], always_leading(), Arc::clone(&clock));
    let operator = start();
    world.create("edge", json!({})).await?;
    world.settled(&operator, "edge").await?;
    let site = Site { world, second };
    let before = site.published().await?;
    let written = operator.sum("contour_operator_writes_total{kind=\"Service\"");

    for _ in 0..3 {
        site.turn(false).await?;
        site.pass(&operator, HOLD - SignedDuration::from_secs(1)).await?;
        assert_eq!(site.published().await?, before);
        site.turn(true).await?;
        site.pass(&operator, GATHER).await?;
        assert_eq!(site.published().await?, before);
    }
    assert_eq!(operator.sum("contour_operator_writes_total{kind=\"Service\""), written);

    // Whoever is the operator by then.
    site.turn(false).await?;
    operator.stop().await?;
    let operator = start();
    operator.look_again(&site.world, "edge").await?;
    assert_eq!(site.published().await?, before);

    // It does not come back for long, and then has to last.
    site.pass(&operator, HOLD).await?;
    site.publishes(&NODES[..1]).await?;
    let without = site.published().await?;
    site.turn(true).await?;
    site.pass(&operator, GATHER).await?;
    assert_eq!(site.published().await?, without);
    site.pass(&operator, HOLD).await?;
    site.publishes(&NODES).await?;

    // It is drained, and comes back: nothing of that is held.
    site.pass(&operator, GATHER).await?;
    site.world.kubelet.may_stay("envoy-edge", 1, false).await?;
    site.publishes(&NODES[..1]).await?;
    site.pass(&operator, GATHER).await?;
    site.world.kubelet.may_stay("envoy-edge", 1, true).await?;
    site.publishes(&NODES).await
}

#[tokio::test]
async fn addresses_that_are_given_are_published_in_the_place_of_nodes() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let (clock, second) = clock();
    let site = Site { world: World::new(api, "given").await?, second };
    let _operator = Operator::start(&site.world.client, &[&site.world.namespace], always_leading(), clock);
    let given = ["edge.example.com", "192.0.2.77"];
    site.world.create("edge", json!({"publishing": {"addresses": given}})).await?;
    site.publishes(&given).await?;
    site.world.change("edge", json!({"publishing": {"addresses": null}})).await?;
    site.publishes(&NODES).await
}

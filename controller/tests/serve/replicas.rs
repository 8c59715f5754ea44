//! Two controllers.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use contour_e2e::wait::{SOON, eventually};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::Api;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::objects::{endpoints, proxy, service, simple};
use crate::world::{Cluster, Ports, http, local, upstream};

/// Times short enough for a test that kills the holder.
const LEASE: [&str; 3] = [
    "--leader-election-lease-duration=3s",
    "--leader-election-renew-deadline=2s",
    "--leader-election-retry-period=500ms",
];

/// What the Lease says.
pub(crate) async fn lease(cluster: &Cluster) -> anyhow::Result<LeaseSpec> {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "projectcontour");
    leases.get("leader-elect").await?.spec.context("no spec")
}

async fn holder(cluster: &Cluster) -> anyhow::Result<String> {
    lease(cluster).await?.holder_identity.filter(|holder| !holder.is_empty()).context("no holder")
}

/// Both serve Envoys, and when the holder dies the other takes over.
pub(crate) async fn the_lease_holder_alone_writes_statuses() {
    let cluster = Cluster::start().await;
    let web = upstream("web").await;
    for object in [service("web"), endpoints("web", &[web.address()]), simple("www", "web")] {
        cluster.apply(object).await;
    }
    let kubeconfig = cluster.api.kubeconfig();
    let a = cluster.contour_as("contour-a", Ports::default(), &kubeconfig, &LEASE);
    a.until_ready().await;
    let first = eventually(SOON, || holder(&cluster)).await.unwrap();
    assert!(first.starts_with("contour-a_"), "{first}");
    let ports = Ports { xds: 9101, http: 9100, debug: 9102 };
    let flags = [&LEASE[..], &["--envoy-service-http-port=9180", "--stats-port=9182"]].concat();
    std::fs::write(cluster.directory().join("b.yaml"), "network: {admin-port: 0}\n").unwrap();
    let b = cluster.contour_as(
        "contour-b",
        ports,
        &kubeconfig,
        &[&flags[..], &["--config-path=b.yaml"]].concat(),
    );
    b.until_ready().await;
    cluster.until_valid("www").await;

    let (_of_a, _of_b) = (cluster.envoy("envoy-a", 8001).await, cluster.envoy("envoy-b", 9101).await);
    http("www.example.com", "/").until_status(200).await.unwrap();
    let by_b = contour_e2e::client::get(local(9180), "www.example.com", "/");
    by_b.until_status(200).await.unwrap();
    assert!(a.metric("contour_status_update_success_total").await.unwrap() > 0.5);
    assert!(b.metric("contour_status_update_success_total").await.unwrap() < 0.5, "b does not lead");
    assert!((a.metric("contour_leader").await.unwrap() - 1.0).abs() < 0.5);
    assert!(b.metric("contour_leader").await.unwrap() < 0.5);

    a.end(Signal::SIGKILL, Duration::from_secs(10)).await;
    // Nobody leads for a while: configuration goes on, statuses wait and are written then.
    cluster.apply(simple("late", "web")).await;
    by_b.until_status(200).await.unwrap();
    contour_e2e::client::get(local(9180), "late.example.com", "/").until_status(200).await.unwrap();
    cluster.until_valid("late").await;
    let second = holder(&cluster).await.unwrap();
    assert!(second.starts_with("contour-b_"), "{second}");

    // One that ends as it should leaves the lease to be had at once.
    let c = cluster.contour_as("contour-c", Ports::default(), &kubeconfig, &[]);
    c.until_ready().await;
    b.end(Signal::SIGTERM, Duration::from_secs(10)).await;
    eventually(SOON, || async {
        let third = holder(&cluster).await?;
        ensure!(third.starts_with("contour-c_"), "{third}");
        Ok(())
    })
    .await
    .unwrap();
    let empty = proxy("empty", &json!({"virtualhost": {"fqdn": "empty.example.com"}}));
    cluster.apply(empty).await;
    cluster.until_error("empty", "SpecError", "NothingDefined").await;
}

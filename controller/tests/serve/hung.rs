//! Connections to the API server that died without a sign.

use std::time::Duration;

use anyhow::ensure;
use contour_e2e::relay::Relay;
use contour_e2e::wait::{SOON, eventually};

use crate::objects::{endpoints, service, simple};
use crate::replicas::lease;
use crate::world::{Cluster, Ports, http, upstream};

/// Half a minute, and as much again for a machine with other things to do.
const BLIND: Duration = Duration::from_mins(1);

/// Times long enough that only a request that hangs costs the lease, however busy the machine is.
const LEASE: [&str; 2] = ["--leader-election-lease-duration=45s", "--leader-election-renew-deadline=30s"];

/// Hosts come, statuses are written, and the leader stays the leader.
pub(crate) async fn dead_connections_cost_half_a_minute_and_not_the_lease() {
    let cluster = Cluster::start().await;
    let web = upstream("web").await;
    for object in [service("web"), endpoints("web", &[web.address()]), simple("www", "web")] {
        cluster.apply(object).await;
    }
    let relay = Relay::to(&cluster.api).await.unwrap();
    let contour = cluster.contour_as("contour-a", Ports::default(), &relay.kubeconfig(), &LEASE);
    contour.until_ready().await;
    let _envoy = cluster.envoy("envoy", 8001).await;
    http("www.example.com", "/").until_status(200).await.unwrap();
    cluster.until_valid("www").await;

    relay.silence();
    let last = lease(&cluster).await.unwrap().renew_time;
    cluster.apply(simple("late", "web")).await;
    let served = eventually(BLIND, || async {
        let status = http("late.example.com", "/").send().await?.status;
        ensure!(status == 200, "{status}");
        Ok(())
    });
    served.await.unwrap_or_else(|error| panic!("{error:#}\n{}", contour.process.log_tail()));
    cluster.until_valid("late").await;
    let renewed = eventually(SOON, || async {
        ensure!(lease(&cluster).await?.renew_time != last, "not renewed");
        Ok(())
    });
    renewed.await.unwrap();
    assert!(contour.metric("contour_kubernetes_hung_requests_total").await.unwrap() > 0.5);
    let log = contour.process.log();
    assert!(log.contains("became leader") && !log.contains("stopped leading"), "{log}");
}

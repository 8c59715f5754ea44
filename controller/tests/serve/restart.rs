//! The controller goes and comes back.

use std::time::Duration;

use contour_crds::HTTPProxy;
use contour_e2e::client::{Outcome, Run, Watcher};
use kube::api::Api;
use nix::sys::signal::Signal;

use crate::objects::{NAMESPACE, endpoints, service, simple};
use crate::world::{Cluster, http, is_open, upstream};

/// Neither by clients of the hosts nor by Envoy.
pub(crate) async fn a_restart_is_not_noticed() {
    let cluster = Cluster::start().await;
    let web = upstream("web").await;
    cluster.apply(service("web")).await;
    cluster.apply(endpoints("web", &[web.address()])).await;
    for host in ["a", "b", "c"] {
        cluster.apply(simple(host, "web")).await;
    }
    let contour = cluster.contour(&["--disable-leader-election"]);
    contour.until_ready().await;
    let envoy = cluster.envoy("envoy", 8001).await;
    for host in ["a", "b", "c"] {
        http(&format!("{host}.example.com"), "/").until_status(200).await.unwrap();
        cluster.until_valid(host).await;
    }
    assert!(contour.metric("contour_xds_bytes_sent_total").await.unwrap() > 0.0, "Envoy got its resources");
    assert!(contour.metric("contour_status_update_success_total").await.unwrap() >= 3.0);

    let mut versions = Vec::new();
    for host in ["a", "b", "c"] {
        versions.push(version_of(&cluster, host).await);
    }
    let mut watcher = Watcher::start(http("a.example.com", "/"));
    let log = contour.process.log_path().to_owned();
    let status = contour.end(Signal::SIGTERM, Duration::from_secs(10)).await;
    assert!(status.success(), "{status}: {}", std::fs::read_to_string(log).unwrap());
    for port in [8001, 8000, 6060] {
        assert!(!is_open(port).await, "{port} is still open");
    }
    watcher.after(50).await.unwrap();
    // On the same ports, at once.
    let contour = cluster.contour(&["--disable-leader-election"]);
    contour.until_ready().await;
    contour.until_metric("contour_xds_connected_streams", 1.0).await;
    watcher.after(50).await.unwrap();
    assert!(contour.metric("contour_xds_resources_sent_total").await.unwrap() < 0.5, "sent again");
    // Envoy said what it has, and there is nothing to add, but for what changes from now on.
    cluster.apply(simple("d", "web")).await;
    http("d.example.com", "/").until_status(200).await.unwrap();
    cluster.until_valid("d").await;
    let sent = contour.metric("contour_xds_resources_sent_total").await.unwrap();
    assert!((sent - 1.0).abs() < 0.5, "{sent} resources were sent, where one RouteConfiguration changed");
    for (host, version) in ["a", "b", "c"].iter().zip(&versions) {
        assert_eq!(&version_of(&cluster, host).await, version, "{host} was written again");
    }
    watcher.after(10).await.unwrap();
    all_succeeded(&watcher.stop());
    let rejected = envoy.rejected_updates().await.unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
}

async fn version_of(cluster: &Cluster, proxy: &str) -> Option<String> {
    let proxies: Api<HTTPProxy> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    proxies.get(proxy).await.unwrap().metadata.resource_version
}

/// Asserts that every request was answered with 200.
pub(crate) fn all_succeeded(runs: &[Run]) {
    assert!(!runs.is_empty() && runs.iter().all(|run| run.outcome == Outcome::Status(200)), "{runs:?}");
}

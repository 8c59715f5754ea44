//! Configuration that only Envoy finds wrong.

use contour_e2e::client::Watcher;
use serde_json::json;

use crate::objects::{endpoints, proxy, service, simple};
use crate::world::{Cluster, http, upstream};

/// The rest of the world does not hear of it; its owner does.
pub(crate) async fn what_envoy_rejects_is_held_back_alone() {
    let cluster = Cluster::start().await;
    let web = upstream("web").await;
    for object in
        [service("web"), endpoints("web", &[web.address()]), simple("good", "web"), simple("odd", "web")]
    {
        cluster.apply(object).await;
    }
    let contour = cluster.contour(&["--disable-leader-election"]);
    contour.until_ready().await;
    let envoy = cluster.envoy("envoy", 8001).await;
    for host in ["good.example.com", "odd.example.com"] {
        http(host, "/").until_status(200).await.unwrap();
    }
    let good = Watcher::start(http("good.example.com", "/"));
    let odd = Watcher::start(http("odd.example.com", "/"));

    // Eighteen hundred instructions: too many for this Envoy.
    let large = "/a{900}b{900}";
    let services = json!([{"name": "web", "port": 80}]);
    let repeated = json!({
        "virtualhost": {"fqdn": "odd.example.com"},
        "routes": [{"services": services}, {"conditions": [{"regex": large}], "services": services}],
    });
    cluster.apply(proxy("odd", &repeated)).await;
    let message = cluster.until_error("odd", "EnvoyError", "RejectedByEnvoy").await;
    assert!(message.contains("ingress_http") && message.contains("program size"), "{message}");
    contour.until_metric("contour_xds_nacks_total", 1.0).await;
    let metrics = contour.get("/metrics").send().await.unwrap().text();
    let invalid = "contour_httpproxy_invalid{namespace=\"team\",vhost=\"odd.example.com\"} 1";
    assert!(metrics.contains(invalid), "{metrics}");

    // Others change freely, new ones come, and what was good before still serves.
    cluster.apply(simple("new", "web")).await;
    http("new.example.com", "/").until_status(200).await.unwrap();
    cluster.until_valid("new").await;
    cluster.until_valid("good").await;
    let moved = json!({
        "virtualhost": {"fqdn": "good.example.com"},
        "routes": [{"services": services}, {"conditions": [{"prefix": "/moved"}], "directResponsePolicy": {"statusCode": 410}}],
    });
    cluster.apply(proxy("good", &moved)).await;
    http("good.example.com", "/moved").until_status(410).await.unwrap();

    // An Envoy that comes now has never seen a good version: all but the one host.
    for watcher in [good, odd] {
        crate::restart::all_succeeded(&watcher.stop());
    }
    drop(envoy);
    let _envoy = cluster.envoy("another", 8001).await;
    for host in ["good.example.com", "new.example.com"] {
        http(host, "/").until_status(200).await.unwrap();
    }
    cluster.until_error("odd", "EnvoyError", "RejectedByEnvoy").await;

    cluster.apply(simple("odd", "web")).await;
    http("odd.example.com", "/").until_status(200).await.unwrap();
    cluster.until_valid("odd").await;
}

//! What one tenant does to another, and to Envoy.

use std::time::Duration;

use anyhow::{Context, ensure};
use contour_crds::HTTPProxy;
use contour_e2e::wait::{SOON, eventually};
use kube::api::Api;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::objects::{endpoints, proxy, service, simple};
use crate::world::{Cluster, http, upstream};

/// The namespace of who came later; by name it is the last, too.
const LATER: &str = "zone";

/// The host that an HTTPProxy of [`LATER`] is recorded to have.
async fn until_recorded(cluster: &Cluster, name: &str) {
    let proxies: Api<HTTPProxy> = Api::namespaced(cluster.client.clone(), LATER);
    let recorded = eventually(SOON, || async {
        let status = proxies.get(name).await?.status.context("no status")?;
        let record = status.conditions.iter().find(|c| c.type_ == "HostOwner").context("no record")?;
        ensure!(record.message == "this HTTPProxy has the host \"www.example.com\"", "{record:?}");
        Ok(())
    });
    recorded.await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
}

async fn www_is_of(service: &str) {
    let www = http("www.example.com", "/");
    let answer = www.until(|answer| {
        ensure!(answer.status == 200 && answer.received()?.service == service, "{}", answer.status);
        Ok(())
    });
    answer.await.unwrap_or_else(|error| panic!("{service}: {error:#}"));
}

/// An HTTPProxy older than the owner's, that is edited to name the owner's host.
pub(crate) async fn a_host_stays_with_who_has_it() {
    let cluster = Cluster::start().await;
    let (early, late) = (upstream("early").await, upstream("late").await);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LATER}});
    cluster.apply_in(None, namespace).await;
    for object in [service("web"), endpoints("web", &[early.address()]), simple("old", "web")] {
        cluster.apply(object).await;
    }
    let flags = ["--strict-host-ownership", "--disable-leader-election"];
    let contour = cluster.contour(&flags);
    contour.until_ready().await;
    let _envoy = cluster.envoy("envoy", 8001).await;
    cluster.until_valid("old").await;
    for object in [service("web"), endpoints("web", &[late.address()]), simple("www", "web")] {
        cluster.apply_in(Some(LATER), object).await;
    }
    until_recorded(&cluster, "www").await;
    www_is_of("late").await;

    // With what would be the record, if tenants could write it.
    let mut edited = simple("www", "web");
    edited["metadata"]["name"] = json!("old");
    edited["status"] = json!({"conditions": [{
        "type": "HostOwner", "status": "True", "reason": "Held", "lastTransitionTime": "2100-01-01T00:00:00Z",
        "message": "this HTTPProxy has the host \"www.example.com\"",
    }]});
    cluster.apply(edited).await;
    let told = cluster.until_error("old", "VirtualHostError", "DuplicateVhost").await;
    assert!(told.contains("HTTPProxy zone/www has it"), "{told}");
    www_is_of("late").await;

    // Who did not see it happen, and then sees the owner edited.
    let ended = contour.end(Signal::SIGTERM, Duration::from_secs(10)).await;
    assert!(ended.success(), "{ended}");
    let contour = cluster.contour(&flags);
    contour.until_ready().await;
    contour.until_metric("contour_xds_connected_streams", 1.0).await;
    let spec = json!({
        "virtualhost": {"fqdn": "www.example.com"},
        "routes": [{"conditions": [{"prefix": "/new"}], "services": [{"name": "web", "port": 80}]}],
    });
    cluster.apply_in(Some(LATER), proxy("www", &spec)).await;
    http("www.example.com", "/").until_status(404).await.unwrap();
    let answer = http("www.example.com", "/new").until_status(200).await.unwrap();
    assert_eq!(answer.received().unwrap().service, "late");
    cluster.until_error("old", "VirtualHostError", "DuplicateVhost").await;

    // Until the owner gives it up.
    cluster.apply_in(Some(LATER), proxy("www", &json!({"routes": spec["routes"]}))).await;
    www_is_of("early").await;
    cluster.until_valid("old").await;
}

/// An EndpointSlice whose addresses the API server does not look at.
pub(crate) async fn no_slice_leads_to_envoy_itself() {
    let cluster = Cluster::start().await;
    let contour = cluster.contour(&["--disable-leader-election"]);
    contour.until_ready().await;
    let _envoy = cluster.envoy("envoy", 8001).await;
    let slice = |kind: &str, address: &str| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": kind,
            "metadata": {"name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": [address]}],
            "ports": [{"name": "http", "port": 9001, "protocol": "TCP"}],
        })
    };
    for object in [service("web"), slice("FQDN", "127.0.0.1"), simple("www", "web")] {
        cluster.apply(object).await;
    }
    let warned = |status: &Value| {
        let warning = &status["conditions"][0]["warnings"][0];
        ensure!(warning["reason"] == "EndpointNotAllowed", "{status}");
        let told = warning["message"].as_str().unwrap_or_default();
        ensure!(told.contains("team/web-x") && told.contains("127.0.0.1"), "{told}");
        Ok(())
    };
    cluster.until_proxy("www", warned).await;
    // Envoy's own listener for administration is on 127.0.0.1:9001.
    assert_eq!(http("www.example.com", "/config_dump").until_status(503).await.unwrap().status, 503);
}

//! Settings from an object, and the addresses that statuses name.

use anyhow::{Context as _, Result, ensure};
use contour_e2e::client::get;
use contour_e2e::wait::{SOON, eventually};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::Api;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::Duration;

use crate::objects::{NAMESPACE, endpoints, service, simple};
use crate::world::{Cluster, Ports, local, upstream};

/// A ContourConfiguration with this spec, beside the settings without which no story goes.
async fn configure(cluster: &Cluster, name: &str, mut spec: Value) {
    spec["xdsServer"] = json!({"tls": {
        "caFile": "certs/cacert.pem", "certFile": "certs/contourcert.pem", "keyFile": "certs/contourkey.pem",
    }});
    let object = json!({
        "apiVersion": "projectcontour.io/v1alpha1", "kind": "ContourConfiguration",
        "metadata": {"name": name}, "spec": spec,
    });
    cluster.apply_in(Some("projectcontour"), object).await;
}

/// The Envoy Service, with these addresses in its annotation.
async fn reached_at(cluster: &Cluster, addresses: &str) {
    let mut service = service("envoy-edge");
    service["metadata"]["annotations"] = json!({"operator.projectcontour.io/addresses": addresses});
    cluster.apply_in(Some("projectcontour"), service).await;
}

/// Waits until Ingress and HTTPProxy `www` name these addresses.
async fn until_named(cluster: &Cluster, addresses: &Value) {
    let ingresses: Api<Ingress> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let named = eventually(SOON, || async {
        let ingress = serde_json::to_value(ingresses.get("www").await?.status)?;
        let proxy = cluster.status("www").await;
        for status in [ingress, proxy] {
            ensure!(status["loadBalancer"]["ingress"] == *addresses, "{status}");
        }
        Ok(())
    });
    named.await.unwrap();
}

/// What the object says happens, and statuses say where.
pub(crate) async fn an_object_configures_and_statuses_say_where() {
    let cluster = Cluster::start().await;
    let web = upstream("web").await;
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "www", "labels": {"a": "b"}},
        "spec": {"ingressClassName": "edge", "rules": [{"host": "ingress.example.com", "http": {"paths": [{
            "path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}},
        }]}}]},
    });
    let mut www = simple("www", "web");
    www["spec"]["ingressClassName"] = json!("edge");
    for object in [service("web"), endpoints("web", &[web.address()]), www, ingress, simple("other", "web")] {
        cluster.apply(object).await;
    }
    let envoy = json!({
        "service": {"namespace": "projectcontour", "name": "envoy-edge"},
        "http": {"address": "127.0.0.1", "port": 18080},
    });
    configure(&cluster, "edge", json!({"ingress": {"classNames": ["edge"]}, "envoy": envoy})).await;
    reached_at(&cluster, "192.0.2.1, edge.example.com").await;

    let flags = ["--contour-config-name=edge", "--ingress-class-name=typed", "--disable-leader-election"];
    let contour = cluster.contour(&flags);
    contour.until_ready().await;
    let log = contour.process.log();
    assert!(log.contains("--ingress-class-name has no effect"), "{log}");
    assert_eq!(log.matches("has no effect").count(), 1, "other flags say what the object says:\n{log}");
    let running = cluster.envoy("envoy", 8001).await;
    for host in ["www.example.com", "ingress.example.com"] {
        get(local(18080), host, "/").until_status(200).await.unwrap();
    }
    assert_eq!(get(local(18080), "other.example.com", "/").send().await.unwrap().status, 404);
    cluster.until_valid("www").await;
    until_named(&cluster, &json!([{"ip": "192.0.2.1"}, {"hostname": "edge.example.com"}])).await;
    assert_eq!(cluster.status("other").await["loadBalancer"], Value::Null, "it is of another class");
    let written = contour.metric("contour_status_update_success_total").await.unwrap();
    assert!(written < 4.5, "{written} writes for three statuses of two objects");

    // The addresses follow, and nothing else is told to anybody.
    let sent = contour.metric("contour_xds_resources_sent_total").await.unwrap();
    reached_at(&cluster, "192.0.2.2").await;
    until_named(&cluster, &json!([{"ip": "192.0.2.2"}])).await;
    let more = contour.metric("contour_xds_resources_sent_total").await.unwrap() - sent;
    assert!(more < 0.5, "{more} resources were sent");
    assert!(running.rejected_updates().await.unwrap().is_empty());
    assert!(contour.end(Signal::SIGTERM, Duration::from_secs(10)).await.success());

    // A fixed address goes before the Service; another start takes it over.
    let fixed = json!({"ingress": {"classNames": ["edge"], "statusAddress": "198.51.100.1"}, "envoy": envoy});
    configure(&cluster, "edge", fixed).await;
    let contour = cluster.contour(&flags);
    contour.until_ready().await;
    until_named(&cluster, &json!([{"ip": "198.51.100.1"}])).await;
    wrong_ones_are_told(&cluster).await.unwrap();
}

/// All that is wrong at once, with the status of wrong usage; and what is missing is named.
async fn wrong_ones_are_told(cluster: &Cluster) -> Result<()> {
    let tracing = json!({"extensionService": {"namespace": "a", "name": "b"}});
    configure(
        cluster,
        "wrong",
        json!({"tracing": tracing, "envoy": {"timeouts": {"requestTimeout": "soon"}}}),
    )
    .await;
    let ports = Ports { xds: 9101, http: 9100, debug: 9102 };
    let kubeconfig = cluster.api.kubeconfig();
    let wrong = cluster.contour_as("contour-b", ports, &kubeconfig, &["--contour-config-name=wrong"]);
    let missing = cluster.contour_as("contour-c", ports, &kubeconfig, &["--contour-config-name=none"]);
    let ended = eventually(SOON, || async { wrong.process.exited().context("it goes on") }).await?;
    let log = wrong.process.log();
    ensure!(ended.code() == Some(2), "{ended}: {log}");
    for part in [
        "2 settings are wrong (fields are those of ContourConfiguration projectcontour/wrong)",
        "spec.envoy.timeouts.requestTimeout: ",
        "spec.tracing: ",
    ] {
        ensure!(log.contains(part), "{part}: {log}");
    }
    eventually(SOON, || async {
        let log = missing.process.log();
        ensure!(log.contains("there is no ContourConfiguration projectcontour/none"), "{log}");
        Ok(())
    })
    .await?;
    let ended = missing.end(Signal::SIGTERM, Duration::from_secs(10)).await;
    ensure!(ended.success(), "{ended}: it was asked to end while it waited");
    Ok(())
}

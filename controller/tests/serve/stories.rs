//! What objects come to.

use std::time::Duration;

use anyhow::ensure;
use contour_e2e::certs::TestCa;
use contour_e2e::client::{Tls, get};
use contour_e2e::echo::Echo;
use contour_e2e::wait::{SOON, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::objects::{endpoints, proxy, service, simple, tls_secret};
use crate::world::{Cluster, http, local, upstream};

/// From the first object to the last: traffic, statuses, metrics.
pub(crate) async fn objects_become_traffic_and_statuses() {
    let cluster = Cluster::start().await;
    let (one, two) = (upstream("one").await, upstream("two").await);
    std::fs::write(cluster.directory().join("contour.yaml"), "enableExternalNameService: true\n").unwrap();
    let contour = cluster.contour(&["--config-path=contour.yaml"]);
    contour.until_ready().await;
    let envoy = cluster.envoy("envoy", 8001).await;

    for object in [service("web"), endpoints("web", &[one.address()]), simple("www", "web")] {
        cluster.apply(object).await;
    }
    let www = http("www.example.com", "/");
    assert_eq!(www.until_status(200).await.unwrap().received().unwrap().service, "one");
    cluster.until_valid("www").await;

    // Somebody else's mistake is told to them, and to nobody else.
    let missing = simple("broken", "gone");
    cluster.apply(missing.clone()).await;
    cluster.until_error("broken", "ServiceError", "ServiceUnresolvedReference").await;
    cluster.apply(simple("other", "web")).await;
    cluster.apply(proxy("orphan", &json!({"routes": [{"services": [{"name": "web", "port": 80}]}]}))).await;
    let orphaned = |status: &Value| {
        ensure!(status["currentStatus"] == "orphaned", "{status}");
        Ok(())
    };
    cluster.until_proxy("orphan", orphaned).await;
    assert_eq!(http("broken.example.com", "/").until_status(503).await.unwrap().status, 503);
    assert_eq!(www.send().await.unwrap().status, 200);
    cluster.until_valid("www").await;

    // The mistake is mended by the arrival of what was missing, of whatever kind.
    let away = Echo::start_at("away", "10.77.0.1:80".parse().unwrap()).await.unwrap();
    cluster
        .apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "gone"},
            "spec": {"type": "ExternalName", "externalName": away.address().ip().to_string(), "ports": [{"name": "http", "port": 80}]},
        }))
        .await;
    let answer = http("broken.example.com", "/").until_status(200).await.unwrap();
    assert_eq!(answer.received().unwrap().service, "away");
    cluster.until_valid("broken").await;

    // Endpoints and routes follow their objects, and go with them.
    cluster.apply(endpoints("web", &[two.address()])).await;
    let from_two = www.until(|answer| {
        ensure!(answer.status == 200 && answer.received()?.service == "two", "still the first");
        Ok(())
    });
    from_two.await.unwrap();
    let edited = json!({
        "virtualhost": {"fqdn": "www.example.com"},
        "routes": [{"conditions": [{"prefix": "/new"}], "services": [{"name": "web", "port": 80}]}],
    });
    cluster.apply(proxy("www", &edited)).await;
    www.until_status(404).await.unwrap();
    assert_eq!(http("www.example.com", "/new").send().await.unwrap().status, 200);
    cluster.until_valid("www").await;
    cluster.delete(missing).await;
    http("broken.example.com", "/").until_status(404).await.unwrap();

    assert_eq!(contour.get("/healthz").send().await.unwrap().text(), "OK");
    assert_eq!(contour.get("/health").send().await.unwrap().status, 200);
    let hosts = contour.debug("/debug/hosts").send().await.unwrap().text();
    assert!(hosts.contains("www.example.com") && !hosts.contains("broken.example.com"), "{hosts}");
    assert!(contour.debug("/debug/xds").send().await.unwrap().text().contains("envoy"));
    let rejected = envoy.rejected_updates().await.unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
    metrics_have_contours_names(&contour.get("/metrics").send().await.unwrap().text());
    let status = contour.end(Signal::SIGTERM, Duration::from_secs(10)).await;
    assert!(status.success(), "{status}");
}

/// Reference: Contour's metrics, on a controller that saw one of each.
fn metrics_have_contours_names(text: &str) {
    assert!(!text.contains("broken.example.com"), "what is gone is not counted:\n{text}");
    for series in [
        "contour_build_info{",
        "contour_httpproxy{namespace=\"team\"} 3",
        "contour_httpproxy_root{namespace=\"team\"} 2",
        "contour_httpproxy_orphaned{namespace=\"team\"} 1",
        "contour_httpproxy_valid{namespace=\"team\",vhost=\"www.example.com\"} 1",
        "contour_dagrebuild_timestamp ",
        "contour_dagrebuild_total ",
        "contour_dagrebuild_seconds_count ",
        "contour_dag_cache_object{kind=\"HTTPProxy\"} 3",
        "contour_cachehandler_onupdate_duration_seconds_count ",
        "contour_eventhandler_operation_total{op=\"update\",kind=\"HTTPProxy\"} ",
        "contour_eventhandler_operation_total{op=\"delete\",kind=\"HTTPProxy\"} 1",
        "contour_status_update_total{kind=\"HTTPProxy\"} ",
        "contour_status_update_success_total{kind=\"HTTPProxy\"} ",
        "contour_status_update_duration_seconds_count{",
        "contour_xds_connected_streams",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(series), "no {series} in\n{text}");
    }
}

/// TLS by HTTPProxy and Ingress, and a certificate that is replaced.
pub(crate) async fn hosts_with_tls_and_ingresses_follow_their_objects() {
    let cluster = Cluster::start().await;
    let web = upstream("web").await;
    let ca = TestCa::new("hosts").unwrap();
    let names = ["secure.example.com", "ingress.example.com"];
    let (first, second) = (ca.leaf(&names).unwrap(), ca.leaf(&names).unwrap());
    let secure = proxy(
        "secure",
        &json!({
            "virtualhost": {"fqdn": "secure.example.com", "tls": {"secretName": "cert"}},
            "routes": [{"services": [{"name": "web", "port": 80}]}],
        }),
    );
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "ingress"},
        "spec": {
            "tls": [{"hosts": ["ingress.example.com"], "secretName": "cert"}],
            "rules": [{"host": "ingress.example.com", "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"name": "http"}}},
            }]}}],
        },
    });
    for object in [service("web"), endpoints("web", &[web.address()]), secure, ingress.clone()] {
        cluster.apply(object).await;
    }
    let contour = cluster.contour(&["--disable-leader-election"]);
    contour.until_ready().await;
    let envoy = cluster.envoy("envoy", 8001).await;
    cluster.until_error("secure", "TLSError", "SecretNotValid").await;

    cluster.apply(tls_secret("cert", &first)).await;
    cluster.until_valid("secure").await;
    let tls = |host: &str| get(local(8443), host, "/").tls(Tls::trusting(&ca));
    for host in names {
        let answer = tls(host).until_status(200).await.unwrap();
        assert!(answer.came_with(&first).unwrap(), "{host}");
    }
    assert_eq!(
        http("ingress.example.com", "/").until_status(200).await.unwrap().received().unwrap().service,
        "web"
    );
    assert_eq!(http("secure.example.com", "/").send().await.unwrap().status, 301);

    cluster.apply(tls_secret("cert", &second)).await;
    for host in names {
        let request = tls(host);
        let renewed = request.until(|answer| {
            ensure!(answer.status == 200 && answer.came_with(&second)?, "still the old certificate");
            Ok(())
        });
        renewed.await.unwrap();
    }
    // A Secret that is none takes the host down, since its owner must see that, and comes back.
    cluster.delete(ingress).await;
    http("ingress.example.com", "/").until_status(404).await.unwrap();
    eventually(SOON, || async {
        ensure!(tls("ingress.example.com").send().await.is_err(), "it is still served over TLS");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(tls("secure.example.com").send().await.unwrap().status, 200);
    let rejected = envoy.rejected_updates().await.unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
}

/// Objects of other classes and namespaces are neither served nor written to.
pub(crate) async fn what_belongs_to_others_is_left_alone() {
    let cluster = Cluster::start().await;
    let web = upstream("web").await;
    let with_class = |mut object: Value, class: &str| {
        object["spec"]["ingressClassName"] = json!(class);
        object
    };
    let mut elsewhere = with_class(simple("elsewhere", "web"), "public");
    elsewhere["metadata"]["namespace"] = json!("projectcontour");
    cluster.apply_in(Some("projectcontour"), elsewhere).await;
    for object in [
        service("web"),
        endpoints("web", &[web.address()]),
        with_class(simple("ours", "web"), "public"),
        with_class(simple("theirs", "web"), "private"),
        simple("nobodys", "web"),
    ] {
        cluster.apply(object).await;
    }
    let flags = ["--ingress-class-name=public,partners", "--watch-namespaces=team", "--root-namespaces=team"];
    let contour = cluster.contour(&[&flags[..], &["--disable-leader-election"]].concat());
    contour.until_ready().await;
    let _envoy = cluster.envoy("envoy", 8001).await;
    http("ours.example.com", "/").until_status(200).await.unwrap();
    cluster.until_valid("ours").await;
    for host in ["theirs.example.com", "nobodys.example.com", "elsewhere.example.com"] {
        assert_eq!(http(host, "/").send().await.unwrap().status, 404, "{host}");
    }
    for proxy in ["theirs", "nobodys"] {
        assert_eq!(cluster.status(proxy).await["currentStatus"], "NotReconciled", "{proxy}");
    }

    // An object that changes hands is served by its new owner only.
    cluster.apply(with_class(simple("theirs", "web"), "partners")).await;
    http("theirs.example.com", "/").until_status(200).await.unwrap();
    cluster.until_valid("theirs").await;
    cluster.apply(with_class(simple("ours", "web"), "private")).await;
    http("ours.example.com", "/").until_status(404).await.unwrap();
    assert!(contour.process.exited().is_none());
}

//! A real Envoy with a static configuration, between the client and the echo.

use std::net::SocketAddr;

use anyhow::Result;
use contour_e2e::certs::{Leaf, TestCa};
use contour_e2e::client::{Tls, get, tcp_exchange};
use contour_e2e::echo::{Echo, TcpEcho};
use contour_e2e::envoy::Launch;
use contour_e2e::wait::{SOON, eventually};
use serde_json::{Value, json};

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn cluster(name: &str, upstream: SocketAddr) -> Value {
    json!({"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": socket(upstream)}}]}]}})
}

fn http_listener(name: &str, cluster: &str, leaf: Option<&Leaf>) -> Value {
    let mut chain = json!({"filters": [{"name": "hcm", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    }}]});
    if let Some(leaf) = leaf {
        chain["transport_socket"] = json!({"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [{
                "certificate_chain": {"inline_string": leaf.cert_pem},
                "private_key": {"inline_string": leaf.key_pem}}]}}});
    }
    json!({"name": name, "address": socket(([127, 0, 0, 1], 0).into()), "filter_chains": [chain]})
}

fn behind_load_balancer(mut listener: Value) -> Value {
    listener["listener_filters"] = json!([{"name": "proxy_protocol", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}}]);
    listener["filter_chains"][0]["filters"][0]["typed_config"]["use_remote_address"] = json!(true);
    listener
}

fn tcp_listener(name: &str, cluster: &str) -> Value {
    json!({"name": name, "address": socket(([127, 0, 0, 1], 0).into()), "filter_chains": [{"filters": [
        {"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": name, "cluster": cluster}}]}]})
}

#[tokio::test]
async fn proxies_http_tls_websocket_and_tcp() -> Result<()> {
    let ca = TestCa::new("test CA")?;
    let leaf = ca.leaf(&["a.example"])?;
    let (echo, tcp) = (Echo::start("web").await?, TcpEcho::start("db").await?);
    let bootstrap = json!({"static_resources": {
        "listeners": [http_listener("clear", "web", None), http_listener("secure", "web", Some(&leaf)),
            behind_load_balancer(http_listener("proxied", "web", None)), tcp_listener("raw", "db")],
        "clusters": [cluster("web", echo.address()), cluster("db", tcp.address())]}});
    let envoy = Launch::bootstrap(bootstrap.to_string()).node("n", "c").concurrency(2).start().await?;
    envoy.ready().await?;

    let clear = envoy.listener("clear").await?;
    let received = get(clear, "a.example", "/x").send().await?.received()?;
    assert_eq!((received.service.as_str(), received.host.as_str()), ("web", "a.example"));
    assert!(received.headers.contains_key("x-request-id"), "Envoy was in between");
    assert_eq!(get(clear, "a.example", "/ws").websocket(b"frame").await?, b"frame");

    let secure = envoy.listener("secure").await?;
    let answer = get(secure, "a.example", "/").tls(Tls::trusting(&ca)).http2().send().await?;
    assert!(answer.status == 200 && answer.came_with(&leaf)?);

    let proxied =
        get(envoy.listener("proxied").await?, "a.example", "/").proxy_protocol(([192, 0, 2, 7], 1234).into());
    assert_eq!(proxied.send().await?.received()?.headers["x-forwarded-for"], "192.0.2.7");

    let raw = envoy.listener("raw").await?;
    assert_eq!(tcp_exchange(raw, None, b"ping").await?, b"db\nping");

    eventually(SOON, || async {
        let sent = envoy.stat("cluster.web.upstream_rq_total").await?;
        anyhow::ensure!(sent == 4, "Envoy has counted {sent} requests");
        Ok(())
    })
    .await?;
    assert_eq!(envoy.stat("cluster.none.upstream_rq_total").await?, 0);
    assert!(envoy.rejected_updates().await?.is_empty());
    assert!(envoy.config_dump().await?.to_string().contains("\"db\""));
    assert!(
        envoy.clusters().await?["cluster_statuses"].as_array().is_some_and(|clusters| clusters.len() == 2)
    );
    assert!(envoy.allocated_bytes().await? > 1 << 20 && envoy.resident_bytes()? > 10 << 20);
    Ok(())
}

#[tokio::test]
async fn finds_the_admin_port_that_envoy_picked_and_ends_with_its_value() -> Result<()> {
    let bootstrap = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}";
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("bootstrap.yaml");
    std::fs::write(&file, bootstrap)?;
    let envoy = Launch::file(&file).args(["--log-level", "warning"]).start().await?;
    envoy.ready().await?;
    assert!(envoy.post("/logging?level=debug").await?.contains("debug"));
    let pid = envoy.process().pid();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    drop(envoy);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    Ok(())
}

#[tokio::test]
async fn a_bootstrap_that_envoy_refuses_shows_its_reason() -> Result<()> {
    let error = Launch::bootstrap("static_resources: {listeners: [{nome: x}]}").start().await.unwrap_err();
    assert!(format!("{error:#}").contains("'nome'"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn a_rejected_update_is_counted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cds = dir.path().join("cds.yaml");
    // A cluster without the discovery that its type needs: well-formed, and refused.
    std::fs::write(
        &cds,
        "resources: [{'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: bad, type: EDS}]",
    )?;
    let bootstrap = json!({"node": {"id": "n", "cluster": "c"},
        "dynamic_resources": {"cds_config": {"path_config_source": {"path": cds}, "resource_api_version": "V3"}}});
    let envoy = Launch::bootstrap(bootstrap.to_string()).start().await?;
    eventually(SOON, || async {
        let rejected = envoy.rejected_updates().await?;
        anyhow::ensure!(rejected.get("cluster_manager.cds.update_rejected") == Some(&1), "{rejected:?}");
        Ok(())
    })
    .await
}

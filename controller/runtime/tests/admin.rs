//! The endpoints, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use contour_runtime::{
    AdminAddresses, AdminError, AdminServers, BuildInfo, HealthCheck, Listen, Readiness, health_router,
    metrics_router, register_process_metrics,
};
use prometheus_client::registry::Registry;
use reqwest::{Client, StatusCode, header};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

fn loopback() -> AdminAddresses {
    let any = Listen::new("127.0.0.1", 0);
    AdminAddresses { metrics: any.clone(), health: any.clone(), debug: Some(Listen::new("::1", 0)) }
}

struct Served {
    client: Client,
    token: CancellationToken,
    server: JoinHandle<io::Result<()>>,
    metrics: SocketAddr,
    health: SocketAddr,
    debug: SocketAddr,
}

impl Served {
    async fn start(readiness: Readiness, check: HealthCheck) -> Self {
        let mut registry = Registry::default();
        register_process_metrics(&mut registry, &BuildInfo::current());
        let servers = AdminServers::bind(&loopback()).await.unwrap();
        let (metrics, health) = (servers.metrics_address().unwrap(), servers.health_address().unwrap());
        let debug = servers.debug_address().unwrap();
        let pages = Router::new()
            .route("/debug/dag", get(|| async { "digraph {}" }))
            .route("/debug/endless", get(pending::<String>));
        // reqwest asks for a provider even where no TLS is spoken; tests of one process share it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let token = CancellationToken::new();
        let serve =
            servers.serve(metrics_router(registry), health_router(readiness, check), pages, token.clone());
        Self { client: Client::new(), token, server: tokio::spawn(serve), metrics, health, debug }
    }

    async fn get(&self, address: SocketAddr, path: &str) -> (StatusCode, String) {
        let response = self.client.get(format!("http://{address}{path}")).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }
}

#[tokio::test]
async fn one_server_serves_metrics_and_health_and_another_the_debug_pages() {
    let served = Served::start(Readiness::new(), HealthCheck::always()).await;
    assert_eq!(served.metrics, served.health);
    let response = served.client.get(format!("http://{}/metrics", served.metrics)).send().await.unwrap();
    let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let body = response.text().await.unwrap();
    let version = BuildInfo::current().version;
    let line = format!("contour_build_info{{branch=\"\",revision=\"\",version=\"{version}\"}} 1\n");
    assert!(body.contains(&line), "{body}");
    assert!(body.contains("\nprocess_resident_memory_bytes ") && body.ends_with("# EOF\n"), "{body}");

    assert_eq!(served.get(served.debug, "/debug/dag").await, (StatusCode::OK, "digraph {}".to_owned()));
    assert_eq!(served.get(served.debug, "/metrics").await.0, StatusCode::NOT_FOUND);
    assert_eq!(served.get(served.metrics, "/debug/dag").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn readiness_names_what_is_awaited() {
    let readiness = Readiness::new();
    let objects = readiness.handle("objects");
    let first = readiness.handle("first configuration");
    let served = Served::start(readiness, HealthCheck::always()).await;
    let expected =
        (StatusCode::SERVICE_UNAVAILABLE, "awaiting first configuration\nawaiting objects\n".to_owned());
    assert_eq!(served.get(served.health, "/readyz").await, expected);
    objects.release();
    assert_eq!(served.get(served.health, "/ready").await.1, "awaiting first configuration\n");
    first.release();
    for path in ["/ready", "/readyz", "/health", "/healthz"] {
        assert_eq!(served.get(served.health, path).await, (StatusCode::OK, "OK".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn health_tells_the_cause() {
    let broken = Arc::new(AtomicBool::new(true));
    let check = HealthCheck::new({
        let broken = broken.clone();
        move || {
            let broken = broken.load(Ordering::SeqCst);
            async move { if broken { Err("the API server does not answer") } else { Ok(()) } }
        }
    });
    let served = Served::start(Readiness::new(), check).await;
    for path in ["/health", "/healthz"] {
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "the API server does not answer\n".to_owned());
        assert_eq!(served.get(served.health, path).await, expected, "{path}");
    }
    broken.store(false, Ordering::SeqCst);
    assert_eq!(served.get(served.health, "/healthz").await, (StatusCode::OK, "OK".to_owned()));
}

#[tokio::test]
async fn shutdown_frees_the_port_although_clients_hold_on() {
    let served = Served::start(Readiness::new(), HealthCheck::always()).await;
    let silent = TcpStream::connect(served.metrics).await.unwrap();
    assert_eq!(served.get(served.health, "/healthz").await.0, StatusCode::OK);
    let mut endless = TcpStream::connect(served.debug).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut endless, b"GET /debug/endless HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();

    served.token.cancel();
    timeout(Duration::from_secs(20), served.server).await.unwrap().unwrap().unwrap();
    let again = Listen::new(served.metrics.ip().to_string(), served.metrics.port());
    let addresses = AdminAddresses { metrics: again.clone(), health: again, debug: None };
    let servers = AdminServers::bind(&addresses).await.unwrap();
    assert_eq!(servers.metrics_address().unwrap(), served.metrics);
    // Held until here.
    drop((silent, endless));
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_flag_that_moves_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let there = Listen::new("127.0.0.1", port);
    let addresses = AdminAddresses { metrics: there.clone(), health: there, debug: None };
    let error = AdminServers::bind(&addresses).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot serve metrics and health on 127.0.0.1:{port}: the port is in use; stop the program that holds it \
             (`ss -ltnp 'sport = :{port}'` names it), or choose another with --http-address and --http-port, \
             --health-address and --health-port"
        )
    );
    let addresses = AdminAddresses { debug: Some(Listen::new("192.0.2.1", 0)), ..loopback() };
    let error = AdminServers::bind(&addresses).await.unwrap_err();
    assert!(matches!(&error, AdminError::Bind { endpoints, .. } if endpoints == "debug pages"), "{error}");
}

#[tokio::test]
async fn the_ipv6_wildcard_accepts_ipv4_too() {
    let any = Listen::new("::", 0);
    let servers =
        AdminServers::bind(&AdminAddresses { metrics: any.clone(), health: any, debug: None }).await.unwrap();
    let port = servers.metrics_address().unwrap().port();
    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
}

//! The time before there is anything to serve, and who is served then.

use std::net::SocketAddr;

use contour_certs::{Certificate, Credentials};
use contour_e2e::certs::{Leaf, TestCa};
use contour_e2e::client::{Request, Tls, get};
use contour_e2e::wait::{SOON, eventually};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::objects::{endpoints, service, simple};
use crate::world::{Cluster, Contour, NEXT_ATTEMPT, Ports, http, is_open, kubeconfig_by, local, upstream};

/// A way to the API server that can be shut. Dropping it ends all connections.
struct Detour(tokio::task::JoinHandle<()>);

impl Detour {
    async fn open(at: SocketAddr, to: SocketAddr) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        Self(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut other) = TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
                    }
                });
            }
        }))
    }

    async fn shut(self) {
        self.0.abort();
        // Its listener and connections are gone when it is.
        let _ = self.0.await;
    }
}

/// The xDS port opens with the first complete configuration, and stays open without the API server.
pub(crate) async fn nothing_is_served_before_everything_is_known() {
    let cluster = Cluster::start().await;
    let web = upstream("web").await;
    for object in [service("web"), endpoints("web", &[web.address()]), simple("www", "web")] {
        cluster.apply(object).await;
    }
    let detour = local(9443);
    let api: SocketAddr = cluster.api.address().trim_start_matches("https://").parse().unwrap();
    let kubeconfig = kubeconfig_by(&cluster, detour.port()).unwrap();
    let flags = ["--disable-leader-election", "--envoy-client-name=envoy"];
    let contour = cluster.contour_as("contour-a", Ports::default(), &kubeconfig, &flags);
    let envoy = cluster.envoy("envoy", 8001).await;
    // It lives and says what it waits for, but is not ready, neither by port nor by page.
    let waiting = contour.get("/readyz").until_status(503).await.unwrap().text();
    assert!(waiting.contains("the first complete configuration"), "{waiting}");
    assert_eq!(contour.get("/healthz").until_status(503).await.unwrap().status, 503);
    let other = cluster.contour_as("contour-b", Ports::default(), &kubeconfig, &flags);
    let refused = eventually(SOON, || async {
        let status = other.process.exited();
        status.ok_or_else(|| anyhow::anyhow!("two controllers hold the same ports"))
    });
    assert_eq!(refused.await.unwrap().code(), Some(1));
    assert!(other.process.log().contains("8000: the port is in use"), "{}", other.process.log());
    assert!(!is_open(8001).await, "an open port means ready");
    assert!(envoy.get("/ready").await.is_err(), "nor is Envoy ready");

    let open = Detour::open(detour, api).await;
    contour.until_ready().await;
    http("www.example.com", "/").until_status(200).await.unwrap();
    assert_eq!(get(local(8002), "any", "/ready").until_status(200).await.unwrap().text(), "LIVE\n");
    only_our_envoys_are_served(&cluster).await;
    loaded_certificates_are_told(&cluster, &contour).await;

    // Without the API server everything goes on as it is, and then goes on from there.
    open.shut().await;
    contour.get("/healthz").until_status(503).await.unwrap();
    assert_eq!(contour.get("/readyz").send().await.unwrap().status, 200);
    assert!(is_open(8001).await);
    let late = cluster.envoy("late", 8001).await;
    late.ready().await.unwrap();
    drop(late);
    cluster.apply(simple("new", "web")).await;
    assert_eq!(http("www.example.com", "/").send().await.unwrap().status, 200);
    let _open = Detour::open(detour, api).await;
    let new = http("new.example.com", "/");
    let served = eventually(NEXT_ATTEMPT, || async {
        let status = new.send().await?.status;
        anyhow::ensure!(status == 200, "status {status}");
        Ok(())
    });
    served.await.unwrap();
    cluster.until_valid("new").await;
    contour.get("/healthz").until_status(200).await.unwrap();
    let sent = contour.metric("contour_xds_nacks_total").await.unwrap();
    assert!(sent < 0.5, "{sent} rejections");
}

/// xDS gives away keys: who has no certificate of the same CA gets nothing.
async fn only_our_envoys_are_served(cluster: &Cluster) {
    let read = |name: &str| std::fs::read_to_string(cluster.directory().join("certs").join(name)).unwrap();
    let stranger = TestCa::new("strangers").unwrap().leaf(&["envoy"]).unwrap();
    // What `certgen` wrote, in the place of what a test's CA signed.
    let mut ours: Leaf = stranger.clone();
    (ours.cert_pem, ours.key_pem) = (read("envoycert.pem"), read("envoykey.pem"));
    let call = |tls: Tls| -> Request {
        let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/Nothing";
        let request = get(local(8001), "contour", path).http2().tls(tls.sni("contour"));
        request.method(hyper::Method::POST).header("content-type", "application/grpc")
    };
    let answer = call(Tls::trusting_anyone().identity(&ours)).send().await.unwrap();
    assert_eq!(answer.header("grpc-status"), Some("12"), "there is no such method, but there is an answer");
    let mut controller = stranger.clone();
    (controller.cert_pem, controller.key_pem) = (read("contourcert.pem"), read("contourkey.pem"));
    let anyone = Tls::trusting_anyone;
    for tls in [anyone(), anyone().identity(&stranger), anyone().identity(&controller)] {
        call(tls).send().await.unwrap_err();
    }
    let answer = get(local(8001), "contour", "/").http2().send().await;
    assert!(answer.is_err(), "plain text is not spoken");
}

/// Whoever rotates certificates sees which ones are in use.
async fn loaded_certificates_are_told(cluster: &Cluster, contour: &Contour) {
    let read = |name: &str| {
        let text = std::fs::read_to_string(cluster.directory().join("certs").join(name)).unwrap();
        Certificate::parse(&text).unwrap()
    };
    let expected = Credentials::of([&read("cacert.pem")], &read("contourcert.pem"));
    let answer = contour.get("/certificates").send().await.unwrap();
    assert_eq!(answer.json::<Credentials>().unwrap(), expected);
    assert!(!answer.text().contains("KEY"), "keys stay where they are");
}

/// `kubectl apply` of everything may start the controller before its kinds are there.
pub(crate) async fn kinds_may_come_later() {
    let cluster = Cluster::without_our_kinds().await;
    let web = upstream("web").await;
    cluster.apply(service("web")).await;
    cluster.apply(endpoints("web", &[web.address()])).await;
    let contour = cluster.contour(&[]);
    let waiting = contour.get("/readyz").until_status(503).await.unwrap().text();
    assert!(waiting.contains("the first complete configuration"), "{waiting}");
    let told = eventually(SOON, || async {
        contour.process.ensure_running()?;
        let log = contour.process.log();
        anyhow::ensure!(log.contains("HTTPProxy"), "it does not tell what is missing:\n{log}");
        Ok(())
    });
    told.await.unwrap();
    assert!(!is_open(8001).await, "an open port means ready");
    assert_eq!(
        contour.get("/healthz").until_status(200).await.unwrap().text(),
        "OK",
        "it is not to be killed"
    );

    cluster.api.install_crds(&contour_crds::all_crds()).await.unwrap();
    contour.until_ready().await;
    cluster.apply(simple("www", "web")).await;
    let _envoy = cluster.envoy("envoy", 8001).await;
    http("www.example.com", "/").until_status(200).await.unwrap();
    cluster.until_valid("www").await;
}

/// What is refused at once, with a word about the way out, outside of any cluster.
pub(crate) fn refused(flags: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "none",
        "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
        "users": [{"name": "none", "user": {}}]}"#;
    std::fs::write(directory.path().join("kubeconfig"), kubeconfig).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_contour"));
    command.arg("serve").args(flags).current_dir(directory.path());
    // Any free port, so that only what a test is about is refused.
    command.args(["--kubeconfig=kubeconfig", "--http-port=0", "--debug-http-port=0"]);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

//! The end of an Envoy's pod, as Kubernetes brings it about: the binary next to a real Envoy that clients are connected to.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contour_certs::{Authority, Bundle, Credentials, KeyAlgorithm, LeafRequest, Party, write_bundle};
use contour_e2e::client::{Answer, Connection, get};
use contour_e2e::echo::{Echo, TcpEcho};
use contour_e2e::envoy::{Envoy, Launch};
use contour_e2e::process::Process;
use contour_e2e::wait::{SOON, eventually};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// What Kubernetes runs in one pod, and upstreams.
struct Pod {
    dir: TempDir,
    envoy: Envoy,
    web: Echo,
    raw: TcpEcho,
    runs: std::cell::Cell<u32>,
}

fn cluster(name: &str, to: SocketAddr) -> Value {
    json!({"name": name, "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
        {"endpoint": {"address": socket(to)}}
    ]}]}})
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn listener(name: &str, filter: &Value) -> Value {
    json!({"name": name, "address": socket(([127, 0, 0, 1], 0).into()), "filter_chains": [{"filters": [filter]}]})
}

fn http(stat_prefix: &str) -> Value {
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "web"}});
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    json!({"name": "http", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": stat_prefix,
        "route_config": {"virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
    }})
}

fn tcp() -> Value {
    json!({"name": "tcp", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "passthrough",
        "cluster": "raw",
    }})
}

impl Pod {
    async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("contour-shutdown-").tempdir().unwrap();
        let (web, raw) = (Echo::start("web").await.unwrap(), TcpEcho::start("raw").await.unwrap());
        let bootstrap = json!({
            "admin": {"address": {"pipe": {"path": dir.path().join("admin.sock")}}},
            "static_resources": {
                "listeners": [
                    listener("ingress_http", &http("ingress_http")),
                    listener("stats-health", &http("stats")),
                    listener("passthrough", &tcp()),
                ],
                "clusters": [cluster("web", web.address()), cluster("raw", raw.address())],
            },
        });
        let envoy = Launch::bootstrap(bootstrap.to_string()).concurrency(2).start().await.unwrap();
        envoy.ready().await.unwrap();
        Self { dir, envoy, web, raw, runs: std::cell::Cell::new(0) }
    }

    fn ready_file(&self) -> PathBuf {
        self.dir.path().join("ok")
    }

    /// Runs `contour envoy <subcommand>` next to this Envoy.
    fn contour(&self, subcommand: &str, flags: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contour"));
        command.args(["envoy", subcommand]).args(flags);
        command.arg("--admin-address").arg(self.dir.path().join("admin.sock"));
        command.arg("--ready-file").arg(self.ready_file());
        let run = self.runs.get();
        self.runs.set(run + 1);
        Process::spawn("contour", command, self.dir.path().join(format!("{subcommand}-{run}.log"))).unwrap()
    }

    async fn manager(&self, flags: &[&str]) -> Manager {
        let flags = [&["--serve-address=127.0.0.1", "--serve-port=0"], flags].concat();
        Manager::started(self.contour("shutdown-manager", &flags)).await
    }

    async fn connect(&self, listener: &str, http2: bool) -> Connection {
        let request = get(self.envoy.listener(listener).await.unwrap(), "any.example.com", "/");
        let request = if http2 { request.http2() } else { request };
        let mut connection = request.connect().await.unwrap();
        assert_eq!(connection.send(&request).await.unwrap().status, 200);
        connection
    }

    /// A session that is neither HTTP nor TLS.
    async fn session(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.envoy.listener("passthrough").await.unwrap()).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut echoed = [0; 4];
        stream.read_exact(&mut echoed).await.unwrap();
        stream
    }

    /// Waits until Envoy's own readiness is this, by the status of `/ready`.
    async fn until_ready(&self, ready: bool) {
        let changed = eventually(SOON, || async {
            let answer = self.envoy.get("/ready").await;
            ensure!(answer.is_ok() == ready, "/ready: {answer:?}");
            Ok(())
        });
        changed.await.unwrap();
    }
}

/// A running `contour envoy shutdown-manager`.
struct Manager {
    process: Process,
    address: SocketAddr,
}

impl Manager {
    async fn started(process: Process) -> Self {
        let address = eventually(SOON, || async {
            process.ensure_running()?;
            let log = process.log();
            let told = log.split_once("address=").context("no address in its log yet")?.1;
            Ok(told.split_whitespace().next().context("half a line")?.parse()?)
        });
        let address = address.await.unwrap();
        Self { process, address }
    }

    async fn get(&self, path: &str) -> Answer {
        get(self.address, "envoy", path).send().await.unwrap()
    }

    /// Asks for what the preStop hook asks for.
    fn shutdown(&self) -> JoinHandle<Result<Answer>> {
        let request = get(self.address, "envoy", "/shutdown");
        tokio::spawn(async move { request.send().await })
    }

    /// Samples of `/metrics` by name and labels.
    async fn metrics(&self) -> BTreeMap<String, String> {
        let text = self.get("/metrics").await.text();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    async fn until_metric(&self, name: &str, value: &str) {
        let reached = eventually(SOON, || async {
            let found = self.metrics().await.get(name).cloned();
            ensure!(found.as_deref() == Some(value), "{name} is {found:?}, not {value}");
            Ok(())
        });
        reached.await.unwrap_or_else(|error| panic!("{error:#}\n{}", self.process.log()));
    }

    async fn until_open(&self, connections: &str) {
        self.until_metric("contour_shutdown_phase{phase=\"draining\"}", "1").await;
        self.until_metric("contour_shutdown_open_connections", connections).await;
    }
}

async fn answered(asking: JoinHandle<Result<Answer>>) {
    let answer = tokio::time::timeout(SOON, asking).await.expect("an answer").unwrap().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "OK"));
}

async fn exit_code(process: &Process) -> i32 {
    let ended = eventually(SOON, || async { process.exited().context("still running") });
    let status = ended.await.unwrap_or_else(|error| panic!("{error:#}\n{}", process.log()));
    status.code().unwrap_or_else(|| panic!("{status}\n{}", process.log()))
}

/// Every pause is short: what is tested is what is waited for.
const QUICK: &str = "--check-interval=20ms";

#[tokio::test]
async fn a_drain_waits_for_every_client_and_answers_all_who_ask() {
    let pod = Pod::start().await;
    let manager = pod.manager(&["--drain", QUICK]).await;
    assert_eq!(manager.get("/healthz").await.text(), "OK");
    manager.until_metric("contour_shutdown_phase{phase=\"serving\"}", "1").await;
    let (plain, multiplexed) =
        (pod.connect("ingress_http", false).await, pod.connect("ingress_http", true).await);
    let (session, probe) = (pod.session().await, pod.connect("stats-health", false).await);

    let (first, second) = (manager.shutdown(), manager.shutdown());
    manager.until_open("3").await;
    pod.until_ready(false).await;
    drop(plain);
    manager.until_open("2").await;
    drop(multiplexed);
    manager.until_open("1").await;
    assert!(!first.is_finished() && !second.is_finished(), "a TCP session is still open");
    drop(session);
    answered(first).await;
    answered(second).await;
    drop(probe);
    let metrics = manager.metrics().await;
    assert_eq!(metrics["contour_shutdowns_total{outcome=\"drained\"}"], "1", "one drain for both");
    assert_eq!(metrics["contour_shutdown_phase{phase=\"done\"}"], "1");
    assert!(metrics["contour_shutdown_elapsed_seconds"].parse::<f64>().unwrap() > 0.0);
}

#[tokio::test]
async fn both_commands_work_as_in_the_stock_manifests() {
    let pod = Pod::start().await;
    std::fs::write(pod.ready_file(), "").unwrap();
    let manager = pod.manager(&[]).await;
    assert!(!pod.ready_file().exists(), "a file of an earlier shutdown would end this one at once");
    let connection = pod.connect("ingress_http", false).await;
    let asking = manager.shutdown();
    manager.until_metric("contour_shutdown_phase{phase=\"draining\"}", "1").await;
    let flags =
        ["--check-delay=1ms", "--drain-delay=1ms", "--min-open-connections=0", "--admin-port=9001", QUICK];
    let shutdown = pod.contour("shutdown", &flags);
    pod.until_ready(false).await;
    assert_eq!(shutdown.exited(), None);
    assert!(!asking.is_finished() && !pod.ready_file().exists());
    drop(connection);
    assert_eq!(exit_code(&shutdown).await, 0);
    assert!(pod.ready_file().exists());
    answered(asking).await;
}

#[tokio::test]
async fn some_connections_may_be_left() {
    let pod = Pod::start().await;
    let _one = pod.connect("ingress_http", false).await;
    let two = pod.session().await;
    let shutdown = pod.contour("shutdown", &["--min-open-connections=1", QUICK]);
    pod.until_ready(false).await;
    assert!(!pod.ready_file().exists());
    drop(two);
    assert_eq!(exit_code(&shutdown).await, 0);
}

#[tokio::test]
async fn nobody_waits_for_an_envoy_that_is_not_there() {
    let pod = Pod::start().await;
    let manager = pod.manager(&["--drain", QUICK]).await;
    let session = pod.session().await;
    let asking = manager.shutdown();
    manager.until_open("1").await;
    pod.envoy.process().signal(Signal::SIGKILL).unwrap();
    answered(asking).await;
    drop(session);
    // The file of its socket is still there, as in a pod.
    assert_eq!(manager.metrics().await["contour_shutdowns_total{outcome=\"gone\"}"], "1");
    assert_eq!(exit_code(&pod.contour("shutdown", &[])).await, 0);
    assert!(pod.ready_file().exists());
    let elsewhere = pod.contour("shutdown", &["--admin-port=1"]);
    std::fs::remove_file(pod.dir.path().join("admin.sock")).unwrap_or_default();
    assert_eq!(exit_code(&elsewhere).await, 0);
}

#[tokio::test]
async fn an_envoy_that_hangs_or_never_ends_is_waited_for_in_bounds() {
    let pod = Pod::start().await;
    let manager = pod.manager(&["--drain", "--drain-timeout=300ms", QUICK]).await;
    let session = pod.session().await;
    answered(manager.shutdown()).await;
    assert_eq!(manager.metrics().await["contour_shutdowns_total{outcome=\"timeout\"}"], "1");
    pod.envoy.process().signal(Signal::SIGSTOP).unwrap();
    answered(manager.shutdown()).await;
    assert_eq!(manager.metrics().await["contour_shutdowns_total{outcome=\"timeout\"}"], "2");
    pod.envoy.process().signal(Signal::SIGCONT).unwrap();
    drop(session);
    answered(manager.shutdown()).await;
}

#[tokio::test]
async fn a_restart_of_the_sidecar_leaves_no_envoy_drained() {
    let pod = Pod::start().await;
    let _session = pod.session().await;
    let manager = pod.manager(&["--drain", QUICK]).await;
    let asking = manager.shutdown();
    pod.until_ready(false).await;
    manager.process.signal(Signal::SIGKILL).unwrap();
    assert!(asking.await.unwrap().is_err());
    let manager = pod.manager(&["--drain", QUICK]).await;
    pod.until_ready(true).await;
    manager.until_metric("contour_shutdown_phase{phase=\"serving\"}", "1").await;

    // The same where its own hook drained Envoy, as the kubelet runs it before it restarts a container.
    let shutdown = pod.contour("shutdown", &[QUICK]);
    pod.until_ready(false).await;
    drop((shutdown, manager));
    let _manager = pod.manager(&[]).await;
    pod.until_ready(true).await;
}

#[tokio::test]
async fn an_envoy_that_nobody_ends_is_ready_again() {
    let pod = Pod::start().await;
    let manager = pod.manager(&["--drain", "--restore-after=200ms", QUICK]).await;
    let session = pod.session().await;
    let asking = manager.shutdown();
    pod.until_ready(false).await;
    asking.abort();
    pod.until_ready(true).await;
    // And once more, to the end.
    let asking = manager.shutdown();
    pod.until_ready(false).await;
    drop(session);
    answered(asking).await;
    pod.until_ready(true).await;
    manager.until_metric("contour_shutdown_phase{phase=\"serving\"}", "1").await;
}

#[tokio::test]
async fn who_waits_is_answered_after_the_signal_to_end() {
    let pod = Pod::start().await;
    let manager = pod.manager(&["--drain", "--shutdown-from=node", QUICK]).await;
    let session = pod.session().await;
    let asking = manager.shutdown();
    manager.until_open("1").await;
    manager.process.signal(Signal::SIGTERM).unwrap();
    let refused = eventually(SOON, || async {
        ensure!(get(manager.address, "envoy", "/healthz").send().await.is_err(), "still taking requests");
        Ok(())
    });
    refused.await.unwrap();
    assert!(!asking.is_finished());
    drop(session);
    answered(asking).await;
    assert_eq!(exit_code(&manager.process).await, 0);
}

/// Writes what a Secret would hold, and answers with its public part.
fn mount(directory: &Path) -> Credentials {
    let (now, algorithm, year) = (Timestamp::now(), KeyAlgorithm::default(), Duration::from_hours(365 * 24));
    let authority = Authority::create(now, year, algorithm).unwrap();
    let request = LeafRequest::for_party(Party::Envoy, "projectcontour", "cluster.local");
    let leaf = authority.issue(&request, now, year, algorithm).unwrap();
    let (ca, certificate) = (authority.certificate().pem().to_owned(), leaf.chain().to_owned());
    write_bundle(directory, &Bundle { ca, certificate, key: leaf.key().clone() }).unwrap();
    Credentials::of([authority.certificate()], leaf.certificate())
}

#[tokio::test]
async fn mounted_certificates_are_told_without_keys() {
    let pod = Pod::start().await;
    let without = pod.manager(&[]).await;
    assert_eq!(without.get("/certificates").await.status, 404);
    let certificates = pod.dir.path().join("certs");
    let first = mount(&certificates);
    let file = |name: &str| certificates.join(name).display().to_string();
    let (ca, certificate) = (file("ca.crt"), file("tls.crt"));
    let manager = pod.manager(&["--envoy-cafile", &ca, "--envoy-cert-file", &certificate]).await;
    let answer = manager.get("/certificates").await;
    assert_eq!(answer.json::<Credentials>().unwrap(), first);
    let value: Value = answer.json().unwrap();
    assert_eq!(value["certificate"]["sha256"].as_str().unwrap().len(), 64, "{value}");
    assert!(value["certificate"]["notAfter"].as_str().unwrap().parse::<Timestamp>().is_ok(), "{value}");
    let second = mount(&certificates);
    assert_ne!(first, second);
    assert_eq!(manager.get("/certificates").await.json::<Credentials>().unwrap(), second);
    std::fs::write(&certificate, "no certificate").unwrap();
    let answer = manager.get("/certificates").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains("tls.crt") && answer.text().contains("no certificate found"),
        "{}",
        answer.text()
    );
    assert_eq!(pod.web.requests() + pod.raw.connections(), 0, "nothing of this concerns Envoy");
}

#[tokio::test]
async fn a_port_that_is_taken_and_an_unwritable_file_are_told() {
    let pod = Pod::start().await;
    let manager = pod.manager(&[]).await;
    let port = format!("--serve-port={}", manager.address.port());
    let second = pod.contour("shutdown-manager", &["--serve-address=127.0.0.1", &port]);
    assert_eq!(exit_code(&second).await, 1);
    assert!(second.log().contains("--serve-port"), "{}", second.log());
    std::fs::create_dir(pod.ready_file()).unwrap();
    let shutdown = pod.contour("shutdown", &[QUICK]);
    assert_eq!(exit_code(&shutdown).await, 1);
    assert!(shutdown.log().contains("--ready-file"), "{}", shutdown.log());
    let idle = pod.contour("shutdown", &["--check-interval=0s"]);
    assert_eq!(exit_code(&idle).await, 2);
}

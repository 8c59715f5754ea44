//! The promises as a real Envoy sees them: no 503 between routes, nothing lost to a bad host, nothing re-sent.
//!
//! Needs Envoy 1.40: `$ENVOY_BIN`, else `envoy` on the PATH, else `.venv/bin/envoy` at the root of the workspace.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;
#[path = "common/pki.rs"]
mod pki;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{
    Running, TABLE, eds_cluster, endpoints, eventually, host, http_listener, localhost, set, table,
};
use contour_resource::{Resource, ResourceType, Transaction};
use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use pki::Authority;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Answers every HTTP/1.1 request with 200.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind(localhost(0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while stream.read_buf(&mut seen).await.is_ok_and(|n| n > 0) {
                    while let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
                        seen.drain(..end + 4);
                        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    addr
}

/// The status of a GET for this host, None when nothing listens.
async fn get(addr: SocketAddr, host: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(addr).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // The status comes first; what follows it is not waited for.
    while answer.len() < "HTTP/1.1 200".len() {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8_lossy(&answer).split_whitespace().nth(1)?.parse().ok()
}

/// An Envoy that asks a controller for everything. Killed when dropped.
struct Envoy {
    child: Child,
    addr: SocketAddr,
    dir: TempDir,
}

impl Envoy {
    fn start(controller: SocketAddr, api: &str) -> Self {
        let bootstrap = include_str!("bootstrap.yaml").replace("XDS_API", api);
        Self::start_with(controller, &bootstrap)
    }

    fn start_with(controller: SocketAddr, bootstrap: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("bootstrap.yaml");
        let text = bootstrap.replace("XDS_PORT", &controller.port().to_string());
        std::fs::write(&config, text).unwrap();
        let log = File::create(dir.path().join("envoy.log")).unwrap();
        let child = Command::new(contour_e2e::envoy::binary().unwrap())
            .arg("-c")
            .arg(&config)
            .args(["--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Envoy starts");
        Self { child, addr: localhost(contour_e2e::ports::free::<1>()[0]), dir }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("envoy.log")).unwrap_or_default()
    }

    async fn serves(&self, host: &str, status: u16) {
        let mut last = None;
        let what = format!("{status} from {host}");
        let done = tokio::time::timeout(Duration::from_secs(30), async {
            eventually(&what, async || {
                last = get(self.addr, host).await;
                (last == Some(status)).then_some(())
            })
            .await;
        });
        assert!(done.await.is_ok(), "no {what}; last {last:?}\n{}", self.log());
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("Envoy's log:\n{}", self.log());
        }
    }
}

/// Asks for a host as fast as it can, and remembers every status.
struct Watch {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    task: JoinHandle<BTreeSet<u16>>,
}

impl Watch {
    /// Returns once the first answer is there.
    async fn start(addr: SocketAddr, host: &str) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted, host) = (Arc::clone(&stop), Arc::clone(&answers), host.to_owned());
        let task = tokio::spawn(async move {
            let mut seen = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) {
                seen.extend(get(addr, &host).await);
                counted.fetch_add(1, Ordering::Relaxed);
            }
            seen
        });
        let watch = Self { stop, answers, task };
        watch.answered(1).await;
        watch
    }

    async fn answered(&self, more: usize) {
        let enough = self.answers.load(Ordering::Relaxed) + more;
        eventually("answers", async || (self.answers.load(Ordering::Relaxed) >= enough).then_some(())).await;
    }

    /// Returns all that was answered, including some of what is answered now.
    async fn end(self) -> BTreeSet<u16> {
        self.answered(20).await;
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// A controller and an Envoy that serves an empty table.
async fn pair(api: &str) -> (Running, Envoy) {
    let controller = Running::start(localhost(0), None).await;
    let envoy = Envoy::start(controller.addr, api);
    controller.cache.commit(set(vec![http_listener(envoy.addr), table(&[])]));
    controller.cache.open();
    envoy.serves("nobody", 404).await;
    (controller, envoy)
}

/// Nothing was refused, and no route was sent because the patience with its cluster ran out.
fn in_good_order(controller: &Running) {
    let metrics = controller.metrics();
    assert!(!metrics.contains("contour_xds_nacks_total{"), "{metrics}");
    assert!(metrics.contains("contour_xds_holds_given_up_total 0"), "{metrics}");
}

async fn add_and_remove(api: &str) {
    let upstream = upstream().await;
    let (controller, envoy) = pair(api).await;
    let mut hosts: Vec<VirtualHost> = Vec::new();
    for i in 0..6 {
        // Every other cluster shares the endpoints of the one before.
        let (name, cluster, eds) = (format!("h{i}"), format!("c{i}"), format!("e{}", i / 2));
        let watch = Watch::start(envoy.addr, &name).await;
        hosts.push(host(&name, &cluster));
        controller.cache.commit(set(vec![
            table(&hosts),
            eds_cluster(&cluster, &eds),
            endpoints(&eds, upstream),
        ]));
        envoy.serves(&name, 200).await;
        let seen = watch.end().await;
        assert_eq!(seen, [200, 404].into(), "{name} while it was added");
    }
    // The first moves to another cluster, and both leave.
    let watch = Watch::start(envoy.addr, "h0").await;
    hosts[0] = host("h0", "c0b");
    let mut step = set(vec![table(&hosts), eds_cluster("c0b", "e0")]);
    step.remove.push((ResourceType::Cluster, "c0".into()));
    controller.cache.commit(step);
    has_clusters(&controller, 6).await;
    assert_eq!(watch.end().await, [200].into());
    let watch = Watch::start(envoy.addr, "h0").await;
    let mut step = set(vec![table(&hosts[1..])]);
    step.remove.push((ResourceType::Cluster, "c0b".into()));
    controller.cache.commit(step);
    has_clusters(&controller, 5).await;
    envoy.serves("h0", 404).await;
    let seen = watch.end().await;
    assert!(seen.is_subset(&[200, 404].into()), "h0 answered {seen:?} while it was removed");
    in_good_order(&controller);
}

/// A steady flow of new hosts, each with its own cluster, must neither starve the routes nor let one go ahead of its
/// cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_of_changes_neither_starves_routes_nor_breaks_them() {
    const HOSTS: usize = 150;
    let upstream = upstream().await;
    let (controller, envoy) = pair("DELTA_GRPC").await;
    let middle = Watch::start(envoy.addr, "h75").await;
    let last = Watch::start(envoy.addr, &format!("h{}", HOSTS - 1)).await;
    let mut hosts: Vec<VirtualHost> = Vec::new();
    let mut served_early = false;
    for i in 0..HOSTS {
        let (cluster, eds) = (format!("c{i}"), format!("e{i}"));
        hosts.push(host(&format!("h{i}"), &cluster));
        controller.cache.commit(set(vec![
            table(&hosts),
            eds_cluster(&cluster, &eds),
            endpoints(&eds, upstream),
        ]));
        // A request paces the flow: the next change comes before Envoy is done with this one.
        served_early |= get(envoy.addr, "h0").await == Some(200);
    }
    assert!(served_early, "the first host waited for the last");
    envoy.serves(&format!("h{}", HOSTS - 1), 200).await;
    for watch in [middle, last] {
        assert_eq!(watch.end().await, [200, 404].into());
    }
    in_good_order(&controller);
}

/// Waits until everything was delivered and accepted, and is no more than these clusters.
async fn has_clusters(controller: &Running, expected: usize) {
    let state = controller.cache.snapshot();
    assert_eq!(state.table(ResourceType::Cluster).len(), expected);
    eventually("everything to be accepted", async || {
        let nodes = controller.nodes.snapshot();
        let has = |kind| {
            let version = format!("{:016x}", state.table(kind).fingerprint());
            nodes
                .iter()
                .flat_map(|n| &n.types)
                .any(|t| t.kind == kind && t.acked == version && t.pending == 0)
        };
        (has(ResourceType::Cluster) && has(ResourceType::Route)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_come_and_go_without_a_503_delta() {
    add_and_remove("DELTA_GRPC").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_come_and_go_without_a_503_sotw() {
    add_and_remove("GRPC").await;
}

/// A virtual host that Envoy's validation refuses: it has no domain.
fn invalid(name: &str) -> VirtualHost {
    VirtualHost { domains: vec![], ..host(name, "c") }
}

/// A virtual host that passes validation and fails when it is loaded: its regular expression is none.
fn unloadable(name: &str) -> VirtualHost {
    let mut bad = host(name, "c");
    let regex = RegexMatcher { regex: "(".to_owned(), ..Default::default() };
    if let Some(matching) = &mut bad.routes[0].r#match {
        matching.path_specifier = Some(PathSpecifier::SafeRegex(regex));
    }
    bad
}

async fn rejected(controller: &Running) -> (Arc<str>, Arc<str>, String) {
    eventually("a rejection", async || {
        let fact = controller.facts.take().into_iter().find(|fact| !fact.new.is_empty())?;
        Some((fact.piece.resource, fact.piece.part, fact.new[0].message.to_string()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_hosts_harm_only_themselves() {
    let upstream = upstream().await;
    let (controller, envoy) = pair("DELTA_GRPC").await;
    controller.cache.commit(set(vec![eds_cluster("c", "e"), endpoints("e", upstream)]));
    let mut hosts: Vec<VirtualHost> = (0..200).map(|i| host(&format!("h{i:03}"), "c")).collect();
    hosts[57] = invalid("h057");
    controller.cache.commit(set(vec![table(&hosts)]));
    let (resource, part, message) = rejected(&controller).await;
    assert_eq!((&*resource, &*part), (TABLE, "h057"), "{message}");
    envoy.serves("h000", 200).await;
    envoy.serves("h199", 200).await;
    envoy.serves("h057", 404).await;

    // One that served becomes bad while another is added: it serves on as it was, and the other comes.
    let watch = Watch::start(envoy.addr, "h100").await;
    hosts[100] = unloadable("h100");
    hosts.push(host("new", "c"));
    controller.cache.commit(set(vec![table(&hosts)]));
    let (_, part, message) = rejected(&controller).await;
    assert_eq!(&*part, "h100", "{message}");
    envoy.serves("new", 200).await;
    assert_eq!(watch.end().await, [200].into());

    // Both are repaired.
    hosts[57] = host("h057", "c");
    hosts[100] = host("h100", "c");
    controller.cache.commit(set(vec![table(&hosts)]));
    envoy.serves("h057", 200).await;
    envoy.serves("h100", 200).await;
    eventually("nothing to be held back", async || {
        let nodes = controller.nodes.snapshot();
        nodes.iter().all(|n| n.types.iter().all(|t| t.rejected.is_empty())).then_some(())
    })
    .await;
    // Two bad hosts among 200 were found in a handful of responses, and refused ones were not sent again.
    let metrics = controller.metrics();
    let nacks = metrics.lines().find_map(|l| l.strip_prefix(r#"contour_xds_nacks_total{type="rds"} "#));
    assert!(nacks.is_some_and(|n| n.parse::<u64>().is_ok_and(|n| n <= 5)), "{nacks:?} refusals");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_cluster_harms_only_itself() {
    let upstream = upstream().await;
    let (controller, envoy) = pair("DELTA_GRPC").await;
    let nameless = (ResourceType::Cluster, Arc::new(Resource::whole("bad", b"\x12\x00".to_vec())));
    let (kind, twin) = eds_cluster("twin", "e");
    // A cluster whose name inside differs from its name outside is taken by Envoy; one without a name is not.
    controller.cache.commit(set(vec![
        nameless,
        (kind, twin),
        eds_cluster("c", "e"),
        endpoints("e", upstream),
        table(&[host("h", "c")]),
    ]));
    let (resource, ..) = rejected(&controller).await;
    assert_eq!(&*resource, "bad");
    envoy.serves("h", 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_sends_nothing() {
    let upstream = upstream().await;
    let (controller, envoy) = pair("DELTA_GRPC").await;
    let hosts: Vec<VirtualHost> = (0..50).map(|i| host(&format!("h{i}"), &format!("c{i}"))).collect();
    let state = || {
        let mut resources = vec![http_listener(envoy.addr), table(&hosts)];
        for i in 0..50 {
            resources.push(eds_cluster(&format!("c{i}"), &format!("e{i}")));
            resources.push(endpoints(&format!("e{i}"), upstream));
        }
        set(resources)
    };
    controller.cache.commit(state());
    envoy.serves("h49", 200).await;
    has_clusters(&controller, 50).await;
    let watch = Watch::start(envoy.addr, "h7").await;

    let addr = controller.stop().await;
    let controller = Running::start(addr, None).await;
    // Envoy may be back before the first complete state is there: it is not answered.
    controller.cache.commit(state());
    controller.cache.open();
    eventually("Envoy to ask again for all types", async || {
        let nodes = controller.nodes.snapshot();
        (nodes.iter().map(|n| n.types.len()).sum::<usize>() == 4).then_some(())
    })
    .await;
    // Proven by what comes next on the same stream: only the change.
    controller.cache.commit(set(vec![endpoints("e7", common::localhost(upstream.port()))]));
    let moved = common::localhost(self::upstream().await.port());
    controller.cache.commit(set(vec![endpoints("e7", moved)]));
    eventually("the change to be accepted", async || {
        let nodes = controller.nodes.snapshot();
        let eds = nodes.iter().flat_map(|n| &n.types).find(|t| t.kind == ResourceType::Endpoints)?;
        (!eds.acked.is_empty()).then_some(())
    })
    .await;
    let metrics = controller.metrics();
    let sent: Vec<&str> =
        metrics.lines().filter(|l| l.starts_with("contour_xds_resources_sent_total")).collect();
    assert_eq!(sent, [r#"contour_xds_resources_sent_total{type="eds"} 1"#]);
    assert_eq!(watch.end().await, [200].into());
    let gone = Transaction { set: vec![], remove: vec![(ResourceType::Listener, TABLE.into())] };
    controller.cache.commit(gone);
    eventually("the listener to go", async || get(envoy.addr, "h7").await.is_none().then_some(())).await;
}

/// An Envoy with Contour's stock bootstrap: one SotW stream for each subscription, over mutual TLS. Resources that name the aggregated stream, which
/// it does not have, name those to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_bootstrap_is_served_over_mutual_tls() {
    let upstream = upstream().await;
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let tls = authority.write(dir.path());
    authority.write_client(dir.path());
    let controller = Running::start(localhost(0), Some(tls)).await;
    let bootstrap = include_str!("stock-bootstrap.yaml").replace("DIR", dir.path().to_str().unwrap());
    let envoy = Envoy::start_with(controller.addr, &bootstrap);
    controller.cache.commit(set(vec![
        http_listener(envoy.addr),
        table(&[host("a", "c"), host("b", "d")]),
        eds_cluster("c", "e"),
        eds_cluster("d", "f"),
        endpoints("e", upstream),
        endpoints("f", upstream),
    ]));
    controller.cache.open();
    envoy.serves("a", 200).await;
    envoy.serves("b", 200).await;
    // CDS, LDS, RDS, and EDS for each of two clusters.
    assert_eq!(controller.nodes.snapshot().len(), 5);
    let step = set(vec![table(&[host("a", "c"), host("n", "n")]), eds_cluster("n", "e")]);
    controller.cache.commit(step);
    envoy.serves("n", 200).await;
    envoy.serves("b", 404).await;
    in_good_order(&controller);
}

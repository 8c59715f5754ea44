//! `contour serve`: from the API server to Envoys.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use contour_k8s::{
    ADDRESS_GRACE, AddressSource, ClientSource, Election, HungRequests, LeaseSettings, Metrics, NoteWriter,
    Notes, Sources, StatusWriter, Statuses, always_leading, api_health, configuration, connect, identity,
};
use contour_objects::NamespacedName;
use contour_runtime::{
    AdminServers, BuildInfo, Dedicated, HealthCheck, Listen, Readiness, Shutdown, Tasks, health_router,
    metrics_router, register_process_metrics,
};
use contour_xds::{Cache, Nodes, Server, TlsFiles};
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::certificates;
use crate::cli::ServeArgs;
use crate::config::{
    ConfigFile, Environment, KubernetesSettings, LeaderElectionSettings, LoadError, Settings, XdsTls,
    kubeconfig, overruled, resolve_object,
};
use crate::engine::{Engine, Inspector, News, Sink, Wiring};

/// Events waiting for the engine before sources have to wait.
const WAITING_EVENTS: usize = 4096;

/// How long tasks may take to end: well within the 30 s that a pod is given.
const GRACE: Duration = Duration::from_secs(8);

/// Statuses and Events go to the API server, through their writers.
struct ApiServer {
    statuses: Arc<Statuses>,
    notes: Arc<Notes>,
}

impl Sink for ApiServer {
    fn tell(&self, news: News) {
        self.statuses.withdraw(&news.gone);
        self.statuses.offer(news.statuses);
        // Of the hosts that are noted these are all the notes, too, though they were not built again.
        let complete = news.hosts.iter().map(|(host, _)| host).chain(&news.quiet).chain(&news.noted);
        self.notes.offer(complete, &news.notes);
    }
}

/// Runs as the ContourConfiguration says, from its first reading until a signal.
pub async fn run_by_object(args: &ServeArgs, object: NamespacedName) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let environment = Environment::of_process();
    let path = kubeconfig(args, &ConfigFile::default(), &environment);
    let hung = HungRequests::default();
    let client = connect(&client_source(path.as_ref()), &hung).await?;
    let token = shutdown.token();
    let read = token.run_until_cancelled(configuration(&client, &object));
    let Some(spec) = read.await.transpose()? else { return Ok(()) };
    let settings = resolve_object(args, &spec, &environment)
        .map_err(|errors| LoadError::InvalidObject { object: object.clone(), errors })?;
    info!(%object, "settings are those of the ContourConfiguration");
    for (flag, field) in overruled(args, &spec) {
        warn!(
            "{flag} has no effect: the ContourConfiguration decides; write {field} there, or leave the flag out"
        );
    }
    run_until(settings, client, hung, shutdown).await
}

/// Runs until a signal, or until something fails that the process cannot go on without.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let hung = HungRequests::default();
    let client = connect(&client_source(settings.kubernetes.kubeconfig.as_ref()), &hung).await?;
    run_until(settings, client, hung, shutdown).await
}

async fn run_until(
    settings: Settings,
    client: Client,
    hung: HungRequests,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let token = shutdown.token();
    let mut registry = Registry::default();
    register_process_metrics(&mut registry, &BuildInfo::current());
    hung.register(registry.sub_registry_with_prefix("contour"));
    let building = dedicated("engine")?;
    let (control, admin, own_client) = control(&settings, hung).await?;

    let cache = Cache::new();
    let tls = settings.xds.tls.clone().map(tls_files);
    let address = resolve(&settings.xds.listen).await?;
    let xds = Server::bind(address, tls, cache.clone(), &mut registry)?;
    let (facts, nodes, certificates) = (xds.facts(), xds.nodes(), xds.certificates());

    let metrics = Metrics::register(&mut registry);
    let statuses = Arc::new(Statuses::new());
    let told = Arc::new(Notes::new());
    let sources = Sources {
        client: client.clone(),
        watch_namespaces: settings.kubernetes.watch_namespaces.clone(),
        settings: settings.graph.clone(),
        statuses: Arc::clone(&statuses),
        metrics: metrics.clone(),
    };
    let readiness = Readiness::new();
    let wiring = Wiring {
        graph: settings.graph,
        envoy: settings.envoy,
        cache,
        sink: Arc::new(ApiServer { statuses: Arc::clone(&statuses), notes: Arc::clone(&told) }),
        scopes: sources.scopes(),
        ready: readiness.handle("the first complete configuration"),
    };
    let (engine, inspector) = Engine::new(wiring, &mut registry);

    let mut tasks = Tasks::new(token.clone());
    let (sender, receiver) = mpsc::channel(WAITING_EVENTS);
    tasks.spawn("watching the API server", sources.run(sender, token.clone()));
    let engine = building.run(engine.run(receiver, facts, token.clone()));
    tasks.spawn("the engine", never_fails(engine));
    let pointing = point(settings.kubernetes, &client, &statuses, &metrics, readiness.clone(), token.clone());
    tasks.spawn("the addresses of statuses", never_fails(pointing));
    let lease = settings.leader_election;
    let leading = elect(&mut tasks, &control, &own_client, lease, &metrics, &token)?;
    let note_writer = NoteWriter::new(client.clone(), told, leading.clone());
    tasks.spawn("writing Events", never_fails(note_writer.run(token.clone())));
    let writer = StatusWriter::new(client.clone(), statuses, leading, metrics);
    tasks.spawn("writing statuses", never_fails(writer.run(token.clone())));
    tasks.spawn("xDS", serve_xds(xds, readiness.clone(), token.clone()));
    let health = HealthCheck::new(move || api_health(own_client.clone()));
    let admin = admin.serve(
        metrics_router(registry)
            .merge(certificates::router(move || certificates.as_ref().map(certificates::loaded))),
        health_router(readiness, health),
        debug_router(inspector, nodes),
        token,
    );
    tasks.spawn("the admin endpoints", control.run(admin));
    tasks.join(GRACE).await?;
    info!("stopped");
    Ok(())
}

/// Probes, metrics and the lease have a thread and connections of their own, whatever the rest is busy with.
async fn control(
    settings: &Settings,
    hung: HungRequests,
) -> anyhow::Result<(Dedicated, AdminServers, Client)> {
    let control = dedicated("control")?;
    let addresses = settings.admin.clone();
    let admin = control.run(async move { AdminServers::bind(&addresses).await }).await?;
    let source = client_source(settings.kubernetes.kubeconfig.as_ref());
    let client = control.run(async move { connect(&source, &hung).await }).await?;
    Ok((control, admin, client))
}

/// An open xDS port means "has configuration": the stock manifests probe it for readiness.
async fn serve_xds(
    server: Server,
    readiness: Readiness,
    token: CancellationToken,
) -> Result<(), contour_xds::ServerError> {
    tokio::select! {
        () = token.cancelled() => return Ok(()),
        () = readiness.wait() => {}
    }
    info!(address = %server.local_addr(), "serving xDS");
    server.serve(token).await
}

/// Takes part in the election, if there is one.
fn elect(
    tasks: &mut Tasks,
    control: &Dedicated,
    client: &Client,
    settings: Option<LeaderElectionSettings>,
    metrics: &Metrics,
    token: &CancellationToken,
) -> anyhow::Result<watch::Receiver<bool>> {
    let Some(settings) = settings else { return Ok(always_leading()) };
    let lease = LeaseSettings {
        namespace: settings.namespace,
        name: settings.name,
        identity: identity(),
        lease_duration: settings.lease_duration,
        renew_deadline: settings.renew_deadline,
        retry_period: settings.retry_period,
    };
    let (election, leading) = Election::new(client.clone(), lease, metrics.clone())?;
    let election = control.run(election.run(token.clone()));
    tasks.spawn("the leader election", never_fails(election));
    Ok(leading)
}

/// Tells statuses where Envoys are reached: by configuration, else as the Envoy Service says. Not before there is something to reach there.
fn point(
    settings: KubernetesSettings,
    client: &Client,
    statuses: &Arc<Statuses>,
    metrics: &Metrics,
    readiness: Readiness,
    token: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let source = AddressSource {
        client: client.clone(),
        service: NamespacedName::new(settings.envoy_service_namespace, settings.envoy_service_name),
        statuses: Arc::clone(statuses),
        metrics: metrics.clone(),
        grace: ADDRESS_GRACE,
    };
    async move {
        if token.run_until_cancelled(readiness.wait()).await.is_none() {
            return;
        }
        if settings.status_addresses.is_empty() {
            source.run(token).await;
        } else {
            source.statuses.point_to(&settings.status_addresses);
            token.cancelled().await;
        }
    }
}

/// A thread of its own for a part.
pub fn dedicated(part: &str) -> anyhow::Result<Dedicated> {
    Dedicated::start(part).with_context(|| format!("cannot start a thread for {part}"))
}

async fn never_fails(task: impl Future<Output = ()>) -> Result<(), std::convert::Infallible> {
    task.await;
    Ok(())
}

fn client_source(kubeconfig: Option<&PathBuf>) -> ClientSource {
    match kubeconfig {
        Some(path) => ClientSource::Kubeconfig(path.clone()),
        None => ClientSource::InCluster,
    }
}

fn tls_files(tls: XdsTls) -> TlsFiles {
    TlsFiles { ca: tls.ca, cert: tls.certificate, key: tls.key, client_name: tls.client_name }
}

/// The address to listen on; a host name is looked up.
pub async fn resolve(listen: &Listen) -> anyhow::Result<SocketAddr> {
    let host = listen.host.trim_start_matches('[').trim_end_matches(']');
    let mut found = tokio::net::lookup_host((host, listen.port))
        .await
        .with_context(|| format!("cannot resolve the xDS address \"{}\"", listen.host))?;
    found.next().with_context(|| format!("the xDS address \"{}\" has no address", listen.host))
}

/// Debug pages: what every host serves, and what every Envoy has.
pub fn debug_router(inspector: Inspector, nodes: Nodes) -> Router {
    let hosts = move || {
        let inspector = inspector.clone();
        async move { tokio::task::spawn_blocking(move || inspector.hosts()).await.unwrap_or_default() }
    };
    let streams = move || {
        let nodes = nodes.clone();
        async move { format!("{:#?}\n", nodes.snapshot()) }
    };
    Router::new().route("/debug/hosts", get(hosts)).route("/debug/xds", get(streams))
}

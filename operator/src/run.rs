//! `contour-operator run`: puts the parts together, and runs them until a signal.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use contour_k8s::{
    ClientSource, Election, HungRequests, LeaseSettings, always_leading, api_health, connect, identity,
};
use contour_runtime::{
    AdminServers, BuildInfo, HealthCheck, Readiness, Shutdown, Tasks, Telemetry, health_router,
    metrics_router, register_process_metrics,
};
use jiff::Timestamp;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::capabilities;
use crate::cli::{ConnectionFlags, ImageFlags, LeaderElectionFlags, LogLevel, RunArgs};
use crate::controller::{Controller, Settings};
use crate::defaults::Defaults;
use crate::metrics::Metrics;

/// How long tasks may take to end: well within the 30 s that a pod is given.
const GRACE: Duration = Duration::from_secs(8);

/// Runs until a signal, or until something fails that the process cannot go on without.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    Telemetry {
        format: args.log_format,
        debug: args.log_level != LogLevel::Info,
        kubernetes_debug: if args.log_level == LogLevel::Trace { 5 } else { 0 },
    }
    .init()?;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let token = shutdown.token();
    let build = BuildInfo::current();
    let mut registry = Registry::default();
    register_process_metrics(&mut registry, &build);
    let metrics = Metrics::register(&mut registry);
    let admin = AdminServers::bind(&args.admin.addresses()).await?;
    let hung = HungRequests::default();
    hung.register(registry.sub_registry_with_prefix("contour_operator"));
    let client = connect(&client_source(&args.kubernetes.connection), &hung).await?;
    // Beside all else: who may do little does what it may.
    tokio::spawn({
        let client = client.clone();
        async move { capabilities::tell(&client).await }
    });
    let mut tasks = Tasks::new(token.clone());
    let operator = called(&args.leader_election);
    let name = identity();
    let leading = elect(&mut tasks, &client, args.leader_election, &name, &token)?;
    let controller = Controller::new(Settings {
        client: client.clone(),
        leading,
        identity: name,
        defaults: defaults(args.images, &build, &args.kubernetes.namespace),
        watch_namespaces: args.kubernetes.watch_namespaces.into_iter().collect(),
        operator,
        policy: args.kubernetes.policy,
        namespace: args.kubernetes.namespace,
        metrics,
        clock: Arc::new(Timestamp::now),
    });
    let readiness = Readiness::new();
    let filled = readiness.handle("the caches of ContourDeployments and their children");
    let caches = controller.caches();
    tokio::spawn(async move {
        caches.filled().await;
        filled.release();
    });
    info!(version = build.version, "running");
    tasks.spawn("the controller", never_fails(controller.run(token.clone())));
    let health = HealthCheck::new(move || api_health(client.clone()));
    let routers = (metrics_router(registry), health_router(readiness, health));
    tasks.spawn("the admin endpoints", admin.serve(routers.0, routers.1, Router::new(), token));
    tasks.join(GRACE).await?;
    info!("stopped");
    Ok(())
}

/// How other operators know this one.
fn called(flags: &LeaderElectionFlags) -> Option<String> {
    let lease =
        || format!("{}/{}", flags.leader_election_resource_namespace, flags.leader_election_resource_name);
    (!flags.disable_leader_election).then(lease)
}

fn elect(
    tasks: &mut Tasks,
    client: &Client,
    flags: LeaderElectionFlags,
    identity: &str,
    token: &CancellationToken,
) -> anyhow::Result<watch::Receiver<bool>> {
    if flags.disable_leader_election {
        return Ok(always_leading());
    }
    let lease = LeaseSettings {
        namespace: flags.leader_election_resource_namespace,
        name: flags.leader_election_resource_name,
        identity: identity.to_owned(),
        lease_duration: flags.leader_election_lease_duration,
        renew_deadline: flags.leader_election_renew_deadline,
        retry_period: flags.leader_election_retry_period,
    };
    // Its metrics have the controller's names: ours tell who leads.
    let (election, leading) = Election::new(client.clone(), lease, contour_k8s::Metrics::default())?;
    tasks.spawn("the leader election", never_fails(election.run(token.clone())));
    Ok(leading)
}

async fn never_fails(task: impl Future<Output = ()>) -> Result<(), Infallible> {
    task.await;
    Ok(())
}

pub(crate) fn client_source(flags: &ConnectionFlags) -> ClientSource {
    match &flags.kubeconfig {
        Some(path) => ClientSource::Kubeconfig(path.clone()),
        None if flags.incluster => ClientSource::InCluster,
        None => ClientSource::Inferred,
    }
}

pub(crate) fn defaults(images: ImageFlags, build: &BuildInfo, namespace: &str) -> Defaults {
    let [contour_image, envoy_image, agent_image] = images.chosen();
    Defaults {
        contour_image,
        envoy_image,
        agent_image,
        version: build.version.trim_start_matches('v').to_owned(),
        namespace: namespace.to_owned(),
    }
}

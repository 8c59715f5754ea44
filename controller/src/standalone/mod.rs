//! `contour standalone`: the whole of it on one machine, from a directory of YAML.
//!
//! One process makes its own CA, runs the controller and supervises an Envoy. Everything it keeps is in the state directory:
//!
//! ```text
//! lock              held while the process lives        certs/       the CA and the leaves of both sides
//! generations.json  what was metadata.generation        envoy/       what Envoy is started with
//! status/           one file per HTTPProxy, problems    envoy.log, access.log, admin.sock
//! ```
//!
//! All of it is for this user alone, whatever the mode of the state directory: one that exists keeps its mode.

mod args;
mod backoff;
mod console;
mod drain;
mod envoy;
mod line;
mod settings;
mod state;

use std::convert::Infallible;
use std::ffi::OsString;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use contour_certs::{CA_FILE, CERTIFICATE_FILE, Ensured, KEY_FILE, Outcome, Policy};
use contour_crds::ContourDeploymentSpec;
use contour_envoy::bootstrap::{Bootstrap, DRAIN_TIME_SECONDS, TlsFiles};
use contour_files::{Deployment, Directory, Report, StatusFiles};
use contour_runtime::{
    AdminAddresses, AdminServers, BuildInfo, HealthCheck, Listen, Readiness, Shutdown, Tasks, health_router,
    metrics_router, register_process_metrics,
};
use contour_xds::{Cache, Server};
use jiff::Timestamp;
use nix::sys::stat::{Mode, umask};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use args::{Output, StandaloneArgs};
pub use settings::{Settings, SettingsError};

use crate::cmd::serve::{debug_router, dedicated};
use crate::engine::{Engine, Wiring};
use console::{Console, Teller};
use envoy::Launch;
use line::{Line, Ports};
use state::{StateDirectory, check_ports};

/// Events waiting for the engine before files have to wait.
const WAITING_EVENTS: usize = 4096;
/// How long tasks may take to end: draining Envoy and then ending it take five seconds each.
const GRACE: Duration = Duration::from_secs(12);
/// How long to wait before certificates that could not be renewed are tried again.
const RETRY: Duration = Duration::from_mins(1);
/// The longest sleep between two looks at the certificates: clocks are set, and machines sleep.
const LOOK: Duration = Duration::from_hours(1);

/// Runs until a signal, or until something fails that cannot be gone on without.
pub async fn run(args: StandaloneArgs) -> anyhow::Result<()> {
    ensure!(args.directory.is_dir(), "{} is not a directory", args.directory.display());
    // Keys, logs and Envoy's admin socket are nobody else's, whatever directory they are in.
    umask(Mode::from_bits_truncate(0o077));
    let state = StateDirectory::take(&args.state())?;
    let report = Directory::new(&args.directory, Some(state.path().to_owned())).scan();
    let settings = resolve(&args, &state, report.deployment.as_ref())?;
    check_ports(&settings.envoy_ports())?;
    let binary = envoy::find(settings.envoy.as_deref())?;
    let version = envoy::version(&binary).await?;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;

    let (teller, messages) = Teller::new();
    teller.line(Line::note(introduction(&settings, &report, &binary, &version)));
    let console = Console::new(args.output, StatusFiles::new(state.path().join("status")));
    let (reports, reported) = watch::channel(Report::default());
    let finished = CancellationToken::new();
    let telling = tokio::spawn(console.run(messages, reported, finished.clone()));
    let session = Session { args, state, binary, teller, reports, token: shutdown.token() };
    let outcome = session.run(settings, spec_of(report.deployment.as_ref())).await;
    // What was told last is still written.
    finished.cancel();
    telling.await.context("the console panicked")?;
    outcome
}

fn resolve(
    args: &StandaloneArgs,
    state: &StateDirectory,
    deployment: Option<&Deployment>,
) -> Result<Settings, SettingsError> {
    Ok(Settings { state: state.path().to_owned(), ..Settings::resolve(args, deployment)? })
}

fn spec_of(deployment: Option<&Deployment>) -> ContourDeploymentSpec {
    deployment.map(|deployment| deployment.object.spec.clone()).unwrap_or_default()
}

/// What is started, for the first line.
fn introduction(settings: &Settings, report: &Report, binary: &Path, version: &str) -> String {
    let listens: Vec<String> =
        settings.envoy_ports().iter().map(|(_, address)| address.to_string()).collect();
    let place = |deployment: &Deployment| format!("{}:{}", deployment.file.display(), deployment.line);
    let source = report.deployment.as_ref().map_or("defaults".to_owned(), place);
    let objects: usize = report.counts.values().sum();
    format!(
        "contour {}: {objects} objects in {}, settings from {source}, state in {}; Envoy {version} ({}) listens on {}",
        env!("CARGO_PKG_VERSION"),
        settings.directory.display(),
        settings.state.display(),
        binary.display(),
        listens.join(", ")
    )
}

/// What lasts from the first installation to the last.
struct Session {
    args: StandaloneArgs,
    state: StateDirectory,
    binary: PathBuf,
    teller: Teller,
    reports: watch::Sender<Report>,
    token: CancellationToken,
}

impl Session {
    /// Runs one installation after the other, each until the settings change.
    async fn run(self, mut settings: Settings, mut spec: ContourDeploymentSpec) -> anyhow::Result<()> {
        loop {
            let token = self.token.child_token();
            let mut installation = pin!(self.install(settings.clone(), token.clone()));
            let changed = tokio::select! {
                outcome = &mut installation => return outcome,
                changed = self.changed(&settings, &spec) => changed,
            };
            self.teller.line(Line::note("the settings changed: controller and Envoy start again with them"));
            token.cancel();
            installation.await?;
            if self.token.is_cancelled() {
                return Ok(());
            }
            (settings, spec) = changed;
        }
    }

    /// Waits for other settings that can be used. Those that cannot are told, and change nothing.
    async fn changed(
        &self,
        settings: &Settings,
        spec: &ContourDeploymentSpec,
    ) -> (Settings, ContourDeploymentSpec) {
        let mut reports = self.reports.subscribe();
        let mut last = spec.clone();
        loop {
            if reports.changed().await.is_err() {
                return std::future::pending().await;
            }
            let deployment = reports.borrow_and_update().deployment.clone();
            let now = spec_of(deployment.as_ref());
            if now == std::mem::replace(&mut last, now.clone()) || now == *spec {
                continue;
            }
            match self.usable(settings, deployment.as_ref()) {
                Ok(usable) => return (usable, now),
                Err(error) => self.teller.line(Line::note(format!("the former settings stay: {error:#}"))),
            }
        }
    }

    /// The settings of a ContourDeployment, if its ports are those already held, or free.
    fn usable(&self, settings: &Settings, deployment: Option<&Deployment>) -> anyhow::Result<Settings> {
        let usable = resolve(&self.args, &self.state, deployment)?;
        let held: Vec<u16> = settings.envoy_ports().iter().map(|(_, address)| address.port()).collect();
        let mut ports = usable.envoy_ports();
        ports.retain(|(_, address)| !held.contains(&address.port()));
        check_ports(&ports)?;
        Ok(usable)
    }

    /// Runs everything that depends on the settings until `token` is cancelled.
    async fn install(&self, settings: Settings, token: CancellationToken) -> anyhow::Result<()> {
        let teller = &self.teller;
        teller.begins(Ports { http: settings.http, https: settings.https });
        let certificates = settings.state.join("certs");
        let ensured = ensure_certificates(&certificates, &settings.certificates).await?;
        tell_certificates(teller, &ensured);
        let mut registry = Registry::default();
        register_process_metrics(&mut registry, &BuildInfo::current());
        let own = Listen::new("127.0.0.1", settings.controller);
        let admin = AdminAddresses { metrics: own.clone(), health: own.clone(), debug: Some(own) };
        // Probes and metrics do not wait for what the rest is busy with, nor does anything wait for the engine.
        let (control, building) = (dedicated("control")?, dedicated("engine")?);
        let admin = control.run(async move { AdminServers::bind(&admin).await }).await;
        let admin = admin.context("the controller's own endpoints; --controller-port moves them")?;

        let cache = Cache::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.xds));
        let xds = Server::bind(address, Some(server_tls(&certificates)), cache.clone(), &mut registry)?;
        let (nodes, facts) = (xds.nodes(), xds.facts());
        let launch = launch(&settings, self.binary.clone(), &certificates, xds.local_addr().port())?;
        let readiness = Readiness::new();
        let wiring = Wiring {
            graph: settings.graph(),
            envoy: settings.translation(),
            cache,
            sink: Arc::new(teller.clone()),
            scopes: Directory::scopes(),
            ready: readiness.handle("the first complete configuration"),
        };
        let (engine, inspector) = Engine::new(wiring, &mut registry);
        teller.line(Line::note(format!(
            "metrics, health and debug pages on http://{}",
            admin.metrics_address()?
        )));

        let mut tasks = Tasks::new(token.clone());
        let (sender, receiver) = mpsc::channel(WAITING_EVENTS);
        let directory = Directory::new(&settings.directory, Some(settings.state.clone()));
        let watching = contour_files::watch(directory, sender, self.reports.clone(), token.clone());
        tasks.spawn("watching files", never_fails(watching));
        let engine = building.run(engine.run(receiver, facts, token.clone()));
        tasks.spawn("the engine", never_fails(engine));
        tasks.spawn("xDS", xds.serve(token.clone()));
        let renewal = renew(certificates, settings.certificates, ensured.next, teller.clone(), token.clone());
        tasks.spawn("renewing certificates", never_fails(renewal));
        tasks.spawn("Envoy", on_own_thread(launch, teller.clone(), token.clone()));
        let health = health_router(readiness, HealthCheck::always());
        let admin = admin.serve(metrics_router(registry), health, debug_router(inspector, nodes), token);
        tasks.spawn("the controller's endpoints", control.run(admin));
        tasks.join(GRACE).await?;
        teller.line(Line::note("stopped"));
        Ok(())
    }
}

async fn never_fails(task: impl Future<Output = ()>) -> Result<(), Infallible> {
    task.await;
    Ok(())
}

/// Supervises Envoy on a thread that lasts as long, see [`envoy::supervise`].
async fn on_own_thread(launch: Launch, teller: Teller, token: CancellationToken) -> anyhow::Result<()> {
    let (done, outcome) = oneshot::channel();
    let supervise = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(envoy::supervise(launch, teller, token)),
            Err(error) => Err(error.into()),
        };
        // Nobody waits any more if the process is ending without us.
        let _ = done.send(outcome);
    };
    std::thread::Builder::new()
        .name("envoy".to_owned())
        .spawn(supervise)
        .context("cannot start a thread for Envoy")?;
    outcome.await.context("the thread that supervises Envoy ended")?
}

/// The controller's side of TLS.
fn server_tls(certificates: &Path) -> contour_xds::TlsFiles {
    let own = certificates.join("contour");
    contour_xds::TlsFiles {
        ca: own.join(CA_FILE),
        cert: own.join(CERTIFICATE_FILE),
        key: own.join(KEY_FILE),
        client_name: None,
    }
}

/// Writes what Envoy is started with.
fn launch(
    settings: &Settings,
    binary: PathBuf,
    certificates: &Path,
    xds_port: u16,
) -> anyhow::Result<Launch> {
    let text = |path: PathBuf| {
        path.into_os_string().into_string().ok().context("the path of the state directory is not UTF-8")
    };
    let own = certificates.join("envoy");
    let files = settings.state.join("envoy");
    let bootstrap = Bootstrap {
        // Relative to Envoy's directory: paths of sockets are short.
        admin_socket: "admin.sock".to_owned(),
        resources_dir: Some(text(files.clone())?),
        tls: Some(TlsFiles {
            ca: text(own.join(CA_FILE))?,
            certificate: text(own.join(CERTIFICATE_FILE))?,
            key: text(own.join(KEY_FILE))?,
        }),
        xds_port,
        ..Bootstrap::default()
    };
    let rendered = bootstrap.render()?;
    let path = files.join("bootstrap.json");
    let all = rendered.resources.iter().map(|(path, content)| (PathBuf::from(path), content));
    for (path, content) in all.chain([(path.clone(), &rendered.bootstrap)]) {
        let written = contour_disk::replace(&path, &serde_json::to_vec_pretty(content)?);
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut arguments: Vec<OsString> =
        vec!["--config-path".into(), path.into(), "--disable-hot-restart".into()];
    arguments.extend(["--service-cluster", "contour", "--service-node", "standalone"].map(OsString::from));
    arguments.extend(["--drain-time-s".into(), DRAIN_TIME_SECONDS.to_string().into()]);
    arguments.extend(["--log-level".into(), log_level(settings).into()]);
    if let Some(concurrency) = settings.concurrency {
        arguments.extend(["--concurrency".into(), concurrency.to_string().into()]);
    }
    Ok(Launch { binary, arguments, directory: settings.state.clone() })
}

fn log_level(settings: &Settings) -> &'static str {
    use contour_crds::contour_deployment::EnvoyLogLevel as Level;
    match settings.log_level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warning",
        Level::Error => "error",
        Level::Critical => "critical",
        Level::Off => "off",
    }
}

async fn ensure_certificates(directory: &Path, policy: &Policy) -> anyhow::Result<Ensured> {
    let (directory, policy) = (directory.to_owned(), policy.clone());
    let ensured =
        tokio::task::spawn_blocking(move || contour_certs::ensure(&directory, Timestamp::now(), &policy));
    Ok(ensured.await.context("making certificates panicked")??)
}

fn tell_certificates(teller: &Teller, ensured: &Ensured) {
    if ensured.outcome != Outcome::Kept {
        ensured.notes.iter().for_each(|note| teller.line(Line::note(format!("certificates: {note}"))));
    }
}

/// Takes the steps of the certificates' rotation when they are due.
async fn renew(
    directory: PathBuf,
    policy: Policy,
    first: Timestamp,
    teller: Teller,
    token: CancellationToken,
) {
    let mut next = first;
    loop {
        let due = Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(due.min(LOOK)) => {}
        }
        match ensure_certificates(&directory, &policy).await {
            Ok(ensured) => {
                tell_certificates(&teller, &ensured);
                next = ensured.next;
            }
            Err(error) => {
                teller.line(Line::note(format!(
                    "certificates could not be renewed, which is tried again: {error:#}"
                )));
                next = Timestamp::now()
                    .saturating_add(jiff::SignedDuration::try_from(RETRY).unwrap_or_default())
                    .unwrap_or(next);
            }
        }
    }
}

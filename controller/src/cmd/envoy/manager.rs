//! `contour envoy shutdown-manager`: the answers to the `preStop` hook of Envoy's container, and to whoever looks after it.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::IncomingStream;
use clap::ValueEnum;
use contour_graph::parse_duration;
use contour_runtime::{BuildInfo, Listen, Shutdown, metrics_router, register_process_metrics};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::admin::{Admin, AdminError};
use super::drain::{Outcome, Pace, drain};
use super::marks::Marks;
use super::meter::{Meter, Phase};
use super::requests::{Requests, poll};
use super::{DrainFlags, ReadyFlags};
use crate::cmd::certificates::{self, CertificateFiles};

/// How often the ready file is looked for.
const GLANCE: Duration = Duration::from_millis(200);

/// How often an Envoy that does not answer is told that it may be ready again.
const PERSISTENCE: Duration = Duration::from_secs(5);

/// How long requests may stay open after a signal if it is not us who drains.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long answers may take to be sent.
const SENDING: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  # As the stock manifests start it, next to a preStop hook that runs `contour envoy shutdown`
  contour envoy shutdown-manager

  # As a native sidecar that needs no hook
  contour envoy shutdown-manager --drain --drain-timeout=290s

Paths: /shutdown answers once Envoy may be ended; /healthz; /metrics; /certificates tells which ones are mounted, without keys.
Whoever reaches /shutdown can drain Envoy with --drain, for as long as they wait and --restore-after: see --shutdown-from.";

/// Flags of `contour envoy shutdown-manager`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Address to serve on; `::` for IPv6 and IPv4
    #[arg(long, value_name = "ADDRESS", default_value = "::")]
    serve_address: String,
    /// Port to serve on; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8090)]
    serve_port: u16,
    #[command(flatten)]
    ready: ReadyFlags,
    /// Drain Envoy when /shutdown is asked for, instead of waiting for `contour envoy shutdown` to do it
    ///
    /// For a native sidecar (an init container with `restartPolicy: Always`) without a preStop hook of its own.
    #[arg(long)]
    drain: bool,
    /// Who may ask for /shutdown: anyone, or only processes of this machine, like the kubelet with hostNetwork
    #[arg(long, value_enum, value_name = "WHO", default_value = "any")]
    shutdown_from: Askers,
    /// How long Envoy may go on after nobody asks for /shutdown any more, until it is made ready again
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    restore_after: Duration,
    /// Trust bundle that /certificates tells about, as it was given to `contour bootstrap`
    ///
    /// Both files or none; without them, /certificates is not found.
    #[arg(long, value_name = "FILE", requires = "envoy_cert_file")]
    envoy_cafile: Option<PathBuf>,
    /// Certificate of Envoy that /certificates tells about
    #[arg(long, value_name = "FILE", requires = "envoy_cafile")]
    envoy_cert_file: Option<PathBuf>,
    /// With --drain.
    #[command(flatten)]
    draining: DrainFlags,
}

/// `--shutdown-from`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Askers {
    /// Whoever reaches the port.
    Any,
    /// Whoever has the address that is asked, or a loopback one.
    Node,
}

/// How Envoy comes to be drained.
#[derive(Clone, Debug)]
enum Drainer {
    /// By us.
    Us(Pace),
    /// By `contour envoy shutdown`, which leaves the ready file.
    ReadyFile,
}

/// What the requests share.
#[derive(Debug)]
struct Manager {
    admin: Admin,
    drainer: Drainer,
    marks: Marks,
    meter: Meter,
    requests: Requests,
    restore_after: Duration,
}

/// Serves until a signal, and then until those who wait for the end of a drain have their answer.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let token = Shutdown::on_signals().context("cannot listen for signals")?.token();
    let mut registry = Registry::default();
    register_process_metrics(&mut registry, &BuildInfo::current());
    let manager = Arc::new(Manager {
        admin: args.draining.admin(),
        drainer: if args.drain { Drainer::Us(args.draining.pace()) } else { Drainer::ReadyFile },
        marks: Marks::new(&args.ready.ready_file),
        meter: Meter::register(&mut registry),
        requests: Requests::default(),
        restore_after: args.restore_after,
    });
    ensure!(!args.restore_after.is_zero(), "--restore-after must be longer than 0");
    manager.marks.clear_ready();
    let listener = bind(&args).await?;
    info!(address = %listener.local_addr()?, drain = args.drain, "answering for Envoy");
    let files = args.envoy_cafile.zip(args.envoy_cert_file);
    let files = files.map(|(ca, certificate)| CertificateFiles { ca, certificate });
    let shutdown = Router::new()
        .route("/shutdown", get(shut_down))
        .with_state((Arc::clone(&manager), args.shutdown_from));
    let router = shutdown
        .route("/healthz", get(async || "OK"))
        .merge(metrics_router(registry))
        .merge(certificates::router(move || files.as_ref().map(CertificateFiles::read)));
    let server = axum::serve(listener, router.into_make_service_with_connect_info::<Ends>())
        .with_graceful_shutdown(token.clone().cancelled_owned());
    tokio::select! {
        outcome = server => outcome.context("cannot serve"),
        never = manager.work() => match never {},
        () = manager.finish(token) => Ok(()),
    }
}

async fn bind(args: &Args) -> anyhow::Result<TcpListener> {
    let address = Listen::new(args.serve_address.as_str(), args.serve_port);
    let bound = match TcpListener::bind((address.host.as_str(), address.port)).await {
        // A host without IPv6: `::` means everything, and everything is IPv4 there.
        Err(error) if address.host == "::" && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port)).await
        }
        bound => bound,
    };
    bound.with_context(|| {
        format!("cannot serve on {address}; choose another with --serve-address and --serve-port")
    })
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
struct Ends {
    peer: SocketAddr,
    /// `None` if the operating system does not say.
    own: Option<IpAddr>,
}

impl Connected<IncomingStream<'_, TcpListener>> for Ends {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let own = stream.io().local_addr().ok().map(|address| address.ip().to_canonical());
        Self { peer: *stream.remote_addr(), own }
    }
}

impl Askers {
    fn include(self, ends: Ends) -> bool {
        let peer = ends.peer.ip().to_canonical();
        match self {
            Self::Any => true,
            Self::Node => peer.is_loopback() || ends.own == Some(peer),
        }
    }
}

/// Answers once Envoy may be ended.
async fn shut_down(
    State((manager, askers)): State<(Arc<Manager>, Askers)>,
    ConnectInfo(ends): ConnectInfo<Ends>,
) -> (StatusCode, &'static str) {
    if !askers.include(ends) {
        warn!(peer = %ends.peer, "a request for /shutdown from elsewhere was refused (--shutdown-from=node)");
        return (StatusCode::FORBIDDEN, "only processes of this machine may ask (--shutdown-from=node)\n");
    }
    manager.requests.ask().await;
    (StatusCode::OK, "OK")
}

impl Manager {
    /// Drains Envoy whenever somebody waits for it, and makes it ready again if it is not ended then.
    async fn work(&self) -> Infallible {
        if self.marks.is_draining() {
            info!("this container was restarted while Envoy was drained");
            self.restore().await;
        }
        loop {
            self.requests.wanted().await;
            tokio::select! {
                () = self.drain() => self.requests.answer(),
                () = self.requests.abandoned(self.restore_after) => {}
            }
            tokio::select! {
                () = self.requests.wanted() => {}
                () = async {
                    self.requests.abandoned(self.restore_after).await;
                    info!("nobody waits for Envoy to be drained any more");
                    self.restore().await;
                } => {}
            }
        }
    }

    async fn drain(&self) {
        match &self.drainer {
            Drainer::Us(pace) => {
                self.marks.note_draining();
                drain(&self.admin, pace, &self.meter).await;
            }
            Drainer::ReadyFile => {
                self.meter.begin();
                self.meter.enter(Phase::Draining);
                let ready = || {
                    self.meter.tick();
                    self.marks.is_ready()
                };
                poll(GLANCE, ready).await;
                info!("the ready file is there: Envoy may be ended");
                self.meter.end(Outcome::Drained);
            }
        }
    }

    /// Makes Envoy ready again. A new one is so anyway.
    async fn restore(&self) {
        loop {
            match self.admin.restore_health_check().await {
                Ok(()) => info!("Envoy may be ready again"),
                Err(AdminError::Gone { .. }) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(error, "Envoy cannot be told that it may be ready again");
                    sleep(PERSISTENCE).await;
                    continue;
                }
            }
            break;
        }
        self.marks.clear_ready();
        self.marks.clear_draining();
        self.meter.enter(Phase::Serving);
    }

    /// Returns some time after the signal: when all who wait have an answer. If we drain, they get it; else only whoever drains knows.
    async fn finish(&self, token: CancellationToken) {
        token.cancelled().await;
        match self.drainer {
            Drainer::Us(_) => self.requests.none().await,
            Drainer::ReadyFile => drop(timeout(PATIENCE, self.requests.none()).await),
        }
        sleep(SENDING).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_this_machine_have_its_addresses() {
        let ends = |peer: &str, own: &str| Ends {
            peer: SocketAddr::new(peer.parse().unwrap(), 40000),
            own: Some(own.parse::<IpAddr>().unwrap().to_canonical()),
        };
        let of_node = |peer, own| Askers::Node.include(ends(peer, own));
        assert!(of_node("127.0.0.1", "127.0.0.1") && of_node("::1", "::1"));
        assert!(of_node("::ffff:192.0.2.1", "::ffff:192.0.2.1") && of_node("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!of_node("192.0.2.7", "192.0.2.1") && !of_node("2001:db8::1", "2001:db8::2"));
        assert!(Askers::Any.include(ends("192.0.2.7", "192.0.2.1")));
    }
}

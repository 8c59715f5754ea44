//! The HTTP endpoints for people and probes: metrics, health, readiness, debug pages.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::future::{Future, ready};
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Readiness;

/// What `prometheus_client::encoding::text` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A health check that takes longer has failed.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// How long open requests may go on after the shutdown began.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// An address to listen on, as flags give it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listen {
    /// IP address or host name; `::` also accepts IPv4.
    pub host: String,
    /// TCP port; 0: any free one.
    pub port: u16,
}

impl Listen {
    /// An address of text and number.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

/// `host:port`, IPv6 in brackets.
impl Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Where the endpoints are served. The defaults are those of `contour serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAddresses {
    /// `--http-address`, `--http-port`: metrics.
    pub metrics: Listen,
    /// `--health-address`, `--health-port`: health and readiness. One server serves both if this equals `metrics`.
    pub health: Listen,
    /// `--debug-http-address`, `--debug-http-port`: debug pages; `None`: not served.
    pub debug: Option<Listen>,
}

impl Default for AdminAddresses {
    fn default() -> Self {
        Self {
            metrics: Listen::new("0.0.0.0", 8000),
            health: Listen::new("0.0.0.0", 8000),
            debug: Some(Listen::new("127.0.0.1", 6060)),
        }
    }
}

/// Why the endpoints cannot be served.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The port is taken.
    #[error(
        "cannot serve {endpoints} on {address}: the port is in use; stop the program that holds it \
         (`ss -ltnp 'sport = :{port}'` names it), or choose another with {flags}",
        port = address.port
    )]
    PortInUse {
        /// What was to be served there.
        endpoints: String,
        /// Where.
        address: Listen,
        /// Flags that move it.
        flags: String,
    },
    /// The operating system refuses for another reason: not our address, no permission, no such host.
    #[error("cannot serve {endpoints} on {address}; choose another address or port with {flags}")]
    Bind {
        /// What was to be served there.
        endpoints: String,
        /// Where.
        address: Listen,
        /// Flags that move it.
        flags: String,
        /// What the operating system says.
        source: io::Error,
    },
}

/// What can be served, in the order in which sockets are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Endpoint {
    Metrics,
    Health,
    Debug,
}

impl Endpoint {
    /// Name and flags for messages.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Metrics => ("metrics", "--http-address and --http-port"),
            Self::Health => ("health", "--health-address and --health-port"),
            Self::Debug => ("debug pages", "--debug-http-address and --debug-http-port"),
        }
    }
}

async fn bind(address: &Listen) -> io::Result<TcpListener> {
    match TcpListener::bind((address.host.as_str(), address.port)).await {
        // A host without IPv6: `::` means everything, and everything is IPv4 there.
        Err(error) if address.host == "::" && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port)).await
        }
        bound => bound,
    }
}

/// Bound sockets, one per distinct address: connections queue there until [`Self::serve`].
#[derive(Debug)]
pub struct AdminServers {
    sockets: Vec<(Vec<Endpoint>, TcpListener)>,
}

impl AdminServers {
    /// Binds all addresses, so that a taken port is found before anything else starts.
    pub async fn bind(addresses: &AdminAddresses) -> Result<Self, AdminError> {
        let mut wanted: BTreeMap<&Listen, Vec<Endpoint>> = BTreeMap::new();
        wanted.entry(&addresses.metrics).or_default().push(Endpoint::Metrics);
        wanted.entry(&addresses.health).or_default().push(Endpoint::Health);
        if let Some(debug) = &addresses.debug {
            wanted.entry(debug).or_default().push(Endpoint::Debug);
        }
        let mut sockets = Vec::new();
        for (address, endpoints) in wanted {
            let listener = bind(address).await.map_err(|source| refused(address, &endpoints, source))?;
            sockets.push((endpoints, listener));
        }
        Ok(Self { sockets })
    }

    /// Where metrics are served: the port chosen by the operating system if 0 was asked for.
    pub fn metrics_address(&self) -> io::Result<std::net::SocketAddr> {
        self.address(Endpoint::Metrics)
    }

    /// Where health and readiness are served.
    pub fn health_address(&self) -> io::Result<std::net::SocketAddr> {
        self.address(Endpoint::Health)
    }

    /// Where debug pages are served; an error if they are not.
    pub fn debug_address(&self) -> io::Result<std::net::SocketAddr> {
        self.address(Endpoint::Debug)
    }

    fn address(&self, endpoint: Endpoint) -> io::Result<std::net::SocketAddr> {
        let socket = self.sockets.iter().find(|(endpoints, _)| endpoints.contains(&endpoint));
        socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?.1.local_addr()
    }

    /// Serves until `token` is cancelled; requests that are open then get a second to end. Routers that share an
    /// address are merged, so their paths must differ.
    pub async fn serve(
        self,
        metrics: Router,
        health: Router,
        debug: Router,
        token: CancellationToken,
    ) -> io::Result<()> {
        let mut servers = JoinSet::new();
        for (endpoints, listener) in self.sockets {
            let router = endpoints.iter().fold(Router::new(), |router, endpoint| {
                router.merge(match endpoint {
                    Endpoint::Metrics => metrics.clone(),
                    Endpoint::Health => health.clone(),
                    Endpoint::Debug => debug.clone(),
                })
            });
            servers.spawn(serve_one(listener, router, token.clone()));
        }
        while let Some(ended) = servers.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

async fn serve_one(listener: TcpListener, router: Router, token: CancellationToken) -> io::Result<()> {
    let limit = token.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(token.cancelled_owned());
    tokio::select! {
        ended = server => ended,
        () = async { limit.cancelled().await; sleep(DRAIN_LIMIT).await } => Ok(()),
    }
}

fn refused(address: &Listen, endpoints: &[Endpoint], source: io::Error) -> AdminError {
    let (names, flags): (Vec<_>, Vec<_>) = endpoints.iter().map(|endpoint| endpoint.words()).unzip();
    let (endpoints, flags, address) = (names.join(" and "), flags.join(", "), address.clone());
    match source.kind() {
        io::ErrorKind::AddrInUse => AdminError::PortInUse { endpoints, address, flags },
        _ => AdminError::Bind { endpoints, address, flags, source },
    }
}

/// `/metrics` in `OpenMetrics` text. Register everything before; values may change later.
pub fn metrics_router(registry: impl Into<Arc<Registry>>) -> Router {
    let registry = registry.into();
    Router::new().route("/metrics", get(move || ready(scrape(&registry))))
}

fn scrape(registry: &Registry) -> Response {
    let mut body = String::new();
    match text::encode(&mut body, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

type Check = dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

/// What `/health` and `/healthz` ask: whether the process can do its work, e.g. reach the API server.
#[derive(Clone)]
pub struct HealthCheck(Arc<Check>);

impl fmt::Debug for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HealthCheck(..)")
    }
}

impl HealthCheck {
    /// A check; its error is what the probe's answer says. It is given five seconds.
    pub fn new<F, R, E>(check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        Self(Arc::new(move || {
            let checking = check();
            Box::pin(async move { checking.await.map_err(|error| error.to_string()) })
        }))
    }

    /// Healthy as long as it answers.
    pub fn always() -> Self {
        Self::new(|| ready(Ok::<(), String>(())))
    }

    async fn run(&self) -> Result<(), String> {
        let late = || Err(format!("the check took longer than {CHECK_LIMIT:?}"));
        timeout(CHECK_LIMIT, (self.0)()).await.unwrap_or_else(|_| late())
    }
}

/// `/health` and `/healthz` (200 `OK`, or 503 with the cause) and `/ready` and `/readyz` (200 `OK`, or 503 with a line
/// per thing that is awaited).
pub fn health_router(readiness: Readiness, check: HealthCheck) -> Router {
    let health = get(move || {
        let check = check.clone();
        async move { check.run().await.map(|()| "OK").map_err(|cause| unavailable(&cause)) }
    });
    let ready = get(move || ready(awaited(&readiness)));
    Router::new()
        .route("/health", health.clone())
        .route("/healthz", health)
        .route("/ready", ready.clone())
        .route("/readyz", ready)
}

fn awaited(readiness: &Readiness) -> Response {
    let names = readiness.awaited();
    if names.is_empty() {
        return "OK".into_response();
    }
    unavailable(&names.iter().map(|name| format!("awaiting {name}")).collect::<Vec<_>>().join("\n"))
}

fn unavailable(cause: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{cause}\n")).into_response()
}

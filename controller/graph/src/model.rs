//! What a host name serves: the value between Kubernetes objects and Envoy resources.
//!
//! Nothing here names an Envoy resource or carries a Kubernetes object: the translation (`contour-envoy`) derives every name from
//! these values, and two clusters that differ in any field get different names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contour_objects::{CaBundle, NamespacedName, TlsPair};

/// One host name and everything served for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// Lower-case FQDN; `*.example.com` matches exactly one more label; `*` is the default host (Ingress only).
    pub fqdn: Arc<str>,
    /// The namespace whose objects name the host: that of its root or its Ingresses. None where those of several do.
    pub namespace: Option<Arc<str>>,
    /// Routes of the plain listener, unsorted. Empty: the host is not served there.
    pub plain: Vec<Route>,
    /// What the TLS listener does for this SNI, if anything.
    pub secure: Option<SecureHost>,
}

/// What the TLS listener does for one SNI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecureHost {
    /// Terminate TLS and route HTTP.
    Http {
        /// How TLS is terminated.
        tls: Termination,
        /// Routes, unsorted; never empty.
        routes: Vec<Route>,
    },
    /// Terminate TLS and proxy the bytes.
    Tcp {
        /// How TLS is terminated.
        tls: Termination,
        /// Where the bytes go.
        proxy: TcpProxy,
    },
    /// Proxy the TLS session itself, selected by SNI.
    Passthrough {
        /// Where the bytes go.
        proxy: TcpProxy,
    },
}

/// How TLS is terminated for one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// The Secret the pair comes from.
    pub secret: NamespacedName,
    /// Certificate chain and key.
    pub pair: Arc<TlsPair>,
    /// Lowest version offered; already the maximum of the host's and the installation's.
    pub minimum: TlsVersion,
    /// Highest version offered; already the minimum of the host's and the installation's.
    pub maximum: TlsVersion,
}

/// TLS protocol versions Contour can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// Layer 4 proxying: weighted clusters, none with weight zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpProxy {
    /// At least one.
    pub clusters: Vec<WeightedCluster>,
    /// The object that asked for it.
    pub origin: Origin,
}

/// The object a route was written in: travels as route metadata `io.projectcontour.{kind,namespace,name}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// `HTTPProxy` or `Ingress`.
    pub kind: &'static str,
    /// Namespace and name of the object.
    pub object: NamespacedName,
}

/// One route: a match and what happens to requests that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Match on path, headers and query; all must hold.
    pub matches: RouteMatch,
    /// What happens.
    pub action: Action,
    /// Where it was written.
    pub origin: Origin,
}

/// The conditions of a route. Two routes of a host with equal matches are the same route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteMatch {
    /// Path condition.
    pub path: PathMatch,
    /// Header conditions, sorted and free of duplicates.
    pub headers: Vec<HeaderMatch>,
    /// Query parameter conditions, sorted and free of duplicates.
    pub query: Vec<QueryMatch>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// RE2, anchored at the start of the path by the translation (`^`), matching the whole path.
    Regex(String),
    /// Plain string prefix: `/foo` matches `/foobar`.
    Prefix(String),
    /// Whole path segments: `/foo` matches `/foo` and `/foo/bar` (Ingress `Prefix`). Never `/`, no trailing slash.
    Segments(String),
}

/// A condition on a request header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderMatch {
    /// Header name, in lower case.
    pub name: String,
    /// What the value must be.
    pub value: HeaderValue,
    /// The condition holds when the value does not match.
    pub invert: bool,
    /// Compare without case (not for regex).
    pub ignore_case: bool,
    /// A missing header counts as empty (negative conditions only).
    pub missing_is_empty: bool,
}

/// What a header's value must be. The order is the order of precedence: more specific first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HeaderValue {
    /// Equal.
    Exact(String),
    /// RE2 over the whole value.
    Regex(String),
    /// Substring.
    Contains(String),
    /// Any value.
    Present,
}

/// A condition on a query parameter (names are case-sensitive, as in Envoy).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryMatch {
    /// Parameter name.
    pub name: String,
    /// What the value must be.
    pub value: QueryValue,
    /// Compare without case (not for regex and present).
    pub ignore_case: bool,
}

/// What a query parameter's value must be. The order is the order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueryValue {
    /// Equal.
    Exact(String),
    /// RE2 over the whole value.
    Regex(String),
    /// Prefix.
    Prefix(String),
    /// Suffix.
    Suffix(String),
    /// Substring.
    Contains(String),
    /// Any value.
    Present,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forward to an upstream.
    Forward(Box<Forward>),
    /// 301 to the same URL with scheme `https`.
    UpgradeToHttps,
    /// Answer with a redirect.
    Redirect(Redirect),
    /// Answer from Envoy.
    Respond {
        /// HTTP status, 200–599.
        status: u16,
        /// Response body; empty: none.
        body: String,
    },
}

/// HTTPProxy `requestRedirectPolicy`. Unset parts keep the request's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// New host.
    pub hostname: Option<String>,
    /// New port.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// New path or new prefix.
    pub path: Option<RedirectPath>,
}

/// The path part of a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPath {
    /// Replace the whole path.
    Full(String),
    /// Replace the matched prefix.
    Prefix(String),
}

/// Forwarding to one or more clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// At least one. All weights zero means equal shares.
    pub clusters: Vec<WeightedCluster>,
    /// Allow the websocket upgrade.
    pub websockets: bool,
    /// Time for the whole response (Envoy's default: 15 s).
    pub response_timeout: Timeout,
    /// Stream idle time.
    pub idle_timeout: Timeout,
    /// Retries, if any.
    pub retry: Option<Retry>,
    /// Change of the path.
    pub rewrite: Option<PathRewrite>,
    /// Inputs of consistent hashing (strategies `Cookie` and `RequestHash`).
    pub hash: Vec<HashInput>,
    /// Changes to the request's headers, including the Host rewrite.
    pub request_headers: HeaderPolicy,
    /// Changes to the response's headers.
    pub response_headers: HeaderPolicy,
}

/// A cluster and its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Share; relative to the sum of all.
    pub weight: u32,
    /// Changes to the headers of requests that go here (no Host rewrite by header name).
    pub request_headers: HeaderPolicy,
    /// Changes to the headers of responses that come from here.
    pub response_headers: HeaderPolicy,
}

/// Changes to headers. Values are Envoy format strings: literal `%` is already doubled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderPolicy {
    /// Headers to overwrite or add.
    pub set: BTreeMap<String, String>,
    /// Headers to remove, sorted.
    pub remove: Vec<String>,
    /// New value of Host, for requests.
    pub host: Option<HostRewrite>,
}

/// How Host is rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRewrite {
    /// To a fixed value.
    Literal(String),
    /// To the value of this request header.
    FromHeader(String),
}

/// Change of the path before forwarding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// Replace the matched prefix by this.
    Prefix(String),
}

/// Retry policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Envoy `retry_on` conditions, comma separated.
    pub on: String,
    /// Number of retries; 0: none.
    pub count: u32,
    /// Time for each try.
    pub per_try_timeout: Timeout,
    /// Status codes for `retriable-status-codes`, sorted.
    pub status_codes: Vec<u32>,
}

/// One input of consistent hashing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashInput {
    /// Stop here if this input yields a hash.
    pub terminal: bool,
    /// Where the hash comes from.
    pub source: HashSource,
}

/// Where a hash comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashSource {
    /// The session cookie `X-Contour-Session-Affinity` (Cookie strategy), made by Envoy for path `/`, session lifetime.
    SessionCookie,
    /// A request header.
    Header(String),
    /// A query parameter.
    QueryParameter(String),
    /// The client's address.
    SourceIp,
}

/// A timeout as Contour understands it: unset and zero mean "Envoy's default", `infinity` means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timeout {
    /// Leave it to Envoy.
    #[default]
    Default,
    /// No timeout.
    Disabled,
    /// This long; never zero.
    After(Duration),
}

/// Everything that makes an upstream: a Service port seen with one set of policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The Service.
    pub service: NamespacedName,
    /// The Service's port number.
    pub port: u16,
    /// Where addresses come from.
    pub discovery: Discovery,
    /// How to speak to it.
    pub protocol: Protocol,
    /// How its certificate is verified; only for TLS protocols.
    pub validation: Option<UpstreamValidation>,
    /// SNI to send, for TLS protocols.
    pub sni: Option<String>,
    /// Load balancing.
    pub load_balancer: LoadBalancer,
    /// Active health checking.
    pub health_check: Option<HealthCheck>,
    /// Idle time after which an upstream connection is closed (Envoy's default: 1 h).
    pub idle_connection_timeout: Timeout,
    /// Circuit breakers from the Service's annotations; unset: the installation's.
    pub circuit_breakers: CircuitBreakers,
}

/// Where a cluster's addresses come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Discovery {
    /// EndpointSlices of a Service, delivered by EDS.
    Slices(EndpointsOf),
    /// DNS, for ExternalName Services.
    Dns {
        /// Name to resolve, or an address.
        hostname: String,
        /// Port to connect to.
        port: u16,
    },
}

/// Which addresses of a Service: one ClusterLoadAssignment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointsOf {
    /// The Service.
    pub service: NamespacedName,
    /// Name of the Service port; `None` for the only, unnamed one.
    pub port_name: Option<Arc<str>>,
    /// Health checks go to this Service port instead (`healthPort`), by its name as in `port_name`.
    pub health_port: Option<HealthPort>,
}

/// The port health checks go to, where it differs from the traffic's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HealthPort {
    /// Number of the Service port.
    pub number: u16,
    /// Name of the Service port.
    pub name: Option<Arc<str>>,
}

/// Upstream protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1, or raw TCP, in clear.
    Plain,
    /// HTTP/2 with prior knowledge, in clear.
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/1.1, or raw bytes, over TLS.
    Tls,
}

impl Protocol {
    /// Whether TLS is spoken.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::H2 | Self::Tls)
    }
}

/// Verification of an upstream's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamValidation {
    /// The Secret the CA comes from.
    pub secret: NamespacedName,
    /// The CA certificates.
    pub ca: Arc<CaBundle>,
    /// DNS SANs of which the certificate must have one; at least one.
    pub subject_names: Vec<String>,
}

/// Load-balancing strategies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LoadBalancer {
    /// `RoundRobin`
    #[default]
    RoundRobin,
    /// `WeightedLeastRequest`
    WeightedLeastRequest,
    /// `Random`
    Random,
    /// `Cookie`: ring hash over the session cookie.
    Cookie,
    /// `RequestHash`: ring hash over the route's hash inputs.
    RequestHash,
}

/// Active health checking with all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HealthCheck {
    /// HTTP check; `None`: connect only.
    pub http: Option<HttpHealthCheck>,
    /// Between checks (10 s).
    pub interval: Duration,
    /// Per check (2 s).
    pub timeout: Duration,
    /// Failures until unhealthy (3).
    pub unhealthy_threshold: u32,
    /// Successes until healthy (2).
    pub healthy_threshold: u32,
}

/// The HTTP part of a health check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HttpHealthCheck {
    /// Request path.
    pub path: String,
    /// Host header (`contour-envoy-healthcheck`).
    pub host: String,
    /// Half-open ranges of good statuses; empty: 200 only.
    pub expected_statuses: Vec<(u16, u16)>,
}

/// Circuit breakers; `None` leaves the next level's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CircuitBreakers {
    /// `projectcontour.io/max-connections`
    pub max_connections: Option<u32>,
    /// `projectcontour.io/max-pending-requests`
    pub max_pending_requests: Option<u32>,
    /// `projectcontour.io/max-requests`
    pub max_requests: Option<u32>,
    /// `projectcontour.io/max-retries`
    pub max_retries: Option<u32>,
    /// `projectcontour.io/per-host-max-connections`
    pub per_host_max_connections: Option<u32>,
}

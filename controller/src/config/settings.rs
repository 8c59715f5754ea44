//! The resolved settings of `contour serve`, grouped by who uses them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use contour_crds::status::LoadBalancerIngress;
use contour_runtime::{AdminAddresses, Listen};

/// Everything `contour serve` was told, checked, with defaults filled in. Fixed for the life of the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `--debug`, `debug`: our own events at debug level.
    pub debug: bool,
    /// `--kubernetes-debug`: level of the Kubernetes client's events, 0 quiet.
    pub kubernetes_debug: u8,
    /// The xDS server.
    pub xds: XdsSettings,
    /// Metrics, health and debug endpoints. Port 0: any free one.
    pub admin: AdminAddresses,
    /// The way to the API server, and what is watched there.
    pub kubernetes: KubernetesSettings,
    /// The lease; `None` with `--disable-leader-election`: this process always writes statuses.
    pub leader_election: Option<LeaderElectionSettings>,
    /// Settings of the graph: classes, root namespaces and what HTTPProxies may use.
    pub graph: contour_graph::Settings,
    /// Settings of the translation to Envoy resources.
    pub envoy: contour_envoy::Settings,
}

/// Where and how xDS is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdsSettings {
    /// `--xds-address`, `--xds-port` (127.0.0.1:8001). Port 0: any free one.
    pub listen: Listen,
    /// `None` only with `--insecure`.
    pub tls: Option<XdsTls>,
}

impl Default for XdsSettings {
    fn default() -> Self {
        Self { listen: Listen::new("127.0.0.1", 8001), tls: None }
    }
}

/// PEM files of the xDS server. They may be replaced at any time; they are read by whoever serves, not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdsTls {
    /// `--contour-cafile`: signs the clients' certificates.
    pub ca: PathBuf,
    /// `--contour-cert-file`: our certificate chain.
    pub certificate: PathBuf,
    /// `--contour-key-file`: its private key.
    pub key: PathBuf,
    /// `--envoy-client-name`: what a client's certificate must be for; `None`: any client of the CA is served.
    pub client_name: Option<String>,
}

/// The way to the API server, and what is watched there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// `--kubeconfig`, `kubeconfig`; `None` with `--incluster`: the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// `--watch-namespaces`; empty: all. Always includes every root namespace.
    pub watch_namespaces: BTreeSet<String>,
    /// `--envoy-service-namespace`, `envoy-service-namespace`: of the Service whose load balancer statuses name.
    pub envoy_service_namespace: String,
    /// `--envoy-service-name`, `envoy-service-name`.
    pub envoy_service_name: String,
    /// `--ingress-status-address`, `ingress-status-address`: what statuses name instead. Empty: the Service decides.
    pub status_addresses: Vec<LoadBalancerIngress>,
}

/// The lease (`--leader-election-*`). Always `lease_duration > renew_deadline > retry_period > 0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElectionSettings {
    /// How long a lease is honoured after its last renewal (15 s).
    pub lease_duration: Duration,
    /// How long the holder tries to renew before it gives up (10 s).
    pub renew_deadline: Duration,
    /// Time between tries to acquire or renew (2 s).
    pub retry_period: Duration,
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease (`leader-elect`).
    pub name: String,
}

impl Default for LeaderElectionSettings {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            namespace: String::from("projectcontour"),
            name: String::from("leader-elect"),
        }
    }
}

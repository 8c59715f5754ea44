//! Flags of `contour serve`: Contour's names, short forms, variables and defaults (reference 5.1).
//!
//! A flag that the configuration file can also set is an `Option` without a default here, so that "not given" can be told apart;
//! [`crate::config::resolve`] knows the default. Booleans are `Option` as well, because `--flag=false` must beat the file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use contour_graph::parse_duration;

const EXAMPLES: &str = "\
Examples:
  # In a pod, as the stock manifests start it
  contour serve --incluster --xds-address=0.0.0.0 --xds-port=8001 --config-path=/config/contour.yaml \\
      --contour-cafile=/certs/ca.crt --contour-cert-file=/certs/tls.crt --contour-key-file=/certs/tls.key

  # On a laptop, against the cluster of ~/.kube/config, without TLS towards Envoy
  contour serve --insecure --disable-leader-election --debug

  # One of several controllers: own classes, own namespaces
  contour serve --insecure --ingress-class-name=public,partners \\
      --watch-namespaces=shop,blog,edge --root-namespaces=edge

A setting is taken from its flag, else its environment variable, else the configuration file, else its default;
where metrics are served, the file beats the flags. With --contour-config-name the object alone decides what it can
say. Flags, keys and fields of features that are not there yet are refused unless they hold their default.";

/// Flags of `contour serve`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Configuration and logs.
    #[command(flatten)]
    pub base: BaseFlags,
    /// The xDS server.
    #[command(flatten)]
    pub xds: XdsFlags,
    /// The way to the API server.
    #[command(flatten)]
    pub kubernetes: KubernetesFlags,
    /// Which objects count.
    #[command(flatten)]
    pub objects: ObjectFlags,
    /// What statuses say.
    #[command(flatten)]
    pub status: StatusFlags,
    /// The lease.
    #[command(flatten)]
    pub leader_election: LeaderElectionFlags,
    /// What Envoy does.
    #[command(flatten)]
    pub envoy: EnvoyFlags,
    /// Our own endpoints.
    #[command(flatten)]
    pub admin: AdminFlags,
}

impl ServeArgs {
    /// The flags of an empty command line: defaults, and variables of the environment that stand for flags.
    pub fn unset() -> Self {
        /// A command of these flags and nothing else.
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            args: ServeArgs,
        }
        Alone::parse_from(["contour"]).args
    }
}

/// Configuration and logs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Configuration and logs")]
pub struct BaseFlags {
    /// YAML file with further settings
    ///
    /// Read once, at the start. An unknown key is an error. Default: none.
    #[arg(short = 'c', long, value_name = "FILE", conflicts_with = "contour_config_name")]
    pub config_path: Option<PathBuf>,
    /// ContourConfiguration to read instead of a file, from the namespace `$CONTOUR_NAMESPACE` or projectcontour
    ///
    /// Read once, at the start. The object decides whatever it can say; flags about that have no effect. Default: none.
    #[arg(long, value_name = "NAME")]
    pub contour_config_name: Option<String>,
    /// Log what the controller does in detail
    ///
    /// Default: false. Also: key `debug`.
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub debug: Option<bool>,
    /// Detail of the Kubernetes client's log: 0 none, 1 to 5 debug, 6 and more trace
    #[arg(long, value_name = "LEVEL", default_value_t = 0)]
    pub kubernetes_debug: u32,
}

/// The xDS server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "xDS server")]
pub struct XdsFlags {
    /// Address on which Envoys reach this controller; `::` for IPv6 and IPv4
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub xds_address: String,
    /// Port on which Envoys reach this controller; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8001)]
    pub xds_port: u16,
    /// PEM file of the CA that signs Envoys' certificates
    ///
    /// The three TLS files go together; without them, --insecure is required. They may be replaced at any time.
    #[arg(long, value_name = "FILE", env = "CONTOUR_CAFILE")]
    pub contour_cafile: Option<String>,
    /// PEM file of this controller's certificate
    #[arg(long, value_name = "FILE", env = "CONTOUR_CERT_FILE")]
    pub contour_cert_file: Option<String>,
    /// PEM file of this controller's private key
    #[arg(long, value_name = "FILE", env = "CONTOUR_KEY_FILE")]
    pub contour_key_file: Option<String>,
    /// Serve only clients whose certificate has this DNS name, like envoy
    ///
    /// Default: none, which serves every client of the CA.
    #[arg(long, value_name = "NAME")]
    pub envoy_client_name: Option<String>,
    /// Serve xDS without TLS: whoever reaches the port reads every certificate's key
    ///
    /// Default: false.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure: Option<bool>,
}

/// The way to the API server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubernetesFlags {
    /// Use the service account of the pod this runs in
    ///
    /// Default: false. Also: key `incluster`.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub incluster: Option<bool>,
    /// Kubeconfig that names the cluster, unless in one
    ///
    /// Default: `$HOME/.kube/config`. Also: key `kubeconfig`.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Accepted for Contour's manifests, without effect: requests are not held back
    ///
    /// This client sends few requests, and the API server's priority and fairness limits them where that is needed.
    /// Default: none. Also: key `kubernetesClientQPS`.
    #[arg(long, value_name = "NUMBER")]
    pub kubernetes_client_qps: Option<f32>,
    /// Accepted for Contour's manifests, without effect: requests are not held back
    ///
    /// Default: none. Also: key `kubernetesClientBurst`.
    #[arg(long, value_name = "NUMBER")]
    pub kubernetes_client_burst: Option<i32>,
    /// Read objects of these namespaces only, comma separated
    ///
    /// Roles in these namespaces are then enough. Includes every root namespace. Default: all namespaces.
    #[arg(long, value_name = "NAMESPACE,...")]
    pub watch_namespaces: Option<String>,
    /// Kind not to watch, repeatable
    ///
    /// No effect so far: none of these kinds is watched anyway. Default: none.
    #[arg(
        long, value_name = "KIND",
        value_parser = ["extensionservices", "tlsroutes", "grpcroutes", "tcproutes", "backendtlspolicies"],
    )]
    pub disable_feature: Vec<String>,
}

/// Which objects count.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Objects")]
pub struct ObjectFlags {
    /// Classes of Ingress and HTTPProxy to serve, comma separated
    ///
    /// Default: none, which serves objects without a class or of class `contour`. With classes, objects need one of them.
    #[arg(long, value_name = "CLASS,...")]
    pub ingress_class_name: Option<String>,
    /// Namespaces whose HTTPProxies may own a host name, comma separated
    ///
    /// Elsewhere they can only be included. Does not restrict Ingress. Default: all namespaces.
    #[arg(long, value_name = "NAMESPACE,...")]
    pub root_namespaces: Option<String>,
    /// Give each host name to one namespace: that of the HTTPProxy that has it, else of the oldest HTTPProxy or Ingress that names it
    ///
    /// Which HTTPProxy has a host is recorded in its status, so that an older object that is edited does not take it.
    /// Objects of other namespaces that name it do not contribute, and are told. An older Ingress does not keep a name from a root in
    /// --root-namespaces. Default: false, which merges the paths of Ingresses of all namespaces, unless an HTTPProxy has the name.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub strict_host_ownership: Option<bool>,
    /// Let Ingresses of all namespaces add paths to the hosts of HTTPProxies, as Contour does
    ///
    /// Default: false, which takes those of the HTTPProxy's namespace only.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub share_httpproxy_hosts: Option<bool>,
    /// Most memory that the hosts of one namespace may take in every Envoy, in MiB as estimated from their routes and services
    ///
    /// What exceeds it is told in statuses and serves as it last did. docs/limits.md says how it is estimated.
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub namespace_memory: u64,
}

/// What statuses say.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Statuses")]
pub struct StatusFlags {
    /// Name of the Service whose load balancer goes into statuses
    ///
    /// Default: envoy. Also: key `envoy-service-name`.
    #[arg(long, value_name = "NAME")]
    pub envoy_service_name: Option<String>,
    /// Namespace of that Service
    ///
    /// Default: `$CONTOUR_NAMESPACE`, or projectcontour. Also: key `envoy-service-namespace`.
    #[arg(long, value_name = "NAMESPACE")]
    pub envoy_service_namespace: Option<String>,
    /// Addresses for statuses instead of the Service's: IP addresses and host names, comma separated
    ///
    /// Default: none, which takes the Service's annotation `operator.projectcontour.io/addresses`, else its load balancer's.
    /// Also: key `ingress-status-address`.
    #[arg(long, value_name = "ADDRESS,...")]
    pub ingress_status_address: Option<String>,
}

/// The lease.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Leader election")]
pub struct LeaderElectionFlags {
    /// Write statuses without asking for a lease; for a single replica only
    ///
    /// Every replica serves Envoys; only the leader writes statuses. Default: false.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_leader_election: Option<bool>,
    /// How long a lease holds after its last renewal
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    pub leader_election_lease_duration: Duration,
    /// How long the leader tries to renew before it steps down
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub leader_election_renew_deadline: Duration,
    /// Name of the Lease
    #[arg(long, value_name = "NAME", default_value = "leader-elect")]
    pub leader_election_resource_name: String,
    /// Namespace of the Lease
    ///
    /// Default: `$CONTOUR_NAMESPACE`, or projectcontour.
    #[arg(long, value_name = "NAMESPACE")]
    pub leader_election_resource_namespace: Option<String>,
    /// Time between tries to become or stay leader
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    pub leader_election_retry_period: Duration,
}

/// What Envoy does.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Envoy")]
pub struct EnvoyFlags {
    /// Address on which Envoy listens for HTTP; despite its name not a Service's
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub envoy_service_http_address: String,
    /// Port on which Envoy listens for HTTP
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub envoy_service_http_port: u16,
    /// Address on which Envoy listens for HTTPS
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub envoy_service_https_address: String,
    /// Port on which Envoy listens for HTTPS
    #[arg(long, value_name = "PORT", default_value_t = 8443, value_parser = clap::value_parser!(u16).range(1..))]
    pub envoy_service_https_port: u16,
    /// Expect the PROXY protocol on HTTP and HTTPS connections
    ///
    /// Connections without it fail. Default: false.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub use_proxy_protocol: Option<bool>,
    /// Address on which Envoy answers /ready, /stats and /stats/prometheus
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub stats_address: String,
    /// Port on which Envoy answers /ready, /stats and /stats/prometheus
    #[arg(long, value_name = "PORT", default_value_t = 8002, value_parser = clap::value_parser!(u16).range(1..))]
    pub stats_port: u16,
    /// Format of Envoy's access logs
    ///
    /// Default: envoy, the text format; json is not supported yet. Also: key `accesslog-format`.
    #[arg(long, value_name = "FORMAT", value_parser = ["envoy", "json"])]
    pub accesslog_format: Option<String>,
    /// File, seen from Envoy, for the access log of HTTP
    #[arg(long, value_name = "FILE", default_value = "/dev/stdout")]
    pub envoy_http_access_log: String,
    /// File, seen from Envoy, for the access log of HTTPS
    #[arg(long, value_name = "FILE", default_value = "/dev/stdout")]
    pub envoy_https_access_log: String,
}

/// Our own endpoints.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Metrics, health, debug")]
pub struct AdminFlags {
    /// Address of /metrics
    ///
    /// Key `metrics.contour.address` beats it.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub http_address: String,
    /// Port of /metrics; 0 for any free one
    ///
    /// Key `metrics.contour.port` beats it.
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub http_port: u16,
    /// Address of /health and /healthz; may be that of /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub health_address: String,
    /// Port of /health and /healthz; may be that of /metrics
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub health_port: u16,
    /// Address of the debug pages
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub debug_http_address: String,
    /// Port of the debug pages; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 6060)]
    pub debug_http_port: u16,
}

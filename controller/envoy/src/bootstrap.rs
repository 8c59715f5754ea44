//! The bootstrap: what Envoy starts with, before the controller tells it anything.
//!
//! Everything that may ever change travels over xDS instead, since a change here needs a restart of Envoy. The node is
//! not part of it: Envoy takes its id and cluster from its command line.

mod clusters;
mod tls;

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use thiserror::Error;

use crate::names::RUNTIME_LAYER;

/// The cluster that leads to the controller.
const XDS_CLUSTER: &str = "contour";

/// Longest path of a Unix domain socket in bytes, `sun_path` of `unix(7)` without its final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Envoy's `--drain-time-s`. Envoy keeps a listener that was changed for so long, with the configuration of all its TLS hosts, so
/// each change of a TLS host takes that much memory until then; its own default is 600. After that time, connections to a TLS host that was removed,
/// or whose TLS settings were changed, are cut.
pub const DRAIN_TIME_SECONDS: u32 = 60;

/// What a bootstrap is made from. The defaults are those of `contour bootstrap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// `--admin-address`: path of the Unix domain socket that Envoy's administration listens on.
    pub admin_socket: String,
    /// `--admin-port`: no port any more, but still part of the name of the administration cluster's statistics.
    pub admin_port: u16,
    /// `--dns-lookup-family`: how the controller's name is resolved.
    pub dns_lookup_family: DnsLookupFamily,
    /// `--namespace`: part of the names of statistics.
    pub namespace: String,
    /// `--overload-max-heap`, bytes: Envoy sheds load as its heap grows towards this; 0: never.
    pub max_heap_bytes: u64,
    /// `--overload-downstream-max-conn`: most connections of clients at a time; 0: any number.
    pub max_downstream_connections: u64,
    /// `--resources-dir`: where the files go that let TLS files be rotated; `None`: they are read once.
    pub resources_dir: Option<String>,
    /// TLS to the controller; `None`: plain text.
    pub tls: Option<TlsFiles>,
    /// `--xds-address`: IP address or name of the controller.
    pub xds_address: String,
    /// `--xds-port`: port of the controller.
    pub xds_port: u16,
    /// Variant of the protocol.
    pub xds_mode: XdsMode,
}

/// Files of the TLS client, as Envoy sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// `--envoy-cafile`: CAs that the controller may be signed by.
    pub ca: String,
    /// `--envoy-cert-file`: Envoy's certificate.
    pub certificate: String,
    /// `--envoy-key-file`: its key.
    pub key: String,
}

/// `--dns-lookup-family`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsLookupFamily {
    /// IPv6 first, IPv4 if there is none.
    #[default]
    Auto,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// All addresses of both.
    All,
}

/// Variant of xDS, both on one aggregated stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdsMode {
    /// Only what changed is sent.
    #[default]
    Delta,
    /// State of the world: all resources of a type are sent whenever one changes.
    Sotw,
}

/// Why settings make no bootstrap.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BootstrapError {
    /// Whoever reaches the administration can stop Envoy, so it has no address that others could reach.
    #[error(
        "invalid admin address {0:?}: it cannot be `localhost` or an IP address, since Envoy's administration must not \
         be reachable over a network; give the path of a Unix domain socket, e.g. /admin/admin.sock"
    )]
    AdminOnNetwork(String),
    /// Empty, or longer than the kernel takes.
    #[error(
        "invalid admin address {0:?}: a path of 1 to {LONGEST_SOCKET_PATH} bytes is needed for a Unix domain socket"
    )]
    AdminPath(String),
    /// Nothing to connect to.
    #[error("the xDS address is empty; give the address or name of the controller, e.g. 127.0.0.1")]
    NoXdsAddress,
    /// TLS needs three files.
    #[error(
        "{0} of the xDS connection is an empty path; give all of CA, certificate and key, or none of them"
    )]
    NoTlsFile(&'static str),
}

/// What Envoy is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapFiles {
    /// The bootstrap itself, in proto JSON with the proto's field names.
    pub bootstrap: Value,
    /// Files that it refers to, and that must exist before Envoy starts: path and content, in order of path.
    pub resources: Vec<(String, Value)>,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            admin_socket: String::from("/admin/admin.sock"),
            admin_port: 9001,
            dns_lookup_family: DnsLookupFamily::default(),
            namespace: String::from("projectcontour"),
            max_heap_bytes: 0,
            max_downstream_connections: 0,
            resources_dir: None,
            tls: None,
            xds_address: String::from("127.0.0.1"),
            xds_port: 8001,
            xds_mode: XdsMode::default(),
        }
    }
}

impl Bootstrap {
    /// The files to start Envoy with. Fails if the settings cannot be meant.
    pub fn render(&self) -> Result<BootstrapFiles, BootstrapError> {
        self.check()?;
        let mut bootstrap = json!({
            "layered_runtime": layered_runtime(),
            "dynamic_resources": self.dynamic_resources(),
            "static_resources": {"clusters": [self.contour_cluster(), self.admin_cluster()]},
            "default_regex_engine": {
                "name": "envoy.regex_engines.google_re2",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.regex_engines.v3.GoogleRE2"},
            },
            "deferred_stat_options": {"enable_deferred_creation_stats": true},
            "admin": self.admin(),
        });
        if let Some(overload) = self.overload_manager() {
            bootstrap["overload_manager"] = overload;
        }
        Ok(BootstrapFiles { bootstrap, resources: self.tls_resources() })
    }

    fn check(&self) -> Result<(), BootstrapError> {
        let socket = &self.admin_socket;
        let (address, port) = (socket.parse::<IpAddr>().is_ok(), socket.parse::<SocketAddr>().is_ok());
        if socket == "localhost" || address || port {
            return Err(BootstrapError::AdminOnNetwork(socket.clone()));
        }
        if socket.is_empty() || socket.len() > LONGEST_SOCKET_PATH {
            return Err(BootstrapError::AdminPath(socket.clone()));
        }
        if self.xds_address.is_empty() {
            return Err(BootstrapError::NoXdsAddress);
        }
        let Some(TlsFiles { ca, certificate, key }) = &self.tls else { return Ok(()) };
        let files = [("the CA", ca), ("the certificate", certificate), ("the key", key)];
        files
            .iter()
            .find(|(_, path)| path.is_empty())
            .map_or(Ok(()), |(name, _)| Err(BootstrapError::NoTlsFile(name)))
    }

    fn dynamic_resources(&self) -> Value {
        let api_type = match self.xds_mode {
            XdsMode::Delta => "DELTA_GRPC",
            XdsMode::Sotw => "GRPC",
        };
        json!({
            "lds_config": config_source(),
            "cds_config": config_source(),
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                // The node is 60 kB of extension names.
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {
                    "cluster_name": XDS_CLUSTER,
                    "authority": XDS_CLUSTER,
                    // Envoy's own backoff grows to 30 s: too long to be without a controller that is back.
                    "retry_policy": {"retry_back_off": {"base_interval": "0.500s", "max_interval": "5s"}},
                }}],
            },
        })
    }

    /// Mode 0644: whoever may connect must own the socket.
    fn admin(&self) -> Value {
        json!({
            "access_log": [{
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": "/dev/null",
                },
            }],
            "address": {"pipe": {"path": self.admin_socket, "mode": 0o644}},
        })
    }

    /// 64-bit numbers are text in proto JSON.
    fn overload_manager(&self) -> Option<Value> {
        const HEAP: &str = "envoy.resource_monitors.fixed_heap";
        let (mut monitors, mut actions) = (Vec::new(), Vec::new());
        if self.max_heap_bytes > 0 {
            monitors.push(json!({"name": HEAP, "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                "max_heap_size_bytes": self.max_heap_bytes.to_string(),
            }}));
            for (action, at) in [("shrink_heap", 0.95), ("stop_accepting_requests", 0.98)] {
                let trigger = json!({"name": HEAP, "threshold": {"value": at}});
                actions
                    .push(json!({"name": format!("envoy.overload_actions.{action}"), "triggers": [trigger]}));
            }
        }
        if self.max_downstream_connections > 0 {
            monitors.push(json!({"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.\
                    DownstreamConnectionsConfig",
                "max_active_downstream_connections": self.max_downstream_connections.to_string(),
            }}));
        }
        if monitors.is_empty() {
            return None;
        }
        let mut manager = json!({"refresh_interval": "0.250s", "resource_monitors": monitors});
        if !actions.is_empty() {
            manager["actions"] = actions.into();
        }
        Some(manager)
    }
}

/// Everything comes over the one aggregated stream, so that it comes in order.
fn config_source() -> Value {
    json!({"ads": {}, "resource_api_version": "V3"})
}

/// The controller's settings, then those made on the administration, which win.
fn layered_runtime() -> Value {
    json!({"layers": [
        {"name": RUNTIME_LAYER, "rtds_layer": {"name": RUNTIME_LAYER, "rtds_config": config_source()}},
        {"name": "admin", "admin_layer": {}},
    ]})
}

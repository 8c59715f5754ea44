//! What the installation decides for all Envoys: Contour's configuration file and flags, resolved.

use std::collections::BTreeMap;
use std::time::Duration;

use contour_graph::model::{CircuitBreakers, Timeout, TlsVersion};

/// Settings of the translation, fixed for the life of the process. The defaults are Contour's in file and flag mode.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `--envoy-service-http-address` and `-port`: where `ingress_http` listens.
    pub http: Socket,
    /// `--envoy-service-https-address` and `-port`: where `ingress_https` listens.
    pub https: Socket,
    /// `--stats-address` and `-port`: the `stats-health` listener with `/ready`, `/stats`, `/stats/prometheus`.
    pub stats: Socket,
    /// `network.admin-port` on 127.0.0.1: the read-only `envoy-admin` listener; 0: none.
    pub admin_port: u16,
    /// The ports at which clients reach the two, where they are known: redirects to HTTPS then lead to the right one.
    pub public_ports: Option<PublicPorts>,
    /// `--envoy-http-access-log`
    pub http_access_log: String,
    /// `--envoy-https-access-log`
    pub https_access_log: String,
    /// `accesslog-level`
    pub access_log_level: AccessLogLevel,
    /// `accesslog-format-string`; `None`: Envoy's own.
    pub access_log_format: Option<String>,
    /// Listener and connection manager options.
    pub listener: ListenerSettings,
    /// Timeouts of the connection managers.
    pub timeouts: Timeouts,
    /// Options of every cluster.
    pub cluster: ClusterSettings,
    /// Extra Envoy runtime keys (`runtime-settings` and what other keys turn into); ours win.
    pub runtime: BTreeMap<String, serde_json::Value>,
    /// What the endpoints of one namespace may take in every Envoy, in bytes (docs/limits.md).
    pub endpoint_memory: u64,
}

/// Ports that clients see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicPorts {
    /// Of HTTP.
    pub http: u16,
    /// Of HTTPS.
    pub https: u16,
}

/// An address and port to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// IP address; `::` also accepts IPv4.
    pub address: String,
    /// Port.
    pub port: u16,
}

impl Socket {
    /// A socket address of text and number.
    pub fn new(address: &str, port: u16) -> Self {
        Self { address: address.to_owned(), port }
    }
}

/// `accesslog-level`: which requests are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogLevel {
    /// All.
    #[default]
    Info,
    /// Status 300 and more, or any response flag.
    Error,
    /// Status 500 and more, or any response flag.
    Critical,
    /// None.
    Disabled,
}

/// Options of the listeners and their connection managers.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of Contour's configuration")]
pub struct ListenerSettings {
    /// `--use-proxy-protocol`
    pub proxy_protocol: bool,
    /// `compression.algorithm`
    pub compression: Compression,
    /// `default-http-versions`: offered by ALPN and codec.
    pub http_versions: HttpVersions,
    /// `disableAllowChunkedLength`
    pub disable_allow_chunked_length: bool,
    /// `disableMergeSlashes`
    pub disable_merge_slashes: bool,
    /// `serverHeaderTransformation`
    pub server_header: ServerHeader,
    /// `listener.connection-balancer: exact`
    pub exact_connection_balance: bool,
    /// `listener.max-requests-per-connection`
    pub max_requests_per_connection: Option<u32>,
    /// `listener.per-connection-buffer-limit-bytes`
    pub buffer_limit_bytes: Option<u32>,
    /// `listener.socket-options.tos`, 0: unset.
    pub tos: u8,
    /// `listener.socket-options.traffic-class`, 0: unset.
    pub traffic_class: u8,
    /// `listener.http2-max-concurrent-streams`
    pub http2_max_concurrent_streams: Option<u32>,
    /// `listener.max-connections-to-accept-per-socket-event`
    pub max_accepts_per_socket_event: Option<u32>,
    /// `network.num-trusted-hops`
    pub trusted_hops: u32,
    /// `network.strip-trailing-host-dot`
    pub strip_trailing_host_dot: bool,
    /// `tls.cipher-suites` for TLS 1.2, in order.
    pub cipher_suites: Vec<String>,
    /// `tls.ecdh-curves`; empty: Envoy's own.
    pub ecdh_curves: Vec<String>,
}

/// HTTP response compression offered to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// gzip
    #[default]
    Gzip,
    /// brotli
    Brotli,
    /// zstd
    Zstd,
    /// none
    Disabled,
}

/// HTTP versions of the downstream side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersions {
    /// HTTP/1.1 and HTTP/2.
    #[default]
    Both,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// What happens to the `Server` response header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    /// Replaced by Envoy's.
    #[default]
    Overwrite,
    /// Added where missing.
    AppendIfAbsent,
    /// Left alone.
    PassThrough,
}

/// Timeouts of the connection managers (config file section `timeouts`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `request-timeout`
    pub request: Timeout,
    /// `connection-idle-timeout` (60 s)
    pub connection_idle: Timeout,
    /// `stream-idle-timeout`
    pub stream_idle: Timeout,
    /// `max-connection-duration`
    pub max_connection_duration: Timeout,
    /// `delayed-close-timeout`
    pub delayed_close: Timeout,
    /// `connection-shutdown-grace-period`
    pub shutdown_grace: Timeout,
}

/// Options of every cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSettings {
    /// `timeouts.connect-timeout` (2 s)
    pub connect_timeout: Duration,
    /// `cluster.dns-lookup-family`
    pub dns_lookup_family: DnsLookupFamily,
    /// `cluster.max-requests-per-connection`
    pub max_requests_per_connection: Option<u32>,
    /// `cluster.per-connection-buffer-limit-bytes`
    pub buffer_limit_bytes: Option<u32>,
    /// `cluster.circuit-breakers`: for Services without annotations.
    pub circuit_breakers: CircuitBreakers,
    /// `cluster.upstream-tls.minimum-protocol-version`
    pub tls_minimum: TlsVersion,
    /// `cluster.upstream-tls.maximum-protocol-version`
    pub tls_maximum: TlsVersion,
    /// `cluster.upstream-tls.cipher-suites`
    pub cipher_suites: Vec<String>,
    /// `cluster.upstream-tls.ecdh-curves`; empty: Envoy's own.
    pub ecdh_curves: Vec<String>,
}

/// `cluster.dns-lookup-family` for ExternalName Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsLookupFamily {
    /// IPv6, else IPv4.
    #[default]
    Auto,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both (happy eyeballs).
    All,
}

/// Contour's default TLS 1.2 cipher suites, in its order: two equal-preference groups, then the AES-256 suites.
pub const DEFAULT_CIPHERS: [&str; 4] = [
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
];

fn default_ciphers() -> Vec<String> {
    DEFAULT_CIPHERS.iter().map(|&c| c.to_owned()).collect()
}

impl Settings {
    /// Whether access logs tell which object a route comes from: `%METADATA(ROUTE:envoy.access_loggers.file:io.projectcontour.name)%`.
    ///
    /// Nothing else reads the metadata of routes, and Envoy spends more on it than on all the rest of a plain virtual host, at each
    /// change of any virtual host beside it (bench/RESULTS.md).
    pub(crate) fn logs_origins(&self) -> bool {
        self.access_log_level != AccessLogLevel::Disabled
            && self.access_log_format.as_deref().is_some_and(|format| format.contains("METADATA("))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http: Socket::new("0.0.0.0", 8080),
            https: Socket::new("0.0.0.0", 8443),
            stats: Socket::new("0.0.0.0", 8002),
            admin_port: 9001,
            public_ports: None,
            http_access_log: "/dev/stdout".to_owned(),
            https_access_log: "/dev/stdout".to_owned(),
            access_log_level: AccessLogLevel::Info,
            access_log_format: None,
            listener: ListenerSettings::default(),
            timeouts: Timeouts::default(),
            cluster: ClusterSettings::default(),
            runtime: BTreeMap::new(),
            endpoint_memory: 512 << 20,
        }
    }
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            proxy_protocol: false,
            compression: Compression::Gzip,
            http_versions: HttpVersions::Both,
            disable_allow_chunked_length: false,
            disable_merge_slashes: false,
            server_header: ServerHeader::Overwrite,
            exact_connection_balance: false,
            max_requests_per_connection: None,
            buffer_limit_bytes: None,
            tos: 0,
            traffic_class: 0,
            http2_max_concurrent_streams: None,
            max_accepts_per_socket_event: None,
            trusted_hops: 0,
            strip_trailing_host_dot: false,
            cipher_suites: default_ciphers(),
            ecdh_curves: Vec::new(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request: Timeout::Default,
            connection_idle: Timeout::After(Duration::from_mins(1)),
            stream_idle: Timeout::Default,
            max_connection_duration: Timeout::Default,
            delayed_close: Timeout::Default,
            shutdown_grace: Timeout::Default,
        }
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            dns_lookup_family: DnsLookupFamily::Auto,
            max_requests_per_connection: None,
            buffer_limit_bytes: None,
            circuit_breakers: CircuitBreakers::default(),
            tls_minimum: TlsVersion::V1_2,
            tls_maximum: TlsVersion::V1_3,
            cipher_suites: default_ciphers(),
            ecdh_curves: Vec::new(),
        }
    }
}

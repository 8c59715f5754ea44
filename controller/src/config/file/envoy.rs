//! Sections of the file that configure Envoy.

use serde::Deserialize;

use super::Reference;

/// `tls`: what Envoy offers clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Tls {
    /// `tls.minimum-protocol-version`
    pub minimum_protocol_version: Option<String>,
    /// `tls.maximum-protocol-version`
    pub maximum_protocol_version: Option<String>,
    /// `tls.cipher-suites`
    pub cipher_suites: Option<Vec<String>>,
    /// `tls.ecdh-curves`
    pub ecdh_curves: Option<Vec<String>>,
    /// `tls.fingerprint`
    pub fingerprint: Option<Fingerprint>,
    /// `tls.fallback-certificate`
    pub fallback_certificate: Option<Reference>,
    /// `tls.envoy-client-certificate`
    pub envoy_client_certificate: Option<Reference>,
}

/// `tls.fingerprint`: of client hellos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fingerprint {
    /// `tls.fingerprint.ja3`
    pub ja3: Option<bool>,
    /// `tls.fingerprint.ja4`
    pub ja4: Option<bool>,
}

/// `cluster.upstream-tls`: what Envoy offers servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct UpstreamTls {
    /// `cluster.upstream-tls.minimum-protocol-version`
    pub minimum_protocol_version: Option<String>,
    /// `cluster.upstream-tls.maximum-protocol-version`
    pub maximum_protocol_version: Option<String>,
    /// `cluster.upstream-tls.cipher-suites`
    pub cipher_suites: Option<Vec<String>>,
    /// `cluster.upstream-tls.ecdh-curves`
    pub ecdh_curves: Option<Vec<String>>,
}

/// `compression`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// `compression.algorithm`
    pub algorithm: Option<String>,
}

/// `timeouts`: Go durations; all but `connect-timeout` also take `infinity`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Timeouts {
    /// `timeouts.request-timeout`
    pub request_timeout: Option<String>,
    /// `timeouts.connection-idle-timeout`
    pub connection_idle_timeout: Option<String>,
    /// `timeouts.stream-idle-timeout`
    pub stream_idle_timeout: Option<String>,
    /// `timeouts.max-connection-duration`
    pub max_connection_duration: Option<String>,
    /// `timeouts.delayed-close-timeout`
    pub delayed_close_timeout: Option<String>,
    /// `timeouts.connection-shutdown-grace-period`
    pub connection_shutdown_grace_period: Option<String>,
    /// `timeouts.connect-timeout`
    pub connect_timeout: Option<String>,
}

/// `cluster`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Cluster {
    /// `cluster.dns-lookup-family`
    pub dns_lookup_family: Option<String>,
    /// `cluster.max-requests-per-connection`
    pub max_requests_per_connection: Option<u32>,
    /// `cluster.per-connection-buffer-limit-bytes`
    pub per_connection_buffer_limit_bytes: Option<u32>,
    /// `cluster.circuit-breakers`
    pub circuit_breakers: Option<CircuitBreakers>,
    /// `cluster.upstream-tls`
    pub upstream_tls: Option<UpstreamTls>,
}

/// `cluster.circuit-breakers`; 0: unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct CircuitBreakers {
    /// `cluster.circuit-breakers.max-connections`
    pub max_connections: Option<u32>,
    /// `cluster.circuit-breakers.max-pending-requests`
    pub max_pending_requests: Option<u32>,
    /// `cluster.circuit-breakers.max-requests`
    pub max_requests: Option<u32>,
    /// `cluster.circuit-breakers.max-retries`
    pub max_retries: Option<u32>,
    /// `cluster.circuit-breakers.per-host-max-connections`
    pub per_host_max_connections: Option<u32>,
}

/// `network`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Network {
    /// `network.num-trusted-hops`
    pub num_trusted_hops: Option<u32>,
    /// `network.admin-port`; 0: no administration listener.
    pub admin_port: Option<i64>,
    /// `network.strip-trailing-host-dot`
    pub strip_trailing_host_dot: Option<bool>,
}

/// `listener`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Listener {
    /// `listener.connection-balancer`
    pub connection_balancer: Option<String>,
    /// `listener.max-requests-per-connection`
    pub max_requests_per_connection: Option<u32>,
    /// `listener.per-connection-buffer-limit-bytes`
    pub per_connection_buffer_limit_bytes: Option<u32>,
    /// `listener.socket-options`
    pub socket_options: Option<SocketOptions>,
    /// `listener.max-requests-per-io-cycle`
    pub max_requests_per_io_cycle: Option<u32>,
    /// `listener.http2-max-concurrent-streams`
    #[serde(rename = "http2-max-concurrent-streams")]
    pub http2_max_concurrent_streams: Option<u32>,
    /// `listener.max-connections-per-listener`
    pub max_connections_per_listener: Option<u32>,
    /// `listener.max-connections-to-accept-per-socket-event`
    pub max_connections_to_accept_per_socket_event: Option<u32>,
}

/// `listener.socket-options`; 0: unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct SocketOptions {
    /// `listener.socket-options.tos`
    pub tos: Option<i64>,
    /// `listener.socket-options.traffic-class`
    pub traffic_class: Option<i64>,
}

//! What holds for all of Envoy's listeners.

use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What holds for all listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyListenerConfig {
    /// Expects the PROXY protocol on all listeners; `false` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub use_proxy_protocol: Option<bool>,
    /// How responses are compressed.
    #[serde(default, skip_serializing_if = "unset")]
    pub compression: Option<EnvoyCompression>,
    /// Refuses requests that have both a length and chunks, instead of dropping the length; `false` by
    /// default.
    #[serde(default, skip_serializing_if = "unset")]
    pub disable_allow_chunked_length: Option<bool>,
    /// Keeps repeated slashes in paths, which are merged otherwise; `false` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub disable_merge_slashes: Option<bool>,
    /// What happens to the response header `Server`: `overwrite`, `append_if_absent` or `pass_through`;
    /// `overwrite` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub server_header_transformation: Option<String>,
    /// `exact` spreads connections evenly over Envoy's threads. Not set by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub connection_balancer: Option<String>,
    /// How many requests a connection may carry. Not limited by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 1))]
    pub max_requests_per_connection: Option<i32>,
    /// The bytes that Envoy keeps of one connection before it stops reading; one mebibyte by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[serde(rename = "per-connection-buffer-limit-bytes")]
    #[schemars(range(min = 1))]
    pub per_connection_buffer_limit_bytes: Option<i32>,
    /// The TLS that is offered to clients.
    #[serde(default, skip_serializing_if = "unset")]
    pub tls: Option<EnvoyTls>,
    /// The options of the sockets.
    #[serde(default, skip_serializing_if = "unset")]
    pub socket_options: Option<SocketOptions>,
    /// How many requests of one connection are taken in one turn. Not limited by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[serde(rename = "maxRequestsPerIOCycle")]
    #[schemars(range(min = 1))]
    pub max_requests_per_io_cycle: Option<i32>,
    /// How many streams an HTTP/2 connection may have at a time. Not limited by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 1))]
    pub http_max_concurrent_streams: Option<i32>,
    /// How many connections a listener may have at a time. Not limited by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 1))]
    pub max_connections_per_listener: Option<i32>,
}

/// How responses are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvoyCompression {
    /// The algorithm; `gzip` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub algorithm: Option<CompressionAlgorithm>,
}

/// A way to compress responses.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum CompressionAlgorithm {
    /// Gzip.
    #[default]
    Gzip,
    /// Brotli.
    Brotli,
    /// Zstandard.
    Zstd,
    /// No compression.
    Disabled,
}

/// Versions and ciphers of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyTls {
    /// The lowest version: `1.2` or `1.3`; `1.2` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub minimum_protocol_version: Option<String>,
    /// The highest version: `1.2` or `1.3`; `1.3` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub maximum_protocol_version: Option<String>,
    /// The ciphers of TLS 1.2, by preference, as `BoringSSL` names them; `[a|b]` prefers neither.
    #[serde(default, skip_serializing_if = "unset")]
    pub cipher_suites: Vec<String>,
}

/// The options of sockets. Zero leaves an option alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SocketOptions {
    /// The field "type of service" of IPv4 packets.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 0, max = 255))]
    pub tos: i32,
    /// The field "traffic class" of IPv6 packets.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 0, max = 255))]
    pub traffic_class: i32,
}

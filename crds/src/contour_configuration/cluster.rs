//! What holds for connections to backends, for timeouts, and for the network around Envoy.

use super::EnvoyTls;
use crate::extension_service::CircuitBreakers;
use crate::serde_rules::{PlainInteger, non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What holds for connections to backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterParameters {
    /// Which addresses of a name are used: `auto`, `v4`, `v6` or `all`; `auto` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub dns_lookup_family: Option<String>,
    /// How many requests a connection may carry. Not limited by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 1))]
    pub max_requests_per_connection: Option<i32>,
    /// The bytes that Envoy keeps of one connection before it stops reading; one mebibyte by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[serde(rename = "per-connection-buffer-limit-bytes")]
    #[schemars(range(min = 1))]
    pub per_connection_buffer_limit_bytes: Option<i32>,
    /// The limits of each Service that has no annotations for them.
    #[serde(default, skip_serializing_if = "unset")]
    pub circuit_breakers: Option<CircuitBreakers>,
    /// The TLS that is offered to backends.
    #[serde(default, skip_serializing_if = "unset")]
    #[serde(rename = "upstreamTLS")]
    pub upstream_tls: Option<EnvoyTls>,
}

/// How long requests and connections may take. Each is a Go duration, or `infinity` for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutParameters {
    /// How long the whole request may take to arrive. Not limited by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub request_timeout: Option<String>,
    /// How long a connection of a client may be without a request; one hour by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub connection_idle_timeout: Option<String>,
    /// How long a request may show no activity; 5 minutes by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub stream_idle_timeout: Option<String>,
    /// How long a connection of a client may last. Not limited by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub max_connection_duration: Option<String>,
    /// How long Envoy waits for the client to close a connection; one second by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub delayed_close_timeout: Option<String>,
    /// How long Envoy waits between announcing the end of a connection and closing it; 5 seconds by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub connection_shutdown_grace_period: Option<String>,
    /// How long a connection to a backend may take to be made; 2 seconds by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub connect_timeout: Option<String>,
}

/// What holds for the network around Envoy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkParameters {
    /// How many proxies in front of Envoy are trusted to tell the client's address; zero by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub num_trusted_hops: Option<i32>,
    /// The port of Envoy's admin interface; zero switches it off; 9001 by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "PlainInteger")]
    pub admin_port: Option<i64>,
    /// Takes a dot off the end of the host name; `false` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub strip_trailing_host_dot: Option<bool>,
}

//! Active health checks of backends.

use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Health checks by HTTP requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpHealthCheckPolicy {
    /// The path that is requested.
    pub path: String,
    /// The value of the `Host` header; `contour-envoy-healthcheck` if not given.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub host: Option<String>,
    /// Seconds between two checks; 10 if zero.
    #[serde(default, skip_serializing_if = "unset")]
    pub interval_seconds: i64,
    /// Seconds to wait for the response; 2 if zero.
    #[serde(default, skip_serializing_if = "unset")]
    pub timeout_seconds: i64,
    /// How many failures in a row make an endpoint unhealthy; 3 if zero.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 0))]
    pub unhealthy_threshold_count: i64,
    /// How many successes in a row make an endpoint healthy; 2 if zero.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 0))]
    pub healthy_threshold_count: i64,
    /// The status codes that mean healthy. Without any, 200 alone does.
    #[serde(default, skip_serializing_if = "unset")]
    pub expected_statuses: Vec<HttpStatusRange>,
}

/// A range of HTTP status codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpStatusRange {
    /// The first status code of the range.
    #[schemars(range(min = 100, max = 599))]
    pub start: i64,
    /// The status code after the last one of the range.
    #[schemars(range(min = 101, max = 600))]
    pub end: i64,
}

/// Health checks by opening a TCP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpHealthCheckPolicy {
    /// Seconds between two checks; 10 if zero.
    #[serde(default, skip_serializing_if = "unset")]
    pub interval_seconds: i64,
    /// Seconds to wait for the connection; 2 if zero.
    #[serde(default, skip_serializing_if = "unset")]
    pub timeout_seconds: i64,
    /// How many failures in a row make an endpoint unhealthy; 3 if zero.
    #[serde(default, skip_serializing_if = "unset")]
    pub unhealthy_threshold_count: i32,
    /// How many successes in a row make an endpoint healthy; 2 if zero.
    #[serde(default, skip_serializing_if = "unset")]
    pub healthy_threshold_count: i32,
}

//! Timeouts and retries of a route.

use crate::patterns::TIMEOUT;
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long requests and connections may take. Each is a Go duration; `infinity` switches it off; zero, and
/// leaving it out, mean Envoy's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutPolicy {
    /// From the end of the request to the end of the response; 15 seconds by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(regex(pattern = TIMEOUT))]
    pub response: Option<String>,
    /// How long a request may show no activity; 5 minutes by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(regex(pattern = TIMEOUT))]
    pub idle: Option<String>,
    /// How long a connection to a backend may be without a request; one hour by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(regex(pattern = TIMEOUT))]
    pub idle_connection: Option<String>,
}

/// When and how often a failed request is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// How often at most; -1 means never, and zero means once.
    #[serde(default = "RetryPolicy::default_count")]
    #[schemars(range(min = -1))]
    pub count: i64,
    /// How long each try may take, as a Go duration.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(regex(pattern = TIMEOUT))]
    pub per_try_timeout: Option<String>,
    /// The failures that are tried again; `5xx` if none is given.
    #[serde(default, skip_serializing_if = "unset")]
    pub retry_on: Vec<RetryOn>,
    /// The status codes that are tried again, for `retriable-status-codes` in `retryOn`.
    #[serde(default, skip_serializing_if = "unset")]
    pub retriable_status_codes: Vec<i32>,
}

impl RetryPolicy {
    fn default_count() -> i64 {
        1
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            count: Self::default_count(),
            per_try_timeout: None,
            retry_on: Vec::new(),
            retriable_status_codes: Vec::new(),
        }
    }
}

/// A kind of failure, as Envoy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// A status code of 500 to 599, or no response at all.
    #[serde(rename = "5xx")]
    ServerError,
    /// A status code of 502, 503 or 504.
    GatewayError,
    /// No response, because the connection was closed, reset or timed out.
    Reset,
    /// As `Reset`, if the request's headers were not sent yet.
    ResetBeforeRequest,
    /// No connection could be made.
    ConnectFailure,
    /// The response carries `x-envoy-ratelimited`.
    EnvoyRatelimited,
    /// A status code of 409.
    #[serde(rename = "retriable-4xx")]
    RetriableClientError,
    /// The stream was refused.
    RefusedStream,
    /// A status code of `retriableStatusCodes`.
    RetriableStatusCodes,
    /// A header that Envoy is told to look for.
    RetriableHeaders,
    /// An HTTP/3 connection broke after its handshake.
    #[serde(rename = "http3-post-connect-failure")]
    Http3PostConnectFailure,
    /// The gRPC status "cancelled".
    Cancelled,
    /// The gRPC status "deadline exceeded".
    DeadlineExceeded,
    /// The gRPC status "internal".
    Internal,
    /// The gRPC status "resource exhausted".
    ResourceExhausted,
    /// The gRPC status "unavailable".
    Unavailable,
}

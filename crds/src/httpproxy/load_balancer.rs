//! How a backend is chosen.

use crate::patterns::{DECIMAL, DURATION};
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a backend is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerPolicy {
    /// `RoundRobin`, `WeightedLeastRequest`, `Random`, `Cookie` or `RequestHash`. Anything else means the
    /// default, `RoundRobin`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub strategy: Option<String>,
    /// What of a request decides the backend, for the strategy `RequestHash`. An entry that is not valid is
    /// left out, with a warning.
    #[serde(default, skip_serializing_if = "unset")]
    pub request_hash_policies: Vec<RequestHashPolicy>,
}

/// A part of a request that decides the backend. Exactly one part must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestHashPolicy {
    /// Stops here if the request has this part, and goes on to the next entry otherwise.
    #[serde(default, skip_serializing_if = "unset")]
    pub terminal: bool,
    /// A header.
    #[serde(default, skip_serializing_if = "unset")]
    pub header_hash_options: Option<HeaderHashOptions>,
    /// A query parameter.
    #[serde(default, skip_serializing_if = "unset")]
    pub query_parameter_hash_options: Option<QueryParameterHashOptions>,
    /// The address of the client.
    #[serde(default, skip_serializing_if = "unset")]
    #[serde(rename = "hashSourceIP")]
    pub hash_source_ip: bool,
}

/// The header that decides the backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderHashOptions {
    /// The header's name; case does not matter.
    #[schemars(length(min = 1))]
    pub header_name: String,
}

/// The query parameter that decides the backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueryParameterHashOptions {
    /// The parameter's name.
    #[schemars(length(min = 1))]
    pub parameter_name: String,
}

/// Lets the share of requests of a new endpoint grow slowly. Works with `RoundRobin` and
/// `WeightedLeastRequest` only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlowStartPolicy {
    /// How long it takes to reach the full share, as a Go duration.
    #[schemars(regex(pattern = DURATION))]
    pub window: String,
    /// How the share grows: 1.0 grows evenly, a larger number grows fast first, a smaller one late.
    #[serde(default = "SlowStartPolicy::default_aggression")]
    #[schemars(regex(pattern = DECIMAL))]
    pub aggression: String,
    /// The share to start from, in percent of the full one.
    #[serde(default = "SlowStartPolicy::default_min_weight_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub min_weight_percent: i32,
}

impl SlowStartPolicy {
    fn default_aggression() -> String {
        "1.0".to_owned()
    }

    fn default_min_weight_percent() -> i32 {
        10
    }
}

impl Default for SlowStartPolicy {
    fn default() -> Self {
        Self {
            window: String::new(),
            aggression: Self::default_aggression(),
            min_weight_percent: Self::default_min_weight_percent(),
        }
    }
}

//! Services that Envoy asks for every host, and changes to headers that hold for every host.

use super::NamespacedName;
use crate::httpproxy::GlobalRateLimitPolicy;
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The external service that counts requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitServiceConfig {
    /// The `ExtensionService` that counts.
    pub extension_service: NamespacedName,
    /// The domain that is sent to the service.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub domain: Option<String>,
    /// Lets requests pass when the service does not answer; `false` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub fail_open: Option<bool>,
    /// Tells clients their limits in the headers `X-RateLimit-*`; `false` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub enable_x_rate_limit_headers: Option<bool>,
    /// Answers gRPC requests above the limit with "resource exhausted" in place of "unavailable"; `false` by
    /// default.
    #[serde(default, skip_serializing_if = "unset")]
    pub enable_resource_exhausted_code: Option<bool>,
    /// The descriptors of every host that has none of its own.
    #[serde(default, skip_serializing_if = "unset")]
    pub default_global_rate_limit_policy: Option<GlobalRateLimitPolicy>,
}

/// Where traces of requests go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracingConfig {
    /// Adds the name and the namespace of Envoy's pod; `true` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub include_pod_detail: Option<bool>,
    /// The name of the service in traces; `contour` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub service_name: Option<String>,
    /// How many requests are traced in all, in percent; 100 by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub overall_sampling: Option<String>,
    /// How much of the path is kept, in bytes; 256 by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub max_path_tag_length: Option<i32>,
    /// Tags that are added.
    #[serde(default, skip_serializing_if = "unset")]
    pub custom_tags: Vec<CustomTag>,
    /// The `ExtensionService` that traces are sent to, by OpenTelemetry over gRPC.
    pub extension_service: NamespacedName,
}

/// A tag of a trace. Exactly one of `literal` and `requestHeaderName` must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomTag {
    /// The tag's name.
    pub tag_name: String,
    /// A fixed value.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub literal: Option<String>,
    /// The header whose value is taken.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub request_header_name: Option<String>,
}

/// Changes to headers that hold unless an object says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyConfig {
    /// Changes to the headers of requests.
    #[serde(default, skip_serializing_if = "unset")]
    pub request_headers: Option<ConfiguredHeadersPolicy>,
    /// Changes to the headers of responses.
    #[serde(default, skip_serializing_if = "unset")]
    pub response_headers: Option<ConfiguredHeadersPolicy>,
    /// Makes the changes hold for Ingress objects too; `false` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub apply_to_ingress: Option<bool>,
}

/// Sets and removes headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfiguredHeadersPolicy {
    /// The headers that get a value, by name.
    #[serde(default, skip_serializing_if = "unset")]
    pub set: BTreeMap<String, String>,
    /// The names of headers that are removed.
    #[serde(default, skip_serializing_if = "unset")]
    pub remove: Vec<String>,
}

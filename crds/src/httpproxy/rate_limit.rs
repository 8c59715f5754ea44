//! Limits of the rate of requests: counted by each Envoy alone, or by an external service for all.

use super::{HeaderMatchCondition, HeaderValue};
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The limits of the rate of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateLimitPolicy {
    /// The limit that each Envoy counts for itself.
    #[serde(default, skip_serializing_if = "unset")]
    pub local: Option<Box<LocalRateLimitPolicy>>,
    /// The limit that the external service counts.
    #[serde(default, skip_serializing_if = "unset")]
    pub global: Option<Box<GlobalRateLimitPolicy>>,
}

/// A limit that each Envoy counts for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRateLimitPolicy {
    /// How many requests pass per unit of time.
    #[schemars(range(min = 1))]
    pub requests: i32,
    /// The unit of time.
    pub unit: RateLimitUnit,
    /// How many requests more may pass at once after a time with fewer.
    #[serde(default, skip_serializing_if = "unset")]
    pub burst: i32,
    /// The status code of the answer above the limit; 429 if not given.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "i32", range(min = 400, max = 599))]
    pub response_status_code: Option<u16>,
    /// Headers that are added to the answer above the limit.
    #[serde(default, skip_serializing_if = "unset")]
    pub response_headers_to_add: Vec<HeaderValue>,
}

/// A unit of time.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RateLimitUnit {
    /// A second.
    #[default]
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

/// A limit that the external service counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GlobalRateLimitPolicy {
    /// On a route, also leaves out the limits of the virtual host and of the configuration.
    #[serde(default, skip_serializing_if = "unset")]
    pub disabled: bool,
    /// What is sent to the service, each on its own.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub descriptors: Vec<RateLimitDescriptor>,
}

/// A list of keys with values that is sent to the service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateLimitDescriptor {
    /// The keys. If a request lacks one of them, the descriptor is not sent.
    #[schemars(length(min = 1))]
    pub entries: Vec<RateLimitDescriptorEntry>,
}

/// A key with its value. Exactly one kind must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitDescriptorEntry {
    /// A fixed key and value.
    #[serde(default, skip_serializing_if = "unset")]
    pub generic_key: Option<GenericKeyDescriptor>,
    /// The value of a header.
    #[serde(default, skip_serializing_if = "unset")]
    pub request_header: Option<RequestHeaderDescriptor>,
    /// A fixed value if the headers of the request match.
    #[serde(default, skip_serializing_if = "unset")]
    pub request_header_value_match: Option<Box<RequestHeaderValueMatchDescriptor>>,
    /// The address of the client.
    #[serde(default, skip_serializing_if = "unset")]
    pub remote_address: Option<RemoteAddressDescriptor>,
}

/// A fixed key and value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GenericKeyDescriptor {
    /// The key; `generic_key` if not given.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub key: Option<String>,
    /// The value.
    #[schemars(length(min = 1))]
    pub value: String,
}

/// The value of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestHeaderDescriptor {
    /// The header whose value is sent.
    #[schemars(length(min = 1))]
    pub header_name: String,
    /// The key of the value.
    #[schemars(length(min = 1))]
    pub descriptor_key: String,
}

/// A fixed value, if the headers of the request match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestHeaderValueMatchDescriptor {
    /// The conditions on headers, all of which must hold.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub headers: Vec<HeaderMatchCondition>,
    /// Whether the value is sent when the conditions hold, or when they do not.
    #[serde(default = "RequestHeaderValueMatchDescriptor::default_expect_match")]
    pub expect_match: bool,
    /// The value of the key `header_match`.
    #[schemars(length(min = 1))]
    pub value: String,
}

impl RequestHeaderValueMatchDescriptor {
    fn default_expect_match() -> bool {
        true
    }
}

impl Default for RequestHeaderValueMatchDescriptor {
    fn default() -> Self {
        Self { headers: Vec::new(), expect_match: Self::default_expect_match(), value: String::new() }
    }
}

/// The address of the client, under the key `remote_address`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoteAddressDescriptor {}

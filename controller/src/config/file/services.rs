//! Sections of the file about other parts: Gateway, header policies, metrics, authorization, rate limits, tracing.
//!
//! Most of them are refused for now; they are read in full all the same, so that a typo is told as a typo.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Reference;

/// `gateway`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Gateway {
    /// `gateway.gatewayRef`
    pub gateway_ref: Option<Reference>,
}

/// `policy`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Policy {
    /// `policy.request-headers`
    pub request_headers: Option<HeadersPolicy>,
    /// `policy.response-headers`
    pub response_headers: Option<HeadersPolicy>,
    /// `policy.applyToIngress`
    #[serde(rename = "applyToIngress")]
    pub apply_to_ingress: Option<bool>,
}

/// `policy.request-headers`, `policy.response-headers`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadersPolicy {
    /// Headers to set, by name.
    pub set: Option<BTreeMap<String, String>>,
    /// Headers to remove.
    pub remove: Option<Vec<String>>,
}

/// `metrics`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// `metrics.contour`
    pub contour: Option<MetricsServer>,
    /// `metrics.envoy`
    pub envoy: Option<MetricsServer>,
}

/// `metrics.contour`, `metrics.envoy`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct MetricsServer {
    /// IP address.
    pub address: Option<String>,
    /// Port; 0: unset.
    pub port: Option<i64>,
    /// Certificate to serve metrics over TLS.
    pub server_certificate_path: Option<String>,
    /// Its key.
    pub server_key_path: Option<String>,
    /// CA of the clients.
    pub ca_certificate_path: Option<String>,
}

/// `tracing`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Tracing {
    /// `tracing.includePodDetail`
    pub include_pod_detail: Option<bool>,
    /// `tracing.serviceName`
    pub service_name: Option<String>,
    /// `tracing.overallSampling`
    pub overall_sampling: Option<String>,
    /// `tracing.clientSampling`
    pub client_sampling: Option<String>,
    /// `tracing.randomSampling`
    pub random_sampling: Option<String>,
    /// `tracing.maxPathTagLength`
    pub max_path_tag_length: Option<u32>,
    /// `tracing.customTags`
    pub custom_tags: Option<Vec<CustomTag>>,
    /// `tracing.extensionService`
    pub extension_service: Option<String>,
}

/// `tracing.customTags[]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct CustomTag {
    /// Unique name.
    pub tag_name: Option<String>,
    /// Fixed value.
    pub literal: Option<String>,
    /// Request header that holds the value.
    pub request_header_name: Option<String>,
}

/// `globalExtAuth`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct GlobalExtAuth {
    /// `globalExtAuth.extensionService`
    pub extension_service: Option<String>,
    /// `globalExtAuth.serviceType`
    pub service_type: Option<String>,
    /// `globalExtAuth.httpSettings`
    pub http_settings: Option<HttpAuthSettings>,
    /// `globalExtAuth.authPolicy`
    pub auth_policy: Option<AuthorizationPolicy>,
    /// `globalExtAuth.responseTimeout`
    pub response_timeout: Option<String>,
    /// `globalExtAuth.failOpen`
    pub fail_open: Option<bool>,
    /// `globalExtAuth.withRequestBody`
    pub with_request_body: Option<RequestBody>,
}

/// `globalExtAuth.httpSettings`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct HttpAuthSettings {
    /// Prefix of the path of checks.
    pub path_prefix: Option<String>,
    /// Request headers that the authorization server sees.
    pub allowed_authorization_headers: Option<Vec<HeaderPatterns>>,
    /// Its response headers that the backend sees.
    pub allowed_upstream_headers: Option<Vec<HeaderPatterns>>,
}

/// A header name by exactly one pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct HeaderPatterns {
    /// Whole name.
    pub exact: Option<String>,
    /// Start.
    pub prefix: Option<String>,
    /// End.
    pub suffix: Option<String>,
    /// Part.
    pub contains: Option<String>,
    /// Whether case does not matter.
    pub ignore_case: Option<bool>,
}

/// `globalExtAuth.authPolicy`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizationPolicy {
    /// Whether requests go unchecked unless a route says otherwise.
    pub disabled: Option<bool>,
    /// Key and value pairs sent with each check.
    pub context: Option<BTreeMap<String, String>>,
}

/// `globalExtAuth.withRequestBody`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct RequestBody {
    /// Bytes of the body sent with each check.
    pub max_request_bytes: Option<u32>,
    /// Whether a longer body is cut instead of refused.
    pub allow_partial_message: Option<bool>,
    /// Whether the body is sent as bytes instead of text.
    pub pack_as_bytes: Option<bool>,
}

/// `rateLimitService`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct RateLimitService {
    /// `rateLimitService.extensionService`
    pub extension_service: Option<String>,
    /// `rateLimitService.domain`
    pub domain: Option<String>,
    /// `rateLimitService.failOpen`
    pub fail_open: Option<bool>,
    /// `rateLimitService.enableXRateLimitHeaders`
    #[serde(rename = "enableXRateLimitHeaders")]
    pub enable_x_rate_limit_headers: Option<bool>,
    /// `rateLimitService.enableResourceExhaustedCode`
    pub enable_resource_exhausted_code: Option<bool>,
    /// `rateLimitService.defaultGlobalRateLimitPolicy`
    pub default_global_rate_limit_policy: Option<GlobalRateLimitPolicy>,
}

/// `rateLimitService.defaultGlobalRateLimitPolicy`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GlobalRateLimitPolicy {
    /// Whether there is none after all.
    pub disabled: Option<bool>,
    /// What is sent to the service.
    pub descriptors: Option<Vec<RateLimitDescriptor>>,
}

/// One descriptor: entries that are sent together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitDescriptor {
    /// Its entries.
    pub entries: Option<Vec<RateLimitEntry>>,
}

/// One entry: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct RateLimitEntry {
    /// Fixed key and value.
    pub generic_key: Option<GenericKey>,
    /// The value of a request header.
    pub request_header: Option<RequestHeader>,
    /// A fixed value where request headers match.
    pub request_header_value_match: Option<RequestHeaderValueMatch>,
    /// The client's address.
    pub remote_address: Option<RemoteAddress>,
}

/// Fixed key and value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenericKey {
    /// Key (`generic_key`).
    pub key: Option<String>,
    /// Value.
    pub value: Option<String>,
}

/// The value of a request header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct RequestHeader {
    /// The header.
    pub header_name: Option<String>,
    /// The key it is sent by.
    pub descriptor_key: Option<String>,
}

/// A fixed value where request headers match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct RequestHeaderValueMatch {
    /// The conditions.
    pub headers: Option<Vec<HeaderMatch>>,
    /// Whether they must match, or must not.
    pub expect_match: Option<bool>,
    /// The value sent.
    pub value: Option<String>,
}

/// A condition on a header. Contour's file takes these keys in lower case; the HTTPProxy's spelling is taken as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct HeaderMatch {
    /// The header.
    pub name: Option<String>,
    /// Whether it is there.
    pub present: Option<bool>,
    /// Whether it is missing.
    #[serde(alias = "notpresent")]
    pub not_present: Option<bool>,
    /// A part of its value.
    pub contains: Option<String>,
    /// No part of its value.
    #[serde(alias = "notcontains")]
    pub not_contains: Option<String>,
    /// Whether case does not matter.
    #[serde(alias = "ignorecase")]
    pub ignore_case: Option<bool>,
    /// Its value.
    pub exact: Option<String>,
    /// Not its value.
    #[serde(alias = "notexact")]
    pub not_exact: Option<String>,
    /// A regular expression for its value.
    pub regex: Option<String>,
    /// Whether a missing header counts as an empty one.
    #[serde(alias = "treatmissingasempty")]
    pub treat_missing_as_empty: Option<bool>,
}

/// The client's address: no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteAddress {}

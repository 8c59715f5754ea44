//! Answers that are given without a backend, changes of the path, and redirects that Envoy follows itself.

use crate::patterns::{ABSOLUTE_PATH, HOST_NAME};
use crate::serde_rules::{PlainInteger, non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A redirect. What is not given stays as in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRedirectPolicy {
    /// The scheme of the new address.
    #[serde(default, skip_serializing_if = "unset")]
    pub scheme: Option<RedirectScheme>,
    /// The host name of the new address.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST_NAME))]
    pub hostname: Option<String>,
    /// The port of the new address.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The status code.
    #[serde(default = "RequestRedirectPolicy::default_status_code")]
    #[schemars(with = "i32", extend("enum" = [301, 302, 303, 307, 308]))]
    pub status_code: u16,
    /// The path of the new address. Excludes `prefix`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(regex(pattern = ABSOLUTE_PATH))]
    pub path: Option<String>,
    /// Takes the place of the prefix that the route matched. Excludes `path`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(regex(pattern = ABSOLUTE_PATH))]
    pub prefix: Option<String>,
}

impl RequestRedirectPolicy {
    fn default_status_code() -> u16 {
        302
    }
}

impl Default for RequestRedirectPolicy {
    fn default() -> Self {
        Self {
            scheme: None,
            hostname: None,
            port: None,
            status_code: Self::default_status_code(),
            path: None,
            prefix: None,
        }
    }
}

/// The scheme of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RedirectScheme {
    /// HTTP.
    Http,
    /// HTTPS.
    Https,
}

/// A fixed response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectResponsePolicy {
    /// The status code.
    #[schemars(with = "PlainInteger", range(min = 200, max = 599))]
    pub status_code: u16,
    /// The body; none if not given.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub body: Option<String>,
}

/// Which redirects of backends Envoy follows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InternalRedirectPolicy {
    /// How many redirects of one request are followed; Envoy's default, one, if zero.
    #[serde(default, skip_serializing_if = "unset")]
    pub max_internal_redirects: i32,
    /// The status codes that are followed; 302 if none is given.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("items" = { "type": "integer", "format": "int32", "enum": [301, 302, 303, 307, 308] }))]
    pub redirect_response_codes: Vec<u16>,
    /// Whether a redirect may lead from HTTP to HTTPS or back.
    #[serde(default)]
    pub allow_cross_scheme_redirect: CrossSchemeRedirect,
    /// Follows no redirect to a route that was redirected from before.
    #[serde(default, skip_serializing_if = "unset")]
    pub deny_repeated_route_redirect: bool,
}

/// Whether a redirect may lead to another scheme.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum CrossSchemeRedirect {
    /// It may.
    Always,
    /// It may not.
    #[default]
    Never,
    /// From HTTPS to HTTP it may, if the request came without TLS.
    SafeOnly,
}

/// Changes of the path before the request is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathRewritePolicy {
    /// What takes the place of the matched prefix. Needs a condition `prefix`.
    #[serde(default, skip_serializing_if = "unset")]
    pub replace_prefix: Vec<ReplacePrefix>,
}

/// What takes the place of a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ReplacePrefix {
    /// The whole matched prefix that this entry is for. Without it the entry is for all that no other entry
    /// is for. Each prefix may be given once.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub prefix: Option<String>,
    /// What takes the place of the prefix.
    #[schemars(length(min = 1))]
    pub replacement: String,
}

//! Cross-origin resource sharing.

use crate::patterns::{DURATION_OR_ZERO, HTTP_TOKEN};
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which other origins may use the host from a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Allows requests with cookies and other credentials.
    #[serde(default, skip_serializing_if = "unset")]
    pub allow_credentials: bool,
    /// The origins: `*` for all, an origin such as `https://example.com`, or a regular expression (RE2).
    #[schemars(length(min = 1))]
    pub allow_origin: Vec<String>,
    /// The methods that are allowed.
    #[schemars(length(min = 1), inner(regex(pattern = HTTP_TOKEN)))]
    pub allow_methods: Vec<String>,
    /// The request headers that are allowed.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(min = 1), inner(regex(pattern = HTTP_TOKEN)))]
    pub allow_headers: Vec<String>,
    /// The response headers that scripts may read.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(min = 1), inner(regex(pattern = HTTP_TOKEN)))]
    pub expose_headers: Vec<String>,
    /// How long a browser may keep the answer to a preflight request, as a Go duration. Zero forbids to keep
    /// it; without it the browser decides.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(regex(pattern = DURATION_OR_ZERO))]
    pub max_age: Option<String>,
    /// Lets public sites reach a host in a private network.
    #[serde(default, skip_serializing_if = "unset")]
    pub allow_private_network: bool,
}

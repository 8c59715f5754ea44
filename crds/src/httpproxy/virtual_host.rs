//! The host name of a root and what holds for all of its requests.

use super::{AuthorizationServer, CorsPolicy, IpFilterPolicy, JwtProvider, RateLimitPolicy, Tls};
use crate::patterns::FQDN;
use crate::serde_rules::unset;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The host name of a root `HTTPProxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualHost {
    /// The fully qualified name, in lower case. The first label may be `*`, which stands for exactly one
    /// label. No two roots may name the same host.
    #[schemars(regex(pattern = FQDN))]
    pub fqdn: String,
    /// Serves the host over TLS.
    #[serde(default, skip_serializing_if = "unset")]
    pub tls: Option<Box<Tls>>,
    /// Asks an external service whether a request may pass. Requires `tls`.
    #[serde(default, skip_serializing_if = "unset")]
    pub authorization: Option<Box<AuthorizationServer>>,
    /// Which other origins may use the host from a browser.
    #[serde(default, skip_serializing_if = "unset")]
    pub cors_policy: Option<Box<CorsPolicy>>,
    /// Limits the rate of requests to the host.
    #[serde(default, skip_serializing_if = "unset")]
    pub rate_limit_policy: Option<Box<RateLimitPolicy>>,
    /// The issuers of JSON Web Tokens that routes can ask for. Requires `tls` with a Secret.
    #[serde(default, skip_serializing_if = "unset")]
    pub jwt_providers: Vec<JwtProvider>,
    /// Only addresses that match one of these may send requests. Excludes `ipDenyPolicy`. A route with a list
    /// of its own uses that one alone.
    #[serde(default, skip_serializing_if = "unset")]
    pub ip_allow_policy: Vec<IpFilterPolicy>,
    /// Addresses that match one of these may not send requests. Excludes `ipAllowPolicy`. A route with a
    /// list of its own uses that one alone.
    #[serde(default, skip_serializing_if = "unset")]
    pub ip_deny_policy: Vec<IpFilterPolicy>,
}

//! A route: conditions, an action and its policies. And the inclusion of another object's routes.

use super::{
    AuthorizationPolicy, CookieRewritePolicy, DirectResponsePolicy, HeadersPolicy, HttpHealthCheckPolicy,
    InternalRedirectPolicy, IpFilterPolicy, JwtVerificationPolicy, LoadBalancerPolicy, MatchCondition,
    PathRewritePolicy, RateLimitPolicy, RequestRedirectPolicy, RetryPolicy, Service, TimeoutPolicy,
};
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Adds the routes of another `HTTPProxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Include {
    /// The name of the included `HTTPProxy`.
    pub name: String,
    /// The namespace of the included `HTTPProxy`; that of the including one if not given.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub namespace: Option<String>,
    /// Conditions that are added to every included route: `prefix`, `header` and `queryParameter`.
    #[serde(default, skip_serializing_if = "unset")]
    pub conditions: Vec<MatchCondition>,
}

/// What happens to the requests that meet the conditions. Exactly one of `services`, `requestRedirectPolicy`
/// and `directResponsePolicy` must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The conditions, all of which must hold. Without any the route is for every path.
    #[serde(default, skip_serializing_if = "unset")]
    pub conditions: Vec<MatchCondition>,
    /// The Services that requests are forwarded to, by weight.
    #[serde(default, skip_serializing_if = "unset")]
    pub services: Vec<Service>,
    /// Lets requests switch to the WebSocket protocol.
    #[serde(default, skip_serializing_if = "unset")]
    pub enable_websockets: bool,
    /// Serves the route also without TLS when the virtual host has TLS, instead of redirecting there.
    #[serde(default, skip_serializing_if = "unset")]
    pub permit_insecure: bool,
    /// Changes the external authorization for this route.
    #[serde(default, skip_serializing_if = "unset")]
    pub auth_policy: Option<Box<AuthorizationPolicy>>,
    /// How long requests and connections may take.
    #[serde(default, skip_serializing_if = "unset")]
    pub timeout_policy: Option<Box<TimeoutPolicy>>,
    /// When and how often a failed request is tried again.
    #[serde(default, skip_serializing_if = "unset")]
    pub retry_policy: Option<Box<RetryPolicy>>,
    /// How the health of the backends is checked. Without it they are not checked.
    #[serde(default, skip_serializing_if = "unset")]
    pub health_check_policy: Option<Box<HttpHealthCheckPolicy>>,
    /// How a backend is chosen.
    #[serde(default, skip_serializing_if = "unset")]
    pub load_balancer_policy: Option<Box<LoadBalancerPolicy>>,
    /// Changes the path before the request is forwarded.
    #[serde(default, skip_serializing_if = "unset")]
    pub path_rewrite_policy: Option<Box<PathRewritePolicy>>,
    /// Changes the headers of requests.
    #[serde(default, skip_serializing_if = "unset")]
    pub request_headers_policy: Option<Box<HeadersPolicy>>,
    /// Changes the headers of responses.
    #[serde(default, skip_serializing_if = "unset")]
    pub response_headers_policy: Option<Box<HeadersPolicy>>,
    /// Changes the attributes of cookies that responses set.
    #[serde(default, skip_serializing_if = "unset")]
    pub cookie_rewrite_policies: Vec<CookieRewritePolicy>,
    /// Limits the rate of requests.
    #[serde(default, skip_serializing_if = "unset")]
    pub rate_limit_policy: Option<Box<RateLimitPolicy>>,
    /// Answers with a redirect.
    #[serde(default, skip_serializing_if = "unset")]
    pub request_redirect_policy: Option<Box<RequestRedirectPolicy>>,
    /// Answers with a fixed response.
    #[serde(default, skip_serializing_if = "unset")]
    pub direct_response_policy: Option<Box<DirectResponsePolicy>>,
    /// Follows redirects of the backends instead of passing them to the client.
    #[serde(default, skip_serializing_if = "unset")]
    pub internal_redirect_policy: Option<Box<InternalRedirectPolicy>>,
    /// Which JSON Web Token a request must carry.
    #[serde(default, skip_serializing_if = "unset")]
    pub jwt_verification_policy: Option<Box<JwtVerificationPolicy>>,
    /// Only addresses that match one of these may send requests. Replaces the list of the virtual host.
    #[serde(default, skip_serializing_if = "unset")]
    pub ip_allow_policy: Vec<IpFilterPolicy>,
    /// Addresses that match one of these may not send requests. Replaces the list of the virtual host.
    #[serde(default, skip_serializing_if = "unset")]
    pub ip_deny_policy: Vec<IpFilterPolicy>,
}

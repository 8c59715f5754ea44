//! `HTTPProxy`: the routing of one host name, possibly put together from several objects by inclusion.
//!
//! Every field of Contour 1.33.8 is parsed. Which of them take effect today is not told here, as it would
//! go stale: an object that asks for something the controller does not do yet says so in its own status, as
//! an error or a warning of its condition `Valid`.
//!
//! Many of these objects are held in memory: rarely used parts are boxed, so that a plain [`Route`] is small.

#![expect(clippy::duplicated_attributes, reason = "it takes the columns of one definition for one attribute")]

mod auth;
mod cors;
mod headers;
mod health_check;
mod ip_filter;
mod jwt;
mod load_balancer;
mod match_conditions;
mod rate_limit;
mod redirect;
mod retry;
mod route;
mod service;
mod tcp_proxy;
mod tls;
mod virtual_host;

pub use auth::{
    AuthorizationPolicy, AuthorizationServer, AuthorizationServerBufferSettings, ExtensionServiceReference,
};
pub use cors::CorsPolicy;
pub use headers::{
    CookieDomainRewrite, CookiePathRewrite, CookieRewritePolicy, HeaderValue, HeadersPolicy, SameSite,
};
pub use health_check::{HttpHealthCheckPolicy, HttpStatusRange, TcpHealthCheckPolicy};
pub use ip_filter::{IpFilterPolicy, IpFilterSource};
pub use jwt::{DnsLookupFamily, JwtProvider, JwtVerificationPolicy, RemoteJwks};
pub use load_balancer::{
    HeaderHashOptions, LoadBalancerPolicy, QueryParameterHashOptions, RequestHashPolicy, SlowStartPolicy,
};
pub use match_conditions::{HeaderMatchCondition, MatchCondition, QueryParameterMatchCondition};
pub use rate_limit::{
    GenericKeyDescriptor, GlobalRateLimitPolicy, LocalRateLimitPolicy, RateLimitDescriptor,
    RateLimitDescriptorEntry, RateLimitPolicy, RateLimitUnit, RemoteAddressDescriptor,
    RequestHeaderDescriptor, RequestHeaderValueMatchDescriptor,
};
pub use redirect::{
    CrossSchemeRedirect, DirectResponsePolicy, InternalRedirectPolicy, PathRewritePolicy, RedirectScheme,
    ReplacePrefix, RequestRedirectPolicy,
};
pub use retry::{RetryOn, RetryPolicy, TimeoutPolicy};
pub use route::{Include, Route};
pub use service::{Service, UpstreamProtocol, UpstreamValidation};
pub use tcp_proxy::{TcpProxy, TcpProxyInclude};
pub use tls::{ClientCertificateDetails, DownstreamValidation, Tls};
pub use virtual_host::VirtualHost;

use crate::serde_rules::{non_empty, unset};
use crate::status::{DetailedCondition, LoadBalancerStatus};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The routing that an `HTTPProxy` asks for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "projectcontour.io",
    version = "v1",
    kind = "HTTPProxy",
    doc = "Routes the requests of a host name to Services. An object with a virtual host is a root; any other is included by one.",
    plural = "httpproxies",
    shortname = "proxy",
    shortname = "proxies",
    namespaced,
    derive = "PartialEq",
    status = "HTTPProxyStatus",
    printcolumn(
        name = "FQDN",
        type_ = "string",
        json_path = ".spec.virtualhost.fqdn",
        description = "Host name that is served"
    ),
    printcolumn(
        name = "TLS Secret",
        type_ = "string",
        json_path = ".spec.virtualhost.tls.secretName",
        description = "Secret that holds the certificate"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.currentStatus",
        description = "State of the object"
    ),
    printcolumn(
        name = "Status Description",
        type_ = "string",
        json_path = ".status.description",
        description = "Reason of the state"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct HTTPProxySpec {
    /// The host name this object is the root of. Without it the object has no effect unless another
    /// includes it.
    #[serde(default, skip_serializing_if = "unset")]
    pub virtualhost: Option<Box<VirtualHost>>,
    /// The routes of this object, in addition to those of its includes.
    #[serde(default, skip_serializing_if = "unset")]
    pub routes: Vec<Route>,
    /// Forwards the TLS sessions of the virtual host as plain TCP streams.
    #[serde(default, skip_serializing_if = "unset")]
    pub tcpproxy: Option<Box<TcpProxy>>,
    /// Other `HTTPProxy` objects whose routes are added below given conditions.
    #[serde(default, skip_serializing_if = "unset")]
    pub includes: Vec<Include>,
    /// The ingress class this object is for. An annotation that names a class wins over this field.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub ingress_class_name: Option<String>,
}

/// The state of an `HTTPProxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HTTPProxyStatus {
    /// `valid`, `invalid` or `orphaned`; `NotReconciled` until the controller has looked at the object.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub current_status: Option<String>,
    /// The reason of `currentStatus` in a sentence.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub description: Option<String>,
    /// The addresses under which the host name is served.
    #[serde(default, skip_serializing_if = "unset")]
    pub load_balancer: Option<LoadBalancerStatus>,
    /// The conditions of the object, one per type. The controller writes `Valid` only, with all errors and
    /// warnings, and leaves conditions of other types alone.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<DetailedCondition>,
}

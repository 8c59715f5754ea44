//! A Service that requests or streams are forwarded to, and how its certificate is verified.

use super::{CookieRewritePolicy, HeadersPolicy, SlowStartPolicy};
use crate::serde_rules::{PlainInteger, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The protocol spoken to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/2 without TLS.
    H2c,
    /// HTTP/1.1 over TLS, or a TLS stream.
    Tls,
}

/// A Service in the namespace of the `HTTPProxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// The name of the Service.
    pub name: String,
    /// The Service's port.
    #[schemars(with = "PlainInteger", extend("minimum" = 1, "maximum" = 65536, "exclusiveMaximum" = true))]
    pub port: u16,
    /// The Service's port that health checks use; `port` if not given.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "PlainInteger", range(min = 1, max = 65535))]
    pub health_port: Option<u16>,
    /// The protocol. If not given, the Service says it by the port's application protocol or by annotations.
    #[serde(default, skip_serializing_if = "unset")]
    pub protocol: Option<UpstreamProtocol>,
    /// The share of requests in proportion to the other Services. If all are zero, the shares are equal.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 0))]
    pub weight: i64,
    /// How the certificate of the backend is verified. Without it the certificate is not verified.
    #[serde(default, skip_serializing_if = "unset")]
    pub validation: Option<Box<UpstreamValidation>>,
    /// Sends a copy of the requests here and ignores the responses; `weight` is then the percentage of
    /// requests, 100 if not given. At most one Service of a route may be a mirror.
    #[serde(default, skip_serializing_if = "unset")]
    pub mirror: bool,
    /// Changes the headers of requests to this Service.
    #[serde(default, skip_serializing_if = "unset")]
    pub request_headers_policy: Option<Box<HeadersPolicy>>,
    /// Changes the headers of responses of this Service.
    #[serde(default, skip_serializing_if = "unset")]
    pub response_headers_policy: Option<Box<HeadersPolicy>>,
    /// Changes the attributes of cookies that this Service sets.
    #[serde(default, skip_serializing_if = "unset")]
    pub cookie_rewrite_policies: Vec<CookieRewritePolicy>,
    /// Lets the share of new endpoints grow slowly.
    #[serde(default, skip_serializing_if = "unset")]
    pub slow_start_policy: Option<Box<SlowStartPolicy>>,
}

/// How the certificate of a server is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.subjectNames) ? self.subjectNames[0] == self.subjectName : true",
    "message": "subjectNames[0] must equal subjectName if set"
}]))]
pub struct UpstreamValidation {
    /// The Secret whose `ca.crt` signs the certificate, as `name` or `namespace/name`.
    #[schemars(length(min = 1, max = 317))]
    pub ca_secret: String,
    /// The DNS name that the certificate must be for.
    #[schemars(length(min = 1, max = 250))]
    pub subject_name: String,
    /// The DNS names one of which the certificate must be for. The first one must be `subjectName`.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 8))]
    pub subject_names: Vec<String>,
}

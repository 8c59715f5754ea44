//! What holds for Envoy.

use super::{
    ClusterParameters, EnvoyListenerConfig, HealthConfig, MetricsConfig, NamespacedName, NetworkParameters,
    TimeoutParameters,
};
use crate::serde_rules::{PlainInteger, non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What holds for Envoy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyConfig {
    /// What holds for all listeners.
    #[serde(default, skip_serializing_if = "unset")]
    pub listener: Option<Box<EnvoyListenerConfig>>,
    /// Envoy's Service, whose addresses the status of objects shows; `projectcontour/envoy` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub service: Option<NamespacedName>,
    /// Where Envoy serves HTTP; `0.0.0.0:8080` by default, with an access log on `/dev/stdout`.
    #[serde(default, skip_serializing_if = "unset")]
    pub http: Option<EnvoyListener>,
    /// Where Envoy serves HTTPS; `0.0.0.0:8443` by default, with an access log on `/dev/stdout`.
    #[serde(default, skip_serializing_if = "unset")]
    pub https: Option<EnvoyListener>,
    /// Where Envoy serves its health; `0.0.0.0:8002` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub health: Option<HealthConfig>,
    /// Where Envoy serves its metrics; `0.0.0.0:8002` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub metrics: Option<MetricsConfig>,
    /// The Secret with the certificate that Envoy shows to backends.
    #[serde(default, skip_serializing_if = "unset")]
    pub client_certificate: Option<NamespacedName>,
    /// What Envoy logs of requests.
    #[serde(default, skip_serializing_if = "unset")]
    pub logging: Option<EnvoyLogging>,
    /// The HTTP versions that Envoy serves: `HTTP/1.1` and `HTTP/2`; both by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[serde(rename = "defaultHTTPVersions")]
    pub default_http_versions: Vec<String>,
    /// How long requests and connections may take.
    #[serde(default, skip_serializing_if = "unset")]
    pub timeouts: Option<Box<TimeoutParameters>>,
    /// What holds for connections to backends.
    #[serde(default, skip_serializing_if = "unset")]
    pub cluster: Option<Box<ClusterParameters>>,
    /// What holds for the network around Envoy.
    #[serde(default, skip_serializing_if = "unset")]
    pub network: Option<NetworkParameters>,
    /// Where Envoy serves a health that turns bad when the limits of its overload manager are reached. Must
    /// differ from `health` and `metrics`. Not served by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub om_enforced_health: Option<HealthConfig>,
}

/// Where Envoy serves requests, and where it logs them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyListener {
    /// The address to listen on.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub address: Option<String>,
    /// The port to listen on.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "PlainInteger")]
    pub port: i64,
    /// The file that requests are logged to.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub access_log: Option<String>,
}

/// What Envoy logs of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyLogging {
    /// `envoy` for lines of text, or `json`; `envoy` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub access_log_format: Option<String>,
    /// The line of text, with Envoy's command operators; it must end with a newline. Envoy's own by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub access_log_format_string: Option<String>,
    /// The fields of JSON: each a known name, or a name and Envoy's command operator as `name=%OPERATOR%`.
    #[serde(default, skip_serializing_if = "unset")]
    #[serde(rename = "accessLogJSONFields")]
    pub access_log_json_fields: Vec<String>,
    /// Which requests are logged: `info` for all, `error` for status codes from 300, `critical` for those from
    /// 500, or `disabled` for none; `info` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub access_log_level: Option<String>,
}

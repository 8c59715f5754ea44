//! The configuration file of `--config-path`, as written: one typed field per key, nothing checked or defaulted yet.
//!
//! Every field is optional, and null means absent, so that a key without a value (`tls:`) changes nothing. Keys mix kebab-case and
//! camelCase; that is Contour's contract. A key that no field stands for is an error.

mod envoy;
mod services;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use envoy::{
    CircuitBreakers, Cluster, Compression, Fingerprint, Listener, Network, SocketOptions, Timeouts, Tls,
    UpstreamTls,
};
pub use services::{
    AuthorizationPolicy, CustomTag, Gateway, GenericKey, GlobalExtAuth, GlobalRateLimitPolicy, HeaderMatch,
    HeaderPatterns, HeadersPolicy, HttpAuthSettings, Metrics, MetricsServer, Policy, RateLimitDescriptor,
    RateLimitEntry, RateLimitService, RemoteAddress, RequestBody, RequestHeader, RequestHeaderValueMatch,
    Tracing,
};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ConfigFile {
    /// `debug`
    pub debug: Option<bool>,
    /// `incluster`
    pub incluster: Option<bool>,
    /// `kubeconfig`
    pub kubeconfig: Option<String>,
    /// `kubernetesClientQPS`: accepted; our client has no throttle of its own.
    #[serde(rename = "kubernetesClientQPS")]
    pub kubernetes_client_qps: Option<f32>,
    /// `kubernetesClientBurst`: as above.
    #[serde(rename = "kubernetesClientBurst")]
    pub kubernetes_client_burst: Option<i64>,
    /// `server`: a relic; it has no keys any more.
    pub server: Option<Server>,
    /// `gateway`
    pub gateway: Option<Gateway>,
    /// `ingress-status-address`
    pub ingress_status_address: Option<String>,
    /// `accesslog-format`
    pub accesslog_format: Option<String>,
    /// `accesslog-format-string`
    pub accesslog_format_string: Option<String>,
    /// `json-fields`
    pub json_fields: Option<Vec<String>>,
    /// `accesslog-level`
    pub accesslog_level: Option<String>,
    /// `tls`
    pub tls: Option<Tls>,
    /// `disablePermitInsecure`
    #[serde(rename = "disablePermitInsecure")]
    pub disable_permit_insecure: Option<bool>,
    /// `disableAllowChunkedLength`
    #[serde(rename = "disableAllowChunkedLength")]
    pub disable_allow_chunked_length: Option<bool>,
    /// `disableMergeSlashes`
    #[serde(rename = "disableMergeSlashes")]
    pub disable_merge_slashes: Option<bool>,
    /// `compression`
    pub compression: Option<Compression>,
    /// `serverHeaderTransformation`
    #[serde(rename = "serverHeaderTransformation")]
    pub server_header_transformation: Option<String>,
    /// `enableExternalNameService`
    #[serde(rename = "enableExternalNameService")]
    pub enable_external_name_service: Option<bool>,
    /// `timeouts`
    pub timeouts: Option<Timeouts>,
    /// `policy`
    pub policy: Option<Policy>,
    /// `envoy-service-namespace`
    pub envoy_service_namespace: Option<String>,
    /// `envoy-service-name`
    pub envoy_service_name: Option<String>,
    /// `default-http-versions`
    pub default_http_versions: Option<Vec<String>>,
    /// `cluster`
    pub cluster: Option<Cluster>,
    /// `network`
    pub network: Option<Network>,
    /// `listener`
    pub listener: Option<Listener>,
    /// `runtime-settings`: Envoy runtime keys, values of any scalar type.
    pub runtime_settings: Option<BTreeMap<String, serde_json::Value>>,
    /// `rateLimitService`
    #[serde(rename = "rateLimitService")]
    pub rate_limit_service: Option<RateLimitService>,
    /// `globalExtAuth`
    #[serde(rename = "globalExtAuth")]
    pub global_ext_auth: Option<GlobalExtAuth>,
    /// `metrics`
    pub metrics: Option<Metrics>,
    /// `tracing`
    pub tracing: Option<Tracing>,
    /// `featureFlags`: no flag is known, the list changes nothing.
    #[serde(rename = "featureFlags")]
    pub feature_flags: Option<Vec<String>>,
    /// `omEnforcedHealthListener`
    #[serde(rename = "omEnforcedHealthListener")]
    pub om_enforced_health_listener: Option<Endpoint>,
}

/// `server`: the keys it once had are errors, as in Contour since 1.31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {}

/// An address and port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// IP address.
    pub address: Option<String>,
    /// Port; 0: unset.
    pub port: Option<i64>,
}

/// Namespace and name of an object: both or neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reference {
    /// Name.
    pub name: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
}

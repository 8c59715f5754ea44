//! `ContourConfiguration`: the settings of a controller, read once when it starts.
//!
//! Each default told here is that of a controller that is given this object. A setting that is not given
//! keeps its default, whatever else of the same part is given.

mod addresses;
mod cluster;
mod envoy;
mod extensions;
mod listener;

pub use addresses::{
    DebugConfig, HealthConfig, MetricsConfig, MetricsTls, NamespacedName, XdsServerConfig, XdsTls,
};
pub use cluster::{ClusterParameters, NetworkParameters, TimeoutParameters};
pub use envoy::{EnvoyConfig, EnvoyListener, EnvoyLogging};
pub use extensions::{
    ConfiguredHeadersPolicy, CustomTag, PolicyConfig, RateLimitServiceConfig, TracingConfig,
};
pub use listener::{CompressionAlgorithm, EnvoyCompression, EnvoyListenerConfig, EnvoyTls, SocketOptions};

use crate::httpproxy::AuthorizationServer;
use crate::serde_rules::{non_empty, unset};
use crate::status::DetailedCondition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings of a controller.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "projectcontour.io",
    version = "v1alpha1",
    kind = "ContourConfiguration",
    doc = "The settings of a controller, read once when it starts.",
    plural = "contourconfigurations",
    shortname = "contourconfig",
    namespaced,
    derive = "PartialEq",
    status = "ContourConfigurationStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct ContourConfigurationSpec {
    /// Where Envoy gets its configuration.
    #[serde(default, skip_serializing_if = "unset")]
    pub xds_server: Option<XdsServerConfig>,
    /// Which Ingress and `HTTPProxy` objects are served, and what their status says.
    #[serde(default, skip_serializing_if = "unset")]
    pub ingress: Option<IngressConfig>,
    /// Where the debug endpoints are served.
    #[serde(default, skip_serializing_if = "unset")]
    pub debug: Option<DebugConfig>,
    /// Where the controller's health is served; `0.0.0.0:8000` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub health: Option<HealthConfig>,
    /// What holds for Envoy.
    #[serde(default, skip_serializing_if = "unset")]
    pub envoy: Option<Box<EnvoyConfig>>,
    /// Serves a Gateway of the Gateway API.
    #[serde(default, skip_serializing_if = "unset")]
    pub gateway: Option<GatewayConfig>,
    /// What holds for `HTTPProxy` objects.
    #[serde(default, skip_serializing_if = "unset")]
    pub httpproxy: Option<HttpProxyConfig>,
    /// Serves Services of type `ExternalName`; `false` by default, as they can lead anywhere.
    #[serde(default, skip_serializing_if = "unset")]
    pub enable_external_name_service: Option<bool>,
    /// The external authorization of all hosts, unless they have one of their own.
    #[serde(default, skip_serializing_if = "unset")]
    pub global_ext_auth: Option<Box<AuthorizationServer>>,
    /// The external service that counts requests.
    #[serde(default, skip_serializing_if = "unset")]
    pub rate_limit_service: Option<Box<RateLimitServiceConfig>>,
    /// Changes to headers that hold unless an object says otherwise.
    #[serde(default, skip_serializing_if = "unset")]
    pub policy: Option<Box<PolicyConfig>>,
    /// Where the controller's metrics are served; `0.0.0.0:8000` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub metrics: Option<MetricsConfig>,
    /// Sends traces of requests to a service.
    #[serde(default, skip_serializing_if = "unset")]
    pub tracing: Option<Box<TracingConfig>>,
    /// Switches for features that are not settled yet. None is known.
    #[serde(default, skip_serializing_if = "unset")]
    pub feature_flags: Vec<String>,
}

/// Which objects are served, and what their status says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressConfig {
    /// The ingress classes that are served. Without any: class `contour`, and objects without a class.
    #[serde(default, skip_serializing_if = "unset")]
    pub class_names: Vec<String>,
    /// The addresses that the status of objects shows, separated by commas, in place of those of Envoy's
    /// Service.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub status_address: Option<String>,
}

/// Which Gateway is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayConfig {
    /// The Gateway.
    pub gateway_ref: NamespacedName,
}

/// What holds for `HTTPProxy` objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpProxyConfig {
    /// Makes `permitInsecure` of routes have no effect; `false` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub disable_permit_insecure: Option<bool>,
    /// The namespaces whose objects may be roots. All, if none is given.
    #[serde(default, skip_serializing_if = "unset")]
    pub root_namespaces: Vec<String>,
    /// The Secret with the certificate for clients that send no server name.
    #[serde(default, skip_serializing_if = "unset")]
    pub fallback_certificate: Option<NamespacedName>,
}

/// The state of a `ContourConfiguration`. The controller does not write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContourConfigurationStatus {
    /// The conditions of the object, one per type.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<DetailedCondition>,
}

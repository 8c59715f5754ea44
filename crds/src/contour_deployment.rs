//! `ContourDeployment`: a whole installation of Contour and Envoy, as the operator runs it in a cluster and
//! as `contour standalone` runs it on one machine.
//!
//! This is a first cut: it has what `contour standalone` needs.

use crate::patterns::{ABSOLUTE_PATH, DNS_LABEL, GO_DURATION, IP_ADDRESS_CHARACTERS};
use crate::serde_rules::{non_empty, unset};
use crate::status::DetailedCondition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An installation of Contour and Envoy. Everything has a default.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "operator.projectcontour.io",
    version = "v1alpha1",
    kind = "ContourDeployment",
    doc = "An installation of Contour and Envoy.",
    plural = "contourdeployments",
    shortname = "contourop",
    namespaced,
    derive = "PartialEq",
    status = "ContourDeploymentStatus",
    printcolumn(
        name = "Class",
        type_ = "string",
        json_path = ".spec.ingressClassName",
        description = "Ingress class that is served"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ContourDeploymentSpec {
    /// The ingress class that is served. Without it: class `contour`, and objects without a class.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub ingress_class_name: Option<String>,
    /// The proxies.
    #[serde(default, skip_serializing_if = "unset")]
    pub envoy: EnvoySettings,
    /// The certificates between Envoy and the controller.
    #[serde(default, skip_serializing_if = "unset")]
    pub certificates: CertificateSettings,
}

/// The proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvoySettings {
    /// The ports to listen on.
    #[serde(default, skip_serializing_if = "unset")]
    pub ports: EnvoyPorts,
    /// The IP address to listen on for HTTP and HTTPS; `0.0.0.0` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 45), regex(pattern = IP_ADDRESS_CHARACTERS))]
    pub listen_address: Option<String>,
    /// How many threads serve requests; one per processor by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "i32", range(min = 1, max = 1024))]
    pub concurrency: Option<u16>,
    /// Which messages Envoy logs; `info` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub log_level: Option<EnvoyLogLevel>,
    /// The file that requests are logged to; `/dev/stdout` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 4096), regex(pattern = ABSOLUTE_PATH))]
    pub access_log: Option<String>,
}

/// The ports that Envoy listens on. No two may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.http != self.https && self.http != self.metrics && self.http != self.admin && self.https != self.metrics && self.https != self.admin && self.metrics != self.admin",
    "message": "http, https, metrics and admin must be four different ports"
}]))]
pub struct EnvoyPorts {
    /// HTTP.
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub http: u16,
    /// HTTPS.
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub https: u16,
    /// Health and metrics.
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub metrics: u16,
    /// Envoy's admin interface.
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub admin: u16,
}

impl Default for EnvoyPorts {
    fn default() -> Self {
        Self { http: 8080, https: 8443, metrics: 8002, admin: 9001 }
    }
}

/// Which messages Envoy logs: those of a level and of all after it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum EnvoyLogLevel {
    /// Every step.
    Trace,
    /// What helps to find errors in Envoy.
    Debug,
    /// What is worth knowing.
    #[default]
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
    /// What keeps Envoy from working.
    Critical,
    /// Nothing.
    Off,
}

/// The certificates between Envoy and the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.lifetime) || duration(self.lifetime) >= duration('1h')",
    "message": "lifetime must be at least 1h"
}, {
    "rule": "!has(self.caLifetime) || duration(self.caLifetime) >= duration(has(self.lifetime) ? self.lifetime : '8760h')",
    "message": "caLifetime must not be less than lifetime, which is 8760h by default"
}]))]
pub struct CertificateSettings {
    /// How long a certificate is valid, as a Go duration; a year (`8760h`) by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 2, max = 32), regex(pattern = GO_DURATION))]
    pub lifetime: Option<String>,
    /// How long the certificate authority is valid, as a Go duration; ten years (`87600h`) by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 2, max = 32), regex(pattern = GO_DURATION))]
    pub ca_lifetime: Option<String>,
}

/// The state of a `ContourDeployment`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContourDeploymentStatus {
    /// The generation of the object that this status was made for.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 0))]
    pub observed_generation: i64,
    /// The conditions of the object, one per type.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<DetailedCondition>,
}

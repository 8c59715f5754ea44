//! The controller.

use super::pods::{DisruptionBudget, ImagePullPolicy, Patch, Placement, annotation_map, label_map, patch};
use crate::patterns::DNS_LABEL;
use crate::schema::brief;
use crate::serde_rules::{non_empty, unset};
use k8s_openapi::api::core::v1::ResourceRequirements;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.replicas) || !has(self.autoscaling)",
    "message": "replicas and autoscaling exclude each other"
}, {
    "rule": "!has(self.externalReplicas) || !self.externalReplicas || (!has(self.replicas) && !has(self.autoscaling))",
    "message": "externalReplicas excludes replicas and autoscaling"
}]))]
pub struct ContourSettings {
    /// The image; by default that of the operator, which contains this controller too.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When the image is pulled; `IfNotPresent` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// How many pods; 2 by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<i32>,
    /// Chooses the number of pods by their load.
    #[serde(default, skip_serializing_if = "unset")]
    pub autoscaling: Option<Autoscaling>,
    /// Leaves the number of pods to somebody else, such as KEDA or an autoscaler of your own.
    #[serde(default, skip_serializing_if = "unset")]
    pub external_replicas: bool,
    /// How many pods may be evicted at a time; 1 by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub disruption_budget: DisruptionBudget,
    /// What a pod needs and gets; requests of 100m and 128Mi, and no limits, by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "brief::<ResourceRequirements>")]
    pub resources: Option<ResourceRequirements>,
    /// On which nodes.
    #[serde(default, skip_serializing_if = "unset")]
    pub placement: Placement,
    /// Which messages are logged; `info` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub log_level: Option<ContourLogLevel>,
    /// The namespaces whose objects are read, for which the controller then has rights only there. They have
    /// to exist. All, if none is given.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub watch_namespaces: Vec<String>,
    /// Kinds that are not watched.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub disabled_features: Vec<Feature>,
    /// Further flags of `contour serve`, such as `--kubernetes-debug=3`. A flag that is unknown, or that other
    /// fields of this object decide, is refused.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(max = 32), inner(length(min = 3, max = 1024)))]
    pub extra_args: Vec<String>,
    /// Further labels of pods.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "label_map")]
    pub pod_labels: BTreeMap<String, String>,
    /// Further annotations of pods.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "annotation_map")]
    pub pod_annotations: BTreeMap<String, String>,
    /// A strategic merge patch of the pod template (`metadata`, `spec`), as `kubectl patch` takes it, for what no
    /// other field says. It needs a ContourPolicy that allows patches, and cannot change what the operator relies on.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "patch")]
    pub pod_template_patch: Patch,
}

/// How the number of pods is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.minReplicas <= self.maxReplicas",
    "message": "minReplicas must not be more than maxReplicas"
}]))]
pub struct Autoscaling {
    /// The least number of pods.
    #[serde(default = "Autoscaling::default_min")]
    #[schemars(range(min = 1, max = 100))]
    pub min_replicas: i32,
    /// The greatest number of pods.
    #[schemars(range(min = 1, max = 100))]
    pub max_replicas: i32,
    /// The part of the requested processor time, in percent, that pods should use on average.
    #[serde(rename = "targetCPU", default = "Autoscaling::default_target")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu: i32,
}

impl Autoscaling {
    fn default_min() -> i32 {
        2
    }

    fn default_target() -> i32 {
        80
    }
}

/// Which messages the controller logs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ContourLogLevel {
    /// What is worth knowing.
    #[default]
    Info,
    /// What the controller does, in detail.
    Debug,
}

/// Kinds that the controller can do without, as `contour serve --disable-feature` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Feature {
    /// `ExtensionService`.
    ExtensionServices,
    /// `TLSRoute` of the Gateway API.
    TlsRoutes,
    /// `GRPCRoute` of the Gateway API.
    GrpcRoutes,
    /// `TCPRoute` of the Gateway API.
    TcpRoutes,
    /// `BackendTLSPolicy` of the Gateway API.
    BackendTlsPolicies,
}

impl Feature {
    /// The name, as the flag takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExtensionServices => "extensionservices",
            Self::TlsRoutes => "tlsroutes",
            Self::GrpcRoutes => "grpcroutes",
            Self::TcpRoutes => "tcproutes",
            Self::BackendTlsPolicies => "backendtlspolicies",
        }
    }
}

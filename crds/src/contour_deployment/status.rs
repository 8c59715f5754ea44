//! The state of a `ContourDeployment`.

use super::network::IpFamily;
use crate::serde_rules::{non_empty, unset};
use crate::status::DetailedCondition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a `ContourDeployment`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContourDeploymentStatus {
    /// The generation of the object that this status was made for.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 0))]
    pub observed_generation: i64,
    /// The conditions of the object, one per type: `Available`, `Progressing`, `Degraded`,
    /// `CertificatesReady`, `Upgradeable`.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<DetailedCondition>,
    /// In one word, why it is as it is: the reason of `Degraded` if that holds, else of `Progressing` if that
    /// holds, else of `Available`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub reason: Option<String>,
    /// The ingress class that is served.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub ingress_class: Option<String>,
    /// The controller.
    #[serde(default, skip_serializing_if = "unset")]
    pub contour: Option<ComponentStatus>,
    /// The proxies.
    #[serde(default, skip_serializing_if = "unset")]
    pub envoy: Option<ComponentStatus>,
    /// What Envoy's pods were last made with. The agent beside Envoy keeps its image until that of Envoy changes.
    #[serde(default, skip_serializing_if = "unset")]
    pub envoy_template: Option<EnvoyTemplateStatus>,
    /// The fields (`spec`) that the children are made of, as JSON: the last ones that were right. By them, what runs is kept as it is while
    /// something is wrong with later ones.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub accepted: Option<String>,
    /// The certificates between Envoy and the controller.
    #[serde(default, skip_serializing_if = "unset")]
    pub certificates: Option<CertificatesStatus>,
    /// The IP families that Envoy serves, the first of the cluster first.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub ip_families: Vec<IpFamily>,
    /// Where the proxies are reached: IP addresses and names.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub addresses: Vec<String>,
    /// The children that no owner reference can reach: of the whole cluster, and in other namespaces. They are
    /// removed when they are not wanted any more.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub inventory: Vec<ChildReference>,
}

/// The pods of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// How many pods there should be.
    #[serde(default, skip_serializing_if = "unset")]
    pub desired: i32,
    /// How many pods are ready.
    #[serde(default, skip_serializing_if = "unset")]
    pub ready: i32,
    /// How many pods are of the newest kind.
    #[serde(default, skip_serializing_if = "unset")]
    pub updated: i32,
    /// Ready of desired pods, such as `2/2`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub pods: Option<String>,
    /// The version that should run.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub desired_version: Option<String>,
    /// The version that all pods run, or several, separated by commas.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub version: Option<String>,
    /// The images that pods run.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub images: Vec<String>,
}

/// What Envoy's pods were last made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyTemplateStatus {
    /// The image of the agent that drains Envoy.
    pub agent_image: String,
    /// The image of Envoy.
    pub envoy_image: String,
}

/// The certificates between Envoy and the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificatesStatus {
    /// What the rotation does at present, in one word.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub phase: Option<String>,
    /// When the first of them expires (RFC 3339).
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub valid_until: Option<String>,
    /// When the next step is due (RFC 3339).
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub next_step: Option<String>,
    /// The authority that issues.
    #[serde(default, skip_serializing_if = "unset")]
    pub authority: Option<CertificateState>,
    /// The certificate of the controller.
    #[serde(default, skip_serializing_if = "unset")]
    pub contour: Option<CertificateState>,
    /// The certificate of Envoy.
    #[serde(default, skip_serializing_if = "unset")]
    pub envoy: Option<CertificateState>,
}

/// One certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateState {
    /// When it expires (RFC 3339).
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub not_after: Option<String>,
    /// Its SHA-256 fingerprint, in hexadecimal digits.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub sha256: Option<String>,
}

/// Which object a child is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ChildReference {
    /// Its kind, such as `ClusterRole`.
    pub kind: String,
    /// Its namespace, if it has one.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

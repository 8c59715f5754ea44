//! What pods of both components can be told.

use crate::patterns::QUALIFIED_NAME;
use crate::schema::{brief, brief_list, count_or_percentage};
use crate::serde_rules::unset;
use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// When an image is pulled.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ImagePullPolicy {
    /// Before every start of a container.
    Always,
    /// If the node does not have it.
    #[default]
    IfNotPresent,
    /// Never: the node has it.
    Never,
}

/// On which nodes pods run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels that a node must have; `kubernetes.io/os: linux` by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "label_map")]
    pub node_selector: BTreeMap<String, String>,
    /// Rules of affinity, in place of the default ones.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "brief::<Affinity>")]
    pub affinity: Option<Box<Affinity>>,
    /// Taints of nodes that pods run on in spite of.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "brief_list::<Toleration>")]
    pub tolerations: Vec<Toleration>,
    /// How pods are spread, in place of the default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "brief_list::<TopologySpreadConstraint>")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The priority class of pods; by default that of the cluster.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// How many pods may be evicted at a time, as when nodes are drained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// A number, or a percentage such as `25%`; not none, since no node could be drained then.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "count_or_percentage")]
    pub max_unavailable: Option<IntOrString>,
}

/// A patch of one of Kubernetes' own objects, or of Envoy's bootstrap: fields of it, in its own form.
pub type Patch = Map<String, Value>;

/// Any object.
pub(super) fn patch(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Labels: what is not valid as one could not be put on a pod.
pub(super) fn label_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {
            "type": "string", "maxLength": 63, "pattern": r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
        },
        "x-kubernetes-validations": [{
            "rule": format!("self.all(key, key.size() <= 317 && key.matches('{QUALIFIED_NAME}'))"),
            "message": "keys must be qualified names, such as app or example.com/app"
        }]
    })
}

/// Annotations: what is not valid as one could not be put on a pod.
pub(super) fn annotation_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 16384 },
        "x-kubernetes-validations": [{
            "rule": format!("self.all(key, key.size() <= 317 && key.matches('{QUALIFIED_NAME}'))"),
            "message": "keys must be qualified names, such as app or example.com/app"
        }]
    })
}

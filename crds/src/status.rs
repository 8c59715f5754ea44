//! What the statuses of several kinds share: conditions with their errors and warnings, and the addresses
//! of a load balancer.

use crate::patterns::{CONDITION_REASON, CONDITION_TYPE};
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a condition holds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known whether it holds.
    #[default]
    Unknown,
}

/// A condition that also lists the single errors and warnings behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DetailedCondition {
    /// What the condition is about. The controller writes `Valid` and, where hosts have one owner, `HostOwner`.
    #[serde(rename = "type")]
    #[schemars(length(max = 316), regex(pattern = CONDITION_TYPE))]
    pub type_: String,
    /// Whether the condition holds.
    pub status: ConditionStatus,
    /// The generation of the object that the condition was made for.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 0))]
    pub observed_generation: i64,
    /// When `status` last changed (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// One word for the reason of the last change.
    #[schemars(length(min = 1, max = 1024), regex(pattern = CONDITION_REASON))]
    pub reason: String,
    /// The reason in a sentence, for humans.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The errors found. When there is one, the condition `Valid` is false.
    #[serde(default, skip_serializing_if = "unset")]
    pub errors: Vec<SubCondition>,
    /// The warnings found. They do not change `status`.
    #[serde(default, skip_serializing_if = "unset")]
    pub warnings: Vec<SubCondition>,
}

/// One error or warning of a condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubCondition {
    /// The area of the error, such as `TLSError`.
    #[serde(rename = "type")]
    #[schemars(length(max = 316), regex(pattern = CONDITION_TYPE))]
    pub type_: String,
    /// Always `True` for an error or a warning that is present.
    pub status: ConditionStatus,
    /// One word for the error within its area, such as `SecretNotValid`.
    #[schemars(length(min = 1, max = 1024), regex(pattern = CONDITION_REASON))]
    pub reason: String,
    /// What is wrong and where, in a sentence.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// The addresses under which a load balancer reaches Envoy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadBalancerStatus {
    /// The addresses; traffic for the object should be sent to any of them.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// One address of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerIngress {
    /// The name of a load balancer that is known by name.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub hostname: Option<String>,
    /// The IP address of a load balancer that is known by address.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub ip: Option<String>,
    /// How traffic to `ip` arrives: `VIP` or `Proxy`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub ip_mode: Option<String>,
    /// The state of the single ports.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<PortStatus>,
}

/// The state of one port of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct PortStatus {
    /// Why the port does not work, as one word.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(max = 316), regex(pattern = CONDITION_TYPE))]
    pub error: Option<String>,
    /// The port number.
    pub port: i32,
    /// The transport protocol: `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

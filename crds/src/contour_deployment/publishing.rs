//! How the proxies are reached.

use super::pods::{Patch, annotation_map, patch};
use crate::serde_rules::unset;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the proxies are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.externalTrafficPolicy) || (has(self.type) && self.type in ['LoadBalancerService', 'NodePortService'])",
    "message": "externalTrafficPolicy needs type LoadBalancerService or NodePortService"
}, {
    "rule": "!has(self.nodePorts) || (has(self.type) && self.type in ['LoadBalancerService', 'NodePortService'])",
    "message": "nodePorts needs type LoadBalancerService or NodePortService"
}, {
    "rule": "(!has(self.loadBalancerClass) && !has(self.loadBalancerSourceRanges)) || (has(self.type) && self.type == 'LoadBalancerService')",
    "message": "loadBalancerClass and loadBalancerSourceRanges need type LoadBalancerService"
}]))]
pub struct Publishing {
    /// How the proxies are reached; `HostNetwork` by default.
    #[serde(rename = "type", default, skip_serializing_if = "unset")]
    pub type_: Option<PublishingType>,
    /// What the statuses of all objects, and so DNS, name instead of the nodes that Envoy runs on or the load balancer
    /// of its Service: IP addresses and host names, such as those of a balancer outside of the cluster.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 253)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub addresses: Vec<String>,
    /// Annotations of Envoy's Service, such as a load balancer looks for.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "annotation_map")]
    pub annotations: BTreeMap<String, String>,
    /// The IP families of Envoy's Service; by default those of the cluster.
    #[serde(default, skip_serializing_if = "unset")]
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// Where traffic that arrives at a node goes; `Local`, which keeps the address of the client, by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// The implementation of the load balancer; by default that of the cluster.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 317))]
    pub load_balancer_class: Option<String>,
    /// The networks whose clients the load balancer lets in, such as `192.0.2.0/24`; all by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(max = 256), inner(length(min = 4, max = 49)))]
    pub load_balancer_source_ranges: Vec<String>,
    /// The ports of nodes; by default ones that the cluster chooses.
    #[serde(default, skip_serializing_if = "unset")]
    pub node_ports: NodePorts,
    /// A strategic merge patch of Envoy's Service (`metadata`, `spec`), as `kubectl patch` takes it, for what no other
    /// field says. It needs a ContourPolicy that allows patches, and cannot change what the operator relies on.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "patch")]
    pub service_patch: Patch,
}

/// How the proxies are reached.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum PublishingType {
    /// At the addresses of the nodes that Envoy runs on, at its own ports.
    #[default]
    HostNetwork,
    /// At a load balancer of the cluster's provider.
    LoadBalancerService,
    /// At ports of all nodes.
    NodePortService,
    /// From within the cluster.
    ClusterIPService,
}

/// The IP families of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum IpFamilyPolicy {
    /// The first one of the cluster.
    SingleStack,
    /// Both, if the cluster has both.
    PreferDualStack,
    /// Both.
    RequireDualStack,
}

impl IpFamilyPolicy {
    /// The name, as a Service has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SingleStack => "SingleStack",
            Self::PreferDualStack => "PreferDualStack",
            Self::RequireDualStack => "RequireDualStack",
        }
    }
}

/// Where traffic that arrives at a node goes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ExternalTrafficPolicy {
    /// To Envoy on this node. Envoy sees the address of the client.
    #[default]
    Local,
    /// To any Envoy. Envoy sees the address of a node.
    Cluster,
}

impl ExternalTrafficPolicy {
    /// The name, as a Service has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "Local",
            Self::Cluster => "Cluster",
        }
    }
}

/// The ports of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.http) || !has(self.https) || self.http != self.https",
    "message": "http and https must be different ports"
}]))]
pub struct NodePorts {
    /// HTTP.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub http: Option<u16>,
    /// HTTPS.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub https: Option<u16>,
}

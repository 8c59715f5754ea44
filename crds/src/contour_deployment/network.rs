//! The network that an installation is on, and who reaches its pods.

use crate::schema::brief_list;
use crate::serde_rules::unset;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The network that an installation is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// The IP families that Envoy serves, and of which addresses are published; by default those of the cluster: the
    /// first of its Services, and the other one where all pods of Envoy have addresses of both before they are ready. The
    /// first is that of Contour's Service and of probes.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub ip_families: Vec<IpFamily>,
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum IpFamily {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

impl IpFamily {
    /// The name, as a Service has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
        }
    }
}

/// Who reaches pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicies {
    /// Who may ask pods for their metrics and health, beside the kubelet of their node and the operator; everybody by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "brief_list::<NetworkPolicyPeer>")]
    pub metrics_from: Vec<NetworkPolicyPeer>,
}

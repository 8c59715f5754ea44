//! The forwarding of TLS sessions as TCP streams.

use super::{LoadBalancerPolicy, Service, TcpHealthCheckPolicy};
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the TLS sessions of the virtual host go. Exactly one of `services` and `include` must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpProxy {
    /// How a backend is chosen. `Cookie` and `RequestHash` have no meaning here.
    #[serde(default, skip_serializing_if = "unset")]
    pub load_balancer_policy: Option<Box<LoadBalancerPolicy>>,
    /// The Services that streams are forwarded to, by weight.
    #[serde(default, skip_serializing_if = "unset")]
    pub services: Vec<Service>,
    /// The `HTTPProxy` whose `tcpproxy` is used instead of an own one.
    #[serde(default, skip_serializing_if = "unset")]
    pub include: Option<Box<TcpProxyInclude>>,
    /// The old name of `include`, which wins if both are given.
    #[serde(default, skip_serializing_if = "unset")]
    pub includes: Option<Box<TcpProxyInclude>>,
    /// How the health of the backends is checked. Without it they are not checked.
    #[serde(default, skip_serializing_if = "unset")]
    pub health_check_policy: Option<Box<TcpHealthCheckPolicy>>,
}

/// Names the `HTTPProxy` whose `tcpproxy` is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpProxyInclude {
    /// The name of the included `HTTPProxy`.
    pub name: String,
    /// The namespace of the included `HTTPProxy`; that of the including one if not given.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub namespace: Option<String>,
}

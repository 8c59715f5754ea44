//! `ExtensionService`: an external service that Envoy itself asks, for authorization, rate limits or traces.

use crate::httpproxy::{LoadBalancerPolicy, TimeoutPolicy, UpstreamValidation};
use crate::serde_rules::{PlainInteger, unset};
use crate::status::DetailedCondition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where the service is and how it is spoken to.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "projectcontour.io",
    version = "v1alpha1",
    kind = "ExtensionService",
    doc = "A service that Envoy itself asks: for authorization, rate limits or traces.",
    plural = "extensionservices",
    shortname = "extensionservice",
    shortname = "extensionservices",
    namespaced,
    derive = "PartialEq",
    status = "ExtensionServiceStatus"
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct ExtensionServiceSpec {
    /// The Services, by weight, in the namespace of this object.
    #[schemars(length(min = 1))]
    pub services: Vec<ExtensionServiceTarget>,
    /// How the certificate of the service is verified. Needs the protocol `h2`.
    #[serde(default, skip_serializing_if = "unset")]
    pub validation: Option<Box<UpstreamValidation>>,
    /// The protocol; `h2` if not given.
    #[serde(default, skip_serializing_if = "unset")]
    pub protocol: Option<ExtensionProtocol>,
    /// How an endpoint is chosen. `Cookie` and `RequestHash` have no meaning here.
    #[serde(default, skip_serializing_if = "unset")]
    pub load_balancer_policy: Option<Box<LoadBalancerPolicy>>,
    /// How long an answer may take, and how long a connection may be idle. `idle` has no meaning here.
    #[serde(default, skip_serializing_if = "unset")]
    pub timeout_policy: Option<Box<TimeoutPolicy>>,
    /// The version of Envoy's API that the service is asked in; `v3` is the only one there is.
    #[serde(default, skip_serializing_if = "unset")]
    pub protocol_version: Option<ExtensionProtocolVersion>,
    /// The limits of connections and requests, in place of those of the configuration.
    #[serde(default, skip_serializing_if = "unset")]
    pub circuit_breaker_policy: Option<CircuitBreakers>,
}

// The schema does not require a spec, so a missing one has to read as an empty one: serde hands a missing
// field to `deserialize_option` only.
impl<'de> Deserialize<'de> for ExtensionServiceSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Given(#[serde(with = "ExtensionServiceSpec")] ExtensionServiceSpec);
        Ok(Option::<Given>::deserialize(deserializer)?.map_or_else(Self::default, |Given(spec)| spec))
    }
}

impl Serialize for ExtensionServiceSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// A Service of an `ExtensionService`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtensionServiceTarget {
    /// The name of the Service. It must not be an `ExternalName`.
    pub name: String,
    /// The Service's port.
    #[schemars(with = "PlainInteger", extend("minimum" = 1, "maximum" = 65536, "exclusiveMaximum" = true))]
    pub port: u16,
    /// The share of requests in proportion to the other Services. If all are zero, the shares are equal.
    #[serde(default, skip_serializing_if = "unset")]
    pub weight: i32,
}

/// The protocol spoken to an `ExtensionService`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ExtensionProtocol {
    /// HTTP/2 over TLS.
    #[default]
    H2,
    /// HTTP/2 without TLS.
    H2c,
}

/// A version of Envoy's API.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ExtensionProtocolVersion {
    /// Version 3.
    #[default]
    V3,
}

/// The limits of one cluster, in each Envoy. Zero means Envoy's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreakers {
    /// How many connections may be open; 1024 by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub max_connections: i32,
    /// How many requests may wait for a connection; 1024 by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub max_pending_requests: i32,
    /// How many requests may run at a time; 1024 by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub max_requests: i32,
    /// How many retries may run at a time; 3 by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub max_retries: i32,
    /// How many connections to one endpoint may be open; not limited by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub per_host_max_connections: i32,
}

/// The state of an `ExtensionService`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtensionServiceStatus {
    /// The conditions of the object, one per type. The controller writes `Valid` only.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<DetailedCondition>,
}

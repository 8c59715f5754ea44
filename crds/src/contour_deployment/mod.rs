//! `ContourDeployment`: a whole installation of Contour and Envoy, as the operator runs it in a cluster and
//! as `contour standalone` runs it on one machine.
//!
//! On one machine there are no pods: `contour standalone` reads `ingressClassName`, `certificates.lifetime`,
//! `certificates.caLifetime` and, of `envoy`, `ports`, `listenAddress`, `concurrency`, `logLevel` and
//! `accessLog`. The rest is for the operator.

#![expect(clippy::duplicated_attributes, reason = "it takes the columns of one definition for one attribute")]

mod certificates;
mod contour;
mod envoy;
mod network;
mod pods;
mod publishing;
mod status;

pub use certificates::{CertificateKeyAlgorithm, CertificateSecrets, CertificateSettings};
pub use contour::{Autoscaling, ContourLogLevel, ContourSettings, Feature};
pub use envoy::{
    EnvoyLogLevel, EnvoyPorts, EnvoySettings, EnvoyWorkload, Overload, Shutdown, UpdateStrategy,
};
pub use network::{IpFamily, Network, NetworkPolicies};
pub use pods::{DisruptionBudget, ImagePullPolicy, Patch, Placement};
pub use publishing::{ExternalTrafficPolicy, IpFamilyPolicy, NodePorts, Publishing, PublishingType};
pub use status::{
    CertificateState, CertificatesStatus, ChildReference, ComponentStatus, ContourDeploymentStatus,
    EnvoyTemplateStatus,
};

use crate::contour_configuration::ContourConfigurationSpec;
use crate::patterns::{DNS_LABEL, HOST_NAME};
use crate::serde_rules::{non_empty, unset};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An installation of Contour and Envoy. Everything has a default.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
        json_path = ".status.ingressClass",
        description = "Ingress class that is served"
    ),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].status",
        description = "Whether it serves"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.reason",
        description = "Why it is as it is"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.contour.version",
        description = "Version of Contour that runs"
    ),
    printcolumn(
        name = "Contour",
        type_ = "string",
        json_path = ".status.contour.pods",
        description = "Ready of desired pods of Contour"
    ),
    printcolumn(
        name = "Envoy",
        type_ = "string",
        json_path = ".status.envoy.pods",
        description = "Ready of desired pods of Envoy"
    ),
    printcolumn(
        name = "Certificates",
        type_ = "string",
        json_path = ".status.certificates.validUntil",
        description = "When the first certificate between Envoy and Contour expires"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.envoy) || !has(self.envoy.hostNetwork) || self.envoy.hostNetwork || (has(self.publishing) && has(self.publishing.type) && self.publishing.type != 'HostNetwork')",
    "message": "publishing of type HostNetwork, which is the default, needs envoy.hostNetwork"
}, {
    "rule": "(has(self.names) ? self.names : 'Derived') == (has(oldSelf.names) ? oldSelf.names : 'Derived')",
    "message": "names cannot change: all children would have to be made anew beside those that serve; create another ContourDeployment"
}]))]
pub struct ContourDeploymentSpec {
    /// The ingress class that is served. Without it: class `contour`, and objects without a class.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub ingress_class_name: Option<String>,
    /// Makes the class the default of the cluster: it is that of every `Ingress` that is created without one. It needs a
    /// ContourPolicy that allows it.
    #[serde(default, skip_serializing_if = "unset")]
    pub default_ingress_class: bool,
    /// How children are called: `Derived` from the name of this object (`contour-<name>`, `envoy-<name>`), or
    /// by the `Stock` names (`contour`, `envoy`) that existing tools, dashboards and annotations look for;
    /// `Derived` by default. It cannot be changed.
    #[serde(default, skip_serializing_if = "unset")]
    pub names: Option<NameScheme>,
    /// Changes nothing while it is true, but for certificates between Envoy and the controller, which are renewed. What is
    /// edited or deleted meanwhile stays so.
    #[serde(default, skip_serializing_if = "unset")]
    pub paused: bool,
    /// Takes over the children that a ContourDeployment of this name and namespace left when it was deleted with
    /// `--cascade=orphan`, as they run; with `names: Stock` also an installation of Contour's own manifests, whose Envoys
    /// run on until this is taken back. Without it, nothing is done to either.
    #[serde(default, skip_serializing_if = "unset")]
    pub adopt: bool,
    /// The controller.
    #[serde(default, skip_serializing_if = "unset")]
    pub contour: ContourSettings,
    /// The proxies.
    #[serde(default, skip_serializing_if = "unset")]
    pub envoy: EnvoySettings,
    /// The network that both are on.
    #[serde(default, skip_serializing_if = "unset")]
    pub network: Network,
    /// How the proxies are reached.
    #[serde(default, skip_serializing_if = "unset")]
    pub publishing: Publishing,
    /// The certificates between Envoy and the controller.
    #[serde(default, skip_serializing_if = "unset")]
    pub certificates: CertificateSettings,
    /// The settings of the controller. What other fields of this object decide cannot be given here.
    #[serde(default, skip_serializing_if = "unset")]
    pub configuration: Option<Box<ContourConfigurationSpec>>,
    /// The names of Secrets, in the namespace of this object, with which images are pulled.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253), regex(pattern = HOST_NAME)))]
    pub image_pull_secrets: Vec<String>,
    /// Makes `NetworkPolicies`: to the xDS port of the controller comes Envoy alone, and to the agent beside Envoy the
    /// kubelet of its node and the operator. Pods on the network of nodes are not governed by any, so that xDS is open
    /// for them. None is made by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub network_policies: Option<NetworkPolicies>,
}

/// How children are called.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum NameScheme {
    /// From the name of the object: `contour-<name>`, `envoy-<name>`.
    #[default]
    Derived,
    /// As the stock manifests call them: `contour`, `envoy`.
    Stock,
}

//! `ContourPolicy`: what `ContourDeployment`s may ask for, by the namespace that they are in. The administrators of a cluster write it.

use crate::patterns::{DNS_LABEL, HOST_PORTS, IMAGE_REPOSITORY, NAMESPACE_OR_ALL};
use crate::serde_rules::unset;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `ContourDeployment`s may ask for. A `ContourDeployment` may ask for whatever one of the rules for its namespace allows; where no rule
/// is for its namespace, it counts for nothing. Without any rule, nobody may ask for anything.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "operator.projectcontour.io",
    version = "v1alpha1",
    kind = "ContourPolicy",
    doc = "What ContourDeployments may ask for, by their namespace. The operator obeys the one that its flag --policy names, `default` by default.",
    plural = "contourpolicies",
    derive = "PartialEq",
    printcolumn(
        name = "Rules",
        type_ = "string",
        json_path = ".spec.rules[*].name",
        description = "Names of the rules"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ContourPolicySpec {
    /// The rules. What one of them allows is allowed, whatever the others say.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub rules: Vec<PolicyRule>,
}

/// What `ContourDeployment`s of some namespaces may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the API")]
pub struct PolicyRule {
    /// A name to refer to it by, in messages.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// The namespaces of the `ContourDeployment`s; `*` for all.
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 1, max = 63), regex(pattern = NAMESPACE_OR_ALL)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub namespaces: Vec<String>,
    /// The ingress classes that they may serve; all, if none is given.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub ingress_classes: Vec<String>,
    /// The repositories of images that they may name, such as `registry.example/team/envoy`; with a slash at the end, such as
    /// `registry.example/team/`, all below it; `*` for all. Those of the operator's own images need no mention.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 255), regex(pattern = IMAGE_REPOSITORY)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub images: Vec<String>,
    /// Whether Envoy may use the network of its node; it may not by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub host_network: bool,
    /// The ports of nodes that Envoy may use then, such as `80` and `8000-8999`; all, if none is given.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 11), regex(pattern = HOST_PORTS)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub host_ports: Vec<String>,
    /// Further kinds of volumes that Envoy may have, as they are called in a pod, such as `hostPath`; `*` for all. `configMap`,
    /// `downwardAPI`, `emptyDir`, `projected` and `secret` need no mention.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 63), regex(pattern = "^([a-zA-Z]+|[*])$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub volumes: Vec<String>,
    /// The namespaces whose objects Contour may read, Secrets included; `*` for all, and then also those to come. Its own, and those
    /// that consent with the label `operator.projectcontour.io/watched-by`, need no mention.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 63), regex(pattern = NAMESPACE_OR_ALL)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub watch_namespaces: Vec<String>,
    /// Whether they may patch pods, Envoy's Service and Envoy's bootstrap; they may not by default. What comes of a patch
    /// is held to the other fields of the rules as well.
    #[serde(default, skip_serializing_if = "unset")]
    pub patches: bool,
    /// Whether patched pods may have more rights than the operator's own: on their node root, capabilities, privileged
    /// containers, namespaces of the node, other profiles of seccomp; and containers beside the controller, which act as it.
    /// They may not by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub privileged: bool,
    /// Whether they may make their class the default of the cluster; they may not by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub default_ingress_class: bool,
}

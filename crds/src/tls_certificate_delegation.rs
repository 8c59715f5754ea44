//! `TLSCertificateDelegation`: lets objects of other namespaces refer to Secrets of its own namespace.

use crate::serde_rules::unset;
use crate::status::DetailedCondition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The delegations of one namespace's Secrets.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "projectcontour.io",
    version = "v1",
    kind = "TLSCertificateDelegation",
    doc = "Permits objects of other namespaces to refer to TLS Secrets of the namespace that this object is in.",
    plural = "tlscertificatedelegations",
    shortname = "tlscerts",
    namespaced,
    derive = "PartialEq",
    status = "TLSCertificateDelegationStatus"
)]
pub struct TLSCertificateDelegationSpec {
    /// Which Secret is delegated to which namespaces.
    pub delegations: Vec<CertificateDelegation>,
}

/// The delegation of one Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateDelegation {
    /// The name of a Secret in the namespace of this object: a TLS certificate, a certificate authority
    /// or a revocation list.
    pub secret_name: String,
    /// The namespaces that may refer to the Secret. A sole `*` means every namespace; an empty list
    /// delegates to none.
    pub target_namespaces: Vec<String>,
}

/// The state of a `TLSCertificateDelegation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TLSCertificateDelegationStatus {
    /// The conditions of the object, one per type.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<DetailedCondition>,
}

//! Namespaces and the delegation of certificates between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use contour_crds::TLSCertificateDelegation;
use k8s_openapi::api::core::v1;

use crate::name::{NamespacedName, name_of};

/// A Namespace: its name and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name (`namespace` part empty).
    pub name: NamespacedName,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl From<v1::Namespace> for Namespace {
    fn from(object: v1::Namespace) -> Self {
        Self { name: name_of(&object.metadata), labels: object.metadata.labels.unwrap_or_default() }
    }
}

/// A TLSCertificateDelegation: which Secrets of its namespace other namespaces may refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Namespace and name.
    pub name: NamespacedName,
    /// What it grants.
    pub grants: Vec<Grant>,
}

/// One Secret and the namespaces that may refer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Name of the Secret, in the delegation's namespace.
    pub secret: Arc<str>,
    /// Namespaces; `*` as any element means all of them.
    pub targets: Vec<Arc<str>>,
}

impl From<TLSCertificateDelegation> for Delegation {
    fn from(object: TLSCertificateDelegation) -> Self {
        let grants = object.spec.delegations.into_iter().map(|d| Grant {
            secret: d.secret_name.into(),
            targets: d.target_namespaces.into_iter().map(Arc::from).collect(),
        });
        Self { name: name_of(&object.metadata), grants: grants.collect() }
    }
}

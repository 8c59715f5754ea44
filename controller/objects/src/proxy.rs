//! HTTPProxy as the graph reads it.

use std::sync::Arc;

use contour_crds::{HTTPProxy, HTTPProxySpec};

use crate::name::{NamespacedName, class_of, created_of, name_of};

/// An HTTPProxy without what never changes its meaning (status, labels, managed fields).
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Namespace and name.
    pub name: NamespacedName,
    /// `metadata.generation`; travels into `observedGeneration`.
    pub generation: i64,
    /// Creation time, Unix seconds; 0 where the source has none (files).
    pub created: i64,
    /// The class it asks for, from annotations or `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// The specification.
    pub spec: HTTPProxySpec,
}

impl From<HTTPProxy> for Proxy {
    fn from(object: HTTPProxy) -> Self {
        Self {
            name: name_of(&object.metadata),
            generation: object.metadata.generation.unwrap_or_default(),
            created: created_of(&object.metadata),
            class: class_of(&object.metadata, object.spec.ingress_class_name.as_deref()),
            spec: object.spec,
        }
    }
}

impl Proxy {
    /// The host name of a root, lower-cased; `None` for a child. An empty name is a root whose FQDN was not specified.
    pub fn fqdn(&self) -> Option<Arc<str>> {
        self.spec.virtualhost.as_ref().map(|host| host.fqdn.to_ascii_lowercase().into())
    }
}

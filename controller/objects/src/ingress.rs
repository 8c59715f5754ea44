//! Ingress as the graph reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1;

use crate::name::{NamespacedName, class_of, created_of, name_of};

/// An Ingress without what never changes its meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingress {
    /// Namespace and name.
    pub name: NamespacedName,
    /// Creation time, Unix seconds: the older of two conflicting Ingresses wins.
    pub created: i64,
    /// The class it asks for, from annotations or `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// The annotations that have a meaning to Contour (reference 3.1).
    pub annotations: BTreeMap<String, String>,
    /// The specification.
    pub spec: v1::IngressSpec,
}

impl From<v1::Ingress> for Ingress {
    fn from(object: v1::Ingress) -> Self {
        Self {
            name: name_of(&object.metadata),
            created: created_of(&object.metadata),
            class: class_of(
                &object.metadata,
                object.spec.as_ref().and_then(|s| s.ingress_class_name.as_deref()),
            ),
            annotations: relevant(object.metadata.annotations),
            spec: object.spec.unwrap_or_default(),
        }
    }
}

fn relevant(annotations: Option<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut annotations = annotations.unwrap_or_default();
    annotations.retain(|key, _| {
        key.starts_with("projectcontour.io/")
            || key == "kubernetes.io/ingress.allow-http"
            || key == "ingress.kubernetes.io/force-ssl-redirect"
    });
    annotations
}

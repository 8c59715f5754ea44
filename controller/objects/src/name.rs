//! Names of objects.

use std::fmt;
use std::sync::Arc;

/// Namespace and name of an object. Cheap to clone; ordered by namespace, then name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespacedName {
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl NamespacedName {
    /// A name in a namespace.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Reads `name` or `namespace/name`, as Contour writes references to Secrets; a bare name is in `home`.
    pub fn parse(text: &str, home: &Arc<str>) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self::new(namespace, name),
            None => Self { namespace: Arc::clone(home), name: text.into() },
        }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The kinds of object the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `projectcontour.io/v1 HTTPProxy`
    HttpProxy,
    /// `networking.k8s.io/v1 Ingress`
    Ingress,
    /// `v1 Service`
    Service,
    /// `discovery.k8s.io/v1 EndpointSlice`
    EndpointSlice,
    /// `v1 Secret`
    Secret,
    /// `v1 Namespace`
    Namespace,
    /// `projectcontour.io/v1 TLSCertificateDelegation`
    Delegation,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::HttpProxy,
        Self::Ingress,
        Self::Service,
        Self::EndpointSlice,
        Self::Secret,
        Self::Namespace,
        Self::Delegation,
    ];

    /// The kind as Kubernetes spells it; also the `kind` label of Contour's metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpProxy => "HTTPProxy",
            Self::Ingress => "Ingress",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Secret => "Secret",
            Self::Namespace => "Namespace",
            Self::Delegation => "TLSCertificateDelegation",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind and a name: one object of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: NamespacedName,
}

impl ObjectRef {
    /// A reference to an object of this kind.
    pub fn new(kind: Kind, name: NamespacedName) -> Self {
        Self { kind, name }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The name in an object's metadata. The API server guarantees a name; an object without one has an empty name.
pub(crate) fn name_of(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> NamespacedName {
    NamespacedName::new(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

/// The ingress class an object asks for: Contour's annotation, then the older one, then the field (reference 3.1).
pub(crate) fn class_of(
    meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    field: Option<&str>,
) -> Option<Arc<str>> {
    let annotations = meta.annotations.as_ref();
    let annotated = |key: &str| annotations.and_then(|a| a.get(key)).map(String::as_str);
    annotated("projectcontour.io/ingress.class")
        .or_else(|| annotated("kubernetes.io/ingress.class"))
        .or(field)
        .filter(|class| !class.is_empty())
        .map(Arc::from)
}

/// Creation time as Unix seconds; 0 where the source has none (files).
pub(crate) fn created_of(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> i64 {
    meta.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second())
}

//! Children: the objects that make up an installation, in one form for all kinds.

use std::fmt;

use contour_crds::ContourConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{IngressClass, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::core::{ApiResource, DynamicObject, Resource};
use serde::Serialize;

/// The kind of a child, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// Whom the pods act as.
    ServiceAccount,
    /// What the controller may do in one namespace. Made by earlier versions, and removed.
    Role,
    /// Grants a fixed `ClusterRole` in one namespace.
    RoleBinding,
    /// What the controller may do everywhere. Made by earlier versions, and removed.
    ClusterRole,
    /// Grants a fixed `ClusterRole` everywhere.
    ClusterRoleBinding,
    /// The class that is served.
    IngressClass,
    /// What the controller reads when it starts.
    ContourConfiguration,
    /// Envoy's bootstrap.
    ConfigMap,
    /// Certificates and keys.
    Secret,
    /// The way to the controller, and to Envoy.
    Service,
    /// The controller; Envoy, if it is asked for as one.
    Deployment,
    /// Envoy.
    DaemonSet,
    /// The number of controllers, by their load.
    HorizontalPodAutoscaler,
    /// How many pods may be evicted at a time.
    PodDisruptionBudget,
    /// Who reaches pods.
    NetworkPolicy,
}

impl ChildKind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::ClusterRole,
        Self::ClusterRoleBinding,
        Self::IngressClass,
        Self::ContourConfiguration,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::Deployment,
        Self::DaemonSet,
        Self::HorizontalPodAutoscaler,
        Self::PodDisruptionBudget,
        Self::NetworkPolicy,
    ];

    /// Group, version, kind and plural, for requests.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Role => ApiResource::erase::<Role>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::ClusterRole => ApiResource::erase::<ClusterRole>(&()),
            Self::ClusterRoleBinding => ApiResource::erase::<ClusterRoleBinding>(&()),
            Self::IngressClass => ApiResource::erase::<IngressClass>(&()),
            Self::ContourConfiguration => ApiResource::erase::<ContourConfiguration>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
            Self::HorizontalPodAutoscaler => ApiResource::erase::<HorizontalPodAutoscaler>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
        }
    }

    /// True unless objects of this kind belong to the whole cluster.
    pub fn namespaced(self) -> bool {
        !matches!(self, Self::ClusterRole | Self::ClusterRoleBinding | Self::IngressClass)
    }

    /// True for what gives rights, or says which.
    pub fn is_right(self) -> bool {
        self.is_role() || self.is_binding()
    }

    /// True for what earlier versions made for each installation, where there are fixed roles now.
    pub fn is_role(self) -> bool {
        matches!(self, Self::Role | Self::ClusterRole)
    }

    /// True for what refers to a role, for good.
    pub fn is_binding(self) -> bool {
        matches!(self, Self::RoleBinding | Self::ClusterRoleBinding)
    }

    /// The kind of this name, such as `DaemonSet`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_string() == name)
    }
}

/// The name of the kind, as in manifests.
impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which object a child is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildRef {
    /// Its kind.
    pub kind: ChildKind,
    /// Its namespace; `None` if its kind has none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// Kind, namespace and name, such as `DaemonSet projectcontour/envoy`.
impl fmt::Display for ChildRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// A child as it should be: only the fields that the operator cares for.
#[derive(Clone, PartialEq)]
pub struct Child {
    /// Its kind.
    pub kind: ChildKind,
    /// The object: made from a typed one, with `apiVersion` and `kind`.
    pub object: DynamicObject,
}

impl fmt::Debug for Child {
    /// The name only: it may hold a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Child({})", self.reference())
    }
}

impl Child {
    /// From a typed object, which has a name, and a namespace unless its kind has none.
    pub fn of<K: ChildObject>(object: &K) -> Self {
        let value = serde_json::to_value(object).expect("an object of Kubernetes can be written as JSON");
        let mut object: DynamicObject =
            serde_json::from_value(value).expect("what is written as an object can be read as one");
        let resource = K::KIND.resource();
        object.types = Some(kube::core::TypeMeta { api_version: resource.api_version, kind: resource.kind });
        Self { kind: K::KIND, object }
    }

    /// Which object this is.
    pub fn reference(&self) -> ChildRef {
        let metadata = &self.object.metadata;
        ChildRef {
            kind: self.kind,
            namespace: metadata.namespace.clone().filter(|_| self.kind.namespaced()),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

/// The object as JSON, without its type, which objects of a list do not have.
pub(crate) fn untyped(object: &DynamicObject) -> serde_json::Value {
    let mut value = serde_json::to_value(object).expect("an object of Kubernetes can be written as JSON");
    if let Some(fields) = value.as_object_mut() {
        fields.shift_remove("apiVersion");
        fields.shift_remove("kind");
    }
    value
}

/// The typed objects that can be children.
pub trait ChildObject: Resource<DynamicType = ()> + Serialize {
    /// The kind of these objects.
    const KIND: ChildKind;
}

macro_rules! child_objects {
    ($($object:ident),* $(,)?) => {
        $(impl ChildObject for $object {
            const KIND: ChildKind = ChildKind::$object;
        })*
    };
}

child_objects!(
    ServiceAccount,
    Role,
    RoleBinding,
    ClusterRole,
    ClusterRoleBinding,
    IngressClass,
    ContourConfiguration,
    ConfigMap,
    Secret,
    Service,
    Deployment,
    DaemonSet,
    HorizontalPodAutoscaler,
    PodDisruptionBudget,
    NetworkPolicy,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_object_keeps_its_type_and_loses_nothing() {
        let mut map = ConfigMap::default();
        map.metadata.name = Some("a".to_owned());
        map.metadata.namespace = Some("n".to_owned());
        map.data = Some([("k".to_owned(), "v".to_owned())].into());
        let child = Child::of(&map);
        assert_eq!(
            serde_json::to_value(&child.object).unwrap(),
            serde_json::json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": "a", "namespace": "n" }, "data": { "k": "v" }
            })
        );
        assert_eq!(child.reference().to_string(), "ConfigMap n/a");
    }

    #[test]
    fn kinds_know_their_name_and_scope() {
        for kind in ChildKind::ALL {
            assert_eq!(kind.resource().kind, kind.to_string());
            assert_eq!(ChildKind::from_name(&kind.to_string()), Some(kind));
        }
        assert!(!ChildKind::IngressClass.namespaced());
    }
}

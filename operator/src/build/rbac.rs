//! Whom the pods act as, and what they may do: what `contour serve` reads and writes, and nothing else. What that is, the manifest of the
//! operator says, in `ClusterRole`s of fixed names; an installation has bindings to them.

use contour_crds::ContourDeployment;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::meta::{self, Component};
use super::{Child, Inputs};

const GROUP: &str = "rbac.authorization.k8s.io";

/// A `ClusterRole` of the operator's manifest, to be granted to controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FixedRole {
    /// What is served: granted in each namespace that is watched, or everywhere.
    Served,
    /// Its own namespace: its configuration, its lease and the Event about it, and the Service of Envoy with the addresses for statuses.
    OwnNamespace,
    /// To read namespaces, which are objects of the cluster.
    Namespaces,
}

impl FixedRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Served, Self::OwnNamespace, Self::Namespaces];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Served => "contour-operator-contour",
            Self::OwnNamespace => "contour-operator-contour-own-namespace",
            Self::Namespaces => "contour-operator-contour-namespaces",
        }
    }
}

/// One account each: Envoy may do nothing, and gets no token.
pub(super) fn accounts(inputs: &Inputs<'_>) -> Vec<Child> {
    let account = |component, name: &str| {
        Child::of(&ServiceAccount {
            metadata: meta::namespaced(inputs, component, name),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        })
    };
    vec![account(Component::Contour, &inputs.names.contour), account(Component::Envoy, &inputs.names.envoy)]
}

/// What the controller may do: in its own namespace, and with what it serves, everywhere or in the namespaces that it watches. What a
/// `ClusterRole` allows is fixed: the operator may grant these and no others, and holds none of it itself.
pub(super) fn bindings(inputs: &Inputs<'_>) -> Vec<Child> {
    let names = inputs.names;
    let own = |name: &str| meta::namespaced(inputs, Component::Contour, name);
    let watched = watched_namespaces(inputs.deployment);
    let mut bindings = vec![role_binding(inputs, own(&names.own_binding), FixedRole::OwnNamespace)];
    bindings.extend(watched.iter().map(|namespace| {
        let metadata = if *namespace == names.namespace {
            own(&names.served_binding)
        } else {
            meta::foreign(inputs, Component::Contour, namespace, &names.served_binding)
        };
        role_binding(inputs, metadata, FixedRole::Served)
    }));
    // Namespaces are objects of the cluster: nothing in a namespace can grant a list of them.
    bindings.push(cluster_role_binding(inputs, &names.namespaces_binding, FixedRole::Namespaces));
    if watched.is_empty() {
        bindings.push(cluster_role_binding(inputs, &names.served_binding, FixedRole::Served));
    }
    bindings
}

/// The namespaces that the controller is told to read, in order; empty: all. Those whose objects may be roots are among them.
pub(crate) fn watched_namespaces(deployment: &ContourDeployment) -> Vec<String> {
    let spec = &deployment.spec;
    let mut watched = spec.contour.watch_namespaces.clone();
    if !watched.is_empty() {
        let configuration = spec.configuration.as_deref();
        let httpproxy = configuration.and_then(|configuration| configuration.httpproxy.as_ref());
        watched.extend(httpproxy.iter().flat_map(|httpproxy| httpproxy.root_namespaces.iter().cloned()));
    }
    watched.sort_unstable();
    watched.dedup();
    watched
}

fn role_binding(inputs: &Inputs<'_>, metadata: ObjectMeta, role: FixedRole) -> Child {
    let subjects = Some(vec![controller(inputs)]);
    Child::of(&RoleBinding { metadata, role_ref: reference(role), subjects })
}

fn cluster_role_binding(inputs: &Inputs<'_>, name: &str, role: FixedRole) -> Child {
    let metadata = meta::cluster(inputs, Component::Contour, name);
    let subjects = Some(vec![controller(inputs)]);
    Child::of(&ClusterRoleBinding { metadata, role_ref: reference(role), subjects })
}

fn reference(role: FixedRole) -> RoleRef {
    RoleRef {
        api_group: Some(GROUP.to_owned()),
        kind: "ClusterRole".to_owned(),
        name: role.name().to_owned(),
    }
}

fn controller(inputs: &Inputs<'_>) -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        name: inputs.names.contour.clone(),
        namespace: Some(inputs.names.namespace.clone()),
        api_group: None,
    }
}

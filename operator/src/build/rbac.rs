//! Whom the pods act as, and what they may do: what `contour serve` reads and writes, and nothing else.

use contour_crds::ContourDeployment;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::meta::{self, Component};
use super::{Child, Inputs};

const GROUP: &str = "rbac.authorization.k8s.io";
const READ: [&str; 3] = ["get", "list", "watch"];

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

/// What the controller may do: in its own namespace, and with what it serves, everywhere or in the namespaces that it watches.
pub(super) fn roles(inputs: &Inputs<'_>) -> Vec<Child> {
    let names = inputs.names;
    let own = |name: &str| meta::namespaced(inputs, Component::Contour, name);
    let mut roles = vec![
        role(own(&names.contour), own_namespace(inputs)),
        role_binding(inputs, own(&names.contour), &names.contour),
    ];
    let watched = watched_namespaces(inputs.deployment);
    let everywhere = if watched.is_empty() {
        [vec![rule("", &["namespaces"], &READ)], served()].concat()
    } else {
        for namespace in &watched {
            let at = || {
                if *namespace == names.namespace {
                    own(&names.resources_role)
                } else {
                    meta::foreign(inputs, Component::Contour, namespace, &names.resources_role)
                }
            };
            roles.extend([role(at(), served()), role_binding(inputs, at(), &names.resources_role)]);
        }
        // Namespaces are objects of the cluster: a Role cannot grant a list of them.
        vec![PolicyRule { resource_names: Some(watched), ..rule("", &["namespaces"], &READ) }]
    };
    let cluster = || meta::cluster(inputs, Component::Contour, &names.cluster_role);
    roles.extend([
        Child::of(&ClusterRole { metadata: cluster(), rules: Some(everywhere), aggregation_rule: None }),
        Child::of(&ClusterRoleBinding {
            metadata: cluster(),
            role_ref: reference("ClusterRole", &names.cluster_role),
            subjects: Some(vec![controller(inputs)]),
        }),
    ]);
    roles
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

/// In its own namespace: its configuration, its lease and the Event about it, and the Service of Envoy with the addresses for statuses.
fn own_namespace(inputs: &Inputs<'_>) -> Vec<PolicyRule> {
    let only =
        |rule: PolicyRule, name: &str| PolicyRule { resource_names: Some(vec![name.to_owned()]), ..rule };
    vec![
        rule("", &["events"], &["create"]),
        // What is created has no name yet that a rule could match.
        rule("coordination.k8s.io", &["leases"], &["create"]),
        only(rule("coordination.k8s.io", &["leases"], &["get", "update"]), &inputs.names.lease),
        only(rule("projectcontour.io", &["contourconfigurations"], &["get"]), &inputs.names.contour),
        rule("", &["services"], &READ),
    ]
}

/// What is served, and the statuses that tell so. `contour serve` watches nothing else (`contour_k8s::Sources`).
fn served() -> Vec<PolicyRule> {
    vec![
        rule("", &["secrets", "services"], &READ),
        rule("discovery.k8s.io", &["endpointslices"], &READ),
        rule("networking.k8s.io", &["ingresses"], &READ),
        rule("networking.k8s.io", &["ingresses/status"], &["update"]),
        // An Ingress has no conditions: what is wrong with it is told in Events.
        rule("", &["events"], &["create", "patch"]),
        rule("projectcontour.io", &["httpproxies", "tlscertificatedelegations"], &READ),
        rule("projectcontour.io", &["httpproxies/status"], &["update"]),
    ]
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

fn role(metadata: ObjectMeta, rules: Vec<PolicyRule>) -> Child {
    Child::of(&Role { metadata, rules: Some(rules) })
}

fn role_binding(inputs: &Inputs<'_>, metadata: ObjectMeta, role: &str) -> Child {
    let subjects = Some(vec![controller(inputs)]);
    Child::of(&RoleBinding { metadata, role_ref: reference("Role", role), subjects })
}

fn reference(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: Some(GROUP.to_owned()), kind: kind.to_owned(), name: name.to_owned() }
}

fn controller(inputs: &Inputs<'_>) -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        name: inputs.names.contour.clone(),
        namespace: Some(inputs.names.namespace.clone()),
        api_group: None,
    }
}

//! Whose an object is. Pure.
//!
//! Labels are a hint for watching and never a proof: whoever may create an object anywhere in the cluster can put ours on it. What proves
//! that an object is a child:
//!
//! | where | proof |
//! |---|---|
//! | in the namespace of the `ContourDeployment` | its controller reference has the UID of the `ContourDeployment` |
//! | anywhere else, where Kubernetes has no owner references | it is one of the objects that the operator makes there, and [`OWNER_UID`] has that UID |
//! | a pod | its controller is a child, or a `ReplicaSet` whose controller is a child: compared by UID |
//!
//! What was orphaned, that is, made by the operator and left by a `ContourDeployment` of the same name that is gone, belongs to nobody until
//! `spec.adopt` takes it over.
//!
//! What was written elsewhere before [`OWNER_UID`] was is taken over: see [`Owner::foreign`].

use std::collections::BTreeSet;

use contour_crds::ContourDeployment;
use contour_crds::contour_deployment::{ChildReference, ContourDeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use serde_json::json;

use crate::build::{Component, watched_namespaces};
use crate::child::{ChildKind, ChildRef};
use crate::names::{APPLIED, Names, OWNER_NAME, OWNER_NAMESPACE, OWNER_UID};

/// Why what was orphaned is not a child.
const ORPHANED: &str =
    "was left by an earlier ContourDeployment of this name, whose children spec.adopt takes over";

/// A `ContourDeployment`, as the owner of its children.
#[derive(Clone, Debug)]
pub struct Owner {
    namespace: String,
    instance: String,
    uid: Option<String>,
    /// The Roles and `RoleBindings` for what is served, by their name.
    resources_role: String,
    /// The name of each component's workload.
    workloads: [(Component, String); 2],
    /// What was orphaned is taken over.
    adopts: bool,
    /// What it has, or is to have, where owner references do not reach.
    elsewhere: BTreeSet<ChildRef>,
    /// What of that its status records: made before.
    recorded: BTreeSet<ChildRef>,
}

impl Owner {
    /// The owner that a `ContourDeployment` is, given the names of its children and its last status, which only the operator writes.
    pub fn of(deployment: &ContourDeployment, names: &Names, status: &ContourDeploymentStatus) -> Self {
        let recorded: BTreeSet<ChildRef> =
            status.inventory.iter().filter_map(|told| recorded(told, names)).collect();
        Self {
            namespace: names.namespace.clone(),
            instance: names.instance.clone(),
            uid: deployment.metadata.uid.clone().filter(|uid| !uid.is_empty()),
            resources_role: names.resources_role.clone(),
            workloads: [(Component::Contour, names.contour.clone()), (Component::Envoy, names.envoy.clone())],
            adopts: deployment.spec.adopt,
            elsewhere: beyond(deployment, names).into_iter().chain(recorded.clone()).collect(),
            recorded,
        }
    }

    /// The namespace of the `ContourDeployment`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What its status records of what it has where owner references do not reach.
    pub fn recorded(&self) -> impl Iterator<Item = &ChildRef> {
        self.recorded.iter()
    }

    /// Whether an object says, by its labels, that it is a child. Anyone's can.
    pub fn is_named_by(&self, metadata: &ObjectMeta) -> bool {
        let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key));
        label(OWNER_NAME) == Some(&self.instance) && label(OWNER_NAMESPACE) == Some(&self.namespace)
    }

    /// Why an object is not a child; `None`: it is one.
    ///
    /// Earlier versions noted no UID. What they made elsewhere is known by the status, which told of it, and by what they wrote on it.
    pub fn foreign(&self, child: &ChildRef, metadata: &ObjectMeta) -> Option<String> {
        if child.namespace.as_deref() == Some(&self.namespace) {
            return self.foreign_here(metadata);
        }
        if !self.elsewhere.contains(child) {
            return Some(
                "is none of the objects that the operator makes outside of its namespace".to_owned(),
            );
        }
        let noted = metadata.annotations.as_ref().and_then(|annotations| annotations.get(OWNER_UID));
        match noted {
            Some(uid) if self.is(uid) => None,
            Some(uid) => Some(format!("was made for another ContourDeployment, of UID {uid}")),
            None if (self.adopts || self.recorded.contains(child)) && self.was_applied(metadata) => None,
            None if self.was_applied(metadata) => Some(ORPHANED.to_owned()),
            None => Some(format!("was not made by this operator: it has no annotation {OWNER_UID}")),
        }
    }

    fn foreign_here(&self, metadata: &ObjectMeta) -> Option<String> {
        match controller(metadata) {
            Some(controller) if self.is(&controller.uid) => None,
            Some(controller) => {
                Some(format!("belongs to {} {} of UID {}", controller.kind, controller.name, controller.uid))
            }
            None if self.adopts && self.was_applied(metadata) => None,
            None if self.was_applied(metadata) => Some(ORPHANED.to_owned()),
            None => Some("was not made by this operator: it has no controller reference".to_owned()),
        }
    }

    /// Whether this is a workload of ours without its owner reference: those who delete a `ContourDeployment` had it removed, to keep what runs.
    pub(crate) fn is_orphaned_workload(&self, child: &ChildRef, metadata: &ObjectMeta) -> bool {
        let here = child.namespace.as_deref() == Some(&self.namespace);
        let workload = matches!(child.kind, ChildKind::Deployment | ChildKind::DaemonSet);
        let named = self.component(&child.name).is_some();
        here && workload && named && controller(metadata).is_none() && self.was_applied(metadata)
    }

    /// What a child is to say once nobody owns it any more, as a merge patch.
    pub(crate) fn released(&self, child: &ChildRef, metadata: &ObjectMeta) -> serde_json::Value {
        if child.namespace.as_deref() != Some(&self.namespace) {
            return json!({"metadata": {"annotations": {OWNER_UID: null}}});
        }
        let others = metadata.owner_references.iter().flatten().filter(|owner| !self.is(&owner.uid));
        json!({"metadata": {"ownerReferences": others.collect::<Vec<_>>()}})
    }

    /// Whether an object has all that earlier versions wrote on each child.
    fn was_applied(&self, metadata: &ObjectMeta) -> bool {
        let applied =
            metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(APPLIED));
        applied && self.is_named_by(metadata)
    }

    fn is(&self, uid: &str) -> bool {
        self.uid.as_deref() == Some(uid)
    }

    /// Whether a child is a right of Contour to what is served in one namespace. Nothing but that depends on it.
    pub(crate) fn is_for_served(&self, child: &ChildRef) -> bool {
        matches!(child.kind, ChildKind::Role | ChildKind::RoleBinding) && child.name == self.resources_role
    }

    /// Which component a workload of this name is the one of.
    pub fn component(&self, workload: &str) -> Option<Component> {
        let found = self.workloads.iter().find(|(_, name)| name == workload);
        found.map(|(component, _)| *component)
    }

    /// The component whose pods a controller of this kind and name makes, if it is what it is called.
    pub(crate) fn component_of(&self, controller: &OwnerReference) -> Option<Component> {
        match controller.kind.as_str() {
            "Deployment" | "DaemonSet" => self.component(&controller.name),
            // The name of its Deployment, and a hash.
            "ReplicaSet" => self.component(controller.name.rsplit_once('-')?.0),
            _ => None,
        }
    }
}

/// The controller of an object.
pub(crate) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// A child of the status, if it is one that owner references do not reach. Earlier versions recorded whatever had the labels.
fn recorded(told: &ChildReference, names: &Names) -> Option<ChildRef> {
    let child = ChildRef {
        kind: ChildKind::from_name(&told.kind)?,
        namespace: told.namespace.clone(),
        name: told.name.clone(),
    };
    let fits = match child.kind {
        ChildKind::ClusterRole | ChildKind::ClusterRoleBinding => child.name == names.cluster_role,
        ChildKind::Role | ChildKind::RoleBinding => child.name == names.resources_role,
        ChildKind::IngressClass => true,
        _ => false,
    };
    (fits && child.kind.namespaced() == child.namespace.is_some()).then_some(child)
}

/// The children that a `ContourDeployment` is to have where owner references do not reach.
fn beyond(deployment: &ContourDeployment, names: &Names) -> BTreeSet<ChildRef> {
    let of = |kind, namespace: Option<&String>, name: &str| ChildRef {
        kind,
        namespace: namespace.cloned(),
        name: name.to_owned(),
    };
    let mut children: BTreeSet<ChildRef> = [
        of(ChildKind::ClusterRole, None, &names.cluster_role),
        of(ChildKind::ClusterRoleBinding, None, &names.cluster_role),
        of(ChildKind::IngressClass, None, &names.ingress_class),
    ]
    .into();
    for namespace in watched_namespaces(deployment).iter().filter(|other| **other != names.namespace) {
        for kind in [ChildKind::Role, ChildKind::RoleBinding] {
            children.insert(of(kind, Some(namespace), &names.resources_role));
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use contour_crds::contour_deployment::EnvoyWorkload;
    use serde_json::{Value, json};

    use super::*;
    use crate::build::{Inputs, build};
    use crate::defaults::Defaults;

    fn deployment(spec: &Value) -> ContourDeployment {
        let metadata = json!({"name": "edge", "namespace": "n", "uid": "own"});
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    }

    fn metadata(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    fn child(kind: ChildKind, namespace: &str, name: &str) -> ChildRef {
        let namespace = kind.namespaced().then(|| namespace.to_owned());
        ChildRef { kind, namespace, name: name.to_owned() }
    }

    /// An owner that has watched namespace `w` before and watches `v` now.
    fn owner() -> Owner {
        let deployment =
            deployment(&json!({"ingressClassName": "c", "contour": {"watchNamespaces": ["n", "v"]}}));
        let told = |kind: &str, namespace: Option<&str>, name: &str| ChildReference {
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        let inventory = vec![
            told("ClusterRole", None, "contour-n.edge"),
            told("ClusterRole", None, "cluster-admin"),
            told("IngressClass", None, "former"),
            told("Role", Some("w"), "contour-resources-n.edge"),
            told("Role", Some("w"), "theirs"),
            told("ConfigMap", Some("w"), "theirs"),
            told("Unknown", None, "theirs"),
        ];
        let status = ContourDeploymentStatus { inventory, ..ContourDeploymentStatus::default() };
        Owner::of(&deployment, &Names::of(&deployment).unwrap(), &status)
    }

    fn controlled(uid: &str) -> Value {
        let owner = json!({
            "apiVersion": "operator.projectcontour.io/v1alpha1", "kind": "ContourDeployment", "name": "edge", "uid": uid,
            "controller": true,
        });
        json!({ "ownerReferences": [owner], "labels": labels("edge") })
    }

    fn labels(name: &str) -> Value {
        json!({OWNER_NAME: name, OWNER_NAMESPACE: "n"})
    }

    /// What is noted elsewhere: the labels, and the UID if there is one.
    fn noted(uid: Option<&str>) -> Value {
        match uid {
            Some(uid) => json!({"labels": labels("edge"), "annotations": {OWNER_UID: uid}}),
            None => json!({"labels": labels("edge"), "annotations": {APPLIED: "hash"}}),
        }
    }

    #[test]
    fn a_child_is_what_is_proven_to_be_one() {
        use ChildKind::{ClusterRole, ClusterRoleBinding, ConfigMap, DaemonSet, IngressClass, Role, Secret};
        let (cluster, resources) = ("contour-n.edge", "contour-resources-n.edge");
        let mut not_controller = controlled("own");
        not_controller["ownerReferences"][0]["controller"] = json!(false);
        let mut unlabelled = controlled("own");
        unlabelled["labels"] = json!({});
        let of_others = json!({"labels": labels("other"), "annotations": {APPLIED: "hash"}});
        let only_labels = || json!({"labels": labels("edge")});
        for (of, metadata_, why) in [
            // In the namespace: by the controller's UID alone, whatever the name and the labels.
            (child(DaemonSet, "n", "envoy-edge"), controlled("own"), None),
            (child(DaemonSet, "n", "envoy"), unlabelled, None),
            (
                child(DaemonSet, "n", "envoy-edge"),
                controlled("before"),
                Some("belongs to ContourDeployment edge of UID before"),
            ),
            (child(DaemonSet, "n", "envoy-edge"), not_controller, Some("has no controller reference")),
            (child(Secret, "n", "contourcert-edge"), only_labels(), Some("has no controller reference")),
            (child(Secret, "n", "contourcert-edge"), noted(None), Some("spec.adopt")),
            (child(Secret, "n", "contourcert-edge"), noted(Some("own")), Some("has no controller reference")),
            // Elsewhere: by name and the UID that is noted; a reference means nothing there.
            (child(ClusterRole, "", cluster), noted(Some("own")), None),
            (child(ClusterRoleBinding, "", cluster), noted(Some("own")), None),
            (child(IngressClass, "", "c"), noted(Some("own")), None),
            (child(IngressClass, "", "former"), noted(Some("own")), None),
            (child(IngressClass, "", "another"), noted(Some("own")), Some("is none of the objects")),
            (
                child(IngressClass, "", "c"),
                noted(Some("before")),
                Some("another ContourDeployment, of UID before"),
            ),
            (child(IngressClass, "", "c"), json!({}), Some("has no annotation")),
            (child(ClusterRole, "", "cluster-admin"), noted(Some("own")), Some("is none of the objects")),
            (child(Role, "v", resources), noted(Some("own")), None),
            (child(Role, "w", resources), noted(Some("own")), None),
            (child(Role, "x", resources), noted(Some("own")), Some("is none of the objects")),
            (child(Role, "w", "theirs"), noted(Some("own")), Some("is none of the objects")),
            (child(ConfigMap, "w", "theirs"), noted(Some("own")), Some("is none of the objects")),
            (child(DaemonSet, "x", "envoy-edge"), controlled("own"), Some("is none of the objects")),
            // Made before UIDs were noted: what the status told of, and only with the labels.
            (child(ClusterRole, "", cluster), noted(None), None),
            (child(ClusterRole, "", cluster), of_others, Some("has no annotation")),
            (child(ClusterRole, "", cluster), only_labels(), Some("has no annotation")),
            (child(Role, "n", resources), only_labels(), Some("has no controller reference")),
            (child(ClusterRoleBinding, "", cluster), noted(None), Some("spec.adopt")),
            (child(Role, "w", resources), noted(None), None),
            (child(Role, "v", resources), noted(None), Some("spec.adopt")),
            (child(Role, "n", resources), noted(None), Some("spec.adopt")),
            (child(Role, "n", resources), json!({}), Some("has no controller reference")),
            (child(Role, "n", resources), controlled("before"), Some("of UID before")),
            (child(Role, "n", "contour-edge"), noted(None), Some("spec.adopt")),
        ] {
            let found = owner().foreign(&of, &metadata(metadata_.clone()));
            let as_expected = match (&found, why) {
                (Some(found), Some(why)) => found.contains(why),
                (found, why) => found.is_none() && why.is_none(),
            };
            assert!(as_expected, "{of} {metadata_}: {found:?}, not {why:?}");
        }
    }

    #[test]
    fn what_nobody_owns_any_more_is_adopted_if_the_operator_made_it() {
        use ChildKind::{ClusterRole, IngressClass, Role, Secret};
        let deployment = deployment(&json!({"adopt": true, "ingressClassName": "c"}));
        let names = Names::of(&deployment).unwrap();
        let owner = Owner::of(&deployment, &names, &ContourDeploymentStatus::default());
        for (of, metadata_, adopted) in [
            (child(Secret, "n", "contourcert-edge"), noted(None), true),
            (child(ClusterRole, "", "contour-n.edge"), noted(None), true),
            (child(IngressClass, "", "c"), noted(None), true),
            (child(Secret, "n", "contourcert-edge"), controlled("another"), false),
            (child(Secret, "n", "contourcert-edge"), json!({"labels": labels("edge")}), false),
            (child(Secret, "n", "contourcert-edge"), json!({"annotations": {APPLIED: "hash"}}), false),
            (child(ClusterRole, "", "contour-n.edge"), noted(Some("another")), false),
            (child(ClusterRole, "", "cluster-admin"), noted(None), false),
            (child(Role, "w", "contour-resources-n.edge"), noted(None), false),
        ] {
            let found = owner.foreign(&of, &metadata(metadata_.clone()));
            assert_eq!(found.is_none(), adopted, "{of} {metadata_}: {found:?}");
        }
    }

    #[test]
    fn an_owner_without_a_uid_has_nothing() {
        let mut deployment = deployment(&json!({}));
        for uid in [None, Some(String::new())] {
            deployment.metadata.uid = uid;
            let owner =
                Owner::of(&deployment, &Names::of(&deployment).unwrap(), &ContourDeploymentStatus::default());
            assert!(owner.foreign(&child(ChildKind::Secret, "n", "s"), &metadata(controlled(""))).is_some());
        }
    }

    #[test]
    fn whatever_is_built_is_a_child() {
        let defaults = Defaults {
            contour_image: "c".to_owned(),
            envoy_image: "e".to_owned(),
            agent_image: "a".to_owned(),
            version: "1".to_owned(),
            namespace: "contour-operator".to_owned(),
        };
        for spec in [
            json!({}),
            json!({"contour": {"watchNamespaces": ["n", "v"]}}),
            json!({"names": "Stock", "envoy": {"workload": format!("{:?}", EnvoyWorkload::Deployment)}}),
        ] {
            let deployment = deployment(&spec);
            let names = Names::of(&deployment).unwrap();
            let owner = Owner::of(&deployment, &names, &ContourDeploymentStatus::default());
            let inputs = Inputs {
                deployment: &deployment,
                names: &names,
                defaults: &defaults,
                kept: None,
                addresses: &[],
            };
            for child in build(&inputs).all() {
                let reference = child.reference();
                assert_eq!(owner.foreign(&reference, &child.object.metadata), None, "{reference}");
                if matches!(child.kind, ChildKind::Deployment | ChildKind::DaemonSet) {
                    assert!(owner.component(&reference.name).is_some(), "{reference}");
                }
            }
        }
    }
}

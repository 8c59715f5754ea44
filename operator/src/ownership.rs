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
//! `spec.adopt` takes it over. The same field takes over, where the names of the stock manifests are asked for, what others made under those:
//! but never what has a controller, or the labels of another `ContourDeployment`.
//!
//! What was written elsewhere before [`OWNER_UID`] was is taken over: see [`Owner::foreign`].

use std::collections::BTreeSet;

use contour_crds::ContourDeployment;
use contour_crds::contour_deployment::{ChildReference, ContourDeploymentStatus, NameScheme};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use kube::core::DynamicObject;
use serde_json::json;

use crate::build::{Component, watched_namespaces};
use crate::child::{ChildKind, ChildRef};
use crate::live::Live;
use crate::names::{APPLIED, Names, OWNER_NAME, OWNER_NAMESPACE, OWNER_UID};

/// Why what was orphaned is not a child.
const ORPHANED: &str =
    "was left by an earlier ContourDeployment of this name, whose children spec.adopt takes over";

/// Why what others made is not a child.
const UNOWNED: &str = "was not made by this operator: it has no controller reference";

/// A `ContourDeployment`, as the owner of its children.
#[derive(Clone, Debug)]
pub struct Owner {
    namespace: String,
    instance: String,
    uid: Option<String>,
    /// What the rights to what is served are called.
    for_served: [String; 3],
    /// The name of each component's workload.
    workloads: [(Component, String); 2],
    /// What was orphaned is taken over.
    adopts: bool,
    /// What it makes in its namespace under the names of the stock manifests: that others made it before is what they are for.
    here: BTreeSet<ChildRef>,
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
            for_served: [&names.served_binding, &names.former_resources_role, &names.former_cluster_role]
                .map(String::clone),
            workloads: [(Component::Contour, names.contour.clone()), (Component::Envoy, names.envoy.clone())],
            adopts: deployment.spec.adopt,
            here: if deployment.spec.names == Some(NameScheme::Stock) {
                within(names)
            } else {
                BTreeSet::new()
            },
            elsewhere: beyond(deployment, names).into_iter().chain(recorded.clone()).collect(),
            recorded,
        }
    }

    /// The namespace of the `ContourDeployment`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
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
            return self.foreign_here(child, metadata);
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

    fn foreign_here(&self, child: &ChildRef, metadata: &ObjectMeta) -> Option<String> {
        match controller(metadata) {
            Some(controller) if self.is(&controller.uid) => None,
            Some(controller) => {
                Some(format!("belongs to {} {} of UID {}", controller.kind, controller.name, controller.uid))
            }
            None if self.adopts && (self.was_applied(metadata) || self.may_take(child, metadata)) => None,
            None if self.was_applied(metadata) => Some(ORPHANED.to_owned()),
            None if self.here.contains(child) => {
                Some(format!("{UNOWNED}; spec.adopt takes over an installation of the stock manifests"))
            }
            None => Some(UNOWNED.to_owned()),
        }
    }

    /// Whether an object that nobody controls has the name of a child, and is none of another `ContourDeployment`'s.
    fn may_take(&self, child: &ChildRef, metadata: &ObjectMeta) -> bool {
        let labels = metadata.labels.iter().flatten();
        let of_another =
            labels.into_iter().any(|(key, _)| [OWNER_NAME, OWNER_NAMESPACE].contains(&key.as_str()));
        self.here.contains(child) && (!of_another || self.is_named_by(metadata))
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

    /// Whether a child is a right of Contour to what is served, somewhere.
    pub(crate) fn is_for_served(&self, child: &ChildRef) -> bool {
        child.kind.is_right() && self.for_served.contains(&child.name)
    }

    /// Which component a workload of this name is the one of.
    pub fn component(&self, workload: &str) -> Option<Component> {
        let found = self.workloads.iter().find(|(_, name)| name == workload);
        found.map(|(component, _)| *component)
    }

    /// Which objects are its workloads, if they are there: Envoy's may be of either kind.
    pub(crate) fn workloads(&self) -> [ChildRef; 3] {
        let [(_, contour), (_, envoy)] = &self.workloads;
        let of = |kind, name: &String| ChildRef {
            kind,
            namespace: Some(self.namespace.clone()),
            name: name.clone(),
        };
        [
            of(ChildKind::Deployment, contour),
            of(ChildKind::DaemonSet, envoy),
            of(ChildKind::Deployment, envoy),
        ]
    }

    /// Its workloads that are there, and their objects.
    pub(crate) fn workloads_of<'a>(
        &self,
        live: &'a Live,
    ) -> impl Iterator<Item = (&'a ChildRef, &'a DynamicObject)> {
        let found =
            self.workloads().into_iter().filter_map(|workload| live.children.get_key_value(&workload));
        found.map(|(reference, object)| (reference, &**object))
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
        ChildKind::ClusterRole => child.name == names.former_cluster_role,
        ChildKind::ClusterRoleBinding => cluster_bindings(names).contains(&&child.name),
        ChildKind::Role => child.name == names.former_resources_role,
        ChildKind::RoleBinding => {
            [&names.served_binding, &names.former_resources_role].contains(&&child.name)
        }
        ChildKind::IngressClass => true,
        _ => false,
    };
    (fits && child.kind.namespaced() == child.namespace.is_some()).then_some(child)
}

/// What the operator makes under names that do not change in the namespace of a `ContourDeployment`.
fn within(names: &Names) -> BTreeSet<ChildRef> {
    use ChildKind as Kind;
    let both = [
        Kind::ServiceAccount,
        Kind::Service,
        Kind::Deployment,
        Kind::HorizontalPodAutoscaler,
        Kind::PodDisruptionBudget,
    ];
    let both = both.into_iter().flat_map(|kind| [(kind, &names.contour), (kind, &names.envoy)]);
    let secrets =
        [&names.ca_secret, &names.contour_secret, &names.envoy_secret].map(|name| (Kind::Secret, name));
    let all = both
        .chain(secrets)
        .chain([(Kind::ContourConfiguration, &names.contour), (Kind::DaemonSet, &names.envoy)]);
    all.map(|(kind, name)| names.child(kind, name)).collect()
}

fn cluster_bindings(names: &Names) -> [&String; 3] {
    [&names.served_binding, &names.namespaces_binding, &names.former_cluster_role]
}

/// The children that a `ContourDeployment` is to have where owner references do not reach, and those that earlier versions made.
fn beyond(deployment: &ContourDeployment, names: &Names) -> BTreeSet<ChildRef> {
    let of = |kind, namespace: Option<&String>, name: &str| ChildRef {
        kind,
        namespace: namespace.cloned(),
        name: name.to_owned(),
    };
    let mut children: BTreeSet<ChildRef> = [
        of(ChildKind::ClusterRole, None, &names.former_cluster_role),
        of(ChildKind::IngressClass, None, &names.ingress_class),
    ]
    .into();
    children.extend(cluster_bindings(names).map(|name| of(ChildKind::ClusterRoleBinding, None, name)));
    for namespace in watched_namespaces(deployment).iter().filter(|other| **other != names.namespace) {
        for (kind, name) in [
            (ChildKind::RoleBinding, &names.served_binding),
            (ChildKind::RoleBinding, &names.former_resources_role),
            (ChildKind::Role, &names.former_resources_role),
        ] {
            children.insert(of(kind, Some(namespace), name));
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use contour_crds::contour_deployment::EnvoyWorkload;
    use serde_json::{Value, json};

    use super::*;
    use crate::adoption::Adopted;
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
    fn bindings_elsewhere_are_children_where_they_are_wanted() {
        use ChildKind::{ClusterRoleBinding, RoleBinding};
        for (of, is_child) in [
            (child(ClusterRoleBinding, "", "contour.served.n.edge"), true),
            (child(ClusterRoleBinding, "", "contour.namespaces.n.edge"), true),
            (child(ClusterRoleBinding, "", "contour.served.n.other"), false),
            (child(RoleBinding, "v", "contour.served.n.edge"), true),
            (child(RoleBinding, "v", "contour.namespaces.n.edge"), false),
            (child(RoleBinding, "u", "contour.served.n.edge"), false),
        ] {
            let found = owner().foreign(&of, &metadata(noted(Some("own"))));
            assert_eq!(found.is_none(), is_child, "{of}: {found:?}");
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
    fn the_names_of_the_stock_manifests_can_be_taken_over() {
        use ChildKind::{
            ClusterRole, ConfigMap, DaemonSet, Deployment, IngressClass, RoleBinding, Secret, Service,
        };
        let nobodys = json!({"labels": {"app": "contour"}});
        for (spec, of, metadata_, taken) in [
            (
                json!({"adopt": true, "names": "Stock"}),
                child(Deployment, "n", "contour"),
                nobodys.clone(),
                true,
            ),
            (json!({"adopt": true, "names": "Stock"}), child(DaemonSet, "n", "envoy"), nobodys.clone(), true),
            (json!({"adopt": true, "names": "Stock"}), child(Secret, "n", "envoycert"), json!({}), true),
            (json!({"adopt": true, "names": "Stock"}), child(RoleBinding, "n", "contour"), json!({}), false),
            // Nobody said so.
            (json!({"names": "Stock"}), child(Deployment, "n", "contour"), nobodys.clone(), false),
            (json!({"adopt": true}), child(Service, "n", "contour-edge"), nobodys.clone(), false),
            // None of the names, or not here.
            (
                json!({"adopt": true, "names": "Stock"}),
                child(Deployment, "n", "other"),
                nobodys.clone(),
                false,
            ),
            (
                json!({"adopt": true, "names": "Stock"}),
                child(ConfigMap, "n", "contour"),
                nobodys.clone(),
                false,
            ),
            (
                json!({"adopt": true, "names": "Stock"}),
                child(Deployment, "w", "contour"),
                nobodys.clone(),
                false,
            ),
            (
                json!({"adopt": true, "names": "Stock"}),
                child(ClusterRole, "", "contour"),
                nobodys.clone(),
                false,
            ),
            (json!({"adopt": true, "names": "Stock"}), child(IngressClass, "", "contour"), nobodys, false),
            // Somebody has it.
            (
                json!({"adopt": true, "names": "Stock"}),
                child(Service, "n", "envoy"),
                controlled("another"),
                false,
            ),
            (
                json!({"adopt": true, "names": "Stock"}),
                child(Service, "n", "envoy"),
                json!({"labels": labels("other")}),
                false,
            ),
        ] {
            let deployment = deployment(&spec);
            let names = Names::of(&deployment).unwrap();
            let owner = Owner::of(&deployment, &names, &ContourDeploymentStatus::default());
            let found = owner.foreign(&of, &metadata(metadata_.clone()));
            assert_eq!(found.is_none(), taken, "{spec} {of} {metadata_}: {found:?}");
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
                adopted: &Adopted::NOTHING,
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

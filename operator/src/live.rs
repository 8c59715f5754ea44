//! What belongs to one `ContourDeployment`, and what only says so. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::core::DynamicObject;

use crate::build::Component;
use crate::child::{ChildKind, ChildRef};
use crate::ownership::{Owner, controller};
use crate::pod::Pod;

/// What belongs to one `ContourDeployment`, by [proof](crate::ownership).
#[derive(Clone, Default)]
pub struct Live {
    /// Its children.
    pub children: BTreeMap<ChildRef, Arc<DynamicObject>>,
    /// Its controllers, by name.
    pub contour: Vec<Arc<Pod>>,
    /// Its proxies, by name.
    pub envoy: Vec<Arc<Pod>>,
    /// Pods whose controller is called like one of ours and was not seen: watches have no order among each other. They count for nothing,
    /// but a rotation gives them the time that it gives to pods that do not answer.
    pub unproven: Vec<(Component, Arc<Pod>)>,
    /// A workload of ours has lost its owner reference.
    pub orphaned: bool,
    /// The nodes that are not ready.
    pub lost: BTreeSet<String>,
    /// What has our labels and is not ours: never trusted, never changed, never deleted.
    pub strangers: Vec<Stranger>,
}

impl fmt::Debug for Live {
    /// Names only: Secrets are among the children.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods: Vec<_> = self.pods().map(|pod| pod.metadata.name.as_deref()).collect();
        f.debug_struct("Live")
            .field("children", &self.children.keys())
            .field("pods", &pods)
            .field("strangers", &self.strangers)
            .finish_non_exhaustive()
    }
}

/// An object with our labels that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stranger {
    /// Its kind.
    pub kind: String,
    /// Group and version of its kind.
    pub api_version: String,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Why it is none, as in "is ...".
    pub why: String,
}

impl Stranger {
    /// For an Event that names it.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(self.api_version.clone()),
            kind: Some(self.kind.clone()),
            namespace: self.namespace.clone(),
            name: Some(self.name.clone()),
            ..ObjectReference::default()
        }
    }

    fn of<K: kube::Resource<DynamicType = ()>>(metadata: &ObjectMeta, why: String) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            api_version: K::api_version(&()).into_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
            why,
        }
    }
}

/// Kind, namespace and name.
impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl Live {
    /// Tells what belongs to the owner from what only has its labels.
    pub fn of(
        owner: &Owner,
        objects: impl IntoIterator<Item = (ChildKind, Arc<DynamicObject>)>,
        replica_sets: impl IntoIterator<Item = Arc<ReplicaSet>>,
        pods: impl IntoIterator<Item = Arc<Pod>>,
    ) -> Self {
        let mut live = Self::default();
        for (kind, object) in objects {
            let child = crate::observe::reference(kind, &object);
            match owner.foreign(&child, &object.metadata) {
                None => {
                    live.children.insert(child, object);
                }
                Some(why) => {
                    live.orphaned |= owner.is_orphaned_workload(&child, &object.metadata);
                    live.strangers.push(Stranger {
                        kind: kind.to_string(),
                        api_version: kind.resource().api_version,
                        namespace: child.namespace,
                        name: child.name,
                        why,
                    });
                }
            }
        }
        let steering = live.steering(owner, replica_sets);
        for pod in pods {
            match proof(owner, &steering, &pod.metadata, "DaemonSet") {
                Proof::Ours(Component::Contour) => live.contour.push(pod),
                Proof::Ours(Component::Envoy) => live.envoy.push(pod),
                Proof::Unseen(component) => live.unproven.push((component, pod)),
                Proof::None(why) => live.strangers.push(Stranger::of::<Pod>(&pod.metadata, why)),
            }
        }
        live.sort_pods();
        live.strangers.sort();
        live
    }

    /// By UID, what makes pods of a component: its `DaemonSets`, and the `ReplicaSets` of its Deployments.
    fn steering(
        &mut self,
        owner: &Owner,
        replica_sets: impl IntoIterator<Item = Arc<ReplicaSet>>,
    ) -> BTreeMap<String, Steers> {
        let of_kind = |kind: ChildKind| -> BTreeMap<String, Steers> {
            let children = self.children.iter().filter(|(child, _)| child.kind == kind);
            let entry = |(child, object): (&ChildRef, &Arc<DynamicObject>)| {
                Some((object.uid()?, Steers::Pods(owner.component(&child.name)?)))
            };
            children.filter_map(entry).collect()
        };
        let (deployments, mut steering) = (of_kind(ChildKind::Deployment), of_kind(ChildKind::DaemonSet));
        for set in replica_sets {
            let Some(uid) = set.uid() else { continue };
            let steers = match proof(owner, &deployments, &set.metadata, "Deployment") {
                Proof::Ours(component) => Steers::Pods(component),
                Proof::Unseen(_) => Steers::Unseen,
                Proof::None(why) => {
                    self.strangers.push(Stranger::of::<ReplicaSet>(&set.metadata, why));
                    Steers::Others
                }
            };
            steering.insert(uid, steers);
        }
        steering
    }

    /// Counts pods that do not have our labels, as those of a workload that others made: each by proof, as those that have them.
    pub fn count(
        &mut self,
        owner: &Owner,
        replica_sets: impl IntoIterator<Item = Arc<ReplicaSet>>,
        pods: impl IntoIterator<Item = Arc<Pod>>,
    ) {
        let strangers = self.strangers.len();
        let steering = self.steering(owner, replica_sets);
        // They do not say that they are ours.
        self.strangers.truncate(strangers);
        let known: BTreeSet<String> = self.pods().filter_map(|pod| pod.uid()).collect();
        for pod in pods.into_iter().filter(|pod| pod.uid().is_none_or(|uid| !known.contains(&uid))) {
            match proof(owner, &steering, &pod.metadata, "DaemonSet") {
                Proof::Ours(Component::Contour) => self.contour.push(pod),
                Proof::Ours(Component::Envoy) => self.envoy.push(pod),
                Proof::Unseen(_) | Proof::None(_) => {}
            }
        }
        self.sort_pods();
    }

    fn sort_pods(&mut self) {
        for pods in [&mut self.contour, &mut self.envoy] {
            pods.sort_unstable_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        }
    }

    /// The pods of a component.
    pub fn pods_of(&self, component: Component) -> &[Arc<Pod>] {
        match component {
            Component::Contour => &self.contour,
            Component::Envoy => &self.envoy,
        }
    }

    /// Whether a pod of Envoy is made with this `ConfigMap`: one that ends counts as well, and one that may turn out to be ours.
    pub fn uses_map(&self, name: &str) -> bool {
        let pods = self.envoy.iter().chain(self.unproven.iter().map(|(_, pod)| pod));
        let mut volumes = pods.filter_map(|pod| pod.spec.as_ref()?.volumes.as_ref()).flatten();
        volumes.any(|volume| volume.config_map.as_ref().is_some_and(|map| map.name == name))
    }

    /// All pods.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.contour.iter().chain(&self.envoy)
    }
}

/// Whose pods a controller makes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Steers {
    Pods(Component),
    Unseen,
    Others,
}

/// What the controller reference of a pod or a `ReplicaSet` proves.
enum Proof {
    Ours(Component),
    /// Its controller is called like ours, and is none that was seen.
    Unseen(Component),
    None(String),
}

/// What a controller reference proves, given what is known to steer for us. `direct` is the kind that needs no other between.
fn proof(owner: &Owner, known: &BTreeMap<String, Steers>, metadata: &ObjectMeta, direct: &str) -> Proof {
    if metadata.namespace.as_deref() != Some(owner.namespace()) {
        return Proof::None("is in another namespace".to_owned());
    }
    let Some(controller) = controller(metadata) else {
        return Proof::None("has no controller".to_owned());
    };
    let fits = controller.kind == direct || (direct == "DaemonSet" && controller.kind == "ReplicaSet");
    match (known.get(&controller.uid), owner.component_of(controller)) {
        (Some(Steers::Pods(component)), _) => Proof::Ours(*component),
        (Some(Steers::Unseen) | None, Some(component)) if fits => Proof::Unseen(component),
        _ => Proof::None(format!("belongs to {} {}", controller.kind, controller.name)),
    }
}

#[cfg(test)]
mod tests {
    use contour_crds::{ContourDeployment, ContourDeploymentStatus};
    use serde_json::{Value, json};

    use super::*;
    use crate::names::Names;

    fn owner() -> Owner {
        let deployment: ContourDeployment = serde_json::from_value(
            json!({"metadata": {"name": "edge", "namespace": "n", "uid": "own"}, "spec": {}}),
        )
        .unwrap();
        Owner::of(&deployment, &Names::of(&deployment).unwrap(), &ContourDeploymentStatus::default())
    }

    /// An object of this namespace, name and UID, and the kind, name and UID of its controller.
    fn object<K: serde::de::DeserializeOwned>(
        [namespace, name, uid]: [&str; 3],
        controller: Option<[&str; 3]>,
    ) -> Arc<K> {
        let owner = controller.map(|[kind, name, uid]| {
            json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": true})
        });
        let owners: Vec<Value> = owner.into_iter().collect();
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": namespace, "name": name, "uid": uid, "ownerReferences": owners},
                "spec": {"selector": {}, "containers": []},
            }))
            .unwrap(),
        )
    }

    /// A whole installation with pods of these controllers; how the pod came to count.
    fn judged(namespace: &str, controller: Option<[&str; 3]>) -> String {
        let own = Some(["ContourDeployment", "edge", "own"]);
        let objects = [
            (ChildKind::Deployment, object(["n", "contour-edge", "contour"], own)),
            (ChildKind::DaemonSet, object(["n", "envoy-edge", "envoy"], own)),
            (ChildKind::Deployment, object(["n", "forged", "forged"], own)),
            (ChildKind::DaemonSet, object(["n", "theirs", "theirs"], None)),
        ];
        let sets = [
            object(
                ["n", "contour-edge-5d9c", "contour-set"],
                Some(["Deployment", "contour-edge", "contour"]),
            ),
            object(["n", "contour-edge-7f00", "stale-set"], Some(["Deployment", "contour-edge", "before"])),
            object(["n", "forged-5d9c", "forged-set"], Some(["Deployment", "forged", "forged"])),
            object(["n", "contour-edge-0000", "bare-set"], None),
            object(["o", "contour-edge-5d9c", "far-set"], Some(["Deployment", "contour-edge", "contour"])),
        ];
        let mut pod = Pod::clone(&object([namespace, "pod", "pod"], controller));
        pod.trim();
        let live = Live::of(&owner(), objects, sets, [pod.into()]);
        assert_eq!(live.children.len(), 3);
        let strangers: Vec<String> = live.strangers.iter().map(ToString::to_string).collect();
        for stranger in
            ["DaemonSet n/theirs", "ReplicaSet n/contour-edge-0000", "ReplicaSet o/contour-edge-5d9c"]
        {
            assert!(strangers.contains(&stranger.to_owned()), "{stranger} is not in {strangers:?}");
        }
        match (&live.contour[..], &live.envoy[..], &live.unproven[..]) {
            ([_], [], []) => "contour".to_owned(),
            ([], [_], []) => "envoy".to_owned(),
            ([], [], [(component, _)]) => format!("unproven {component}"),
            _ => live
                .strangers
                .into_iter()
                .find(|one| one.kind == "Pod")
                .map(|one| one.why)
                .unwrap_or_default(),
        }
    }

    #[test]
    fn a_pod_counts_through_what_makes_it_and_by_uid() {
        for (namespace, controller, expected) in [
            ("n", Some(["DaemonSet", "envoy-edge", "envoy"]), "envoy"),
            ("n", Some(["ReplicaSet", "contour-edge-5d9c", "contour-set"]), "contour"),
            ("n", None, "has no controller"),
            ("o", Some(["DaemonSet", "envoy-edge", "envoy"]), "is in another namespace"),
            // Called like ours, and never seen or of another Deployment: no proof, but it may come.
            ("n", Some(["DaemonSet", "envoy-edge", "before"]), "unproven envoy"),
            ("n", Some(["ReplicaSet", "contour-edge-1234", "unseen"]), "unproven contour"),
            ("n", Some(["ReplicaSet", "contour-edge-7f00", "stale-set"]), "unproven contour"),
            // Theirs for certain.
            (
                "n",
                Some(["ReplicaSet", "contour-edge-0000", "bare-set"]),
                "belongs to ReplicaSet contour-edge-0000",
            ),
            (
                "n",
                Some(["ReplicaSet", "contour-edge-5d9c", "far-set"]),
                "belongs to ReplicaSet contour-edge-5d9c",
            ),
            ("n", Some(["DaemonSet", "theirs", "theirs"]), "belongs to DaemonSet theirs"),
            ("n", Some(["ReplicaSet", "forged-5d9c", "forged-set"]), "belongs to ReplicaSet forged-5d9c"),
            // A Deployment makes no pods itself.
            ("n", Some(["Deployment", "contour-edge", "contour"]), "belongs to Deployment contour-edge"),
            ("n", Some(["Job", "envoy-edge", "unseen"]), "belongs to Job envoy-edge"),
        ] {
            assert_eq!(judged(namespace, controller), expected, "{namespace} {controller:?}");
        }
    }
}

//! How a workload of Envoy that another one replaces makes room for it: on the network of nodes both need the same ports. Pure.
//!
//! It serves until the new one does, so nothing of it goes for a pod that finds no node for another cause, such as a wrong node selector. Where
//! the scheduler says that ports are not free, and it is this workload that has them, it gives them up node by node: the next one follows
//! when the new workload serves in the place of the last. What was given up is in the cluster: nodes that a `DaemonSet` leaves are in the affinity of
//! its template, and the number of pods of a Deployment is told by itself.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::rollout::{is_ready, is_seen, unschedulable};
use super::workloads::typed;
use crate::child::{ChildKind, ChildRef};
use crate::names::YIELDS;
use crate::ownership::controller;
use crate::pod::Pod;

/// What the scheduler says of nodes whose ports another pod has.
const NO_PORTS: &str = "free ports";

/// The field of a node that holds its name.
const NODE_NAME: &str = "metadata.name";

/// What a workload gives up next, as a patch of it; `None`: nothing now. `pods` are all those of the component.
pub(super) fn yields(
    old: (&ChildRef, &DynamicObject),
    new: (&ChildRef, &DynamicObject),
    pods: &[impl AsRef<Pod>],
    lost: &BTreeSet<String>,
) -> Option<Value> {
    // Nothing starts or ends on a node that is lost.
    let lives = |pod: &&Pod| is_ready(pod) || node_of(pod).is_none_or(|node| !lost.contains(node));
    let of = |workload| of_workload(pods, workload).into_iter().filter(lives).collect::<Vec<_>>();
    let (old_pods, new_pods) = (of(old.0), of(new.0));
    if old_pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some()) {
        return None; // What it left last is not free yet.
    }
    if of_workload(pods, new.0).len() < wanted(new)? {
        return None; // One is about to be made.
    }
    let wanting = wanting(&old_pods, &new_pods)?;
    let ready = new_pods.iter().filter(|pod| is_ready(pod)).count();
    let pinned: BTreeSet<&str> = wanting.iter().filter_map(|pod| pinned(pod)).collect();
    // A pod for a node that nobody else is on is about to start there.
    let had = |node: &str| old_pods.iter().any(|pod| node_of(pod) == Some(node));
    if !pinned.iter().all(|node| had(node)) {
        return None;
    }
    match old.0.kind {
        ChildKind::DaemonSet => leave(&typed(old.1)?, &old_pods, &pinned, ready),
        ChildKind::Deployment => shrink(&typed(old.1)?, old_pods.len(), &pinned, ready),
        _ => None,
    }
}

/// How many pods a workload is to have, once its controller has seen it.
fn wanted((reference, object): (&ChildRef, &DynamicObject)) -> Option<usize> {
    let count = match reference.kind {
        ChildKind::DaemonSet => typed::<DaemonSet>(object)?.status?.desired_number_scheduled,
        _ => typed::<Deployment>(object)?.spec.replicas.unwrap_or(1),
    };
    usize::try_from(count).ok()
}

/// The new pods that wait for ports that the old ones have. `None`: there is none, or one is still starting.
fn wanting<'a>(old: &[&Pod], new: &[&'a Pod]) -> Option<Vec<&'a Pod>> {
    let unready: Vec<&Pod> = new.iter().copied().filter(|pod| !is_ready(pod)).collect();
    let taken: BTreeSet<i32> = old.iter().flat_map(|pod| host_ports(pod)).collect();
    let no_ports = |pod: &&Pod| unschedulable(pod).is_some_and(|said| said.contains(NO_PORTS));
    let same = |pod: &&Pod| host_ports(pod).any(|port| taken.contains(&port));
    if !unready.iter().all(|pod| unschedulable(pod).is_some()) {
        return None;
    }
    let wanting: Vec<&Pod> = unready.into_iter().filter(no_ports).filter(same).collect();
    (!wanting.is_empty()).then_some(wanting)
}

/// Has a `DaemonSet` leave one more node.
fn leave(set: &DaemonSet, pods: &[&Pod], pinned: &BTreeSet<&str>, ready: usize) -> Option<Value> {
    let left = left(set);
    let served = |pod: &&&Pod| node_of(pod).is_some_and(|node| pinned.is_empty() || pinned.contains(node));
    let still_there = pods.iter().filter_map(|pod| node_of(pod)).any(|node| left.contains(node));
    if !is_seen(set.metadata.generation, set.status.as_ref()?.observed_generation)
        || still_there
        || (pinned.is_empty() && left.len() > ready)
    {
        return None;
    }
    // Who serves nobody goes first.
    let next = pods.iter().filter(served).min_by_key(|pod| (is_ready(pod), node_of(pod)))?;
    let mut nodes = left;
    nodes.insert(node_of(next)?.to_owned());
    let without: Vec<NodeSelectorRequirement> = nodes
        .iter()
        .map(|node| NodeSelectorRequirement {
            key: NODE_NAME.to_owned(),
            operator: "NotIn".to_owned(),
            values: Some(vec![node.clone()]),
        })
        .collect();
    let mut terms = terms(set);
    if terms.is_empty() {
        terms.push(NodeSelectorTerm::default());
    }
    for term in &mut terms {
        let others = term.match_fields.take().unwrap_or_default();
        let others = others.into_iter().filter(|requirement| !is_without(requirement));
        term.match_fields = Some(others.chain(without.iter().cloned()).collect());
    }
    let required = json!({ "nodeSelectorTerms": terms });
    let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": required } });
    Some(json!({
        "metadata": { "annotations": { YIELDS: "true" } },
        "spec": {
            // Its other pods are not to be replaced for that.
            "updateStrategy": { "type": "OnDelete", "rollingUpdate": null },
            "template": { "spec": { "affinity": affinity } },
        },
    }))
}

/// Takes one pod from a Deployment.
fn shrink(deployment: &Deployment, pods: usize, pinned: &BTreeSet<&str>, ready: usize) -> Option<Value> {
    let (now, status) = (deployment.spec.replicas.unwrap_or(1), deployment.status.as_ref()?);
    let settled = is_seen(deployment.metadata.generation, status.observed_generation)
        && status.replicas.unwrap_or(0) == now
        // Pods are watched apart from it: one that is gone may not be known to be so yet.
        && pods <= usize::try_from(now).unwrap_or(0);
    let noted = deployment.metadata.annotations.as_ref().and_then(|annotations| annotations.get(YIELDS));
    let first: i32 = noted.and_then(|noted| noted.parse().ok()).unwrap_or(now);
    let taken = usize::try_from(first.saturating_sub(now)).unwrap_or(0);
    // Pods for nodes that are occupied say so themselves; others have to have taken what was given up.
    if now < 1 || !settled || (pinned.is_empty() && taken > ready) {
        return None;
    }
    Some(json!({
        "metadata": { "annotations": { YIELDS: first.to_string() } },
        "spec": { "replicas": now - 1 },
    }))
}

/// The patch by which a workload that yields is to be what is wanted of it again; `None`: it does not yield.
pub(crate) fn taken_back(live: &DynamicObject, wanted: &DynamicObject) -> Option<Value> {
    live.metadata.annotations.as_ref()?.get(YIELDS)?;
    let of = |pointer: &str| wanted.data.pointer(pointer).cloned().unwrap_or(Value::Null);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let affinity = of(&format!("/spec/template/spec/affinity/nodeAffinity/{required}"));
    let affinity = json!({ "nodeAffinity": { required: affinity } });
    let spec = match wanted.types.as_ref().map(|types| types.kind.as_str()) {
        Some("DaemonSet") => json!({
            "updateStrategy": of("/spec/updateStrategy"), "template": { "spec": { "affinity": affinity } },
        }),
        _ => json!({ "replicas": of("/spec/replicas") }),
    };
    Some(json!({ "metadata": { "annotations": { YIELDS: null } }, "spec": spec }))
}

/// The nodes that a `DaemonSet` was told to leave.
fn left(set: &DaemonSet) -> BTreeSet<String> {
    let requirements = terms(set).into_iter().flat_map(|term| term.match_fields.unwrap_or_default());
    requirements.filter(is_without).flat_map(|requirement| requirement.values.unwrap_or_default()).collect()
}

fn is_without(requirement: &NodeSelectorRequirement) -> bool {
    requirement.key == NODE_NAME && requirement.operator == "NotIn"
}

fn terms(set: &DaemonSet) -> Vec<NodeSelectorTerm> {
    let affinity = set.spec.template.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let on_nodes = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
    on_nodes.and_then(required_terms).unwrap_or_default().to_vec()
}

fn required_terms(affinity: &NodeAffinity) -> Option<&[NodeSelectorTerm]> {
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&required.node_selector_terms)
}

/// The node that a `DaemonSet` made a pod for.
fn pinned(pod: &Pod) -> Option<&str> {
    let terms = required_terms(pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?)?;
    let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let name = fields.into_iter().find(|field| field.key == NODE_NAME && field.operator == "In")?;
    name.values.as_ref()?.first().map(String::as_str)
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn host_ports(pod: &Pod) -> impl Iterator<Item = i32> {
    let containers =
        pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers.flat_map(|container| container.ports.iter().flatten()).filter_map(|port| port.host_port)
}

/// The pods that a workload makes.
fn of_workload<'a>(pods: &'a [impl AsRef<Pod>], workload: &ChildRef) -> Vec<&'a Pod> {
    let made = |pod: &&Pod| {
        controller(&pod.metadata).is_some_and(|controller| match workload.kind {
            // The name of its Deployment, and a hash.
            ChildKind::Deployment => {
                let of = controller.name.rsplit_once('-').map(|(name, _)| name);
                controller.kind == "ReplicaSet" && of == Some(&workload.name)
            }
            _ => controller.kind == "DaemonSet" && controller.name == workload.name,
        })
    };
    pods.iter().map(AsRef::as_ref).filter(made).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// How a pod is: on a node or for one, and what is said of it.
    #[derive(Clone, Copy)]
    enum Is {
        Ready(&'static str),
        Starting(&'static str),
        Ending(&'static str),
        /// Waits for a place on any node.
        Waits(&'static str),
        /// Waits for a place on this node.
        WaitsFor(&'static str, &'static str),
    }
    use Is::{Ending, Ready, Starting, Waits, WaitsFor};

    const PORTS: &str =
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.";
    const SELECTOR: &str = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";

    fn pod(kind: &str, is: Is, port: i32) -> Arc<Pod> {
        let (node, ready, ending, said) = match is {
            Ready(node) => (Some(node), "True", false, None),
            Starting(node) => (Some(node), "False", false, None),
            Ending(node) => (Some(node), "True", true, None),
            Waits(said) | WaitsFor(_, said) => (None, "False", false, Some(said)),
        };
        let pinned = if let WaitsFor(node, _) = is {
            let name = json!({"key": NODE_NAME, "operator": "In", "values": [node]});
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [name]}],
            }}})
        } else {
            json!({})
        };
        let name = if kind == "ReplicaSet" { "envoy-5d9c" } else { "envoy" };
        let scheduled = json!({
            "type": "PodScheduled", "status": if said.is_some() { "False" } else { "True" },
            "reason": said.map(|_| "Unschedulable"), "message": said,
        });
        Pod::cached(json!({
                "metadata": {
                    "name": "p", "deletionTimestamp": ending.then_some("2026-01-01T00:00:00Z"),
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true}],
                },
                "spec": {"nodeName": node, "affinity": pinned, "containers": [{"name": "e", "ports": [
                    {"containerPort": port, "hostPort": port},
                ]}]},
                "status": {"conditions": [{"type": "Ready", "status": ready}, scheduled]},
        }))
    }

    fn workload(kind: ChildKind) -> ChildRef {
        ChildRef { kind, namespace: Some("n".to_owned()), name: "envoy".to_owned() }
    }

    /// What is given up for a workload of the other kind that is to have so many pods.
    fn yielded(old: (&ChildRef, &DynamicObject), wanted: usize, pods: &[Arc<Pod>]) -> Option<Value> {
        let kind =
            if old.0.kind == ChildKind::DaemonSet { ChildKind::Deployment } else { ChildKind::DaemonSet };
        let new: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "envoy"},
            "spec": {"replicas": wanted, "selector": {}, "template": {}},
            "status": {
                "currentNumberScheduled": 0, "desiredNumberScheduled": wanted, "numberMisscheduled": 0, "numberReady": 0,
            },
        }))
        .unwrap();
        yields(old, (&workload(kind), &new), pods, &BTreeSet::new())
    }

    fn daemon_set(left: &[&str]) -> DynamicObject {
        let without: Vec<Value> = left
            .iter()
            .map(|node| json!({"key": NODE_NAME, "operator": "NotIn", "values": [node]}))
            .collect();
        let affinity = (!left.is_empty()).then(|| json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": without}]},
        }}));
        serde_json::from_value(json!({
            "metadata": {"name": "envoy", "generation": 2},
            "spec": {"selector": {}, "template": {"spec": {"containers": [], "affinity": affinity}}},
            "status": {
                "observedGeneration": 2, "currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberMisscheduled": 0,
                "numberReady": 2,
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_daemon_set_leaves_a_node_only_for_ports_and_one_at_a_time() {
        for (why, left, old, new, expected) in [
            ("its node", &[][..], &[Ready("a"), Ready("b")][..], &[Waits(PORTS), Waits(PORTS)][..], "a"),
            ("who serves nobody first", &[], &[Ready("a"), Starting("b")], &[Waits(PORTS)], "b"),
            ("the next", &["a"], &[Ready("b")], &[Ready("a"), Waits(PORTS)], "a b"),
            ("a typo", &[], &[Ready("a"), Ready("b")], &[Waits(SELECTOR)], ""),
            ("no pod yet", &[], &[Ready("a"), Ready("b")], &[], ""),
            ("it starts", &[], &[Ready("a"), Ready("b")], &[Waits(PORTS), Starting("c")], ""),
            ("not free yet", &["a"], &[Ending("a"), Ready("b")], &[Waits(PORTS), Waits(PORTS)], ""),
            ("not left yet", &["a"], &[Ready("a"), Ready("b")], &[Ready("c"), Waits(PORTS)], ""),
            ("nobody took it", &["a"], &[Ready("b")], &[Waits(PORTS), Waits(PORTS)], ""),
        ] {
            let pods: Vec<_> = old
                .iter()
                .map(|is| pod("DaemonSet", *is, 80))
                .chain(new.iter().map(|is| pod("ReplicaSet", *is, 80)))
                .collect();
            let (old, wanted) = (workload(ChildKind::DaemonSet), new.len().max(1));
            let patch = yielded((&old, &daemon_set(left)), wanted, &pods);
            let pointer = "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/\
                           nodeSelectorTerms/0/matchFields";
            let fields = patch.as_ref().and_then(|patch| patch.pointer(pointer)?.as_array().cloned());
            let nodes: Vec<String> =
                fields.unwrap_or_default().iter().map(|f| f["values"][0].as_str().unwrap().into()).collect();
            assert_eq!(nodes.join(" "), expected, "{why}: {patch:?}");
            assert_eq!(patch.is_some(), !expected.is_empty(), "{why}");
        }
    }

    #[test]
    fn other_ports_are_not_given_up() {
        let pods = [pod("DaemonSet", Ready("a"), 80), pod("ReplicaSet", Waits(PORTS), 8080)];
        let old = workload(ChildKind::DaemonSet);
        assert_eq!(yielded((&old, &daemon_set(&[])), 1, &pods), None);
    }

    #[test]
    fn terms_of_others_stay_and_each_leaves_the_node() {
        let mut set = daemon_set(&[]);
        set.data["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "x", "operator": "Exists"}]},
                {"matchExpressions": [{"key": "y", "operator": "Exists"}]},
            ]},
        }});
        let pods = [pod("DaemonSet", Ready("a"), 80), pod("ReplicaSet", Waits(PORTS), 80)];
        let old = workload(ChildKind::DaemonSet);
        let patch = yielded((&old, &set), 1, &pods).unwrap();
        let terms = patch["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
            ["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            .clone();
        for (term, key) in [(&terms[0], "x"), (&terms[1], "y")] {
            assert_eq!(term["matchExpressions"][0]["key"], key);
            assert_eq!(term["matchFields"][0]["values"], json!(["a"]));
        }

        let mut wanted = daemon_set(&[]);
        wanted.types = Some(kube::core::TypeMeta { api_version: "apps/v1".into(), kind: "DaemonSet".into() });
        wanted.data["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
        assert_eq!(taken_back(&set, &wanted), None);
        set.metadata.annotations = Some([(YIELDS.to_owned(), "true".to_owned())].into());
        let back = taken_back(&set, &wanted).unwrap();
        assert_eq!(back["spec"]["updateStrategy"]["type"], "RollingUpdate");
        let affinity = &back["spec"]["template"]["spec"]["affinity"]["nodeAffinity"];
        assert!(affinity["requiredDuringSchedulingIgnoredDuringExecution"].is_null());
    }

    fn deployment(replicas: i32, there: i32, first: Option<&str>) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": "envoy", "generation": 2, "annotations": first.map(|first| json!({YIELDS: first}))},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
            "status": {"observedGeneration": 2, "replicas": there},
        }))
        .unwrap()
    }

    #[test]
    fn a_deployment_gives_up_a_pod_only_for_ports_and_one_at_a_time() {
        for (why, live, old, new, expected) in [
            (
                "one",
                deployment(2, 2, None),
                &[Ready("a"), Ready("b")][..],
                &[WaitsFor("a", PORTS), WaitsFor("b", PORTS)][..],
                Some((1, "2")),
            ),
            (
                "a typo",
                deployment(2, 2, None),
                &[Ready("a"), Ready("b")],
                &[WaitsFor("a", SELECTOR), WaitsFor("b", SELECTOR)],
                None,
            ),
            (
                "about to start",
                deployment(1, 1, Some("2")),
                &[Ready("b")],
                &[WaitsFor("a", PORTS), WaitsFor("b", PORTS)],
                None,
            ),
            (
                "the last",
                deployment(1, 1, Some("2")),
                &[Ready("b")],
                &[Ready("a"), WaitsFor("b", PORTS)],
                Some((0, "2")),
            ),
            (
                "one is about to be made",
                deployment(1, 1, Some("2")),
                &[Ready("b")],
                &[WaitsFor("b", PORTS)],
                None,
            ),
            (
                "not known to be gone yet",
                deployment(1, 1, Some("2")),
                &[Ready("a"), Ready("b")],
                &[WaitsFor("a", PORTS), WaitsFor("b", PORTS)],
                None,
            ),
            (
                "not smaller yet",
                deployment(1, 2, Some("2")),
                &[Ready("a"), Ready("b")],
                &[WaitsFor("a", PORTS), WaitsFor("b", PORTS)],
                None,
            ),
            (
                "a node that the new one does not want",
                deployment(2, 2, Some("3")),
                &[Ready("b"), Ready("c")],
                &[WaitsFor("b", PORTS), WaitsFor("c", PORTS)],
                Some((1, "3")),
            ),
        ] {
            let pods: Vec<_> = old
                .iter()
                .map(|is| pod("ReplicaSet", *is, 80))
                .chain(new.iter().map(|is| pod("DaemonSet", *is, 80)))
                .collect();
            let wanted = if why == "one is about to be made" { 2 } else { new.len() };
            let patch = yielded((&workload(ChildKind::Deployment), &live), wanted, &pods);
            let expected = expected.map(|(replicas, first)| {
                json!({"metadata": {"annotations": {YIELDS: first}}, "spec": {"replicas": replicas}})
            });
            assert_eq!(patch, expected, "{why}");
        }
    }
}

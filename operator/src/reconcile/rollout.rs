//! How far a workload has come: judged by what the API server knows of it and of its pods. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pod::{ContainerStatus, GENERATION, Pod};

/// Why something is as it is: a reason fit for a condition, and the same in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// One word in `CamelCase`.
    pub reason: String,
    /// A sentence for a person.
    pub message: String,
}

impl Because {
    /// A reason and its sentence.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }
}

/// How far a workload has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// Every pod is of the newest template, and available.
    Complete,
    /// Not yet, and nothing speaks against it; from when on something would that is so already.
    Waiting(Because, Option<Timestamp>),
    /// Not yet, and it will not be without help.
    Failing(Because),
}

/// A workload as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// How many pods there should be.
    pub desired: i32,
    /// How many are of the newest template.
    pub updated: i32,
    /// How many are available: ready, for as long as is asked for.
    pub available: i32,
    /// How many may be missing while it still counts as available.
    pub spare: i32,
    /// How many are not available because their node is lost: nobody can help that, so they are not missed.
    pub lost: i32,
    /// How many there are, of whatever template.
    pub there: i32,
    /// Whether one of them finds no node.
    pub unplaced: bool,
    /// How far it has come.
    pub rollout: Rollout,
}

impl Workload {
    /// Whether it serves as it should: with at least one pod, and with no more missing than a rolling update may take away.
    pub fn is_available(&self) -> bool {
        self.available >= 1 && self.desired - self.lost - self.available <= self.spare
    }
}

/// What workloads are judged by, besides themselves and their pods.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The nodes that are not ready.
    pub lost: &'a BTreeSet<String>,
    /// The time.
    pub now: Timestamp,
}

/// How long a pod may wait for a node or for an image before that counts as failing: nodes are added where there are too few, registries come back.
pub const GRACE: SignedDuration = SignedDuration::from_mins(5);

/// Reasons of a waiting container that may pass by themselves.
const PATIENT: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

/// Label of a pod of a `DaemonSet`, and annotation of that: which template it is.
const TEMPLATE: (&str, &str) = (GENERATION, "deprecated.daemonset.template.generation");

/// Reasons of a waiting container that do not pass by themselves.
const STUCK: [&str; 12] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "PostStartHookError",
    "PreCreateHookError",
    "RunContainerError",
    "SignatureValidationFailed",
];

/// The reason of a pod that finds no node.
pub const UNSCHEDULABLE: &str = "FailedScheduling";

/// The reason of a container that ends again and again.
const CRASHES: &str = "CrashLoopBackOff";

/// How many restarts are no accident any more.
const RESTARTS: i32 = 2;

/// Judges a Deployment. `pods` are those of its component; those of another workload are left out.
pub fn of_deployment(deployment: &Deployment, pods: &[impl AsRef<Pod>], view: View<'_>) -> Workload {
    let (spec, status) = (&deployment.spec, deployment.status.clone().unwrap_or_default());
    let desired = spec.replicas.unwrap_or(1);
    let by_hand = spec.paused == Some(true);
    let updated = status.updated_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    let there = status.replicas.unwrap_or(0);
    let limit = spec
        .strategy
        .as_ref()
        .and_then(|s| s.rolling_update.as_ref())
        .and_then(|r| r.max_unavailable.clone());
    // A quarter, rounded down, is what Kubernetes defaults to.
    let spare = share(limit.as_ref().unwrap_or(&IntOrString::String("25%".to_owned())), desired, false);
    let pods = of_kind(pods, "ReplicaSet");
    let (lost, living) = partition(&pods, view);
    let lost = count(lost.len()).min((desired - available).max(0));
    let condition = |kind: &str, held: &str| {
        let conditions = status.conditions.as_deref().unwrap_or_default();
        conditions.iter().find(|c| c.type_.as_deref() == Some(kind) && c.status.as_deref() == Some(held))
    };
    let told = |c: &k8s_openapi::api::apps::v1::DeploymentCondition| {
        Because::new(
            c.reason.clone().or_else(|| c.type_.clone()).unwrap_or_default(),
            c.message.clone().unwrap_or_default(),
        )
    };
    let rollout = if !is_seen(deployment.metadata.generation, status.observed_generation) {
        waiting("RollingOut", "the new specification was not looked at yet")
    } else if let Some(refused) = condition("ReplicaFailure", "True") {
        // Quotas and admission: no pod tells of it.
        Rollout::Failing(told(refused))
    } else if (by_hand && available + lost >= desired
        || updated >= desired && there <= updated && available + lost >= updated)
        && serves(available, lost)
    {
        Rollout::Complete
    } else {
        match (trouble(&living, view.now), condition("Progressing", "False")) {
            (Some(Trouble::Lasting(because)), _) => Rollout::Failing(because),
            (_, Some(late)) => Rollout::Failing(told(late)),
            (passing, None) => progress(desired, updated, available, there - updated, passing),
        }
    };
    Workload { desired, updated, available, spare, lost, there, unplaced: unplaced(&living), rollout }
}

/// Judges a DaemonSet. `pods` are those of its component; those of another workload are left out.
pub fn of_daemon_set(set: &DaemonSet, pods: &[impl AsRef<Pod>], view: View<'_>) -> Workload {
    let status = set.status.clone().unwrap_or_default();
    let strategy = set.spec.update_strategy.clone().unwrap_or_default();
    let by_hand = strategy.type_.as_deref() == Some("OnDelete");
    let desired = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let available = status.number_available.unwrap_or(0);
    let limit = strategy.rolling_update.and_then(|r| r.max_unavailable).unwrap_or(IntOrString::Int(1));
    let spare = share(&limit, desired, true);
    let (lost, lost_and_new) = lost_of_daemon_set(set, pods, view);
    // Nodes that are tainted for it are not among the desired ones any more.
    let lost = (lost - status.number_misscheduled).clamp(0, (desired - available).max(0));
    let wanted = desired - lost;
    let pods = of_kind(pods, "DaemonSet");
    let (_, living) = partition(&pods, view);
    let rollout = if !is_seen(set.metadata.generation, status.observed_generation) {
        waiting("RollingOut", "the new specification was not looked at yet")
    } else if (updated - lost_and_new.min(lost) >= wanted || by_hand)
        && available >= wanted
        && serves(available, lost)
    {
        Rollout::Complete
    } else {
        match trouble(&living, view.now) {
            Some(Trouble::Lasting(because)) => Rollout::Failing(because),
            passing => progress(desired, updated, available, 0, passing),
        }
    };
    let there = status.current_number_scheduled;
    Workload { desired, updated, available, spare, lost, there, unplaced: unplaced(&living), rollout }
}

fn unplaced(pods: &[&Pod]) -> bool {
    pods.iter().any(|pod| unschedulable(pod).is_some())
}

/// What is complete although some of it is lost has to be somewhere.
fn serves(available: i32, lost: i32) -> bool {
    available > 0 || lost == 0
}

/// How many pods of a `DaemonSet` are on nodes that are lost, about to end or not, and how many of them are of the newest template, for all that
/// is known.
fn lost_of_daemon_set(set: &DaemonSet, pods: &[impl AsRef<Pod>], view: View<'_>) -> (i32, i32) {
    let (label, annotation) = TEMPLATE;
    let newest = set.metadata.annotations.as_ref().and_then(|annotations| annotations.get(annotation));
    let is_new = |pod: &Pod| {
        let its = pod.metadata.labels.as_ref().and_then(|labels| labels.get(label));
        newest.is_none() || its.is_none() || its == newest
    };
    let made = pods.iter().map(AsRef::as_ref).filter(|pod| is_of_kind(pod, "DaemonSet"));
    // One pod a node.
    let nodes: BTreeMap<&str, bool> = made
        .filter(|pod| is_lost(pod, view))
        .filter_map(|pod| Some((pod.spec.as_ref()?.node_name.as_deref()?, is_new(pod))))
        .collect();
    (count(nodes.len()), count(nodes.values().filter(|new| **new).count()))
}

/// Whether a pod does not serve because its node is lost.
fn is_lost(pod: &Pod, view: View<'_>) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    !is_ready(pod) && node.is_some_and(|node| view.lost.contains(node))
}

/// Those that are lost with their node, and the others.
fn partition<'a>(pods: &[&'a Pod], view: View<'_>) -> (Vec<&'a Pod>, Vec<&'a Pod>) {
    pods.iter().partition(|pod| is_lost(pod, view))
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Whether a pod is ready and not about to end.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether the newest specification was looked at by its controller.
pub(super) fn is_seen(generation: Option<i64>, observed: Option<i64>) -> bool {
    observed.unwrap_or(0) >= generation.unwrap_or(0)
}

fn waiting(reason: &str, message: &str) -> Rollout {
    Rollout::Waiting(Because::new(reason, message), None)
}

fn progress(desired: i32, updated: i32, available: i32, old: i32, passing: Option<Trouble>) -> Rollout {
    let mut message = format!("{updated} of {desired} pods are updated, {available} are available");
    if old > 0 {
        let _ = write!(message, ", {old} old ones are still there");
    }
    if let Some(Trouble::Passing(because, until)) = passing {
        let _ = write!(message, "; {}, which is an alarm if it lasts", because.message);
        return Rollout::Waiting(Because::new("RollingOut", message), Some(until));
    }
    waiting("RollingOut", &message)
}

/// A number, or a share of the whole; never none, as in Kubernetes, where a DaemonSet's is rounded up.
fn share(limit: &IntOrString, whole: i32, up: bool) -> i32 {
    match limit {
        IntOrString::Int(count) => *count,
        IntOrString::String(text) => {
            let percent: i32 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = whole.saturating_mul(percent);
            if up { (product + 99) / 100 } else { product / 100 }
        }
    }
}

/// The pods of a workload of this kind that are not about to end. A pod that nobody owns counts.
fn of_kind<'a>(pods: &'a [impl AsRef<Pod>], kind: &str) -> Vec<&'a Pod> {
    let ours = |pod: &&Pod| is_of_kind(pod, kind) && pod.metadata.deletion_timestamp.is_none();
    pods.iter().map(AsRef::as_ref).filter(ours).collect()
}

fn is_of_kind(pod: &Pod, kind: &str) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten().filter(|o| o.controller == Some(true));
    owners.next().is_none_or(|owner| owner.kind == kind)
}

/// What keeps a pod from becoming ready.
enum Trouble {
    /// It does not pass by itself.
    Lasting(Because),
    /// It may pass by itself until then.
    Passing(Because, Timestamp),
}

/// The first thing that keeps a pod from becoming ready, and does not pass by itself if there is such a thing.
fn trouble(pods: &[&Pod], now: Timestamp) -> Option<Trouble> {
    let mut found = None;
    for pod in pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let because = if let Some((container, because)) = stuck_container(pod) {
            let message = format!("pod {name}, container {container}: {}", because.message);
            Because::new(because.reason, message)
        } else if let Some(message) = unschedulable(pod) {
            Because::new(UNSCHEDULABLE, format!("pod {name} finds no node: {message}"))
        } else {
            continue;
        };
        let patient = because.reason == UNSCHEDULABLE || PATIENT.contains(&because.reason.as_str());
        let until = since(pod).filter(|_| patient).map(|since| since + GRACE);
        match until.filter(|until| *until > now) {
            None => return Some(Trouble::Lasting(because)),
            Some(until) => {
                found.get_or_insert(Trouble::Passing(because, until));
            }
        }
    }
    found
}

/// Since when a pod waits: for a node, or for what its node has to bring.
fn since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled");
    let changed = scheduled.and_then(|condition| condition.last_transition_time.as_ref());
    changed.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

/// Why the scheduler finds no node for a pod.
pub(super) fn unschedulable(pod: &Pod) -> Option<&str> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let found = conditions.iter().find(|c| {
        c.type_ == "PodScheduled" && c.status == "False" && c.reason.as_deref() == Some("Unschedulable")
    })?;
    Some(found.message.as_deref().unwrap_or("no reason is given"))
}

fn stuck_container(pod: &Pod) -> Option<(String, Because)> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.into_iter().find_map(|container| Some((container.name.clone(), stuck(container)?)))
}

fn stuck(container: &ContainerStatus) -> Option<Because> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
    let reason = match reason.filter(|reason| STUCK.contains(reason)) {
        Some(reason) => reason,
        None if crashes(container) => CRASHES,
        None => return None,
    };
    let mut message = format!("{reason} of image {}", container.image);
    if let Some(said) = waiting.and_then(|waiting| waiting.message.as_deref()).filter(|said| !said.is_empty())
    {
        let _ = write!(message, ": {said}");
    }
    if let Some(end) = container.last_state.as_ref().and_then(|state| state.terminated.as_ref()) {
        let _ = write!(message, "; it ended with exit status {}", end.exit_code);
        if let Some(said) = end.message.as_deref().map(str::trim).filter(|said| !said.is_empty()) {
            let _ = write!(message, ": {said}");
        }
    }
    Some(Because::new(reason, message))
}

/// Whether a container ends again and again. Between two ends it runs for a moment, and is in no better state for that.
fn crashes(container: &ContainerStatus) -> bool {
    let end = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    !container.ready && container.restart_count >= RESTARTS && end.is_some_and(|end| end.exit_code != 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    static NONE: BTreeSet<String> = BTreeSet::new();

    fn view() -> View<'static> {
        View { lost: &NONE, now: Timestamp::from_second(10_000).unwrap() }
    }

    fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn deployment(generation: i64, status: &Value) -> Deployment {
        object(json!({
            "metadata": {"name": "d", "generation": generation},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": status,
        }))
    }

    fn pod(owner: &str, status: &Value) -> Arc<Pod> {
        let owners =
            json!([{"apiVersion": "apps/v1", "kind": owner, "name": "o", "uid": "u", "controller": true}]);
        Pod::cached(json!({"metadata": {"name": "p", "ownerReferences": owners}, "status": status}))
    }

    fn waiting_container(reason: &str) -> Value {
        json!({"containerStatuses": [{
            "name": "envoy", "image": "e:1", "imageID": "", "ready": false, "restartCount": 1,
            "state": {"waiting": {"reason": reason, "message": "said"}},
            "lastState": {"terminated": {"exitCode": 3, "message": "no such file\n"}},
        }]})
    }

    fn no_room() -> Value {
        json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no free ports",
        }]})
    }

    fn word(rollout: &Rollout) -> String {
        match rollout {
            Rollout::Complete => "complete".to_owned(),
            Rollout::Waiting(because, _) => format!("waiting {}", because.message),
            Rollout::Failing(because) => format!("failing {}", because.reason),
        }
    }

    #[test]
    fn a_deployment_is_judged_by_all_its_counters() {
        let done =
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        let with = |changes: Value| {
            let mut status = done.clone();
            let fields = changes.as_object().unwrap().clone();
            status.as_object_mut().unwrap().extend(fields);
            status
        };
        let condition = |kind: &str, status: &str, reason: &str| json!({"availableReplicas": 1, "conditions": [{"type": kind, "status": status, "reason": reason, "message": ""}]});
        let not_seen = "waiting the new specification was not looked at yet";
        for (status, expected) in [
            (done.clone(), "complete"),
            (json!({}), not_seen),
            (with(json!({"observedGeneration": 1})), not_seen),
            (
                with(json!({"updatedReplicas": 1})),
                "waiting 1 of 2 pods are updated, 2 are available, 1 old ones are still there",
            ),
            (with(json!({"availableReplicas": 1})), "waiting 2 of 2 pods are updated, 1 are available"),
            (
                with(json!({"replicas": 3, "availableReplicas": 3})),
                "waiting 2 of 2 pods are updated, 3 are available, 1 old ones are still there",
            ),
            (
                with(condition("Progressing", "False", "ProgressDeadlineExceeded")),
                "failing ProgressDeadlineExceeded",
            ),
            (with(condition("ReplicaFailure", "True", "FailedCreate")), "failing FailedCreate"),
            (
                with(condition("Progressing", "True", "ReplicaSetUpdated")),
                "waiting 2 of 2 pods are updated, 1 are available",
            ),
        ] {
            let judged = of_deployment(&deployment(2, &status), &Vec::<Arc<Pod>>::new(), view());
            assert_eq!(word(&judged.rollout), expected, "{status}");
        }
    }

    #[test]
    fn a_daemon_set_is_judged_by_all_its_counters() {
        let none = Vec::<Arc<Pod>>::new();
        for (strategy, observed, desired, updated, available, expected) in [
            ("RollingUpdate", 2, 3, 3, 3, "complete"),
            ("RollingUpdate", 2, 0, 0, 0, "complete"),
            ("RollingUpdate", 1, 3, 3, 3, "waiting the new specification was not looked at yet"),
            ("RollingUpdate", 2, 3, 2, 3, "waiting 2 of 3 pods are updated, 3 are available"),
            ("RollingUpdate", 2, 3, 3, 2, "waiting 3 of 3 pods are updated, 2 are available"),
            ("OnDelete", 2, 3, 0, 3, "complete"),
        ] {
            let set: DaemonSet = object(json!({
                "metadata": {"generation": 2},
                "spec": {"selector": {}, "template": {}, "updateStrategy": {"type": strategy}},
                "status": {
                    "observedGeneration": observed, "desiredNumberScheduled": desired, "updatedNumberScheduled": updated,
                    "numberAvailable": available, "currentNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
                },
            }));
            assert_eq!(
                word(&of_daemon_set(&set, &none, view()).rollout),
                expected,
                "{strategy} {observed} {updated}"
            );
        }
    }

    #[test]
    fn a_failing_rollout_has_the_reason_of_its_pod() {
        let status =
            json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1});
        let judged = |pods: &[Arc<Pod>]| of_deployment(&deployment(1, &status), pods, view()).rollout;
        for reason in STUCK {
            assert_eq!(
                judged(&[pod("ReplicaSet", &waiting_container(reason))]),
                Rollout::Failing(Because::new(
                    reason,
                    format!(
                        "pod p, container envoy: {reason} of image e:1: said; it ended with exit status 3: no such file"
                    )
                ))
            );
        }
        for reason in ["ContainerCreating", "PodInitializing"] {
            assert!(matches!(judged(&[pod("ReplicaSet", &waiting_container(reason))]), Rollout::Waiting(..)));
        }
        assert_eq!(
            judged(&[pod("ReplicaSet", &no_room())]),
            Rollout::Failing(Because::new("FailedScheduling", "pod p finds no node: no free ports"))
        );
        // Not our pods, and those that are about to end.
        assert!(matches!(judged(&[pod("DaemonSet", &no_room())]), Rollout::Waiting(..)));
        let mut ending = Pod::clone(&pod("ReplicaSet", &no_room()));
        ending.metadata.deletion_timestamp = Some(object(json!("2026-01-01T00:00:00Z")));
        assert!(matches!(judged(&[ending.into()]), Rollout::Waiting(..)));
    }

    #[test]
    fn a_crashing_container_is_failing_also_while_it_runs() {
        let status =
            json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1});
        let container = |ready: bool, restarts: i32, exit: i32| {
            json!({"containerStatuses": [{
                "name": "envoy", "image": "e:1", "imageID": "", "ready": ready, "restartCount": restarts,
                "state": {"running": {}}, "lastState": {"terminated": {"exitCode": exit}},
            }]})
        };
        for (status_of_pod, failing) in [
            (container(false, 2, 1), true),
            (container(false, 1, 1), false),
            (container(false, 2, 0), false),
            (container(true, 9, 1), false),
        ] {
            let judged = of_deployment(&deployment(1, &status), &[pod("ReplicaSet", &status_of_pod)], view());
            let found = matches!(&judged.rollout, Rollout::Failing(because) if because.reason == CRASHES);
            assert_eq!(found, failing, "{status_of_pod}");
        }
    }

    #[test]
    fn a_pod_in_trouble_is_no_matter_once_all_are_available() {
        let status =
            json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        let judged = of_deployment(
            &deployment(1, &status),
            &[pod("ReplicaSet", &waiting_container("CrashLoopBackOff"))],
            view(),
        );
        assert_eq!(judged.rollout, Rollout::Complete);
    }

    #[test]
    fn available_means_most_and_never_none() {
        for (desired, available, spare, expected) in
            [(100, 1, 10, false), (100, 90, 10, true), (1, 0, 1, false), (1, 1, 0, true), (0, 0, 1, false)]
        {
            let (updated, rollout) = (desired, Rollout::Complete);
            let workload = Workload {
                desired,
                updated,
                available,
                spare,
                lost: 0,
                there: desired,
                unplaced: false,
                rollout,
            };
            assert_eq!(workload.is_available(), expected, "{workload:?}");
        }
        assert_eq!(share(&IntOrString::String("10%".to_owned()), 15, true), 2);
        assert_eq!(share(&IntOrString::String("25%".to_owned()), 2, false), 0);
        assert_eq!(share(&IntOrString::Int(3), 100, true), 3);
        assert_eq!(share(&IntOrString::String("many".to_owned()), 100, true), 0);
    }

    /// A pod on a node, of a template, that is ready or not, or about to end.
    fn placed(owner: &str, node: &str, template: &str, ready: bool, ending: bool) -> Arc<Pod> {
        let status =
            json!({"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]});
        let mut pod = Pod::clone(&pod(owner, &status));
        pod.spec = Some(object(json!({"nodeName": node})));
        pod.metadata.labels = Some([(TEMPLATE.0.to_owned(), template.to_owned())].into());
        pod.metadata.deletion_timestamp = ending.then(|| object(json!("2026-01-01T00:00:00Z")));
        pod.into()
    }

    #[test]
    fn pods_of_a_daemon_set_on_lost_nodes_are_not_missed() {
        let lost: BTreeSet<String> = ["x".to_owned(), "y".to_owned()].into();
        let view = View { lost: &lost, ..view() };
        let old = |node, ready, ending| placed("DaemonSet", node, "1", ready, ending);
        let new = |node, ready| placed("DaemonSet", node, "2", ready, false);
        // desired, updated, available, misscheduled
        for (why, pods, counts, complete, available) in [
            ("one is lost", vec![new("a", true), new("x", false)], [2, 2, 1, 0], true, true),
            ("and tainted", vec![new("a", true), new("x", false)], [1, 1, 1, 1], true, true),
            (
                "it is lost, and another is not ready",
                vec![new("a", false), new("x", false)],
                [1, 1, 0, 1],
                false,
                false,
            ),
            ("old, and cannot end", vec![new("a", true), old("x", false, true)], [2, 1, 1, 0], true, true),
            (
                "a living one is old",
                vec![old("a", true, false), new("b", true), new("x", false)],
                [3, 2, 2, 0],
                false,
                true,
            ),
            (
                "a living one is not ready",
                vec![new("a", true), new("b", false), new("x", false)],
                [3, 3, 1, 0],
                false,
                true,
            ),
            ("not said yet", vec![new("a", true), new("x", true)], [2, 2, 2, 0], true, true),
            ("all are lost", vec![new("x", false), new("y", false)], [2, 2, 0, 0], false, false),
        ] {
            let [desired, updated, available_, misscheduled] = counts;
            let set: DaemonSet = object(json!({
                "metadata": {"generation": 2, "annotations": {TEMPLATE.1: "2"}},
                "spec": {"selector": {}, "template": {}},
                "status": {
                    "observedGeneration": 2, "desiredNumberScheduled": desired, "updatedNumberScheduled": updated,
                    "numberAvailable": available_, "currentNumberScheduled": desired,
                    "numberMisscheduled": misscheduled, "numberReady": available_,
                },
            }));
            let judged = of_daemon_set(&set, &pods, view);
            assert_eq!(judged.rollout == Rollout::Complete, complete, "{why}: {judged:?}");
            assert_eq!(judged.is_available(), available, "{why}: {judged:?}");
        }
    }

    #[test]
    fn pods_of_a_deployment_on_lost_nodes_are_not_missed() {
        let lost: BTreeSet<String> = ["x".to_owned()].into();
        let view = View { lost: &lost, ..view() };
        let on = |node, ready| placed("ReplicaSet", node, "", ready, false);
        for (why, pods, available_, complete, available) in [
            ("one is lost", vec![on("a", true), on("x", false)], 1, true, true),
            ("one is not ready", vec![on("a", true), on("b", false)], 1, false, false),
            ("all are lost", vec![on("x", false), on("x", false)], 0, false, false),
        ] {
            let status = json!({
                "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": available_,
            });
            let judged = of_deployment(&deployment(1, &status), &pods, view);
            assert_eq!(judged.rollout == Rollout::Complete, complete, "{why}: {judged:?}");
            assert_eq!(judged.is_available(), available, "{why}: {judged:?}");
        }
    }

    #[test]
    fn what_may_pass_by_itself_is_given_time() {
        let status =
            json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1});
        let now = view().now;
        let since = |seconds: i64| {
            let second = now.as_second() - seconds;
            json!(Timestamp::from_second(second).unwrap().to_string())
        };
        let waits = |reason: &str| waiting_container(reason)["containerStatuses"].clone();
        for (of_pod, age, expected) in [
            (json!({"containerStatuses": waits("ImagePullBackOff")}), 299, "waiting"),
            (json!({"containerStatuses": waits("ErrImagePull")}), 299, "waiting"),
            (json!({"containerStatuses": waits("ImagePullBackOff")}), 300, "failing ImagePullBackOff"),
            (json!({"containerStatuses": waits("CrashLoopBackOff")}), 1, "failing CrashLoopBackOff"),
            (json!({"containerStatuses": waits("InvalidImageName")}), 1, "failing InvalidImageName"),
            (no_room(), 299, "waiting"),
            (no_room(), 300, "failing FailedScheduling"),
        ] {
            let mut pod = Pod::clone(&pod("ReplicaSet", &of_pod));
            pod.metadata.creation_timestamp = Some(object(since(age)));
            let judged = of_deployment(&deployment(1, &status), &[pod.into()] as &[Arc<Pod>], view());
            assert!(word(&judged.rollout).starts_with(expected), "{of_pod} {age}: {:?}", judged.rollout);
            if let Rollout::Waiting(because, until) = judged.rollout {
                assert!(because.message.contains("pod p"), "{}", because.message);
                assert_eq!(until, Some(now + SignedDuration::from_secs(1)));
            }
        }
        // It waits for an image since it has a node.
        let mut pod = Pod::clone(&pod(
            "ReplicaSet",
            &json!({
                "containerStatuses": waits("ErrImagePull"),
                "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": since(10)}],
            }),
        ));
        pod.metadata.creation_timestamp = Some(object(since(1_000)));
        let judged = of_deployment(&deployment(1, &status), &[pod.into()] as &[Arc<Pod>], view());
        assert!(matches!(judged.rollout, Rollout::Waiting(..)), "{:?}", judged.rollout);
    }
}

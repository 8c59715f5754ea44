//! How far a workload has come: judged by what the API server knows of it and of its pods. Pure.

use std::fmt::Write as _;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

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
    /// Not yet, and nothing speaks against it.
    Waiting(Because),
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
    /// How far it has come.
    pub rollout: Rollout,
}

impl Workload {
    /// Whether it serves as it should: with at least one pod, and with no more missing than a rolling update may take away.
    pub fn is_available(&self) -> bool {
        self.available >= 1 && self.desired - self.available <= self.spare
    }
}

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

/// The reason of a container that ends again and again.
const CRASHES: &str = "CrashLoopBackOff";

/// How many restarts are no accident any more.
const RESTARTS: i32 = 2;

/// Judges a Deployment. `pods` are those of its component; those of another workload are left out.
pub fn of_deployment(deployment: &Deployment, pods: &[impl AsRef<Pod>]) -> Workload {
    let (spec, status) = (&deployment.spec, deployment.status.clone().unwrap_or_default());
    let desired = spec.replicas.unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    let total = status.replicas.unwrap_or(0);
    let limit = spec
        .strategy
        .as_ref()
        .and_then(|s| s.rolling_update.as_ref())
        .and_then(|r| r.max_unavailable.clone());
    // A quarter, rounded down, is what Kubernetes defaults to.
    let spare = share(limit.as_ref().unwrap_or(&IntOrString::String("25%".to_owned())), desired, false);
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
    let seen = is_seen(deployment.metadata.generation, status.observed_generation);
    let trouble = || trouble(&of_kind(pods, "ReplicaSet"));
    let rollout = if !seen {
        waiting("RollingOut", "the new specification was not looked at yet")
    } else if let Some(refused) = condition("ReplicaFailure", "True") {
        // Quotas and admission: no pod tells of it.
        Rollout::Failing(told(refused))
    } else if updated >= desired && total <= updated && available >= updated {
        Rollout::Complete
    } else if let Some(trouble) = trouble() {
        Rollout::Failing(trouble)
    } else if let Some(late) = condition("Progressing", "False") {
        Rollout::Failing(told(late))
    } else {
        progress(desired, updated, available, total - updated)
    };
    Workload { desired, updated, available, spare, rollout }
}

/// Judges a DaemonSet. `pods` are those of its component; those of another workload are left out.
pub fn of_daemon_set(set: &DaemonSet, pods: &[impl AsRef<Pod>]) -> Workload {
    let status = set.status.clone().unwrap_or_default();
    let strategy = set.spec.update_strategy.clone().unwrap_or_default();
    let by_hand = strategy.type_.as_deref() == Some("OnDelete");
    let desired = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let available = status.number_available.unwrap_or(0);
    let limit = strategy.rolling_update.and_then(|r| r.max_unavailable).unwrap_or(IntOrString::Int(1));
    let spare = share(&limit, desired, true);
    let rollout = if !is_seen(set.metadata.generation, status.observed_generation) {
        waiting("RollingOut", "the new specification was not looked at yet")
    } else if (updated >= desired || by_hand) && available >= desired {
        Rollout::Complete
    } else if let Some(trouble) = trouble(&of_kind(pods, "DaemonSet")) {
        Rollout::Failing(trouble)
    } else {
        progress(desired, updated, available, 0)
    };
    Workload { desired, updated, available, spare, rollout }
}

/// Whether a workload's pods that are not ready all wait for a place on a node, which is so where another workload has the ports that
/// they ask the node for.
pub fn is_blocked(pods: &[impl AsRef<Pod>], owner_kind: &str) -> bool {
    let pods = of_kind(pods, owner_kind);
    let mut unready = pods.iter().filter(|pod| !is_ready(pod)).peekable();
    unready.peek().is_some() && unready.all(|pod| unschedulable(pod).is_some())
}

/// Whether a pod is ready and not about to end.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn is_seen(generation: Option<i64>, observed: Option<i64>) -> bool {
    observed.unwrap_or(0) >= generation.unwrap_or(0)
}

fn waiting(reason: &str, message: &str) -> Rollout {
    Rollout::Waiting(Because::new(reason, message))
}

fn progress(desired: i32, updated: i32, available: i32, old: i32) -> Rollout {
    let mut message = format!("{updated} of {desired} pods are updated, {available} are available");
    if old > 0 {
        let _ = write!(message, ", {old} old ones are still there");
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
    let ours = |pod: &&Pod| {
        let mut owners =
            pod.metadata.owner_references.iter().flatten().filter(|o| o.controller == Some(true));
        owners.next().is_none_or(|owner| owner.kind == kind) && pod.metadata.deletion_timestamp.is_none()
    };
    pods.iter().map(AsRef::as_ref).filter(ours).collect()
}

/// The first thing that keeps a pod from becoming ready and does not pass by itself.
fn trouble(pods: &[&Pod]) -> Option<Because> {
    pods.iter().find_map(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let stuck = stuck_container(pod).map(|(container, because)| {
            Because::new(because.reason, format!("pod {name}, container {container}: {}", because.message))
        });
        stuck.or_else(|| {
            let message = unschedulable(pod)?;
            Some(Because::new("FailedScheduling", format!("pod {name} finds no node: {message}")))
        })
    })
}

fn unschedulable(pod: &Pod) -> Option<&str> {
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
        object::<Pod>(json!({"metadata": {"name": "p", "ownerReferences": owners}, "status": status})).into()
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
            Rollout::Waiting(because) => format!("waiting {}", because.message),
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
            let judged = of_deployment(&deployment(2, &status), &Vec::<Arc<Pod>>::new());
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
                word(&of_daemon_set(&set, &none).rollout),
                expected,
                "{strategy} {observed} {updated}"
            );
        }
    }

    #[test]
    fn a_failing_rollout_has_the_reason_of_its_pod() {
        let status =
            json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1});
        let judged = |pods: &[Arc<Pod>]| of_deployment(&deployment(1, &status), pods).rollout;
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
            assert!(matches!(judged(&[pod("ReplicaSet", &waiting_container(reason))]), Rollout::Waiting(_)));
        }
        assert_eq!(
            judged(&[pod("ReplicaSet", &no_room())]),
            Rollout::Failing(Because::new("FailedScheduling", "pod p finds no node: no free ports"))
        );
        // Not our pods, and those that are about to end.
        assert!(matches!(judged(&[pod("DaemonSet", &no_room())]), Rollout::Waiting(_)));
        let mut ending = Pod::clone(&pod("ReplicaSet", &no_room()));
        ending.metadata.deletion_timestamp = Some(object(json!("2026-01-01T00:00:00Z")));
        assert!(matches!(judged(&[ending.into()]), Rollout::Waiting(_)));
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
            let judged = of_deployment(&deployment(1, &status), &[pod("ReplicaSet", &status_of_pod)]);
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
        );
        assert_eq!(judged.rollout, Rollout::Complete);
    }

    #[test]
    fn available_means_most_and_never_none() {
        for (desired, available, spare, expected) in
            [(100, 1, 10, false), (100, 90, 10, true), (1, 0, 1, false), (1, 1, 0, true), (0, 0, 1, false)]
        {
            let workload =
                Workload { desired, updated: desired, available, spare, rollout: Rollout::Complete };
            assert_eq!(workload.is_available(), expected, "{workload:?}");
        }
        assert_eq!(share(&IntOrString::String("10%".to_owned()), 15, true), 2);
        assert_eq!(share(&IntOrString::String("25%".to_owned()), 2, false), 0);
        assert_eq!(share(&IntOrString::Int(3), 100, true), 3);
        assert_eq!(share(&IntOrString::String("many".to_owned()), 100, true), 0);
    }

    #[test]
    fn pods_that_only_lack_room_are_blocked() {
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        for (pods, expected) in [
            (vec![], false),
            (vec![pod("ReplicaSet", &no_room())], true),
            (vec![pod("ReplicaSet", &no_room()), pod("ReplicaSet", &ready)], true),
            (vec![pod("ReplicaSet", &ready)], false),
            (
                vec![pod("ReplicaSet", &no_room()), pod("ReplicaSet", &waiting_container("ErrImagePull"))],
                false,
            ),
            (vec![pod("DaemonSet", &no_room())], false),
        ] {
            assert_eq!(is_blocked(&pods, "ReplicaSet"), expected, "{pods:?}");
        }
    }
}

//! When a `DaemonSet` that is not complete comes to no end, which Kubernetes tells of Deployments only; and why its pods cannot be made. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;

use super::rollout::{Because, Rollout, Workload};
use crate::child::ChildRef;
use crate::pod::Pod;

/// The reason of a workload that comes to no end, as Kubernetes calls it.
pub(super) const LATE: &str = "ProgressDeadlineExceeded";

/// How long nothing may come of it: that of a Deployment.
const DEADLINE: SignedDuration = SignedDuration::from_mins(10);

/// When something last came of each `DaemonSet` of one `ContourDeployment`. Lost, all are given the time anew, but what is told already.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    sets: BTreeMap<ChildRef, (Counts, Timestamp)>,
}

/// What a `DaemonSet` has come to.
type Counts = [i32; 3];

impl Deadlines {
    /// Notes how far a `DaemonSet` is; by when something has to come of it, unless it is complete. `told`: that it is late was told.
    pub(super) fn pass(
        &mut self,
        set: &ChildRef,
        workload: &Workload,
        now: Timestamp,
        told: bool,
    ) -> Option<Timestamp> {
        if workload.rollout == Rollout::Complete {
            self.sets.remove(set);
            return None;
        }
        let counts = [workload.desired, workload.updated, workload.available];
        let first = if told { now - DEADLINE } else { now };
        let (last, since) = self.sets.entry(set.clone()).or_insert((counts, first));
        if *last != counts {
            (*last, *since) = (counts, now);
        }
        Some(*since + DEADLINE)
    }
}

/// That something comes to no end.
pub(super) fn late(waiting: &Because) -> Because {
    let minutes = DEADLINE.as_mins();
    Because::new(LATE, format!("{}, and nothing has come of it for {minutes} minutes", waiting.message))
}

/// Why pods cannot be made, by the newest of these Events, unless pods were made since.
pub(super) fn failed_create(events: &[Event], pods: &[impl AsRef<Pod>]) -> Option<Because> {
    let told = |event: &Event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
        let times = [
            event.last_timestamp.as_ref().map(|time| time.0),
            series.map(|time| time.0),
            event.event_time.as_ref().map(|time| time.0),
            event.metadata.creation_timestamp.as_ref().map(|time| time.0),
        ];
        times.into_iter().flatten().max().unwrap_or_default()
    };
    let newest = events.iter().max_by_key(|event| told(event))?;
    let made = pods.iter().filter_map(|pod| pod.as_ref().metadata.creation_timestamp.as_ref());
    let made = made.map(|time| time.0).max().unwrap_or_default();
    // Pods know the second only.
    if told(newest).as_second() < made.as_second() {
        return None;
    }
    let said = newest.message.as_deref().unwrap_or("no reason is given");
    Some(Because::new(
        "FailedCreate",
        format!("its pods cannot be made: {said}; allow them in this namespace, or ask for less"),
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::child::ChildKind;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_daemon_set_has_ten_minutes_from_when_something_last_came_of_it() {
        let set = ChildRef { kind: ChildKind::DaemonSet, namespace: None, name: "envoy".to_owned() };
        let is = |updated, rollout: bool| {
            let waiting = Rollout::Waiting(Because::new("RollingOut", "m"), None);
            let rollout = if rollout { Rollout::Complete } else { waiting };
            Workload {
                desired: 3,
                updated,
                available: 2,
                spare: 1,
                lost: 0,
                there: 3,
                unplaced: false,
                rollout,
            }
        };
        let mut deadlines = Deadlines::default();
        let mut pass = |workload, second, told| {
            deadlines.pass(&set, &workload, at(second), told).map(Timestamp::as_second)
        };
        for (workload, second, told, expected) in [
            (is(1, false), 1_000, false, Some(1_600)),
            (is(1, false), 1_500, false, Some(1_600)),
            (is(2, false), 1_599, false, Some(2_199)),
            (is(2, false), 9_000, true, Some(2_199)),
            (is(3, true), 9_001, true, None),
            (is(1, false), 9_002, false, Some(9_602)),
        ] {
            assert_eq!(pass(workload, second, told), expected, "{second}");
        }
        // Whoever takes over goes on telling it.
        let late = Deadlines::default().pass(&set, &is(1, false), at(9_000), true);
        assert_eq!(late, Some(at(9_000)));
    }

    #[test]
    fn the_newest_event_counts_unless_pods_were_made_since() {
        let event = |second: i64, message: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {}, "involvedObject": {}, "lastTimestamp": at(second).to_string(), "message": message,
            }))
            .unwrap()
        };
        let pod = |second: i64| -> Arc<Pod> {
            let created = at(second).to_string();
            Pod::cached(json!({"metadata": {"creationTimestamp": created}}))
        };
        let both = [event(20, "quota"), event(10, "webhook")];
        for (events, pods, expected) in [
            (&both[..], vec![], Some("quota")),
            (&both[..], vec![pod(5), pod(20)], Some("quota")),
            (&both[..], vec![pod(5), pod(21)], None),
            (&[][..], vec![], None),
        ] {
            let found = failed_create(events, &pods).map(|because| because.message);
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            assert!(expected.is_none_or(|said| found.unwrap().contains(said)));
        }
    }
}

//! Per HTTPProxy: the status the API server holds, and the one it should hold. Pure; [`crate::StatusWriter`] does the IO.
//!
//! There is one entry per object that exists, and in it at most one wanted status: a newer one takes the place of an older one that was not
//! written yet. So there is no queue that could grow, and whoever becomes leader knows everything there is to write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contour_crds::HTTPProxyStatus;
use contour_graph::status::ProxyStatus;
use contour_objects::NamespacedName;
use tokio::sync::Notify;

/// What the API server holds about the status of an HTTPProxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// `metadata.resourceVersion` at which it was read.
    pub(crate) resource_version: String,
    /// `metadata.generation`.
    pub(crate) generation: i64,
    /// `status`; empty if there was none.
    pub(crate) status: HTTPProxyStatus,
}

/// Where the writing of one status stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// Nothing to do.
    #[default]
    Idle,
    /// In the queue.
    Queued,
    /// A write is under way.
    Writing,
    /// A write is under way, and a newer status came meanwhile.
    Outdated,
    /// A write failed and is tried again later.
    Waiting,
}

/// An object that exists, as the watch saw it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Its name.
    pub(crate) name: NamespacedName,
    /// What the API server holds.
    pub(crate) recorded: Recorded,
    /// For an object that cannot be read: the status that says so. Nobody but the watch knows of it.
    pub(crate) unreadable: Option<ProxyStatus>,
}

#[derive(Debug, Default)]
struct Entry {
    recorded: Arc<Recorded>,
    wanted: Option<Arc<ProxyStatus>>,
    unreadable: bool,
    step: Step,
    failures: u32,
}

/// A status to write, and over what.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) wanted: Arc<ProxyStatus>,
    pub(crate) recorded: Arc<Recorded>,
}

/// How a write ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The API server holds the wanted status; `Some`: by this write.
    Settled(Option<Recorded>),
    /// The object does not exist any more.
    Gone,
    /// It did not work this time.
    Failed,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<NamespacedName, Entry>,
    queue: VecDeque<NamespacedName>,
    leading: bool,
}

/// The statuses of all HTTPProxies, shared by the watch (what is recorded), the engine (what is wanted) and the writer.
#[derive(Debug, Default)]
pub struct ProxyStatuses {
    state: Mutex<State>,
    offered: Notify,
}

impl ProxyStatuses {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the statuses should be, after the configuration they describe was published. Never waits. Only the latest of each object
    /// counts; those of objects that do not exist (any more) are dropped.
    pub fn offer(&self, statuses: impl IntoIterator<Item = ProxyStatus>) {
        let mut state = self.state();
        for status in statuses {
            let name = status.object.clone();
            // Who offers a status for an object that cannot be read looked at an earlier state of it.
            let Some(entry) = state.objects.get_mut(&name).filter(|e| !e.unreadable) else { continue };
            entry.wanted = Some(Arc::new(status));
            state.wants(name);
        }
        drop(state);
        self.offered.notify_one();
    }

    /// Says that the statuses of these objects are no longer ours to write: they are gone, or of another class.
    pub fn withdraw<'a>(&self, names: impl IntoIterator<Item = &'a NamespacedName>) {
        let mut state = self.state();
        for name in names {
            if let Some(entry) = state.objects.get_mut(name).filter(|e| !e.unreadable) {
                entry.wanted = None;
            }
        }
    }

    /// The object exists like this now.
    pub(crate) fn record(&self, seen: Seen) {
        self.state().record(seen);
        self.offered.notify_one();
    }

    /// The object does not exist any more.
    pub(crate) fn forget(&self, name: &NamespacedName) {
        self.state().objects.remove(name);
    }

    /// These and no other objects exist, in this namespace or anywhere.
    pub(crate) fn replace(&self, namespace: Option<&str>, listed: Vec<Seen>) {
        let names: BTreeSet<&NamespacedName> = listed.iter().map(|seen| &seen.name).collect();
        let mut state = self.state();
        let covered = |name: &NamespacedName| namespace.is_none_or(|only| *name.namespace == *only);
        state.objects.retain(|name, _| names.contains(name) || !covered(name));
        for seen in listed {
            state.record(seen);
        }
        drop(state);
        self.offered.notify_one();
    }

    /// Whether statuses are ours to write. From now on, if so: all that are wanted are compared again.
    pub(crate) fn lead(&self, leading: bool) {
        let mut state = self.state();
        state.leading = leading;
        if leading {
            let wanted: Vec<_> =
                state.objects.iter().filter(|(_, e)| e.wanted.is_some()).map(|(n, _)| n.clone()).collect();
            for name in wanted {
                state.wants(name);
            }
        } else {
            state.queue.clear();
            let settled =
                state.objects.values_mut().filter(|e| matches!(e.step, Step::Queued | Step::Waiting));
            settled.for_each(|entry| entry.step = Step::Idle);
        }
    }

    /// The next status to write; it counts as being written until [`Self::finish`].
    pub(crate) fn take(&self) -> Option<Job> {
        let mut state = self.state();
        while let Some(name) = state.queue.pop_front() {
            // Deleted, or deleted and made again, since it was queued.
            let Some(entry) = state.objects.get_mut(&name).filter(|e| e.step == Step::Queued) else {
                continue;
            };
            let Some(wanted) = entry.wanted.clone() else {
                entry.step = Step::Idle;
                continue;
            };
            entry.step = Step::Writing;
            return Some(Job { wanted, recorded: Arc::clone(&entry.recorded) });
        }
        None
    }

    /// A write ended. `Some`: call [`Self::retry`] after this time.
    pub(crate) fn finish(&self, name: &NamespacedName, outcome: Outcome) -> Option<Duration> {
        let mut state = self.state();
        let leading = state.leading;
        let entry = state.objects.get_mut(name)?;
        let outdated = entry.step == Step::Outdated;
        entry.step = Step::Idle;
        match outcome {
            Outcome::Gone => {
                state.objects.remove(name);
                return None;
            }
            Outcome::Failed if leading => {
                entry.step = Step::Waiting;
                entry.failures = entry.failures.saturating_add(1);
                return Some(retry_after(entry.failures));
            }
            Outcome::Failed => {}
            Outcome::Settled(written) => {
                entry.failures = 0;
                if let Some(written) = written {
                    entry.recorded = Arc::new(written);
                }
            }
        }
        if outdated {
            state.wants(name.clone());
        }
        None
    }

    /// The time after a failure has passed.
    pub(crate) fn retry(&self, name: &NamespacedName) {
        let mut state = self.state();
        if let Some(entry) = state.objects.get_mut(name).filter(|e| e.step == Step::Waiting) {
            entry.step = Step::Queued;
            state.queue.push_back(name.clone());
        }
    }

    /// Returns when something was offered since the last time.
    pub(crate) async fn offered(&self) {
        self.offered.notified().await;
    }

    /// How many statuses wait to be written.
    pub fn pending(&self) -> usize {
        self.state().queue.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn record(&mut self, Seen { name, recorded, unreadable }: Seen) {
        let entry = self.objects.entry(name.clone()).or_default();
        entry.recorded = Arc::new(recorded);
        let corrected = entry.unreadable && unreadable.is_none();
        entry.unreadable = unreadable.is_some();
        if corrected {
            entry.wanted = None;
        }
        if let Some(status) = unreadable {
            entry.wanted = Some(Arc::new(status));
            self.wants(name);
        }
    }

    /// Notes that the wanted status of this object is to be compared and written.
    fn wants(&mut self, name: NamespacedName) {
        let Some(entry) = self.objects.get_mut(&name) else { return };
        match entry.step {
            Step::Idle if self.leading => {
                entry.step = Step::Queued;
                self.queue.push_back(name);
            }
            Step::Writing => entry.step = Step::Outdated,
            Step::Idle | Step::Queued | Step::Outdated | Step::Waiting => {}
        }
    }
}

/// Half a second, then twice as long each time, up to half a minute.
fn retry_after(failures: u32) -> Duration {
    Duration::from_millis(500 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> NamespacedName {
        NamespacedName::new("web", name)
    }

    fn wanted(object: &str, generation: i64) -> ProxyStatus {
        ProxyStatus { object: name(object), generation, errors: Vec::new(), warnings: Vec::new() }
    }

    fn recorded(version: &str) -> Recorded {
        Recorded { resource_version: version.to_owned(), ..Recorded::default() }
    }

    fn seen(object: &str, version: &str) -> Seen {
        Seen { name: name(object), recorded: recorded(version), unreadable: None }
    }

    /// Leading, with these objects recorded.
    fn leading(objects: &[&str]) -> ProxyStatuses {
        let statuses = ProxyStatuses::new();
        statuses.lead(true);
        statuses.replace(None, objects.iter().map(|object| seen(object, "1")).collect());
        statuses
    }

    #[test]
    fn the_latest_of_each_object_wins() {
        let statuses = leading(&["a", "b"]);
        statuses.offer([wanted("a", 1), wanted("b", 1), wanted("a", 2)]);
        assert_eq!(statuses.pending(), 2);
        let jobs = [statuses.take().unwrap(), statuses.take().unwrap()];
        assert_eq!((jobs[0].wanted.object.clone(), jobs[0].wanted.generation), (name("a"), 2));
        assert_eq!(jobs[1].wanted.object, name("b"));
        assert!(statuses.take().is_none());
    }

    #[test]
    fn one_write_per_object_at_a_time() {
        let statuses = leading(&["a"]);
        statuses.offer([wanted("a", 1)]);
        let first = statuses.take().unwrap();
        statuses.offer([wanted("a", 2)]);
        statuses.offer([wanted("a", 3)]);
        assert!(statuses.take().is_none());
        assert_eq!(statuses.finish(&first.wanted.object, Outcome::Settled(Some(recorded("2")))), None);
        let second = statuses.take().unwrap();
        assert_eq!((second.wanted.generation, second.recorded.resource_version.as_str()), (3, "2"));
        statuses.finish(&name("a"), Outcome::Settled(None));
        assert!(statuses.take().is_none());
    }

    #[test]
    fn what_does_not_exist_is_dropped() {
        let statuses = leading(&["a", "b", "c"]);
        statuses.offer([wanted("a", 1), wanted("b", 1), wanted("c", 1), wanted("unknown", 1)]);
        statuses.forget(&name("a"));
        statuses.replace(Some("web"), vec![seen("c", "5")]);
        let job = statuses.take().unwrap();
        assert_eq!((job.wanted.object.clone(), job.recorded.resource_version.as_str()), (name("c"), "5"));
        assert!(statuses.take().is_none());
        statuses.finish(&name("c"), Outcome::Gone);
        statuses.offer([wanted("c", 2)]);
        assert!(statuses.take().is_none());
    }

    #[test]
    fn a_list_of_one_namespace_leaves_the_others_alone() {
        let statuses = leading(&["a"]);
        statuses.replace(Some("other"), Vec::new());
        statuses.offer([wanted("a", 1)]);
        assert!(statuses.take().is_some());
    }

    #[test]
    fn who_becomes_leader_compares_everything() {
        let statuses = leading(&["a", "b"]);
        statuses.lead(false);
        statuses.offer([wanted("a", 1), wanted("b", 1)]);
        assert_eq!(statuses.pending(), 0);
        statuses.lead(true);
        assert_eq!(statuses.pending(), 2);
        statuses.lead(false);
        assert!(statuses.take().is_none());
        statuses.lead(true);
        assert!(statuses.take().is_some());
    }

    #[test]
    fn failures_wait_longer_each_time_and_a_newer_status_waits_with_them() {
        let statuses = leading(&["a"]);
        statuses.offer([wanted("a", 1)]);
        let mut last = Duration::ZERO;
        for round in 0..10 {
            statuses.take().unwrap();
            let wait = statuses.finish(&name("a"), Outcome::Failed).unwrap();
            assert!(wait >= last && wait <= Duration::from_secs(30));
            last = wait;
            statuses.offer([wanted("a", 2 + round)]);
            assert!(statuses.take().is_none());
            statuses.retry(&name("a"));
        }
        assert_eq!(last, Duration::from_secs(30));
        assert_eq!(statuses.take().unwrap().wanted.generation, 11);
    }

    #[test]
    fn what_is_withdrawn_is_not_written_by_the_next_leader_either() {
        let statuses = leading(&["a", "b"]);
        statuses.offer([wanted("a", 1), wanted("b", 1)]);
        statuses.withdraw(&[name("a"), name("unknown")]);
        assert_eq!(statuses.take().unwrap().wanted.object, name("b"));
        assert!(statuses.take().is_none());
        statuses.lead(true);
        assert!(statuses.take().is_none());
        statuses.offer([wanted("a", 2)]);
        assert_eq!(statuses.take().unwrap().wanted.object, name("a"));
    }

    #[test]
    fn only_the_watch_speaks_for_what_cannot_be_read() {
        let statuses = leading(&["a"]);
        let unreadable = || Seen { unreadable: Some(wanted("a", 7)), ..seen("a", "2") };
        statuses.record(unreadable());
        statuses.offer([wanted("a", 6)]);
        statuses.withdraw(&[name("a")]);
        assert_eq!(statuses.take().unwrap().wanted.generation, 7);
        statuses.finish(&name("a"), Outcome::Settled(None));

        statuses.record(unreadable());
        statuses.record(seen("a", "3"));
        assert!(statuses.take().is_none());
        statuses.offer([wanted("a", 8)]);
        assert_eq!(statuses.take().unwrap().wanted.generation, 8);
    }

    #[test]
    fn who_lost_the_lease_does_not_retry() {
        let statuses = leading(&["a"]);
        statuses.offer([wanted("a", 1)]);
        statuses.take().unwrap();
        statuses.lead(false);
        assert_eq!(statuses.finish(&name("a"), Outcome::Failed), None);
        assert!(statuses.take().is_none());
    }
}

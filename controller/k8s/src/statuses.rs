//! Per HTTPProxy and Ingress: the status the API server holds, and the one it should hold. Pure; [`crate::StatusWriter`] does the IO.
//!
//! There is one entry per object that exists, and in it at most one wanted status: a newer one takes the place of an older one that was not
//! written yet. So there is no queue that could grow, and whoever becomes leader knows everything there is to write. What the engine says of
//! an HTTPProxy and the addresses that all objects name go out in one write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contour_crds::status::LoadBalancerIngress;
use contour_graph::status::ProxyStatus;
use contour_objects::{Kind, NamespacedName, ObjectRef, Turns};
use tokio::sync::Notify;

use crate::merge::{Addresses, Status};

/// What the API server holds about the status of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recorded {
    /// `metadata.resourceVersion` at which it was read.
    pub(crate) resource_version: String,
    /// `metadata.generation`.
    pub(crate) generation: i64,
    /// `status`; empty if there was none.
    pub(crate) status: Status,
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

/// Who says what the status of an object should be.
#[derive(Clone, Debug)]
pub(crate) enum Claim {
    /// The engine, by [`Statuses::offer`] and [`Statuses::withdraw`]: HTTPProxies.
    Engine,
    /// Nobody but the watch: an HTTPProxy that cannot be read, and this status says so.
    Unreadable(ProxyStatus),
    /// An Ingress of our class: its status holds addresses and nothing else.
    Ours,
    /// An Ingress of another class, or one that cannot be read.
    Theirs,
}

/// An object that exists, as the watch saw it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Its kind and name.
    pub(crate) name: ObjectRef,
    /// What the API server holds.
    pub(crate) recorded: Recorded,
    /// Who decides about its status.
    pub(crate) claim: Claim,
}

/// What a status should say.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// Conditions, and the addresses.
    Proxy(Arc<ProxyStatus>),
    /// Conditions that the watch wants. Whose class the object has is not known, so no addresses.
    Unreadable(Arc<ProxyStatus>),
    /// The addresses only.
    Ingress,
}

#[derive(Debug)]
struct Entry {
    recorded: Arc<Recorded>,
    wanted: Option<Wanted>,
    step: Step,
    failures: u32,
}

/// A status to write, and over what.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) name: ObjectRef,
    pub(crate) wanted: Wanted,
    pub(crate) addresses: Addresses,
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

/// Objects whose status waits to be written, each kind counted. Namespaces take turns: whoever changes ten thousand objects delays another's
/// one status by one write.
#[derive(Debug, Default)]
struct Queue {
    names: Turns<ObjectRef>,
    counts: BTreeMap<Kind, usize>,
}

impl Queue {
    fn push(&mut self, name: ObjectRef) {
        *self.counts.entry(name.kind).or_default() += 1;
        let namespace = Arc::clone(&name.name.namespace);
        self.names.push(&namespace, name);
    }

    fn pop(&mut self) -> Option<ObjectRef> {
        let name = self.names.pop()?;
        *self.counts.get_mut(&name.kind).expect("what is in the queue was counted") -= 1;
        Some(name)
    }
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<ObjectRef, Entry>,
    queue: Queue,
    addresses: Addresses,
    leading: bool,
}

/// The statuses of all HTTPProxies and Ingresses, shared by the watches (what is recorded), the engine and the source of addresses (what is
/// wanted) and the writer.
#[derive(Debug, Default)]
pub struct Statuses {
    state: Mutex<State>,
    offered: Notify,
}

impl Statuses {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the statuses of HTTPProxies should be, after the configuration they describe was published. Never waits. Only the latest of
    /// each object counts; those of objects that do not exist (any more) are dropped.
    pub fn offer(&self, statuses: impl IntoIterator<Item = ProxyStatus>) {
        let mut state = self.state();
        for status in statuses {
            let name = ObjectRef::new(Kind::HttpProxy, status.object.clone());
            // Who offers a status for an object that cannot be read looked at an earlier state of it.
            let Some(entry) = state.objects.get_mut(&name).filter(|e| !e.unreadable()) else { continue };
            entry.wanted = Some(Wanted::Proxy(Arc::new(status)));
            state.wants(name);
        }
        drop(state);
        self.offered.notify_one();
    }

    /// Says that the statuses of these HTTPProxies are no longer ours to write: they are gone, or of another class.
    pub fn withdraw<'a>(&self, names: impl IntoIterator<Item = &'a NamespacedName>) {
        let mut state = self.state();
        for name in names {
            let name = ObjectRef::new(Kind::HttpProxy, name.clone());
            if let Some(entry) = state.objects.get_mut(&name).filter(|e| !e.unreadable()) {
                entry.wanted = None;
            }
        }
    }

    /// Says where Envoys are reached: `status.loadBalancer.ingress` of every HTTPProxy and Ingress of ours, in this order.
    ///
    /// None any more: whoever still names what was told last loses it. As long as none were ever told, statuses keep what they have.
    pub fn point_to(&self, addresses: &[LoadBalancerIngress]) {
        let mut state = self.state();
        if state.addresses.become_these(addresses) {
            tracing::info!(addresses = %state.addresses, "addresses for statuses");
            state.wants_all();
        }
        drop(state);
        self.offered.notify_one();
    }

    /// The object exists like this now.
    pub(crate) fn record(&self, seen: Seen) {
        self.state().record(seen);
        self.offered.notify_one();
    }

    /// The object does not exist any more.
    pub(crate) fn forget(&self, name: &ObjectRef) {
        self.state().objects.remove(name);
    }

    /// These and no other objects of the kind exist, in this namespace or anywhere.
    pub(crate) fn replace(&self, kind: Kind, namespace: Option<&str>, listed: Vec<Seen>) {
        let names: BTreeSet<&ObjectRef> = listed.iter().map(|seen| &seen.name).collect();
        let mut state = self.state();
        let covered = |object: &ObjectRef| {
            object.kind == kind && namespace.is_none_or(|only| *object.name.namespace == *only)
        };
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
            state.wants_all();
        } else {
            state.queue = Queue::default();
            let settled =
                state.objects.values_mut().filter(|e| matches!(e.step, Step::Queued | Step::Waiting));
            settled.for_each(|entry| entry.step = Step::Idle);
        }
    }

    /// The next status to write; it counts as being written until [`Self::finish`].
    pub(crate) fn take(&self) -> Option<Job> {
        let mut state = self.state();
        while let Some(name) = state.queue.pop() {
            let addresses = state.addresses.clone();
            // Deleted, or deleted and made again, since it was queued.
            let Some(entry) = state.objects.get_mut(&name).filter(|e| e.step == Step::Queued) else {
                continue;
            };
            let Some(wanted) = entry.wanted.clone() else {
                entry.step = Step::Idle;
                continue;
            };
            entry.step = Step::Writing;
            return Some(Job { name, wanted, addresses, recorded: Arc::clone(&entry.recorded) });
        }
        None
    }

    /// A write ended. `Some`: call [`Self::retry`] after this time.
    pub(crate) fn finish(&self, name: &ObjectRef, outcome: Outcome) -> Option<Duration> {
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
    pub(crate) fn retry(&self, name: &ObjectRef) {
        let mut state = self.state();
        if let Some(entry) = state.objects.get_mut(name).filter(|e| e.step == Step::Waiting) {
            entry.step = Step::Queued;
            state.queue.push(name.clone());
        }
    }

    /// Returns when something was offered since the last time.
    pub(crate) async fn offered(&self) {
        self.offered.notified().await;
    }

    /// How many statuses of this kind wait to be written.
    pub fn pending(&self, kind: Kind) -> usize {
        self.state().queue.counts.get(&kind).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn unreadable(&self) -> bool {
        matches!(self.wanted, Some(Wanted::Unreadable(_)))
    }
}

impl State {
    fn record(&mut self, Seen { name, recorded, claim }: Seen) {
        let recorded = Arc::new(recorded);
        let mut edited = true;
        let entry = match self.objects.get_mut(&name) {
            Some(entry) => {
                edited = entry.recorded.generation != recorded.generation;
                entry.recorded = recorded;
                entry
            }
            None => self.objects.entry(name.clone()).or_insert(Entry {
                recorded,
                wanted: None,
                step: Step::Idle,
                failures: 0,
            }),
        };
        match claim {
            Claim::Engine if entry.unreadable() => entry.wanted = None,
            Claim::Engine => {}
            Claim::Unreadable(status) => {
                entry.wanted = Some(Wanted::Unreadable(Arc::new(status)));
                self.wants(name);
            }
            // Not with every change of the status: if another controller also writes it, that would never end.
            Claim::Ours if entry.wanted.is_some() && !edited => {}
            Claim::Ours => {
                entry.wanted = Some(Wanted::Ingress);
                self.wants(name);
            }
            Claim::Theirs => entry.wanted = None,
        }
    }

    fn wants_all(&mut self) {
        let wanted = self.objects.iter().filter(|(_, entry)| entry.wanted.is_some());
        let names: Vec<_> = wanted.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.wants(name);
        }
    }

    /// Notes that the wanted status of this object is to be compared and written.
    fn wants(&mut self, name: ObjectRef) {
        let Some(entry) = self.objects.get_mut(&name) else { return };
        if matches!(entry.wanted, Some(Wanted::Ingress)) && self.addresses == Addresses::Unknown {
            return;
        }
        match entry.step {
            Step::Idle if self.leading => {
                entry.step = Step::Queued;
                self.queue.push(name);
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

    fn name(name: &str) -> ObjectRef {
        ObjectRef::new(Kind::HttpProxy, NamespacedName::new("web", name))
    }

    fn ingress(name: &str) -> ObjectRef {
        ObjectRef::new(Kind::Ingress, NamespacedName::new("web", name))
    }

    fn wanted(object: &str, generation: i64) -> ProxyStatus {
        ProxyStatus {
            object: name(object).name,
            generation,
            errors: Vec::new(),
            warnings: Vec::new(),
            holds: None,
        }
    }

    fn recorded(version: &str) -> Recorded {
        let status = Status::Proxy(contour_crds::HTTPProxyStatus::default());
        Recorded { resource_version: version.to_owned(), generation: 1, status }
    }

    fn seen(object: &str, version: &str) -> Seen {
        Seen { name: name(object), recorded: recorded(version), claim: Claim::Engine }
    }

    /// What a job would have the conditions be made from.
    fn of(job: &Job) -> &ProxyStatus {
        match &job.wanted {
            Wanted::Proxy(status) | Wanted::Unreadable(status) => status,
            Wanted::Ingress => panic!("{} is no HTTPProxy", job.name),
        }
    }

    /// Leading, with these objects recorded.
    fn leading(objects: &[&str]) -> Statuses {
        let statuses = Statuses::new();
        statuses.lead(true);
        statuses.replace(Kind::HttpProxy, None, objects.iter().map(|object| seen(object, "1")).collect());
        statuses
    }

    #[test]
    fn the_latest_of_each_object_wins() {
        let statuses = leading(&["a", "b"]);
        statuses.offer([wanted("a", 1), wanted("b", 1), wanted("a", 2)]);
        assert_eq!(statuses.pending(Kind::HttpProxy), 2);
        let jobs = [statuses.take().unwrap(), statuses.take().unwrap()];
        assert_eq!((jobs[0].name.clone(), of(&jobs[0]).generation), (name("a"), 2));
        assert_eq!(jobs[1].name, name("b"));
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
        assert_eq!(statuses.finish(&first.name, Outcome::Settled(Some(recorded("2")))), None);
        let second = statuses.take().unwrap();
        assert_eq!((of(&second).generation, second.recorded.resource_version.as_str()), (3, "2"));
        statuses.finish(&name("a"), Outcome::Settled(None));
        assert!(statuses.take().is_none());
    }

    #[test]
    fn what_does_not_exist_is_dropped() {
        let statuses = leading(&["a", "b", "c"]);
        statuses.offer([wanted("a", 1), wanted("b", 1), wanted("c", 1), wanted("unknown", 1)]);
        statuses.forget(&name("a"));
        statuses.replace(Kind::HttpProxy, Some("web"), vec![seen("c", "5")]);
        let job = statuses.take().unwrap();
        assert_eq!((job.name.clone(), job.recorded.resource_version.as_str()), (name("c"), "5"));
        assert!(statuses.take().is_none());
        statuses.finish(&name("c"), Outcome::Gone);
        statuses.offer([wanted("c", 2)]);
        assert!(statuses.take().is_none());
    }

    #[test]
    fn a_list_of_one_namespace_leaves_the_others_alone() {
        let statuses = leading(&["a"]);
        statuses.replace(Kind::HttpProxy, Some("other"), Vec::new());
        statuses.offer([wanted("a", 1)]);
        assert!(statuses.take().is_some());
    }

    #[test]
    fn who_becomes_leader_compares_everything() {
        let statuses = leading(&["a", "b"]);
        statuses.lead(false);
        statuses.offer([wanted("a", 1), wanted("b", 1)]);
        assert_eq!(statuses.pending(Kind::HttpProxy), 0);
        statuses.lead(true);
        assert_eq!(statuses.pending(Kind::HttpProxy), 2);
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
        assert_eq!(of(&statuses.take().unwrap()).generation, 11);
    }

    #[test]
    fn what_is_withdrawn_is_not_written_by_the_next_leader_either() {
        let statuses = leading(&["a", "b"]);
        statuses.offer([wanted("a", 1), wanted("b", 1)]);
        statuses.withdraw(&[name("a").name, name("unknown").name]);
        assert_eq!(statuses.take().unwrap().name, name("b"));
        assert!(statuses.take().is_none());
        statuses.lead(true);
        assert!(statuses.take().is_none());
        statuses.offer([wanted("a", 2)]);
        assert_eq!(statuses.take().unwrap().name, name("a"));
    }

    #[test]
    fn only_the_watch_speaks_for_what_cannot_be_read() {
        let statuses = leading(&["a"]);
        let unreadable = || Seen { claim: Claim::Unreadable(wanted("a", 7)), ..seen("a", "2") };
        statuses.record(unreadable());
        statuses.offer([wanted("a", 6)]);
        statuses.withdraw(&[name("a").name]);
        assert_eq!(of(&statuses.take().unwrap()).generation, 7);
        statuses.finish(&name("a"), Outcome::Settled(None));

        statuses.record(unreadable());
        statuses.record(seen("a", "3"));
        assert!(statuses.take().is_none());
        statuses.offer([wanted("a", 8)]);
        assert_eq!(of(&statuses.take().unwrap()).generation, 8);
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

    #[test]
    fn ten_thousand_statuses_of_one_namespace_delay_another_by_one_write() {
        let statuses = Statuses::new();
        statuses.lead(true);
        let mine = |n: usize| ObjectRef::new(Kind::HttpProxy, NamespacedName::new("noisy", format!("p{n}")));
        let noisy = (0..10_000).map(|n| Seen { name: mine(n), ..seen("x", "1") });
        statuses.replace(Kind::HttpProxy, None, noisy.chain([seen("a", "1"), seen("b", "1")]).collect());
        let edit = |generation| {
            statuses
                .offer((0..10_000).map(|n| ProxyStatus { object: mine(n).name, ..wanted("x", generation) }));
        };
        edit(1);
        statuses.offer([wanted("a", 1), wanted("b", 1)]);
        let taken = |count: usize| -> Vec<String> {
            (0..count).map(|_| statuses.take().unwrap().name.name.to_string()).collect()
        };
        assert_eq!(taken(4), ["noisy/p0", "web/a", "noisy/p1", "web/b"]);
        // Edited again and again, they keep their places: the queue does not grow.
        (2..5).for_each(edit);
        assert_eq!(statuses.pending(Kind::HttpProxy), 9_998);
        statuses.finish(&name("a"), Outcome::Settled(None));
        statuses.offer([wanted("a", 2)]);
        assert!(taken(2).contains(&"web/a".to_owned()));
    }

    fn at(ip: &str) -> Vec<LoadBalancerIngress> {
        crate::parse_addresses(ip).unwrap()
    }

    /// An Ingress of ours, at this generation.
    fn ours(object: &str, generation: i64) -> Seen {
        let recorded =
            Recorded { generation, status: Status::read(Kind::Ingress, None).unwrap(), ..recorded("1") };
        Seen { name: ingress(object), recorded, claim: Claim::Ours }
    }

    #[test]
    fn new_addresses_concern_all_that_are_ours() {
        let statuses = leading(&["a", "b", "other"]);
        statuses.replace(
            Kind::Ingress,
            None,
            vec![ours("i", 1), Seen { claim: Claim::Theirs, ..ours("theirs", 1) }],
        );
        statuses.offer([wanted("a", 1), wanted("b", 1)]);
        assert_eq!(
            (statuses.pending(Kind::HttpProxy), statuses.pending(Kind::Ingress)),
            (2, 0),
            "none are known"
        );
        for job in [statuses.take().unwrap(), statuses.take().unwrap()] {
            assert_eq!(statuses.finish(&job.name, Outcome::Settled(None)), None);
        }
        statuses.point_to(&[]);
        assert!(statuses.take().is_none(), "none were ever told");
        statuses.point_to(&at("192.0.2.1"));
        let names = [name("a"), name("b"), ingress("i")];
        for name in &names {
            let job = statuses.take().unwrap();
            assert_eq!((&job.name, &job.addresses), (name, &Addresses::Are(at("192.0.2.1").into())));
        }
        // While they are being written.
        statuses.point_to(&at("192.0.2.2"));
        assert!(statuses.take().is_none());
        for name in &names {
            statuses.finish(name, Outcome::Settled(None));
            let job = statuses.take().unwrap();
            assert_eq!((&job.name, &job.addresses), (name, &Addresses::Are(at("192.0.2.2").into())));
            statuses.finish(name, Outcome::Settled(None));
        }
        statuses.point_to(&at("192.0.2.2"));
        assert!(statuses.take().is_none(), "nothing changed");
        statuses.point_to(&[]);
        assert_eq!(statuses.take().unwrap().addresses, Addresses::Were(at("192.0.2.2").into()));
    }

    #[test]
    fn an_ingress_is_compared_when_it_is_ours_anew_or_was_edited() {
        let statuses = leading(&[]);
        statuses.point_to(&at("192.0.2.1"));
        let written = |seen: Seen| {
            statuses.record(seen);
            let job = statuses.take();
            job.inspect(|job| assert_eq!(statuses.finish(&job.name, Outcome::Settled(None)), None)).is_some()
        };
        assert!(written(ours("i", 1)));
        assert!(!written(ours("i", 1)), "its status changed");
        assert!(written(ours("i", 2)), "it was edited");
        assert!(!written(Seen { claim: Claim::Theirs, ..ours("i", 3) }));
        statuses.point_to(&at("192.0.2.2"));
        assert!(statuses.take().is_none());
        assert!(written(ours("i", 3)));
        // Names are told apart by kind.
        statuses.replace(Kind::HttpProxy, None, Vec::new());
        statuses.point_to(&at("192.0.2.3"));
        assert_eq!(statuses.take().unwrap().name, ingress("i"));
    }
}

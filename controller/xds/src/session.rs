//! One stream as a pure state machine: requests, cache changes and time in; responses and facts out.
//!
//! Order. Secrets, Clusters, Endpoints and Runtime follow the cache at once, each with at most one response in flight;
//! what changes meanwhile is coalesced. Listeners and Routes follow a *view*: a state of the cache that is pinned until
//! they have been delivered and accepted. When the view moves on, the Clusters then on their way become a barrier, and
//! Listeners and Routes wait until each of them is warm (see [`Warming`]). Later Clusters do not delay them, so a steady
//! flow of changes cannot starve routes. What disappears from the cache is removed from the peer once Listeners and
//! Routes of a view without it were accepted.
//!
//! Nobody waits long for another. After [`PATIENCE`], and at once if the peer has an answer overdue, everything goes on but the parts
//! that use a Cluster that is still not warm; these stay as the peer has them, and go too after [`HOLD`]. An Envoy does not answer to
//! Clusters while any is warming: after the same time its answer is no longer waited for (it is *overdue*), and more is sent.
//! Where it is known beforehand that a Cluster may take long to warm, nobody waits at all: see [`waiting`].

mod asked;
mod first_load;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contour_resource::{Part, Resource, ResourceType};

use first_load::FirstLoad;

use crate::batch::Batch;
use crate::cache::Snapshot;
use crate::isolation::{Offender, Suspect};
use crate::lane::{Context, Draft, InFlight, Lane};
use crate::message::{Asked, Mode, Output, Request, Response};
use crate::patience::Patience;
use crate::probation::Held;
use crate::recall::{Memory, Recall};
use crate::sharded::Shard;
use crate::table::fingerprint;
use crate::warming::Warming;

use ResourceType::{Cluster, Endpoints, Listener, Route, Runtime, Secret};

/// How long Listeners and Routes wait for Clusters that a peer does not warm, and Clusters for the answer to earlier ones.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How long the parts that use such a Cluster wait.
pub(crate) const HOLD: Duration = Duration::from_secs(5);
/// How long removals wait on a new stream for a peer to say that it wants Listeners and Routes.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// The state of one stream.
pub(crate) struct Session {
    mode: Mode,
    /// Set on a stream of a per-type service.
    only: Option<ResourceType>,
    recall: Recall,
    opened: Instant,
    grace_is_over: bool,
    lanes: [Lane; ResourceType::ALL.len()],
    latest: Snapshot,
    view: Snapshot,
    /// The view refers to a Cluster that was taken back before it was warm.
    view_is_stale: bool,
    warming: Warming,
    first_load: Option<FirstLoad>,
    patience: Patience,
    /// Since when Listeners and Routes wait for Clusters, in time spent.
    held_since: Option<Duration>,
    /// When the Clusters in flight were sent, in time spent.
    clusters_sent: Duration,
    /// Clusters that parts wait for alone: until this much time is spent, or until they are accepted.
    late: BTreeMap<Arc<str>, Option<Duration>>,
    /// What is leaving may have become free to go.
    release_is_due: bool,
    nonces: u64,
    outputs: Vec<Output>,
}

impl Session {
    pub(crate) fn new(
        mode: Mode,
        only: Option<ResourceType>,
        recall: Recall,
        snapshot: Snapshot,
        now: Instant,
    ) -> Self {
        Self {
            mode,
            only,
            recall,
            opened: now,
            grace_is_over: false,
            lanes: std::array::from_fn(|_| Lane::default()),
            view: snapshot.clone(),
            latest: snapshot,
            view_is_stale: false,
            warming: Warming::default(),
            first_load: None,
            patience: Patience::new(now),
            held_since: None,
            clusters_sent: Duration::ZERO,
            late: BTreeMap::new(),
            release_is_due: true,
            nonces: 0,
            outputs: Vec::new(),
        }
    }

    /// Has fewer refusals of one origin taken than usual.
    #[cfg(test)]
    pub(crate) fn take_few(&mut self, most: u32, freed: u32) {
        let few = || crate::probation::Probation::after(most, freed);
        self.lanes.iter_mut().for_each(|lane| lane.probation = few());
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn lane(&self, kind: ResourceType) -> &Lane {
        &self.lanes[kind as usize]
    }

    fn lane_mut(&mut self, kind: ResourceType) -> &mut Lane {
        &mut self.lanes[kind as usize]
    }

    /// The state that a type is served from.
    pub(crate) fn source(&self, kind: ResourceType) -> &Snapshot {
        if matches!(kind, Listener | Route) { &self.view } else { &self.latest }
    }

    /// Takes in a request. What follows from it comes from [`poll`](Self::poll).
    pub(crate) fn request(&mut self, request: Request) {
        let Request { kind, nonce, error, asked } = request;
        let first = !self.lane(kind).subscription.started();
        let legacy = self.legacy_wildcard(kind);
        let wants_more = match asked {
            Asked::Delta { subscribe, unsubscribe, initial } => {
                self.answer(kind, &nonce, error);
                let table = self.source(kind).table(kind).clone();
                let subscription = &mut self.lane_mut(kind).subscription;
                let change = subscription.delta(subscribe, &unsubscribe, legacy, table.names());
                self.lane_mut(kind).greet |= first && change.all && initial.is_empty();
                if first {
                    self.learn_all(kind, initial, &table);
                }
                self.subscribed(kind, &change, first)
            }
            Asked::Sotw { names, version } => {
                // The nonce of an older response answers nothing; the names are what is wanted all the same.
                self.answer(kind, &nonce, error);
                let table = self.source(kind).table(kind).clone();
                let change = self.lane_mut(kind).subscription.sotw(names, legacy, table.names());
                if first && is_full_state(kind) && version == self.full_version(kind) {
                    self.lanes[kind as usize].adopt(&table);
                    return;
                }
                self.lane_mut(kind).greet |= first && change.all;
                self.subscribed(kind, &change, first)
            }
        };
        self.release_is_due = true;
        if wants_more && matches!(kind, Listener | Route) {
            self.arm();
        }
    }

    /// Keeps what the peer has of a resource of which it refused something.
    fn remember(&self, kind: ResourceType, name: &Arc<str>) {
        let lane = self.lane(kind);
        if lane.rejections.contains(name)
            && let Some(resource) = lane.known.sent(name)
        {
            let memory = Memory { resource: Arc::clone(resource), refused: lane.rejections.of(name) };
            self.recall.keep(kind, memory);
        }
    }

    /// An empty first request means everything for Clusters and Listeners, and on a per-type stream for every type.
    fn legacy_wildcard(&self, kind: ResourceType) -> bool {
        matches!(kind, Cluster | Listener) || self.only.is_some()
    }

    /// The version a SotW peer would have if it had everything it asks for.
    ///
    /// Only full-state types can be trusted to have it all when they have the version: of other types Envoy forgets
    /// what it no longer asks for, keeps the version, and may since have asked for it again.
    fn full_version(&self, kind: ResourceType) -> String {
        let table = self.source(kind).table(kind);
        let subscription = &self.lane(kind).subscription;
        let hash = if subscription.wildcard() {
            table.fingerprint()
        } else {
            let wanted = subscription.names().iter().filter_map(|name| table.get(name));
            wanted.fold(0, |sum, r| fingerprint(r).wrapping_add(sum))
        };
        version_text(hash)
    }

    /// Takes in a new state of the cache.
    pub(crate) fn update(&mut self, snapshot: Snapshot) {
        let earlier = std::mem::replace(&mut self.latest, snapshot);
        for kind in [Secret, Cluster, Endpoints, Runtime] {
            self.mark_changes(kind, &earlier);
        }
    }

    fn mark_changes(&mut self, kind: ResourceType, earlier: &Snapshot) {
        if !self.lane(kind).subscription.started() {
            return;
        }
        let now = self.source(kind);
        let committed = now.committed();
        let changed = now.table(kind).changed_since(earlier.table(kind));
        for name in changed {
            if self.lane(kind).subscription.contains(&name) {
                self.lane_mut(kind).committed.get_or_insert(committed);
                self.mark(kind, &name);
            }
        }
    }

    /// A name has to be looked at: now, or when nothing refers to it any more.
    fn mark(&mut self, kind: ResourceType, name: &Arc<str>) {
        let present = self.source(kind).get(kind, name).is_some();
        let lane = &mut self.lanes[kind as usize];
        if present {
            lane.leaving.remove(name);
            lane.dirty.insert(Arc::clone(name));
            return;
        }
        lane.dirty.remove(name);
        if lane.has(name) {
            self.release_is_due = true;
            let last = matches!(kind, Listener | Runtime);
            if last {
                lane.dirty.insert(Arc::clone(name));
            } else {
                lane.leaving.insert(Arc::clone(name));
            }
        } else if lane.subscription.names().contains(name) || lane.holds_back(name) {
            lane.dirty.insert(Arc::clone(name));
        }
        if kind == Cluster {
            let was_waited_for = self.warming().taken_back(name)
                || (self.late.contains_key(name) && self.view.get(Cluster, name).is_some());
            self.view_is_stale |= was_waited_for;
        }
    }

    /// Matches the peer's answer to the response it answers.
    fn answer(&mut self, kind: ResourceType, nonce: &str, error: Option<String>) {
        let mode = self.mode;
        let lane = self.lane_mut(kind);
        let (in_flight, overdue) = match lane.in_flight.take_if(|f| f.nonce == nonce) {
            Some(in_flight) => (*in_flight, false),
            None => match lane.take_overdue(nonce, error.is_some()) {
                Some(in_flight) => (in_flight, true),
                None => return,
            },
        };
        let InFlight { draft, version, committed, dropped, .. } = in_flight;
        if let Some(message) = error {
            lane.refuse(&draft, kind, mode, message.clone());
            draft.set.iter().filter(|r| r.varies()).for_each(|r| self.recall.note_variants(kind, r));
            for name in draft.names() {
                match kind {
                    Cluster => self.warming().cluster_refused(name),
                    Endpoints => self.warming().endpoints_refused(name),
                    _ => {}
                }
            }
            self.outputs.push(Output::Nacked { kind, message });
            return;
        }
        if overdue && !draft.trial {
            draft.set.iter().for_each(|resource| lane.rejections.confirm(resource.name()));
        } else {
            lane.accept(&draft);
            // A Cluster may have come between.
            let again = dropped.into_iter().filter(|name| lane.subscription.contains(name));
            let again: Vec<Arc<str>> = again.filter(|_| kind == Endpoints).collect();
            lane.forced.extend(again);
        }
        lane.last_acked = version;
        if !lane.rejections.is_empty() {
            draft.set.iter().for_each(|resource| self.remember(kind, resource.name()));
        }
        self.warmed(kind, nonce, &draft);
        if !draft.trial {
            self.compare(kind, &draft);
        }
        self.outputs.push(Output::Acked { kind, committed });
        self.tell_recovered(kind);
    }

    /// Clusters or endpoints that a peer has accepted.
    fn warmed(&mut self, kind: ResourceType, nonce: &str, draft: &Draft) {
        if kind == Cluster && self.first_load_acked(nonce) {
            return;
        }
        if !self.warming.is_idle() {
            for name in draft.names() {
                match kind {
                    Cluster => self.warming.cluster_acked(name),
                    Endpoints => self.warming.endpoints_acked(name),
                    _ => {}
                }
            }
        }
        if kind == Endpoints {
            self.first_load_settles();
        }
    }

    /// Shares with the cache what a peer has accepted, and looks at what disappeared while it was on the wire.
    fn compare(&mut self, kind: ResourceType, draft: &Draft) {
        let table = self.source(kind).table(kind).clone();
        let singles = draft.set.singles().iter().map(|resource| resource.name());
        self.lane_mut(kind).known.share(&table, singles.chain(&draft.removed));
        let is_current = |shard: &Arc<Shard<Arc<Resource>>>| {
            table.resources().shard(shard.index()).is_some_and(|current| Arc::ptr_eq(current, shard))
        };
        let shards = draft.set.shards().iter().filter(|shard| !is_current(shard));
        let resources = shards.flat_map(|shard| shard.iter()).chain(draft.set.singles());
        for resource in resources {
            if self.lane(kind).has(resource.name()) && table.get(resource.name()).is_none() {
                self.mark(kind, resource.name());
            }
        }
    }

    /// Tells what was refused once and is not any more, as soon as that is certain.
    fn tell_recovered(&mut self, kind: ResourceType) {
        let lane = self.lane_mut(kind);
        if lane.in_flight.is_none() && lane.isolation.is_none() {
            let recovered = lane.take_recovered();
            self.recover(kind, recovered);
        }
    }

    fn recover(&mut self, kind: ResourceType, recovered: Vec<(Arc<str>, Arc<str>)>) {
        let outputs =
            recovered.into_iter().map(|(resource, part)| Output::Recovered { kind, resource, part });
        self.outputs.extend(outputs);
    }

    /// Everything to be sent and told at this moment.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<Output> {
        self.patience.look(now);
        self.lose_patience();
        let grace_was_over = std::mem::replace(&mut self.grace_is_over, now >= self.opened + GRACE);
        self.release_is_due |= grace_was_over != self.grace_is_over;
        self.lanes.iter_mut().for_each(|lane| lane.let_in(now));
        loop {
            self.release();
            let mut progress = self.promote();
            for kind in ResourceType::ALL {
                if kind == Listener {
                    self.thaw();
                }
                progress |= self.advance(kind, now);
            }
            if !self.holding() {
                self.held_since = None;
            }
            if !progress {
                return std::mem::take(&mut self.outputs);
            }
        }
    }

    /// From now on the connection has taken everything that was sent, or has not.
    pub(crate) fn delivered(&mut self, delivered: bool, now: Instant) {
        self.patience.delivered(delivered, now);
    }

    /// When [`poll`](Self::poll) has to be called even if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let leaving = self.lanes.iter().any(|lane| !lane.leaving.is_empty());
        let grace = (leaving && !self.introduced() && !self.grace_is_over).then(|| self.opened + GRACE);
        let hold = self.held_since.map(|since| since + PATIENCE);
        let clusters = self.lane(Cluster).in_flight.is_some().then(|| self.clusters_sent + PATIENCE);
        let late = self.late.values().flatten().min().copied();
        let spent = hold.into_iter().chain(clusters).chain(late).min();
        let pauses = self.lanes.iter().filter_map(|lane| lane.probation.next_end());
        grace.into_iter().chain(pauses).chain(spent.and_then(|spent| self.patience.next_look(spent))).min()
    }

    /// Whether the peer has said what it wants of the types that refer to others.
    fn introduced(&self) -> bool {
        self.only.is_some() || [Listener, Route].iter().all(|t| self.lane(*t).subscription.started())
    }

    /// Removes what no accepted Listener or Route refers to any more.
    fn release(&mut self) {
        if !self.release_is_due || self.lanes.iter().all(|lane| lane.leaving.is_empty()) {
            return;
        }
        if !self.introduced() && !self.grace_is_over {
            return;
        }
        if ![Listener, Route].iter().all(|t| self.lane(*t).idle()) {
            return;
        }
        self.release_is_due = false;
        let kept = self.kept_in_use();
        for kind in [Secret, Cluster, Endpoints, Route] {
            let view = self.view.table(kind);
            let lane = &mut self.lanes[kind as usize];
            let is_free =
                |name: &Arc<str>| view.get(name).is_none() && !kept.contains(&(kind, Arc::clone(name)));
            let free: Vec<Arc<str>> = lane.leaving.extract_if(.., |name| is_free(name)).collect();
            lane.dirty.extend(free);
        }
    }

    /// What must stay although it is gone from the cache: the peer lives on with something that refers to it.
    pub(crate) fn kept_in_use(&self) -> BTreeSet<(ResourceType, Arc<str>)> {
        let used = |kind: ResourceType| self.lane(kind).kept_in_use(self.view.table(kind));
        let mut kept: BTreeSet<(ResourceType, Arc<str>)> = used(Listener).into_iter().cloned().collect();
        kept.extend(used(Route).into_iter().cloned());
        let clusters = kept.iter().filter(|(kind, _)| *kind == Cluster);
        let needed = clusters.filter_map(|(_, name)| self.lane(Cluster).needs(name));
        let needed: Vec<Arc<str>> = needed.collect();
        kept.extend(needed.into_iter().map(|name| (Endpoints, name)));
        kept
    }

    /// Moves Listeners and Routes on to the latest state, if they are done with theirs.
    fn promote(&mut self) -> bool {
        if self.view.sequence() == self.latest.sequence() {
            return false;
        }
        let busy = |lane: &Lane| lane.on_the_wire() || !(lane.idle() || self.view_is_stale);
        if [Listener, Route].iter().any(|t| busy(self.lane(*t))) {
            return false;
        }
        let earlier = std::mem::replace(&mut self.view, self.latest.clone());
        self.view_is_stale = false;
        for kind in [Listener, Route] {
            self.mark_changes(kind, &earlier);
        }
        self.release_is_due = true;
        if [Listener, Route].iter().any(|t| self.lane(*t).due()) {
            self.arm();
        }
        true
    }

    /// Sends the next response of a type, if it may have one. Returns whether anything was sent or settled.
    fn advance(&mut self, kind: ResourceType, now: Instant) -> bool {
        let held = matches!(kind, Listener | Route) && self.holding();
        let lane = &mut self.lanes[kind as usize];
        if lane.in_flight.is_some() {
            return false;
        }
        if lane.trial_is_due(held) {
            let table = self.source(kind).table(kind).clone();
            match self.lane_mut(kind).isolate(&table, now) {
                Some(Ok(draft)) => self.send(kind, draft, None),
                Some(Err(offenders)) => self.convict(kind, offenders),
                None => {}
            }
            return true;
        }
        if held || !lane.due() {
            return false;
        }
        let mut draft = self.draft(kind);
        let lane = self.lane_mut(kind);
        let greet = std::mem::replace(&mut lane.greet, false);
        self.tell_held(kind);
        for name in &draft.skipped {
            let held_back = self.lane(kind).holds_back(name);
            match kind {
                Cluster if held_back => self.warming().forget(name),
                Cluster => self.warming().cluster_skipped(name),
                Endpoints if held_back => self.warming().endpoints_withheld(name),
                _ => {}
            }
        }
        if self.mode == Mode::Sotw && !is_full_state(kind) {
            // There is no way to say that a resource is gone.
            let gone = Draft { removed: std::mem::take(&mut draft.removed), ..Draft::default() };
            self.lane_mut(kind).accept_removals(&gone);
        }
        let committed = self.lane_mut(kind).committed.take();
        if draft.set.is_empty() && draft.removed.is_empty() && !greet {
            self.tell_recovered(kind);
        } else {
            self.send(kind, draft, committed);
        }
        true
    }

    fn draft(&mut self, kind: ResourceType) -> Draft {
        let table = self.source(kind).table(kind).clone();
        let slow = if kind == Cluster { self.set_slow_apart() } else { Vec::new() };
        let Self { lanes, late, recall, mode, .. } = self;
        let is_late = |(kind, name): &(ResourceType, Arc<str>)| *kind == Cluster && late.contains_key(name);
        let waits = |part: &Part| !late.is_empty() && part.uses.iter().any(is_late);
        let context = Context { table: &table, waits: &waits, recall };
        let draft = lanes[kind as usize].draft(&context, kind, *mode);
        lanes[kind as usize].dirty.extend(slow);
        draft
    }

    /// Tells what is held back with its origin. What uses a Cluster of it that the peer never had waits, too.
    fn tell_held(&mut self, kind: ResourceType) {
        for (resource, held) in self.lane_mut(kind).take_news() {
            if kind == Cluster && !self.lane(Cluster).has(&resource) {
                self.late.insert(Arc::clone(&resource), None);
            }
            let Held { part, hash, message } = held;
            self.outputs.push(Output::Rejected { kind, resource, part, hash, message });
        }
    }

    /// Tells what a search has found.
    fn convict(&mut self, kind: ResourceType, offenders: Vec<Offender>) {
        for Offender { suspect, message, .. } in offenders {
            self.recall.note(kind, &suspect);
            self.remember(kind, &suspect.resource);
            let Suspect { resource, part, hash, .. } = suspect;
            if kind == Cluster && !self.lane(Cluster).has(&resource) {
                self.late.insert(Arc::clone(&resource), None);
            }
            self.outputs.push(Output::Rejected { kind, resource, part, hash, message });
        }
    }

    fn send(&mut self, kind: ResourceType, draft: Draft, committed: Option<Instant>) {
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        if kind == Cluster {
            self.warm(&nonce, &draft);
        }
        if kind == Endpoints && !self.warming.is_idle() {
            draft.names().for_each(|name| self.warming.endpoints_sent(name));
        }
        let (version, resources, removed) = match self.mode {
            Mode::Delta => {
                let version = version_text(self.source(kind).table(kind).fingerprint());
                (version, self.varied(kind, &draft.set), draft.removed.clone())
            }
            Mode::Sotw => {
                let (version, resources) = self.world(kind, &draft);
                (version, resources, Vec::new())
            }
        };
        // The answer to what is stalled will not come before that to an earlier response.
        let stalled = !draft.trial && !self.lane(kind).overdue.is_empty();
        let slow = kind == Cluster && (stalled || self.is_slow(&draft));
        let lane = self.lane_mut(kind);
        lane.last_sent.clone_from(&version);
        lane.in_flight = Some(Box::new(InFlight::new(nonce.clone(), version.clone(), draft, committed)));
        if slow {
            self.wait_no_longer(false);
        } else if kind == Cluster {
            self.clusters_sent = self.patience.spent();
        }
        self.outputs.push(Output::Send(Response { kind, nonce, version, resources, removed }));
    }

    /// Envoy warms every Cluster it is sent, and wants the endpoints it has anew for that.
    fn warm(&mut self, nonce: &str, draft: &Draft) {
        if self.is_first_load(draft) {
            self.load_first(nonce, &draft.set);
            return;
        }
        self.warming();
        draft.removed.iter().for_each(|name| self.warming.forget(name));
        for cluster in draft.set.iter() {
            self.warming.cluster_sent(cluster.name(), cluster.needs());
            let endpoints = &mut self.lanes[Endpoints as usize];
            if let Some(needs) = cluster.needs()
                && endpoints.subscription.contains(needs)
            {
                endpoints.forced.insert(Arc::clone(needs));
            }
        }
    }

    /// What goes on the wire: other content of the same meaning, where the peer would not look again at what it has refused.
    fn varied(&self, kind: ResourceType, set: &Batch) -> Batch {
        if !self.recall.has_any_variants(kind) {
            return set.clone();
        }
        let vary = |resource: &Arc<Resource>| {
            let number = resource.varies().then(|| self.recall.next_variant(kind, resource.name())).flatten();
            number.and_then(|number| resource.variant(number)).map_or_else(|| Arc::clone(resource), Arc::new)
        };
        set.iter().map(vary).collect::<Vec<_>>().into()
    }

    /// What a SotW response carries: everything the peer is to have for full-state types, else what changed.
    fn world(&self, kind: ResourceType, draft: &Draft) -> (String, Batch) {
        let mut world: HashMap<&str, &Arc<Resource>> = HashMap::new();
        for resource in self.lane(kind).known.all_sent().iter() {
            world.insert(resource.name(), resource);
        }
        for name in &draft.removed {
            world.remove(&**name);
        }
        for resource in draft.set.iter() {
            world.insert(resource.name(), resource);
        }
        let hash = world.values().fold(0, |sum: u64, r| sum.wrapping_add(fingerprint(r)));
        let resources = if is_full_state(kind) {
            let mut all: Vec<Arc<Resource>> = world.into_values().cloned().collect();
            all.sort_by(|a, b| a.name().cmp(b.name()));
            all.into()
        } else {
            self.varied(kind, &draft.set)
        };
        (version_text(hash), resources)
    }
}

/// Whether a SotW response of this type is complete, so that what is missing from it is gone.
fn is_full_state(kind: ResourceType) -> bool {
    matches!(kind, Cluster | Listener)
}

/// A hash as it travels.
fn version_text(hash: u64) -> String {
    format!("{hash:016x}")
}

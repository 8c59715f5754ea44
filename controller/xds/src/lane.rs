//! One resource type on one stream: what the peer has, what it is to get, what is on the wire.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use contour_resource::{Part, Resource, ResourceType, Trial, Withheld, version_of};

use crate::batch::Batch;
use crate::holdings::{Holdings, Known, Wants};
use crate::isolation::{Base, Isolation, Offender, Suspect, unknown};
use crate::message::{Mode, Text};
use crate::recall::Recall;
use crate::rejection::{Rejection, Rejections, compose};
use crate::sharded::{Names, SHARDS, index_of_name};
use crate::subscription::Subscription;
use crate::table::Table;

/// What is said of a part that an Envoy had refused before this process knew it.
pub(crate) const EARLIER: &str = "this Envoy refused it before; it is not sent again until it changes";

/// The most responses whose answers are overdue that are remembered.
const MOST_OVERDUE: usize = 512;

/// What a response changes at the peer.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// New or changed resources, or such as were asked for again.
    pub(crate) set: Batch,
    /// Names that are gone or never were.
    pub(crate) removed: Vec<Arc<str>>,
    /// Names that were looked at and need nothing, or must be held back.
    pub(crate) skipped: Vec<Arc<str>>,
    /// Whether this is a trial of an isolation.
    pub(crate) trial: bool,
}

impl Draft {
    /// Every name the response speaks of.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.set.iter().map(|r| r.name()).chain(&self.removed)
    }

    /// Puts what it speaks of name by name in the order of names.
    fn sort(&mut self) {
        self.set.sort();
        self.removed.sort();
        self.skipped.sort();
    }
}

/// A response on the wire, not yet answered.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) nonce: String,
    pub(crate) version: String,
    pub(crate) draft: Draft,
    /// When the oldest change in it was committed, if it carries a change rather than a first load.
    pub(crate) committed: Option<Instant>,
    /// Once it is overdue: what was known of its names before it was taken for accepted.
    before: HashMap<Arc<str>, Known>,
    /// It is overdue because its time was over, not because it was known that its answer will not come soon.
    pub(crate) late: bool,
    /// Names that the peer has given up since: even if it wants them again, what is on the wire came before that.
    pub(crate) dropped: Vec<Arc<str>>,
}

impl InFlight {
    pub(crate) fn new(nonce: String, version: String, draft: Draft, committed: Option<Instant>) -> Self {
        Self { nonce, version, draft, committed, before: HashMap::new(), late: false, dropped: Vec::new() }
    }
}

/// What a draft has to know beside the lane.
pub(crate) struct Context<'c> {
    /// The state that is served.
    pub(crate) table: &'c Table,
    /// Whether a part must wait, because of what it uses.
    pub(crate) waits: &'c dyn Fn(&Part) -> bool,
    /// What peers have refused.
    pub(crate) recall: &'c Recall,
}

/// The state of one type on one stream.
#[derive(Default)]
pub(crate) struct Lane {
    pub(crate) subscription: Subscription,
    pub(crate) known: Holdings,
    /// Names to look at when the next response is made.
    pub(crate) dirty: Names,
    /// Names to send even when the peer has their version.
    pub(crate) forced: Names,
    /// Names that are gone, but whose removal must wait until nothing refers to them.
    pub(crate) leaving: BTreeSet<Arc<str>>,
    /// An answer is owed even if there is nothing to say.
    pub(crate) greet: bool,
    pub(crate) in_flight: Option<InFlight>,
    /// Responses whose answers are no longer waited for, the oldest first.
    pub(crate) overdue: VecDeque<InFlight>,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) rejections: Rejections,
    /// Names that parts were tried under.
    trials: BTreeSet<Arc<str>>,
    /// Something was refused on this stream: what is new is tried aside before it goes to those who serve.
    cautious: bool,
    /// What was accepted aside and is not yet in its resource.
    proven: BTreeSet<Suspect>,
    /// What has to be sent once more as it last was: the peer has mixed it up with what it refused.
    restore: BTreeSet<Arc<str>>,
    /// Resources that wait for the end of the isolation, as it is not known what the peer has of them.
    postponed: BTreeSet<Arc<str>>,
    /// Resources of which the peer has, for a while, not the parts that the cache has.
    pub(crate) behind: BTreeSet<Arc<str>>,
    /// Refused parts, by resource and id, that have changed: whether they are accepted now is not known yet.
    changed: BTreeSet<(Arc<str>, Arc<str>)>,
    /// The last response was a trial: what else there is to send goes first.
    tried_last: bool,
    /// The version of the last response.
    pub(crate) last_sent: String,
    /// The version of the last response that was accepted.
    pub(crate) last_acked: String,
    /// When the oldest change not yet sent was committed.
    pub(crate) committed: Option<Instant>,
}

impl Lane {
    /// Whether nothing is to be sent or awaited, trials apart.
    pub(crate) fn idle(&self) -> bool {
        !self.due() && !self.on_the_wire() && self.postponed.is_empty() && !self.searches_in_the_dark()
    }

    /// Whether something is on trial of which it is not known what the peer has.
    fn searches_in_the_dark(&self) -> bool {
        let unknown = |name: &Arc<str>| self.has(name) && self.known.sent(name).is_none();
        self.isolation.as_ref().is_some_and(|isolation| isolation.names().any(unknown))
    }

    /// Whether the answer to a response is awaited that is no trial.
    pub(crate) fn on_the_wire(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| !in_flight.draft.trial)
    }

    /// Whether there is something to decide about.
    pub(crate) fn due(&self) -> bool {
        !self.dirty.is_empty() || !self.forced.is_empty() || !self.restore.is_empty() || self.greet
    }

    /// Whether a trial is due before anything else; nothing else can be sent while the type is `held`.
    pub(crate) fn trial_is_due(&self, held: bool) -> bool {
        let waits = self.isolation.as_ref().is_some_and(|isolation| !isolation.awaits());
        waits && (held || !(self.tried_last && self.due()))
    }

    /// Has what the peer has accepted under this name sent once more.
    pub(crate) fn restore(&mut self, name: &Arc<str>) {
        self.restore.insert(Arc::clone(name));
    }

    /// What the peer needs for what it has under this name.
    pub(crate) fn needs(&self, name: &str) -> Option<Arc<str>> {
        self.known.sent(name)?.needs().cloned()
    }

    /// The parts that were refused, have changed, and are not refused any more: resource and id.
    pub(crate) fn take_recovered(&mut self) -> Vec<(Arc<str>, Arc<str>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter(|(resource, part)| !self.rejections.holds(resource, part)).collect()
    }

    /// Whether the peer has something under this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        matches!(self.known.get(name), Some(Known::Version(_) | Known::Lacking(_) | Known::Sent(_)))
    }

    /// Whether the peer has anything of this type.
    pub(crate) fn has_any(&self) -> bool {
        self.known.names().any(|name| self.has(name))
    }

    /// The peer no longer wants this name. Returns the parts that were refused of it.
    pub(crate) fn drop_name(&mut self, name: &str) -> Vec<Arc<str>> {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.dropped.push(name.into());
        }
        self.known.remove(name);
        self.dirty.remove(name);
        self.forced.remove(name);
        self.leaving.remove(name);
        self.restore.remove(name);
        self.behind.remove(name);
        self.postponed.remove(name);
        self.rejections.forget(name)
    }

    /// The names that are known or under way and that the subscription does not cover.
    pub(crate) fn unwanted(&self) -> BTreeSet<Arc<str>> {
        let all = self.known.names().chain(self.dirty.iter()).chain(&self.leaving);
        all.filter(|name| !self.subscription.contains(name)).cloned().collect()
    }

    /// A peer says that it has this version of `current` from an earlier stream, without what it refused of it. Returns the
    /// refused parts.
    pub(crate) fn learn(
        &mut self,
        name: &Arc<str>,
        current: Option<&Arc<Resource>>,
        version: u64,
        withheld: &[Withheld],
    ) -> Vec<Suspect> {
        let Some(current) = current else {
            self.known.insert(Arc::clone(name), Known::Version(Some(version)));
            return Vec::new();
        };
        let instead: HashMap<u64, Option<u64>> = withheld.iter().map(|w| (w.refused, w.instead)).collect();
        let lacks = |part: &Part| instead.contains_key(&part.hash);
        let composed = compose(current, None, lacks);
        let hashes = current.parts().iter().filter_map(|part| match instead.get(&part.hash) {
            None => Some((&*part.id, part.hash)),
            Some(instead) => instead.map(|hash| (&*part.id, hash)),
        });
        let known = match composed {
            Some(composed) if composed.version() == version => Known::Sent(composed),
            _ if version_of(hashes) == version => Known::Lacking(current.version()),
            _ => Known::Version(Some(version)),
        };
        self.known.insert(Arc::clone(name), known);
        let refused = current.parts().iter().filter(|part| lacks(part));
        let refused: Vec<Suspect> = refused.map(|part| Suspect::new(current, part)).collect();
        for suspect in &refused {
            let rejection = Rejection { hash: suspect.hash, message: EARLIER.to_owned(), tentative: None };
            self.rejections.insert(name, &suspect.part, rejection);
        }
        self.cautious |= !refused.is_empty();
        refused
    }

    /// A SotW peer has proven by its version that it has everything.
    pub(crate) fn adopt(&mut self, table: &Table) {
        if self.subscription.wildcard() {
            self.known.adopt(table.resources());
            return;
        }
        for resource in table.iter().filter(|r| self.subscription.contains(r.name())) {
            self.known.insert(Arc::clone(resource.name()), Known::Sent(Arc::clone(resource)));
        }
    }

    /// A peer says which versions it has from an earlier stream: those that are the present ones. Returns the others.
    pub(crate) fn learn_present(&mut self, initial: Vec<(Text, Text)>, table: &Table) -> Vec<(Text, Text)> {
        let is_present = |resource: &Arc<Resource>, (_, version): &(Text, Text)| {
            version.len() == 16 && u64::from_str_radix(version, 16) == Ok(resource.version())
        };
        let (mut present, others) = table.resources().gather(initial, |(name, _)| name, is_present);
        let names = self.subscription.names();
        let unwanted = |index: &usize| {
            let all = self.subscription.wildcard() || names.shares(table.names(), *index);
            !all && present.shard(*index).is_some()
        };
        for index in (0..SHARDS).filter(unwanted).collect::<Vec<_>>() {
            let Some(shard) = present.shard(index).cloned() else { continue };
            for resource in shard.iter().filter(|r| !names.contains(r.name())) {
                present.remove(resource.name());
            }
        }
        self.known.adopt(&present);
        others
    }

    /// Where parts of a resource can be tried aside at this peer.
    fn aside(&self, resource: &Resource, kind: ResourceType, mode: Mode) -> Option<Arc<Trial>> {
        let trial = resource.trial()?;
        let can = match kind {
            ResourceType::Listener => mode == Mode::Delta && self.subscription.wildcard(),
            _ => self.subscription.contains(&trial.name),
        };
        can.then(|| Arc::clone(trial))
    }

    /// Decides about every name that is due.
    pub(crate) fn draft(&mut self, context: &Context<'_>, kind: ResourceType, mode: Mode) -> Draft {
        let mut draft = Draft::default();
        self.tried_last = false;
        let forced = std::mem::take(&mut self.forced);
        let mut due = std::mem::take(&mut self.dirty);
        due.add(&forced);
        let whole = self.whole_shards(&due, &forced, context, kind);
        for index in whole {
            draft.set.extend_shard(context.table.resources().shard(index));
            due.set_shard(index, None);
        }
        for name in due.iter() {
            match context.table.get(name) {
                Some(resource) => {
                    let aside = self.aside(resource, kind, mode);
                    self.be_cautious(resource, kind, aside.clone(), context);
                    self.draft_present(resource, forced.contains(name), context, &mut draft);
                }
                None => self.draft_absent(Arc::clone(name), &forced, &mut draft),
            }
        }
        draft.sort();
        self.draft_restored(context, &mut draft);
        draft
    }

    /// The shards of a table that can be sent as they are: all in them is due, and nothing speaks against any of it.
    fn whole_shards(
        &self,
        due: &Names,
        forced: &Names,
        context: &Context<'_>,
        kind: ResourceType,
    ) -> Vec<usize> {
        let is_plain = matches!(kind, ResourceType::Secret | ResourceType::Cluster | ResourceType::Endpoints)
            && self.isolation.is_none()
            && !self.cautious
            && self.rejections.is_empty()
            && self.behind.is_empty()
            && !context.recall.has_any_variants(kind);
        if !is_plain {
            return Vec::new();
        }
        let (names, resources) = (context.table.names(), context.table.resources());
        let others: BTreeSet<usize> = self.known.other_names().map(|name| index_of_name(name)).collect();
        let is_whole = |index: &usize| {
            let has = self.known.all_sent().shard(*index);
            let all_forced = forced.shard(*index).is_some() && forced.shares(names, *index);
            due.shard(*index).is_some()
                && due.shares(names, *index)
                && !others.contains(index)
                && (has.is_none() || (all_forced && self.known.all_sent().shares(resources, *index)))
        };
        (0..SHARDS).filter(is_whole).collect()
    }

    /// What the peer has mixed up with what it refused goes once more.
    fn draft_restored(&mut self, context: &Context<'_>, draft: &mut Draft) {
        for name in std::mem::take(&mut self.restore) {
            let drafted = draft.names().any(|drafted| *drafted == name);
            let current = context.table.get(&name);
            match self.known.get(&name).filter(|_| !drafted) {
                Some(Known::Sent(accepted)) => {
                    draft.set.push(match current {
                        Some(resource) => self.rejections.told(accepted, resource),
                        None => accepted,
                    });
                }
                Some(Known::Version(Some(version))) => {
                    draft.set.extend(current.filter(|r| r.varies() && r.version() == version).cloned());
                }
                _ => {}
            }
        }
    }

    fn draft_present(
        &mut self,
        resource: &Arc<Resource>,
        forced: bool,
        context: &Context<'_>,
        draft: &mut Draft,
    ) {
        let name = resource.name();
        let recovered = self.rejections.prune(resource);
        self.changed.extend(recovered.into_iter().map(|part| (Arc::clone(name), part)));
        let base = self.known.sent(name).cloned();
        let on_trial = self.isolation.as_ref().map(|isolation| isolation.withheld(name)).unwrap_or_default();
        let tried =
            |part: &Part| !on_trial.is_empty() && on_trial.contains(&(Arc::clone(&part.id), part.hash));
        // Without knowing what the peer has, leaving out what is on trial could take it away. And a peer that has nothing yet
        // shall not become ready with next to nothing.
        if base.is_none() && !on_trial.is_empty() {
            self.postponed.insert(Arc::clone(name));
            draft.skipped.push(Arc::clone(name));
            return;
        }
        // To a peer that has nothing yet everything goes, and where it is not known what it has.
        let can_wait = base.is_some() || (!self.has(name) && self.has_any());
        let waits = |part: &Part| can_wait && (context.waits)(part);
        let late = resource.parts().iter().any(|part| waits(part));
        let refused = self.rejections.contains(name);
        let withheld = |part: &Part| self.rejections.refused(name, part) || tried(part) || waits(part);
        let sendable = compose(resource, base.as_deref(), withheld);
        let sendable = sendable.map(|sendable| self.rejections.told(sendable, resource));
        if late || sendable.as_ref().is_some_and(|s| s.version() != resource.version()) {
            self.behind.insert(Arc::clone(name));
        } else {
            self.behind.remove(name);
        }
        match sendable {
            // What was refused is not sent again, not even when asked for.
            Some(sendable) if !self.is_known(resource, &sendable) || (forced && !refused) => {
                draft.set.push(sendable);
            }
            _ => draft.skipped.push(Arc::clone(name)),
        }
    }

    /// Whether the peer has what could be sent of a resource.
    fn is_known(&self, resource: &Resource, sendable: &Resource) -> bool {
        match self.known.get(resource.name()) {
            Some(Known::Sent(known)) => known.version() == sendable.version(),
            Some(Known::Version(Some(version))) => version == sendable.version(),
            Some(Known::Lacking(of)) => of == resource.version(),
            Some(Known::Version(None) | Known::Absent) | None => false,
        }
    }

    /// Puts parts on trial that are likely to be refused: known offenders, and on a stream that has refused something before
    /// everything new, where that can be tried aside.
    fn be_cautious(
        &mut self,
        resource: &Arc<Resource>,
        kind: ResourceType,
        aside: Option<Arc<Trial>>,
        context: &Context<'_>,
    ) {
        if aside.is_none() {
            return;
        }
        let base = self.known.sent(resource.name()).cloned();
        let mut suspects = match &base {
            Some(base) if self.cautious => unknown(resource, Some(base)),
            _ => context.recall.offenders(kind, resource),
        };
        // What this peer has accepted it keeps, whatever others say.
        let has = |s: &Suspect| {
            let parts = base.iter().flat_map(|base| base.parts());
            parts.into_iter().any(|part| part.hash == s.hash && part.id == s.part)
        };
        suspects.retain(|s| !has(s));
        if suspects.is_empty() {
            return;
        }
        let on_trial = self.isolation.as_ref().map(|i| i.withheld(resource.name())).unwrap_or_default();
        suspects.retain(|s| {
            let open = on_trial.contains(&(Arc::clone(&s.part), s.hash));
            let proven = self.proven.contains(s) || self.isolation.as_ref().is_some_and(|i| i.is_proven(s));
            !s.part.is_empty() && !self.rejections.is(s) && !open && !proven
        });
        if !suspects.is_empty() {
            self.isolation.get_or_insert_default().suspect(resource, suspects, aside);
        }
    }

    fn draft_absent(&mut self, name: Arc<str>, forced: &Names, draft: &mut Draft) {
        let recovered = self.rejections.forget(&name);
        self.changed.extend(recovered.into_iter().map(|part| (Arc::clone(&name), part)));
        self.behind.remove(&name);
        let tell = match self.known.get(&name) {
            Some(Known::Version(_) | Known::Lacking(_) | Known::Sent(_)) => true,
            Some(Known::Absent) => forced.contains(&name),
            None => self.subscription.names().contains(&name),
        };
        if tell { draft.removed.push(name) } else { draft.skipped.push(name) }
    }

    /// The peer accepted a response.
    pub(crate) fn accept(&mut self, draft: &Draft) {
        let wants = Wants { everything: self.subscription.wildcard(), names: self.subscription.names() };
        self.known.accept(&draft.set, &wants);
        if !self.rejections.is_empty() || !self.proven.is_empty() {
            let wanted = draft.set.iter().filter(|r| self.subscription.contains(r.name()));
            for resource in wanted {
                self.rejections.confirm(resource.name());
                self.proven.retain(|suspect| suspect.resource != *resource.name());
            }
        }
        self.accept_removals(draft);
        if draft.trial
            && let Some(isolation) = &mut self.isolation
        {
            isolation.accepted();
        }
    }

    /// The peer refused a response.
    pub(crate) fn refuse(&mut self, draft: &Draft, kind: ResourceType, mode: Mode, message: String) {
        if draft.set.is_empty() {
            // There is no smaller removal to try.
            self.accept_removals(draft);
        } else {
            // They go again, on their own, when the search is over.
            self.dirty.extend(draft.removed.iter().cloned());
        }
        self.cautious = true;
        for resource in draft.set.iter().filter(|resource| resource.varies()) {
            // It has mixed up what it had with what it refused. What is known in full is sent once more in the end.
            if let Some(Known::Version(_) | Known::Lacking(_)) = self.known.get(resource.name()) {
                self.known.insert(Arc::clone(resource.name()), Known::Version(None));
            }
        }
        let mut isolation = self.isolation.take();
        let known = &self.known;
        let base: Base<'_> = &|name| known.sent(name).cloned();
        if draft.trial {
            if let Some(isolation) = &mut isolation {
                isolation.refused(&draft.set.sorted(), base, message);
            }
        } else if !draft.set.is_empty() {
            // What serves for trials is ours, and goes again.
            let (ours, blamed): (Vec<_>, Vec<_>) =
                draft.set.sorted().into_iter().partition(|resource| self.trials.contains(resource.name()));
            let aside = |resource: &Resource| {
                // Where all was accepted aside, it is refused for the company it has in place.
                let new = unknown(resource, base(resource.name()).as_deref());
                let proven = new.iter().all(|s| s.part.is_empty() || self.proven.contains(s));
                self.aside(resource, kind, mode).filter(|_| !proven)
            };
            let isolation = isolation.get_or_insert_default();
            isolation.leave_behind(ours.iter().map(|resource| Arc::clone(resource.name())));
            isolation.blame(&blamed, base, &aside, message);
        }
        self.isolation = isolation;
    }

    pub(crate) fn accept_removals(&mut self, draft: &Draft) {
        for name in &draft.removed {
            if self.subscription.names().contains(name) {
                self.known.insert(Arc::clone(name), Known::Absent);
            } else {
                self.known.remove(name);
            }
        }
    }

    /// Waits no longer for the answer to the response in flight: until it comes, the response is taken for accepted. Of those that
    /// have waited longest, too many are given up: their answers will be read as if they were no answers.
    pub(crate) fn overdue(&mut self, late: bool) {
        let Some(mut in_flight) = self.in_flight.take() else { return };
        in_flight.late = late;
        if !in_flight.draft.trial {
            let before = |name: &Arc<str>| Some((Arc::clone(name), self.known.get(name)?));
            in_flight.before = in_flight.draft.names().filter_map(before).collect();
            self.accept(&in_flight.draft);
        }
        if self.overdue.len() == MOST_OVERDUE {
            self.overdue.pop_front();
        }
        self.overdue.push_back(in_flight);
    }

    /// Takes the overdue response with this nonce. What was taken for accepted and is now refused is undone.
    pub(crate) fn take_overdue(&mut self, nonce: &str, refused: bool) -> Option<InFlight> {
        let at = self.overdue.iter().position(|in_flight| in_flight.nonce == nonce)?;
        let in_flight = self.overdue.remove(at)?;
        if refused && !in_flight.draft.trial {
            self.set_right_after(at, &in_flight);
            let set = in_flight.draft.set.iter().map(|r| (r.name(), Some(r.version())));
            let removed = in_flight.draft.removed.iter().map(|name| (name, None));
            for (name, version) in set.chain(removed) {
                let present = self.known.sent(name).map(|r| r.version());
                if present == version {
                    match in_flight.before.get(name) {
                        Some(before) => self.known.insert(Arc::clone(name), before.clone()),
                        None => self.known.remove(name),
                    }
                }
            }
        }
        Some(in_flight)
    }

    /// What overdue responses replaced, from one of them on, was not there if it came with this one, which was refused.
    fn set_right_after(&mut self, at: usize, refused: &InFlight) {
        for resource in refused.draft.set.iter() {
            let name = resource.name();
            for later in self.overdue.iter_mut().skip(at) {
                let replaced = later.before.get(name);
                if !matches!(replaced, Some(Known::Sent(sent)) if sent.version() == resource.version()) {
                    continue;
                }
                match refused.before.get(name) {
                    Some(before) => later.before.insert(Arc::clone(name), before.clone()),
                    None => later.before.remove(name),
                };
            }
        }
    }

    /// The next trial of a search in progress, or the offenders when it is over.
    pub(crate) fn isolate(&mut self) -> Option<Result<Draft, Vec<Offender>>> {
        let known = &self.known;
        let base: Base<'_> = &|name| known.sent(name).cloned();
        if let Some(set) = self.isolation.as_mut()?.next_trial(base) {
            self.tried_last = true;
            return Some(Ok(Draft { set: set.into(), trial: true, ..Draft::default() }));
        }
        let isolation = self.isolation.take()?;
        self.postponed.clear();
        // Whoever has accepted nothing yet may still have what is gone since.
        self.greet |= self.last_acked.is_empty() && self.subscription.wildcard();
        self.dirty.extend(isolation.names().filter(|n| self.subscription.contains(n)).cloned());
        let trials: Vec<Arc<str>> = isolation.trials().cloned().collect();
        self.dirty.extend(trials.iter().cloned());
        self.trials.extend(trials);
        let (offenders, proven) = isolation.finish();
        self.proven = proven;
        for offender in &offenders {
            let suspect = &offender.suspect;
            let accepted = self.known.sent(&suspect.resource);
            // It is to know, when it connects to another process, what it refused. Aside this is worth no message.
            let untold = |r: &Arc<Resource>| {
                let told = r.withheld().iter().any(|w| w.refused == suspect.hash);
                offender.rest.is_some() && r.parts().len() > 1 && !told
            };
            if accepted.is_none_or(|r| untold(r) || r.varies()) {
                self.restore.insert(Arc::clone(&suspect.resource));
            }
            let tentative = offender.rest.filter(|_| accepted.is_none());
            let (hash, message) = (suspect.hash, offender.message.clone());
            self.rejections.insert(&suspect.resource, &suspect.part, Rejection { hash, message, tentative });
        }
        Some(Err(offenders))
    }

    /// What the peer uses because it lives on with parts that the cache no longer has.
    pub(crate) fn kept_in_use<'l>(&'l self, table: &'l Table) -> BTreeSet<&'l (ResourceType, Arc<str>)> {
        let mut uses = BTreeSet::new();
        let on_trial = self.isolation.iter().flat_map(Isolation::names);
        for name in self.behind.iter().chain(self.rejections.resources()).chain(on_trial) {
            let Some(has) = self.known.sent(name) else { continue };
            let current = table.get(name);
            let current: BTreeSet<(&str, u64)> =
                current.iter().flat_map(|r| r.parts()).map(|p| (&*p.id, p.hash)).collect();
            let kept = has.parts().iter().filter(|p| !current.contains(&(&*p.id, p.hash)));
            uses.extend(kept.flat_map(|part| &*part.uses));
        }
        uses
    }
}

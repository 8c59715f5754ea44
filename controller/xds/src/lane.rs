//! One resource type on one stream: what the peer has, what it is to get, what is on the wire.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use contour_resource::{Part, Resource, ResourceType, Trial, Withheld, version_of};

use crate::batch::Batch;
use crate::holdings::{Holdings, Known, Wants};
use crate::isolation::{Base, Isolation, Offender, Suspect, unknown};
use crate::message::{Mode, Text};
use crate::probation::{Held, Probation};
use crate::recall::Recall;
use crate::rejection::{Contents, Rejection, Rejections, compose};
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
    pub(crate) in_flight: Option<Box<InFlight>>,
    /// Responses whose answers are no longer waited for, the oldest first.
    pub(crate) overdue: VecDeque<InFlight>,
    pub(crate) isolation: Option<Box<Isolation>>,
    pub(crate) rejections: Rejections,
    /// Whose changes are held back as a whole.
    pub(crate) probation: Probation,
    /// Parts that are held back so, of which there is something to tell: with their resource.
    news: Vec<(Arc<str>, Held)>,
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
        let (rejections, probation) = (&self.rejections, &self.probation);
        let is_back = |(resource, part): &(Arc<str>, Arc<str>)| {
            !rejections.holds(resource, part) && !probation.contains_part(resource, part)
        };
        changed.into_iter().filter(is_back).collect()
    }

    /// The parts that are held back with their origin since the last call.
    pub(crate) fn take_news(&mut self) -> Vec<(Arc<str>, Held)> {
        self.news.sort();
        std::mem::take(&mut self.news)
    }

    /// Whether something of a resource is held back.
    pub(crate) fn holds_back(&self, name: &str) -> bool {
        self.rejections.contains(name) || self.probation.contains(name)
    }

    /// Looks again at what was held back with its origin, where the pause is over.
    pub(crate) fn let_in(&mut self, now: Instant) {
        let held = self.probation.let_in(now);
        self.dirty.extend(held);
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
        self.proven.retain(|suspect| *suspect.resource != *name);
        let mut parts = self.rejections.forget(name);
        parts.extend(self.probation.forget(name));
        parts
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
                    let held = self.held(resource);
                    if let Some(aside) = self.aside(resource, kind, mode) {
                        self.be_cautious(resource, kind, &aside, &held, context);
                    }
                    self.draft_present(resource, forced.contains(name), &held, context, &mut draft);
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
                Some(Known::Version(Some(version))) => match current {
                    Some(current) if current.varies() && current.version() == version => {
                        draft.set.push(Arc::clone(current));
                    }
                    Some(_) => {}
                    // It may come back before it is removed at the peer.
                    None => self.known.insert(name, Known::Version(None)),
                },
                _ => {}
            }
        }
    }

    fn draft_present(
        &mut self,
        resource: &Arc<Resource>,
        forced: bool,
        held: &Contents,
        context: &Context<'_>,
        draft: &mut Draft,
    ) {
        let name = resource.name();
        forget_proven(&mut self.proven, resource, true);
        let recovered = self.rejections.prune(resource, held);
        self.changed.extend(recovered.into_iter().map(|part| (Arc::clone(name), part)));
        let base = self.known.sent(name).cloned();
        let on_trial = self.isolation.as_ref().map(|isolation| isolation.withheld(name)).unwrap_or_default();
        let is_in = |parts: &Contents, part: &Part| {
            !parts.is_empty() && parts.contains(&(Arc::clone(&part.id), part.hash))
        };
        // Without knowing what the peer has, leaving out what is on trial could take it away. And a peer that has nothing yet
        // shall not become ready with next to nothing.
        if base.is_none() && !on_trial.is_empty() {
            self.postponed.insert(Arc::clone(name));
            draft.skipped.push(Arc::clone(name));
            return;
        }
        // To a peer that has nothing yet everything goes, and where it is not known what it has. What it has it keeps.
        let can_wait = base.is_some() || (!self.has(name) && self.has_any());
        let uses_late = |part: &&Arc<Part>| (context.waits)(part);
        let has: HashMap<&str, u64> = match &base {
            Some(base) if resource.parts().iter().any(|part| uses_late(&part)) => {
                base.parts().iter().filter(uses_late).map(|part| (&*part.id, part.hash)).collect()
            }
            _ => HashMap::new(),
        };
        let waits = |part: &Part| can_wait && (context.waits)(part) && has.get(&*part.id) != Some(&part.hash);
        let late = resource.parts().iter().any(|part| waits(part));
        self.note_held(resource, held);
        let refused = self.rejections.contains(name);
        let withheld = |part: &Part| {
            let open = is_in(&on_trial, part) || is_in(held, part);
            self.rejections.refused(name, part) || open || waits(part)
        };
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

    /// What is not tried of a resource, as its origin is held back. Where it is not known what the peer has, it could be taken away: there a
    /// search has to prove first what is good, unless nothing at all is sent.
    fn held(&self, resource: &Resource) -> Contents {
        let name = resource.name();
        let base = self.known.sent(name);
        if !self.probation.holds_any() {
            return Contents::new();
        }
        let holds = |part: &Part| part.origin.as_ref().is_some_and(|origin| self.probation.holds(origin));
        if base.is_none()
            && self.has(name)
            && !resource.parts().first().is_some_and(|head| holds(head))
            && !self.proven.iter().any(|suspect| suspect.resource == *name)
        {
            return Contents::new();
        }
        let has: HashMap<&str, u64> =
            base.into_iter().flat_map(|base| base.parts()).map(|p| (&*p.id, p.hash)).collect();
        let is_held = |part: &&Arc<Part>| {
            holds(part)
                && has.get(&*part.id) != Some(&part.hash)
                && !self.proven.contains(&Suspect::new(resource, part))
        };
        let held = resource.parts().iter().filter(is_held);
        held.map(|part| (Arc::clone(&part.id), part.hash)).collect()
    }

    /// Has told what is held back of a resource with its origin, and what no longer is.
    fn note_held(&mut self, resource: &Resource, held: &Contents) {
        let name = resource.name();
        if held.is_empty() && !self.probation.contains(name) {
            return;
        }
        let rejections = &self.rejections;
        let is_held = |part: &&Arc<Part>| {
            held.contains(&(Arc::clone(&part.id), part.hash)) && !rejections.refused(name, part)
        };
        let (news, gone) = self.probation.note(name, resource.parts().iter().filter(is_held));
        self.news.extend(news.into_iter().map(|held| (Arc::clone(name), held)));
        self.changed.extend(gone.into_iter().map(|part| (Arc::clone(name), part)));
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
        aside: &Arc<Trial>,
        held: &Contents,
        context: &Context<'_>,
    ) {
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
            let held = held.contains(&(Arc::clone(&s.part), s.hash));
            !s.part.is_empty() && !self.rejections.is(s) && !open && !proven && !held
        });
        // Of whom something was refused lately is tried apart, and after all others.
        let mut blamed: BTreeMap<Arc<str>, Vec<Suspect>> = BTreeMap::new();
        suspects.retain(|s| {
            let origin = s.origin.as_ref().filter(|origin| self.probation.knows(origin));
            if let Some(origin) = origin {
                blamed.entry(Arc::clone(origin)).or_default().push(s.clone());
            }
            origin.is_none()
        });
        let first = self.probation.knows_any();
        let groups = blamed.into_values().map(|group| (group, false)).chain([(suspects, first)]);
        for (group, first) in groups.filter(|(group, _)| !group.is_empty()) {
            self.isolation.get_or_insert_default().suspect(resource, group, aside, first);
        }
    }

    fn draft_absent(&mut self, name: Arc<str>, forced: &Names, draft: &mut Draft) {
        let recovered = self.rejections.forget(&name).into_iter().chain(self.probation.forget(&name));
        let recovered: Vec<Arc<str>> = recovered.collect();
        self.changed.extend(recovered.into_iter().map(|part| (Arc::clone(&name), part)));
        self.behind.remove(&name);
        self.proven.retain(|suspect| suspect.resource != name);
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
                forget_proven(&mut self.proven, resource, false);
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
            // Among the others it was refused, so what was seen aside proves nothing any more.
            let blamed: BTreeSet<&Arc<str>> = blamed.iter().map(|resource| resource.name()).collect();
            self.proven.retain(|suspect| !blamed.contains(&suspect.resource));
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
        self.overdue.push_back(*in_flight);
    }

    /// Takes the overdue response with this nonce. What was taken for accepted and is now refused is undone.
    pub(crate) fn take_overdue(&mut self, nonce: &str, refused: bool) -> Option<InFlight> {
        let at = self.overdue.iter().position(|in_flight| in_flight.nonce == nonce)?;
        let in_flight = self.overdue.remove(at)?;
        if refused && !in_flight.draft.trial {
            self.undo(at, &in_flight);
        }
        Some(in_flight)
    }

    /// Counts what a search has found against its origins, and ends it for those that have too much of it.
    fn count_refusals(&mut self, now: Instant) {
        let Some(mut isolation) = self.isolation.take() else { return };
        for origin in isolation.take_blamed() {
            self.probation.refused(&origin, now);
        }
        if self.probation.holds_any() {
            // Of a resource of which it is not known what the peer has, all is tried but its head: without that nothing is sent.
            let may_wait = |s: &Suspect| {
                let name = &s.resource;
                s.part.is_empty() || self.known.sent(name).is_some() || !self.has(name)
            };
            let is_held = |origin: &Arc<str>| self.probation.holds(origin);
            isolation.pass_over(&|s| s.origin.as_ref().is_some_and(is_held) && may_wait(s));
        }
        self.isolation = Some(isolation);
    }

    /// What was there before a response that was refused is there still, unless a later one replaced it: the first of those that are overdue,
    /// from this one on, then replaced what was there before both.
    fn undo(&mut self, from: usize, refused: &InFlight) {
        let mut later: HashMap<Arc<str>, usize> = HashMap::new();
        let presumed = self.overdue.iter().enumerate().skip(from).filter(|(_, later)| !later.draft.trial);
        for (at, in_flight) in presumed {
            in_flight.draft.names().for_each(|name| {
                later.entry(Arc::clone(name)).or_insert(at);
            });
        }
        let set = refused.draft.set.iter().map(|r| (r.name(), Some(r.version())));
        let removed = refused.draft.removed.iter().map(|name| (name, None));
        for (name, version) in set.chain(removed) {
            let before = refused.before.get(name).cloned();
            let replaced =
                later.get(name).and_then(|at| self.overdue.get_mut(*at)).map(|next| &mut next.before);
            match (replaced, before) {
                (Some(replaced), Some(before)) => drop(replaced.insert(Arc::clone(name), before)),
                (Some(replaced), None) => drop(replaced.remove(name)),
                (None, _) if self.known.sent(name).map(|r| r.version()) != version => {}
                (None, Some(before)) => self.known.insert(Arc::clone(name), before),
                (None, None) => self.known.remove(name),
            }
        }
    }

    /// The next trial of a search in progress, or the offenders when it is over.
    pub(crate) fn isolate(&mut self, table: &Table, now: Instant) -> Option<Result<Draft, Vec<Offender>>> {
        self.count_refusals(now);
        let known = &self.known;
        let base: Base<'_> = &|name| known.sent(name).cloned();
        let trial = self.isolation.as_mut()?.next_trial(base);
        self.count_refusals(now);
        if let Some(set) = trial {
            self.tried_last = true;
            return Some(Ok(Draft { set: set.into(), trial: true, ..Draft::default() }));
        }
        let isolation = self.isolation.take()?;
        self.postponed.clear();
        // Whoever has accepted nothing yet may still have what is gone since.
        self.greet |= self.last_acked.is_empty() && self.subscription.wildcard();
        // What is gone meanwhile still waits for those who may use it.
        let is_due = |name: &&Arc<str>| self.subscription.contains(name) && !self.leaving.contains(*name);
        self.dirty.extend(isolation.names().filter(is_due).cloned());
        let trials: Vec<Arc<str>> = isolation.trials().cloned().collect();
        self.dirty.extend(trials.iter().cloned());
        self.trials.extend(trials);
        // What was not tried again after a response that was refused may be mixed up, too.
        let mixed_up = isolation.passed_over().filter(|resource| resource.varies());
        self.restore.extend(mixed_up.map(|resource| Arc::clone(resource.name())));
        let wanted = |resource: &str, part: &str| {
            table.get(resource)?.parts().iter().find(|p| *p.id == *part).map(|p| p.hash)
        };
        let (mut offenders, proven) = isolation.finish(&wanted);
        // What is wanted now was refused before: what else was, no longer matters.
        offenders.retain(|Offender { suspect, .. }| {
            let present = wanted(&suspect.resource, &suspect.part).filter(|hash| *hash != suspect.hash);
            !present.is_some_and(|hash| self.rejections.is(&Suspect { hash, ..suspect.clone() }))
        });
        self.proven.extend(proven);
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
        let on_trial = self.isolation.as_deref().into_iter().flat_map(Isolation::names);
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

/// Forgets what was accepted aside of a resource and is in it, or is `gone` from it.
fn forget_proven(proven: &mut BTreeSet<Suspect>, resource: &Resource, gone: bool) {
    if proven.iter().all(|suspect| suspect.resource != *resource.name()) {
        return;
    }
    let has: HashMap<&str, u64> = resource.parts().iter().map(|part| (&*part.id, part.hash)).collect();
    proven.retain(|s| s.resource != *resource.name() || (has.get(&*s.part) == Some(&s.hash)) == gone);
}

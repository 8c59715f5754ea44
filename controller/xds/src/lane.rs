//! One resource type on one stream: what the peer has, what it is to get, what is on the wire.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use contour_resource::Resource;

use crate::isolation::{Base, Isolation, Offender};
use crate::rejection::{Rejection, Rejections};
use crate::subscription::Subscription;
use crate::table::Table;

/// The largest number of parts of which it is tried whether a peer has all but one: the cost is its square.
const MOST_RECOGNIZED: usize = 2_000;

/// What the peer has under a name, as far as it has said so.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// A version from an earlier stream; None for one that is not ours.
    Version(Option<u64>),
    /// What was sent on this stream and accepted.
    Sent(Arc<Resource>),
    /// It was told that there is no such resource.
    Absent,
}

impl Known {
    fn version(&self) -> Option<u64> {
        match self {
            Self::Version(version) => *version,
            Self::Sent(resource) => Some(resource.version()),
            Self::Absent => None,
        }
    }
}

/// What a response changes at the peer.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// New or changed resources, or such as were asked for again.
    pub(crate) set: Vec<Arc<Resource>>,
    /// Names that are gone or never were.
    pub(crate) removed: Vec<Arc<str>>,
    /// Names that were looked at and need nothing, or must be held back.
    pub(crate) skipped: Vec<Arc<str>>,
    /// Refused parts that this draft replaces by something new: resource and part.
    pub(crate) recovered: Vec<(Arc<str>, Arc<str>)>,
}

/// A response on the wire, not yet answered.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) nonce: String,
    pub(crate) version: String,
    pub(crate) draft: Draft,
    /// When the oldest change in it was committed, if it carries a change rather than a first load.
    pub(crate) committed: Option<Instant>,
}

/// The state of one type on one stream.
#[derive(Default)]
pub(crate) struct Lane {
    pub(crate) subscription: Subscription,
    pub(crate) known: HashMap<Arc<str>, Known>,
    /// Names to look at when the next response is made.
    pub(crate) dirty: BTreeSet<Arc<str>>,
    /// Names to send even when the peer has their version.
    pub(crate) forced: BTreeSet<Arc<str>>,
    /// Names that are gone, but whose removal must wait until nothing refers to them.
    pub(crate) leaving: BTreeSet<Arc<str>>,
    /// An answer is owed even if there is nothing to say.
    pub(crate) greet: bool,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) rejections: Rejections,
    /// The version of the last response.
    pub(crate) last_sent: String,
    /// The version of the last response that was accepted.
    pub(crate) last_acked: String,
    /// When the oldest change not yet sent was committed.
    pub(crate) committed: Option<Instant>,
}

impl Lane {
    /// Whether nothing is to be sent or awaited.
    pub(crate) fn idle(&self) -> bool {
        self.dirty.is_empty()
            && self.forced.is_empty()
            && self.in_flight.is_none()
            && self.isolation.is_none()
            && !self.greet
    }

    /// Whether the peer has something under this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        matches!(self.known.get(name), Some(Known::Version(_) | Known::Sent(_)))
    }

    /// The peer no longer wants this name. Returns the parts that were refused of it.
    pub(crate) fn drop_name(&mut self, name: &str) -> Vec<Arc<str>> {
        self.known.remove(name);
        self.dirty.remove(name);
        self.forced.remove(name);
        self.leaving.remove(name);
        self.rejections.forget(name)
    }

    /// The names that are known or under way and that the subscription does not cover.
    pub(crate) fn unwanted(&self) -> BTreeSet<Arc<str>> {
        let all = self.known.keys().chain(&self.dirty).chain(&self.leaving);
        all.filter(|name| !self.subscription.contains(name)).cloned().collect()
    }

    /// Decides about every name that is due.
    pub(crate) fn draft(&mut self, table: &Table) -> Draft {
        let mut draft = Draft::default();
        let forced = std::mem::take(&mut self.forced);
        let mut due = std::mem::take(&mut self.dirty);
        due.extend(forced.iter().cloned());
        for name in due {
            match table.get(&name) {
                Some(resource) => self.draft_present(&name, resource, forced.contains(&name), &mut draft),
                None => self.draft_absent(name, &forced, &mut draft),
            }
        }
        draft
    }

    fn draft_present(&mut self, name: &Arc<str>, resource: &Arc<Resource>, forced: bool, draft: &mut Draft) {
        let recovered = self.rejections.prune(resource);
        draft.recovered.extend(recovered.into_iter().map(|part| (Arc::clone(name), part)));
        let known = self.known.get(name);
        let base = match known {
            Some(Known::Sent(base)) => Some(&**base),
            _ => None,
        };
        let refused = self.rejections.contains(name);
        match self.rejections.apply(resource, base) {
            // What was refused is not sent again, not even when asked for.
            Some(sendable)
                if known.and_then(Known::version) != Some(sendable.version()) || (forced && !refused) =>
            {
                draft.set.push(sendable);
            }
            _ => draft.skipped.push(Arc::clone(name)),
        }
    }

    fn draft_absent(&mut self, name: Arc<str>, forced: &BTreeSet<Arc<str>>, draft: &mut Draft) {
        let recovered = self.rejections.forget(&name);
        draft.recovered.extend(recovered.into_iter().map(|part| (Arc::clone(&name), part)));
        let tell = match self.known.get(&name) {
            Some(Known::Version(_) | Known::Sent(_)) => true,
            Some(Known::Absent) => forced.contains(&name),
            None => self.subscription.names().contains(&name),
        };
        if tell { draft.removed.push(name) } else { draft.skipped.push(name) }
    }

    /// The peer accepted a response.
    pub(crate) fn accept(&mut self, draft: &Draft) {
        for resource in &draft.set {
            if self.subscription.contains(resource.name()) {
                self.known.insert(Arc::clone(resource.name()), Known::Sent(Arc::clone(resource)));
                self.rejections.confirm(resource.name());
            }
        }
        self.accept_removals(draft);
        if let Some(isolation) = &mut self.isolation {
            isolation.accepted();
        }
    }

    /// The peer refused a response.
    pub(crate) fn refuse(&mut self, draft: &Draft, message: String) {
        if draft.set.is_empty() {
            // There is no smaller removal to try.
            self.accept_removals(draft);
        } else {
            // They go again, on their own, when the search is over.
            self.dirty.extend(draft.removed.iter().cloned());
        }
        if self.isolation.is_none() {
            self.recognize(&draft.set);
        }
        let known = &self.known;
        let base: Base<'_> = &|name| sent(known, name);
        if let Some(isolation) = &mut self.isolation {
            isolation.refused(&draft.set, base, message);
        } else if !draft.set.is_empty() {
            self.isolation = Some(Isolation::begin(&draft.set, base, message));
        }
    }

    /// Finds out what a peer has from an earlier stream, when it can be told from its version alone.
    ///
    /// An Envoy that refused one part then has all but that part when the controller restarts. Knowing this, the part is
    /// convicted at once; not knowing it, the search would take half of the others away from a serving Envoy for a
    /// moment. Only done after a refusal, and within bounds, as it tries each part.
    fn recognize(&mut self, refused: &[Arc<Resource>]) {
        for resource in refused {
            let parts = resource.parts().len();
            if let Some(Known::Version(Some(version))) = self.known.get(resource.name())
                && (2..=MOST_RECOGNIZED).contains(&parts)
                && let Some(base) =
                    (0..parts).map(|at| without(resource, at)).find(|r| r.version() == *version)
            {
                self.known.insert(Arc::clone(resource.name()), Known::Sent(Arc::new(base)));
            }
        }
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

    /// The next trial of a search in progress, or the offenders when it is over.
    pub(crate) fn isolate(&mut self) -> Option<Result<Draft, Vec<Offender>>> {
        let known = &self.known;
        let base: Base<'_> = &|name| sent(known, name);
        if let Some(set) = self.isolation.as_mut()?.next_trial(base) {
            return Some(Ok(Draft { set, ..Draft::default() }));
        }
        let isolation = self.isolation.take()?;
        // Whoever has accepted nothing yet may still have what is gone since.
        self.greet |= self.last_acked.is_empty() && self.subscription.wildcard();
        self.dirty.extend(isolation.names().filter(|n| self.subscription.contains(n)).cloned());
        let offenders = isolation.into_offenders();
        for offender in &offenders {
            let suspect = &offender.suspect;
            let accepted = sent(&self.known, &suspect.resource);
            let fallback = match &accepted {
                Some(accepted) => accepted.parts().iter().any(|p| p.id == suspect.part),
                None => self.has(&suspect.resource),
            };
            let tentative = accepted.is_none().then_some(offender.rest);
            let (hash, message) = (suspect.hash, offender.message.clone());
            let rejection = Rejection { hash, message, fallback, tentative };
            self.rejections.insert(&suspect.resource, &suspect.part, rejection);
        }
        Some(Err(offenders))
    }
}

/// A resource without one of its parts.
fn without(resource: &Resource, index: usize) -> Resource {
    let mut parts = resource.parts().to_vec();
    parts.remove(index);
    Resource::new(Arc::clone(resource.name()), parts)
}

fn sent(known: &HashMap<Arc<str>, Known>, name: &str) -> Option<Arc<Resource>> {
    match known.get(name) {
        Some(Known::Sent(resource)) => Some(Arc::clone(resource)),
        _ => None,
    }
}

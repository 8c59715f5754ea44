//! What Envoys had accepted while something was held back from them, for when they connect again.
//!
//! An Envoy from which a bad host is held back has a version that is not in the cache. When its connection breaks, the
//! version it then names is all that is known of it, and finding the offender anew could take good hosts away from it
//! for a moment. So what was accepted, and what was refused of it, is kept by version: whoever names the version has
//! that content, and is sent nothing of what was refused until it changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contour_resource::{Resource, ResourceType};

use crate::bounded::{Bounded, Origin};
use crate::isolation::Suspect;
use crate::rejection::Rejection;

/// Versions kept of one resource: Envoys differ by what they refuse, not by much.
const VERSIONS: usize = 4;
/// Resources kept of one origin, and in all.
const RESOURCES: (usize, usize) = (100, 1_000);
/// Refused parts, and names of resources in variants, kept of one origin and in all.
const OFFENDERS: (usize, usize) = (1_000, 10_000);

/// What an Envoy has of a resource, and which of its parts it refused.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) resource: Arc<Resource>,
    pub(crate) refused: Vec<(Arc<str>, Rejection)>,
}

type Name = (ResourceType, Arc<str>);

/// What is kept. Nobody's pushes out another's.
struct Kept {
    memories: Bounded<Name, VecDeque<Memory>>,
    variants: Bounded<Name, u32>,
    /// By name and part: the content that was refused.
    offenders: Bounded<(ResourceType, Arc<str>, Arc<str>), u64>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            memories: Bounded::new(RESOURCES.0, RESOURCES.1),
            variants: Bounded::new(OFFENDERS.0, OFFENDERS.1),
            offenders: Bounded::new(OFFENDERS.0, OFFENDERS.1),
        }
    }
}

/// The memory of a server. A clone is another handle to the same one.
#[derive(Clone, Default)]
pub(crate) struct Recall {
    kept: Arc<Mutex<Kept>>,
    /// Where variants begin to be numbered: elsewhere than in the process before, whose last variant a peer may remember.
    first_variant: u32,
}

impl Recall {
    /// A memory that numbers variants from here on.
    pub(crate) fn numbering_from(first_variant: u32) -> Self {
        Self { first_variant, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a peer has accepted while parts of it are refused.
    pub(crate) fn keep(&self, kind: ResourceType, memory: Memory) {
        let mut kept = self.lock();
        let key = (kind, Arc::clone(memory.resource.name()));
        let mut versions = kept.memories.remove(&key).unwrap_or_default();
        versions.retain(|m| m.resource.version() != memory.resource.version());
        versions.truncate(VERSIONS - 1);
        let origin = origin(&memory.resource);
        versions.push_front(memory);
        kept.memories.insert(key, &origin, versions);
    }

    /// From now on a resource of this name is sent in variants, as some peer may have refused what it will not look at again.
    pub(crate) fn note_variants(&self, kind: ResourceType, resource: &Resource) {
        let mut kept = self.lock();
        let key = (kind, Arc::clone(resource.name()));
        if kept.variants.get(&key).is_none() {
            kept.variants.insert(key, &origin(resource), self.first_variant);
        }
    }

    /// Whether any resource of a type is sent in variants.
    pub(crate) fn has_any_variants(&self, kind: ResourceType) -> bool {
        let kept = self.lock();
        kept.variants.range((kind, Arc::from(""))..).next().is_some_and(|((of, _), _)| *of == kind)
    }

    /// Whether a resource of this name is sent in variants.
    pub(crate) fn has_variants(&self, kind: ResourceType, name: &Arc<str>) -> bool {
        self.lock().variants.get(&(kind, Arc::clone(name))).is_some()
    }

    /// The number of the variant of a resource to be sent next, if it is sent in variants.
    pub(crate) fn next_variant(&self, kind: ResourceType, name: &Arc<str>) -> Option<u32> {
        let mut kept = self.lock();
        let number = kept.variants.get_mut(&(kind, Arc::clone(name)))?;
        *number = number.wrapping_add(1);
        Some(*number)
    }

    /// Keeps that a part was refused by some peer.
    pub(crate) fn note(&self, kind: ResourceType, offender: &Suspect) {
        let Suspect { resource, part, hash, origin } = offender;
        let key = (kind, Arc::clone(resource), Arc::clone(part));
        self.lock().offenders.insert(key, origin, *hash);
    }

    /// The parts of a resource that some peer has refused. What the resource no longer has is forgotten.
    pub(crate) fn offenders(&self, kind: ResourceType, resource: &Resource) -> Vec<Suspect> {
        let mut kept = self.lock();
        let from = (kind, Arc::clone(resource.name()), Arc::from(""));
        let of_it = kept.offenders.range(from..);
        let of_it = of_it.take_while(|((of, name, _), _)| *of == kind && name == resource.name());
        let known: BTreeMap<Arc<str>, u64> =
            of_it.map(|((_, _, part), hash)| (Arc::clone(part), *hash)).collect();
        if known.is_empty() {
            return Vec::new();
        }
        let present = resource.parts().iter().filter(|part| known.get(&part.id) == Some(&part.hash));
        let present: Vec<Suspect> = present.map(|part| Suspect::new(resource, part)).collect();
        let is_present: BTreeSet<&Arc<str>> = present.iter().map(|suspect| &suspect.part).collect();
        for part in known.into_keys().filter(|part| !is_present.contains(part)) {
            kept.offenders.remove(&(kind, Arc::clone(resource.name()), part));
        }
        present
    }

    /// What a peer has that names this version.
    pub(crate) fn find(&self, kind: ResourceType, name: &Arc<str>, version: u64) -> Option<Memory> {
        let kept = self.lock();
        let versions = kept.memories.get(&(kind, Arc::clone(name)))?;
        versions.iter().find(|m| m.resource.version() == version).cloned()
    }
}

/// Who answers for a resource.
fn origin(resource: &Resource) -> Origin {
    resource.parts().first().and_then(|head| head.origin.clone())
}

#[cfg(test)]
mod tests {
    use contour_resource::Part;

    use super::*;

    #[test]
    fn the_last_versions_are_kept() {
        let recall = Recall::default();
        let versions: Vec<_> = (0..6).map(|i| Arc::new(Resource::whole("r", format!("{i}")))).collect();
        for resource in &versions {
            recall.keep(ResourceType::Route, Memory { resource: Arc::clone(resource), refused: vec![] });
        }
        let found = |r: &Arc<Resource>| recall.find(ResourceType::Route, r.name(), r.version()).is_some();
        assert_eq!(versions.iter().map(found).collect::<Vec<_>>(), [false, false, true, true, true, true]);
        assert!(recall.find(ResourceType::Cluster, versions[5].name(), versions[5].version()).is_none());
    }

    fn part(id: &str, text: &str, origin: &str) -> Arc<Part> {
        Arc::new(Part::new(id, text.to_owned()).of_origin(Some(&origin.into())))
    }

    #[test]
    fn what_is_kept_of_one_origin_is_bounded_and_pushes_out_no_other() {
        let recall = Recall::default();
        let cluster = |name: &str, origin: &str| Arc::new(Resource::new(name, vec![part("", "x", origin)]));
        let keep = |resource: &Arc<Resource>| {
            recall.keep(ResourceType::Cluster, Memory { resource: Arc::clone(resource), refused: vec![] });
            recall.note_variants(ResourceType::Cluster, resource);
            recall.note(ResourceType::Cluster, &Suspect::new(resource, &resource.parts()[0]));
        };
        let other = cluster("a", "other");
        keep(&other);
        for i in 0..2 * OFFENDERS.1 {
            keep(&cluster(&format!("b{i}"), "bad"));
        }
        {
            let kept = recall.lock();
            let lens = (kept.memories.len(), kept.variants.len(), kept.offenders.len());
            assert_eq!(lens, (RESOURCES.0 + 1, OFFENDERS.0 + 1, OFFENDERS.0 + 1));
        }
        assert!(recall.find(ResourceType::Cluster, other.name(), other.version()).is_some());
        assert!(recall.has_variants(ResourceType::Cluster, other.name()));
        assert_eq!(recall.offenders(ResourceType::Cluster, &other).len(), 1);
    }

    #[test]
    fn offenders_of_one_table_are_bounded_by_origin() {
        let recall = Recall::default();
        let bad = (0..2 * OFFENDERS.1).map(|i| part(&format!("b{i:05}"), "x", "bad"));
        let parts = [part("", "x", "ours"), part("a", "x", "other")].into_iter().chain(bad).collect();
        let table = Resource::new("r", parts);
        for part in table.parts().iter().skip(1) {
            recall.note(ResourceType::Route, &Suspect::new(&table, part));
        }
        let kept = recall.offenders(ResourceType::Route, &table);
        assert_eq!((kept.len(), &*kept[0].part), (OFFENDERS.0 + 1, "a"));
        let without = Resource::new("r", table.parts()[..1].to_vec());
        assert!(recall.offenders(ResourceType::Route, &without).is_empty());
        assert_eq!(recall.lock().offenders.len(), 0, "what is gone is forgotten");
    }
}

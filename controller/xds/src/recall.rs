//! What Envoys had accepted while something was held back from them, for when they connect again.
//!
//! An Envoy from which a bad host is held back has a version that is not in the cache. When its connection breaks, the
//! version it then names is all that is known of it, and finding the offender anew could take good hosts away from it
//! for a moment. So what was accepted, and what was refused of it, is kept by version: whoever names the version has
//! that content, and is sent nothing of what was refused until it changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use contour_resource::{Resource, ResourceType};

use crate::isolation::Suspect;
use crate::rejection::Rejection;

/// Versions kept of one resource: Envoys differ by what they refuse, not by much.
const VERSIONS: usize = 4;
/// Resources kept at most.
const RESOURCES: usize = 1_000;

/// What an Envoy has of a resource, and which of its parts it refused.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) resource: Arc<Resource>,
    pub(crate) refused: Vec<(Arc<str>, Rejection)>,
}

/// Refused parts kept of one resource, and names kept of resources in variants.
const OFFENDERS: usize = 10_000;

type Memories = BTreeMap<(ResourceType, Arc<str>), VecDeque<Memory>>;
type Variants = BTreeMap<(ResourceType, Arc<str>), u32>;
type Offenders = BTreeMap<(ResourceType, Arc<str>), BTreeSet<Suspect>>;

/// The memory of a server. A clone is another handle to the same one.
#[derive(Clone, Default)]
pub(crate) struct Recall {
    memories: Arc<Mutex<Memories>>,
    offenders: Arc<Mutex<Offenders>>,
    variants: Arc<Mutex<Variants>>,
    /// Where variants begin to be numbered: elsewhere than in the process before, whose last variant a peer may remember.
    first_variant: u32,
}

impl Recall {
    /// A memory that numbers variants from here on.
    pub(crate) fn numbering_from(first_variant: u32) -> Self {
        Self { first_variant, ..Self::default() }
    }

    /// Keeps what a peer has accepted while parts of it are refused.
    pub(crate) fn keep(&self, kind: ResourceType, memory: Memory) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = memories.entry((kind, Arc::clone(memory.resource.name()))).or_default();
        versions.retain(|m| m.resource.version() != memory.resource.version());
        versions.truncate(VERSIONS - 1);
        versions.push_front(memory);
        if memories.len() > RESOURCES {
            memories.pop_first();
        }
    }

    /// From now on a resource of this name is sent in variants, as some peer may have refused what it will not look at again.
    pub(crate) fn note_variants(&self, kind: ResourceType, name: &Arc<str>) {
        let mut variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        variants.entry((kind, Arc::clone(name))).or_insert(self.first_variant);
        if variants.len() > OFFENDERS {
            variants.pop_first();
        }
    }

    /// Whether a resource of this name is sent in variants.
    pub(crate) fn has_variants(&self, kind: ResourceType, name: &Arc<str>) -> bool {
        let variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        variants.contains_key(&(kind, Arc::clone(name)))
    }

    /// The number of the variant of a resource to be sent next, if it is sent in variants.
    pub(crate) fn next_variant(&self, kind: ResourceType, name: &Arc<str>) -> Option<u32> {
        let mut variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        let number = variants.get_mut(&(kind, Arc::clone(name)))?;
        *number = number.wrapping_add(1);
        Some(*number)
    }

    /// Keeps that a part was refused by some peer.
    pub(crate) fn note(&self, kind: ResourceType, offender: &Suspect) {
        let mut offenders = self.offenders.lock().unwrap_or_else(PoisonError::into_inner);
        let of_resource = offenders.entry((kind, Arc::clone(&offender.resource))).or_default();
        of_resource.retain(|known| known.part != offender.part);
        if of_resource.len() < OFFENDERS {
            of_resource.insert(offender.clone());
        }
    }

    /// The parts of a resource that some peer has refused. What the resource no longer has is forgotten.
    pub(crate) fn offenders(&self, kind: ResourceType, resource: &Resource) -> Vec<Suspect> {
        let mut offenders = self.offenders.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kind, Arc::clone(resource.name()));
        let Some(known) = offenders.get_mut(&key) else { return Vec::new() };
        let all = resource.parts().iter().map(|part| Suspect::new(resource, part));
        let present: BTreeSet<Suspect> = all.filter(|suspect| known.contains(suspect)).collect();
        known.clone_from(&present);
        if known.is_empty() {
            offenders.remove(&key);
        }
        present.into_iter().collect()
    }

    /// What a peer has that names this version.
    pub(crate) fn find(&self, kind: ResourceType, name: &Arc<str>, version: u64) -> Option<Memory> {
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = memories.get(&(kind, Arc::clone(name)))?;
        versions.iter().find(|m| m.resource.version() == version).cloned()
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_number_of_resources_is_bounded() {
        let recall = Recall::default();
        for i in 0..2 * RESOURCES {
            let resource = Arc::new(Resource::whole(format!("r{i}"), "x"));
            recall.keep(ResourceType::Route, Memory { resource, refused: vec![] });
        }
        assert_eq!(recall.memories.lock().unwrap().len(), RESOURCES);
    }
}

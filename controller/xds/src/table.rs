//! The resources of one type, as a persistent map from name to resource.
//!
//! Every stream pins the state it is working through while the cache moves on, and must find out what changed since
//! without looking at everything: see [`Sharded`]. The names are a set of their own, which streams share that want them.

use std::sync::Arc;

use contour_resource::Resource;
use xxhash_rust::xxh3::xxh3_64;

use crate::sharded::{Names, Sharded};

/// The persistent map from name to resource.
#[derive(Clone, Default)]
pub struct Table {
    resources: Sharded<Arc<Resource>>,
    names: Names,
    fingerprint: u64,
}

impl Table {
    /// The number of resources.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there is no resource.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// A hash of all names and versions, whatever the order they came in; 0 when empty.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The resource with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(name)
    }

    /// Adds or replaces a resource. Returns false when the same version is there already.
    pub fn set(&mut self, resource: Arc<Resource>) -> bool {
        let old = self.resources.get(resource.name());
        if old.is_some_and(|old| old.version() == resource.version() && old.needs() == resource.needs()) {
            return false;
        }
        self.fingerprint = self.fingerprint.wrapping_add(fingerprint(&resource));
        let name = Arc::clone(resource.name());
        match self.resources.insert(resource) {
            Some(old) => self.fingerprint = self.fingerprint.wrapping_sub(fingerprint(&old)),
            None => {
                self.names.insert(name);
            }
        }
        true
    }

    /// Removes a resource. Returns false when there is none of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(old) = self.resources.remove(name) else { return false };
        self.names.remove(name);
        self.fingerprint = self.fingerprint.wrapping_sub(fingerprint(&old));
        true
    }

    /// All resources, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter()
    }

    /// The names whose resource was added, changed or removed between `earlier` and this table.
    pub fn changed_since(&self, earlier: &Self) -> Vec<Arc<str>> {
        self.resources.changed_since(&earlier.resources)
    }

    /// The resources as a set that can be shared.
    pub(crate) fn resources(&self) -> &Sharded<Arc<Resource>> {
        &self.resources
    }

    /// The names as a set that can be shared.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }
}

/// What one resource adds to the fingerprint of the set it is in.
pub(crate) fn fingerprint(resource: &Resource) -> u64 {
    xxh3_64(resource.name().as_bytes()).rotate_left(32) ^ xxh3_64(&resource.version().to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::sharded::SHARDS;

    fn resource(name: u8, content: u8) -> Arc<Resource> {
        Arc::new(Resource::whole(format!("r{name}"), vec![content]))
    }

    fn fill(steps: &[(u8, Option<u8>)]) -> (Table, BTreeMap<String, u8>) {
        let (mut table, mut model) = (Table::default(), BTreeMap::new());
        apply(steps, &mut table, &mut model);
        (table, model)
    }

    fn apply(steps: &[(u8, Option<u8>)], table: &mut Table, model: &mut BTreeMap<String, u8>) {
        for (name, content) in steps {
            let key = format!("r{name}");
            let changed = match content {
                Some(content) => {
                    let changed = model.insert(key, *content) != Some(*content);
                    assert_eq!(table.set(resource(*name, *content)), changed);
                    continue;
                }
                None => model.remove(&key).is_some(),
            };
            assert_eq!(table.remove(&format!("r{name}")), changed);
        }
    }

    /// Whatever the number of resources: one shard is copied, and all others are skipped where copies are compared.
    #[test]
    fn a_change_copies_one_shard() {
        let mut table = Table::default();
        for i in 0..20_000 {
            table.set(Arc::new(Resource::whole(format!("c{i}"), "x")));
        }
        let before = table.clone();
        table.set(Arc::new(Resource::whole("c7", "y")));
        let differs = |index: &usize| !table.resources.shares(&before.resources, *index);
        assert_eq!((0..SHARDS).filter(differs).count(), 1);
        assert!((0..SHARDS).all(|index| table.names.shares(&before.names, index)), "no name is new");
        assert_eq!(table.changed_since(&before), [Arc::from("c7")]);
        let largest = (0..SHARDS).filter_map(|index| table.resources.shard(index)).map(|s| s.len()).max();
        assert!(largest < Some(20_000 / SHARDS * 2), "{largest:?} of 20,000 resources are in one shard");
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_and_knows_its_changes(
            first in proptest::collection::vec((any::<u8>(), proptest::option::of(0..3_u8)), 0..400),
            second in proptest::collection::vec((any::<u8>(), proptest::option::of(0..3_u8)), 0..40),
        ) {
            let (before, model_before) = fill(&first);
            let (mut after, mut model) = (before.clone(), model_before.clone());
            apply(&second, &mut after, &mut model);

            prop_assert_eq!(after.len(), model.len());
            prop_assert_eq!(after.iter().count(), model.len());
            prop_assert_eq!(after.names().iter().count(), model.len());
            prop_assert!(after.iter().all(|r| after.names().contains(r.name())));
            for (name, content) in &model {
                prop_assert_eq!(after.get(name).map(|r| r.body()[0]), Some(*content));
            }
            let changed: std::collections::BTreeSet<String> =
                after.changed_since(&before).iter().map(ToString::to_string).collect();
            for name in model_before.keys().chain(model.keys()) {
                if model_before.get(name) != model.get(name) {
                    prop_assert!(changed.contains(name), "{} changed", name);
                }
            }
            let touched: std::collections::BTreeSet<String> = second.iter().map(|(n, _)| format!("r{n}")).collect();
            prop_assert!(changed.is_subset(&touched));
        }

        #[test]
        fn fingerprint_depends_on_content_alone(
            steps in proptest::collection::vec((any::<u8>(), proptest::option::of(0..3_u8)), 0..100),
        ) {
            let (table, model) = fill(&steps);
            let mut fresh = Table::default();
            for (name, content) in model.iter().rev() {
                fresh.set(Arc::new(Resource::whole(name.as_str(), vec![*content])));
            }
            prop_assert_eq!(table.fingerprint(), fresh.fingerprint());
        }
    }
}

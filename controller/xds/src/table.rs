//! A persistent map of resources: cheap to copy, cheap to change, cheap to compare with an earlier copy.
//!
//! Every stream pins the state it is working through while the cache moves on, and must find out what changed since
//! without looking at everything. So a table is a fixed number of shards behind shared pointers: a change copies one
//! shard, a copy of the table copies one pointer, and two copies are compared by skipping the shards they share. With
//! 10,000 resources a change copies about 40 pointers and a comparison reads 256 plus those 40.

use std::cmp::Ordering;
use std::sync::Arc;

use contour_resource::Resource;
use xxhash_rust::xxh3::xxh3_64;

const SHARDS: usize = 256;

/// Resources of one name and version space, ordered by name within a shard.
type Shard = Vec<Arc<Resource>>;

/// The persistent map from name to resource.
#[derive(Clone)]
pub struct Table {
    shards: Arc<Vec<Arc<Shard>>>,
    len: usize,
    fingerprint: u64,
}

impl Default for Table {
    fn default() -> Self {
        let empty = Arc::new(Shard::new());
        Self { shards: Arc::new(vec![empty; SHARDS]), len: 0, fingerprint: 0 }
    }
}

impl Table {
    /// The number of resources.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no resource.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A hash of all names and versions, whatever the order they came in; 0 when empty.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The resource with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        let shard = &self.shards[shard_of(name)];
        position(shard, name).ok().map(|at| &shard[at])
    }

    /// Adds or replaces a resource. Returns false when the same version is there already.
    pub fn set(&mut self, resource: Arc<Resource>) -> bool {
        let index = shard_of(resource.name());
        let found = position(&self.shards[index], resource.name());
        if let Ok(at) = found {
            let old = &self.shards[index][at];
            if old.version() == resource.version() && old.needs() == resource.needs() {
                return false;
            }
            self.fingerprint = self.fingerprint.wrapping_sub(fingerprint(old));
        }
        self.fingerprint = self.fingerprint.wrapping_add(fingerprint(&resource));
        let shard = self.shard_mut(index);
        match found {
            Ok(at) => shard[at] = resource,
            Err(at) => {
                shard.insert(at, resource);
                self.len += 1;
            }
        }
        true
    }

    /// Removes a resource. Returns false when there is none of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        let index = shard_of(name);
        let Ok(at) = position(&self.shards[index], name) else { return false };
        let old = self.shard_mut(index).remove(at);
        self.fingerprint = self.fingerprint.wrapping_sub(fingerprint(&old));
        self.len -= 1;
        true
    }

    /// All resources, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// The names whose resource was added, changed or removed between `earlier` and this table.
    pub fn changed_since(&self, earlier: &Self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        if Arc::ptr_eq(&self.shards, &earlier.shards) {
            return names;
        }
        for (now, then) in self.shards.iter().zip(earlier.shards.iter()) {
            if !Arc::ptr_eq(now, then) {
                compare(now, then, &mut names);
            }
        }
        names
    }

    fn shard_mut(&mut self, index: usize) -> &mut Shard {
        Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[index])
    }
}

/// What one resource adds to the fingerprint of the set it is in.
pub(crate) fn fingerprint(resource: &Resource) -> u64 {
    xxh3_64(resource.name().as_bytes()).rotate_left(32) ^ xxh3_64(&resource.version().to_le_bytes())
}

fn shard_of(name: &str) -> usize {
    usize::try_from(xxh3_64(name.as_bytes()) % SHARDS as u64).expect("a shard number is small")
}

fn position(shard: &Shard, name: &str) -> Result<usize, usize> {
    shard.binary_search_by(|resource| (**resource.name()).cmp(name))
}

/// Merges two ordered shards and notes the names on which they differ.
fn compare(now: &Shard, then: &Shard, names: &mut Vec<Arc<str>>) {
    let (mut i, mut j) = (0, 0);
    loop {
        let order = match (now.get(i), then.get(j)) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.name().cmp(b.name()),
        };
        match order {
            Ordering::Less => {
                names.push(Arc::clone(now[i].name()));
                i += 1;
            }
            Ordering::Greater => {
                names.push(Arc::clone(then[j].name()));
                j += 1;
            }
            Ordering::Equal => {
                if !Arc::ptr_eq(&now[i], &then[j]) {
                    names.push(Arc::clone(now[i].name()));
                }
                i += 1;
                j += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

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
        let copied =
            table.shards.iter().zip(before.shards.iter()).filter(|(now, then)| !Arc::ptr_eq(now, then));
        assert_eq!(copied.count(), 1);
        assert_eq!(table.changed_since(&before), [Arc::from("c7")]);
        let largest = table.shards.iter().map(|shard| shard.len()).max();
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

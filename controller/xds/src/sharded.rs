//! A persistent set of named things: cheap to copy, cheap to change, cheap to compare with another copy.
//!
//! A set is a fixed number of shards behind shared pointers: a change copies one shard, a copy of the set copies one pointer, and
//! two sets are compared by skipping the shards that they share. So a thousand streams that have the same as the cache share its
//! shards, and what they have is compared with what the cache has in 256 comparisons of pointers.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use contour_resource::Resource;
use xxhash_rust::xxh3::xxh3_64;

/// The number of shards of a set that is not empty. With 10,000 things, 40 are in one.
pub(crate) const SHARDS: usize = 256;

/// Something that is found by its name.
pub(crate) trait Named: Clone {
    /// The name, unique in a set.
    fn name(&self) -> &Arc<str>;
    /// Whether two of the same name are the same thing.
    fn same(&self, other: &Self) -> bool;
}

impl Named for Arc<Resource> {
    fn name(&self) -> &Arc<str> {
        Resource::name(self)
    }

    fn same(&self, other: &Self) -> bool {
        Self::ptr_eq(self, other)
    }
}

impl Named for Arc<str> {
    fn name(&self) -> &Arc<str> {
        self
    }

    fn same(&self, _: &Self) -> bool {
        true
    }
}

/// The part of a set whose names have hashes in one range, ordered by hash and name.
#[derive(Debug)]
pub(crate) struct Shard<T> {
    items: Vec<(u64, T)>,
    /// Everything in it as it travels. Of this content alone: a copy that is about to change has none.
    wire: OnceLock<Bytes>,
}

impl<T: Clone> Clone for Shard<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), wire: OnceLock::new() }
    }
}

impl<T: Named> Shard<T> {
    fn new(items: Vec<(u64, T)>) -> Self {
        Self { items, wire: OnceLock::new() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.items.iter().map(|(_, item)| item)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Which shard of a set this is. It is never empty.
    pub(crate) fn index(&self) -> usize {
        self.items.first().map_or(0, |(hash, _)| index_of(*hash))
    }

    /// What was encoded once for all who are sent the whole shard.
    pub(crate) fn wire(&self, encode: impl FnOnce() -> Bytes) -> Bytes {
        self.wire.get_or_init(encode).clone()
    }

    /// Whether this holds the same names as another shard, and no others.
    pub(crate) fn is_named_like<U: Named>(&self, other: &Shard<U>) -> bool {
        let same = |((a, one), (b, two)): (&(u64, T), &(u64, U))| {
            a == b && (Arc::ptr_eq(one.name(), two.name()) || one.name() == two.name())
        };
        self.items.len() == other.items.len() && self.items.iter().zip(&other.items).all(same)
    }

    fn is_same(&self, other: &Self) -> bool {
        let same = |((a, one), (b, two)): (&(u64, T), &(u64, T))| {
            a == b && one.same(two) && (Arc::ptr_eq(one.name(), two.name()) || one.name() == two.name())
        };
        self.items.len() == other.items.len() && self.items.iter().zip(&other.items).all(same)
    }

    fn find(&self, hash: u64, name: &str) -> Result<usize, usize> {
        self.items.binary_search_by(|(h, item)| h.cmp(&hash).then_with(|| (**item.name()).cmp(name)))
    }
}

/// The persistent set.
#[derive(Clone, Debug)]
pub(crate) struct Sharded<T> {
    /// Empty as long as nothing is in it.
    shards: Arc<Vec<Option<Arc<Shard<T>>>>>,
    len: usize,
}

impl<T> Default for Sharded<T> {
    fn default() -> Self {
        Self { shards: Arc::default(), len: 0 }
    }
}

/// A set of names.
pub(crate) type Names = Sharded<Arc<str>>;

impl<T: Named> Sharded<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        let hash = hash(name);
        let shard = self.shard(index_of(hash))?;
        shard.find(hash, name).ok().map(|at| &shard.items[at].1)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Everything, in an order that depends on the names alone.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flatten().flat_map(|shard| shard.iter())
    }

    /// One shard, if anything is in it.
    pub(crate) fn shard(&self, index: usize) -> Option<&Arc<Shard<T>>> {
        self.shards.get(index)?.as_ref()
    }

    /// Whether two sets share a shard, or have nothing in it.
    pub(crate) fn shares(&self, other: &Self, index: usize) -> bool {
        match (self.shard(index), other.shard(index)) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }

    /// Puts a whole shard in the place of what is there.
    pub(crate) fn set_shard(&mut self, index: usize, shard: Option<Arc<Shard<T>>>) {
        if self.shards.is_empty() && shard.is_none() {
            return;
        }
        let slot = &mut self.slots()[index];
        let before = slot.as_ref().map_or(0, |shard| shard.len());
        let after = shard.as_ref().map_or(0, |shard| shard.len());
        *slot = shard.filter(|_| after > 0);
        self.len = self.len - before + after;
        self.give_back();
    }

    /// Adds an item. Returns the one of this name that was there.
    pub(crate) fn insert(&mut self, item: T) -> Option<T> {
        let hash = hash(item.name());
        let shard = self.slots()[index_of(hash)].get_or_insert_with(|| Arc::new(Shard::new(Vec::new())));
        let found = shard.find(hash, item.name());
        let shard = Arc::make_mut(shard);
        shard.wire = OnceLock::new();
        match found {
            Ok(at) => Some(std::mem::replace(&mut shard.items[at].1, item)),
            Err(at) => {
                shard.items.insert(at, (hash, item));
                self.len += 1;
                None
            }
        }
    }

    /// Removes and returns what has this name.
    pub(crate) fn remove(&mut self, name: &str) -> Option<T> {
        let hash = hash(name);
        let index = index_of(hash);
        let at = self.shard(index)?.find(hash, name).ok()?;
        let slot = &mut self.slots()[index];
        let shard = Arc::make_mut(slot.as_mut()?);
        shard.wire = OnceLock::new();
        let (_, item) = shard.items.remove(at);
        if shard.items.is_empty() {
            *slot = None;
        }
        self.len -= 1;
        self.give_back();
        Some(item)
    }

    /// Shares with another set what is the same in both, in the shards that these names are in.
    pub(crate) fn share<U: Named>(&mut self, other: &Self, touched: &Sharded<U>) {
        for index in (0..SHARDS).filter(|index| touched.shard(*index).is_some()) {
            if let (Some(one), Some(two)) = (self.shard(index), other.shard(index))
                && !Arc::ptr_eq(one, two)
                && one.is_same(two)
            {
                let shared = Arc::clone(two);
                self.slots()[index] = Some(shared);
            }
        }
        if self.len == other.len && (0..SHARDS).all(|index| self.shares(other, index)) {
            self.shards = Arc::clone(&other.shards);
        }
    }

    /// Adds one shard of another set, or all that is in it.
    pub(crate) fn add_shard(&mut self, index: usize, shard: &Arc<Shard<T>>) {
        match self.shard(index) {
            None => self.set_shard(index, Some(Arc::clone(shard))),
            Some(present) if Arc::ptr_eq(present, shard) => {}
            Some(_) => shard.iter().for_each(|item| {
                self.insert(item.clone());
            }),
        }
    }

    /// Adds everything of another set.
    pub(crate) fn add(&mut self, other: &Self) {
        for (index, shard) in other.shards.iter().enumerate() {
            if let Some(shard) = shard {
                self.add_shard(index, shard);
            }
        }
    }

    /// Those of these keys that name something in this set that suits them, as a set; and the other keys.
    pub(crate) fn gather<K>(
        &self,
        keys: impl IntoIterator<Item = K>,
        name: impl Fn(&K) -> &str,
        suits: impl Fn(&T, &K) -> bool,
    ) -> (Self, Vec<K>) {
        let (mut found, mut rest): (Vec<Vec<u64>>, _) = (vec![Vec::new(); SHARDS], Vec::new());
        for key in keys {
            let hash = hash(name(&key));
            let index = index_of(hash);
            let at = self.shard(index).and_then(|shard| {
                let at = shard.find(hash, name(&key)).ok()?;
                suits(&shard.items[at].1, &key).then_some((at, shard.len()))
            });
            match at {
                Some((at, len)) => {
                    let bits = &mut found[index];
                    bits.resize(len.div_ceil(64), 0);
                    bits[at / 64] |= 1 << (at % 64);
                }
                None => rest.push(key),
            }
        }
        let mut set = Self::default();
        for (index, bits) in found.iter().enumerate().filter(|(_, bits)| !bits.is_empty()) {
            let Some(shard) = self.shard(index) else { continue };
            let count: u32 = bits.iter().map(|word| word.count_ones()).sum();
            let shard = if usize::try_from(count) == Ok(shard.len()) {
                Arc::clone(shard)
            } else {
                let is_found = |at: &usize| bits[at / 64] >> (at % 64) & 1 == 1;
                let items = (0..shard.len()).filter(is_found).map(|at| shard.items[at].clone());
                Arc::new(Shard::new(items.collect()))
            };
            set.set_shard(index, Some(shard));
        }
        (set, rest)
    }

    /// The names of what was added, changed or removed between `earlier` and this set.
    pub(crate) fn changed_since(&self, earlier: &Self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        if Arc::ptr_eq(&self.shards, &earlier.shards) {
            return names;
        }
        for index in 0..SHARDS {
            if !self.shares(earlier, index) {
                compare(self.items(index), earlier.items(index), &mut names);
            }
        }
        names
    }

    fn items(&self, index: usize) -> &[(u64, T)] {
        self.shard(index).map_or(&[], |shard| &shard.items)
    }

    fn slots(&mut self) -> &mut Vec<Option<Arc<Shard<T>>>> {
        let shards = Arc::make_mut(&mut self.shards);
        shards.resize(SHARDS, None);
        shards
    }

    fn give_back(&mut self) {
        if self.len == 0 {
            self.shards = Arc::default();
        }
    }
}

impl<T: Named> Extend<T> for Sharded<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| {
            self.insert(item);
        });
    }
}

/// The hash that places a name.
fn hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// The shard that a name is in.
pub(crate) fn index_of_name(name: &str) -> usize {
    index_of(hash(name))
}

fn index_of(hash: u64) -> usize {
    usize::try_from(hash >> 56).expect("a byte")
}

/// Merges two ordered shards and notes the names on which they differ.
fn compare<T: Named>(now: &[(u64, T)], then: &[(u64, T)], names: &mut Vec<Arc<str>>) {
    let (mut i, mut j) = (0, 0);
    loop {
        let order = match (now.get(i), then.get(j)) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, one)), Some((b, two))) => a.cmp(b).then_with(|| one.name().cmp(two.name())),
        };
        match order {
            Ordering::Less => {
                names.push(Arc::clone(now[i].1.name()));
                i += 1;
            }
            Ordering::Greater => {
                names.push(Arc::clone(then[j].1.name()));
                j += 1;
            }
            Ordering::Equal => {
                if !now[i].1.same(&then[j].1) {
                    names.push(Arc::clone(now[i].1.name()));
                }
                i += 1;
                j += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(range: std::ops::Range<usize>) -> Names {
        let mut names = Names::default();
        names.extend(range.map(|i| Arc::from(format!("n{i}"))));
        names
    }

    #[test]
    fn all_of_a_set_is_gathered_as_that_set() {
        let all = names(0..5_000);
        let (same, rest) = all.gather(all.iter().cloned().collect::<Vec<_>>(), |k| k, |_, _| true);
        assert!(rest.is_empty() && (0..SHARDS).all(|i| same.shares(&all, i)));
        assert_eq!(same.len(), 5_000);
        // A name that is there twice is one; what is not there is told; one that is missing costs its shard.
        let keys = all.iter().skip(1).chain(all.iter().nth(7)).map(ToString::to_string);
        let (fewer, rest) = all.gather(keys.chain(["other".to_owned()]), |k| k, |_, _| true);
        assert_eq!((fewer.len(), rest), (4_999, vec!["other".to_owned()]));
        assert_eq!((0..SHARDS).filter(|i| !fewer.shares(&all, *i)).count(), 1);
        assert_eq!(all.changed_since(&fewer), [Arc::clone(all.iter().next().unwrap())]);
    }

    #[test]
    fn what_is_the_same_again_is_shared_again() {
        let all = names(0..5_000);
        let mut some = all.clone();
        some.remove("n7");
        assert_eq!(some.len(), 4_999);
        some.insert("n7".into());
        assert_eq!((0..SHARDS).filter(|i| !some.shares(&all, *i)).count(), 1);
        some.share(&all, &names(7..8));
        assert!((0..SHARDS).all(|i| some.shares(&all, i)));
        assert!(Arc::ptr_eq(&some.shards, &all.shards), "all of it is shared");
        let mut sum = names(0..10);
        sum.add(&all);
        assert_eq!((sum.len(), sum.changed_since(&all).len()), (5_000, 0));
        all.iter().for_each(|name| assert!(sum.remove(name).is_some()));
        assert!(sum.is_empty() && sum.shards.is_empty());
    }
}

//! A map that keeps so many entries of each origin, and so many in all: nobody's push out another's.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::RangeFrom;
use std::sync::Arc;

/// None: nobody's in particular, bounded only with all others.
pub(crate) type Origin = Option<Arc<str>>;

/// An entry, with its origin and the number of its key in the order of keys.
struct Entry<V> {
    value: V,
    origin: Origin,
    age: u64,
}

/// The map. Beyond its bounds an origin loses what it has had longest.
pub(crate) struct Bounded<K, V> {
    of_each: usize,
    in_all: usize,
    entries: BTreeMap<K, Entry<V>>,
    by_origin: BTreeMap<Origin, BTreeMap<u64, K>>,
    next: u64,
}

impl<K: Clone + Ord, V> Bounded<K, V> {
    pub(crate) fn new(of_each: usize, in_all: usize) -> Self {
        Self { of_each, in_all, entries: BTreeMap::new(), by_origin: BTreeMap::new(), next: 0 }
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// The entries from a key on, in the order of keys.
    pub(crate) fn range(&self, keys: RangeFrom<K>) -> impl Iterator<Item = (&K, &V)> {
        self.entries.range(keys).map(|(key, entry)| (key, &entry.value))
    }

    /// Adds or replaces an entry, which then is the latest.
    pub(crate) fn insert(&mut self, key: K, origin: &Origin, value: V) {
        self.remove(&key);
        let age = self.next;
        self.next += 1;
        let own = self.by_origin.entry(origin.clone()).or_default();
        own.insert(age, key.clone());
        let too_many = origin.is_some() && own.len() > self.of_each;
        self.entries.insert(key, Entry { value, origin: origin.clone(), age });
        let loses = if too_many {
            Some(origin.clone())
        } else if self.entries.len() > self.in_all {
            let most = self.by_origin.iter().max_by_key(|(_, own)| own.len());
            most.map(|(origin, _)| origin.clone())
        } else {
            None
        };
        let oldest = loses.and_then(|origin| self.by_origin.get(&origin)?.values().next().cloned());
        if let Some(key) = oldest {
            self.remove(&key);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let Entry { value, origin, age } = self.entries.remove(key)?;
        if let Some(own) = self.by_origin.get_mut(&origin) {
            own.remove(&age);
            if own.is_empty() {
                self.by_origin.remove(&origin);
            }
        }
        Some(value)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_most_loses_its_oldest() {
        let mut bounded = Bounded::new(3, 5);
        let (a, b) = (Some(Arc::from("a")), Some(Arc::from("b")));
        (0..10).for_each(|key| bounded.insert(key, &a, ()));
        (10..13).for_each(|key| bounded.insert(key, &b, ()));
        let keys = |bounded: &Bounded<i32, ()>| bounded.range(0..).map(|(key, ())| *key).collect::<Vec<_>>();
        assert_eq!(keys(&bounded), [7, 8, 9, 11, 12], "three of each, five in all");
        bounded.insert(13, &None, ());
        assert_eq!(keys(&bounded), [8, 9, 11, 12, 13]);
        bounded.insert(8, &a, ());
        bounded.insert(14, &a, ());
        assert_eq!(keys(&bounded), [8, 11, 12, 13, 14], "what was said again is not the oldest");
        (8..15).for_each(|key| {
            bounded.remove(&key);
        });
        assert!(bounded.len() == 0 && bounded.by_origin.is_empty());
    }

    #[test]
    fn what_is_nobodys_is_bounded_with_all() {
        let mut bounded = Bounded::new(3, 5);
        (0..10).for_each(|key| bounded.insert(key, &None, key));
        assert_eq!((bounded.len(), bounded.get(&9), bounded.get(&4)), (5, Some(&9), None));
    }
}

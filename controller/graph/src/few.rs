//! Collections that mostly hold one thing. There is one of each for every host, and a tree's first node has room for eleven.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

/// A set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Few<T> {
    One(T),
    Many(BTreeSet<T>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(BTreeSet::new())
    }
}

impl<T: Ord + Clone> Few<T> {
    pub(crate) fn insert(&mut self, item: T) {
        match self {
            Self::Many(none) if none.is_empty() => *self = Self::One(item),
            Self::One(present) if *present == item => {}
            Self::One(present) => *self = Self::Many(BTreeSet::from([present.clone(), item])),
            Self::Many(items) => {
                items.insert(item);
            }
        }
    }

    /// Takes an item out. Returns whether nothing is left; then the set must go.
    #[must_use]
    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        match self {
            Self::One(present) => (*present).borrow() == item,
            Self::Many(items) => {
                items.remove(item);
                if let (1, Some(last)) = (items.len(), items.first()) {
                    *self = Self::One(last.clone());
                }
                false
            }
        }
    }

    /// The items, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, many) = match self {
            Self::One(item) => (Some(item), None),
            Self::Many(items) => (None, Some(items)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// A map that is not changed once it is made.
#[derive(Clone, Debug)]
pub(crate) struct Packed<K, V>(Box<[(K, V)]>);

impl<K, V> Default for Packed<K, V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<K: Ord, V> From<BTreeMap<K, V>> for Packed<K, V> {
    fn from(map: BTreeMap<K, V>) -> Self {
        Self(map.into_iter().collect())
    }
}

impl<K: Ord, V> Packed<K, V> {
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = self.0.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Keys and values, in the order of keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_one_grows_and_shrinks() {
        let mut few = Few::default();
        assert!(few.iter().next().is_none());
        few.insert(3);
        assert_eq!(few, Few::One(3));
        assert!(few.clone().remove(&3));
        for item in [5, 3, 1] {
            few.insert(item);
        }
        assert_eq!(few.iter().copied().collect::<Vec<_>>(), [1, 3, 5]);
        assert!(!few.remove(&3) && !few.remove(&4) && !few.remove(&1));
        assert_eq!(few, Few::One(5));
        assert!(!few.remove(&4));
        assert!(few.remove(&5));
    }

    #[test]
    fn a_packed_map_finds_what_it_was_made_of() {
        let packed: Packed<&str, u8> = BTreeMap::from([("b", 2), ("a", 1)]).into();
        assert_eq!(["a", "b", "c"].map(|key| packed.get(key).copied()), [Some(1), Some(2), None]);
        assert_eq!(packed.iter().map(|(key, _)| *key).collect::<String>(), "ab");
    }
}

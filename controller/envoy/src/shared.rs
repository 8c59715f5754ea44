//! Resources that many users refer to by name: held as long as one does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is held, by name.
#[derive(Debug)]
pub(crate) struct Shared<V> {
    held: BTreeMap<Arc<str>, Held<V>>,
    /// Names whose published state may be out of date.
    touched: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
struct Held<V> {
    wanted: V,
    published: Option<V>,
    users: BTreeSet<Arc<str>>,
}

/// One step of what is published under a name. Both values differ.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change<V> {
    /// The name.
    pub(crate) name: Arc<str>,
    /// What was published.
    pub(crate) before: Option<V>,
    /// What is to be published; `None`: nobody refers to it any more.
    pub(crate) after: Option<V>,
}

impl<V> Default for Shared<V> {
    fn default() -> Self {
        Self { held: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

impl<V: Clone + PartialEq> Shared<V> {
    /// Says that `user` refers to `name`, which means `value`. The latest value counts.
    pub(crate) fn acquire(&mut self, name: &Arc<str>, user: &Arc<str>, value: &V) {
        let held = self.held.entry(Arc::clone(name)).or_insert_with(|| Held {
            wanted: value.clone(),
            published: None,
            users: BTreeSet::new(),
        });
        held.users.insert(Arc::clone(user));
        if held.wanted != *value {
            held.wanted = value.clone();
        }
        if held.published.as_ref() != Some(&held.wanted) {
            self.touched.insert(Arc::clone(name));
        }
    }

    /// Says that `user` no longer refers to `name`.
    pub(crate) fn release(&mut self, name: &Arc<str>, user: &Arc<str>) {
        if let Some(held) = self.held.get_mut(name) {
            held.users.remove(user);
            if held.users.is_empty() {
                self.touched.insert(Arc::clone(name));
            }
        }
    }

    /// Takes what has to change since the last call.
    pub(crate) fn publish(&mut self) -> Vec<Change<V>> {
        std::mem::take(&mut self.touched).into_iter().filter_map(|name| self.publish_one(name)).collect()
    }

    fn publish_one(&mut self, name: Arc<str>) -> Option<Change<V>> {
        let held = self.held.get_mut(&name)?;
        if held.users.is_empty() {
            let before = self.held.remove(&name)?.published;
            return before.is_some().then_some(Change { name, before, after: None });
        }
        let after = Some(held.wanted.clone());
        let before = std::mem::replace(&mut held.published, after.clone());
        (before != after).then_some(Change { name, before, after })
    }

    /// Who refers to a name.
    pub(crate) fn users(&self, name: &str) -> impl Iterator<Item = &Arc<str>> {
        self.held.get(name).into_iter().flat_map(|held| &held.users)
    }

    /// What is held under a name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.held.get(name).map(|held| &held.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn a_resource_lives_as_long_as_a_user() {
        let mut shared = Shared::default();
        let (c, a, b) = (name("cluster"), name("a"), name("b"));
        shared.acquire(&c, &a, &1);
        shared.acquire(&c, &b, &1);
        let created = Change { name: c.clone(), before: None, after: Some(1) };
        assert_eq!(shared.publish(), [created]);
        shared.release(&c, &a);
        assert_eq!(shared.publish(), []);
        shared.release(&c, &b);
        shared.acquire(&c, &a, &1);
        assert_eq!(shared.publish(), [], "moved from one user to another within a step");
        shared.release(&c, &a);
        assert_eq!(shared.publish(), [Change { name: c, before: Some(1), after: None }]);
    }

    #[test]
    fn a_new_value_replaces_the_old_one() {
        let mut shared = Shared::default();
        let (c, a) = (name("cluster"), name("a"));
        shared.acquire(&c, &a, &1);
        shared.publish();
        shared.acquire(&c, &a, &2);
        assert_eq!(shared.publish(), [Change { name: c.clone(), before: Some(1), after: Some(2) }]);
        shared.acquire(&c, &a, &3);
        shared.acquire(&c, &a, &2);
        assert_eq!(shared.publish(), [], "nothing differs from what is published");
    }

    #[test]
    fn what_was_never_published_is_not_removed() {
        let mut shared = Shared::default();
        let (c, a) = (name("cluster"), name("a"));
        shared.acquire(&c, &a, &1);
        shared.release(&c, &a);
        assert_eq!(shared.publish(), []);
    }
}

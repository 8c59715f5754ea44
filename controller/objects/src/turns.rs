//! What waits for many namespaces, each of which gets its turn.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// Queues by namespace: one of each in turn, so that nobody waits for all that another has queued.
#[derive(Clone, Debug)]
pub struct Turns<T> {
    queues: BTreeMap<Arc<str>, VecDeque<T>>,
    last: Option<Arc<str>>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), last: None }
    }
}

impl<T> Turns<T> {
    /// Adds what is the last of its namespace.
    pub fn push(&mut self, namespace: &Arc<str>, what: T) {
        self.queues.entry(Arc::clone(namespace)).or_default().push_back(what);
    }

    /// Takes the first of the next namespace that has any.
    pub fn pop(&mut self) -> Option<T> {
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.queues.range::<Arc<str>, _>((after, Bound::Unbounded)).next();
        let namespace = Arc::clone(next.or_else(|| self.queues.first_key_value())?.0);
        let queue = self.queues.get_mut(&namespace)?;
        let what = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&namespace);
        }
        self.last = Some(namespace);
        what
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Drops everything that waits.
    pub fn clear(&mut self) {
        self.queues.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_take_turns_and_each_keeps_its_order() {
        let mut turns = Turns::default();
        for what in 1..=4 {
            turns.push(&"b".into(), what);
        }
        assert_eq!(turns.pop(), Some(1));
        turns.push(&"a".into(), 10);
        turns.push(&"c".into(), 20);
        turns.push(&"c".into(), 21);
        let rest: Vec<i32> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(rest, [20, 10, 2, 21, 3, 4]);
        assert!(turns.is_empty() && turns.queues.is_empty());
    }
}

//! The published state: every resource of every type, and the news that it changed.

use std::sync::Arc;
use std::time::Instant;

use contour_resource::{Resource, ResourceType, Transaction};
use tokio::sync::watch;

use crate::table::Table;

/// One immutable published state. A clone is six pointers.
#[derive(Clone)]
pub struct Snapshot {
    tables: [Table; ResourceType::ALL.len()],
    sequence: u64,
    committed: Instant,
    open: bool,
}

impl Snapshot {
    /// The resource of this type and name.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.table(kind).get(name)
    }

    /// All resources of a type.
    pub fn table(&self, kind: ResourceType) -> &Table {
        &self.tables[kind as usize]
    }

    /// How many commits led here. Orders snapshots of one process; never leaves it.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When the last commit was made.
    pub fn committed(&self) -> Instant {
        self.committed
    }

    /// Whether this state is complete, so that streams may be answered from it.
    pub fn is_open(&self) -> bool {
        self.open
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            tables: std::array::from_fn(|_| Table::default()),
            sequence: 0,
            committed: Instant::now(),
            open: false,
        }
    }
}

/// The one place resources are published. A clone is another handle to the same state.
///
/// A commit costs what it touches and wakes the streams; a commit that changes nothing wakes nobody.
#[derive(Clone)]
pub struct Cache {
    state: watch::Sender<Snapshot>,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache {
    /// An empty cache, not yet open.
    pub fn new() -> Self {
        Self { state: watch::Sender::new(Snapshot::default()) }
    }

    /// Publishes one consistent step. Returns whether anything changed.
    pub fn commit(&self, transaction: Transaction) -> bool {
        self.commit_at(transaction, Instant::now())
    }

    pub(crate) fn commit_at(&self, transaction: Transaction, now: Instant) -> bool {
        self.state.send_if_modified(|state| {
            let mut changed = false;
            // Removals first: a transaction that names a resource in both lists ends with it set.
            for (kind, name) in &transaction.remove {
                changed |= state.tables[*kind as usize].remove(name);
            }
            for (kind, resource) in transaction.set {
                changed |= state.tables[kind as usize].set(resource);
            }
            if changed {
                state.sequence += 1;
                state.committed = now;
            }
            changed
        })
    }

    /// Says that the first complete state was committed: from now on streams are answered. There is no way back.
    pub fn open(&self) {
        self.state.send_if_modified(|state| !std::mem::replace(&mut state.open, true));
    }

    /// The present state.
    pub fn snapshot(&self) -> Snapshot {
        self.state.borrow().clone()
    }

    /// The present state and the news of later ones.
    pub(crate) fn watch(&self) -> watch::Receiver<Snapshot> {
        self.state.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, content: &str) -> Transaction {
        Transaction {
            set: vec![(ResourceType::Cluster, Arc::new(Resource::whole(name, content.to_owned())))],
            remove: vec![],
        }
    }

    #[test]
    fn a_commit_that_changes_nothing_wakes_nobody() {
        let cache = Cache::new();
        let mut news = cache.watch();
        assert!(cache.commit(set("a", "1")));
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        assert!(!cache.commit(set("a", "1")));
        assert!(
            !cache.commit(Transaction { set: vec![], remove: vec![(ResourceType::Cluster, "b".into())] })
        );
        assert!(!news.has_changed().unwrap());
        cache.open();
        cache.open();
        assert!(cache.snapshot().is_open());
        assert_eq!(cache.snapshot().sequence(), 1);
    }

    #[test]
    fn a_snapshot_does_not_move() {
        let cache = Cache::new();
        cache.commit(set("a", "1"));
        let before = cache.snapshot();
        cache.commit(set("a", "2"));
        assert_eq!(before.get(ResourceType::Cluster, "a").unwrap().body(), "1");
        assert_eq!(cache.snapshot().get(ResourceType::Cluster, "a").unwrap().body(), "2");
    }
}

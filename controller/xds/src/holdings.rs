//! What a peer has of one type, as far as it has said so.

use std::collections::HashMap;
use std::sync::Arc;

use contour_resource::Resource;

use crate::batch::Batch;
use crate::sharded::{Names, Sharded};
use crate::table::Table;

/// What the peer has under a name.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// A version from an earlier stream; None for one that is not ours.
    Version(Option<u64>),
    /// A version from an earlier stream that lacks what the peer refused of the resource in this version, and nothing else.
    /// What stands in place of the refused parts is not known.
    Lacking(u64),
    /// What was sent on this stream, or an earlier one, and accepted.
    Sent(Arc<Resource>),
    /// It was told that there is no such resource.
    Absent,
}

/// What is known, by name. What is the same as in the cache is shared with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holdings {
    sent: Sharded<Arc<Resource>>,
    /// What is not [`Known::Sent`].
    other: HashMap<Arc<str>, Known>,
}

impl Holdings {
    pub(crate) fn get(&self, name: &str) -> Option<Known> {
        self.sent(name)
            .map(|resource| Known::Sent(Arc::clone(resource)))
            .or_else(|| self.other.get(name).cloned())
    }

    /// What was accepted under a name.
    pub(crate) fn sent(&self, name: &str) -> Option<&Arc<Resource>> {
        self.sent.get(name)
    }

    /// Everything that was accepted.
    pub(crate) fn all_sent(&self) -> &Sharded<Arc<Resource>> {
        &self.sent
    }

    /// The names under which something else is known than what was accepted.
    pub(crate) fn other_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.other.keys()
    }

    /// All names of which something is known.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sent.iter().map(|resource| resource.name()).chain(self.other.keys())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.other.is_empty()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.sent.contains(name) || self.other.contains_key(name)
    }

    pub(crate) fn insert(&mut self, name: Arc<str>, known: Known) {
        match known {
            Known::Sent(resource) => {
                self.other.remove(&name);
                self.sent.insert(resource);
            }
            other => {
                self.sent.remove(&name);
                self.other.insert(name, other);
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.sent.remove(name);
        self.other.remove(name);
    }

    /// What the peer is known to have from an earlier stream, as it is in the cache.
    pub(crate) fn adopt(&mut self, found: &Sharded<Arc<Resource>>) {
        if !self.other.is_empty() {
            found.iter().for_each(|resource| {
                self.other.remove(resource.name());
            });
        }
        self.sent.add(found);
    }

    /// The peer accepted what it still `wants` of a batch.
    pub(crate) fn accept(&mut self, batch: &Batch, wants: &Wants<'_>) {
        for shard in batch.shards() {
            let index = shard.index();
            let is_all = self.sent.shard(index).is_none_or(|present| present.is_named_like(shard));
            if is_all && self.other.is_empty() && wants.all_of(shard.as_ref()) {
                self.sent.set_shard(index, Some(Arc::clone(shard)));
            } else {
                shard.iter().filter(|r| wants.one(r.name())).for_each(|resource| self.take(resource));
            }
        }
        batch.singles().iter().filter(|r| wants.one(r.name())).for_each(|resource| self.take(resource));
    }

    fn take(&mut self, resource: &Arc<Resource>) {
        self.insert(Arc::clone(resource.name()), Known::Sent(Arc::clone(resource)));
    }

    /// Shares with the cache what has come to be the same under these names.
    pub(crate) fn share<'n>(&mut self, table: &Table, names: impl Iterator<Item = &'n Arc<str>>) {
        let mut touched = Names::default();
        touched.extend(names.cloned());
        self.sent.share(table.resources(), &touched);
    }
}

/// What a subscription covers.
pub(crate) struct Wants<'s> {
    pub(crate) everything: bool,
    pub(crate) names: &'s Names,
}

impl Wants<'_> {
    fn one(&self, name: &str) -> bool {
        self.everything || self.names.contains(name)
    }

    fn all_of(&self, shard: &crate::sharded::Shard<Arc<Resource>>) -> bool {
        self.everything
            || self.names.shard(shard.index()).is_some_and(|names| names.is_named_like(shard))
            || shard.iter().all(|resource| self.names.contains(resource.name()))
    }
}

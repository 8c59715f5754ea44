//! Resources on their way to a peer.

use std::sync::Arc;

use contour_resource::Resource;

use crate::sharded::Shard;

/// Resources to be sent: whole shards of a table, which are encoded once for everybody, and single ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    shards: Vec<Arc<Shard<Arc<Resource>>>>,
    singles: Vec<Arc<Resource>>,
}

impl Batch {
    pub(crate) fn push(&mut self, resource: Arc<Resource>) {
        self.singles.push(resource);
    }

    pub(crate) fn extend_shard(&mut self, shard: Option<&Arc<Shard<Arc<Resource>>>>) {
        self.shards.extend(shard.cloned());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shards.is_empty() && self.singles.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.singles.len() + self.shards.iter().map(|shard| shard.len()).sum::<usize>()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.shards.iter().flat_map(|shard| shard.iter()).chain(&self.singles)
    }

    pub(crate) fn shards(&self) -> &[Arc<Shard<Arc<Resource>>>] {
        &self.shards
    }

    pub(crate) fn singles(&self) -> &[Arc<Resource>] {
        &self.singles
    }

    /// The same, each resource in the place it has by its name.
    pub(crate) fn sorted(&self) -> Vec<Arc<Resource>> {
        let mut all: Vec<Arc<Resource>> = self.iter().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Puts what is sent one by one in the order of names.
    pub(crate) fn sort(&mut self) {
        self.singles.sort_by(|a, b| a.name().cmp(b.name()));
    }
}

impl From<Vec<Arc<Resource>>> for Batch {
    fn from(singles: Vec<Arc<Resource>>) -> Self {
        Self { shards: Vec::new(), singles }
    }
}

impl Extend<Arc<Resource>> for Batch {
    fn extend<I: IntoIterator<Item = Arc<Resource>>>(&mut self, resources: I) {
        self.singles.extend(resources);
    }
}

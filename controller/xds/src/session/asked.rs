//! What a peer says that it wants and has.

use std::sync::Arc;

use contour_resource::{ResourceType, read_version};

use super::Session;
use crate::holdings::Known;
use crate::isolation::Suspect;
use crate::lane::EARLIER;
use crate::message::{Output, Text};
use crate::sharded::{Names, SHARDS, Shard};
use crate::subscription::Change;
use crate::table::Table;

use ResourceType::Cluster;

impl Session {
    /// A peer says which versions it has from an earlier stream.
    pub(super) fn learn_all(&mut self, kind: ResourceType, initial: Vec<(Text, Text)>, table: &Table) {
        let others = if self.recall.has_any_variants(kind) {
            initial
        } else {
            self.lanes[kind as usize].learn_present(initial, table)
        };
        for (name, version) in others {
            self.learn(kind, (*name).into(), &version);
        }
    }

    /// A peer says that it has this version from an earlier stream.
    fn learn(&mut self, kind: ResourceType, name: Arc<str>, text: &str) {
        let current = self.source(kind).get(kind, &name).cloned();
        let lane = &mut self.lanes[kind as usize];
        if !lane.subscription.contains(&name) {
            return;
        }
        let Some((version, withheld)) = read_version(text) else {
            lane.known.insert(name, Known::Version(None));
            return;
        };
        if self.recall.has_variants(kind, &name) {
            lane.restore(&name);
        }
        let is_current = current.as_ref().is_some_and(|current| current.version() == version);
        if !is_current && let Some(memory) = self.recall.find(kind, &name, version) {
            for (part, rejection) in memory.refused {
                self.outputs.push(Output::Rejected {
                    kind,
                    resource: Arc::clone(&name),
                    part: Arc::clone(&part),
                    hash: rejection.hash,
                    message: rejection.message.clone(),
                });
                lane.rejections.insert(&name, &part, rejection);
            }
            lane.known.insert(name, Known::Sent(memory.resource));
            return;
        }
        for Suspect { resource, part, hash, .. } in lane.learn(&name, current.as_ref(), version, &withheld) {
            let message = EARLIER.to_owned();
            self.outputs.push(Output::Rejected { kind, resource, part, hash, message });
        }
    }

    /// Returns whether the peer wants more than before.
    pub(super) fn subscribed(&mut self, kind: ResourceType, change: &Change, first: bool) -> bool {
        let mut dropped = change.dropped.clone();
        if change.only_named {
            dropped.extend(self.lane(kind).unwanted());
        }
        for name in dropped {
            let parts = self.lane_mut(kind).drop_name(&name);
            self.recover(kind, parts.into_iter().map(|part| (Arc::clone(&name), part)).collect());
            if kind == Cluster {
                self.warming().forget(&name);
            }
        }
        if change.all || first {
            self.mark_all(kind, change.all);
        }
        self.mark_asked(kind, &change.asked, first);
        change.all || !change.asked.is_empty()
    }

    /// What a peer has that differs from the cache has to be looked at, and what it lacks if it wants everything.
    fn mark_all(&mut self, kind: ResourceType, wants_all: bool) {
        let table = self.source(kind).table(kind).clone();
        let known = &self.lane(kind).known;
        if known.all_sent().is_empty() {
            if wants_all {
                self.mark_present(kind, table.names());
            }
        } else {
            let differing = table.resources().changed_since(known.all_sent());
            let wanted = |name: &&Arc<str>| wants_all || self.lane(kind).known.contains(name);
            let names: Vec<Arc<str>> = differing.iter().filter(wanted).cloned().collect();
            for name in &names {
                self.mark(kind, name);
            }
        }
        let others: Vec<Arc<str>> = self.lane(kind).known.other_names().cloned().collect();
        for name in &others {
            self.mark(kind, name);
        }
    }

    /// What a peer asks for has to be looked at; what it has already of the same stream is sent again.
    fn mark_asked(&mut self, kind: ResourceType, asked: &Names, first: bool) {
        let table = self.source(kind).table(kind).clone();
        for index in 0..SHARDS {
            let Some(shard) = asked.shard(index) else { continue };
            let known = &self.lane(kind).known;
            let whole = asked.shares(table.names(), index) && known.other_names().next().is_none();
            if whole && first && known.all_sent().shares(table.resources(), index) {
                continue;
            }
            if whole && known.all_sent().shard(index).is_none() {
                self.mark_shard(kind, index, shard);
                continue;
            }
            for name in shard.iter() {
                if !first && self.lane(kind).known.contains(name) {
                    self.lane_mut(kind).forced.insert(Arc::clone(name));
                }
                self.mark(kind, name);
            }
        }
    }

    /// These names, which are all present, have to be looked at.
    fn mark_present(&mut self, kind: ResourceType, names: &Names) {
        for index in 0..SHARDS {
            if let Some(shard) = names.shard(index) {
                self.mark_shard(kind, index, shard);
            }
        }
    }

    fn mark_shard(&mut self, kind: ResourceType, index: usize, names: &Arc<Shard<Arc<str>>>) {
        let lane = self.lane_mut(kind);
        if !lane.leaving.is_empty() {
            names.iter().for_each(|name| {
                lane.leaving.remove(name);
            });
        }
        lane.dirty.add_shard(index, names);
    }
}

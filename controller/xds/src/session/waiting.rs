//! What waits for Clusters that are not warm, and how long.

use std::sync::Arc;
use std::time::Duration;

use contour_resource::ResourceType::{Cluster, Listener, Route};

use super::{HOLD, PATIENCE, Session};
use crate::message::Output;

impl Session {
    /// Makes Listeners and Routes wait for the Clusters on their way; only the parts that use them, if the peer is slow already.
    pub(super) fn arm(&mut self) {
        self.warming();
        let clusters = self.latest.table(Cluster);
        let lane = &self.lanes[Cluster as usize];
        let had_its_time = &self.late;
        let waited_for = |name: &str| clusters.get(name).is_some() && !had_its_time.contains_key(name);
        if !lane.overdue.is_empty() {
            // The peer is known to take its time with some Cluster: nobody waits for another's any more.
            let on_their_way = self.warming.on_their_way().chain(lane.dirty.iter());
            let names: Vec<Arc<str>> = on_their_way.filter(|name| waited_for(name)).cloned().collect();
            let until = self.patience.spent() + HOLD;
            self.late.extend(names.into_iter().map(|name| (name, Some(until))));
            return;
        }
        self.warming.arm(lane.dirty.iter(), waited_for);
        if self.warming.holding() {
            self.held_since.get_or_insert(self.patience.spent());
        }
    }

    /// Some of the Clusters that Listeners and Routes wait for.
    pub(crate) fn waits_for(&self, most: usize) -> Vec<Arc<str>> {
        self.warming.waited_for().chain(self.late.keys()).take(most).cloned().collect()
    }

    /// Whether Listeners and Routes have to wait.
    pub(super) fn holding(&self) -> bool {
        self.warming.holding() || self.view_is_stale
    }

    /// Goes on without what has had its time.
    pub(super) fn lose_patience(&mut self) {
        let spent = self.patience.spent();
        if self.lane(Cluster).in_flight.is_some() && spent >= self.clusters_sent + PATIENCE {
            self.lane_mut(Cluster).overdue();
        }
        if let Some(since) = self.held_since.filter(|since| spent >= *since + PATIENCE) {
            for name in self.warming().let_go() {
                self.late.entry(name).or_insert(Some(since + HOLD));
            }
            self.held_since = None;
            self.view_is_stale = false;
        }
        let had_its_time =
            |_: &Arc<str>, until: &mut Option<Duration>| until.is_some_and(|until| spent >= until);
        let waited_for: Vec<Arc<str>> =
            self.late.extract_if(.., had_its_time).map(|(name, _)| name).collect();
        if !waited_for.is_empty() {
            for name in &waited_for {
                self.warming().forget(name);
            }
            self.look_at_what_is_behind();
            self.outputs.push(Output::GaveUp { waited_for });
        }
    }

    /// Parts no longer wait for what has become warm, or was accepted, or is gone.
    pub(super) fn thaw(&mut self) {
        if self.late.is_empty() {
            return;
        }
        self.warming();
        let before = self.late.len();
        let (warming, lane) = (&self.warming, &self.lanes[Cluster as usize]);
        let most = self.patience.spent() + HOLD;
        self.late.retain(|name, until| {
            if until.is_none() && lane.holds_back(name) && !lane.has(name) {
                return true;
            }
            until.get_or_insert(most);
            warming.is_warming(name) || lane.dirty.contains(name)
        });
        if self.late.len() != before {
            self.look_at_what_is_behind();
        }
    }

    fn look_at_what_is_behind(&mut self) {
        for kind in [Listener, Route] {
            let lane = self.lane_mut(kind);
            let behind: Vec<Arc<str>> = lane.behind.iter().cloned().collect();
            lane.dirty.extend(behind);
        }
    }
}

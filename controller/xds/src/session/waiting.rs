//! What waits for Clusters that are not warm, and how long.
//!
//! Envoy answers to no Cluster while one is warming, and one whose endpoints are checked, or found by name, takes as long as its owner
//! likes. So these go in responses of their own, after the others, to which an answer is not waited for; only the parts that use
//! them do wait. It is otherwise when a peer is given all there is: it serves nobody yet, and is better off if it has everything when
//! it begins.

use std::sync::Arc;
use std::time::Duration;

use contour_resource::ResourceType::{Cluster, Listener, Route};

use super::{HOLD, PATIENCE, Session};
use crate::lane::Draft;
use crate::message::{Mode, Output};

impl Session {
    /// Makes Listeners and Routes wait for the Clusters on their way; only the parts that use them, if the peer is slow already.
    pub(super) fn arm(&mut self) {
        self.warming();
        let clusters = self.latest.table(Cluster);
        let lane = &self.lanes[Cluster as usize];
        let had_its_time = &self.late;
        // Where the peer has taken its time with a Cluster of which nobody knew it, nobody waits for another's any more.
        let (stalled, serves) = (lane.overdue.iter().any(|in_flight| in_flight.late), self.serves());
        let waits_alone =
            |name: &str| serves && (stalled || clusters.get(name).is_some_and(|c| c.warms_slowly()));
        let waited_for = |name: &str| clusters.get(name).is_some() && !had_its_time.contains_key(name);
        let on_their_way = self.warming.on_their_way().chain(lane.dirty.iter());
        let (alone, all): (Vec<&Arc<str>>, Vec<&Arc<str>>) =
            on_their_way.filter(|name| waited_for(name)).partition(|name| waits_alone(name));
        let until = Some(self.patience.spent() + HOLD);
        let alone: Vec<_> = alone.into_iter().map(|name| (Arc::clone(name), until)).collect();
        let all: Vec<Arc<str>> = all.into_iter().cloned().collect();
        self.late.extend(alone);
        self.warming.arm(all);
        if self.warming.holding() {
            self.held_since.get_or_insert(self.patience.spent());
        }
    }

    /// Whether the peer has routes already, so that what it is sent is a change.
    fn serves(&self) -> bool {
        self.mode == Mode::Delta && self.lane(Route).has_any()
    }

    /// Whether this changes nothing but Clusters that may take long to warm.
    pub(super) fn is_slow(&self, draft: &Draft) -> bool {
        let plain = draft.trial || draft.set.is_empty() || !draft.removed.is_empty();
        !plain && self.serves() && draft.set.iter().all(|cluster| cluster.warms_slowly())
    }

    /// Takes the Clusters that may take long to warm out of what is due, if anything else is.
    pub(super) fn set_slow_apart(&mut self) -> Vec<Arc<str>> {
        if !self.serves() {
            return Vec::new();
        }
        let clusters = self.latest.table(Cluster);
        let is_slow = |name: &&Arc<str>| clusters.get(name).is_some_and(|cluster| cluster.warms_slowly());
        let lane = &mut self.lanes[Cluster as usize];
        let slow: Vec<Arc<str>> = lane.dirty.iter().filter(is_slow).cloned().collect();
        if slow.len() == lane.dirty.len() && lane.forced.is_empty() {
            return Vec::new();
        }
        for name in &slow {
            lane.dirty.remove(name);
        }
        slow
    }

    /// Goes on without the answer to the Clusters in flight. The peer has taken them in nevertheless, so the answer to their endpoints
    /// tells that they are warm, unless they warm slowly. `late`: it has had its time.
    pub(super) fn wait_no_longer(&mut self, late: bool) {
        let in_flight = self.lane(Cluster).in_flight.iter().filter(|in_flight| !in_flight.draft.trial);
        let clusters = in_flight.flat_map(|in_flight| in_flight.draft.set.iter());
        let presumed: Vec<Arc<str>> =
            clusters.filter(|cluster| !cluster.warms_slowly()).map(|c| Arc::clone(c.name())).collect();
        self.lane_mut(Cluster).overdue(late);
        for name in &presumed {
            self.warming().cluster_acked(name);
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
            self.wait_no_longer(true);
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
            if until.is_none() && lane.rejections.contains(name) && !lane.has(name) {
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

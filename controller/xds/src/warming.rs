//! Which clusters a peer was sent but cannot use yet, and whether listeners and routes must wait for them.
//!
//! A route to a cluster that is still warming answers 503. Envoy has warmed a cluster once it has processed the Cluster
//! and then its `ClusterLoadAssignment`. An assignment that was sent before the Cluster does not count: Envoy wants it
//! again for the new one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// How far the endpoints of a Cluster on its way have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// To be sent.
    Waiting,
    /// Sent.
    Sent,
    /// Accepted, or not needed.
    Done,
}

#[derive(Debug)]
struct Cluster {
    needs: Option<Arc<str>>,
    acked: bool,
    delivery: Delivery,
}

/// The clusters that need the same endpoints: mostly one.
#[derive(Debug)]
enum Needing {
    One(Arc<str>),
    Several(HashSet<Arc<str>>),
}

impl Needing {
    fn insert(&mut self, name: &Arc<str>) {
        match self {
            Self::One(present) if present == name => {}
            Self::One(present) => *self = Self::Several([Arc::clone(present), Arc::clone(name)].into()),
            Self::Several(names) => {
                names.insert(Arc::clone(name));
            }
        }
    }

    /// Returns whether none is left.
    fn remove(&mut self, name: &str) -> bool {
        match self {
            Self::One(present) => **present == *name,
            Self::Several(names) => {
                names.remove(name);
                names.is_empty()
            }
        }
    }

    fn names(&self) -> Vec<Arc<str>> {
        match self {
            Self::One(name) => vec![Arc::clone(name)],
            Self::Several(names) => names.iter().cloned().collect(),
        }
    }
}

/// The clusters on their way, and those that listeners and routes wait for.
#[derive(Debug, Default)]
pub(crate) struct Warming {
    clusters: HashMap<Arc<str>, Cluster>,
    /// The clusters on their way, by the endpoints that they need.
    by_need: HashMap<Arc<str>, Needing>,
    barrier: HashSet<Arc<str>>,
}

impl Warming {
    /// From now on listeners and routes wait for these, too.
    pub(crate) fn arm(&mut self, names: Vec<Arc<str>>) {
        self.barrier.extend(names);
    }

    /// Whether listeners and routes must wait.
    pub(crate) fn holding(&self) -> bool {
        !self.barrier.is_empty()
    }

    /// A cluster was taken back: nothing waits for it, though the peer may still be warming it. Returns whether
    /// listeners and routes were waiting for it.
    pub(crate) fn taken_back(&mut self, name: &str) -> bool {
        self.barrier.remove(name)
    }

    /// What listeners and routes wait for, in no particular order.
    pub(crate) fn waited_for(&self) -> impl Iterator<Item = &Arc<str>> {
        self.barrier.iter()
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.clusters.is_empty()
    }

    /// Waits no longer with everything: what was waited for. It is still known to be on its way.
    pub(crate) fn let_go(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.barrier).into_iter().collect()
    }

    /// The clusters on their way, in no particular order.
    pub(crate) fn on_their_way(&self) -> impl Iterator<Item = &Arc<str>> {
        self.clusters.keys()
    }

    /// Whether a cluster is on its way.
    pub(crate) fn is_warming(&self, name: &str) -> bool {
        self.clusters.contains_key(name)
    }

    /// A Cluster was sent, new or changed.
    pub(crate) fn cluster_sent(&mut self, name: &Arc<str>, needs: Option<&Arc<str>>) {
        let delivery = if needs.is_some() { Delivery::Waiting } else { Delivery::Done };
        self.follow(name, needs, false, delivery);
    }

    /// A Cluster is on its way and has come so far.
    pub(crate) fn follow(
        &mut self,
        name: &Arc<str>,
        needs: Option<&Arc<str>>,
        acked: bool,
        delivery: Delivery,
    ) {
        let cluster = Cluster { needs: needs.cloned(), acked, delivery };
        if let Some(Cluster { needs: Some(before), .. }) = self.clusters.insert(Arc::clone(name), cluster) {
            self.needs_no_longer(name, &before);
        }
        if let Some(needs) = needs {
            let needing = self.by_need.entry(Arc::clone(needs));
            needing.or_insert_with(|| Needing::One(Arc::clone(name))).insert(name);
        }
    }

    /// A Cluster was considered and not sent: nothing to wait for unless it is on its way already.
    pub(crate) fn cluster_skipped(&mut self, name: &str) {
        if !self.barrier.is_empty() && !self.clusters.contains_key(name) {
            self.barrier.remove(name);
        }
    }

    /// A Cluster was accepted.
    pub(crate) fn cluster_acked(&mut self, name: &str) {
        if let Some(cluster) = self.clusters.get_mut(name) {
            cluster.acked = true;
            if cluster.delivery == Delivery::Done {
                self.forget(name);
            }
        }
    }

    /// An assignment (or word that there is none) was sent.
    pub(crate) fn endpoints_sent(&mut self, name: &str) {
        self.deliver(name, Delivery::Waiting, Delivery::Sent);
    }

    /// The assignment last sent was accepted.
    pub(crate) fn endpoints_acked(&mut self, name: &str) {
        self.deliver(name, Delivery::Sent, Delivery::Done);
    }

    /// The assignment last sent was refused; it may be sent again.
    pub(crate) fn endpoints_refused(&mut self, name: &str) {
        self.deliver(name, Delivery::Sent, Delivery::Waiting);
    }

    /// The assignment will not be sent: whoever needs it has to live without.
    pub(crate) fn endpoints_withheld(&mut self, name: &str) {
        self.deliver(name, Delivery::Sent, Delivery::Done);
        self.deliver(name, Delivery::Waiting, Delivery::Done);
    }

    /// A Cluster was refused: it is not on its way, but may be sent again.
    pub(crate) fn cluster_refused(&mut self, name: &str) {
        if let Some(Cluster { needs: Some(needs), .. }) = self.clusters.remove(name) {
            self.needs_no_longer(name, &needs);
        }
        if self.clusters.is_empty() {
            // After the first load thousands of streams would keep room for all there is.
            (self.clusters, self.by_need) = (HashMap::new(), HashMap::new());
        }
    }

    /// A cluster is gone from the peer, or will not be sent.
    pub(crate) fn forget(&mut self, name: &str) {
        if self.barrier.remove(name) && self.barrier.is_empty() {
            self.barrier = HashSet::new();
        }
        if !self.clusters.is_empty() {
            self.cluster_refused(name);
        }
    }

    fn needs_no_longer(&mut self, name: &str, endpoints: &str) {
        if self.by_need.get_mut(endpoints).is_some_and(|needing| needing.remove(name)) {
            self.by_need.remove(endpoints);
        }
    }

    fn deliver(&mut self, endpoints: &str, from: Delivery, to: Delivery) {
        let Some(needing) = self.by_need.get(endpoints) else { return };
        for name in needing.names() {
            if let Some(cluster) = self.clusters.get_mut(&name)
                && cluster.delivery == from
            {
                cluster.delivery = to;
                if cluster.acked && to == Delivery::Done {
                    self.forget(&name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn a_cluster_is_warm_when_it_and_then_its_endpoints_were_accepted() {
        let mut warming = Warming::default();
        warming.endpoints_sent("e");
        warming.cluster_sent(&name("c"), Some(&name("e")));
        warming.arm(vec![name("c")]);
        warming.endpoints_acked("e");
        warming.cluster_acked("c");
        assert!(warming.holding(), "what was sent before the cluster does not count");
        warming.endpoints_sent("e");
        warming.endpoints_refused("e");
        warming.endpoints_acked("e");
        assert!(warming.holding());
        warming.endpoints_sent("e");
        warming.endpoints_acked("e");
        assert!(!warming.holding());
    }

    #[test]
    fn the_barrier_is_what_was_there_when_it_was_armed() {
        let mut warming = Warming::default();
        warming.arm(vec![name("unsent")]);
        warming.cluster_sent(&name("later"), None);
        warming.cluster_sent(&name("unsent"), None);
        warming.cluster_skipped("unsent");
        assert!(warming.holding());
        warming.cluster_acked("unsent");
        assert!(!warming.holding(), "what came later is not waited for");
        warming.arm(vec![name("later")]);
        assert!(warming.holding());
        assert!(warming.taken_back("later"));
        assert!(!warming.holding());
        assert!(warming.is_warming("later"), "it is still on its way");
        warming.arm(vec![name("later")]);
        assert!(warming.holding());
        warming.forget("later");
        assert!(!warming.holding());
    }
}

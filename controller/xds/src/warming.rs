//! Which clusters a peer was sent but cannot use yet, and whether listeners and routes must wait for them.
//!
//! A route to a cluster that is still warming answers 503. Envoy has warmed a cluster once it has processed the Cluster
//! and then its `ClusterLoadAssignment`. An assignment that was sent before the Cluster does not count: Envoy wants it
//! again for the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Waiting,
    Sent,
    Done,
}

#[derive(Debug)]
struct Cluster {
    needs: Option<Arc<str>>,
    acked: bool,
    delivery: Delivery,
}

/// The clusters on their way, and those that listeners and routes wait for.
#[derive(Debug, Default)]
pub(crate) struct Warming {
    clusters: BTreeMap<Arc<str>, Cluster>,
    by_need: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    barrier: BTreeSet<Arc<str>>,
}

impl Warming {
    /// From now on listeners and routes wait for what is warming and for these, not yet sent; only for what `exists`.
    pub(crate) fn arm<'a>(
        &mut self,
        unsent: impl Iterator<Item = &'a Arc<str>>,
        exists: impl Fn(&str) -> bool,
    ) {
        self.barrier.extend(self.clusters.keys().filter(|name| exists(name)).cloned());
        self.barrier.extend(unsent.filter(|name| exists(name)).cloned());
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

    /// What listeners and routes wait for, by name.
    pub(crate) fn waited_for(&self) -> impl Iterator<Item = &Arc<str>> {
        self.barrier.iter()
    }

    /// Waits no longer with everything: what was waited for. It is still known to be on its way.
    pub(crate) fn let_go(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.barrier)
    }

    /// Whether a cluster is on its way.
    pub(crate) fn is_warming(&self, name: &str) -> bool {
        self.clusters.contains_key(name)
    }

    /// A Cluster was sent, new or changed.
    pub(crate) fn cluster_sent(&mut self, name: &Arc<str>, needs: Option<&Arc<str>>) {
        self.cluster_refused(name);
        if let Some(needs) = needs {
            self.by_need.entry(Arc::clone(needs)).or_default().insert(Arc::clone(name));
        }
        let delivery = if needs.is_some() { Delivery::Waiting } else { Delivery::Done };
        self.clusters.insert(Arc::clone(name), Cluster { needs: needs.cloned(), acked: false, delivery });
    }

    /// A Cluster was considered and not sent: nothing to wait for unless it is on its way already.
    pub(crate) fn cluster_skipped(&mut self, name: &str) {
        if !self.clusters.contains_key(name) {
            self.barrier.remove(name);
        }
    }

    /// A Cluster was accepted.
    pub(crate) fn cluster_acked(&mut self, name: &str) {
        if let Some(cluster) = self.clusters.get_mut(name) {
            cluster.acked = true;
            self.settle(name);
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
        if let Some(Cluster { needs: Some(needs), .. }) = self.clusters.remove(name)
            && let Some(waiting) = self.by_need.get_mut(&needs)
        {
            waiting.remove(name);
            if waiting.is_empty() {
                self.by_need.remove(&needs);
            }
        }
    }

    /// A cluster is gone from the peer, or will not be sent.
    pub(crate) fn forget(&mut self, name: &str) {
        self.barrier.remove(name);
        self.cluster_refused(name);
    }

    fn deliver(&mut self, endpoints: &str, from: Delivery, to: Delivery) {
        let Some(names) = self.by_need.get(endpoints) else { return };
        for name in names.clone() {
            if let Some(cluster) = self.clusters.get_mut(&name)
                && cluster.delivery == from
            {
                cluster.delivery = to;
                self.settle(&name);
            }
        }
    }

    fn settle(&mut self, name: &str) {
        if self.clusters.get(name).is_some_and(|c| c.acked && c.delivery == Delivery::Done) {
            self.forget(name);
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
        warming.arm([].into_iter(), |_| true);
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
        warming.arm([name("unsent")].iter(), |_| true);
        warming.cluster_sent(&name("later"), None);
        warming.cluster_sent(&name("unsent"), None);
        warming.cluster_skipped("unsent");
        assert!(warming.holding());
        warming.cluster_acked("unsent");
        assert!(!warming.holding(), "what came later is not waited for");
        warming.arm([].into_iter(), |_| true);
        assert!(warming.holding());
        assert!(warming.taken_back("later"));
        assert!(!warming.holding());
        warming.arm([].into_iter(), |_| false);
        assert!(!warming.holding());
        warming.arm([].into_iter(), |_| true);
        assert!(warming.holding(), "it is still on its way");
        warming.forget("later");
        assert!(!warming.holding());
    }
}

//! The Clusters that a peer is sent when it knows nothing yet.
//!
//! They are as many as there are, for every stream, and to follow each of them on its own is most of what a first load costs. Nearly
//! always all that happens is that they are sent, their endpoints are asked for and sent, and both are accepted. So they are kept
//! together until then; if anything else happens, they are followed one by one from there on.

use std::collections::HashSet;
use std::sync::Arc;

use contour_resource::ResourceType::{Cluster, Endpoints};

use super::Session;
use crate::batch::Batch;
use crate::lane::Draft;
use crate::warming::{Delivery, Warming};

/// The Clusters of a first load.
pub(super) struct FirstLoad {
    /// Of the response that carries them.
    nonce: String,
    clusters: Batch,
    acked: bool,
}

impl Session {
    /// Keeps the Clusters of a response together, if it is a first load: the peer has neither Clusters nor endpoints, and nothing waits.
    pub(super) fn is_first_load(&self, draft: &Draft) -> bool {
        let (clusters, endpoints) = (self.lane(Cluster), self.lane(Endpoints));
        self.nothing_warms()
            && !self.warming.holding()
            && !draft.trial
            && !draft.set.is_empty()
            && draft.removed.is_empty()
            && clusters.known.is_empty()
            && clusters.overdue.is_empty()
            && !endpoints.subscription.started()
    }

    /// Clusters are sent as a first load.
    pub(super) fn load_first(&mut self, nonce: &str, clusters: &Batch) {
        self.first_load =
            Some(FirstLoad { nonce: nonce.to_owned(), clusters: clusters.clone(), acked: false });
    }

    /// Whether no Cluster is on its way.
    pub(super) fn nothing_warms(&self) -> bool {
        self.first_load.is_none() && self.warming.is_idle()
    }

    /// A response of Clusters was accepted. Returns whether it was the first load.
    pub(super) fn first_load_acked(&mut self, nonce: &str) -> bool {
        let Some(first) = self.first_load.as_mut().filter(|first| first.nonce == *nonce) else {
            return false;
        };
        first.acked = true;
        self.first_load_settles();
        true
    }

    /// If the Clusters of a first load were accepted, and now endpoints were, only those still wait that got none.
    pub(super) fn first_load_settles(&mut self) {
        let delivered = !self.lane(Endpoints).known.is_empty();
        let all_static = || {
            let clusters = self.first_load.iter().flat_map(|first| first.clusters.iter());
            clusters.into_iter().all(|cluster| cluster.needs().is_none())
        };
        if self.first_load.as_ref().is_some_and(|first| first.acked) && (delivered || all_static()) {
            self.warming();
        }
    }

    /// What is on its way, one by one.
    pub(super) fn warming(&mut self) -> &mut Warming {
        let Some(FirstLoad { clusters, acked, .. }) = self.first_load.take() else {
            return &mut self.warming;
        };
        let endpoints = &self.lanes[Endpoints as usize];
        let in_flight = endpoints.in_flight.as_deref().into_iter().chain(&endpoints.overdue);
        let sent: HashSet<&Arc<str>> = in_flight.flat_map(|response| response.draft.names()).collect();
        for cluster in clusters.iter() {
            let delivery = match cluster.needs() {
                Some(needs) if endpoints.known.contains(needs) => Delivery::Done,
                Some(needs) if sent.contains(needs) => Delivery::Sent,
                Some(_) => Delivery::Waiting,
                None => Delivery::Done,
            };
            if !(acked && delivery == Delivery::Done) {
                self.warming.follow(cluster.name(), cluster.needs(), acked, delivery);
            }
        }
        &mut self.warming
    }
}

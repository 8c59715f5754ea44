//! Which nodes' addresses are published: every change is written into every status of the cluster, so that it has to be worth it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use contour_crds::contour_deployment::IpFamily;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::rollout::is_ready;
use crate::build::Component;
use crate::families::include;
use crate::live::Live;
use crate::pod::Pod;

/// How long an address stays though its Envoy is not ready any more, and how long an Envoy has to be ready before an address that left for
/// this comes back.
pub const HOLD: SignedDuration = SignedDuration::from_secs(30);

/// The time between two changes of the addresses, in which further ones are gathered.
pub const GATHER: SignedDuration = SignedDuration::from_secs(5);

/// How many addresses of nodes are published at most: every status and every answer of DNS would have all of them.
pub const MOST: usize = 64;

/// A node with Envoys that are there to stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// All its addresses.
    addresses: Vec<String>,
    /// An Envoy on it is ready.
    ready: bool,
}

/// Nodes by their first address.
type Nodes = BTreeMap<String, Node>;

/// The nodes of Envoy's pods, with their addresses of the families that are served. One whose Envoys all have to leave is not among them. Pods that are not proven yet keep it there, but not ready.
pub(super) fn nodes(live: &Live, families: &[IpFamily]) -> Nodes {
    let mut nodes = Nodes::new();
    let unproven = live.unproven.iter().filter(|(component, _)| *component == Component::Envoy);
    let proven = live.envoy.iter().map(|pod| (pod, is_ready(pod)));
    let stay = proven.chain(unproven.map(|(_, pod)| (pod, false)));
    for (pod, ready) in stay.filter(|(pod, _)| pod.metadata.deletion_timestamp.is_none()) {
        let mut addresses = host_addresses(pod);
        addresses.retain(|address| include(families, address));
        let Some(first) = addresses.first().cloned() else { continue };
        let node = nodes.entry(first).or_insert(Node { addresses, ready: false });
        node.ready |= ready;
    }
    nodes
}

/// The addresses of the node of a pod, the first of them first.
fn host_addresses(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    match status.host_ips.as_deref() {
        Some(all) if !all.is_empty() => all.iter().map(|one| one.ip.clone()).collect(),
        _ => status.host_ip.clone().into_iter().collect(),
    }
}

/// What is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// The addresses, in order.
    pub(super) addresses: Vec<String>,
    /// More than [`MOST`] could be published.
    pub(super) cut: bool,
    /// After which time something may change without an event.
    pub(super) again: Option<SignedDuration>,
}

/// What was published of one `ContourDeployment`. Lost, it is taken from the status.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    /// What the status said was taken over.
    known: bool,
    /// The nodes that are published, by their first address, with all of them.
    listed: BTreeMap<String, Vec<String>>,
    /// Published nodes that are not ready: since when.
    ailing: BTreeMap<String, Timestamp>,
    /// Nodes that are not published any more since they were not ready for too long: since when they are again.
    failed: BTreeMap<String, Option<Timestamp>>,
    /// When what was published changed last.
    changed: Option<Timestamp>,
}

/// The addresses of nodes that an operator which starts now publishes, where the status says these.
pub(crate) fn published_nodes(
    live: &Live,
    families: &[IpFamily],
    told: &[String],
    now: Timestamp,
) -> Vec<String> {
    Addresses::default().pass(&nodes(live, families), told, now).addresses
}

impl Addresses {
    /// What is published from now on. `told`: the addresses that the status says.
    pub(super) fn pass(&mut self, nodes: &Nodes, told: &[String], now: Timestamp) -> Published {
        if !self.known {
            self.known = true;
            let told: BTreeSet<&String> = told.iter().collect();
            let listed = nodes.iter().filter(|(_, node)| node.addresses.iter().any(|one| told.contains(one)));
            self.listed = listed.map(|(first, node)| (first.clone(), node.addresses.clone())).collect();
        }
        self.note(nodes, now);
        let (next, cut) = self.next(nodes, now);
        let mut wait = None;
        if next != self.listed {
            // What comes before all others is waited for, and rewrites nothing.
            let first = self.listed.is_empty();
            wait = self.changed.map(|changed| changed + GATHER).filter(|until| !first && *until > now);
            if wait.is_none() {
                self.change(next, first, now);
            }
        }
        let due = self.ailing.values().chain(self.failed.values().flatten()).map(|since| *since + HOLD);
        let again = due.filter(|due| *due > now).chain(wait).min().map(|due| due.duration_since(now));
        let mut addresses: Vec<String> = self.listed.values().flatten().cloned().collect();
        addresses.sort();
        addresses.dedup();
        Published { addresses, cut, again }
    }

    /// Notes since when nodes are as they are. A clock that was put back shortens nothing to less than it is.
    fn note(&mut self, nodes: &Nodes, now: Timestamp) {
        self.changed = self.changed.map(|changed| now.min(changed));
        let ready = |first: &String| nodes.get(first).map(|node| node.ready);
        self.ailing.retain(|first, _| ready(first) == Some(false));
        for first in self.listed.keys().filter(|first| ready(first) == Some(false)) {
            let since = self.ailing.entry(first.clone()).or_insert(now);
            *since = now.min(*since);
        }
        self.failed.retain(|first, _| ready(first).is_some());
        for (first, since) in &mut self.failed {
            *since = match ready(first) {
                Some(true) => Some(since.map_or(now, |since| now.min(since))),
                _ => None,
            };
        }
    }

    /// What should be published, and whether more could be.
    fn next(&self, nodes: &Nodes, now: Timestamp) -> (BTreeMap<String, Vec<String>>, bool) {
        let over = |since: &Timestamp| *since + HOLD <= now;
        let stays =
            |first: &String| self.listed.contains_key(first) && !self.ailing.get(first).is_some_and(over);
        let (kept, others): (Vec<_>, Vec<_>) = nodes.iter().partition(|(first, _)| stays(first));
        // Where nothing else is left, whoever is ready is welcome.
        let serves = |first: &String| {
            kept.is_empty() || self.failed.get(first).is_none_or(|since| since.as_ref().is_some_and(over))
        };
        let others: Vec<_> = others.into_iter().filter(|(first, node)| node.ready && serves(first)).collect();
        let mut chosen = Chosen::default();
        chosen.choose(kept);
        chosen.choose(others);
        (chosen.nodes, chosen.cut)
    }

    fn change(&mut self, next: BTreeMap<String, Vec<String>>, first: bool, now: Timestamp) {
        for gone in self.listed.keys().filter(|listed| !next.contains_key(*listed)) {
            if self.ailing.remove(gone).is_some() {
                self.failed.insert(gone.clone(), None);
            }
        }
        self.failed.retain(|failed, _| !next.contains_key(failed));
        self.listed = next;
        if !first {
            self.changed = Some(now);
        }
    }
}

/// The nodes that are to be published.
#[derive(Default)]
struct Chosen {
    nodes: BTreeMap<String, Vec<String>>,
    /// How many addresses they have.
    count: usize,
    /// Others that are ready are left out.
    cut: bool,
}

impl Chosen {
    /// Chooses of these as many as there is room for. Where that is for all or none of them, their order is not asked for: a look at thousands of
    /// nodes is about a few.
    fn choose(&mut self, nodes: Vec<(&String, &Node)>) {
        let room = MOST - self.count;
        let (fit, rest): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|(_, node)| node.addresses.len() <= room);
        self.cut |= rest.iter().any(|(_, node)| node.ready);
        let all: usize = fit.iter().map(|(_, node)| node.addresses.len()).sum();
        for (first, node) in if all <= room { fit } else { ranked(fit) } {
            if self.count + node.addresses.len() <= MOST {
                self.count += node.addresses.len();
                self.nodes.insert(first.clone(), node.addresses.clone());
            } else {
                self.cut |= node.ready;
            }
        }
    }
}

/// In the order in which they are chosen: ready ones first, and then by a hash, so that those of one rack or zone, whose addresses are alike, are
/// not all or none of them.
fn ranked<'a>(mut nodes: Vec<(&'a String, &'a Node)>) -> Vec<(&'a String, &'a Node)> {
    nodes.sort_by_cached_key(|(first, node)| (!node.ready, Sha256::digest(first.as_bytes()).to_vec()));
    nodes
}

#[cfg(test)]
mod tests;

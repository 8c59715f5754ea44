//! How many endpoints each assignment of a namespace may show: what the endpoints of one namespace take in every Envoy is bounded.
//!
//! Where they would take more, the assignments with most of them show fewer, all up to one number: small Services keep all of theirs. That
//! number is a function of the present objects, the same in every replica and after every restart, and no other namespace's matters.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use contour_graph::limits::MOST_ENDPOINTS;

/// What [an endpoint takes](contour_graph::ENDPOINT), where the cluster checks its health.
pub(crate) const CHECKED_ENDPOINT: u64 = 20_000;

/// What an assignment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// The endpoints that it would show.
    pub(crate) endpoints: usize,
    /// What each takes, in all clusters that use it: each has endpoints of its own in Envoy.
    pub(crate) each: u64,
}

impl Demand {
    fn bytes(self, most: usize) -> u64 {
        let endpoints = self.endpoints.min(most) as u64;
        endpoints.saturating_mul(self.each)
    }
}

#[derive(Debug)]
struct Share {
    demands: HashMap<Arc<str>, Demand>,
    /// What all would take, each with no more than [`MOST_ENDPOINTS`].
    bytes: u64,
    most: usize,
}

/// The demands of all namespaces.
#[derive(Debug)]
pub(crate) struct Shares {
    budget: u64,
    namespaces: BTreeMap<Arc<str>, Share>,
    touched: BTreeSet<Arc<str>>,
}

impl Shares {
    /// With so many bytes for each namespace.
    pub(crate) fn new(budget: u64) -> Self {
        Self { budget, namespaces: BTreeMap::new(), touched: BTreeSet::new() }
    }

    /// Notes what an assignment asks for; `None`: it is gone.
    pub(crate) fn set(&mut self, namespace: &Arc<str>, assignment: &Arc<str>, demand: Option<Demand>) {
        let share = self.namespaces.entry(Arc::clone(namespace)).or_insert_with(|| Share {
            demands: HashMap::new(),
            bytes: 0,
            most: MOST_ENDPOINTS,
        });
        let before = match demand {
            Some(demand) => share.demands.insert(Arc::clone(assignment), demand),
            None => share.demands.remove(assignment),
        };
        if before == demand {
            return;
        }
        let bytes = |demand: Option<Demand>| demand.map_or(0, |demand| demand.bytes(MOST_ENDPOINTS));
        share.bytes = share.bytes.saturating_sub(bytes(before)).saturating_add(bytes(demand));
        self.touched.insert(Arc::clone(namespace));
    }

    /// Notes what each endpoint of an assignment takes now that other clusters use it.
    pub(crate) fn move_to(&mut self, namespace: &Arc<str>, assignment: &Arc<str>, each: u64) {
        let demands = self.namespaces.get(namespace).map(|share| &share.demands);
        if let Some(demand) = demands.and_then(|demands| demands.get(assignment)).copied() {
            self.set(namespace, assignment, Some(Demand { each, ..demand }));
        }
    }

    /// The most endpoints that an assignment of this namespace shows.
    pub(crate) fn most(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).map_or(MOST_ENDPOINTS, |share| share.most)
    }

    /// Shares anew what was touched, and returns the assignments that show another number of endpoints for it.
    pub(crate) fn settle(&mut self) -> Vec<Arc<str>> {
        let mut moved = Vec::new();
        for namespace in std::mem::take(&mut self.touched) {
            let Some(share) = self.namespaces.get_mut(&namespace) else { continue };
            let most = share.fitting(self.budget);
            let before = std::mem::replace(&mut share.most, most);
            if before != most {
                let least = before.min(most);
                let cut = share.demands.iter().filter(|(_, demand)| demand.endpoints > least);
                moved.extend(cut.map(|(name, _)| Arc::clone(name)));
            }
            if share.demands.is_empty() {
                self.namespaces.remove(&namespace);
            }
        }
        moved
    }
}

impl Share {
    /// The largest number that fits the budget. Only powers of two, so that it seldom moves.
    fn fitting(&self, budget: u64) -> usize {
        let mut most = MOST_ENDPOINTS;
        let mut bytes = self.bytes;
        while bytes > budget && most > 1 {
            most /= 2;
            bytes = self.demands.values().fold(0, |sum, demand| sum.saturating_add(demand.bytes(most)));
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use contour_graph::ENDPOINT;

    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    fn shares(budget: usize) -> Shares {
        Shares::new(budget as u64 * ENDPOINT)
    }

    fn ask(shares: &mut Shares, namespace: &str, assignment: &str, endpoints: usize, clusters: u64) {
        let each = clusters.saturating_mul(ENDPOINT);
        shares.set(&name(namespace), &name(assignment), Some(Demand { endpoints, each }));
    }

    #[test]
    fn the_largest_of_a_namespace_show_fewer_and_nobody_else_does() {
        let mut shares = shares(1000);
        ask(&mut shares, "a", "small", 10, 1);
        ask(&mut shares, "a", "large", 900, 1);
        ask(&mut shares, "b", "other", 900, 1);
        assert_eq!(shares.settle(), Vec::<Arc<str>>::new());
        assert_eq!((shares.most("a"), shares.most("b")), (MOST_ENDPOINTS, MOST_ENDPOINTS));

        ask(&mut shares, "a", "more", 900, 1);
        let mut moved = shares.settle();
        moved.sort();
        assert_eq!(moved, [name("large"), name("more")]);
        assert_eq!((shares.most("a"), shares.most("b")), (256, MOST_ENDPOINTS), "512 twice does not fit");

        shares.set(&name("a"), &name("more"), None);
        assert_eq!(shares.settle(), [name("large")]);
        assert_eq!(shares.most("a"), MOST_ENDPOINTS);
    }

    #[test]
    fn each_cluster_counts() {
        let mut shares = shares(1000);
        ask(&mut shares, "a", "x", 100, 10);
        shares.settle();
        assert_eq!(shares.most("a"), MOST_ENDPOINTS);
        ask(&mut shares, "a", "x", 100, 11);
        assert_eq!(shares.settle(), [name("x")]);
        assert_eq!(shares.most("a"), 64);
    }

    #[test]
    fn nothing_is_left_of_who_is_gone() {
        let mut shares = shares(10);
        ask(&mut shares, "a", "x", usize::MAX, u64::MAX);
        ask(&mut shares, "a", "y", 1, 1);
        shares.settle();
        assert_eq!(shares.most("a"), 1);
        shares.set(&name("a"), &name("x"), None);
        shares.set(&name("a"), &name("y"), None);
        shares.settle();
        assert!(shares.namespaces.is_empty());
    }
}

//! The load assignments that clusters wait for: who uses them, what they show, and which show less than there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_graph::ENDPOINT;
use contour_graph::limits::MOST_ENDPOINTS;
use contour_graph::model::EndpointsOf;
use contour_objects::{NamespacedName, Store, Turns};
use contour_resource::{ResourceType, Transaction};

use crate::endpoints::{self, Counts, Wanted};
use crate::share::{CHECKED_ENDPOINT, Demand, Shares};
use crate::shared::{Change, Shared};

/// What is remembered of a published assignment.
#[derive(Debug, Default)]
struct Published {
    version: Option<u64>,
    /// How many endpoints it shows, if not all.
    cut: Option<usize>,
}

/// All assignments.
#[derive(Debug)]
pub(crate) struct Assignments {
    /// Used by clusters.
    held: Shared<EndpointsOf>,
    /// Clusters that check the health of their endpoints.
    checking: BTreeSet<Arc<str>>,
    /// Those that show each Service's endpoints.
    of: BTreeMap<NamespacedName, BTreeMap<Arc<str>, Published>>,
    shares: Shares,
    /// Those with other users than their share was made for.
    moved: BTreeSet<Arc<str>>,
    /// Services whose assignments are out of date.
    stale: BTreeSet<NamespacedName>,
    queue: Turns<NamespacedName>,
    /// Those that show less than there is.
    cut: BTreeSet<Arc<str>>,
    /// Those of which there is something else to tell than before.
    untold: BTreeSet<Arc<str>>,
}

/// How much of the endpoints of a Service an assignment shows.
pub(crate) struct Cut {
    pub(crate) assignment: Arc<str>,
    pub(crate) service: NamespacedName,
    /// How many, if not all.
    pub(crate) shown: Option<usize>,
    /// Whether the budget of the namespace is why.
    pub(crate) for_budget: bool,
}

impl Assignments {
    /// None yet; those of a namespace may take so many bytes.
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            held: Shared::default(),
            checking: BTreeSet::new(),
            of: BTreeMap::new(),
            shares: Shares::new(budget),
            moved: BTreeSet::new(),
            stale: BTreeSet::new(),
            queue: Turns::default(),
            cut: BTreeSet::new(),
            untold: BTreeSet::new(),
        }
    }

    /// Says that a cluster uses an assignment, and whether it checks the health of endpoints.
    pub(crate) fn acquire(&mut self, name: &Arc<str>, cluster: &Arc<str>, of: &EndpointsOf, checks: bool) {
        self.held.acquire(name, cluster, of);
        if checks {
            self.checking.insert(Arc::clone(cluster));
        }
        self.moved.insert(Arc::clone(name));
    }

    /// Says that a cluster no longer uses an assignment.
    pub(crate) fn release(&mut self, name: &Arc<str>, cluster: &Arc<str>) {
        self.held.release(name, cluster);
        self.checking.remove(cluster);
        self.moved.insert(Arc::clone(name));
    }

    /// The clusters that use an assignment.
    pub(crate) fn users(&self, name: &str) -> impl Iterator<Item = &Arc<str>> {
        self.held.users(name)
    }

    /// Publishes assignments that came and went, with the clusters that use them. Others that have to change for it are stale now.
    pub(crate) fn publish(&mut self, store: &Store, out: &mut Transaction) {
        let mut services = BTreeSet::new();
        for Change { name, before, after } in self.held.publish() {
            if let Some(of) =
                before.filter(|before| after.as_ref().is_none_or(|now| now.service != before.service))
            {
                self.forget(&name, &of);
            }
            match after {
                Some(of) => {
                    services.insert(of.service.clone());
                    self.of.entry(of.service).or_default().entry(name).or_default().version = None;
                }
                None => out.remove.push((ResourceType::Endpoints, name)),
            }
        }
        for service in &services {
            self.demand(service, store);
        }
        for name in std::mem::take(&mut self.moved) {
            if let Some(of) = self.held.get(&name) {
                let each = self.each(&name);
                self.shares.move_to(&of.service.namespace, &name, each);
            }
        }
        self.settle();
        for service in services {
            self.make(&service, true, store, out);
        }
    }

    /// Notes that endpoints of these Services changed.
    pub(crate) fn note<'a>(&mut self, services: impl IntoIterator<Item = &'a NamespacedName>) {
        for service in services {
            if self.of.contains_key(service) && self.stale.insert(service.clone()) {
                self.queue.push(&service.namespace, service.clone());
            }
        }
    }

    /// Whether every assignment shows what the store has.
    pub(crate) fn is_settled(&self) -> bool {
        self.stale.is_empty()
    }

    /// Makes stale assignments, namespaces in turn, until that took `most` work, in the unit of budgets, or none is left.
    pub(crate) fn some(&mut self, store: &Store, most: u64, out: &mut Transaction) {
        let mut work: u64 = 0;
        let mut latest = BTreeMap::new();
        while work < most
            && let Some(service) = self.queue.pop()
        {
            self.stale.remove(&service);
            self.demand(&service, store);
            self.settle();
            let mut made = Transaction::default();
            work = work.saturating_add(self.make(&service, false, store, &mut made).max(ENDPOINT));
            // One whose share has changed meanwhile is made once more: the last one counts.
            latest.extend(made.set.into_iter().map(|made| (Arc::clone(made.1.name()), made)));
        }
        out.set.extend(latest.into_values());
    }

    /// Those of which there is something else to tell than before.
    pub(crate) fn news(&mut self) -> Vec<Cut> {
        let untold = std::mem::take(&mut self.untold);
        untold.into_iter().map(|name| self.cut_of(name)).collect()
    }

    fn cut_of(&self, assignment: Arc<str>) -> Cut {
        let Some(of) = self.held.get(&assignment) else {
            return Cut { assignment, service: NamespacedName::new("", ""), shown: None, for_budget: false };
        };
        let published = self.of.get(&of.service).and_then(|all| all.get(&assignment));
        let for_budget = self.shares.most(&of.service.namespace) < MOST_ENDPOINTS;
        Cut { assignment, service: of.service.clone(), shown: published.and_then(|p| p.cut), for_budget }
    }

    /// Notes that other hosts lead to these assignments than before: what there is to tell goes to others, too.
    pub(crate) fn tell_again<'a>(&mut self, names: impl Iterator<Item = &'a Arc<str>>) {
        if !self.cut.is_empty() {
            self.untold.extend(names.filter(|name| self.cut.contains(*name)).cloned());
        }
    }

    /// Whether any shows less than there is.
    pub(crate) fn any_cut(&self) -> bool {
        !self.cut.is_empty()
    }

    fn forget(&mut self, name: &Arc<str>, of: &EndpointsOf) {
        self.shares.set(&of.service.namespace, name, None);
        if let Some(assignments) = self.of.get_mut(&of.service) {
            assignments.remove(name);
            if assignments.is_empty() {
                self.of.remove(&of.service);
            }
        }
        if self.cut.remove(name) {
            self.untold.insert(Arc::clone(name));
        }
    }

    /// Counts what the assignments of a Service ask for.
    fn demand(&mut self, service: &NamespacedName, store: &Store) {
        let counts = Counts::of(service, store);
        for name in self.of.get(service).into_iter().flat_map(BTreeMap::keys) {
            let Some(of) = self.held.get(name) else { continue };
            let demand = Demand { endpoints: counts.shown(of), each: self.each(name) };
            self.shares.set(&service.namespace, name, Some(demand));
        }
    }

    /// What an endpoint of an assignment takes in all clusters that use it.
    fn each(&self, name: &str) -> u64 {
        let of = |cluster| if self.checking.contains(cluster) { CHECKED_ENDPOINT } else { ENDPOINT };
        self.held.users(name).map(of).sum()
    }

    /// Notes which assignments show another number than before, as others of their namespace do.
    fn settle(&mut self) {
        let moved = self.shares.settle();
        let services: BTreeSet<NamespacedName> =
            moved.iter().filter_map(|name| self.held.get(name)).map(|of| of.service.clone()).collect();
        self.note(&services);
    }

    /// Makes the assignments of a Service, or those that are new, and says how much work that was.
    fn make(&mut self, service: &NamespacedName, new: bool, store: &Store, out: &mut Transaction) -> u64 {
        let Some(assignments) = self.of.get_mut(service) else { return 0 };
        let most = self.shares.most(&service.namespace);
        let held = &self.held;
        let due = assignments.iter().filter(|(_, published)| !new || published.version.is_none());
        let names: Vec<Arc<str>> = due.map(|(name, _)| Arc::clone(name)).collect();
        let wanted: Vec<Wanted<'_>> =
            names.iter().filter_map(|name| Some(Wanted { name, of: held.get(name)?, most })).collect();
        let mut work = 0;
        for (one, made) in wanted.iter().zip(endpoints::resources(service, &wanted, store)) {
            work += ENDPOINT.saturating_mul(made.shown as u64);
            let published = assignments.entry(Arc::clone(one.name)).or_default();
            let cut = made.cut.then_some(made.shown);
            if published.cut != cut {
                published.cut = cut;
                if cut.is_some() {
                    self.cut.insert(Arc::clone(one.name))
                } else {
                    self.cut.remove(one.name)
                };
                self.untold.insert(Arc::clone(one.name));
            }
            let version = Some(made.resource.version());
            if std::mem::replace(&mut published.version, version) != version {
                out.set.push((ResourceType::Endpoints, Arc::new(made.resource)));
            }
        }
        work
    }
}

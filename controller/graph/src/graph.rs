//! The incremental graph: from changed objects to the hosts to rebuild, and no others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use contour_objects::{Changes, Kind, NamespacedName, ObjectRef, Proxy, Store};

use crate::budget::Elsewhere;
use crate::build::{MOST_ISSUES, add_issue, delegations_in};
use crate::few::Few;
use crate::host::{self, BuiltHost};
use crate::ingress::Indexed;
use crate::kept::{Entry, Versions};
use crate::known::{Services, Sources, endpoint_work};
use crate::model::VirtualHost;
use crate::queue::Queue;
use crate::settings::Settings;
use crate::status::{Issue, ProxyStatus};

/// What an update changed.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Hosts that were rebuilt, with what they serve now; `None`: nothing.
    pub hosts: Vec<(Arc<str>, Option<Arc<VirtualHost>>)>,
    /// HTTPProxies whose status changed.
    pub statuses: Vec<ProxyStatus>,
    /// Ingresses that have something to tell, as far as the rebuilt hosts know.
    pub notes: Vec<IngressNote>,
    /// Which of these notes their host did not tell before, by position.
    pub new_notes: Vec<usize>,
    /// Rebuilt hosts that had notes and have none any more.
    pub quiet: Vec<Arc<str>>,
    /// HTTPProxies that are no longer there, or of another class.
    pub gone: Vec<NamespacedName>,
}

/// A problem of an Ingress, which has no conditions to say it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressNote {
    /// The Ingress.
    pub ingress: NamespacedName,
    /// The host the note is about.
    pub host: Arc<str>,
    /// What is not served, and why.
    pub message: String,
}

/// The graph of all hosts. It remembers which host read what, and which versions of objects serve, never the hosts themselves.
#[derive(Debug)]
pub struct Graph {
    settings: Settings,
    hosts: BTreeMap<Arc<str>, Entry>,
    /// Which hosts an object contributes to by naming them.
    claims: HashMap<ObjectRef, Vec<Arc<str>>>,
    /// Which objects contribute to a host.
    claimants: BTreeMap<Arc<str>, Few<ObjectRef>>,
    /// Which hosts read an object.
    readers: HashMap<ObjectRef, Few<Arc<str>>>,
    statuses: HashMap<NamespacedName, ProxyStatus>,
    /// The Ingresses that are served, each with its hosts.
    ingresses: HashMap<NamespacedName, Indexed>,
    /// What is known of the Services that hosts read.
    services: Services,
    /// What namespaces pay for all hosts.
    spent: HashMap<Arc<str>, u64>,
    /// The hosts for which a namespace has nothing left.
    short: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Hosts to build.
    queue: Queue,
    /// HTTPProxies whose status may have changed.
    unstated: BTreeSet<NamespacedName>,
}

/// The least work a host counts as, in the unit of budgets: so many of them are about a millisecond's.
const LEAST_WORK: u64 = 10_000;

impl Graph {
    /// An empty graph.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            hosts: BTreeMap::new(),
            claims: HashMap::new(),
            claimants: BTreeMap::new(),
            readers: HashMap::new(),
            statuses: HashMap::new(),
            ingresses: HashMap::new(),
            services: Services::default(),
            spent: HashMap::new(),
            short: HashMap::new(),
            queue: Queue::default(),
            unstated: BTreeSet::new(),
        }
    }

    /// Rebuilds everything that the changes reach, and what was waiting.
    pub fn update(&mut self, store: &Store, changes: &Changes) -> Update {
        self.take_in(store, changes);
        self.build_some(store, u64::MAX)
    }

    /// Notes what the changes reach: [`Self::build_some`] builds it.
    pub fn take_in(&mut self, store: &Store, changes: &Changes) {
        let mut dirty: BTreeSet<Arc<str>> = BTreeSet::new();
        for reference in &changes.objects {
            self.claim(store, reference, &mut dirty);
            if let Some(hosts) = self.readers.get(&read_as(reference)) {
                dirty.extend(hosts.iter().cloned());
            }
            if reference.kind == Kind::Service {
                self.services.forget(&reference.name);
            }
            if reference.kind == Kind::HttpProxy {
                self.unstated.insert(reference.name.clone());
            }
        }
        for fqdn in dirty {
            self.enqueue(&fqdn);
        }
    }

    /// Whether everything that was taken in is built.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.unstated.is_empty()
    }

    /// Builds hosts that wait until that took `most` work, in the unit of budgets, or none is left. Each host is whole, but hosts that one
    /// change reached may come in several steps. The status of an HTTPProxy waits for the hosts that are known to reach it.
    pub fn build_some(&mut self, store: &Store, most: u64) -> Update {
        let mut update = Update::default();
        let mut told = BTreeMap::new();
        let mut touched: BTreeSet<NamespacedName> = BTreeSet::new();
        let mut work: u64 = 0;
        while work < most
            && let Some((fqdn, namespace)) = self.queue.take()
        {
            let done = self.rebuild(store, &fqdn, &mut touched, &mut told, &mut update).max(LEAST_WORK);
            self.queue.worked_for(&namespace, done);
            work = work.saturating_add(done);
        }
        if self.queue.is_empty() {
            touched.append(&mut self.unstated);
        }
        for name in touched {
            if self.may_be_stated(&name) {
                self.unstated.remove(&name);
                self.restate(store, &name, &mut update);
            } else {
                self.unstated.insert(name);
            }
        }
        update.hosts.sort_by(|(one, _), (other, _)| one.cmp(other));
        update.notes.sort_by(|one, other| one.host.cmp(&other.host));
        update
    }

    fn enqueue(&mut self, fqdn: &Arc<str>) {
        let claimants = self.claimants.get(fqdn).into_iter().flat_map(Few::iter);
        let mut namespaces: BTreeSet<Arc<str>> =
            claimants.map(|claimant| Arc::clone(&claimant.name.namespace)).collect();
        if namespaces.is_empty() {
            namespaces.insert("".into());
        }
        self.queue.add(fqdn, namespaces);
    }

    /// Whether no host that is known to reach an HTTPProxy waits, nor any other that may reach one that is not reached.
    fn may_be_stated(&self, name: &NamespacedName) -> bool {
        if self.queue.is_empty() {
            return true;
        }
        let reference = ObjectRef::new(Kind::HttpProxy, name.clone());
        let hosts = self.claims.get(&reference).into_iter().flatten();
        let mut hosts = hosts.chain(self.readers.get(&reference).into_iter().flat_map(Few::iter)).peekable();
        hosts.peek().is_some() && !hosts.any(|host| self.queue.contains(host))
    }

    /// The status of an HTTPProxy, as last told.
    pub fn status(&self, name: &NamespacedName) -> Option<&ProxyStatus> {
        self.statuses.get(name)
    }

    /// The statuses of all HTTPProxies of the classes served here.
    pub fn statuses(&self) -> impl Iterator<Item = &ProxyStatus> {
        self.statuses.values()
    }

    /// The hosts that serve something.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.hosts.iter().filter(|(_, entry)| entry.serves).map(|(fqdn, _)| fqdn)
    }

    /// Builds one host from the present objects, for a look at it.
    pub fn host(&self, store: &Store, fqdn: &Arc<str>) -> Option<VirtualHost> {
        self.build(store, fqdn, &Versions::new()).host
    }

    /// Notes which hosts an HTTPProxy or Ingress names now; those and the ones it named before are dirty.
    fn claim(&mut self, store: &Store, reference: &ObjectRef, dirty: &mut BTreeSet<Arc<str>>) {
        let now = self.claimed(store, reference);
        let before = if now.is_empty() {
            self.claims.remove(reference)
        } else {
            self.claims.insert(reference.clone(), now.clone())
        };
        let before = before.unwrap_or_default();
        for fqdn in before {
            if now.binary_search(&fqdn).is_err()
                && self.claimants.get_mut(&fqdn).is_some_and(|claimants| claimants.remove(reference))
            {
                self.claimants.remove(&fqdn);
            }
            dirty.insert(fqdn);
        }
        for fqdn in now {
            self.claimants.entry(Arc::clone(&fqdn)).or_default().insert(reference.clone());
            dirty.insert(fqdn);
        }
    }

    /// The hosts an object names, in order, if it is one that can and is served here.
    fn claimed(&mut self, store: &Store, reference: &ObjectRef) -> Vec<Arc<str>> {
        let settings = &self.settings;
        match reference.kind {
            Kind::HttpProxy => store
                .proxy(&reference.name)
                .filter(|p| settings.serves(p.class.as_deref()))
                .and_then(|p| p.fqdn())
                .into_iter()
                .collect(),
            Kind::Ingress => {
                let ingress = store.ingress(&reference.name).filter(|i| settings.serves(i.class.as_deref()));
                let Some(ingress) = ingress.map(Indexed::new) else {
                    self.ingresses.remove(&reference.name);
                    return Vec::new();
                };
                let hosts = ingress.hosts();
                self.ingresses.insert(reference.name.clone(), ingress);
                hosts
            }
            _ => Vec::new(),
        }
    }

    fn build(&self, store: &Store, fqdn: &Arc<str>, instead: &Versions) -> BuiltHost {
        let (mut roots, mut ingresses) = (Vec::new(), Vec::new());
        for claimant in self.claimants.get(fqdn).into_iter().flat_map(Few::iter) {
            match claimant.kind {
                Kind::HttpProxy => roots.extend(store.proxy(&claimant.name).cloned()),
                Kind::Ingress => ingresses.extend(self.ingresses.get(&claimant.name).cloned()),
                _ => {}
            }
        }
        let here = self.hosts.get(fqdn).map(|entry| &entry.spent);
        let elsewhere = Elsewhere { all: &self.spent, here };
        let sources = Sources { store, services: &self.services };
        host::build(sources, &self.settings, fqdn, &roots, &ingresses, elsewhere, instead)
    }

    /// Builds a host so that it fits its budgets: what exceeds one serves as it last did, or not at all if it never did.
    fn fit(&self, store: &Store, fqdn: &Arc<str>) -> BuiltHost {
        let mut present = self.build(store, fqdn, &Versions::new());
        if present.account.excess.is_empty() {
            return present;
        }
        if let Some(entry) = self.hosts.get(fqdn) {
            for all in [false, true] {
                let instead = entry.instead(&present, all);
                if instead.is_empty() {
                    continue;
                }
                let built = self.build(store, fqdn, &instead);
                if entry.keeps_all(&built) {
                    let mut built = built.after(present);
                    built.tell_excess(&instead);
                    return built;
                }
            }
        }
        present.tell_excess(&Versions::new());
        present
    }

    /// Builds a host and says how much work that was.
    fn rebuild(
        &mut self,
        store: &Store,
        fqdn: &Arc<str>,
        proxies: &mut BTreeSet<NamespacedName>,
        told: &mut BTreeMap<NamespacedName, usize>,
        update: &mut Update,
    ) -> u64 {
        let mut built = self.fit(store, fqdn);
        // The endpoints of Services that no host led to before are encoded with it.
        let new = built.reads.iter().filter(|read| !self.readers.contains_key(*read));
        let endpoints = new.map(|read| endpoint_work(store, read)).fold(0, u64::saturating_add);
        self.services.remember(std::mem::take(&mut built.services));
        let old = self.hosts.remove(fqdn).unwrap_or_default();
        for reference in old.reads.iter().filter(|r| !built.reads.contains(r)) {
            if self.readers.get_mut(reference).is_some_and(|hosts| hosts.remove(fqdn)) {
                self.readers.remove(reference);
                if reference.kind == Kind::Service {
                    self.services.forget(&reference.name);
                }
            }
        }
        for reference in &built.reads {
            self.readers.entry(reference.clone()).or_default().insert(Arc::clone(fqdn));
        }
        proxies.extend(old.reports.iter().map(|(name, _)| name.clone()));
        proxies.extend(built.reports.keys().cloned());
        let host = built.host.take();
        let notes = tell(fqdn, std::mem::take(&mut built.notes), &old.notes, told, update);
        let mut entry = Entry::of(&mut built, host.is_some());
        entry.notes = notes;
        self.settle(fqdn, &old, &entry);
        if entry.serves || old.serves {
            update.hosts.push((Arc::clone(fqdn), host.map(Arc::new)));
        }
        if self.claimants.contains_key(fqdn) {
            self.hosts.insert(Arc::clone(fqdn), entry);
        }
        built.account.work.saturating_add(endpoints)
    }

    /// Books what a host costs now. Where a namespace has more left than before, the hosts it could not pay for are built again.
    fn settle(&mut self, fqdn: &Arc<str>, old: &Entry, new: &Entry) {
        for namespace in &old.short {
            if let Some(hosts) = self.short.get_mut(namespace) {
                hosts.remove(fqdn);
                if hosts.is_empty() {
                    self.short.remove(namespace);
                }
            }
        }
        for (namespace, before) in old.spent.iter() {
            let now = new.spent.get(namespace).copied().unwrap_or_default();
            if let Some(all) = self.spent.get_mut(namespace) {
                *all = all.saturating_sub(*before);
                if *all == 0 {
                    self.spent.remove(namespace);
                }
            }
            if now < *before {
                for host in self.short.get(namespace).cloned().unwrap_or_default() {
                    self.enqueue(&host);
                }
            }
        }
        for (namespace, now) in new.spent.iter() {
            *self.spent.entry(Arc::clone(namespace)).or_default() += now;
        }
        for namespace in &new.short {
            self.short.entry(Arc::clone(namespace)).or_default().insert(Arc::clone(fqdn));
        }
    }

    /// Works out the status of an HTTPProxy from what all hosts that reach it reported.
    fn restate(&mut self, store: &Store, name: &NamespacedName, update: &mut Update) {
        let served = store.proxy(name).filter(|p| self.settings.serves(p.class.as_deref()));
        let Some(proxy) = served else {
            if self.statuses.remove(name).is_some() {
                update.gone.push(name.clone());
            }
            return;
        };
        let status = self.state(proxy);
        if self.statuses.get(name) != Some(&status) {
            self.statuses.insert(name.clone(), status.clone());
            update.statuses.push(status);
        }
    }

    /// The host that an HTTPProxy has, as it is recorded.
    fn holds(&self, proxy: &Proxy) -> Option<String> {
        let host = self.hosts.get(&proxy.fqdn()?)?;
        host.holder.as_ref().filter(|holder| **holder == proxy.name)?;
        proxy.host_claim()
    }

    fn state(&self, proxy: &Proxy) -> ProxyStatus {
        let reference = ObjectRef::new(Kind::HttpProxy, proxy.name.clone());
        let hosts = self.claims.get(&reference).into_iter().flatten();
        let hosts = hosts.chain(self.readers.get(&reference).into_iter().flat_map(Few::iter));
        let mut status = ProxyStatus {
            object: proxy.name.clone(),
            generation: proxy.generation,
            errors: Vec::new(),
            warnings: Vec::new(),
            holds: self.holds(proxy),
        };
        let mut reached = false;
        for report in hosts.filter_map(|h| self.hosts.get(h)).filter_map(|e| e.reports.get(&proxy.name)) {
            reached = true;
            if status.errors.len() == MOST_ISSUES && status.warnings.len() == MOST_ISSUES {
                break;
            }
            report.errors.iter().for_each(|issue| add_issue(&mut status.errors, issue.clone()));
            report.warnings.iter().for_each(|issue| add_issue(&mut status.warnings, issue.clone()));
        }
        if !reached {
            let message = "this HTTPProxy is not part of a delegation chain from a root HTTPProxy";
            status.errors.push(Issue::new("Orphaned", "Orphaned", message));
        }
        status
    }
}

/// Adds the notes of a host, and returns their digests. `before` are those of its last build.
fn tell(
    fqdn: &Arc<str>,
    notes: BTreeMap<NamespacedName, Vec<String>>,
    before: &[u64],
    told: &mut BTreeMap<NamespacedName, usize>,
    update: &mut Update,
) -> Vec<u64> {
    let mut digests = BTreeSet::new();
    for (ingress, messages) in notes {
        for message in messages {
            let mut hasher = DefaultHasher::new();
            (&ingress, &message).hash(&mut hasher);
            let digest = hasher.finish();
            digests.insert(digest);
            let count = told.entry(ingress.clone()).or_insert(0);
            *count += 1;
            // An Ingress of thousands of hosts has the same to tell about each.
            if *count > MOST_ISSUES {
                continue;
            }
            if before.binary_search(&digest).is_err() {
                update.new_notes.push(update.notes.len());
            }
            update.notes.push(IngressNote { ingress: ingress.clone(), host: Arc::clone(fqdn), message });
        }
    }
    if digests.is_empty() && !before.is_empty() {
        update.quiet.push(Arc::clone(fqdn));
    }
    digests.into_iter().collect()
}

/// How builds record that they read this object: delegations count by namespace.
fn read_as(reference: &ObjectRef) -> ObjectRef {
    match reference.kind {
        Kind::Delegation => delegations_in(&reference.name.namespace),
        _ => reference.clone(),
    }
}

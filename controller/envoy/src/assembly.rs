//! From changed hosts and endpoints to the next step of what xDS serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_graph::model::{Cluster, Discovery, EndpointsOf, Origin, VirtualHost};
use contour_objects::{NamespacedName, Store};
use contour_resource::{ResourceType, Transaction};

use crate::assignments::{Assignments, Cut};
use crate::host::{Certificate, HostParts, Translator};
use crate::layout::SecureHosts;
use crate::plain::PlainHosts;
use crate::shared::{Change, Shared};
use crate::{Settings, cluster, names, plain, runtime, secret, stats};

/// The incremental aggregator: a changed host is translated and encoded once; everything else is shared with what was published before.
///
/// Each [`Transaction`] leads from one complete state to the next: a route never refers to a cluster that is not in it, and a cluster
/// found by EDS never to missing endpoints.
pub struct Assembly {
    settings: Settings,
    translator: Translator,
    hosts: BTreeMap<Arc<str>, Host>,
    plain: PlainHosts,
    secure: SecureHosts,
    /// Used by hosts.
    clusters: Shared<Arc<Cluster>>,
    /// Used by hosts.
    secrets: Shared<Certificate>,
    /// Used by clusters.
    assignments: Assignments,
}

/// What a host refers to.
#[derive(Debug, Default)]
struct Host {
    clusters: BTreeSet<Arc<str>>,
    secret: Option<Arc<str>>,
    origins: BTreeSet<Origin>,
}

/// Who stands behind a resource or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The host.
    pub host: Arc<str>,
    /// The objects the host comes from.
    pub origins: Vec<Origin>,
}

/// What there is to tell of an assignment that does not show all endpoints of its Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// The assignment.
    pub assignment: Arc<str>,
    /// What to tell; `None`: it shows all of them now.
    pub message: Option<String>,
    /// The objects of the Service's namespace that stand behind hosts that lead to it.
    pub owners: Vec<Owner>,
}

impl Assembly {
    /// An aggregator without hosts.
    pub fn new(settings: Settings) -> Self {
        Self {
            translator: Translator::new(&settings),
            hosts: BTreeMap::new(),
            plain: PlainHosts::new(&settings),
            secure: SecureHosts::new(&settings),
            clusters: Shared::default(),
            secrets: Shared::default(),
            assignments: Assignments::new(settings.endpoint_memory),
            settings,
        }
    }

    /// What exists whatever is served: the listeners for probes and administration, the runtime layer, and the empty
    /// RouteConfiguration `ingress_http`. To be published together with the first hosts.
    pub fn initial(&mut self) -> Transaction {
        let mut out = Transaction::default();
        let listeners = stats::listeners(&self.settings).into_iter();
        out.set.extend(listeners.map(|listener| (ResourceType::Listener, Arc::new(listener))));
        out.set.extend(plain::trial_resources());
        out.set.push((ResourceType::Runtime, Arc::new(runtime::resource(&self.settings.runtime))));
        self.plain.publish(&mut out);
        out
    }

    /// Takes in hosts that changed; `None`: the host is gone. Endpoints of newly used Services are looked up in `store`.
    pub fn hosts(
        &mut self,
        store: &Store,
        changed: impl IntoIterator<Item = (Arc<str>, Option<Arc<VirtualHost>>)>,
    ) -> Transaction {
        for (fqdn, host) in changed {
            let parts = host.map(|host| self.translator.translate(&fqdn, &host));
            self.put(&fqdn, parts);
        }
        self.publish(store)
    }

    /// Takes in that endpoints of these Services changed: only what shows them is computed again.
    pub fn endpoints(&mut self, store: &Store, services: &BTreeSet<NamespacedName>) -> Transaction {
        self.note_endpoints(services);
        self.some_endpoints(store, u64::MAX)
    }

    /// Notes that endpoints of these Services changed: [`Self::some_endpoints`] takes them in.
    pub fn note_endpoints(&mut self, services: &BTreeSet<NamespacedName>) {
        self.assignments.note(services);
    }

    /// Takes in changed endpoints, namespaces in turn, until that took `most` work, in the unit of the graph's budgets, or none are left.
    pub fn some_endpoints(&mut self, store: &Store, most: u64) -> Transaction {
        let mut out = Transaction::default();
        self.assignments.some(store, most, &mut out);
        out
    }

    /// Whether all endpoints that were noted are taken in.
    pub fn is_settled(&self) -> bool {
        self.assignments.is_settled()
    }

    /// What there is to tell of Services whose endpoints are not all shown, where that is something else than before.
    pub fn shortened(&mut self) -> Vec<Shortened> {
        let news = self.assignments.news();
        let told = news.into_iter().map(|Cut { assignment, service, shown, for_budget }| {
            let mut owners = self.owners(ResourceType::Endpoints, &assignment, "");
            // Who only shares a host with them can do nothing about it.
            for owner in &mut owners {
                owner.origins.retain(|origin| origin.object.namespace == service.namespace);
            }
            let message = shown.map(|shown| self.message(&service, shown, for_budget));
            Shortened { assignment, message, owners }
        });
        told.collect()
    }

    fn message(&self, service: &NamespacedName, shown: usize, budget: bool) -> String {
        if !budget {
            return format!(
                "Service \"{service}\" has more endpoints than are used: {shown}, as many as one may have; use several Services"
            );
        }
        format!(
            "Service \"{service}\" has more endpoints than are used: {shown}, since those of namespace {} would take more than \
             {} MiB of memory in every Envoy; use fewer endpoints, or fewer different policies for one Service",
            service.namespace,
            self.settings.endpoint_memory >> 20
        )
    }

    /// Who stands behind a resource, or behind one of its parts (`part` is the part's id, empty for its head): to tell whom a rejection
    /// concerns. Empty for what nobody but this controller decides.
    pub fn owners(&self, resource: ResourceType, name: &str, part: &str) -> Vec<Owner> {
        let hosts: BTreeSet<&Arc<str>> = match resource {
            ResourceType::Secret => self.secrets.users(name).collect(),
            ResourceType::Cluster => self.clusters.users(name).collect(),
            ResourceType::Endpoints => {
                self.assignments.users(name).flat_map(|cluster| self.clusters.users(cluster)).collect()
            }
            ResourceType::Listener => self.known(part).collect(),
            ResourceType::Route => self
                .known(part)
                .chain(names::host_of_routes(name).and_then(|host| self.known(host).next()))
                .collect(),
            ResourceType::Runtime => BTreeSet::new(),
        };
        hosts.into_iter().filter_map(|host| self.owner(host)).collect()
    }

    fn known(&self, fqdn: &str) -> impl Iterator<Item = &Arc<str>> {
        self.hosts.get_key_value(fqdn).map(|(fqdn, _)| fqdn).into_iter()
    }

    fn owner(&self, fqdn: &Arc<str>) -> Option<Owner> {
        let host = self.hosts.get(fqdn)?;
        Some(Owner { host: Arc::clone(fqdn), origins: host.origins.iter().cloned().collect() })
    }

    /// Replaces or removes a host.
    fn put(&mut self, fqdn: &Arc<str>, parts: Option<HostParts>) {
        let parts = parts.unwrap_or_default();
        let old = self.hosts.remove(fqdn).unwrap_or_default();
        self.tell_again(&old, &parts);
        for (name, cluster) in &parts.clusters {
            self.clusters.acquire(name, fqdn, cluster);
        }
        for name in old.clusters.iter().filter(|name| !parts.clusters.contains_key(*name)) {
            self.clusters.release(name, fqdn);
        }
        let secret = parts.secret.as_ref().map(|(name, certificate)| {
            self.secrets.acquire(name, fqdn, certificate);
            Arc::clone(name)
        });
        if let Some(name) = old.secret.filter(|name| secret.as_ref() != Some(name)) {
            self.secrets.release(&name, fqdn);
        }
        if parts.plain.is_some() || parts.secure.is_some() {
            let clusters = parts.clusters.into_keys().collect();
            self.hosts.insert(Arc::clone(fqdn), Host { clusters, secret, origins: parts.origins });
        }
        self.plain.put(fqdn, parts.plain);
        self.secure.put(fqdn, parts.secure);
    }

    /// Notes what leads to assignments that are shortened: who is told of it may change.
    fn tell_again(&mut self, old: &Host, new: &HostParts) {
        if !self.assignments.any_cut() {
            return;
        }
        let before = old.clusters.iter().filter_map(|name| self.clusters.get(name));
        let clusters = before.chain(new.clusters.values());
        let names: Vec<Arc<str>> = clusters.filter_map(|c| assignment(c)).map(|(name, _)| name).collect();
        self.assignments.tell_again(names.iter());
    }

    fn publish(&mut self, store: &Store) -> Transaction {
        let mut out = Transaction::default();
        for Change { name, after, .. } in self.secrets.publish() {
            match after {
                Some(certificate) => {
                    let resource = secret::resource(&name, &certificate);
                    out.set.push((ResourceType::Secret, Arc::new(resource)));
                }
                None => out.remove.push((ResourceType::Secret, name)),
            }
        }
        for change in self.clusters.publish() {
            self.publish_cluster(change, &mut out);
        }
        self.assignments.publish(store, &mut out);
        self.plain.publish(&mut out);
        self.secure.publish(&mut out);
        out
    }

    fn publish_cluster(&mut self, change: Change<Arc<Cluster>>, out: &mut Transaction) {
        let Change { name, before, after } = change;
        let old = before.as_deref().and_then(assignment);
        let new = after.as_deref().and_then(assignment);
        if let Some((assignment, of)) = &new {
            let checks = after.as_ref().is_some_and(|cluster| cluster.health_check.is_some());
            self.assignments.acquire(assignment, &name, of, checks);
        }
        if let Some((assignment, _)) = old.filter(|old| new.as_ref().is_none_or(|new| new.0 != old.0)) {
            self.assignments.release(&assignment, &name);
        }
        match after {
            Some(cluster) => {
                let resource = cluster::resource(&name, &cluster, &self.settings.cluster);
                out.set.push((ResourceType::Cluster, Arc::new(resource)));
            }
            None => out.remove.push((ResourceType::Cluster, name)),
        }
    }
}

/// The endpoints a cluster waits for.
fn assignment(cluster: &Cluster) -> Option<(Arc<str>, EndpointsOf)> {
    match &cluster.discovery {
        Discovery::Slices(of) => Some((names::assignment(of), of.clone())),
        Discovery::Dns { .. } => None,
    }
}

//! The incremental graph: from changed objects to the hosts to rebuild, and no others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use contour_objects::{Changes, Kind, NamespacedName, ObjectRef, Proxy, Store};

use crate::build::{Report, add_issue, delegations_in};
use crate::model::VirtualHost;
use crate::settings::Settings;
use crate::status::{Issue, ProxyStatus};
use crate::{host, ingress};

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

/// What is remembered of a built host.
#[derive(Debug, Default)]
struct Entry {
    reads: Vec<ObjectRef>,
    reports: BTreeMap<NamespacedName, Report>,
    serves: bool,
    /// Digests of its notes.
    notes: BTreeSet<u64>,
}

/// The graph of all hosts. It remembers which host read what, never the hosts themselves.
#[derive(Debug)]
pub struct Graph {
    settings: Settings,
    hosts: BTreeMap<Arc<str>, Entry>,
    /// Which hosts an object contributes to by naming them.
    claims: HashMap<ObjectRef, Vec<Arc<str>>>,
    /// Which objects contribute to a host.
    claimants: BTreeMap<Arc<str>, BTreeSet<ObjectRef>>,
    /// Which hosts read an object.
    readers: HashMap<ObjectRef, BTreeSet<Arc<str>>>,
    statuses: HashMap<NamespacedName, ProxyStatus>,
}

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
        }
    }

    /// Rebuilds what the changes reach.
    pub fn update(&mut self, store: &Store, changes: &Changes) -> Update {
        let mut update = Update::default();
        let mut dirty: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut proxies: BTreeSet<NamespacedName> = BTreeSet::new();
        for reference in &changes.objects {
            self.claim(store, reference, &mut dirty);
            if let Some(hosts) = self.readers.get(&read_as(reference)) {
                dirty.extend(hosts.iter().cloned());
            }
            if reference.kind == Kind::HttpProxy {
                proxies.insert(reference.name.clone());
            }
        }
        for fqdn in dirty {
            self.rebuild(store, &fqdn, &mut proxies, &mut update);
        }
        for name in proxies {
            self.restate(store, &name, &mut update);
        }
        update
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

    /// Builds one host afresh, for a look at it.
    pub fn host(&self, store: &Store, fqdn: &Arc<str>) -> Option<VirtualHost> {
        self.build(store, fqdn).host
    }

    /// Notes which hosts an HTTPProxy or Ingress names now; those and the ones it named before are dirty.
    fn claim(&mut self, store: &Store, reference: &ObjectRef, dirty: &mut BTreeSet<Arc<str>>) {
        let now = claimed(store, &self.settings, reference);
        let before = if now.is_empty() {
            self.claims.remove(reference)
        } else {
            self.claims.insert(reference.clone(), now.clone())
        };
        let before = before.unwrap_or_default();
        for fqdn in before {
            if !now.contains(&fqdn)
                && let Some(claimants) = self.claimants.get_mut(&fqdn)
            {
                claimants.remove(reference);
                if claimants.is_empty() {
                    self.claimants.remove(&fqdn);
                }
            }
            dirty.insert(fqdn);
        }
        for fqdn in now {
            self.claimants.entry(Arc::clone(&fqdn)).or_default().insert(reference.clone());
            dirty.insert(fqdn);
        }
    }

    fn build(&self, store: &Store, fqdn: &Arc<str>) -> host::BuiltHost {
        let (mut roots, mut ingresses) = (Vec::new(), Vec::new());
        for claimant in self.claimants.get(fqdn).into_iter().flatten() {
            match claimant.kind {
                Kind::HttpProxy => roots.extend(store.proxy(&claimant.name).cloned()),
                Kind::Ingress => ingresses.extend(store.ingress(&claimant.name).cloned()),
                _ => {}
            }
        }
        host::build(store, &self.settings, fqdn, &roots, &ingresses)
    }

    fn rebuild(
        &mut self,
        store: &Store,
        fqdn: &Arc<str>,
        proxies: &mut BTreeSet<NamespacedName>,
        update: &mut Update,
    ) {
        let built = self.build(store, fqdn);
        let old = self.hosts.remove(fqdn).unwrap_or_default();
        for reference in old.reads.iter().filter(|r| !built.reads.contains(r)) {
            if let Some(hosts) = self.readers.get_mut(reference) {
                hosts.remove(fqdn);
                if hosts.is_empty() {
                    self.readers.remove(reference);
                }
            }
        }
        for reference in &built.reads {
            self.readers.entry(reference.clone()).or_default().insert(Arc::clone(fqdn));
        }
        proxies.extend(old.reports.into_keys());
        proxies.extend(built.reports.keys().cloned());
        let notes = tell(fqdn, built.notes, &old.notes, update);
        let serves = built.host.is_some();
        if serves || old.serves {
            update.hosts.push((Arc::clone(fqdn), built.host.map(Arc::new)));
        }
        if self.claimants.contains_key(fqdn) {
            let reads = built.reads.into_iter().collect();
            self.hosts.insert(Arc::clone(fqdn), Entry { reads, reports: built.reports, serves, notes });
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

    fn state(&self, proxy: &Proxy) -> ProxyStatus {
        let reference = ObjectRef::new(Kind::HttpProxy, proxy.name.clone());
        let hosts = self.claims.get(&reference).into_iter().flatten();
        let hosts = hosts.chain(self.readers.get(&reference).into_iter().flatten());
        let mut status = ProxyStatus {
            object: proxy.name.clone(),
            generation: proxy.generation,
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        let mut reached = false;
        for report in hosts.filter_map(|h| self.hosts.get(h)).filter_map(|e| e.reports.get(&proxy.name)) {
            reached = true;
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
    before: &BTreeSet<u64>,
    update: &mut Update,
) -> BTreeSet<u64> {
    let mut digests = BTreeSet::new();
    for (ingress, messages) in notes {
        for message in messages {
            let mut hasher = DefaultHasher::new();
            (&ingress, &message).hash(&mut hasher);
            let digest = hasher.finish();
            digests.insert(digest);
            if !before.contains(&digest) {
                update.new_notes.push(update.notes.len());
            }
            update.notes.push(IngressNote { ingress: ingress.clone(), host: Arc::clone(fqdn), message });
        }
    }
    if digests.is_empty() && !before.is_empty() {
        update.quiet.push(Arc::clone(fqdn));
    }
    digests
}

/// The hosts an object names, if it is one that can and is served here.
fn claimed(store: &Store, settings: &Settings, reference: &ObjectRef) -> Vec<Arc<str>> {
    match reference.kind {
        Kind::HttpProxy => store
            .proxy(&reference.name)
            .filter(|p| settings.serves(p.class.as_deref()))
            .and_then(|p| p.fqdn())
            .into_iter()
            .collect(),
        Kind::Ingress => store
            .ingress(&reference.name)
            .filter(|i| settings.serves(i.class.as_deref()))
            .map(|i| ingress::hosts(i))
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// How builds record that they read this object: delegations count by namespace.
fn read_as(reference: &ObjectRef) -> ObjectRef {
    match reference.kind {
        Kind::Delegation => delegations_in(&reference.name.namespace),
        _ => reference.clone(),
    }
}

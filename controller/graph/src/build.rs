//! What every step of building a host shares: lookups that are remembered, and reports that are collected.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use contour_objects::{CaBundle, Kind, NamespacedName, ObjectRef, Proxy, Secret, SecretError, TlsPair};

use crate::budget::{Bill, Elsewhere, Ledger, Mark, TooLarge};
use crate::cost;
use crate::ingress::Indexed;
use crate::kept::{Content, Version, Versions};
use crate::known::{KnownService, Services, Sources};
use crate::model::Cluster;
use crate::settings::Settings;
use crate::status::Issue;

/// What a build found out about one HTTPProxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) errors: Vec<Issue>,
    pub(crate) warnings: Vec<Issue>,
}

/// The most errors, and the most warnings, told about one HTTPProxy: a status has to fit into the object. The most notes of an Ingress.
pub(crate) const MOST_ISSUES: usize = 64;

/// Longest message of an issue, in bytes: messages show what users wrote, for each host that reads it.
const LONGEST_MESSAGE: usize = 4096;

/// Adds an issue that is not there yet, as long as there is room; the last one then says that there are more.
pub(crate) fn add_issue(issues: &mut Vec<Issue>, mut issue: Issue) {
    shorten(&mut issue.message);
    if issues.len() == MOST_ISSUES || issues.contains(&issue) {
        return;
    }
    issues.push(issue);
    if let Some(last) = issues.get_mut(MOST_ISSUES - 1) {
        *last = more_issues(last.kind);
    }
}

/// What stands for the issues that there is no room for.
pub(crate) fn more_issues(kind: &'static str) -> Issue {
    Issue::new(kind, "MoreIssues", "there are more problems than are listed here")
}

/// Cuts a message that is too long.
fn shorten(message: &mut String) {
    if message.len() > LONGEST_MESSAGE {
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE - 3));
        message.push('\u{2026}');
    }
}

/// A fatal problem was reported: the part under construction does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reported;

/// Why a reference to a Secret does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretProblem {
    /// No TLSCertificateDelegation allows it.
    NotDelegated,
    /// The Secret is missing or unusable; the text says how.
    Unusable(String),
}

/// The build of one host: reads objects, remembers what it read, collects what it has to say.
pub(crate) struct Build<'a> {
    sources: Sources<'a>,
    pub(crate) settings: &'a Settings,
    pub(crate) reads: BTreeSet<ObjectRef>,
    pub(crate) reports: BTreeMap<NamespacedName, Report>,
    pub(crate) notes: BTreeMap<NamespacedName, Vec<String>>,
    pub(crate) ledger: Ledger<'a>,
    /// The versions of objects to read instead of the present ones.
    instead: &'a Versions,
    /// The versions that were read.
    pub(crate) used: Versions,
    /// What exceeds budgets, once for each object.
    pub(crate) complaints: BTreeMap<ObjectRef, Issue>,
    clusters: Clusters,
    /// Services that were worked out.
    pub(crate) services: Services,
}

/// The clusters of a host, each once.
#[derive(Default)]
struct Clusters {
    known: HashMap<u64, Vec<Arc<Cluster>>>,
    order: Vec<u64>,
    /// What those cost that were not charged yet.
    fresh: u64,
}

/// What a part of a host costs up to now, to be taken back if it does not serve.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    bill: Mark,
    clusters: usize,
}

impl<'a> Build<'a> {
    pub(crate) fn new(
        sources: Sources<'a>,
        settings: &'a Settings,
        elsewhere: Elsewhere<'a>,
        instead: &'a Versions,
    ) -> Self {
        Self {
            sources,
            settings,
            reads: BTreeSet::new(),
            reports: BTreeMap::new(),
            notes: BTreeMap::new(),
            ledger: Ledger::new(settings.budgets, elsewhere),
            instead,
            used: Versions::new(),
            complaints: BTreeMap::new(),
            clusters: Clusters::default(),
            services: Services::default(),
        }
    }

    /// The version of an object to read.
    fn version(&mut self, object: ObjectRef, present: Content) -> Content {
        let content = self.instead.get(&object).map_or(present, |version| version.content.clone());
        let version = Version { payer: self.ledger.payer(), content: content.clone() };
        self.used.insert(object, version);
        content
    }

    /// The one cluster that is equal to this one.
    pub(crate) fn share(&mut self, cluster: Cluster) -> Arc<Cluster> {
        let key = hash_of(&cluster);
        let same = self.clusters.known.entry(key).or_default();
        if let Some(known) = same.iter().find(|known| ***known == cluster) {
            return Arc::clone(known);
        }
        self.clusters.fresh += cost::cluster(&cluster);
        let cluster = Arc::new(cluster);
        same.push(Arc::clone(&cluster));
        self.clusters.order.push(key);
        cluster
    }

    /// What a part costs up to now.
    pub(crate) fn mark(&self, bill: &Bill) -> Cost {
        Cost { bill: self.ledger.mark(bill), clusters: self.clusters.order.len() }
    }

    /// Takes back what was charged since: that part does not serve.
    pub(crate) fn refund(&mut self, bill: &Bill, cost: Cost) {
        self.ledger.refund(bill, cost.bill);
        for key in self.clusters.order.drain(cost.clusters..) {
            self.clusters.known.get_mut(&key).and_then(Vec::pop);
        }
        self.clusters.fresh = 0;
    }

    /// Charges for something, and for the clusters it is the first to lead to. What exceeds a budget is told to the object that does.
    pub(crate) fn charge(&mut self, bill: &Bill, amount: u64, kind: &'static str) -> Result<(), Reported> {
        let clusters = std::mem::take(&mut self.clusters.fresh);
        self.ledger.charge(bill, amount + clusters).map_err(|excess| self.complain(excess, kind))
    }

    /// Notes work that may come to nothing; it is bounded, too.
    pub(crate) fn work(&mut self, bill: &Bill, amount: u64) -> Result<(), Reported> {
        self.ledger.work(bill, amount).map_err(|excess| self.complain(excess, "RouteError"))
    }

    fn complain(&mut self, excess: TooLarge, kind: &'static str) -> Reported {
        let kind = if excess.by_include { "IncludeError" } else { kind };
        self.complaints.entry(excess.object).or_insert_with(|| Issue::new(kind, "TooLarge", excess.message));
        Reported
    }

    fn read(&mut self, kind: Kind, name: &NamespacedName) {
        self.reads.insert(ObjectRef::new(kind, name.clone()));
    }

    /// The HTTPProxy of this name, if it is of a class served here.
    pub(crate) fn proxy(&mut self, name: &NamespacedName) -> Option<Arc<Proxy>> {
        self.read(Kind::HttpProxy, name);
        let present = self.sources.store.proxy(name).filter(|p| self.settings.serves(p.class.as_deref()))?;
        Some(self.proxy_version(present))
    }

    /// The version of an Ingress to read.
    pub(crate) fn ingress_version(&mut self, present: &Indexed) -> Indexed {
        let object = ObjectRef::new(Kind::Ingress, present.name.clone());
        match self.version(object, Content::Ingress(present.clone())) {
            Content::Ingress(version) => version,
            _ => present.clone(),
        }
    }

    /// The version of an HTTPProxy to read.
    pub(crate) fn proxy_version(&mut self, present: &Arc<Proxy>) -> Arc<Proxy> {
        let object = ObjectRef::new(Kind::HttpProxy, present.name.clone());
        match self.version(object, Content::Proxy(Arc::clone(present))) {
            Content::Proxy(version) => version,
            _ => Arc::clone(present),
        }
    }

    /// The Service of this name.
    pub(crate) fn service(&mut self, name: &NamespacedName) -> Option<Arc<KnownService>> {
        self.read(Kind::Service, name);
        self.sources.service(name, &mut self.services)
    }

    /// What is to be told about an address of a Service's endpoints that does not go to Envoy. One is told, however many there are. A
    /// change of it is a change of the Service, which was read.
    pub(crate) fn left_out(&self, service: &contour_objects::Service) -> Option<String> {
        let slice =
            self.sources.store.incomplete_slice(&service.name).filter(|_| service.external_name.is_none())?;
        slice.left_out.as_ref().map(|left_out| format!("EndpointSlice \"{}\": {left_out}", slice.name))
    }

    /// The pair in a Secret, if an object in `namespace` may refer to it.
    pub(crate) fn tls_pair(
        &mut self,
        secret: &NamespacedName,
        namespace: &str,
    ) -> Result<Arc<TlsPair>, SecretProblem> {
        self.secret(secret, namespace, |s| s.tls.clone())
    }

    /// The CA certificates in a Secret, if an object in `namespace` may refer to it.
    pub(crate) fn ca(
        &mut self,
        secret: &NamespacedName,
        namespace: &str,
    ) -> Result<Arc<CaBundle>, SecretProblem> {
        self.secret(secret, namespace, |s| s.ca.clone())
    }

    fn secret<T>(
        &mut self,
        secret: &NamespacedName,
        namespace: &str,
        part: impl FnOnce(&Secret) -> Result<T, SecretError>,
    ) -> Result<T, SecretProblem> {
        if *secret.namespace != *namespace {
            self.reads.insert(delegations_in(&secret.namespace));
            if !self.sources.store.delegated(secret, namespace) {
                return Err(SecretProblem::NotDelegated);
            }
        }
        self.read(Kind::Secret, secret);
        let present = self.sources.store.secret(secret).ok_or_else(|| {
            SecretProblem::Unusable(format!(
                "Secret \"{secret}\" does not exist, or is of a type that cannot be used"
            ))
        })?;
        let object = ObjectRef::new(Kind::Secret, secret.clone());
        let Content::Secret(found) = self.version(object, Content::Secret(Arc::clone(present))) else {
            return Err(SecretProblem::Unusable(format!("Secret \"{secret}\" cannot be used")));
        };
        part(&found).map_err(|e| SecretProblem::Unusable(format!("Secret \"{secret}\" cannot be used: {e}")))
    }

    /// The host's tree reaches this HTTPProxy: it is not an orphan.
    pub(crate) fn reach(&mut self, proxy: &NamespacedName) {
        self.reports.entry(proxy.clone()).or_default();
    }

    /// Reports an error on an HTTPProxy.
    pub(crate) fn error(
        &mut self,
        proxy: &NamespacedName,
        kind: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Reported {
        let report = self.reports.entry(proxy.clone()).or_default();
        report_to(&mut self.ledger, &mut report.errors, kind, reason, message.into());
        Reported
    }

    /// Warns on an HTTPProxy.
    pub(crate) fn warn(
        &mut self,
        proxy: &NamespacedName,
        kind: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let report = self.reports.entry(proxy.clone()).or_default();
        report_to(&mut self.ledger, &mut report.warnings, kind, reason, message.into());
    }

    /// Tells something about an Ingress, which has no status for it.
    pub(crate) fn note(&mut self, ingress: &NamespacedName, message: impl Into<String>) {
        let notes = self.notes.entry(ingress.clone()).or_default();
        let mut message = message.into();
        shorten(&mut message);
        if notes.len() < MOST_ISSUES && !notes.contains(&message) {
            notes.push(message);
            if let Some(last) = notes.get_mut(MOST_ISSUES - 1) {
                "there are more problems than are listed here".clone_into(last);
            }
        }
    }
}

/// Adds an issue whose message is paid for, once: each host that reads an object keeps what it says about it.
fn report_to(
    ledger: &mut Ledger<'_>,
    issues: &mut Vec<Issue>,
    kind: &'static str,
    reason: &'static str,
    mut message: String,
) {
    shorten(&mut message);
    let is = |issue: &Issue| issue.kind == kind && issue.reason == reason && issue.message == message;
    if issues.len() == MOST_ISSUES || issues.iter().any(is) {
        return;
    }
    if !ledger.tells(message.len()) {
        "there are too many and too long problems to tell what this one is".clone_into(&mut message);
    }
    add_issue(issues, Issue::new(kind, reason, message));
}

/// Equal clusters have equal hashes.
fn hash_of(cluster: &Cluster) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&cluster.service, cluster.port, &cluster.discovery, cluster.protocol, &cluster.sni).hash(&mut hasher);
    (cluster.load_balancer, &cluster.health_check, cluster.idle_connection_timeout).hash(&mut hasher);
    cluster.circuit_breakers.hash(&mut hasher);
    if let Some(validation) = &cluster.validation {
        (&validation.secret, &validation.subject_names).hash(&mut hasher);
    }
    hasher.finish()
}

/// The record that a build read the delegations of a namespace, whichever they are.
pub(crate) fn delegations_in(namespace: &Arc<str>) -> ObjectRef {
    ObjectRef::new(Kind::Delegation, NamespacedName { namespace: Arc::clone(namespace), name: "".into() })
}

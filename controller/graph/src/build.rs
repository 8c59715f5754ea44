//! What every step of building a host shares: lookups that are remembered, and reports that are collected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_objects::{
    CaBundle, Kind, NamespacedName, ObjectRef, Proxy, Secret, SecretError, Service, Store, TlsPair,
};

use crate::settings::Settings;
use crate::status::Issue;

/// What a build found out about one HTTPProxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) errors: Vec<Issue>,
    pub(crate) warnings: Vec<Issue>,
}

/// The most errors, and the most warnings, told about one HTTPProxy: a status has to fit into the object. The most notes of an Ingress.
const MOST_ISSUES: usize = 64;

/// Adds an issue that is not there yet, as long as there is room; the last one then says that there are more.
pub(crate) fn add_issue(issues: &mut Vec<Issue>, issue: Issue) {
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
    store: &'a Store,
    pub(crate) settings: &'a Settings,
    pub(crate) reads: BTreeSet<ObjectRef>,
    pub(crate) reports: BTreeMap<NamespacedName, Report>,
    pub(crate) notes: BTreeMap<NamespacedName, Vec<String>>,
}

impl<'a> Build<'a> {
    pub(crate) fn new(store: &'a Store, settings: &'a Settings) -> Self {
        Self { store, settings, reads: BTreeSet::new(), reports: BTreeMap::new(), notes: BTreeMap::new() }
    }

    fn read(&mut self, kind: Kind, name: &NamespacedName) {
        self.reads.insert(ObjectRef::new(kind, name.clone()));
    }

    /// The HTTPProxy of this name, if it is of a class served here.
    pub(crate) fn proxy(&mut self, name: &NamespacedName) -> Option<&'a Arc<Proxy>> {
        self.read(Kind::HttpProxy, name);
        self.store.proxy(name).filter(|p| self.settings.serves(p.class.as_deref()))
    }

    /// The Service of this name.
    pub(crate) fn service(&mut self, name: &NamespacedName) -> Option<&'a Arc<Service>> {
        self.read(Kind::Service, name);
        self.store.service(name)
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
            if !self.store.delegated(secret, namespace) {
                return Err(SecretProblem::NotDelegated);
            }
        }
        self.read(Kind::Secret, secret);
        let found = self.store.secret(secret).ok_or_else(|| {
            SecretProblem::Unusable(format!(
                "Secret \"{secret}\" does not exist, or is of a type that cannot be used"
            ))
        })?;
        part(found).map_err(|e| SecretProblem::Unusable(format!("Secret \"{secret}\" cannot be used: {e}")))
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
        let issue = Issue::new(kind, reason, message);
        add_issue(&mut self.reports.entry(proxy.clone()).or_default().errors, issue);
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
        let issue = Issue::new(kind, reason, message);
        add_issue(&mut self.reports.entry(proxy.clone()).or_default().warnings, issue);
    }

    /// Tells something about an Ingress, which has no status for it.
    pub(crate) fn note(&mut self, ingress: &NamespacedName, message: impl Into<String>) {
        let notes = self.notes.entry(ingress.clone()).or_default();
        let message = message.into();
        if notes.len() < MOST_ISSUES && !notes.contains(&message) {
            notes.push(message);
            if let Some(last) = notes.get_mut(MOST_ISSUES - 1) {
                "there are more problems than are listed here".clone_into(last);
            }
        }
    }
}

/// The record that a build read the delegations of a namespace, whichever they are.
pub(crate) fn delegations_in(namespace: &Arc<str>) -> ObjectRef {
    ObjectRef::new(Kind::Delegation, NamespacedName { namespace: Arc::clone(namespace), name: "".into() })
}

//! What the installation decides for all hosts.

use std::collections::BTreeSet;

use crate::budget::Budgets;
use crate::model::TlsVersion;

/// Who contributes to a host that objects of several namespaces name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostOwnership {
    /// Everybody, as in Contour: Ingresses of all namespaces add paths, to the hosts of HTTPProxies as well (`--share-httpproxy-hosts`).
    Shared,
    /// A host that an HTTPProxy names belongs to its namespace: Ingresses of others do not contribute. Among Ingresses paths merge.
    #[default]
    Proxies,
    /// One namespace a host: that of the HTTPProxy recorded to have it, else of the oldest object that names it, whatever its kind
    /// (`--strict-host-ownership`).
    Strict,
}

/// Settings of the graph, fixed for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Classes served (`--ingress-class-name`). Empty: objects without a class or with class `contour`.
    pub classes: Vec<String>,
    /// Namespaces whose HTTPProxies may be roots (`--root-namespaces`). Empty: all.
    pub root_namespaces: BTreeSet<String>,
    /// Who contributes to a host that several namespaces name.
    pub ownership: HostOwnership,
    /// `disablePermitInsecure`: every TLS host redirects plain requests.
    pub disable_permit_insecure: bool,
    /// `enableExternalNameService`: serve Services of type ExternalName (never loopback or link-local names).
    pub external_names: bool,
    /// `tls.minimum-protocol-version` (1.2).
    pub tls_minimum: TlsVersion,
    /// `tls.maximum-protocol-version` (1.3).
    pub tls_maximum: TlsVersion,
    /// What may be served for an object, a host and a namespace.
    pub budgets: Budgets,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            classes: Vec::new(),
            root_namespaces: BTreeSet::new(),
            ownership: HostOwnership::default(),
            disable_permit_insecure: false,
            external_names: false,
            tls_minimum: TlsVersion::V1_2,
            tls_maximum: TlsVersion::V1_3,
            budgets: Budgets::default(),
        }
    }
}

impl Settings {
    /// Whether objects of this class are served here (reference 3.2).
    pub fn serves(&self, class: Option<&str>) -> bool {
        match class {
            None => self.classes.is_empty(),
            Some(class) if self.classes.is_empty() => class == "contour",
            Some(class) => self.classes.iter().any(|c| c == class),
        }
    }

    /// Whether HTTPProxies in this namespace may be roots.
    pub fn root_allowed(&self, namespace: &str) -> bool {
        self.root_namespaces.is_empty() || self.root_namespaces.contains(namespace)
    }
}

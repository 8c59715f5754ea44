//! What the installation decides for all hosts.

use std::collections::BTreeSet;

use crate::model::TlsVersion;

/// Settings of the graph, fixed for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Classes served (`--ingress-class-name`). Empty: objects without a class or with class `contour`.
    pub classes: Vec<String>,
    /// Namespaces whose HTTPProxies may be roots (`--root-namespaces`). Empty: all.
    pub root_namespaces: BTreeSet<String>,
    /// `disablePermitInsecure`: every TLS host redirects plain requests.
    pub disable_permit_insecure: bool,
    /// `enableExternalNameService`: serve Services of type ExternalName (never loopback or link-local names).
    pub external_names: bool,
    /// `tls.minimum-protocol-version` (1.2).
    pub tls_minimum: TlsVersion,
    /// `tls.maximum-protocol-version` (1.3).
    pub tls_maximum: TlsVersion,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            classes: Vec::new(),
            root_namespaces: BTreeSet::new(),
            disable_permit_insecure: false,
            external_names: false,
            tls_minimum: TlsVersion::V1_2,
            tls_maximum: TlsVersion::V1_3,
        }
    }
}

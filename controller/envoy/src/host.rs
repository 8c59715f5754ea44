//! One host, translated and encoded once.

use std::collections::BTreeSet;
use std::sync::Arc;

use contour_graph::model::{Origin, SecureHost, Termination, VirtualHost};
use contour_objects::TlsPair;
use contour_resource::Part;

use crate::layout::SecureParts;
use crate::listener::Chains;
use crate::route::Clusters;
use crate::settings::PublicPorts;
use crate::{Settings, names, virtual_host};

/// What a host adds to the configuration.
#[derive(Debug, Default)]
pub(crate) struct HostParts {
    /// Its virtual host on the plain listener.
    pub(crate) plain: Option<Arc<Part>>,
    /// What it needs on the TLS listener.
    pub(crate) secure: Option<SecureParts>,
    /// The clusters it leads to.
    pub(crate) clusters: Clusters,
    /// The certificate it presents.
    pub(crate) secret: Option<(Arc<str>, Arc<TlsPair>)>,
    /// The objects it comes from.
    pub(crate) origins: BTreeSet<Origin>,
}

/// Translates hosts.
pub(crate) struct Translator {
    chains: Chains,
    /// Whether routes tell the object they come from.
    tell_origins: bool,
    public_ports: Option<PublicPorts>,
}

impl Translator {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            chains: Chains::new(settings),
            tell_origins: settings.logs_origins(),
            public_ports: settings.public_ports,
        }
    }

    /// Translates a host.
    pub(crate) fn translate(&self, fqdn: &Arc<str>, host: &VirtualHost) -> HostParts {
        let mut out = HostParts::default();
        if !host.plain.is_empty() {
            let (tell, ports) = (self.tell_origins, self.public_ports);
            let bytes = virtual_host::encode(fqdn, &host.plain, tell, ports, &mut out.clusters);
            out.plain = Some(Arc::new(Part::new(Arc::clone(fqdn), bytes)));
            out.origins.extend(host.plain.iter().map(|route| route.origin.clone()));
        }
        if let Some(secure) = &host.secure {
            out.secure = Some(self.secure(fqdn, secure, &mut out));
        }
        out
    }

    fn secure(&self, fqdn: &Arc<str>, host: &SecureHost, out: &mut HostParts) -> SecureParts {
        let certificate =
            |tls: &Termination| Some((names::secret(&tls.secret, &tls.pair), Arc::clone(&tls.pair)));
        match host {
            SecureHost::Http { tls, routes } => {
                out.secret = certificate(tls);
                out.origins.extend(routes.iter().map(|route| route.origin.clone()));
                let host = virtual_host::encode(fqdn, routes, self.tell_origins, None, &mut out.clusters);
                SecureParts {
                    chain: self.chains.http(fqdn, tls),
                    routes: Some(virtual_host::secure(fqdn, &host)),
                }
            }
            SecureHost::Tcp { tls, proxy } => {
                out.secret = certificate(tls);
                out.origins.insert(proxy.origin.clone());
                SecureParts {
                    chain: self.chains.tcp(fqdn, Some(tls), proxy, &mut out.clusters),
                    routes: None,
                }
            }
            SecureHost::Passthrough { proxy } => {
                out.origins.insert(proxy.origin.clone());
                SecureParts { chain: self.chains.tcp(fqdn, None, proxy, &mut out.clusters), routes: None }
            }
        }
    }
}

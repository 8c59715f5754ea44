//! One host, translated and encoded once.

use std::collections::BTreeSet;
use std::sync::Arc;

use contour_graph::model::{Origin, SecureHost, TcpProxy, Termination, VirtualHost};
use contour_objects::TlsPair;
use contour_resource::{Part, ResourceType};

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
    pub(crate) secret: Option<(Arc<str>, Certificate)>,
    /// The objects it comes from.
    pub(crate) origins: BTreeSet<Origin>,
}

/// A certificate, and the namespace of its Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) namespace: Arc<str>,
    pub(crate) pair: Arc<TlsPair>,
}

impl Certificate {
    fn of(tls: &Termination) -> Self {
        Self { namespace: Arc::clone(&tls.secret.namespace), pair: Arc::clone(&tls.pair) }
    }
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
        let origin = origin(host);
        if !host.plain.is_empty() {
            let (tell, ports) = (self.tell_origins, self.public_ports);
            let mut clusters = Clusters::new();
            let bytes = virtual_host::encode(fqdn, &host.plain, tell, ports, &mut clusters);
            let part = Part::new(Arc::clone(fqdn), bytes).using(used(&clusters));
            out.plain = Some(Arc::new(part.of_origin(Some(&origin))));
            out.clusters = clusters;
            out.origins.extend(host.plain.iter().map(|route| route.origin.clone()));
        }
        if let Some(secure) = &host.secure {
            let (chain, routes) = self.secure(fqdn, secure, &mut out);
            let owned = |part: Part| Arc::new(part.of_origin(Some(&origin)));
            out.secure = Some(SecureParts { chain: owned(chain), routes: routes.map(owned) });
        }
        out
    }

    fn secure(&self, fqdn: &Arc<str>, host: &SecureHost, out: &mut HostParts) -> (Part, Option<Part>) {
        let certificate =
            |tls: &Termination| Some((names::secret(&tls.secret, &tls.pair), Certificate::of(tls)));
        match host {
            SecureHost::Http { tls, routes } => {
                out.secret = certificate(tls);
                out.origins.extend(routes.iter().map(|route| route.origin.clone()));
                let mut clusters = Clusters::new();
                let host = virtual_host::encode(fqdn, routes, self.tell_origins, None, &mut clusters);
                let routes = virtual_host::secure(fqdn, &host).using(used(&clusters));
                out.clusters.extend(clusters);
                let own = (ResourceType::Route, names::secure_routes(fqdn));
                let chain = self.chains.http(fqdn, tls).using(presented(out).chain([own]));
                (chain, Some(routes))
            }
            SecureHost::Tcp { tls, proxy } => {
                out.secret = certificate(tls);
                out.origins.insert(proxy.origin.clone());
                self.tcp(fqdn, Some(tls), proxy, out)
            }
            SecureHost::Passthrough { proxy } => {
                out.origins.insert(proxy.origin.clone());
                self.tcp(fqdn, None, proxy, out)
            }
        }
    }

    fn tcp(
        &self,
        fqdn: &Arc<str>,
        tls: Option<&Termination>,
        proxy: &TcpProxy,
        out: &mut HostParts,
    ) -> (Part, Option<Part>) {
        let mut clusters = Clusters::new();
        let chain = self.chains.tcp(fqdn, tls, proxy, &mut clusters);
        let chain = chain.using(used(&clusters).chain(presented(out)));
        out.clusters.extend(clusters);
        (chain, None)
    }
}

/// Who answers for a host: the namespace that names it. What several name is held against none of them, but against the host alone; no
/// namespace has a space in its name.
fn origin(host: &VirtualHost) -> Arc<str> {
    host.namespace.clone().unwrap_or_else(|| format!("host {}", host.fqdn).into())
}

/// The clusters that a part uses.
fn used(clusters: &Clusters) -> impl Iterator<Item = (ResourceType, Arc<str>)> {
    clusters.keys().map(|name| (ResourceType::Cluster, Arc::clone(name)))
}

/// The Secret that a filter chain uses.
fn presented(out: &HostParts) -> impl Iterator<Item = (ResourceType, Arc<str>)> {
    out.secret.iter().map(|(name, _)| (ResourceType::Secret, Arc::clone(name)))
}

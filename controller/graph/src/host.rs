//! One host: everything that contributes to a name, put together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_objects::{NamespacedName, ObjectRef, Proxy};

use crate::budget::{Account, Elsewhere};
use crate::build::{Build, Report};
use crate::ingress::Indexed;
use crate::kept::Versions;
use crate::known::{Services, Sources};
use crate::model::{
    Action, PathMatch, PathRewrite, Route, RouteMatch, SecureHost, TcpProxy, Termination, VirtualHost,
};
use crate::owner::Claims;
use crate::settings::Settings;
use crate::status::Issue;
use crate::{ingress, root};

/// The result of building a host: what it serves, what was read for it, and what there is to say.
pub(crate) struct BuiltHost {
    pub(crate) host: Option<VirtualHost>,
    pub(crate) reads: BTreeSet<ObjectRef>,
    pub(crate) reports: BTreeMap<NamespacedName, Report>,
    pub(crate) notes: BTreeMap<NamespacedName, Vec<String>>,
    /// The versions of objects it was built from.
    pub(crate) used: Versions,
    /// What exceeds budgets, not told yet.
    pub(crate) complaints: BTreeMap<ObjectRef, Issue>,
    pub(crate) account: Account,
    /// The root that has the host, where hosts have one owner.
    pub(crate) holder: Option<NamespacedName>,
    /// Services that were worked out for it.
    pub(crate) services: Services,
}

/// What the TLS listener does for a host, while it is being put together.
#[derive(Clone, Debug)]
pub(crate) enum SecurePart {
    Http { tls: Termination, routes: Vec<Route> },
    Tcp { tls: Termination, proxy: TcpProxy },
    Passthrough { proxy: TcpProxy },
}

/// A host while it is being put together: later contributions replace equal earlier ones.
#[derive(Debug, Default)]
pub(crate) struct HostParts {
    plain: BTreeMap<RouteMatch, Route>,
    /// What Ingresses serve over TLS, if one of them has a certificate.
    ingress: BTreeMap<RouteMatch, Route>,
    ingress_tls: Option<Termination>,
    /// What the root does with TLS.
    root: Option<SecurePart>,
}

impl HostParts {
    /// Sets a route of the plain listener.
    pub(crate) fn set_plain(&mut self, route: Route) {
        self.plain.insert(route.matches.clone(), route);
    }

    /// Sets what an HTTPProxy root does with TLS; it replaces an Ingress's certificate and equal routes.
    pub(crate) fn set_secure(&mut self, part: SecurePart) {
        self.root = Some(part);
    }

    /// Adds an Ingress's routes where nothing older has the same match. One certificate serves the routes of all Ingresses of the host.
    pub(crate) fn add_ingress(&mut self, plain: Vec<Route>, tls: Option<Termination>, secure: Vec<Route>) {
        for route in plain {
            self.plain.entry(route.matches.clone()).or_insert(route);
        }
        if self.ingress_tls.is_none() {
            self.ingress_tls = tls;
        }
        for route in secure {
            self.ingress.entry(route.matches.clone()).or_insert(route);
        }
    }

    fn finish(self, fqdn: &Arc<str>, namespace: Option<Arc<str>>) -> Option<VirtualHost> {
        let plain = pair_slashes(self.plain);
        let secure = match (self.root, self.ingress_tls) {
            (Some(SecurePart::Passthrough { proxy }), _) => Some(SecureHost::Passthrough { proxy }),
            (Some(SecurePart::Tcp { tls, proxy }), _) => Some(SecureHost::Tcp { tls, proxy }),
            (Some(SecurePart::Http { tls, routes }), ingress_tls) => {
                let mut all = if ingress_tls.is_some() { self.ingress } else { BTreeMap::new() };
                all.extend(routes.into_iter().map(|route| (route.matches.clone(), route)));
                (!all.is_empty()).then(|| SecureHost::Http { tls, routes: pair_slashes(all) })
            }
            (None, Some(tls)) if !self.ingress.is_empty() => {
                Some(SecureHost::Http { tls, routes: pair_slashes(self.ingress) })
            }
            (None, _) => None,
        };
        let fqdn = Arc::clone(fqdn);
        (!plain.is_empty() || secure.is_some()).then_some(VirtualHost { fqdn, namespace, plain, secure })
    }
}

/// Builds a host from its roots and Ingresses, or the versions of them that are given instead. Pure: equal objects give an equal result,
/// as far as the budgets of their namespaces, which `elsewhere` is spent from, cover them.
pub(crate) fn build(
    sources: Sources<'_>,
    settings: &Settings,
    fqdn: &Arc<str>,
    roots: &[Arc<Proxy>],
    ingresses: &[Indexed],
    elsewhere: Elsewhere<'_>,
    instead: &Versions,
) -> BuiltHost {
    let mut b = Build::new(sources, settings, elsewhere, instead);
    let mut parts = HostParts::default();
    let claims = Claims::new(settings, fqdn, roots, ingresses);
    let mut namespaces = BTreeSet::new();
    for barred in &claims.barred {
        root::add(&mut b, barred, &mut parts);
    }
    for one in &claims.ingresses {
        if let Some(owner) = claims.keeps_out(&one.name.namespace) {
            b.note(&one.name, owner.note(fqdn));
        } else {
            b.ledger.pays(&one.name.namespace);
            namespaces.insert(&one.name.namespace);
            let version = b.ingress_version(one);
            ingress::add(&mut b, &version, fqdn, &mut parts);
        }
    }
    claims.refuse_roots(&mut b, fqdn);
    for root in claims.serving_roots(fqdn) {
        namespaces.insert(&root.name.namespace);
        root::add(&mut b, root, &mut parts);
    }
    BuiltHost {
        host: parts.finish(fqdn, only(&namespaces)),
        reads: b.reads,
        reports: b.reports,
        notes: b.notes,
        used: b.used,
        complaints: b.complaints,
        account: b.ledger.close(),
        holder: claims.holder(fqdn),
        services: b.services,
    }
}

/// The only one of these.
fn only(namespaces: &BTreeSet<&Arc<str>>) -> Option<Arc<str>> {
    let first = namespaces.first().filter(|_| namespaces.len() == 1)?;
    Some(Arc::clone(first))
}

/// Gives every rewritten prefix its twin, with or without the trailing slash, so that neither `/foo` nor `/foo/` rewrites to a path with
/// a doubled or missing slash (reference 1.8.3). Where the user wrote both, both stay as written.
fn pair_slashes(mut routes: BTreeMap<RouteMatch, Route>) -> Vec<Route> {
    let rewritten: Vec<Route> = routes.values().filter(|r| rewritten_prefix(r).is_some()).cloned().collect();
    let written: BTreeSet<RouteMatch> = routes.keys().cloned().collect();
    for route in rewritten {
        let Some((prefix, replacement)) = rewritten_prefix(&route) else { continue };
        let base = prefix.trim_end_matches('/');
        let at = |path: String| RouteMatch { path: PathMatch::Prefix(path), ..route.matches.clone() };
        let (without, with) = (at(base.to_owned()), at(format!("{base}/")));
        if base.is_empty() || (written.contains(&without) && written.contains(&with)) {
            continue;
        }
        let trimmed = replacement.trim_end_matches('/');
        let root_or_bare = if trimmed.is_empty() { "/" } else { trimmed };
        for (matches, rewrite) in [(without, root_or_bare.to_owned()), (with, format!("{trimmed}/"))] {
            let mut copy = Route { matches: matches.clone(), ..route.clone() };
            if let Action::Forward(forward) = &mut copy.action {
                forward.rewrite = Some(PathRewrite::Prefix(rewrite));
            }
            routes.insert(matches, copy);
        }
    }
    routes.into_values().collect()
}

fn rewritten_prefix(route: &Route) -> Option<(String, String)> {
    match (&route.matches.path, &route.action) {
        (PathMatch::Prefix(prefix), Action::Forward(forward)) => {
            let PathRewrite::Prefix(replacement) = forward.rewrite.as_ref()?;
            Some((prefix.clone(), replacement.clone()))
        }
        _ => None,
    }
}

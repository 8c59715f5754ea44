//! Who has a host name: what objects of several namespaces that name one host come to.
//!
//! A name is owned as it is written, in lower case: `*.example.com` and `www.example.com` are two names, and Envoy prefers the exact one.
//! An owner keeps its name by naming it, whether what it says about it can be served or not: a typo hands nothing over. Roots in
//! namespaces where no root may be do not count, nor do objects of other classes.

use std::sync::Arc;

use contour_objects::{NamespacedName, Proxy};

use crate::build::Build;
use crate::ingress::Indexed;
use crate::settings::{HostOwnership, Settings};

/// The most objects that are named in, or rely on, the same message: with one contender more, only so many statuses change.
const MOST_NAMED: usize = 8;

/// The object whose namespace has a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'o> {
    kind: &'static str,
    object: &'o NamespacedName,
}

impl Owner<'_> {
    /// What is told to an Ingress that does not contribute.
    pub(crate) fn note(&self, fqdn: &str) -> String {
        let Self { kind, object } = self;
        format!(
            "host \"{fqdn}\" is not served from here: it belongs to namespace {}, whose {kind} {object} names it",
            object.namespace
        )
    }
}

/// All that name a host, the oldest first.
pub(crate) struct Claims<'o> {
    /// Roots where no roots may be. They harm only themselves.
    pub(crate) barred: Vec<&'o Arc<Proxy>>,
    /// Those of all namespaces.
    pub(crate) ingresses: Vec<&'o Indexed>,
    roots: Vec<&'o Arc<Proxy>>,
    owner: Option<Owner<'o>>,
    strict: bool,
}

impl<'o> Claims<'o> {
    /// Orders those that name a host, and decides who has it.
    pub(crate) fn new(
        settings: &Settings,
        fqdn: &str,
        roots: &'o [Arc<Proxy>],
        ingresses: &'o [Indexed],
    ) -> Self {
        let (mut roots, barred): (Vec<_>, Vec<_>) =
            roots.iter().partition(|r| fqdn.is_empty() || settings.root_allowed(&r.name.namespace));
        roots.sort_by(|x, y| (x.created, &x.name).cmp(&(y.created, &y.name)));
        let mut ingresses: Vec<_> = ingresses.iter().collect();
        ingresses.sort_by(|x, y| (x.created, &x.name).cmp(&(y.created, &y.name)));
        let oldest_root = roots.first().map(|r| (r.created, Owner { kind: "HTTPProxy", object: &r.name }));
        let oldest_ingress =
            ingresses.first().map(|i| (i.created, Owner { kind: "Ingress", object: &i.name }));
        let owner = match settings.ownership {
            // A root without a name has no host.
            _ if fqdn.is_empty() => None,
            HostOwnership::Shared => None,
            HostOwnership::Proxies => oldest_root,
            HostOwnership::Strict => match (oldest_root, oldest_ingress) {
                // Who may have roots was decided by the administrator; who may have Ingresses was not. Of the same age, a root has it.
                (Some(root), Some(ingress)) if ingress.0 < root.0 && settings.root_namespaces.is_empty() => {
                    Some(ingress)
                }
                (root, ingress) => root.or(ingress),
            },
        };
        let owner = owner.map(|(_, owner)| owner);
        let strict = settings.ownership == HostOwnership::Strict;
        Self { barred, ingresses, roots, owner, strict }
    }

    /// The owner that keeps objects of this namespace from contributing.
    pub(crate) fn keeps_out(&self, namespace: &str) -> Option<Owner<'o>> {
        self.owner.filter(|owner| *owner.object.namespace != *namespace)
    }

    /// The roots that serve: the only one, with strict ownership the oldest of the namespace that has the name, and those without a name,
    /// which are told so.
    pub(crate) fn serving_roots(&self, fqdn: &str) -> &[&'o Arc<Proxy>] {
        match self.roots.as_slice() {
            all if fqdn.is_empty() => all,
            [_] if !self.strict => &self.roots,
            all if self.strict => {
                let own = all.iter().position(|r| self.keeps_out(&r.name.namespace).is_none());
                own.map_or(&[], |at| &all[at..=at])
            }
            _ => &[],
        }
    }

    /// Tells the roots that do not serve. However many there are, one more changes what is told to few others.
    pub(crate) fn refuse_roots(&self, b: &mut Build<'_>, fqdn: &str) {
        let serving = self.serving_roots(fqdn);
        let refused = self.roots.iter().filter(|r| !serving.iter().any(|s| s.name == r.name));
        for (at, root) in refused.enumerate() {
            let several = format!("fqdn \"{fqdn}\" is used in multiple");
            let message = match (serving.first(), self.keeps_out(&root.name.namespace)) {
                _ if !self.strict => format!("{several} HTTPProxies: {}", self.named(root, at)),
                // Who it is, is told to the first few: all that are told it change with it.
                _ if at >= MOST_NAMED => format!("{several} HTTPProxies: an older one has it"),
                (_, Some(Owner { kind, object })) => {
                    format!("{several} namespaces: {kind} {object} has it")
                }
                (Some(serving), None) => format!("{several} HTTPProxies: {} has it", serving.name),
                (None, None) => continue,
            };
            b.error(&root.name, "VirtualHostError", "DuplicateVhost", message);
        }
    }

    /// The roots of a host that has several: all of them where they are few, as Contour does.
    fn named(&self, root: &Proxy, at: usize) -> String {
        if at >= MOST_NAMED {
            return format!("{} and others that are older", root.name);
        }
        let mut first: Vec<_> = self.roots.iter().take(MOST_NAMED).map(|r| &r.name).collect();
        first.sort();
        let first: Vec<String> = first.into_iter().map(ToString::to_string).collect();
        let others = if self.roots.len() > MOST_NAMED { " and others" } else { "" };
        format!("{}{others}", first.join(", "))
    }
}

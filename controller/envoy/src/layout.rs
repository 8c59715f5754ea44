//! How the hosts of the TLS listener become resources.
//!
//! This is the interface another layout would have (a listener in shards, say): it takes what each host needs and yields the listener's
//! resources. The present one is Contour's: one filter chain for each SNI, with a RouteConfiguration of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use contour_resource::{Part, Resource, ResourceType, Transaction, Trial};
use prost::Message;

use crate::{Settings, listener, names, virtual_host};

/// What one host needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecureParts {
    /// Its filter chain.
    pub(crate) chain: Arc<Part>,
    /// Its RouteConfiguration, unless it proxies TCP.
    pub(crate) routes: Option<Arc<Part>>,
}

/// A host, and how wildcard hosts above it tell clients to go to it.
struct Host {
    parts: SecureParts,
    /// A virtual host that answers 421, encoded when a wildcard first needs it.
    elsewhere: OnceLock<Arc<Part>>,
}

/// One filter chain for each host.
pub(crate) struct SecureHosts {
    head: Arc<Part>,
    trial: Arc<Trial>,
    hosts: BTreeMap<Arc<str>, Host>,
    wildcards: BTreeSet<Arc<str>>,
    /// The hosts by their labels from right to left, so that those under a wildcard stand together.
    by_labels: BTreeMap<String, Arc<str>>,
    chains_changed: bool,
    routes_changed: BTreeSet<Arc<str>>,
    listening: bool,
    /// The hosts whose RouteConfiguration is published and has routes.
    routed: BTreeSet<Arc<str>>,
    tombstones: Tombstones,
}

impl SecureHosts {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            head: Arc::new(Part::new("", listener::secure(settings).encode_to_vec())),
            trial: Arc::new(Trial {
                name: names::TRIAL_HTTPS.into(),
                head: Arc::new(Part::new("", listener::trial_secure(settings).encode_to_vec())),
            }),
            hosts: BTreeMap::new(),
            wildcards: BTreeSet::new(),
            by_labels: BTreeMap::new(),
            chains_changed: false,
            routes_changed: BTreeSet::new(),
            listening: false,
            routed: BTreeSet::new(),
            tombstones: Tombstones::default(),
        }
    }

    /// Sets or removes a host.
    pub(crate) fn put(&mut self, fqdn: &Arc<str>, parts: Option<SecureParts>) {
        let old = self.hosts.get(fqdn).map(|host| &host.parts);
        let (old_chain, new_chain) = (old.map(|p| &p.chain), parts.as_ref().map(|p| &p.chain));
        let existence = old_chain.is_some() != new_chain.is_some();
        self.chains_changed |= old_chain != new_chain;
        let routes = |parts: Option<&SecureParts>| parts.and_then(|parts| parts.routes.clone());
        if routes(old) != routes(parts.as_ref()) {
            self.routes_changed.insert(Arc::clone(fqdn));
        }
        if existence {
            // The wildcard host above must not answer for this host, or again may.
            let above = wildcards_above(fqdn).find_map(|above| self.wildcards.get(above.as_str()));
            self.routes_changed.extend(above.cloned());
            match parts {
                Some(_) => self.by_labels.insert(by_labels(fqdn), Arc::clone(fqdn)),
                None => self.by_labels.remove(&by_labels(fqdn)),
            };
        }
        if fqdn.starts_with('*') && existence {
            match parts {
                Some(_) => self.wildcards.insert(Arc::clone(fqdn)),
                None => self.wildcards.remove(fqdn),
            };
        }
        match parts {
            Some(parts) => self.hosts.insert(Arc::clone(fqdn), Host { parts, elsewhere: OnceLock::new() }),
            None => self.hosts.remove(fqdn),
        };
    }

    /// Adds what changed since the last call. Chains are shared with what was published before: only pointers are copied.
    pub(crate) fn publish(&mut self, out: &mut Transaction) {
        self.clear_tombstones(out);
        for fqdn in std::mem::take(&mut self.routes_changed) {
            self.publish_routes(&fqdn, out);
        }
        if !std::mem::take(&mut self.chains_changed) {
            return;
        }
        if self.hosts.is_empty() {
            if std::mem::take(&mut self.listening) {
                out.remove.push((ResourceType::Listener, names::INGRESS_HTTPS.into()));
            }
            return;
        }
        self.listening = true;
        let chains = self.hosts.values().map(|host| &host.parts.chain);
        let parts = std::iter::once(&self.head).chain(chains).cloned().collect();
        let listener = Resource::new(names::INGRESS_HTTPS, parts).tried_as(Arc::clone(&self.trial));
        out.set.push((ResourceType::Listener, Arc::new(listener)));
    }

    fn publish_routes(&mut self, fqdn: &Arc<str>, out: &mut Transaction) {
        let name = names::secure_routes(fqdn);
        let Some(routes) = self.hosts.get(fqdn).and_then(|host| host.parts.routes.as_ref()) else {
            if self.routed.remove(fqdn) {
                self.bury(fqdn, name, out);
            }
            return;
        };
        let mut parts = vec![Arc::clone(routes)];
        if fqdn.starts_with('*') {
            parts.extend(self.under(fqdn));
        }
        self.tombstones.remove(fqdn);
        self.routed.insert(Arc::clone(fqdn));
        out.set.push((ResourceType::Route, Arc::new(Resource::new(name, parts))));
    }

    /// The hosts right under a wildcard that have a filter chain of their own: over a connection of the wildcard's chain they are
    /// misdirected, and so is everything under a lower wildcard, whose domain stands for all hosts below it. Each host is so in the table
    /// of one wildcard: with all in all, wildcards above wildcards would make tables without end.
    fn under(&self, wildcard: &str) -> Vec<Arc<Part>> {
        let own = by_labels(wildcard);
        let stem = own.strip_suffix('*').unwrap_or_default();
        let mut parts = Vec::new();
        let mut from = Bound::Included(stem.to_owned());
        while let Some((key, fqdn)) = self.by_labels.range((from, Bound::Unbounded)).next() {
            let Some(below) = key.strip_prefix(stem) else { break };
            from = Bound::Excluded(key.clone());
            if below == "*" {
                continue;
            }
            if let Some(lower) = key.strip_suffix(".*") {
                // The next one after all that start with its labels and a dot.
                from = Bound::Included(format!("{lower}/"));
            }
            if let Some(host) = self.hosts.get(fqdn) {
                let encode = || Arc::new(Part::new(Arc::clone(fqdn), virtual_host::misdirected(fqdn)));
                parts.push(Arc::clone(host.elsewhere.get_or_init(encode)));
            }
        }
        parts
    }

    /// Empties the RouteConfiguration of a host that is gone. Envoy drains the connections of a removed filter chain for minutes and ignores
    /// the removal of its RouteConfiguration: with the last one it had, those connections would be routed to clusters that no longer
    /// exist (503). So the host is emptied (404) and stays so; nobody but the draining chains ever asks for it.
    fn bury(&mut self, fqdn: &Arc<str>, name: Arc<str>, out: &mut Transaction) {
        let empty = virtual_host::configuration(&name);
        out.set.push((ResourceType::Route, Arc::new(Resource::whole(name, empty))));
        self.tombstones.add(Arc::clone(fqdn));
    }

    /// Removes the oldest tombstones where earlier steps left too many. What this step says something about is left for the next.
    fn clear_tombstones(&mut self, out: &mut Transaction) {
        while let Some(oldest) = self.tombstones.surplus().filter(|fqdn| !self.routes_changed.contains(*fqdn))
        {
            let oldest = Arc::clone(oldest);
            self.tombstones.remove(&oldest);
            out.remove.push((ResourceType::Route, names::secure_routes(&oldest)));
        }
    }
}

/// Hosts that are gone but still answered for, in the order they went.
#[derive(Default)]
struct Tombstones {
    ages: BTreeMap<Arc<str>, u64>,
    hosts: BTreeMap<u64, Arc<str>>,
    next: u64,
}

impl Tombstones {
    /// How many are kept.
    const MOST: usize = 4096;

    fn add(&mut self, fqdn: Arc<str>) {
        self.remove(&fqdn);
        self.ages.insert(Arc::clone(&fqdn), self.next);
        self.hosts.insert(self.next, fqdn);
        self.next += 1;
    }

    /// The oldest, if there are more than are kept.
    fn surplus(&self) -> Option<&Arc<str>> {
        self.hosts.values().next().filter(|_| self.hosts.len() > Self::MOST)
    }

    fn remove(&mut self, fqdn: &str) {
        if let Some(age) = self.ages.remove(fqdn) {
            self.hosts.remove(&age);
        }
    }
}

/// A name from right to left: `c.b.a` for `a.b.c`. No character of a name but the dash sorts between the star and the dot, so a wildcard
/// comes right before what is under it.
fn by_labels(fqdn: &str) -> String {
    fqdn.rsplit('.').collect::<Vec<_>>().join(".")
}

/// The wildcard hosts that cover a host, nearest first: `*.b.c`, `*.c` and `*` for `a.b.c`; `*.c` and `*` for `*.b.c`.
fn wildcards_above(fqdn: &str) -> impl Iterator<Item = String> {
    let labels = fqdn.strip_prefix("*.").unwrap_or(fqdn);
    let dots = labels.match_indices('.').map(|(at, _)| format!("*{}", &labels[at..]));
    dots.chain((fqdn != "*").then(|| "*".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_tombstone_goes_first() {
        let mut tombstones = Tombstones::default();
        let name = |n: usize| Arc::from(n.to_string());
        (0..Tombstones::MOST).for_each(|n| tombstones.add(name(n)));
        tombstones.add(name(0)); // Went again: now the youngest.
        tombstones.remove("1");
        tombstones.add(name(Tombstones::MOST));
        assert_eq!(tombstones.surplus(), None);
        tombstones.add(name(Tombstones::MOST + 1));
        assert_eq!(tombstones.surplus(), Some(&name(2)));
        assert_eq!(tombstones.ages.len(), tombstones.hosts.len());
    }

    fn above(fqdn: &str) -> Vec<String> {
        wildcards_above(fqdn).collect()
    }

    #[test]
    fn wildcards_above_a_host() {
        assert_eq!(above("a.b.c"), ["*.b.c", "*.c", "*"]);
        assert_eq!(above("*.b.c"), ["*.c", "*"]);
        assert_eq!(above("*"), Vec::<String>::new());
    }
}

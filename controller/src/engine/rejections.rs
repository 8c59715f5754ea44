//! What Envoys hold against the configuration, by the objects behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_envoy::Owner;
use contour_graph::IngressNote;
use contour_graph::status::{Issue, ProxyStatus};
use contour_objects::NamespacedName;
use contour_xds::{Fact, NOT_TRIED, Piece, Refusal};

/// The most notes about one host.
const MOST_NOTES: usize = 64;

/// What is held against one piece, as its owners read it.
#[derive(Debug, Default)]
struct Rejection {
    messages: Vec<String>,
    proxies: BTreeSet<NamespacedName>,
    /// Hosts, and the Ingresses that make them.
    ingresses: BTreeSet<(Arc<str>, NamespacedName)>,
}

/// Whom news of Envoys concerns.
#[derive(Debug, Default)]
pub(super) struct Affected {
    /// HTTPProxies whose status is another.
    pub(super) proxies: BTreeSet<NamespacedName>,
    /// Hosts with other notes.
    pub(super) hosts: BTreeSet<Arc<str>>,
}

/// All present rejections.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    pieces: BTreeMap<Piece, Rejection>,
    by_proxy: BTreeMap<NamespacedName, BTreeSet<Piece>>,
    by_host: BTreeMap<Arc<str>, BTreeSet<Piece>>,
}

impl Rejections {
    /// Takes in what is true of a piece now, in place of what was.
    pub(super) fn set(&mut self, fact: &Fact, owners: &[Owner], affected: &mut Affected) {
        self.remove(&fact.piece, affected);
        if fact.refusals.is_empty() {
            return;
        }
        let mut rejection = Rejection {
            messages: fact.refusals.iter().map(|refusal| message(&fact.piece, refusal)).collect(),
            ..Rejection::default()
        };
        for owner in owners {
            for origin in &owner.origins {
                let object = origin.object.clone();
                if origin.kind == "HTTPProxy" {
                    rejection.proxies.insert(object);
                } else {
                    rejection.ingresses.insert((Arc::clone(&owner.host), object));
                }
            }
        }
        for proxy in &rejection.proxies {
            self.by_proxy.entry(proxy.clone()).or_default().insert(fact.piece.clone());
            affected.proxies.insert(proxy.clone());
        }
        for (host, _) in &rejection.ingresses {
            self.by_host.entry(Arc::clone(host)).or_default().insert(fact.piece.clone());
            affected.hosts.insert(Arc::clone(host));
        }
        self.pieces.insert(fact.piece.clone(), rejection);
    }

    fn remove(&mut self, piece: &Piece, affected: &mut Affected) {
        let Some(rejection) = self.pieces.remove(piece) else { return };
        for proxy in rejection.proxies {
            withdraw(&mut self.by_proxy, &proxy, piece);
            affected.proxies.insert(proxy);
        }
        for (host, _) in rejection.ingresses {
            withdraw(&mut self.by_host, &host, piece);
            affected.hosts.insert(host);
        }
    }

    /// Adds what is held against an HTTPProxy to its status.
    pub(super) fn add_to(&self, status: &mut ProxyStatus) {
        let pieces = self.by_proxy.get(&status.object).into_iter().flatten();
        for message in pieces.filter_map(|piece| self.pieces.get(piece)).flat_map(|r| &r.messages) {
            status.add_error(Issue::new("EnvoyError", "RejectedByEnvoy", message.clone()));
        }
    }

    /// What is held against the Ingresses of a host.
    pub(super) fn notes(&self, host: &Arc<str>) -> impl Iterator<Item = IngressNote> {
        let pieces = self.by_host.get(host).into_iter().flatten();
        let of_piece = |rejection: &Rejection| {
            let ingresses: Vec<_> = rejection.ingresses.iter().filter(|(of, _)| of == host).collect();
            let note = |message: &String, ingress: &NamespacedName| IngressNote {
                ingress: ingress.clone(),
                host: Arc::clone(host),
                message: message.clone(),
            };
            let notes =
                rejection.messages.iter().flat_map(|m| ingresses.iter().map(move |(_, i)| note(m, i)));
            notes.take(MOST_NOTES).collect::<Vec<_>>()
        };
        let notes: Vec<_> =
            pieces.filter_map(|piece| self.pieces.get(piece)).flat_map(of_piece).take(MOST_NOTES).collect();
        notes.into_iter()
    }
}

fn withdraw<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Piece>>, key: &K, piece: &Piece) {
    if let Some(pieces) = index.get_mut(key) {
        pieces.remove(piece);
        if pieces.is_empty() {
            index.remove(key);
        }
    }
}

fn message(Piece { kind, resource, part }: &Piece, refusal: &Refusal) -> String {
    let at = if part.is_empty() { String::new() } else { format!(" (part \"{part}\")") };
    let Refusal { message, envoys, .. } = refusal;
    let (kind, names) = (kind.short(), names(refusal));
    let did = if message.starts_with(NOT_TRIED) { "was not sent" } else { "rejected" };
    if *envoys == 1 {
        let keeps = "keeps the last version it accepted";
        format!("Envoy {names} {did} {kind} resource \"{resource}\"{at} and {keeps}: {message}")
    } else {
        let did = did.replace("was", "were");
        let keep = "keep the last version they accepted";
        format!("{envoys} Envoys ({names}) {did} {kind} resource \"{resource}\"{at} and {keep}: {message}")
    }
}

/// The Envoys that say the same: some by name, the others by number.
pub(super) fn names(refusal: &Refusal) -> String {
    let names = refusal.some.join(", ");
    match refusal.envoys.saturating_sub(refusal.some.len()) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use contour_graph::model::Origin;
    use contour_resource::ResourceType;

    use super::*;

    fn fact(part: &str, refusals: &[(&str, usize)]) -> Fact {
        let piece = Piece { kind: ResourceType::Route, resource: "ingress_http".into(), part: part.into() };
        let refusal = |&(message, envoys): &(&str, usize)| Refusal {
            message: message.into(),
            envoys,
            some: (0..envoys.min(3)).map(|i| format!("e{i}").into()).collect(),
        };
        Fact { piece, refusals: refusals.iter().map(refusal).collect(), new: Vec::new() }
    }

    fn owner(host: &str, kind: &'static str, object: &str) -> Owner {
        let origin = Origin { kind, object: NamespacedName::new("team", object) };
        Owner { host: host.into(), origins: vec![origin] }
    }

    fn status(rejections: &Rejections, object: &str) -> Vec<String> {
        let mut status = ProxyStatus {
            object: NamespacedName::new("team", object),
            generation: 1,
            errors: Vec::new(),
            warnings: Vec::new(),
            holds: None,
        };
        rejections.add_to(&mut status);
        status.errors.into_iter().map(|issue| issue.message).collect()
    }

    #[test]
    fn a_status_groups_by_message_and_counts_envoys() {
        let mut rejections = Rejections::default();
        let mut affected = Affected::default();
        let owners = [owner("a.example.com", "HTTPProxy", "a")];
        rejections.set(&fact("a", &[("no", 1_000), ("never", 1)]), &owners, &mut affected);
        assert_eq!(affected.proxies, BTreeSet::from([NamespacedName::new("team", "a")]));
        assert_eq!(
            status(&rejections, "a"),
            [
                "1000 Envoys (e0, e1, e2 and 997 more) rejected rds resource \"ingress_http\" (part \"a\") and keep the last version they accepted: no",
                "Envoy e0 rejected rds resource \"ingress_http\" (part \"a\") and keeps the last version it accepted: never",
            ]
        );
        assert_eq!(status(&rejections, "b"), Vec::<String>::new());
        rejections.set(&fact("a", &[]), &owners, &mut affected);
        assert_eq!(status(&rejections, "a"), Vec::<String>::new());
        assert!(rejections.pieces.is_empty() && rejections.by_proxy.is_empty());
    }

    #[test]
    fn what_was_not_tried_was_not_rejected() {
        let mut rejections = Rejections::default();
        let message = format!("{NOT_TRIED}: wait");
        let owners = [owner("a.example.com", "HTTPProxy", "a")];
        for (envoys, expected) in
            [(1, "Envoy e0 was not sent rds "), (2, "2 Envoys (e0, e1) were not sent rds ")]
        {
            rejections.set(&fact("a", &[(&message, envoys)]), &owners, &mut Affected::default());
            let told = status(&rejections, "a");
            assert!(told[0].starts_with(expected), "{told:?}");
        }
    }

    #[test]
    fn many_pieces_make_no_endless_status() {
        let mut rejections = Rejections::default();
        for i in 0..10_000 {
            let owners = [owner("a.example.com", "HTTPProxy", "a"), owner("b.example.com", "Ingress", "b")];
            rejections.set(&fact(&format!("p{i}"), &[("no", 2)]), &owners, &mut Affected::default());
        }
        assert_eq!(status(&rejections, "a").len(), 64);
        assert_eq!(rejections.notes(&"b.example.com".into()).count(), MOST_NOTES);
    }

    #[test]
    fn an_ingress_is_told_too() {
        let mut rejections = Rejections::default();
        let (mut affected, host) = (Affected::default(), Arc::from("a.example.com"));
        let owners = [owner("a.example.com", "Ingress", "i")];
        rejections.set(&fact("a", &[("no", 1)]), &owners, &mut affected);
        assert_eq!(affected.hosts, BTreeSet::from([Arc::clone(&host)]));
        let notes: Vec<_> = rejections.notes(&host).collect();
        assert_eq!((notes.len(), &notes[0].ingress), (1, &NamespacedName::new("team", "i")));
        assert!(notes[0].message.ends_with(": no"), "{}", notes[0].message);
        rejections.set(&fact("a", &[]), &[], &mut affected);
        assert_eq!(rejections.notes(&host).count(), 0);
    }
}

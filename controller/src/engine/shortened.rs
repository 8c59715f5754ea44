//! Services whose endpoints are not all used, by the objects that lead to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_envoy::Shortened;
use contour_graph::IngressNote;
use contour_graph::status::{Issue, ProxyStatus};
use contour_objects::NamespacedName;

use super::rejections::Affected;

/// The most that is told about one object.
const MOST_TOLD: usize = 16;

/// Whom something is told: an HTTPProxy, or an Ingress about a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reader {
    Proxy(NamespacedName),
    Ingress(Arc<str>, NamespacedName),
}

/// What is told of all assignments that do not show everything.
#[derive(Debug, Default)]
pub(super) struct Shortages {
    readers: BTreeMap<Arc<str>, BTreeSet<Reader>>,
    told: BTreeMap<Reader, BTreeMap<Arc<str>, Arc<str>>>,
}

impl Shortages {
    /// Takes in what is true of an assignment now, in place of what was; whether it shows less than there is and did not before.
    pub(super) fn set(&mut self, one: &Shortened, affected: &mut Affected) -> bool {
        let Shortened { assignment, message, owners } = one;
        let before = self.readers.remove(assignment);
        let knew = before.is_some();
        for reader in before.into_iter().flatten() {
            if let Some(told) = self.told.get_mut(&reader) {
                told.remove(assignment);
                if told.is_empty() {
                    self.told.remove(&reader);
                }
            }
            reader.is_affected(affected);
        }
        let Some(message) = message.as_deref().map(Arc::<str>::from) else { return false };
        let readers: BTreeSet<Reader> = owners
            .iter()
            .flat_map(|owner| owner.origins.iter().map(|origin| (&owner.host, origin)))
            .map(|(host, origin)| match origin.kind {
                "HTTPProxy" => Reader::Proxy(origin.object.clone()),
                _ => Reader::Ingress(Arc::clone(host), origin.object.clone()),
            })
            .collect();
        for reader in &readers {
            let told = self.told.entry(reader.clone()).or_default();
            told.insert(Arc::clone(assignment), Arc::clone(&message));
            reader.is_affected(affected);
        }
        self.readers.insert(Arc::clone(assignment), readers);
        !knew
    }

    /// Adds what there is to tell an HTTPProxy to its status.
    pub(super) fn add_to(&self, status: &mut ProxyStatus) {
        if self.told.is_empty() {
            return;
        }
        let told = self.told.get(&Reader::Proxy(status.object.clone()));
        for message in told.into_iter().flat_map(BTreeMap::values).take(MOST_TOLD) {
            status.add_warning(Issue::new("ServiceError", "TooManyEndpoints", &**message));
        }
    }

    /// What there is to tell the Ingresses of a host.
    pub(super) fn notes(&self, host: &Arc<str>) -> Vec<IngressNote> {
        let first = Reader::Ingress(Arc::clone(host), NamespacedName::new("", ""));
        let mut notes = Vec::new();
        for (reader, told) in self.told.range(first..) {
            let Reader::Ingress(of, ingress) = reader else { break };
            if of != host {
                break;
            }
            notes.extend(told.values().take(MOST_TOLD).map(|message| IngressNote {
                ingress: ingress.clone(),
                host: Arc::clone(host),
                message: message.to_string(),
            }));
        }
        notes
    }
}

impl Reader {
    fn is_affected(&self, affected: &mut Affected) {
        match self {
            Self::Proxy(name) => affected.proxies.insert(name.clone()),
            Self::Ingress(host, _) => affected.hosts.insert(Arc::clone(host)),
        };
    }
}

#[cfg(test)]
mod tests {
    use contour_envoy::Owner;
    use contour_graph::model::Origin;

    use super::*;

    fn shortened(
        assignment: &str,
        message: Option<&str>,
        owners: &[(&str, &'static str, &str)],
    ) -> Shortened {
        let owner = |&(host, kind, object): &(&str, &'static str, &str)| Owner {
            host: host.into(),
            origins: vec![Origin { kind, object: NamespacedName::new("team", object) }],
        };
        Shortened {
            assignment: assignment.into(),
            message: message.map(str::to_owned),
            owners: owners.iter().map(owner).collect(),
        }
    }

    fn warnings(shortages: &Shortages, object: &str) -> usize {
        let object = NamespacedName::new("team", object);
        let mut status =
            ProxyStatus { object, generation: 1, errors: Vec::new(), warnings: Vec::new(), holds: None };
        shortages.add_to(&mut status);
        assert!(status.errors.is_empty(), "it is served");
        status.warnings.len()
    }

    #[test]
    fn who_leads_to_a_service_is_told_as_long_as_it_holds() {
        let mut shortages = Shortages::default();
        let mut affected = Affected::default();
        let owners = [("x", "HTTPProxy", "p"), ("y", "Ingress", "i")];
        assert!(shortages.set(&shortened("team/s", Some("too many"), &owners), &mut affected));
        assert_eq!(affected.proxies, BTreeSet::from([NamespacedName::new("team", "p")]));
        assert_eq!(affected.hosts, BTreeSet::from([Arc::from("y")]));
        assert_eq!((warnings(&shortages, "p"), warnings(&shortages, "q")), (1, 0));
        assert_eq!((shortages.notes(&"y".into()).len(), shortages.notes(&"x".into()).len()), (1, 0));

        let mut affected = Affected::default();
        assert!(
            !shortages.set(&shortened("team/s", Some("too many"), &[("x", "HTTPProxy", "q")]), &mut affected)
        );
        assert_eq!(affected.proxies.len(), 2, "who is not told any more is told so");
        assert_eq!((warnings(&shortages, "p"), warnings(&shortages, "q")), (0, 1));

        assert!(!shortages.set(&shortened("team/s", None, &[]), &mut affected));
        assert!(shortages.told.is_empty() && shortages.readers.is_empty());
    }
}

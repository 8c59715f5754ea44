//! What Prometheus sees of the operator.

use std::time::Duration;

use contour_crds::ContourDeploymentStatus;
use contour_crds::status::ConditionStatus;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::apply::Difference;
use crate::child::ChildKind;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CategoryLabel {
    category: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: String,
    because: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    namespace: String,
    name: String,
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    namespace: String,
    name: String,
    r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    namespace: String,
    name: String,
    component: &'static str,
    version: String,
    desired: String,
}

/// The metrics of the operator. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Family<OutcomeLabel, Counter>,
    duration: Histogram,
    errors: Family<CategoryLabel, Counter>,
    writes: Family<WriteLabels, Counter>,
    deletes: Family<KindLabel, Counter>,
    certificates: Family<CertificateLabels, Gauge>,
    conditions: Family<ConditionLabels, Gauge>,
    versions: Family<VersionLabels, Gauge>,
    others: Family<ObjectLabels, Gauge>,
    leader: Gauge,
}

impl Metrics {
    /// Registers all metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            duration: Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0]),
            errors: Family::default(),
            writes: Family::default(),
            deletes: Family::default(),
            certificates: Family::default(),
            conditions: Family::default(),
            versions: Family::default(),
            others: Family::default(),
            leader: Gauge::default(),
        };
        let m = metrics.clone();
        let registry = registry.sub_registry_with_prefix("contour_operator");
        registry.register(
            "reconciles",
            "Looks at a ContourDeployment, by how they ended: complete, waiting, failing, refused (the object is invalid), \
             deleting or error",
            m.reconciles,
        );
        registry.register_with_unit("reconcile_duration", "How long a look takes", Unit::Seconds, m.duration);
        registry.register("errors", "Requests and watches that failed, by cause", m.errors);
        registry.register(
            "writes",
            "Children written, because they were missing, changed (something else is wanted) or drifted (someone edited them)",
            m.writes,
        );
        registry.register("deletes", "Children deleted", m.deletes);
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When a certificate between Contour and Envoy expires, in seconds since 1970",
            Unit::Seconds,
            m.certificates,
        );
        registry.register(
            "condition",
            "1 while a condition of a ContourDeployment is True, else 0",
            m.conditions,
        );
        registry.register(
            "component",
            "Always 1: the versions that a component of a ContourDeployment runs and should run",
            m.versions,
        );
        registry.register(
            "other_operator",
            "1 for a ContourDeployment that another operator has, which this one leaves alone",
            m.others,
        );
        registry.register("leader", "1 while this process holds the lease, else 0", m.leader);
        metrics
    }

    /// A child was written.
    pub(crate) fn wrote(&self, kind: ChildKind, because: Option<&Difference>) {
        let because = match because {
            Some(Difference::Missing) => "missing",
            Some(Difference::Drifted(_)) => "drifted",
            Some(Difference::Changed) | None => "changed",
        };
        self.writes.get_or_create(&WriteLabels { kind: kind.to_string(), because }).inc();
    }

    /// A child was deleted.
    pub(crate) fn deleted(&self, kind: ChildKind) {
        self.deletes.get_or_create(&KindLabel { kind: kind.to_string() }).inc();
    }

    /// A request or a watch failed.
    pub(crate) fn failed(&self, category: &'static str) {
        self.errors.get_or_create(&CategoryLabel { category }).inc();
    }

    /// A look ended.
    pub(crate) fn looked(&self, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Whether this process leads.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Whether another operator has a `ContourDeployment`.
    pub(crate) fn stands_back(&self, namespace: &str, name: &str, back: bool) {
        let labels = ObjectLabels { namespace: namespace.to_owned(), name: name.to_owned() };
        if back {
            self.others.get_or_create(&labels).set(1);
        } else {
            self.others.remove(&labels);
        }
    }

    /// What is known of a `ContourDeployment`, given what was known before.
    pub(crate) fn tell(
        &self,
        namespace: &str,
        name: &str,
        before: Option<&ContourDeploymentStatus>,
        now: &ContourDeploymentStatus,
    ) {
        for condition in &now.conditions {
            let value = i64::from(condition.status == ConditionStatus::True);
            self.conditions.get_or_create(&condition_labels(namespace, name, &condition.type_)).set(value);
        }
        for (labels, expires) in certificates(namespace, name, now) {
            self.certificates.get_or_create(&labels).set(expires.as_second());
        }
        let current = versions(namespace, name, now);
        for labels in before.map(|before| versions(namespace, name, before)).unwrap_or_default() {
            if !current.contains(&labels) {
                self.versions.remove(&labels);
            }
        }
        for labels in current {
            self.versions.get_or_create(&labels).set(1);
        }
    }

    /// A `ContourDeployment` is gone.
    pub(crate) fn forget(&self, namespace: &str, name: &str, last: &ContourDeploymentStatus) {
        for condition in &last.conditions {
            self.conditions.remove(&condition_labels(namespace, name, &condition.type_));
        }
        for (labels, _) in certificates(namespace, name, last) {
            self.certificates.remove(&labels);
        }
        for labels in versions(namespace, name, last) {
            self.versions.remove(&labels);
        }
    }
}

fn condition_labels(namespace: &str, name: &str, kind: &str) -> ConditionLabels {
    ConditionLabels { namespace: namespace.to_owned(), name: name.to_owned(), r#type: kind.to_owned() }
}

fn certificates(
    namespace: &str,
    name: &str,
    status: &ContourDeploymentStatus,
) -> Vec<(CertificateLabels, Timestamp)> {
    let Some(certificates) = &status.certificates else { return Vec::new() };
    let all = [
        ("authority", &certificates.authority),
        ("contour", &certificates.contour),
        ("envoy", &certificates.envoy),
    ];
    all.into_iter()
        .filter_map(|(certificate, state)| {
            let expires = state.as_ref()?.not_after.as_ref()?.parse().ok()?;
            let labels =
                CertificateLabels { namespace: namespace.to_owned(), name: name.to_owned(), certificate };
            Some((labels, expires))
        })
        .collect()
}

fn versions(namespace: &str, name: &str, status: &ContourDeploymentStatus) -> Vec<VersionLabels> {
    [("contour", &status.contour), ("envoy", &status.envoy)]
        .into_iter()
        .filter_map(|(component, state)| {
            let state = state.as_ref()?;
            Some(VersionLabels {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                component,
                version: state.version.clone().unwrap_or_default(),
                desired: state.desired_version.clone().unwrap_or_default(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use contour_crds::contour_deployment::{CertificateState, CertificatesStatus, ComponentStatus};
    use contour_crds::status::DetailedCondition;
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn status(version: &str) -> ContourDeploymentStatus {
        let expires = CertificateState {
            not_after: Some("1970-01-02T00:00:00Z".to_owned()),
            ..CertificateState::default()
        };
        ContourDeploymentStatus {
            conditions: vec![DetailedCondition {
                type_: "Available".to_owned(),
                status: ConditionStatus::True,
                ..DetailedCondition::default()
            }],
            contour: Some(ComponentStatus {
                version: Some(version.to_owned()),
                ..ComponentStatus::default()
            }),
            certificates: Some(CertificatesStatus {
                contour: Some(expires),
                ..CertificatesStatus::default()
            }),
            ..ContourDeploymentStatus::default()
        }
    }

    #[test]
    fn what_is_known_of_an_object_comes_changes_and_goes() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let scrape = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let (first, second) = (status("v1"), status("v2"));
        metrics.tell("n", "c", None, &first);
        metrics.tell("n", "c", Some(&first), &second);
        let text = scrape();
        for line in [
            "contour_operator_condition{namespace=\"n\",name=\"c\",type=\"Available\"} 1",
            "contour_operator_certificate_expiry_timestamp_seconds{namespace=\"n\",name=\"c\",certificate=\"contour\"} 86400",
            "contour_operator_component{namespace=\"n\",name=\"c\",component=\"contour\",version=\"v2\",desired=\"\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("v1"), "{text}");
        metrics.forget("n", "c", &second);
        assert!(!scrape().contains("name=\"c\""), "{}", scrape());
    }
}

//! What Prometheus sees of the exchange with the API server.

use contour_objects::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Label `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabel {
    kind: &'static str,
}

impl From<Kind> for KindLabel {
    fn from(kind: Kind) -> Self {
        Self { kind: kind.as_str() }
    }
}

/// Labels of watch errors.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ErrorLabels {
    kind: &'static str,
    reason: &'static str,
}

impl ErrorLabels {
    pub(crate) fn new(kind: Kind, reason: &'static str) -> Self {
        Self { kind: kind.as_str(), reason }
    }
}

/// Labels of the duration of status updates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DurationLabels {
    kind: &'static str,
    error: bool,
}

impl DurationLabels {
    pub(crate) fn new(kind: Kind, error: bool) -> Self {
        Self { kind: kind.as_str(), error }
    }
}

type PerKind = Family<KindLabel, Counter>;

/// The metrics of this crate. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) watch_errors: Family<ErrorLabels, Counter>,
    pub(crate) lists: PerKind,
    pub(crate) unreadable: PerKind,
    pub(crate) updates: PerKind,
    pub(crate) updates_succeeded: PerKind,
    pub(crate) updates_failed: PerKind,
    pub(crate) conflicts: PerKind,
    pub(crate) noops: PerKind,
    pub(crate) pending: Family<KindLabel, Gauge>,
    pub(crate) duration: Family<DurationLabels, Histogram>,
    pub(crate) leading: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            watch_errors: Family::default(),
            lists: Family::default(),
            unreadable: Family::default(),
            updates: Family::default(),
            updates_succeeded: Family::default(),
            updates_failed: Family::default(),
            conflicts: Family::default(),
            noops: Family::default(),
            pending: Family::default(),
            duration: Family::new_with_constructor(duration),
            leading: Gauge::default(),
        }
    }
}

/// Seconds: from what a local API server needs to what is a matter for its operator.
fn duration() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// The `contour_status_update_*` metrics are Contour's (reference 7); `contour_status_update_duration_seconds` is a histogram here, where
    /// Contour has a summary: the series `_count` and `_sum` are the same, quantiles are computed from `_bucket`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register("contour_watch_errors", "Failed or broken watches, by cause", m.watch_errors);
        registry.register(
            "contour_watch_lists",
            "Complete lists read, at start and after a lost watch",
            m.lists,
        );
        registry.register(
            "contour_unreadable_objects",
            "Objects read that could not be understood",
            m.unreadable,
        );
        registry.register(
            "contour_status_update",
            "Total number of status updates by object kind",
            m.updates,
        );
        registry.register(
            "contour_status_update_success",
            "Number of status updates that succeeded by object kind",
            m.updates_succeeded,
        );
        registry.register(
            "contour_status_update_failed",
            "Number of status updates that failed by object kind",
            m.updates_failed,
        );
        registry.register(
            "contour_status_update_conflict",
            "Number of status update conflicts by object kind",
            m.conflicts,
        );
        registry.register(
            "contour_status_update_noop",
            "Number of status updates that are no-ops by object kind",
            m.noops,
        );
        registry.register(
            "contour_status_update_pending",
            "Status updates that wait to be written",
            m.pending,
        );
        registry.register_with_unit(
            "contour_status_update_duration",
            "How long a status update takes to finish",
            Unit::Seconds,
            m.duration,
        );
        registry.register("contour_leader", "1 while this process holds the lease, else 0", m.leading);
        metrics
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn status_metrics_have_contours_names() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let kind = KindLabel::from(Kind::HttpProxy);
        for family in [
            &metrics.updates,
            &metrics.updates_succeeded,
            &metrics.updates_failed,
            &metrics.conflicts,
            &metrics.noops,
        ] {
            family.get_or_create(&kind).inc();
        }
        metrics.duration.get_or_create(&DurationLabels::new(Kind::HttpProxy, false)).observe(0.5);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "contour_status_update_total{kind=\"HTTPProxy\"} 1",
            "contour_status_update_success_total{kind=\"HTTPProxy\"} 1",
            "contour_status_update_failed_total{kind=\"HTTPProxy\"} 1",
            "contour_status_update_conflict_total{kind=\"HTTPProxy\"} 1",
            "contour_status_update_noop_total{kind=\"HTTPProxy\"} 1",
            "contour_status_update_duration_seconds_count{kind=\"HTTPProxy\",error=\"false\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}

//! The server's metrics, all named `contour_xds_*`.

use std::time::Duration;

use contour_resource::ResourceType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::message::Mode;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabels {
    r#type: &'static str,
}

/// Handles to the metrics. A clone counts into the same ones.
#[derive(Clone)]
pub(crate) struct Metrics {
    streams: Family<StreamLabels, Gauge>,
    responses: Family<TypeLabels, Counter>,
    resources: Family<TypeLabels, Counter>,
    bytes: Family<TypeLabels, Counter>,
    acks: Family<TypeLabels, Counter>,
    nacks: Family<TypeLabels, Counter>,
    held_back: Family<TypeLabels, Gauge>,
    given_up: Counter,
    lag: Family<TypeLabels, Histogram>,
}

fn lag_histogram() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            streams: Family::default(),
            responses: Family::default(),
            resources: Family::default(),
            bytes: Family::default(),
            acks: Family::default(),
            nacks: Family::default(),
            held_back: Family::default(),
            given_up: Counter::default(),
            lag: Family::new_with_constructor(lag_histogram),
        };
        let r = registry.sub_registry_with_prefix("contour_xds");
        r.register("connected_streams", "xDS streams that are open", metrics.streams.clone());
        r.register("responses_sent", "xDS responses sent", metrics.responses.clone());
        r.register("resources_sent", "Resources sent in xDS responses", metrics.resources.clone());
        r.register("bytes_sent", "Encoded bytes of xDS responses sent", metrics.bytes.clone());
        r.register("acks", "xDS responses accepted by a client", metrics.acks.clone());
        r.register("nacks", "xDS responses refused by a client", metrics.nacks.clone());
        r.register(
            "held_back_resources",
            "Parts of resources that a client refused and that it does not get until they change",
            metrics.held_back.clone(),
        );
        r.register(
            "holds_given_up",
            "Times that routes were sent although a client had not warmed their clusters for 5 seconds",
            metrics.given_up.clone(),
        );
        r.register(
            "commit_to_ack_seconds",
            "Time from the commit of a change until a client accepted it",
            metrics.lag.clone(),
        );
        metrics
    }

    pub(crate) fn opened(&self, mode: Mode) {
        self.streams.get_or_create(&stream(mode)).inc();
    }

    pub(crate) fn closed(&self, mode: Mode) {
        self.streams.get_or_create(&stream(mode)).dec();
    }

    pub(crate) fn sent(&self, kind: ResourceType, resources: usize, bytes: usize) {
        self.responses.get_or_create(&label(kind)).inc();
        self.resources.get_or_create(&label(kind)).inc_by(resources as u64);
        self.bytes.get_or_create(&label(kind)).inc_by(bytes as u64);
    }

    pub(crate) fn acked(&self, kind: ResourceType, lag: Option<Duration>) {
        self.acks.get_or_create(&label(kind)).inc();
        if let Some(lag) = lag {
            self.lag.get_or_create(&label(kind)).observe(lag.as_secs_f64());
        }
    }

    pub(crate) fn nacked(&self, kind: ResourceType) {
        self.nacks.get_or_create(&label(kind)).inc();
    }

    pub(crate) fn gave_up(&self) {
        self.given_up.inc();
    }

    pub(crate) fn held_back(&self, kind: ResourceType, change: i64) {
        self.held_back.get_or_create(&label(kind)).inc_by(change);
    }
}

fn stream(mode: Mode) -> StreamLabels {
    StreamLabels { mode: mode.label() }
}

fn label(kind: ResourceType) -> TypeLabels {
    TypeLabels { r#type: kind.short() }
}

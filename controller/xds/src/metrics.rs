//! The server's metrics, all named `contour_xds_*`.

use std::fmt;
use std::time::Duration;

use contour_resource::ResourceType;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::facts::Facts;
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
    given_up: Counter,
    lag: Family<TypeLabels, Histogram>,
}

fn lag_histogram() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry, facts: &Facts) -> Self {
        let metrics = Self {
            streams: Family::default(),
            responses: Family::default(),
            resources: Family::default(),
            bytes: Family::default(),
            acks: Family::default(),
            nacks: Family::default(),
            given_up: Counter::default(),
            lag: Family::new_with_constructor(lag_histogram),
        };
        registry.register_collector(Box::new(HeldBack(facts.clone())));
        let r = registry.sub_registry_with_prefix("contour_xds");
        r.register("connected_streams", "xDS streams that are open", metrics.streams.clone());
        r.register("responses_sent", "xDS responses sent", metrics.responses.clone());
        r.register("resources_sent", "Resources sent in xDS responses", metrics.resources.clone());
        r.register("bytes_sent", "Encoded bytes of xDS responses sent", metrics.bytes.clone());
        r.register("acks", "xDS responses accepted by a client", metrics.acks.clone());
        r.register("nacks", "xDS responses refused by a client", metrics.nacks.clone());
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
}

/// Counts what is held back when it is asked for, so that it cannot differ from what is held back.
#[derive(Debug)]
struct HeldBack(Facts);

impl Collector for HeldBack {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let name = "contour_xds_held_back_resources";
        let help = "Parts of resources that a client refused and that it does not get until they change.";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (kind, count) in self.0.counts() {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(metric.encode_family(&label(kind))?)?;
        }
        Ok(())
    }
}

fn stream(mode: Mode) -> StreamLabels {
    StreamLabels { mode: mode.label() }
}

fn label(kind: ResourceType) -> TypeLabels {
    TypeLabels { r#type: kind.short() }
}

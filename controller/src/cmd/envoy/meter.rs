//! What a drain tells while it goes on.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::drain::Outcome;

/// Where a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody asked for a drain.
    Serving,
    /// Waiting for load balancers.
    Delay,
    /// Envoy is unready; its connections are waited for.
    Draining,
    /// Envoy may be ended.
    Done,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Serving, Self::Delay, Self::Draining, Self::Done];

    const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Delay => "delay",
            Self::Draining => "draining",
            Self::Done => "done",
        }
    }
}

type Labels = [(&'static str, &'static str); 1];

/// The metrics of draining. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    phase: Family<Labels, Gauge>,
    open: Gauge,
    elapsed: Gauge<f64, AtomicU64>,
    outcomes: Family<Labels, Counter>,
    began: Arc<Mutex<Option<Instant>>>,
}

impl Meter {
    /// Metrics `contour_shutdown_*`, all of them there from the start.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let meter = Self::default();
        meter.enter(Phase::Serving);
        for outcome in Outcome::ALL {
            drop(meter.outcomes.get_or_create(&[("outcome", outcome.name())]));
        }
        registry.register(
            "contour_shutdown_phase",
            "1 for the phase this Envoy is in: serving, delay, draining or done",
            meter.phase.clone(),
        );
        registry.register(
            "contour_shutdown_open_connections",
            "Connections of clients to this Envoy when they were last counted, in a drain",
            meter.open.clone(),
        );
        registry.register(
            "contour_shutdown_elapsed_seconds",
            "How long the present or last drain has taken",
            meter.elapsed.clone(),
        );
        registry.register(
            "contour_shutdowns",
            "Drains that are over, by outcome: drained, gone (no Envoy answers) or timeout",
            meter.outcomes.clone(),
        );
        meter
    }

    pub(super) fn begin(&self) {
        *self.began() = Some(Instant::now());
        self.tick();
    }

    pub(super) fn enter(&self, phase: Phase) {
        for other in Phase::ALL {
            self.phase.get_or_create(&[("phase", other.name())]).set(i64::from(other == phase));
        }
    }

    pub(super) fn open_connections(&self, open: u64) {
        self.open.set(i64::try_from(open).unwrap_or(i64::MAX));
        self.tick();
    }

    pub(super) fn end(&self, outcome: Outcome) {
        self.tick();
        self.enter(Phase::Done);
        self.outcomes.get_or_create(&[("outcome", outcome.name())]).inc();
        *self.began() = None;
    }

    /// Brings the elapsed time up to date.
    pub(super) fn tick(&self) {
        if let Some(began) = *self.began() {
            self.elapsed.set(began.elapsed().as_secs_f64());
        }
    }

    fn began(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The sequence that ends with an Envoy nobody is connected to.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::admin::{Admin, AdminError};
use super::meter::{Meter, Phase};

/// How often an Envoy that does not do as it is told is told again at once, and the pauses between.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// How long nobody has to listen on the socket until Envoy is gone: one that is restarted is not there for a moment.
const GONE: Duration = Duration::from_secs(1);

/// How long an Envoy may not answer until there is nothing more to wait for.
const HUNG: Duration = Duration::from_secs(30);

/// How often a socket is looked at that nobody listens on.
const GLANCE: Duration = Duration::from_millis(200);

/// How long each step takes.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Before the first step.
    pub(super) drain_delay: Duration,
    /// Between making Envoy unready and the first count.
    pub(super) check_delay: Duration,
    /// Between counts.
    pub(super) check_interval: Duration,
    /// How many connections may be left.
    pub(super) min_open_connections: u64,
    /// How long all of it may take; `None` for ever.
    pub(super) limit: Option<Duration>,
}

/// Why the drain is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Connections have ended.
    Drained,
    /// There is no Envoy, or none that answers.
    Gone,
    /// [`Pace::limit`] is over, connections are not.
    Late,
}

impl Outcome {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Drained, Self::Gone, Self::Late];

    /// In one word: label of a metric, and what a person reads.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Gone => "gone",
            Self::Late => "timeout",
        }
    }
}

/// Drains Envoy. Always comes to an end if [`Pace::limit`] says so, or Envoy does.
///
/// Listeners are not told to drain: those for probes would be closed too, and it could not be taken back
/// (projectcontour/contour#4852).
pub(super) async fn drain(admin: &Admin, pace: &Pace, meter: &Meter) -> Outcome {
    meter.begin();
    let sequence = sequence(admin, pace, meter);
    let outcome = match pace.limit {
        Some(limit) => timeout(limit, sequence).await.unwrap_or(Outcome::Late),
        None => sequence.await,
    };
    match outcome {
        Outcome::Drained => info!("Envoy is drained"),
        Outcome::Gone => warn!("Envoy is gone or hangs: there is nothing to drain"),
        Outcome::Late => warn!(limit = ?pace.limit, "connections are still open: they are cut off"),
    }
    meter.end(outcome);
    outcome
}

async fn sequence(admin: &Admin, pace: &Pace, meter: &Meter) -> Outcome {
    meter.enter(Phase::Delay);
    info!(delay = ?pace.drain_delay, "draining Envoy");
    sleep(pace.drain_delay).await;
    meter.enter(Phase::Draining);
    let Ok(mut unready) = make_unready(admin).await else { return Outcome::Gone };
    sleep(pace.check_delay).await;
    let mut absence = Absence::default();
    loop {
        if !unready {
            unready = admin.fail_health_check().await.is_ok();
        }
        match admin.open_connections().await {
            Ok(open) => {
                absence = Absence::default();
                meter.open_connections(open);
                if open <= pace.min_open_connections {
                    return Outcome::Drained;
                }
                debug!(open, "waiting for connections to end");
                sleep(pace.check_interval).await;
            }
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "Envoy cannot be asked");
                if absence.is_final(&error) {
                    return Outcome::Gone;
                }
                sleep(GLANCE.min(pace.check_interval)).await;
            }
        }
    }
}

/// There is no Envoy.
struct NoEnvoy;

/// Makes Envoy unready, and answers whether it did so. One that cannot is asked again later; one that is not there is an error.
async fn make_unready(admin: &Admin) -> Result<bool, NoEnvoy> {
    let mut absence = Absence::default();
    for pause in PAUSES.into_iter().map(Some).chain([None]) {
        let Err(error) = admin.fail_health_check().await else { return Ok(true) };
        let cause = &error as &dyn std::error::Error;
        warn!(error = cause, "Envoy cannot be told to end its connections");
        if absence.is_final(&error) {
            return Err(NoEnvoy);
        }
        if let Some(pause) = pause {
            sleep(pause).await;
        }
    }
    Ok(false)
}

/// For how long Envoy has not answered.
#[derive(Default)]
struct Absence {
    gone: Option<Instant>,
    unanswered: Option<Instant>,
}

impl Absence {
    /// Takes note of a failure, and tells whether it has lasted too long.
    fn is_final(&mut self, error: &AdminError) -> bool {
        let now = Instant::now();
        let unanswered = *self.unanswered.get_or_insert(now);
        self.gone = matches!(error, AdminError::Gone { .. }).then(|| self.gone.unwrap_or(now));
        let lasts = |since: Instant, limit| now.duration_since(since) >= limit;
        self.gone.is_some_and(|since| lasts(since, GONE)) || lasts(unanswered, HUNG)
    }
}

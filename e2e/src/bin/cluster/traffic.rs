//! Requests, and streams of them that must not fail.

use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_e2e::client::{Outcome, Request, Watcher};
use contour_e2e::wait::eventually;

use crate::world::ROLLOUT;

/// From one request of a stream to the next: often enough to meet a gap, and little work for two cores.
const PACE: Duration = Duration::from_millis(20);

/// A request with a name for messages.
#[derive(Clone)]
pub(crate) struct Probe {
    pub(crate) name: String,
    pub(crate) request: Request,
}

impl Probe {
    /// Waits until the echo server answers.
    pub(crate) async fn until_answered(&self) -> Result<()> {
        eventually(ROLLOUT, || async {
            let answer = self.request.send().await?;
            anyhow::ensure!(answer.status == 200, "status {}", answer.status);
            let received = answer.received()?;
            anyhow::ensure!(received.service == "echo", "answered by {}", received.service);
            Ok(())
        })
        .await
        .with_context(|| format!("{} is not answered", self.name))
    }

    /// Waits until the answer has this status.
    pub(crate) async fn until_status(&self, status: u16) -> Result<()> {
        eventually(ROLLOUT, || async {
            let answer = self.request.send().await?;
            anyhow::ensure!(answer.status == status, "status {} and not {status}", answer.status);
            Ok(())
        })
        .await
        .with_context(|| self.name.clone())
    }

    /// Waits until nobody listens there any more.
    pub(crate) async fn until_refused(&self) -> Result<()> {
        eventually(ROLLOUT, || async {
            anyhow::ensure!(self.request.connect().await.is_err(), "somebody listens");
            Ok(())
        })
        .await
        .with_context(|| self.name.clone())
    }
}

/// Streams of requests, each on connections of its own, all of which have to be answered with 200.
pub(crate) struct Traffic {
    streams: Vec<(String, Watcher)>,
}

impl Traffic {
    pub(crate) fn start(probes: impl IntoIterator<Item = Probe>) -> Self {
        let stream = |probe: Probe| (probe.name, Watcher::start_at_pace(probe.request, PACE));
        Self { streams: probes.into_iter().map(stream).collect() }
    }

    /// Ends the traffic; the number of requests, or the streams that had one that failed.
    pub(crate) fn finish(self) -> Result<u64> {
        let mut total = 0;
        let mut failed = Vec::new();
        for (name, watcher) in self.streams {
            let runs = watcher.stop();
            let requests: u64 = runs.iter().map(|run| run.requests).sum();
            if requests == 0 || runs.iter().any(|run| run.outcome != Outcome::Status(200)) {
                failed.push(format!("{name}: {runs:?}"));
            }
            total += requests;
        }
        anyhow::ensure!(failed.is_empty(), "requests failed: {}", failed.join("; "));
        Ok(total)
    }
}

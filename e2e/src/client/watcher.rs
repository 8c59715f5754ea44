//! A client that never looks away.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use super::Request;
use crate::wait::SOON;

/// The least time from one request to the next: fast enough to meet a gap of some milliseconds, slow enough to
/// leave a small machine to the proxy.
const INTERVAL: Duration = Duration::from_millis(2);

/// How one request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer of this status.
    Status(u16),
    /// Without an answer: refused, reset, or not in time.
    Failed(String),
}

/// Consecutive requests that ended alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// How they ended.
    pub outcome: Outcome,
    /// How many they were.
    pub requests: u64,
}

/// Sends one request after another, each over a connection of its own as a new client would, and records how each
/// ended. Shows what a poll would miss, for example one 503 on the way from 404 to 200.
#[derive(Debug)]
pub struct Watcher {
    runs: watch::Receiver<Vec<Run>>,
    task: AbortHandle,
}

impl Watcher {
    /// Begins to watch.
    pub fn start(request: Request) -> Self {
        Self::start_at_pace(request, INTERVAL)
    }

    /// Begins to watch with at least this time from one request to the next, where many watch for long.
    pub fn start_at_pace(request: Request, interval: Duration) -> Self {
        let (record, runs) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(interval);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                pace.tick().await;
                let outcome = match request.send().await {
                    Ok(answer) => Outcome::Status(answer.status),
                    Err(error) => Outcome::Failed(format!("{error:#}")),
                };
                record.send_modify(|runs| note(runs, outcome));
            }
        });
        Self { runs, task: task.abort_handle() }
    }

    /// Waits until the latest request ended with this status; returns what was recorded so far.
    pub async fn until_status(&mut self, status: u16) -> Result<Vec<Run>> {
        let wanted = Outcome::Status(status);
        let reached = self.runs.wait_for(|runs| runs.last().is_some_and(|run| run.outcome == wanted));
        let reached = tokio::time::timeout(SOON, reached).await.map(|runs| runs.map(|runs| runs.clone()));
        match reached {
            Ok(runs) => runs.context("the watching task has ended"),
            Err(_) => anyhow::bail!("no status {status} within {SOON:?}, but {:?}", *self.runs.borrow()),
        }
    }

    /// Waits until `more` further requests have ended, whatever their outcome: a condition that no clock gives.
    pub async fn after(&mut self, more: u64) -> Result<Vec<Run>> {
        let total = |runs: &Vec<Run>| runs.iter().map(|run| run.requests).sum::<u64>();
        let goal = total(&self.runs.borrow()) + more;
        let reached = tokio::time::timeout(SOON, self.runs.wait_for(|runs| total(runs) >= goal)).await;
        Ok(reached.with_context(|| format!("fewer than {more} requests in {SOON:?}"))??.clone())
    }

    /// Ends the watch and returns everything it recorded.
    pub fn stop(self) -> Vec<Run> {
        self.task.abort();
        self.runs.borrow().clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(runs: &mut Vec<Run>, outcome: Outcome) {
    match runs.last_mut() {
        Some(run) if run.outcome == outcome => run.requests += 1,
        _ => runs.push(Run { outcome, requests: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_are_one_run() {
        let mut runs = Vec::new();
        for status in [404, 404, 200, 404] {
            note(&mut runs, Outcome::Status(status));
        }
        let expected = [(404, 2), (200, 1), (404, 1)];
        assert_eq!(
            runs,
            expected.map(|(status, requests)| Run { outcome: Outcome::Status(status), requests })
        );
    }
}

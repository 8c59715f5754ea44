//! Supervised tasks: one that ends before it was asked to ends the process. No half-dead processes.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// What a task may fail with.
type BoxError = Box<dyn Error + Send + Sync>;

/// Why the process cannot go on.
#[derive(Debug, Error)]
pub enum TaskError {
    /// A task returned although nobody asked it to.
    #[error("{task} ended although the process was not shutting down: this is a defect, please report it")]
    Ended {
        /// Name given at spawn.
        task: String,
    },
    /// A task failed; the source says why.
    #[error("{task} failed")]
    Failed {
        /// Name given at spawn.
        task: String,
        /// What it failed with.
        #[source]
        source: BoxError,
    },
    /// A task panicked; the panic was logged where it happened.
    #[error("{task} panicked: this is a defect, please report it")]
    Panicked {
        /// Name given at spawn.
        task: String,
    },
    /// Tasks did not end within the grace period of the shutdown.
    #[error("still running {grace:?} after shutdown was asked for: {}", tasks.join(", "))]
    Lingering {
        /// Names given at spawn, in order.
        tasks: Vec<String>,
        /// How long they were given.
        grace: Duration,
    },
}

/// The tasks a process consists of.
#[derive(Debug)]
pub struct Tasks {
    token: CancellationToken,
    set: JoinSet<Result<(), BoxError>>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// No task yet. `token` tells when tasks are meant to end; it is cancelled when one fails.
    pub fn new(token: CancellationToken) -> Self {
        Self { token, set: JoinSet::new(), names: HashMap::new() }
    }

    /// Runs `task` until the token is cancelled; it must watch the token itself. `name` is for messages.
    pub fn spawn<F, E>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let handle = self.set.spawn(async move { task.await.map_err(Into::into) });
        self.names.insert(handle.id(), name.into());
    }

    /// Returns when all tasks have ended: without error if the token was cancelled first and each then ended well
    /// within `grace`, otherwise with the first thing that went wrong. After a failure the others are cancelled, and
    /// given `grace` too.
    pub async fn join(mut self, grace: Duration) -> Result<(), TaskError> {
        let mut first = None;
        while !self.token.is_cancelled() {
            let ended = tokio::select! {
                biased;
                () = self.token.cancelled() => break,
                ended = self.set.join_next_with_id() => ended,
            };
            let Some(ended) = ended else { return Ok(()) };
            // The token may have been cancelled between the task's end and now: then it did as it was told.
            let stopping = self.token.is_cancelled();
            if let Err(error) = self.verdict(ended, stopping) {
                tracing::error!("{error}: shutting down");
                first = Some(error);
                self.token.cancel();
            }
        }
        self.drain(grace, &mut first).await;
        first.map_or(Ok(()), Err)
    }

    /// Waits for the rest after the cancellation.
    async fn drain(&mut self, grace: Duration, first: &mut Option<TaskError>) {
        let deadline = Instant::now() + grace;
        loop {
            match timeout_at(deadline, self.set.join_next_with_id()).await {
                Ok(None) => return,
                Ok(Some(ended)) => keep_first(first, self.verdict(ended, true).err()),
                Err(_) => {
                    let mut tasks: Vec<String> = self.names.values().cloned().collect();
                    tasks.sort();
                    keep_first(first, Some(TaskError::Lingering { tasks, grace }));
                    self.set.abort_all();
                    return;
                }
            }
        }
    }

    /// What the end of one task means.
    fn verdict(
        &mut self,
        ended: Result<(Id, Result<(), BoxError>), JoinError>,
        stopping: bool,
    ) -> Result<(), TaskError> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let task = self.names.remove(&id).expect("every task was named when it was spawned");
        match ended {
            Ok((_, Ok(()))) if stopping => Ok(()),
            Ok((_, Ok(()))) => Err(TaskError::Ended { task }),
            Ok((_, Err(source))) => Err(TaskError::Failed { task, source }),
            Err(_) => Err(TaskError::Panicked { task }),
        }
    }
}

/// The first error is returned by [`Tasks::join`], for the caller to tell with its causes; later ones are only logged.
fn keep_first(first: &mut Option<TaskError>, error: Option<TaskError>) {
    if first.is_none() {
        *first = error;
    } else if let Some(error) = error {
        tracing::warn!(cause = error.source().map(tracing::field::display), "{error}");
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io;

    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    /// A task that ends when told to.
    async fn obedient(token: CancellationToken) -> Result<(), io::Error> {
        token.cancelled().await;
        Ok(())
    }

    fn tasks() -> (Tasks, CancellationToken) {
        let token = CancellationToken::new();
        let mut tasks = Tasks::new(token.clone());
        tasks.spawn("obedient", obedient(token.clone()));
        (tasks, token)
    }

    #[tokio::test]
    async fn ends_well_when_asked_to() {
        let (tasks, token) = tasks();
        token.cancel();
        tasks.join(GRACE).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_returns_early_stops_the_others() {
        let (mut tasks, token) = tasks();
        tasks.spawn("watch", async { Ok::<(), io::Error>(()) });
        assert!(matches!(tasks.join(GRACE).await, Err(TaskError::Ended { task }) if task == "watch"));
        assert!(token.is_cancelled());
    }

    #[tokio::test]
    async fn the_first_failure_is_told_with_its_cause() {
        let (mut tasks, _token) = tasks();
        tasks.spawn("lease", async { Err(io::Error::other("lost")) });
        let error = tasks.join(GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "lease failed");
        assert_eq!(error.source().unwrap().to_string(), "lost");
    }

    #[tokio::test]
    async fn a_panic_ends_the_process_too() {
        let (mut tasks, _token) = tasks();
        tasks.spawn("xds", async {
            assert!(std::hint::black_box(false), "on purpose");
            Ok::<(), io::Error>(())
        });
        assert!(matches!(tasks.join(GRACE).await, Err(TaskError::Panicked { task }) if task == "xds"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_named() {
        let (mut tasks, token) = tasks();
        tasks.spawn("deaf", pending::<Result<(), io::Error>>());
        token.cancel();
        let error = tasks.join(GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "still running 30s after shutdown was asked for: deaf");
    }

    #[tokio::test]
    async fn a_failure_during_shutdown_is_told() {
        let (mut tasks, token) = tasks();
        let cancelled = token.clone();
        tasks.spawn("late", async move {
            cancelled.cancelled().await;
            Err(io::Error::other("disk full"))
        });
        token.cancel();
        assert!(matches!(tasks.join(GRACE).await, Err(TaskError::Failed { task, .. }) if task == "late"));
    }
}

//! Waiting on a condition with a deadline, the only way a test may wait.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// A deadline that is generous on a loaded two-core machine, for conditions that normally hold within a second.
pub const SOON: Duration = Duration::from_secs(30);

/// The pause between the first two probes; it doubles up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(50);
/// The time in which something at rest does not change.
const STILL: Duration = Duration::from_millis(500);

/// Probes until it answers `Ok`, and returns that answer.
///
/// The probe says with its error why the condition does not hold yet; when `within` has passed, the last such
/// reason is the cause of the returned error.
pub async fn eventually<T, F, Fut>(within: Duration, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut reason = anyhow::anyhow!("the first probe was still running");
    loop {
        // A probe that the deadline cuts off knows no reason: the one before it still tells best what is missing.
        match tokio::time::timeout(within.saturating_sub(started.elapsed()), probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(latest)) => reason = latest,
            Err(_) => {}
        }
        if started.elapsed() + pause >= within {
            return Err(reason).with_context(|| format!("the condition did not hold within {within:?}"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Samples until two in a row, half a second apart, are the same: what is sampled has come to rest.
pub async fn until_still<S, F, Fut>(within: Duration, sample: F) -> Result<()>
where
    S: PartialEq + Debug,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<S>>,
{
    eventually(within, || async {
        let before = sample().await?;
        tokio::time::sleep(STILL).await;
        let after = sample().await?;
        anyhow::ensure!(before == after, "still at work: {before:?}, {after:?}");
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn returns_the_first_value_that_is_ok() {
        let probes = AtomicU32::new(0);
        let value = eventually(SOON, || async {
            let n = probes.fetch_add(1, Ordering::SeqCst);
            anyhow::ensure!(n >= 3, "probe {n}");
            Ok(n)
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn gives_the_last_reason_when_time_is_up() {
        let never = eventually(Duration::from_millis(30), || async { anyhow::bail!("the door is shut") });
        let error = never.await.map(|(): ()| ()).unwrap_err();
        assert_eq!(format!("{error:#}"), "the condition did not hold within 30ms: the door is shut");
    }

    #[tokio::test]
    async fn a_probe_that_hangs_does_not_outlive_the_deadline() {
        let hung = eventually(Duration::from_millis(30), std::future::pending::<Result<()>>);
        let error = hung.await.unwrap_err();
        assert!(format!("{error:#}").ends_with("the first probe was still running"), "{error:#}");

        let probes = AtomicU32::new(0);
        let hung_later = eventually(Duration::from_millis(30), || async {
            match probes.fetch_add(1, Ordering::SeqCst) {
                0 => anyhow::bail!("the door is shut"),
                _ => std::future::pending::<Result<()>>().await,
            }
        });
        let error = hung_later.await.unwrap_err();
        assert!(format!("{error:#}").ends_with("the door is shut"), "{error:#}");
    }
}

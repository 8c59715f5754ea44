//! Who waits for a drain: any number of requests, one drain for all of them.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Requests since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    total: u64,
    open: usize,
}

/// The requests that wait, and whoever answers them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    asked: watch::Sender<Asked>,
    /// The number of the last request that was answered.
    answered: watch::Sender<u64>,
}

/// An open request; closed when it is dropped, as it is when the client goes away.
struct Open<'a>(&'a Requests);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.asked.send_modify(|asked| asked.open -= 1);
    }
}

impl Requests {
    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self) {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            asked.total += 1;
            asked.open += 1;
            number = asked.total;
        });
        let _open = Open(self);
        let mut answered = self.answered.subscribe();
        // An error would mean that the sender is gone, which is `self`.
        let _ = answered.wait_for(|last| *last >= number).await;
    }

    /// Returns when somebody waits.
    pub(super) async fn wanted(&self) {
        let answered = *self.answered.borrow();
        self.until(|asked| asked.open > 0 && asked.total > answered).await;
    }

    /// Answers all that wait.
    pub(super) fn answer(&self) {
        self.answered.send_replace(self.asked.borrow().total);
    }

    /// Returns when nobody waits.
    pub(super) async fn none(&self) {
        self.until(|asked| asked.open == 0).await;
    }

    /// Returns when nobody has been waiting for as long as `patience`.
    pub(super) async fn abandoned(&self, patience: Duration) {
        loop {
            self.none().await;
            if timeout(patience, self.until(|asked| asked.open > 0)).await.is_err() {
                return;
            }
        }
    }

    async fn until(&self, condition: impl FnMut(&Asked) -> bool) {
        // An error would mean that the sender is gone, which is `self`.
        let _ = self.asked.subscribe().wait_for(condition).await;
    }
}

/// Returns when the condition holds, which is looked at from time to time: it is about a file.
pub(super) async fn poll(period: Duration, condition: impl Fn() -> bool) {
    while !condition() {
        sleep(period).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_answer_is_for_all_who_wait_and_for_nobody_after() {
        let requests = Arc::new(Requests::default());
        let ask = || {
            tokio::spawn({
                let requests = Arc::clone(&requests);
                async move { requests.ask().await }
            })
        };
        let (first, second) = (ask(), ask());
        requests.until(|asked| asked.open == 2).await;
        requests.wanted().await;
        requests.answer();
        first.await.unwrap();
        second.await.unwrap();
        let long = Duration::from_secs(9);
        assert!(timeout(long, requests.wanted()).await.is_err(), "nobody asked again");
        let third = ask();
        requests.wanted().await;
        assert!(!third.is_finished());
        requests.answer();
        third.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_does_not_wait_any_more() {
        let requests = Requests::default();
        let patience = Duration::from_mins(1);
        assert!(timeout(Duration::from_secs(59), requests.ask()).await.is_err(), "nobody answers");
        assert!(timeout(patience / 2, requests.wanted()).await.is_err(), "nobody is there");
        timeout(patience * 2, requests.abandoned(patience)).await.unwrap();
        let asking = requests.ask();
        tokio::pin!(asking);
        assert!(timeout(patience, &mut asking).await.is_err());
        assert!(timeout(patience * 9, requests.abandoned(patience)).await.is_err(), "somebody is there");
    }
}

//! How often a `ContourDeployment` is looked at: the more pods it has, the more often one of them changes and the more a look costs, so that without a
//! pause between looks both would add up.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use futures::stream::{Fuse, unfold};
use futures::{Stream, StreamExt as _};
use tokio_util::time::DelayQueue;

/// The pause after a look, for each pod.
const FOR_A_POD: Duration = Duration::from_micros(200);

/// The longest pause. What was edited or deleted is set right that much later at most.
const LONGEST: Duration = Duration::from_secs(1);

/// The pause after a look at an installation of so many pods: none to speak of for a small one.
pub(crate) fn pause(pods: usize) -> Duration {
    FOR_A_POD.saturating_mul(u32::try_from(pods).unwrap_or(u32::MAX)).min(LONGEST)
}

/// The same triggers, where each is at least its pause after the last of its kind: the first goes through at once, those that come within the
/// pause are one at its end.
pub(crate) fn paced<T, S>(triggers: S, pause: impl Fn(&T) -> Duration + Send) -> impl Stream<Item = T> + Send
where
    T: Clone + Eq + Hash + Send + Unpin,
    S: Stream<Item = T> + Send + Unpin,
{
    let pace = Pace { triggers: triggers.fuse(), pause, resting: HashMap::new(), ends: DelayQueue::new() };
    unfold(pace, |mut pace| async { pace.next().await.map(|trigger| (trigger, pace)) })
}

struct Pace<T, S, P> {
    triggers: Fuse<S>,
    pause: P,
    /// Which went through, and whether they have come again since.
    resting: HashMap<T, bool>,
    /// When each may go through again.
    ends: DelayQueue<T>,
}

impl<T, S, P> Pace<T, S, P>
where
    T: Clone + Eq + Hash,
    S: Stream<Item = T> + Unpin,
    P: Fn(&T) -> Duration,
{
    async fn next(&mut self) -> Option<T> {
        loop {
            tokio::select! {
                Some(end) = self.ends.next() => {
                    let trigger = end.into_inner();
                    if self.resting.remove(&trigger) == Some(true) {
                        return Some(self.let_through(trigger));
                    }
                }
                trigger = self.triggers.next() => {
                    let trigger = trigger?;
                    match self.resting.get_mut(&trigger) {
                        Some(again) => *again = true,
                        None => return Some(self.let_through(trigger)),
                    }
                }
            }
        }
    }

    fn let_through(&mut self, trigger: T) -> T {
        let pause = (self.pause)(&trigger);
        if !pause.is_zero() {
            self.resting.insert(trigger.clone(), false);
            self.ends.insert(trigger.clone(), pause);
        }
        trigger
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep};
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    #[test]
    fn the_pause_grows_with_the_pods_and_ends() {
        let pauses: Vec<_> = [0, 10, 1_000, 5_000, usize::MAX].map(|n| pause(n).as_millis()).into();
        assert_eq!(pauses, [0, 2, 200, 1_000, 1_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_goes_at_once_and_a_storm_is_one_a_pause() {
        let (sender, receiver) = mpsc::channel(8);
        tokio::spawn(async move {
            // A storm of two seconds about one, and one trigger of another.
            for n in 0..200 {
                sender.send("fleet").await.unwrap();
                if n == 50 {
                    sender.send("other").await.unwrap();
                }
                sleep(Duration::from_millis(10)).await;
            }
            sleep(Duration::from_secs(10)).await;
            sender.send("fleet").await.unwrap();
        });
        let started = Instant::now();
        let paced = paced(ReceiverStream::new(receiver), |_| Duration::from_secs(1));
        let at = paced.map(|name| (name, started.elapsed().as_millis()));
        let at: Vec<(&str, u128)> = at.collect().await;
        // The clock of the queue ticks in milliseconds.
        let near = |at: u128, due: u128| at.abs_diff(due) <= 5;
        let of = |name| at.iter().filter(move |one| one.0 == name).map(|one| one.1).collect::<Vec<_>>();
        assert!(near(of("other")[0], 500), "{at:?}");
        let fleet = of("fleet");
        assert_eq!(fleet.len(), 4, "{at:?}");
        assert!(fleet.iter().zip([0, 1_000, 2_000, 12_000]).all(|(at, due)| near(*at, due)), "{at:?}");
    }
}

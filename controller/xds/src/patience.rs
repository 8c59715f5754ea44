//! The time a peer has had to answer.
//!
//! Not the time that has passed: a process that is late itself, for want of a processor or because it was stopped, must not
//! take a peer for slow whose answers it has not read, or which has not been given everything yet. So time is looked at in short
//! slices, and a slice counts if the peer had everything from its beginning and the look at its end was in time.

use std::time::{Duration, Instant};

/// The time between two looks, and the most that counts of it.
const SLICE: Duration = Duration::from_millis(250);
/// A look that is later than this was delayed by our own work, and so may be the reading of an answer.
const LATE: Duration = Duration::from_millis(100);

/// How long a peer had something to answer to, all in all. It only grows.
#[derive(Debug)]
pub(crate) struct Patience {
    spent: Duration,
    seen: Instant,
    delivered: bool,
}

impl Patience {
    pub(crate) fn new(now: Instant) -> Self {
        Self { spent: Duration::ZERO, seen: now, delivered: true }
    }

    /// Counts the time since the last look.
    pub(crate) fn look(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.seen);
        if self.delivered && passed <= SLICE + LATE {
            self.spent += passed.min(SLICE);
        }
        self.seen = self.seen.max(now);
    }

    /// From now on the peer has everything it was sent, or has not.
    pub(crate) fn delivered(&mut self, delivered: bool, now: Instant) {
        if delivered != self.delivered {
            self.look(now);
            self.delivered = delivered;
        }
    }

    /// The time that has counted so far.
    pub(crate) fn spent(&self) -> Duration {
        self.spent
    }

    /// When to look again for so much to have been spent, if it is being spent.
    pub(crate) fn next_look(&self, spent: Duration) -> Option<Instant> {
        self.delivered.then(|| self.seen + spent.saturating_sub(self.spent).min(SLICE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slices_that_end_in_time_count() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut patience = Patience::new(start);
        patience.look(at(200));
        assert_eq!(patience.spent(), Duration::from_millis(200));
        assert_eq!(patience.next_look(Duration::from_secs(5)), Some(at(450)));
        patience.look(at(500));
        assert_eq!(patience.spent(), Duration::from_millis(450), "a little late");
        patience.look(at(5_000));
        assert_eq!(patience.spent(), Duration::from_millis(450), "late");
        assert_eq!(patience.next_look(Duration::ZERO), Some(at(5_000)));
    }

    #[test]
    fn time_in_which_the_peer_has_not_got_everything_does_not_count() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut patience = Patience::new(start);
        patience.delivered(false, at(100));
        assert_eq!(patience.next_look(Duration::from_secs(5)), None);
        patience.look(at(200));
        patience.delivered(true, at(300));
        patience.delivered(true, at(350));
        patience.look(at(400));
        assert_eq!(patience.spent(), Duration::from_millis(200));
    }
}

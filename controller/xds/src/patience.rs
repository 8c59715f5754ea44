//! The time a peer has had to answer.
//!
//! Not the time that has passed: a process that is late itself, for want of a processor or because it was stopped, must not
//! take a peer for slow whose answers it has not read. So no more than a short slice counts of the time between two looks.

use std::time::{Duration, Instant};

/// The most that counts between two looks at a session.
const SLICE: Duration = Duration::from_secs(1);

/// How long a peer had something to answer to, all in all. It only grows.
#[derive(Debug)]
pub(crate) struct Patience {
    spent: Duration,
    seen: Instant,
}

impl Patience {
    pub(crate) fn new(now: Instant) -> Self {
        Self { spent: Duration::ZERO, seen: now }
    }

    /// Counts the time since the last look.
    pub(crate) fn look(&mut self, now: Instant) {
        self.spent += now.saturating_duration_since(self.seen).min(SLICE);
        self.seen = self.seen.max(now);
    }

    /// The time that has counted so far.
    pub(crate) fn spent(&self) -> Duration {
        self.spent
    }

    /// When to look again for so much to have been spent.
    pub(crate) fn next_look(&self, spent: Duration) -> Instant {
        self.seen + spent.saturating_sub(self.spent).min(SLICE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_gap_counts_little() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        patience.look(start + Duration::from_millis(300));
        assert_eq!(patience.spent(), Duration::from_millis(300));
        patience.look(start + Duration::from_mins(1));
        assert_eq!(patience.spent(), Duration::from_millis(1300));
        let wanted = Duration::from_secs(5);
        assert_eq!(patience.next_look(wanted), start + Duration::from_secs(61));
        assert_eq!(patience.next_look(Duration::ZERO), start + Duration::from_mins(1));
    }
}

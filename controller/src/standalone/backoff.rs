//! How long to wait before starting Envoy again. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
/// An Envoy that ran this long was well: what ended it is a new event.
const STABLE: Duration = Duration::from_mins(1);

/// The waits between starts: 250 ms, doubling to 30 s, and from the beginning after a minute of running.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The wait after an Envoy that ran for `lived`.
    pub(super) fn next(&mut self, lived: Duration) -> Duration {
        let wait = match self.last {
            Some(last) if lived < STABLE => (last * 2).min(LONGEST),
            _ => FIRST,
        };
        self.last = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_until_envoy_is_stable() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.next(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(backoff.next(Duration::from_secs(61)), FIRST);
        assert_eq!(backoff.next(Duration::ZERO), FIRST * 2);
    }
}

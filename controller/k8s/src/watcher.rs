//! kube-runtime's watcher, with our pauses between its attempts.

use std::fmt::Debug;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::stream::{BoxStream, Stream, StreamExt, unfold};
use kube::runtime::watcher::{self, Config, Error, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::hung::WATCH_SECONDS;
use crate::trouble::status;

/// With jitter, which adds up to as much again.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Between attempts to watch a kind whose definition is missing. Asking for it is cheap, and whoever installs it waits for us.
const UNTIL_DEFINED: Duration = Duration::from_secs(1);

/// How long to wait after each failure.
#[derive(Default)]
pub(crate) struct Pauses(Option<ExponentialBackoff>);

impl Pauses {
    /// The pause after this error: growing, from half a second to half a minute, but not while a definition is missing.
    pub(crate) fn after(&mut self, error: &Error) -> Duration {
        if code(error) == Some(404) {
            // When it comes back, the point to go on from is gone, which is an error, too: it begins with a short pause.
            self.0 = None;
            return UNTIL_DEFINED;
        }
        // The iterator has no end; were it to end, a full pause is the safe choice.
        self.0.get_or_insert_with(growing).next().unwrap_or(LONGEST_PAUSE)
    }

    /// Something arrived.
    pub(crate) fn reset(&mut self) {
        self.0 = None;
    }
}

fn growing() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(LONGEST_PAUSE)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// The code of the server's answer, where there was one.
fn code(error: &Error) -> Option<u16> {
    status(error).map(|status| status.code)
}

/// Whether the point at which the watch was to go on is gone, and the server told so before it began: kube-runtime would ask for it for ever.
pub(crate) fn cannot_resume(error: &Error) -> bool {
    matches!(error, Error::WatchStartFailed(_)) && code(error) == Some(410)
}

/// Watches, for ever. What fails is told as an item, and tried again after a pause; a connection that fell silent fails within half a
/// minute, and a definition that is installed is noticed within a second.
pub fn watch<K>(api: Api<K>, config: Config) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = config.timeout(WATCH_SECONDS);
    unfold(
        Watch { api, config, stream: None, pauses: Pauses::default(), owed: None },
        |mut watch| async move {
            let item = watch.next().await;
            Some((item, watch))
        },
    )
}

struct Watch<K> {
    api: Api<K>,
    config: Config,
    stream: Option<BoxStream<'static, watcher::Result<Event<K>>>>,
    pauses: Pauses,
    /// The pause before the next attempt.
    owed: Option<Duration>,
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn next(&mut self) -> watcher::Result<Event<K>> {
        if let Some(pause) = self.owed.take() {
            sleep(pause).await;
        }
        loop {
            let open = || watcher::watcher(self.api.clone(), self.config.clone()).boxed();
            let Some(item) = self.stream.get_or_insert_with(open).next().await else {
                self.stream = None;
                continue;
            };
            match &item {
                Ok(Event::Init | Event::InitApply(_)) => {}
                Ok(_) => self.pauses.reset(),
                Err(error) => {
                    self.owed = Some(self.pauses.after(error));
                    if cannot_resume(error) {
                        self.stream = None;
                    }
                }
            }
            return item;
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(code: u16) -> Error {
        Error::WatchStartFailed(kube::Error::Api(Status::failure("no", "No").with_code(code).boxed()))
    }

    #[test]
    fn pauses_grow_and_have_no_end() {
        let mut pauses = Pauses::default();
        let pauses: Vec<_> = (0..100).map(|_| pauses.after(&refused(500))).collect();
        assert!(pauses[0] < Duration::from_secs(1));
        assert!(pauses[99] >= LONGEST_PAUSE && pauses[99] <= 2 * LONGEST_PAUSE, "{:?}", pauses[99]);
    }

    #[test]
    fn expiry_before_the_watch_begins_cannot_be_resumed() {
        for (error, resumable) in [
            (refused(410), false),
            (Error::WatchError(Status::failure("old", "Expired").with_code(410).boxed()), true),
            (refused(500), true),
        ] {
            assert_eq!(cannot_resume(&error), !resumable, "{error}");
        }
    }

    #[test]
    fn a_missing_definition_is_asked_for_every_second_and_then_taken_up_at_once() {
        let mut pauses = Pauses::default();
        for _ in 0..10 {
            pauses.after(&refused(500));
        }
        for _ in 0..100 {
            assert_eq!(pauses.after(&refused(404)), UNTIL_DEFINED);
        }
        assert!(pauses.after(&refused(410)) < Duration::from_secs(1));
    }
}

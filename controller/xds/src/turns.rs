//! Who may load much next: a bounded number of streams at a time, the oldest first.
//!
//! After a restart every Envoy connects at once, and each lists tens of thousands of resources or wants them. Taken on all
//! together, all would be done at the end only, and what each needs on the way would be there as often as there are streams.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Turns to be had at the same time for each processor.
const PER_PROCESSOR: usize = 2;

/// The turns of a server. A clone is another handle to the same ones.
#[derive(Clone)]
pub(crate) struct Turns {
    state: Arc<Mutex<State>>,
    tickets: Arc<AtomicU64>,
}

struct State {
    free: usize,
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self::of(PER_PROCESSOR * std::thread::available_parallelism().map_or(2, usize::from))
    }
}

impl Turns {
    fn of(free: usize) -> Self {
        let state = State { free, waiting: BTreeMap::new() };
        Self { state: Arc::new(Mutex::new(state)), tickets: Arc::default() }
    }

    /// A place in the order, for a stream to keep.
    pub(crate) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits for a turn. It lasts until it is dropped.
    pub(crate) async fn enter(&self, ticket: u64) -> Turn {
        let waiting = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Turn(Some(self.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.insert(ticket, sender);
            receiver
        };
        match waiting.await {
            Ok(turn) => turn,
            // Only if the same ticket waits twice.
            Err(_) => Turn(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to load.
pub(crate) struct Turn(Option<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = turns.lock();
                let Some((_, next)) = state.waiting.pop_first() else {
                    state.free += 1;
                    return;
                };
                next
            };
            match next.send(Self(Some(turns.clone()))) {
                Ok(()) => return,
                // It waits no longer.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_oldest_is_next_and_no_turn_is_lost() {
        let turns = Turns::of(2);
        let tickets: Vec<u64> = (0..6).map(|_| turns.ticket()).collect();
        let mut enter: Vec<_> = tickets.iter().map(|ticket| Some(Box::pin(turns.enter(*ticket)))).collect();
        let mut poll = |at: usize| enter[at].as_mut().and_then(FutureExt::now_or_never);
        let (one, two) = (poll(5).unwrap(), poll(4).unwrap());
        for at in [3, 1, 0, 2] {
            assert!(poll(at).is_none(), "two have a turn");
        }
        drop(one);
        let three = poll(0).expect("the oldest");
        assert!(poll(1).is_none() && poll(2).is_none() && poll(3).is_none());
        // One that has got a turn and does not take it, and one that waits no longer.
        drop(two);
        enter[1] = None;
        enter[2] = None;
        assert!(enter[3].as_mut().and_then(FutureExt::now_or_never).is_some());
        drop((three, enter));
        let state = turns.lock();
        assert_eq!((state.free, state.waiting.len()), (2, 0));
    }
}

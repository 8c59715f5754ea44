//! What Envoys say about what they are sent, as news for the owner of the objects behind it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use contour_resource::ResourceType;
use tokio::sync::Notify;

/// The news kept for an owner that does not read: older ones are dropped.
const CAPACITY: usize = 4096;

/// One fact about one stream. `stream` is unique within the process; `node` is the id the Envoy gave itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// A stream was opened and its node is known.
    Connected {
        /// Which stream.
        stream: u64,
        /// The node's id.
        node: Arc<str>,
    },
    /// A stream ended.
    Disconnected {
        /// Which stream.
        stream: u64,
        /// The node's id.
        node: Arc<str>,
    },
    /// A part of a resource was found to be what made a response be refused. It is held back until it changes.
    Rejected {
        /// Which stream.
        stream: u64,
        /// The node's id.
        node: Arc<str>,
        /// The type of the resource.
        kind: ResourceType,
        /// The resource's name.
        resource: Arc<str>,
        /// The part's id: empty for the head or for a resource of one part.
        part: Arc<str>,
        /// What the Envoy said.
        message: String,
    },
    /// What was rejected is gone or has changed into something accepted.
    Recovered {
        /// Which stream.
        stream: u64,
        /// The node's id.
        node: Arc<str>,
        /// The type of the resource.
        kind: ResourceType,
        /// The resource's name.
        resource: Arc<str>,
        /// The part's id.
        part: Arc<str>,
    },
}

#[derive(Default)]
struct Queue {
    events: VecDeque<NodeEvent>,
    dropped: u64,
}

/// The queue between the streams and the owner. A clone is another handle to the same queue.
///
/// Pushing never waits: a full queue loses its oldest event and counts it.
#[derive(Clone, Default)]
pub struct Events {
    queue: Arc<Mutex<Queue>>,
    news: Arc<Notify>,
}

impl Events {
    /// The next event; waits until there is one.
    pub async fn next(&self) -> NodeEvent {
        loop {
            let news = self.news.notified();
            if let Some(event) = self.try_next() {
                return event;
            }
            news.await;
        }
    }

    /// The next event, if there is one.
    pub fn try_next(&self) -> Option<NodeEvent> {
        self.lock().events.pop_front()
    }

    /// How many events were lost because nobody read them.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    pub(crate) fn push(&self, event: NodeEvent) {
        let mut queue = self.lock();
        if queue.events.len() == CAPACITY {
            queue.events.pop_front();
            queue.dropped += 1;
        }
        queue.events.push_back(event);
        drop(queue);
        self.news.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_loses_its_oldest() {
        let events = Events::default();
        for stream in 0..=CAPACITY as u64 {
            events.push(NodeEvent::Connected { stream, node: "n".into() });
        }
        assert_eq!(events.dropped(), 1);
        assert_eq!(events.try_next(), Some(NodeEvent::Connected { stream: 1, node: "n".into() }));
    }
}

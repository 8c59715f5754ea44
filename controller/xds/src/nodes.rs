//! The connected streams as a debug page shows them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contour_resource::ResourceType;

use crate::message::Mode;
use crate::session::Session;

/// How many names a list on the debug page is cut to.
const MOST_SHOWN: usize = 10;

/// One stream and what is known about the Envoy at its end.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// The stream's number, unique within the process.
    pub stream: u64,
    /// The id the Envoy gave itself.
    pub node: Arc<str>,
    /// Where it connects from.
    pub peer: Option<SocketAddr>,
    /// Which protocol it speaks.
    pub mode: Mode,
    /// Encoded bytes sent on the stream.
    pub bytes_sent: u64,
    /// Clusters that Listeners and Routes wait for before they are sent; not more than a few of them.
    pub waits_for: Vec<Arc<str>>,
    /// The types it has asked for.
    pub types: Vec<TypeStatus>,
}

/// One type on one stream.
#[derive(Clone, Debug)]
pub struct TypeStatus {
    /// The type.
    pub kind: ResourceType,
    /// Whether everything is subscribed to.
    pub wildcard: bool,
    /// The number of names subscribed to by name.
    pub subscribed: usize,
    /// The version of the last response, empty before the first.
    pub sent: String,
    /// The version of the last response that was accepted, empty before the first.
    pub acked: String,
    /// Whether a response waits for its answer.
    pub in_flight: bool,
    /// The number of names waiting to be sent or removed.
    pub pending: usize,
    /// What was refused and is held back.
    pub rejected: Vec<RejectedPart>,
}

/// One refused part of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedPart {
    /// The resource's name.
    pub resource: Arc<str>,
    /// The part's id, empty for the head.
    pub part: Arc<str>,
    /// The hash of the content that was refused.
    pub hash: u64,
    /// What the Envoy said.
    pub message: String,
}

/// One open stream, shared by its task and by those who look.
pub(crate) struct Stream {
    pub(crate) number: u64,
    pub(crate) node: Arc<str>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) bytes_sent: AtomicU64,
    session: Mutex<Session>,
}

impl Stream {
    /// The session. Held only for the length of one step, never across an await.
    pub(crate) fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Table {
    next: u64,
    streams: BTreeMap<u64, Arc<Stream>>,
}

/// The open streams. A clone is another handle to the same list.
#[derive(Clone, Default)]
pub struct Nodes {
    table: Arc<Mutex<Table>>,
}

impl Nodes {
    /// The open streams, in the order they were opened.
    pub fn snapshot(&self) -> Vec<NodeStatus> {
        let streams: Vec<_> = self.lock().streams.values().cloned().collect();
        streams.iter().map(|stream| status(stream)).collect()
    }

    pub(crate) fn add(&self, node: Arc<str>, peer: Option<SocketAddr>, session: Session) -> Arc<Stream> {
        let mut table = self.lock();
        table.next += 1;
        let number = table.next;
        let bytes_sent = AtomicU64::new(0);
        let stream = Arc::new(Stream { number, node, peer, bytes_sent, session: Mutex::new(session) });
        table.streams.insert(number, Arc::clone(&stream));
        stream
    }

    pub(crate) fn remove(&self, number: u64) {
        self.lock().streams.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status(stream: &Stream) -> NodeStatus {
    let session = stream.session();
    let started = |kind: &ResourceType| session.lane(*kind).subscription.started();
    NodeStatus {
        stream: stream.number,
        node: Arc::clone(&stream.node),
        peer: stream.peer,
        mode: session.mode(),
        bytes_sent: stream.bytes_sent.load(Ordering::Relaxed),
        waits_for: session.waits_for(MOST_SHOWN),
        types: ResourceType::ALL
            .into_iter()
            .filter(started)
            .map(|kind| type_status(&session, kind))
            .collect(),
    }
}

fn type_status(session: &Session, kind: ResourceType) -> TypeStatus {
    let lane = session.lane(kind);
    let rejected = lane.rejections.iter().map(|(resource, part, rejection)| RejectedPart {
        resource: Arc::clone(resource),
        part: Arc::clone(part),
        hash: rejection.hash,
        message: rejection.message.clone(),
    });
    let held = lane.probation.iter().map(|(resource, held)| RejectedPart {
        resource: Arc::clone(resource),
        part: Arc::clone(&held.part),
        hash: held.hash,
        message: held.message.clone(),
    });
    TypeStatus {
        kind,
        wildcard: lane.subscription.wildcard(),
        subscribed: lane.subscription.names().len(),
        sent: lane.last_sent.clone(),
        acked: lane.last_acked.clone(),
        in_flight: lane.in_flight.is_some(),
        pending: lane.dirty.len() + lane.leaving.len(),
        rejected: rejected.chain(held).collect(),
    }
}

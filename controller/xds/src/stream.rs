//! One task per stream: feeds a session with requests, news and time, and writes its responses.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contour_resource::ResourceType;
use prost::Message;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tracing::{debug, info, warn};

use crate::cache::Snapshot;
use crate::facts::Piece;
use crate::grpc::{self, Outbound, Responses};
use crate::message::Output;
use crate::nodes::Stream;
use crate::service::Discovery;
use crate::session::Session;
use crate::turns::Turn;
use crate::wire::{Encoded, Protocol};

/// Responses between the session and the connection. A session has one in flight per type, so this is rarely full.
const OUTBOUND: usize = ResourceType::ALL.len() * 2;
/// A request of more bytes waits for its turn.
const LARGE: usize = 16 * 1024;
/// How long a peer may keep its turn without sending or taking anything.
const TURN: Duration = Duration::from_millis(250);

type Requests = grpc::Requests<Body>;

/// Who is called for what, and where the answers go.
struct Call {
    discovery: Discovery,
    /// Set on a stream of a per-type service.
    only: Option<ResourceType>,
    peer: Option<SocketAddr>,
    outbound: Outbound,
    ticket: u64,
}

/// Starts the task of a stream. Its responses come out of the returned body.
pub(crate) fn open<P: Protocol>(
    discovery: Discovery,
    only: Option<ResourceType>,
    peer: Option<SocketAddr>,
    requests: Requests,
) -> Responses {
    let (outbound, responses) = grpc::channel(OUTBOUND);
    let ticket = discovery.turns.ticket();
    tokio::spawn(async move {
        let stop = discovery.stop.clone();
        let run = run::<P>(Call { discovery, only, peer, outbound: outbound.clone(), ticket }, requests);
        let end = tokio::select! {
            () = stop.cancelled() => Err(Status::unavailable("the server is shutting down")),
            () = outbound.closed() => return,
            end = run => end,
        };
        if let Err(status) = end {
            outbound.end(status);
        }
    });
    responses
}

async fn run<P: Protocol>(call: Call, mut requests: Requests) -> Result<(), Status> {
    let mut news = call.discovery.cache.watch();
    // Nothing is answered, or even read, before the first complete state.
    if news.wait_for(Snapshot::is_open).await.is_err() || requests.announced().await?.is_none() {
        return Ok(());
    }
    let mut turn = Some(call.discovery.turns.enter(call.ticket).await);
    let Some(first) = read(&mut requests, &mut turn).await? else { return Ok(()) };
    let mut first: P::Request = decode(first)?;
    let (url, node) = P::envelope(&mut first);
    let node: Arc<str> = node.map(|n| n.id).unwrap_or_default().into();
    let recall = call.discovery.recall.clone();
    let snapshot = news.borrow_and_update().clone();
    let session = Session::new(P::MODE, call.only, recall, snapshot, Instant::now());
    let open = Open::new(call, node, session);
    open.request::<P>(&url, first)?;
    while open.send::<P>(turn.take()).await {
        if !open.next::<P>(&mut requests, &mut news, &mut turn).await? {
            break;
        }
    }
    Ok(())
}

/// Reads a message. A peer that sends nothing for a while gives its turn up.
async fn read(requests: &mut Requests, turn: &mut Option<Turn>) -> Result<Option<Bytes>, Status> {
    if turn.is_some() {
        if let Ok(message) = timeout(TURN, requests.message()).await {
            return message;
        }
        *turn = None;
    }
    requests.message().await
}

fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// A stream with a known node. Leaves the books in order when dropped, however it ends.
struct Open {
    call: Call,
    stream: Arc<Stream>,
}

impl Open {
    fn new(call: Call, node: Arc<str>, session: Session) -> Self {
        call.discovery.metrics.opened(session.mode());
        let peer = call.peer;
        let stream = call.discovery.nodes.add(node, peer, session);
        let node = &stream.node;
        // An Envoy with a stock bootstrap opens a stream for each of its clusters.
        match call.only {
            None => info!(stream = stream.number, %node, ?peer, "xDS stream opened"),
            Some(kind) => {
                debug!(stream = stream.number, %node, ?peer, r#type = kind.short(), "xDS stream opened");
            }
        }
        Self { call, stream }
    }

    /// Waits for whatever comes next and takes it in; for a large request in its turn. Returns false at the end of the stream.
    async fn next<P: Protocol>(
        &self,
        requests: &mut Requests,
        news: &mut watch::Receiver<Snapshot>,
        turn: &mut Option<Turn>,
    ) -> Result<bool, Status> {
        let delivery = self.call.outbound.delivery();
        let delivered = delivery.is_complete();
        let deadline = {
            let mut session = self.stream.session();
            session.delivered(delivered, Instant::now());
            session.deadline()
        };
        let far = deadline.is_none();
        let mut tick = pin!(tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now).into()));
        // What the peer has said comes first, so that it is not taken for silent.
        tokio::select! {
            biased;
            announced = requests.announced() => {
                let Some(len) = announced? else { return Ok(false) };
                if len > LARGE {
                    *turn = Some(self.call.discovery.turns.enter(self.call.ticket).await);
                }
                let Some(request) = read(requests, turn).await? else { return Ok(false) };
                let mut request: P::Request = decode(request)?;
                let (url, _) = P::envelope(&mut request);
                self.request::<P>(&url, request)?;
            }
            changed = news.changed() => {
                if changed.is_err() {
                    return Ok(false);
                }
                let snapshot = news.borrow_and_update().clone();
                self.stream.session().update(snapshot);
            }
            () = delivery.completed(), if !delivered => {}
            () = &mut tick, if !far => {}
        }
        Ok(true)
    }

    /// Takes a request in. An error ends the stream.
    fn request<P: Protocol>(&self, url: &str, request: P::Request) -> Result<(), Status> {
        let kind = match (self.call.only, ResourceType::from_url(url)) {
            (Some(only), None) if url.is_empty() => only,
            (None, Some(kind)) => kind,
            (Some(only), Some(kind)) if only == kind => kind,
            // As for a type of which nothing exists: no answer, so that one odd subscription costs the peer nothing.
            _ => {
                debug!(node = %self.stream.node, url, "xDS request for a type that is not served here");
                return Ok(());
            }
        };
        let request = P::request(kind, request)?;
        self.stream.session().request(request);
        Ok(())
    }

    /// Sends what is to be sent now. With a turn it waits, but not long, until the connection has taken it. Returns false if that is gone.
    async fn send<P: Protocol>(&self, turn: Option<Turn>) -> bool {
        let responses = self.poll::<P>();
        let delivery = self.call.outbound.delivery();
        for response in responses {
            if !self.call.outbound.send(response).await {
                return false;
            }
        }
        self.stream.session().delivered(delivery.is_complete(), Instant::now());
        if turn.is_some() {
            // Who takes nothing for so long does not keep others waiting.
            let _ = timeout(TURN, delivery.completed()).await;
        }
        true
    }

    /// The responses to send now. Everything else the session says is reported.
    fn poll<P: Protocol>(&self) -> Vec<Encoded> {
        let mut responses = Vec::new();
        let outputs = self.stream.session().poll(Instant::now());
        for output in outputs {
            if let Output::Send(response) = output {
                let (kind, resources) = (response.kind, response.resources.len());
                let message = P::response(&response, self.call.only.is_some());
                let bytes = message.len();
                self.stream.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
                self.call.discovery.metrics.sent(kind, resources, bytes);
                debug!(stream = self.stream.number, node = %self.stream.node, r#type = kind.short(), resources, bytes, "sent");
                responses.push(message);
            } else {
                self.report(output);
            }
        }
        responses
    }

    fn report(&self, output: Output) {
        let Stream { number: stream, node, .. } = &*self.stream;
        let Discovery { metrics, facts, .. } = &self.call.discovery;
        match output {
            Output::Send(_) => {}
            // Of what comes of it the owner of the facts tells; most are trials of a search.
            Output::Nacked { kind, message } => {
                metrics.nacked(kind);
                debug!(stream, %node, r#type = kind.short(), error = message, "an Envoy refused a response");
            }
            Output::Acked { kind, committed } => {
                debug!(stream, %node, r#type = kind.short(), "accepted");
                metrics.acked(kind, committed.map(|at| at.elapsed()));
            }
            Output::GaveUp { waited_for } => {
                metrics.gave_up();
                warn!(%node, ?waited_for, "an Envoy does not warm these clusters: routes to them are sent all the same");
            }
            Output::Rejected { kind, resource, part, hash, message } => {
                let text = format_args!("{hash:016x}");
                debug!(stream, %node, r#type = kind.short(), %resource, %part, hash = text, error = message, "held back until it changes");
                facts.refused(*stream, node, Piece { kind, resource, part }, hash, &message);
            }
            Output::Recovered { kind, resource, part } => {
                debug!(stream, %node, r#type = kind.short(), %resource, %part, "no longer held back");
                facts.recovered(*stream, &Piece { kind, resource, part });
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.call.discovery.metrics.closed(self.stream.session().mode());
        self.call.discovery.nodes.remove(self.stream.number);
        self.call.discovery.facts.closed(self.stream.number);
        let Stream { number: stream, node, .. } = &*self.stream;
        match self.call.only {
            None => info!(stream, %node, "xDS stream closed"),
            Some(kind) => debug!(stream, %node, r#type = kind.short(), "xDS stream closed"),
        }
    }
}

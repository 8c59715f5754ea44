//! One task per stream: feeds a session with requests, news and time, and writes its responses.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use contour_resource::ResourceType;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use crate::cache::Snapshot;
use crate::facts::Piece;
use crate::message::Output;
use crate::nodes::Stream;
use crate::service::Discovery;
use crate::session::Session;
use crate::wire::Protocol;

/// Responses between the session and the connection. A session has one in flight per type, so this is never full.
const OUTBOUND: usize = ResourceType::ALL.len() * 2;

/// Starts the task of a stream. Its responses come out of the returned stream.
pub(crate) fn open<P: Protocol>(
    discovery: Discovery,
    only: Option<ResourceType>,
    peer: Option<SocketAddr>,
    requests: Streaming<P::Request>,
) -> ReceiverStream<Result<P::Response, Status>> {
    let (responses, outbound) = mpsc::channel(OUTBOUND);
    tokio::spawn(async move {
        let stop = discovery.stop.clone();
        let run = run::<P>(discovery, only, peer, requests, responses.clone());
        let end = tokio::select! {
            () = stop.cancelled() => Err(Status::unavailable("the server is shutting down")),
            () = responses.closed() => return,
            end = run => end,
        };
        if let Err(status) = end {
            // The peer may be gone, or slow; the end of the channel says the same.
            let _ = responses.try_send(Err(status));
        }
    });
    ReceiverStream::new(outbound)
}

async fn run<P: Protocol>(
    discovery: Discovery,
    only: Option<ResourceType>,
    peer: Option<SocketAddr>,
    mut requests: Streaming<P::Request>,
    responses: mpsc::Sender<Result<P::Response, Status>>,
) -> Result<(), Status> {
    let mut news = discovery.cache.watch();
    // Nothing is answered, or even read, before the first complete state.
    if news.wait_for(Snapshot::is_open).await.is_err() {
        return Ok(());
    }
    let Some(mut first) = requests.message().await? else { return Ok(()) };
    let (url, node) = P::envelope(&mut first);
    let node: Arc<str> = node.map(|n| n.id).unwrap_or_default().into();
    let session = Session::new(
        P::MODE,
        only,
        discovery.recall.clone(),
        news.borrow_and_update().clone(),
        Instant::now(),
    );
    let open = Open::new(discovery, only, node, peer, session);
    open.request::<P>(&url, first);
    loop {
        for response in open.poll::<P>() {
            if responses.send(Ok(response)).await.is_err() {
                return Ok(());
            }
        }
        if !open.next::<P>(&mut requests, &mut news).await? {
            return Ok(());
        }
    }
}

/// A stream with a known node. Leaves the books in order when dropped, however it ends.
struct Open {
    discovery: Discovery,
    only: Option<ResourceType>,
    stream: Arc<Stream>,
}

impl Open {
    fn new(
        discovery: Discovery,
        only: Option<ResourceType>,
        node: Arc<str>,
        peer: Option<SocketAddr>,
        session: Session,
    ) -> Self {
        discovery.metrics.opened(session.mode());
        let stream = discovery.nodes.add(node, peer, session);
        let node = &stream.node;
        // An Envoy with a stock bootstrap opens a stream for each of its clusters.
        match only {
            None => info!(stream = stream.number, %node, ?peer, "xDS stream opened"),
            Some(kind) => {
                debug!(stream = stream.number, %node, ?peer, r#type = kind.short(), "xDS stream opened");
            }
        }
        Self { discovery, only, stream }
    }

    /// Waits for whatever comes next and takes it in. Returns false at the end of the stream.
    async fn next<P: Protocol>(
        &self,
        requests: &mut Streaming<P::Request>,
        news: &mut watch::Receiver<Snapshot>,
    ) -> Result<bool, Status> {
        let deadline = self.stream.session().deadline();
        let far = deadline.is_none();
        let mut tick = pin!(tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now).into()));
        // What the peer has said comes first, so that it is not taken for silent.
        tokio::select! {
            biased;
            request = requests.message() => {
                let Some(mut request) = request? else { return Ok(false) };
                let (url, _) = P::envelope(&mut request);
                self.request::<P>(&url, request);
            }
            changed = news.changed() => {
                if changed.is_err() {
                    return Ok(false);
                }
                let snapshot = news.borrow_and_update().clone();
                self.stream.session().update(snapshot);
            }
            () = &mut tick, if !far => {}
        }
        Ok(true)
    }

    fn request<P: Protocol>(&self, url: &str, request: P::Request) {
        let kind = match (self.only, ResourceType::from_url(url)) {
            (Some(only), None) if url.is_empty() => only,
            (None, Some(kind)) => kind,
            (Some(only), Some(kind)) if only == kind => kind,
            // As for a type of which nothing exists: no answer, so that one odd subscription costs the peer nothing.
            _ => {
                debug!(node = %self.stream.node, url, "xDS request for a type that is not served here");
                return;
            }
        };
        let request = P::request(kind, request);
        self.stream.session().request(request);
    }

    /// The responses to send now. Everything else the session says is reported.
    fn poll<P: Protocol>(&self) -> Vec<P::Response> {
        let mut responses = Vec::new();
        let outputs = self.stream.session().poll(Instant::now());
        for output in outputs {
            if let Output::Send(response) = output {
                let (kind, resources) = (response.kind, response.resources.len());
                let message = P::response(response);
                let bytes = message.encoded_len();
                self.stream.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
                self.discovery.metrics.sent(kind, resources, bytes);
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
        let Discovery { metrics, facts, .. } = &self.discovery;
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
        self.discovery.metrics.closed(self.stream.session().mode());
        self.discovery.nodes.remove(self.stream.number);
        self.discovery.facts.closed(self.stream.number);
        let Stream { number: stream, node, .. } = &*self.stream;
        match self.only {
            None => info!(stream, %node, "xDS stream closed"),
            Some(kind) => debug!(stream, %node, r#type = kind.short(), "xDS stream closed"),
        }
    }
}

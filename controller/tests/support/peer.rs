//! A delta xDS client that accepts everything and writes down what it is sent.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contour_e2e::wait::{SOON, eventually};
use contour_resource::{Part, Resource, ResourceType, Transaction};
use contour_xds::{Cache, Nodes};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// A resource of the runtime type that changes with every step: once it has arrived, the server has seen the step.
const TICK: &str = "tick";

/// How long to listen before looking whether the server has anything left to say.
const PROBE: Duration = Duration::from_millis(5);

/// The client, everything it has, and the stream it is on.
pub(crate) struct Peer {
    address: SocketAddr,
    cache: Cache,
    nodes: Nodes,
    has: BTreeMap<(ResourceType, String), Arc<Resource>>,
    ticks: u64,
    stream: Option<Stream>,
}

struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Peer {
    /// A client that has nothing and is not connected.
    pub(crate) fn new(address: SocketAddr, cache: Cache, nodes: Nodes) -> Self {
        Self { address, cache, nodes, has: BTreeMap::new(), ticks: 0, stream: None }
    }

    /// Opens a new stream in place of the old one, saying what it has, and returns what it is sent.
    pub(crate) async fn connect(&mut self) -> Vec<String> {
        self.stream = None;
        self.tick();
        let (requests, outgoing) = mpsc::channel(64);
        let address = format!("http://{}", self.address);
        let mut client = eventually(SOON, || async {
            Ok(AggregatedDiscoveryServiceClient::connect(address.clone()).await?)
        })
        .await
        .expect("the server listens");
        // The runtime type comes last: its answer says that the server has read every request.
        for kind in ResourceType::ALL {
            let node = Node { id: "peer".to_owned(), ..Node::default() };
            let known = self.has.iter().filter(|((of, _), _)| *of == kind);
            let request = DeltaDiscoveryRequest {
                node: Some(node),
                type_url: kind.url().to_owned(),
                resource_names_subscribe: vec!["*".to_owned()],
                initial_resource_versions: known
                    .map(|((_, name), resource)| (name.clone(), resource.version_text()))
                    .collect::<HashMap<_, _>>(),
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(request).await.expect("the channel is open");
        }
        let responses = client.delta_aggregated_resources(ReceiverStream::new(outgoing)).await;
        let responses = responses.expect("the server takes the stream").into_inner();
        self.stream = Some(Stream { requests, responses });
        self.listen().await
    }

    /// Returns what was sent because of everything published so far.
    pub(crate) async fn follow(&mut self) -> Vec<String> {
        self.tick();
        self.listen().await
    }

    fn tick(&mut self) {
        self.ticks += 1;
        let tick = Resource::whole(TICK, self.ticks.to_le_bytes().to_vec());
        let set = vec![(ResourceType::Runtime, Arc::new(tick))];
        self.cache.commit(Transaction { set, remove: Vec::new() });
    }

    /// Accepts everything until the last tick has arrived and the server has nothing left to send or to remove.
    async fn listen(&mut self) -> Vec<String> {
        let mut stream = self.stream.take().expect("connected before");
        let snapshot = self.cache.snapshot();
        let tick = snapshot.get(ResourceType::Runtime, TICK).expect("published before").version();
        let (deadline, mut lines) = (Instant::now() + SOON, Vec::new());
        loop {
            assert!(Instant::now() < deadline, "not done yet: {:?}, after {lines:#?}", self.nodes.snapshot());
            if let Ok(message) = tokio::time::timeout(PROBE, stream.responses.message()).await {
                let response = message.expect("no error").expect("the stream stays open");
                let ack = DeltaDiscoveryRequest {
                    type_url: response.type_url.clone(),
                    response_nonce: response.nonce.clone(),
                    ..DeltaDiscoveryRequest::default()
                };
                self.take_in(response, &mut lines);
                stream.requests.send(ack).await.expect("the stream is open");
            } else if self.has(ResourceType::Runtime, TICK) == Some(tick) && self.is_settled() {
                self.stream = Some(stream);
                return lines;
            }
        }
    }

    fn has(&self, kind: ResourceType, name: &str) -> Option<u64> {
        self.has.get(&(kind, name.to_owned())).map(|resource| resource.version())
    }

    /// Whether the server has nothing left for the only stream it has, and this client has what is published.
    fn is_settled(&self) -> bool {
        let nodes = self.nodes.snapshot();
        let [node] = nodes.as_slice() else { return false };
        node.types.iter().all(|of| !of.in_flight && of.pending == 0 && of.rejected.is_empty())
    }

    fn take_in(&mut self, response: DeltaDiscoveryResponse, lines: &mut Vec<String>) {
        let kind = ResourceType::from_url(&response.type_url).expect("a type that was asked for");
        for sent in response.resources {
            let snapshot = self.cache.snapshot();
            let published = snapshot.get(kind, &sent.name).expect("what is sent is published");
            assert_eq!(published.version_text(), sent.version, "{} is sent as published", sent.name);
            let body = sent.resource.expect("every resource has a body");
            assert_eq!(published.body(), body.value, "{} is sent as published", sent.name);
            let before = self.has.insert((kind, sent.name.clone()), Arc::clone(published));
            if sent.name != TICK {
                lines.push(line(kind, before.as_deref(), published));
            }
        }
        for name in response.removed_resources {
            self.has.remove(&(kind, name.clone()));
            lines.push(format!("-{} {name}", kind.short()));
        }
    }
}

/// `+cds name`, `~rds name [+new ~changed -gone]`, `=eds name` for what is sent again.
fn line(kind: ResourceType, before: Option<&Resource>, now: &Resource) -> String {
    let sign = match before {
        None => '+',
        Some(before) if before.version() == now.version() => '=',
        Some(_) => '~',
    };
    let old: BTreeMap<&str, &Arc<Part>> =
        before.iter().flat_map(|r| r.parts()).map(|part| (&*part.id, part)).collect();
    let mut parts = Vec::new();
    for part in now.parts().iter().filter(|part| !part.id.is_empty()) {
        match old.get(&*part.id) {
            None => parts.push(format!("+{}", part.id)),
            Some(old) if old.hash != part.hash => parts.push(format!("~{}", part.id)),
            Some(_) => {}
        }
    }
    let kept = |id: &str| now.parts().iter().any(|part| *part.id == *id);
    parts.extend(old.keys().filter(|id| !kept(id)).map(|id| format!("-{id}")));
    let parts = if parts.len() > 5 { format!("{} parts", parts.len()) } else { parts.join(" ") };
    let parts = if parts.is_empty() { parts } else { format!(" [{parts}]") };
    format!("{sign}{} {}{parts}", kind.short(), now.name())
}

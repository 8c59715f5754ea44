//! A small delta ADS server: enough for one Envoy, and it remembers every rejection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use contour_resource::{ResourceType, Transaction};
use envoy_types::pb::envoy::service::discovery::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use futures::{Stream, StreamExt as _};
use pb::aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::Served;

/// Order of additions; removals go the other way, after all additions.
const ORDER: [ResourceType; 6] = [
    ResourceType::Secret,
    ResourceType::Cluster,
    ResourceType::Endpoints,
    ResourceType::Listener,
    ResourceType::Route,
    ResourceType::Runtime,
];

/// A running server.
#[derive(Clone)]
pub struct Ads {
    pub address: SocketAddr,
    served: watch::Sender<Served>,
    rejections: Arc<Mutex<Vec<String>>>,
}

impl Ads {
    pub async fn start(first: Served) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let ads = Self {
            address: listener.local_addr()?,
            served: watch::Sender::new(first),
            rejections: Arc::default(),
        };
        let service = AggregatedDiscoveryServiceServer::new(ads.clone());
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Ok(ads)
    }

    pub fn apply(&self, transaction: &Transaction) {
        self.served.send_modify(|served| served.apply(transaction));
    }

    /// What Envoy refused so far.
    pub fn rejections(&self) -> Vec<String> {
        self.rejections.lock().expect("nobody panicked").clone()
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<pb::DeltaDiscoveryResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<pb::DiscoveryResponse, Status>> + Send>>;
    type DeltaAggregatedResourcesStream = Responses;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let (send, receive) = mpsc::channel(16);
        let session = Session {
            send,
            rejections: Arc::clone(&self.rejections),
            wanted: BTreeMap::new(),
            known: BTreeMap::new(),
        };
        tokio::spawn(session.run(request.into_inner(), self.served.subscribe()));
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }
}

/// One stream. `None` in `wanted` is everything of a type.
struct Session {
    send: mpsc::Sender<Result<pb::DeltaDiscoveryResponse, Status>>,
    rejections: Arc<Mutex<Vec<String>>>,
    wanted: BTreeMap<ResourceType, Option<BTreeSet<String>>>,
    known: BTreeMap<(ResourceType, Arc<str>), u64>,
}

impl Session {
    async fn run(
        mut self,
        mut requests: Streaming<pb::DeltaDiscoveryRequest>,
        mut served: watch::Receiver<Served>,
    ) {
        loop {
            let done = tokio::select! {
                request = requests.next() => match request {
                    Some(Ok(request)) => {
                        let now = served.borrow().clone();
                        self.request(request, &now).await
                    }
                    _ => return,
                },
                changed = served.changed() => match changed {
                    Ok(()) => {
                        let now = served.borrow_and_update().clone();
                        self.update(&now).await
                    }
                    Err(_) => return,
                },
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn request(&mut self, request: pb::DeltaDiscoveryRequest, served: &Served) -> Result<()> {
        if let Some(error) = request.error_detail {
            self.rejections.lock().expect("nobody panicked").push(error.message);
            return Ok(());
        }
        let Some(kind) = ResourceType::from_url(&request.type_url) else { return Ok(()) };
        let first = !self.wanted.contains_key(&kind);
        if first && request.resource_names_subscribe.is_empty() {
            self.wanted.insert(kind, None);
        }
        if let Some(names) = self.wanted.entry(kind).or_insert_with(|| Some(BTreeSet::new())) {
            names.extend(request.resource_names_subscribe.iter().cloned());
            for name in &request.resource_names_unsubscribe {
                names.remove(name);
                self.known.remove(&(kind, name.as_str().into()));
            }
        }
        if first || !request.resource_names_subscribe.is_empty() {
            self.add(kind, served, true).await?;
        }
        Ok(())
    }

    async fn update(&mut self, served: &Served) -> Result<()> {
        for kind in ORDER {
            self.add(kind, served, false).await?;
        }
        for kind in ORDER.into_iter().rev() {
            let gone: Vec<_> = self
                .known
                .keys()
                .filter(|key| key.0 == kind && !served.0.contains_key(*key))
                .cloned()
                .collect();
            self.known.retain(|key, _| !gone.contains(key));
            let removed: Vec<_> = gone.into_iter().map(|(_, name)| name.to_string()).collect();
            if !removed.is_empty() {
                self.respond(kind, Vec::new(), removed).await?;
            }
        }
        Ok(())
    }

    async fn add(&mut self, kind: ResourceType, served: &Served, always: bool) -> Result<()> {
        let Some(wanted) = self.wanted.get(&kind) else { return Ok(()) };
        let mut resources = Vec::new();
        for (key, resource) in served.0.iter().filter(|(key, _)| key.0 == kind) {
            let wants = wanted.as_ref().is_none_or(|names| names.contains(&*key.1));
            if wants && self.known.insert(key.clone(), resource.version()) != Some(resource.version()) {
                resources.push(pb::Resource {
                    name: key.1.to_string(),
                    version: resource.version_text(),
                    resource: Some(Any { type_url: kind.url().to_owned(), value: resource.body().to_vec() }),
                    ..Default::default()
                });
            }
        }
        if always || !resources.is_empty() { self.respond(kind, resources, Vec::new()).await } else { Ok(()) }
    }

    async fn respond(
        &self,
        kind: ResourceType,
        resources: Vec<pb::Resource>,
        removed_resources: Vec<String>,
    ) -> Result<()> {
        let response = pb::DeltaDiscoveryResponse {
            type_url: kind.url().to_owned(),
            nonce: "n".to_owned(),
            resources,
            removed_resources,
            ..Default::default()
        };
        Ok(self.send.send(Ok(response)).await?)
    }
}

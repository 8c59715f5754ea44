//! The discovery services: which method speaks which protocol about which types.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use contour_resource::ResourceType;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use crate::cache::Cache;
use crate::facts::Facts;
use crate::listen::Peer;
use crate::message::Mode;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::recall::Recall;
use crate::stream;
use crate::wire::{Delta, DiscoveryCodec, Protocol, Sotw};

/// The largest request taken: an Envoy that reconnects lists all it has, 60 to 90 bytes each.
const RECEIVE_LIMIT: usize = 128 * 1024 * 1024;

/// All discovery services in one: they differ in their paths only.
#[derive(Clone)]
pub(crate) struct Discovery {
    pub(crate) cache: Cache,
    pub(crate) facts: Facts,
    pub(crate) nodes: Nodes,
    pub(crate) metrics: Metrics,
    pub(crate) recall: Recall,
    pub(crate) stop: CancellationToken,
}

/// What a method is about: one protocol, and all types or one.
fn route(path: &str) -> Option<(Mode, Option<ResourceType>)> {
    const SERVICES: [(&str, &str, Option<ResourceType>); 7] = [
        ("discovery.v3.Aggregated", "AggregatedResources", None),
        ("cluster.v3.Cluster", "Clusters", Some(ResourceType::Cluster)),
        ("endpoint.v3.Endpoint", "Endpoints", Some(ResourceType::Endpoints)),
        ("listener.v3.Listener", "Listeners", Some(ResourceType::Listener)),
        ("route.v3.Route", "Routes", Some(ResourceType::Route)),
        ("secret.v3.Secret", "Secrets", Some(ResourceType::Secret)),
        ("runtime.v3.Runtime", "Runtime", Some(ResourceType::Runtime)),
    ];
    let (service, method) = path.strip_prefix("/envoy.service.")?.split_once("DiscoveryService/")?;
    let (_, noun, kind) = SERVICES.into_iter().find(|(name, ..)| *name == service)?;
    match method.strip_suffix(noun)? {
        "Delta" => Some((Mode::Delta, kind)),
        "Stream" => Some((Mode::Sotw, kind)),
        _ => None,
    }
}

type Outcome<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// One method, for one call.
struct Method<P> {
    discovery: Discovery,
    only: Option<ResourceType>,
    protocol: std::marker::PhantomData<P>,
}

impl<P: Protocol> StreamingService<P::Request> for Method<P> {
    type Response = P::Response;
    type ResponseStream = ReceiverStream<Result<P::Response, Status>>;
    type Future = Outcome<Response<Self::ResponseStream>>;

    fn call(&mut self, request: Request<Streaming<P::Request>>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        let responses = stream::open::<P>(self.discovery.clone(), self.only, peer, request.into_inner());
        Box::pin(std::future::ready(Ok(Response::new(responses))))
    }
}

async fn serve<P: Protocol>(
    discovery: Discovery,
    only: Option<ResourceType>,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let method = Method::<P> { discovery, only, protocol: std::marker::PhantomData };
    Grpc::new(DiscoveryCodec::<P>::default())
        .max_decoding_message_size(RECEIVE_LIMIT)
        .streaming(method, request)
        .await
}

impl Service<http::Request<Body>> for Discovery {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let discovery = self.clone();
        Box::pin(async move {
            Ok(match route(request.uri().path()) {
                Some((Mode::Delta, only)) => serve::<Delta>(discovery, only, request).await,
                Some((Mode::Sotw, only)) => serve::<Sotw>(discovery, only, request).await,
                None => Status::unimplemented("not an xDS v3 streaming method").into_http(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_of_all_services() {
        for (path, expected) in [
            (
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
                Some((Mode::Delta, None)),
            ),
            (
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
                Some((Mode::Sotw, None)),
            ),
            (
                "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters",
                Some((Mode::Sotw, Some(ResourceType::Cluster))),
            ),
            (
                "/envoy.service.runtime.v3.RuntimeDiscoveryService/DeltaRuntime",
                Some((Mode::Delta, Some(ResourceType::Runtime))),
            ),
            ("/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters", None),
            ("/envoy.service.cluster.v3.ClusterDiscoveryService/StreamRoutes", None),
            ("/grpc.health.v1.Health/Check", None),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }
}

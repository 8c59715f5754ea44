//! A real Envoy that is asked whether it takes a piece of configuration: one response after the other on one state-of-the-world stream,
//! and what Envoy answers to each.

use std::net::SocketAddr;
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use contour_e2e::envoy::{Envoy, Launch};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use serde_json::json;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// What Envoy says to a piece of configuration: nothing, or why it refuses it.
pub(crate) type Verdict = Result<(), String>;

/// A running Envoy and the stream it is asked on.
pub(crate) struct Judge {
    /// The Envoy, for its log.
    pub(crate) envoy: Envoy,
    responses: Sender<Result<DiscoveryResponse, Status>>,
    requests: Receiver<DiscoveryRequest>,
    asked: u64,
}

impl Judge {
    /// Starts an Envoy whose regular expressions may have programs of `largest_program` instructions.
    pub(crate) async fn start(largest_program: u32) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (responses, outgoing) = mpsc::channel(1);
        let (incoming, requests) = mpsc::channel(64);
        let server =
            AggregatedDiscoveryServiceServer::new(Server { outgoing: Mutex::new(Some(outgoing)), incoming });
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(server).serve_with_incoming(incoming));
        let envoy = Launch::bootstrap(bootstrap(address, largest_program).to_string()).start().await?;
        let mut judge = Self { envoy, responses, requests, asked: 0 };
        // Without clusters, Envoy goes on to its listener and asks for routes.
        judge.clusters(Vec::new()).await?.map_err(anyhow::Error::msg)?;
        judge.routes(Vec::new()).await?.map_err(anyhow::Error::msg)?;
        Ok(judge)
    }

    /// Whether Envoy takes these virtual hosts. One more is added, so that no question equals the one before.
    pub(crate) async fn routes(&mut self, mut virtual_hosts: Vec<VirtualHost>) -> Result<Verdict> {
        let unique = format!("question-{}.invalid", self.asked);
        virtual_hosts.push(VirtualHost { name: unique.clone(), domains: vec![unique], ..Default::default() });
        let table = RouteConfiguration { name: "judged".to_owned(), virtual_hosts, ..Default::default() };
        self.ask(&[table]).await
    }

    /// Whether Envoy takes these clusters.
    pub(crate) async fn clusters(&mut self, clusters: Vec<Cluster>) -> Result<Verdict> {
        self.ask(&clusters).await
    }

    async fn ask<M: Message + Name>(&mut self, resources: &[M]) -> Result<Verdict> {
        self.asked += 1;
        let nonce = self.asked.to_string();
        let resources = resources.iter();
        let response = DiscoveryResponse {
            version_info: nonce.clone(),
            resources: resources
                .map(|resource| Any { type_url: M::type_url(), value: resource.encode_to_vec() })
                .collect(),
            type_url: M::type_url(),
            nonce: nonce.clone(),
            ..Default::default()
        };
        self.responses.send(Ok(response)).await?;
        loop {
            let request = self.requests.recv().await.context("Envoy has gone")?;
            if request.response_nonce == nonce {
                return Ok(request.error_detail.map_or(Ok(()), |status| Err(status.message)));
            }
        }
    }
}

fn bootstrap(xds: SocketAddr, largest_program: u32) -> serde_json::Value {
    let ads = json!({"ads": {}, "resource_api_version": "V3"});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "judged",
        "rds": {"route_config_name": "judged", "config_source": ads},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    let endpoint = json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": xds.port()}}});
    json!({
        "node": {"id": "judge", "cluster": "judge"},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {
            "re2.max_program_size.error_level": largest_program,
        }}]},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds", "max_receive_message_length": 64 << 20}}],
            },
            "cds_config": ads,
        },
        "static_resources": {
            "listeners": [{
                "name": "judged",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }],
            "clusters": [{
                "name": "xds",
                "type": "STATIC",
                "connect_timeout": "5s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http2_protocol_options": {}},
                    },
                },
                "load_assignment": {
                    "cluster_name": "xds",
                    "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                },
            }],
        },
    })
}

/// Passes requests and responses on, for the one stream of the one Envoy.
struct Server {
    outgoing: Mutex<Option<Receiver<Result<DiscoveryResponse, Status>>>>,
    incoming: Sender<DiscoveryRequest>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let outgoing = self.outgoing.lock().expect("nobody panics while holding it").take();
        let outgoing = outgoing.ok_or_else(|| Status::unavailable("there is a stream already"))?;
        let (mut requests, incoming) = (request.into_inner(), self.incoming.clone());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                if incoming.send(request).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}

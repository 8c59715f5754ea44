//! What the protocol tests and the tests with a real Envoy share: resources, a server, and waiting.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contour_resource::{Part, Resource, ResourceType, Transaction};
use contour_xds::{Cache, Certificates, Facts, Nodes, Server, TlsFiles};
use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::google::protobuf::{Any, Duration as ProtoDuration};
use prometheus_client::registry::Registry;
use prost::{Message, Name};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The route table of [`http_listener`].
pub(crate) const TABLE: &str = "ingress_http";

pub(crate) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// Everything over the aggregated stream.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource::default(),
        )),
        ..Default::default()
    }
}

fn address(addr: SocketAddr) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: addr.ip().to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(addr.port().into())),
            ..Default::default()
        })),
    }
}

/// A Cluster of this name that gets its endpoints from ADS under another.
pub(crate) fn eds_cluster(name: &str, endpoints: &str) -> (ResourceType, Arc<Resource>) {
    let message = cluster::Cluster {
        name: name.to_owned(),
        connect_timeout: Some(ProtoDuration { seconds: 2, nanos: 0 }),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
            cluster::cluster::DiscoveryType::Eds as i32,
        )),
        eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: endpoints.to_owned(),
        }),
        ..Default::default()
    };
    (ResourceType::Cluster, Arc::new(Resource::whole(name, message.encode_to_vec()).needing(endpoints)))
}

/// A ClusterLoadAssignment of one endpoint.
pub(crate) fn endpoints(name: &str, addr: SocketAddr) -> (ResourceType, Arc<Resource>) {
    let endpoint = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address(addr)),
            ..Default::default()
        })),
        ..Default::default()
    };
    let message = endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..Default::default() }],
        ..Default::default()
    };
    (ResourceType::Endpoints, Arc::new(Resource::whole(name, message.encode_to_vec())))
}

/// A listener that serves the table [`TABLE`] over plain HTTP.
pub(crate) fn http_listener(addr: SocketAddr) -> (ResourceType, Arc<Resource>) {
    let manager = hcm::HttpConnectionManager {
        stat_prefix: TABLE.to_owned(),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(ads()),
            route_config_name: TABLE.to_owned(),
        })),
        http_filters: vec![hcm::HttpFilter {
            name: "router".to_owned(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(&Router::default()))),
            ..Default::default()
        }],
        ..Default::default()
    };
    let chain = listener::FilterChain {
        filters: vec![listener::Filter {
            name: "hcm".to_owned(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(any(&manager))),
        }],
        ..Default::default()
    };
    let head =
        listener::Listener { name: TABLE.to_owned(), address: Some(address(addr)), ..Default::default() };
    let chains = listener::Listener { filter_chains: vec![chain], ..Default::default() };
    let parts = vec![
        Arc::new(Part::new("", head.encode_to_vec())),
        Arc::new(Part::new("plain", chains.encode_to_vec())),
    ];
    (ResourceType::Listener, Arc::new(Resource::new(TABLE, parts)))
}

/// A virtual host that sends everything to one cluster.
pub(crate) fn host(name: &str, cluster: &str) -> route::VirtualHost {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    };
    let everything = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..Default::default()
    };
    route::VirtualHost {
        name: name.to_owned(),
        domains: vec![name.to_owned()],
        routes: vec![route::Route {
            r#match: Some(everything),
            action: Some(route::route::Action::Route(action)),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The table [`TABLE`] of these virtual hosts, each a part.
pub(crate) fn table(hosts: &[route::VirtualHost]) -> (ResourceType, Arc<Resource>) {
    let head = route::RouteConfiguration { name: TABLE.to_owned(), ..Default::default() };
    let mut parts = vec![Arc::new(Part::new("", head.encode_to_vec()))];
    parts.extend(hosts.iter().map(|host| {
        let piece = route::RouteConfiguration { virtual_hosts: vec![host.clone()], ..Default::default() };
        Arc::new(Part::new(host.name.as_str(), piece.encode_to_vec()))
    }));
    (ResourceType::Route, Arc::new(Resource::new(TABLE, parts)))
}

pub(crate) fn set(resources: Vec<(ResourceType, Arc<Resource>)>) -> Transaction {
    Transaction { set: resources, remove: vec![] }
}

/// A server that runs until it is stopped.
pub(crate) struct Running {
    pub(crate) cache: Cache,
    pub(crate) addr: SocketAddr,
    pub(crate) facts: Facts,
    pub(crate) nodes: Nodes,
    pub(crate) registry: Registry,
    pub(crate) certificates: Option<Certificates>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Returns once the server listens.
    pub(crate) async fn start(addr: SocketAddr, tls: Option<TlsFiles>) -> Self {
        let cache = Cache::new();
        let mut registry = Registry::default();
        let server = Server::bind(addr, tls, cache.clone(), &mut registry).expect("the server binds");
        let (addr, facts, nodes) = (server.local_addr(), server.facts(), server.nodes());
        let certificates = server.certificates();
        let stop = CancellationToken::new();
        let serving = server.serve(stop.clone());
        let task = tokio::spawn(async move { serving.await.expect("the server serves") });
        let local = localhost(addr.port());
        eventually("the server to listen", async || TcpStream::connect(local).await.ok()).await;
        Self { cache, addr, facts, nodes, registry, certificates, stop, task }
    }

    /// Stops the server. When this returns its port is free.
    pub(crate) async fn stop(self) -> SocketAddr {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("it ends when it is told to")
            .expect("the server ends");
        self.addr
    }

    /// The registry as Prometheus would read it.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("metrics can be written");
        text
    }
}

/// A deadline that no healthy run comes near.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn localhost(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

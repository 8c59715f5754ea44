//! Values of the model for tests, and what an Envoy would hold after a series of transactions.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contour_envoy::Assembly;
use contour_graph::model::*;
use contour_objects::{
    CaBundle, Changes, Endpoint, EndpointPort, EndpointSlice, Event, NamespacedName, Object, Store, TlsPair,
};
use contour_resource::{Resource, ResourceType, Transaction};
use envoy_types::pb::envoy::config::cluster::v3 as cluster_pb;
use envoy_types::pb::envoy::config::listener::v3 as listener_pb;
use envoy_types::pb::envoy::config::route::v3 as route_pb;
use prost::Message;

pub mod ads;

pub fn name(text: &str) -> NamespacedName {
    NamespacedName::parse(text, &"default".into())
}

pub fn origin() -> Origin {
    Origin { kind: "HTTPProxy", object: name("default/proxy") }
}

/// A Service's port 80, seen with no policy at all.
pub fn cluster(service: &str) -> Cluster {
    Cluster {
        service: name(service),
        port: 80,
        discovery: Discovery::Slices(EndpointsOf {
            service: name(service),
            port_name: None,
            health_port: None,
        }),
        protocol: Protocol::Plain,
        validation: None,
        sni: None,
        load_balancer: LoadBalancer::RoundRobin,
        health_check: None,
        idle_connection_timeout: Timeout::Default,
        circuit_breakers: CircuitBreakers::default(),
    }
}

pub fn weighted(cluster: Cluster, weight: u32) -> WeightedCluster {
    WeightedCluster {
        cluster: Arc::new(cluster),
        weight,
        request_headers: HeaderPolicy::default(),
        response_headers: HeaderPolicy::default(),
    }
}

pub fn forward(clusters: Vec<WeightedCluster>) -> Forward {
    Forward {
        clusters,
        websockets: false,
        response_timeout: Timeout::Default,
        idle_timeout: Timeout::Default,
        retry: None,
        rewrite: None,
        hash: Vec::new(),
        request_headers: HeaderPolicy::default(),
        response_headers: HeaderPolicy::default(),
    }
}

pub fn to(service: &str) -> Action {
    Action::Forward(Box::new(forward(vec![weighted(cluster(service), 1)])))
}

pub fn prefix(path: &str) -> RouteMatch {
    RouteMatch { path: PathMatch::Prefix(path.to_owned()), headers: Vec::new(), query: Vec::new() }
}

pub fn route(matches: RouteMatch, action: Action) -> Route {
    Route { matches, action, origin: origin() }
}

/// A host served without TLS.
pub fn plain(fqdn: &str, routes: Vec<Route>) -> VirtualHost {
    VirtualHost { fqdn: fqdn.into(), plain: routes, secure: None }
}

/// A host served with TLS, and with a redirect to it.
pub fn secure(fqdn: &str, secret: &str, routes: Vec<Route>) -> VirtualHost {
    let redirect = route(prefix("/"), Action::UpgradeToHttps);
    let secure = SecureHost::Http { tls: termination(secret, pair(secret)), routes };
    VirtualHost { fqdn: fqdn.into(), plain: vec![redirect], secure: Some(secure) }
}

pub fn passthrough(fqdn: &str, service: &str) -> VirtualHost {
    let proxy = TcpProxy { clusters: vec![weighted(cluster(service), 1)], origin: origin() };
    VirtualHost { fqdn: fqdn.into(), plain: Vec::new(), secure: Some(SecureHost::Passthrough { proxy }) }
}

pub fn termination(secret: &str, pair: TlsPair) -> Termination {
    Termination {
        secret: name(secret),
        pair: Arc::new(pair),
        minimum: TlsVersion::V1_2,
        maximum: TlsVersion::V1_3,
    }
}

/// Not a certificate, but as good as one as long as nobody looks.
pub fn pair(text: &str) -> TlsPair {
    let mut fingerprint = [0; 20];
    text.bytes().zip(&mut fingerprint).for_each(|(byte, digit)| *digit = byte);
    TlsPair { certificate: text.as_bytes().to_vec(), key: b"key".to_vec(), elements: 1, fingerprint }
}

pub fn validation(secret: &str, subjects: &[&str]) -> UpstreamValidation {
    UpstreamValidation {
        secret: name(secret),
        ca: Arc::new(CaBundle { pem: b"ca".to_vec(), elements: 1 }),
        subject_names: subjects.iter().map(|&s| s.to_owned()).collect(),
    }
}

pub fn health_check() -> HealthCheck {
    HealthCheck {
        http: Some(HttpHealthCheck {
            path: "/healthz".to_owned(),
            host: "contour-envoy-healthcheck".to_owned(),
            expected_statuses: Vec::new(),
        }),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        unhealthy_threshold: 3,
        healthy_threshold: 2,
    }
}

/// One slice of a Service: addresses, whether ready, and named ports.
pub fn slice(
    service: &str,
    slice: &str,
    endpoints: &[(&str, bool)],
    ports: &[(Option<&str>, u16)],
) -> Arc<EndpointSlice> {
    Arc::new(EndpointSlice {
        name: name(slice),
        service: name(service),
        endpoints: endpoints
            .iter()
            .map(|&(address, ready)| Endpoint { address: address.parse().expect("an address"), ready })
            .collect(),
        ports: ports.iter().map(|&(name, port)| EndpointPort { name: name.map(Arc::from), port }).collect(),
        left_out: None,
    })
}

pub fn apply(store: &mut Store, slice: Arc<EndpointSlice>) -> Changes {
    let mut changes = Changes::default();
    store.apply(Event::Apply(Object::EndpointSlice(slice)), &mut changes);
    changes
}

pub type Change = (Arc<str>, Option<Arc<VirtualHost>>);

pub fn set(host: VirtualHost) -> Change {
    (Arc::clone(&host.fqdn), Some(Arc::new(host)))
}

pub fn gone(fqdn: &str) -> Change {
    (fqdn.into(), None)
}

/// What is served after a series of transactions.
#[derive(Clone, Debug, Default)]
pub struct Served(pub BTreeMap<(ResourceType, Arc<str>), Arc<Resource>>);

impl Served {
    /// The first state of an installation with these hosts.
    pub fn of(assembly: &mut Assembly, store: &Store, hosts: Vec<VirtualHost>) -> Self {
        let mut served = Self::default();
        served.apply(&assembly.initial());
        served.apply(&assembly.hosts(store, hosts.into_iter().map(set)));
        served
    }

    /// Takes a transaction in; it must not say anything twice.
    pub fn apply(&mut self, transaction: &Transaction) {
        let mut said = std::collections::BTreeSet::new();
        for (kind, resource) in &transaction.set {
            assert!(said.insert((*kind, resource.name())), "{kind:?} {} is said twice", resource.name());
            self.0.insert((*kind, Arc::clone(resource.name())), Arc::clone(resource));
        }
        for (kind, name) in &transaction.remove {
            assert!(said.insert((*kind, name)), "{kind:?} {name} is said twice");
            assert!(self.0.remove(&(*kind, Arc::clone(name))).is_some(), "{kind:?} {name} was never there");
        }
    }

    pub fn names(&self, kind: ResourceType) -> Vec<&str> {
        self.0.keys().filter(|(k, _)| *k == kind).map(|(_, name)| &**name).collect()
    }

    pub fn versions(&self) -> BTreeMap<(ResourceType, Arc<str>), u64> {
        self.0.iter().map(|(key, resource)| (key.clone(), resource.version())).collect()
    }

    pub fn resource(&self, kind: ResourceType, name: &str) -> &Resource {
        self.0.get(&(kind, name.into())).unwrap_or_else(|| panic!("there is no {kind:?} {name}"))
    }

    pub fn read<M: Message + Default>(&self, kind: ResourceType, name: &str) -> M {
        M::decode(self.resource(kind, name).body()).expect("a resource decodes as its type")
    }

    pub fn routes(&self, name: &str) -> route_pb::RouteConfiguration {
        self.read(ResourceType::Route, name)
    }

    pub fn listener(&self, name: &str) -> listener_pb::Listener {
        self.read(ResourceType::Listener, name)
    }

    pub fn cluster(&self, name: &str) -> cluster_pb::Cluster {
        self.read(ResourceType::Cluster, name)
    }

    /// Every cluster a route or a TCP proxy leads to exists, and so do endpoints and certificates.
    pub fn assert_complete(&self) {
        for (kind, name) in self.references() {
            assert!(self.0.contains_key(&(kind, name.as_str().into())), "{kind:?} {name} is missing");
        }
    }

    fn references(&self) -> Vec<(ResourceType, String)> {
        let mut out = Vec::new();
        for ((kind, name), resource) in &self.0 {
            match kind {
                ResourceType::Route => {
                    let clusters = self.routes(name).virtual_hosts.into_iter().flat_map(|h| h.routes);
                    out.extend(clusters.flat_map(clusters_of).map(|c| (ResourceType::Cluster, c)));
                }
                ResourceType::Cluster => {
                    out.extend(resource.needs().map(|n| (ResourceType::Endpoints, n.to_string())));
                }
                ResourceType::Listener => {
                    let chains = self.listener(name).filter_chains;
                    out.extend(chains.iter().flat_map(references_of_chain));
                }
                _ => {}
            }
        }
        out
    }
}

/// The clusters a route leads to.
pub fn clusters_of(route: route_pb::Route) -> Vec<String> {
    use route_pb::route_action::ClusterSpecifier;
    let Some(route_pb::route::Action::Route(action)) = route.action else { return Vec::new() };
    match action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![name],
        Some(ClusterSpecifier::WeightedClusters(all)) => all.clusters.into_iter().map(|c| c.name).collect(),
        other => panic!("an unexpected destination: {other:?}"),
    }
}

fn references_of_chain(chain: &listener_pb::FilterChain) -> Vec<(ResourceType, String)> {
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
    use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
    use tcp::tcp_proxy::ClusterSpecifier;
    let mut out: Vec<_> = tls_context(chain)
        .and_then(|context| context.common_tls_context)
        .into_iter()
        .flat_map(|common| common.tls_certificate_sds_secret_configs)
        .map(|sds| (ResourceType::Secret, sds.name))
        .collect();
    let Some(listener_pb::filter::ConfigType::TypedConfig(filter)) = &chain.filters[0].config_type else {
        panic!("a filter has a configuration");
    };
    if filter.type_url.ends_with("TcpProxy") {
        match tcp::TcpProxy::decode(filter.value.as_slice()).expect("a TcpProxy").cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => out.push((ResourceType::Cluster, name)),
            Some(ClusterSpecifier::WeightedClusters(all)) => {
                out.extend(all.clusters.into_iter().map(|c| (ResourceType::Cluster, c.name)));
            }
            None => panic!("a TCP proxy without destination"),
        }
    } else {
        use hcm::http_connection_manager::RouteSpecifier;
        let manager =
            hcm::HttpConnectionManager::decode(filter.value.as_slice()).expect("a connection manager");
        if let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier {
            out.push((ResourceType::Route, rds.route_config_name));
        }
    }
    out
}

pub fn tls_context(
    chain: &listener_pb::FilterChain,
) -> Option<envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext> {
    use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
    let ConfigType::TypedConfig(any) = chain.transport_socket.clone()?.config_type?;
    Some(Message::decode(any.value.as_slice()).expect("a TLS context"))
}

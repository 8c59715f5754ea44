//! What a played Envoy says, encoded once for all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use bytes::{BufMut as _, Bytes, BytesMut};
use contour_resource::ResourceType;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::listener::v3::{Listener, filter};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use prost::Message;

use ResourceType::{Cluster as Clusters, Endpoints, Listener as Listeners, Route, Runtime};

/// The runtime layer that the bootstrap names.
const LAYER: &str = "dynamic";

/// A name that nothing has. The server says so once it has come to it, and by then it has dealt with what was asked before.
const NOBODY: &str = "bench/nobody";

/// A message as gRPC sends it.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(length + 5);
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // There is room for it.
    let _ = message.encode(&mut buffer);
    buffer.freeze()
}

/// Asks for names of a type; without names for all of it.
pub(super) fn subscribe(kind: ResourceType, names: Vec<String>) -> Bytes {
    framed(&request(kind, names, HashMap::new()))
}

/// Accepts a response.
pub(super) fn acknowledge(kind: ResourceType, nonce: String) -> Bytes {
    framed(&DeltaDiscoveryRequest { response_nonce: nonce, ..request(kind, Vec::new(), HashMap::new()) })
}

/// The first request of a stream: who is there, and the runtime layer.
pub(super) fn greeting(node: &str, version: Option<&str>) -> Bytes {
    let known = version.map(|version| (LAYER.to_owned(), version.to_owned()));
    let node = Node { id: node.to_owned(), cluster: "bench".to_owned(), ..Node::default() };
    let request = request(Runtime, vec![LAYER.to_owned()], known.into_iter().collect());
    framed(&DeltaDiscoveryRequest { node: Some(node), ..request })
}

/// Asks for what does not exist.
pub(super) fn nobody(kind: ResourceType) -> Bytes {
    subscribe(kind, vec![NOBODY.to_owned()])
}

fn request(
    kind: ResourceType,
    resource_names_subscribe: Vec<String>,
    initial_resource_versions: HashMap<String, String>,
) -> DeltaDiscoveryRequest {
    let type_url = kind.url().to_owned();
    DeltaDiscoveryRequest {
        type_url,
        resource_names_subscribe,
        initial_resource_versions,
        ..DeltaDiscoveryRequest::default()
    }
}

/// What one Envoy has been told, of which the others' requests are made.
#[derive(Debug, Default)]
pub struct Learned {
    versions: [BTreeMap<String, String>; ResourceType::ALL.len()],
    /// The endpoints that clusters refer to.
    services: BTreeSet<String>,
    /// The tables that listeners refer to.
    tables: BTreeSet<String>,
}

impl Learned {
    /// Takes in a response. Returns the names it refers to that nothing has referred to before.
    pub(super) fn take(
        &mut self,
        kind: ResourceType,
        response: &DeltaDiscoveryResponse,
    ) -> Result<Vec<String>> {
        let mut new = Vec::new();
        for resource in &response.resources {
            let body = resource.resource.as_ref().context("a resource without a body")?;
            let (referred, names) = match kind {
                Clusters => (services(&Cluster::decode(&*body.value)?), &mut self.services),
                Listeners => (tables(&Listener::decode(&*body.value)?)?, &mut self.tables),
                _ => (Vec::new(), &mut self.tables),
            };
            new.extend(referred.into_iter().filter(|name| names.insert(name.clone())));
            self.versions[kind as usize].insert(resource.name.clone(), resource.version.clone());
        }
        for name in &response.removed_resources {
            self.versions[kind as usize].remove(name);
        }
        Ok(new)
    }

    /// How many resources of a type it has.
    pub fn count(&self, kind: ResourceType) -> usize {
        self.versions[kind as usize].len()
    }

    /// Whether it has everything that it was referred to.
    pub fn is_whole(&self) -> bool {
        let has = |kind: ResourceType, name: &String| self.versions[kind as usize].contains_key(name);
        self.services.iter().all(|name| has(Endpoints, name))
            && self.tables.iter().all(|name| has(Route, name))
    }

    /// What the others will say.
    pub fn plan(&self) -> Plan {
        let counts = ResourceType::ALL.map(|kind| u32::try_from(self.count(kind)).unwrap_or(u32::MAX));
        let names = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        let known = |kind: ResourceType, names: Vec<String>| {
            let versions = self.versions[kind as usize].clone().into_iter().collect();
            framed(&request(kind, names, versions))
        };
        Plan {
            counts,
            services: self.services.clone(),
            endpoints: subscribe(Endpoints, names(&self.services)),
            tables: subscribe(Route, names(&self.tables)),
            layer: self.versions[Runtime as usize].get(LAYER).cloned(),
            // In the order in which Envoy subscribed to them.
            again: vec![
                known(Clusters, Vec::new()),
                known(Endpoints, names(&self.services)),
                known(Listeners, Vec::new()),
                known(Route, names(&self.tables)),
            ],
        }
    }
}

/// What played Envoys say, and what they will have then.
#[derive(Debug, Default)]
pub struct Plan {
    /// How many resources of each type there are.
    pub(super) counts: [u32; ResourceType::ALL.len()],
    /// The endpoints that clusters refer to.
    pub(super) services: BTreeSet<String>,
    /// Asks for all of them.
    pub(super) endpoints: Bytes,
    /// Asks for the tables that listeners refer to.
    pub(super) tables: Bytes,
    /// The version of the runtime layer.
    pub(super) layer: Option<String>,
    /// What an Envoy that has everything says when it is back, after its greeting.
    pub(super) again: Vec<Bytes>,
}

/// The endpoints that a response with Clusters refers to.
pub(super) fn services_of(response: &DeltaDiscoveryResponse) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for resource in response.resources.iter().filter_map(|resource| resource.resource.as_ref()) {
        all.extend(services(&Cluster::decode(&*resource.value)?));
    }
    Ok(all)
}

fn services(cluster: &Cluster) -> Vec<String> {
    let name = |service: &str| if service.is_empty() { cluster.name.clone() } else { service.to_owned() };
    cluster.eds_cluster_config.iter().map(|config| name(&config.service_name)).collect()
}

fn tables(listener: &Listener) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for filter in listener.filter_chains.iter().flat_map(|chain| &chain.filters) {
        let Some(filter::ConfigType::TypedConfig(config)) = &filter.config_type else { continue };
        if !config.type_url.ends_with(".HttpConnectionManager") {
            continue;
        }
        let manager = HttpConnectionManager::decode(&*config.value)?;
        if let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier {
            all.push(rds.route_config_name);
        }
    }
    Ok(all)
}

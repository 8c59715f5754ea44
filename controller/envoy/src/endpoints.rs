//! Load assignments from EndpointSlices. Endpoints never pass through the graph.
//!
//! All assignments of a Service are made in one walk over its slices, and none takes more endpoints than it may show: a slice of 1,000
//! addresses and 20,000 ports, which the API server takes, would otherwise be twenty million of them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use contour_graph::model::EndpointsOf;
use contour_objects::{EndpointSlice, NamespacedName, Store};
use contour_resource::{Part, Resource};
use envoy_types::pb::envoy::config::endpoint::v3 as pb;
use pb::endpoint::HealthCheckConfig;
use prost::Message;

use crate::proto::{address, uint32};

/// How many addresses an assignment looks at for each that it may show: slices overlap while they are rearranged.
const OVERLAP: usize = 2;

/// How many endpoints the slices of a Service have, by the name of their port. One that stands in two slices counts twice.
#[derive(Debug, Default)]
pub(crate) struct Counts<'a> {
    by_name: HashMap<&'a str, usize>,
    unnamed: usize,
    all: usize,
}

impl<'a> Counts<'a> {
    pub(crate) fn of(service: &NamespacedName, store: &'a Store) -> Self {
        let mut counts = Self::default();
        for slice in store.slices(service) {
            let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready).count();
            for port in &slice.ports {
                match port.name.as_deref() {
                    Some(name) => *counts.by_name.entry(name).or_default() += ready,
                    None => counts.unnamed += ready,
                }
                counts.all += ready;
            }
        }
        counts
    }

    /// How many an assignment would show if nothing bounded it.
    pub(crate) fn shown(&self, of: &EndpointsOf) -> usize {
        match of.port_name.as_deref() {
            Some(name) => self.by_name.get(name).copied().unwrap_or_default() + self.unnamed,
            None => self.all,
        }
    }
}

/// An assignment to make, with the most endpoints that it shows.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a Arc<str>,
    pub(crate) of: &'a EndpointsOf,
    pub(crate) most: usize,
}

type Address = (IpAddr, u16);

/// The port health checks go to, where it is another.
type Health = Option<u16>;

/// An assignment that was made.
pub(crate) struct Made {
    pub(crate) resource: Resource,
    /// How many endpoints it shows.
    pub(crate) shown: usize,
    /// Whether there are more.
    pub(crate) cut: bool,
}

/// An assignment while it is made.
#[derive(Default)]
struct Making {
    addresses: BTreeMap<Address, Health>,
    looked_at: usize,
    full: bool,
}

/// The resources of a Service's assignments; empty where there are no endpoints, so that clusters never wait for them. Endpoints are ready
/// ones, each once and in order; where there are more than are shown, they are the first of the first slices by name.
pub(crate) fn resources(service: &NamespacedName, wanted: &[Wanted<'_>], store: &Store) -> Vec<Made> {
    let mut making: Vec<Making> = wanted.iter().map(|_| Making::default()).collect();
    let mut by_name: HashMap<Option<&str>, Vec<usize>> = HashMap::new();
    for (at, one) in wanted.iter().enumerate() {
        by_name.entry(one.of.port_name.as_deref()).or_default().push(at);
    }
    for slice in store.slices(service) {
        if by_name.is_empty() {
            break;
        }
        take(slice, wanted, &mut by_name, &mut making);
    }
    wanted.iter().zip(making).map(|(one, made)| made.finish(one.name, &service.namespace)).collect()
}

/// Takes the endpoints of a slice in. What is full is not asked for any more.
fn take<'a>(
    slice: &'a EndpointSlice,
    wanted: &[Wanted<'a>],
    by_name: &mut HashMap<Option<&'a str>, Vec<usize>>,
    making: &mut [Making],
) {
    let ready: Vec<IpAddr> = slice.endpoints.iter().filter(|e| e.ready).map(|e| e.address).collect();
    if ready.is_empty() {
        return;
    }
    let mut numbers: HashMap<&str, u16> = HashMap::new();
    for port in &slice.ports {
        if let Some(name) = port.name.as_deref() {
            numbers.entry(name).or_insert(port.port);
        }
    }
    for port in &slice.ports {
        let mut fill = |asking: &mut Vec<usize>| {
            asking.retain(|&at| {
                let health = wanted[at].of.health_port.as_ref().and_then(|health| health.name.as_deref());
                let health = health.and_then(|name| numbers.get(name)).copied();
                making[at].take(&ready, port.port, health, wanted[at].most)
            });
            !asking.is_empty()
        };
        // Without a name on either side there is nothing to tell ports apart by.
        match port.name.as_deref() {
            Some(name) => {
                for name in [Some(name), None] {
                    if by_name.get_mut(&name).is_some_and(|asking| !fill(asking)) {
                        by_name.remove(&name);
                    }
                }
            }
            None => by_name.retain(|_, asking| fill(asking)),
        }
        if by_name.is_empty() {
            return;
        }
    }
}

impl Making {
    /// Takes addresses in; whether there is room for more.
    fn take(&mut self, ready: &[IpAddr], port: u16, health: Health, most: usize) -> bool {
        for address in ready {
            if self.addresses.len() >= most || self.looked_at >= most.saturating_mul(OVERLAP) {
                self.full = true;
                return false;
            }
            self.looked_at += 1;
            self.addresses.entry((*address, port)).or_insert(health);
        }
        true
    }

    fn finish(self, name: &Arc<str>, namespace: &Arc<str>) -> Made {
        let shown = self.addresses.len();
        Made { resource: resource(name, namespace, self.addresses), shown, cut: self.full }
    }
}

fn resource(name: &Arc<str>, namespace: &Arc<str>, addresses: BTreeMap<Address, Health>) -> Resource {
    let locality = pb::LocalityLbEndpoints {
        lb_endpoints: addresses.into_iter().map(endpoint).collect(),
        load_balancing_weight: Some(uint32(1)),
        ..Default::default()
    };
    let assignment = pb::ClusterLoadAssignment {
        cluster_name: name.to_string(),
        endpoints: if locality.lb_endpoints.is_empty() { Vec::new() } else { vec![locality] },
        ..Default::default()
    };
    let part = Part::new("", assignment.encode_to_vec()).of_origin(Some(namespace));
    Resource::new(Arc::clone(name), vec![Arc::new(part)])
}

fn endpoint(((ip, port), health): (Address, Health)) -> pb::LbEndpoint {
    let endpoint = pb::Endpoint {
        address: Some(address(ip.to_string(), port)),
        health_check_config: health
            .map(|port| HealthCheckConfig { port_value: port.into(), ..Default::default() }),
        ..Default::default()
    };
    pb::LbEndpoint {
        host_identifier: Some(pb::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    }
}

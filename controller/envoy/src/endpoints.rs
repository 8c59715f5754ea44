//! Load assignments from EndpointSlices. Endpoints never pass through the graph.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use contour_graph::model::EndpointsOf;
use contour_objects::{EndpointSlice, Store};
use contour_resource::Resource;
use envoy_types::pb::envoy::config::endpoint::v3 as pb;
use pb::endpoint::HealthCheckConfig;
use prost::Message;

use crate::proto::{address, uint32};

/// The resource of the endpoints of a Service port; empty where there are none, so that clusters never wait for it.
pub(crate) fn resource(name: &Arc<str>, of: &EndpointsOf, store: &Store) -> Resource {
    let addresses = addresses(of, store);
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
    Resource::whole(Arc::clone(name), assignment.encode_to_vec())
}

type Address = (IpAddr, u16);

/// The port health checks go to, where it is another.
type Health = Option<u16>;

/// Ready addresses in order, each once: slices may overlap while they are rearranged.
fn addresses(of: &EndpointsOf, store: &Store) -> BTreeMap<Address, Health> {
    let mut out = BTreeMap::new();
    for slice in store.slices(&of.service) {
        let health = health_port(of, slice);
        for port in slice.ports.iter().filter(|port| serves(of, port.name.as_deref())) {
            for endpoint in slice.endpoints.iter().filter(|e| e.ready) {
                out.entry((endpoint.address, port.port)).or_insert(health);
            }
        }
    }
    out
}

/// Whether a port of a slice is the Service port asked for. Without a name on either side there is nothing to tell ports apart by.
fn serves(of: &EndpointsOf, name: Option<&str>) -> bool {
    match (of.port_name.as_deref(), name) {
        (Some(wanted), Some(name)) => wanted == name,
        (None, _) | (_, None) => true,
    }
}

fn health_port(of: &EndpointsOf, slice: &EndpointSlice) -> Health {
    let wanted = of.health_port.as_ref()?.name.as_deref()?;
    slice.ports.iter().find(|port| port.name.as_deref() == Some(wanted)).map(|port| port.port)
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

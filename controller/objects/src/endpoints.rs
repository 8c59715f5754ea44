//! EndpointSlice as the endpoint lane reads it.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1;

use crate::name::{NamespacedName, name_of};

/// An EndpointSlice of a Service: only what reaches Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name of the slice.
    pub name: NamespacedName,
    /// The Service it belongs to (label `kubernetes.io/service-name`).
    pub service: NamespacedName,
    /// Its addresses, in order.
    pub endpoints: Vec<Endpoint>,
    /// Its TCP ports, in order.
    pub ports: Vec<EndpointPort>,
}

/// One endpoint: the first address, and whether it takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// `conditions.ready`; missing means ready.
    pub ready: bool,
}

/// A port of all endpoints of the slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// Its name: that of the Service port; `None` where unnamed.
    pub name: Option<Arc<str>>,
    /// Its number.
    pub port: u16,
}

/// The label that names a slice's Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

impl EndpointSlice {
    /// Reads a slice. `None` if it belongs to no Service. Slices of FQDN addresses come out without endpoints.
    pub fn parse(object: v1::EndpointSlice) -> Option<Self> {
        let name = name_of(&object.metadata);
        let service = object.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_LABEL))?;
        Some(Self {
            service: NamespacedName { namespace: Arc::clone(&name.namespace), name: service.as_str().into() },
            name,
            endpoints: object.endpoints.into_iter().flatten().filter_map(endpoint_of).collect(),
            ports: object.ports.unwrap_or_default().into_iter().filter_map(port_of).collect(),
        })
    }
}

fn endpoint_of(endpoint: v1::Endpoint) -> Option<Endpoint> {
    let address = endpoint.addresses.first()?.parse().ok()?;
    let ready = endpoint.conditions.and_then(|c| c.ready).unwrap_or(true);
    Some(Endpoint { address, ready })
}

fn port_of(port: v1::EndpointPort) -> Option<EndpointPort> {
    if port.protocol.as_deref().is_some_and(|p| p != "TCP") {
        return None;
    }
    Some(EndpointPort {
        name: port.name.filter(|n| !n.is_empty()).map(Arc::from),
        port: u16::try_from(port.port?).ok().filter(|&p| p > 0)?,
    })
}

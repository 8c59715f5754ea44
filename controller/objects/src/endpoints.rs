//! EndpointSlice as the endpoint lane reads it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1;

use crate::address::is_local;
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
    /// The first of its addresses that was left out, to be told to those who refer to the Service.
    pub left_out: Option<LeftOut>,
}

/// An address that never goes to Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// A slice of type FQDN has it: names are not looked up, and what looks like an IP address there was not checked by the API server.
    Fqdn(Arc<str>),
    /// It is this machine, its link, or a group.
    Local(IpAddr),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fqdn(name) => write!(
                f,
                "addressType FQDN is not supported: \"{name}\" is left out; use a Service of type ExternalName"
            ),
            Self::Local(address) => write!(
                f,
                "\"{address}\" points to this machine or its link, or to many, which is not allowed: it is left out"
            ),
        }
    }
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

/// The address type whose addresses are names.
const FQDN: &str = "FQDN";

impl EndpointSlice {
    /// Reads a slice that anybody may have written. `None` if it belongs to no Service. Names, and addresses that are [local](is_local),
    /// are left out.
    pub fn parse(object: v1::EndpointSlice) -> Option<Self> {
        Self::read(object, is_local)
    }

    /// Reads a slice of the one who runs Envoy, who may send it to its own machine.
    pub fn parse_own(object: v1::EndpointSlice) -> Option<Self> {
        Self::read(object, |_| false)
    }

    fn read(object: v1::EndpointSlice, refused: impl Fn(IpAddr) -> bool) -> Option<Self> {
        let name = name_of(&object.metadata);
        let service = object.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_LABEL))?;
        let service =
            NamespacedName { namespace: Arc::clone(&name.namespace), name: service.as_str().into() };
        let addresses = object.endpoints.unwrap_or_default();
        let (endpoints, left_out) = if object.address_type == FQDN {
            let first = addresses.iter().find_map(|endpoint| endpoint.addresses.first());
            (Vec::new(), first.map(|name| LeftOut::Fqdn(name.as_str().into())))
        } else {
            let read = addresses.into_iter().filter_map(endpoint_of);
            let (local, others): (Vec<_>, Vec<_>) = read.partition(|endpoint| refused(endpoint.address));
            (others, local.first().map(|endpoint| LeftOut::Local(endpoint.address)))
        };
        let ports = object.ports.unwrap_or_default().into_iter().filter_map(port_of).collect();
        Some(Self { name, service, endpoints, ports, left_out })
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

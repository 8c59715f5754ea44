//! Service as the graph reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1;

use crate::name::{NamespacedName, name_of};

/// A Service without what never changes its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: NamespacedName,
    /// The target of a Service of type ExternalName.
    pub external_name: Option<Arc<str>>,
    /// Its ports, in order.
    pub ports: Vec<ServicePort>,
    /// Annotations under `projectcontour.io/`.
    pub annotations: BTreeMap<String, String>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; `None` where the Service has one unnamed port.
    pub name: Option<Arc<str>>,
    /// Its number.
    pub port: u16,
    /// Whether its protocol is TCP (the default).
    pub tcp: bool,
    /// `appProtocol`
    pub app_protocol: Option<Arc<str>>,
}

impl From<v1::Service> for Service {
    fn from(object: v1::Service) -> Self {
        let name = name_of(&object.metadata);
        let mut annotations = object.metadata.annotations.unwrap_or_default();
        annotations.retain(|key, _| key.starts_with("projectcontour.io/"));
        let spec = object.spec.unwrap_or_default();
        let external = spec.type_.as_deref() == Some("ExternalName");
        Self {
            name,
            external_name: external.then(|| spec.external_name.unwrap_or_default().into()),
            ports: spec.ports.unwrap_or_default().into_iter().filter_map(port_of).collect(),
            annotations,
        }
    }
}

/// A port with a number no port can have is left out: nothing can refer to it.
fn port_of(port: v1::ServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name.filter(|n| !n.is_empty()).map(Arc::from),
        port: u16::try_from(port.port).ok().filter(|&p| p > 0)?,
        tcp: port.protocol.as_deref().is_none_or(|p| p == "TCP"),
        app_protocol: port.app_protocol.map(Arc::from),
    })
}

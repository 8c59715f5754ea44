//! The way to the controller, and to Envoy.

use contour_crds::contour_deployment::PublishingType;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Inputs;
use super::meta::{self, Component};
use crate::names::ADDRESSES;
use crate::patch::{Patched, Target};
use crate::settings::XDS_PORT;

/// The Service that Envoy finds the controller by.
pub(super) fn contour(inputs: &Inputs<'_>) -> Service {
    Service {
        metadata: meta::namespaced(inputs, Component::Contour, &inputs.names.contour),
        spec: Some(ServiceSpec {
            ports: Some(vec![port("xds", XDS_PORT, None)]),
            selector: Some(meta::selector_labels(inputs, Component::Contour)),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The Service of Envoy, without and with its patch.
pub(crate) fn envoy(inputs: &Inputs<'_>) -> Patched<Service> {
    Patched::of(Target::Service, plain_envoy(inputs), &inputs.deployment.spec.publishing.service_patch)
}

/// The Service of Envoy. There is one also where nodes are the way in: clients in the cluster use it, and the controller reads from it what
/// to tell in statuses. It is never headless, as that cannot be changed later.
fn plain_envoy(inputs: &Inputs<'_>) -> Service {
    let given = &inputs.deployment.spec.publishing;
    let publishing = inputs.settings().publishing;
    let mut metadata = meta::namespaced(inputs, Component::Envoy, &inputs.names.envoy);
    let mut annotations = given.annotations.clone();
    let addresses = match publishing {
        _ if !given.addresses.is_empty() => &given.addresses,
        PublishingType::HostNetwork => inputs.addresses,
        _ => &[][..],
    };
    if !addresses.is_empty() {
        annotations.insert(ADDRESSES.to_owned(), addresses.join(","));
    }
    metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());

    let (type_, external) = match publishing {
        PublishingType::HostNetwork | PublishingType::ClusterIPService => ("ClusterIP", false),
        PublishingType::NodePortService => ("NodePort", true),
        PublishingType::LoadBalancerService => ("LoadBalancer", true),
    };
    let policy = given.external_traffic_policy.unwrap_or_default().as_str().to_owned();
    let ranges = &given.load_balancer_source_ranges;
    let node_ports = given.node_ports;
    Service {
        metadata,
        spec: Some(ServiceSpec {
            external_traffic_policy: external.then_some(policy),
            ip_family_policy: given.ip_family_policy.map(|policy| policy.as_str().to_owned()),
            load_balancer_class: given.load_balancer_class.clone(),
            load_balancer_source_ranges: Some(ranges.clone()).filter(|ranges| !ranges.is_empty()),
            ports: Some(vec![port("http", 80, node_ports.http), port("https", 443, node_ports.https)]),
            selector: Some(meta::selector_labels(inputs, Component::Envoy)),
            type_: Some(type_.to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// To the port of this name of each pod: pods of an older template may have another number.
fn port(name: &str, number: u16, node_port: Option<u16>) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        node_port: node_port.map(i32::from),
        ..ServicePort::default()
    }
}

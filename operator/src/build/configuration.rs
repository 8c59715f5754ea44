//! The controller's configuration: the user's, with what other fields of the `ContourDeployment` decide.

use contour_crds::contour_configuration::{
    ContourConfiguration, ContourConfigurationSpec, EnvoyConfig, EnvoyListener, HealthConfig, IngressConfig,
    MetricsConfig, NamespacedName, NetworkParameters, XdsServerConfig,
};

use super::Inputs;
use super::meta::{self, Component};
use crate::families;
use crate::settings::{CONTOUR_ADMIN_PORT, XDS_PORT};

/// The ContourConfiguration that the controller is started with.
pub(crate) fn configuration(inputs: &Inputs<'_>) -> ContourConfiguration {
    let spec = &inputs.deployment.spec;
    let given = spec.configuration.as_deref().cloned().unwrap_or_default();
    // Contour is found and probed in the first family.
    let families = &spec.network.ip_families;
    let any = families::any(&families[..families.len().min(1)]);
    let classes: Vec<String> = spec.ingress_class_name.iter().cloned().collect();
    let ingress = IngressConfig { class_names: classes, ..given.ingress.clone().unwrap_or_default() };
    ContourConfiguration {
        metadata: meta::namespaced(inputs, Component::Contour, &inputs.names.contour),
        spec: ContourConfigurationSpec {
            xds_server: Some(XdsServerConfig {
                address: Some(any.to_owned()),
                port: i64::from(XDS_PORT),
                tls: None,
            }),
            ingress: Some(ingress).filter(|ingress| *ingress != IngressConfig::default()),
            health: Some(health(any, CONTOUR_ADMIN_PORT)),
            metrics: Some(metrics(any, CONTOUR_ADMIN_PORT)),
            envoy: Some(Box::new(envoy(inputs, given.envoy.as_deref().cloned().unwrap_or_default()))),
            ..given
        },
        status: None,
    }
}

fn envoy(inputs: &Inputs<'_>, given: EnvoyConfig) -> EnvoyConfig {
    let (spec, ports) = (&inputs.deployment.spec.envoy, inputs.settings().ports);
    let any = families::any(&inputs.deployment.spec.network.ip_families);
    let listener = |port: u16| EnvoyListener {
        address: Some(spec.listen_address.clone().unwrap_or_else(|| any.to_owned())),
        port: i64::from(port),
        access_log: spec.access_log.clone(),
    };
    let network = given.network.unwrap_or_default();
    let admin_port = network.admin_port.unwrap_or_else(|| i64::from(ports.admin));
    EnvoyConfig {
        service: Some(NamespacedName {
            namespace: inputs.names.namespace.clone(),
            name: inputs.names.envoy.clone(),
        }),
        http: Some(listener(ports.http)),
        https: Some(listener(ports.https)),
        health: Some(health(any, ports.metrics)),
        metrics: Some(metrics(any, ports.metrics)),
        network: Some(NetworkParameters { admin_port: Some(admin_port), ..network }),
        ..given
    }
}

fn health(any: &str, port: u16) -> HealthConfig {
    HealthConfig { address: Some(any.to_owned()), port: i64::from(port) }
}

fn metrics(any: &str, port: u16) -> MetricsConfig {
    MetricsConfig { address: Some(any.to_owned()), port: i64::from(port), tls: None }
}

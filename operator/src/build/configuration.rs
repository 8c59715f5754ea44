//! The controller's configuration: the user's, with what other fields of the `ContourDeployment` decide.

use contour_crds::contour_configuration::{
    ContourConfiguration, ContourConfigurationSpec, EnvoyConfig, EnvoyListener, HealthConfig, IngressConfig,
    MetricsConfig, NamespacedName, NetworkParameters, XdsServerConfig,
};

use super::Inputs;
use super::meta::{self, Component};
use crate::settings::{CONTOUR_ADMIN_PORT, XDS_PORT};

/// Any address, unless told otherwise.
const ANY: &str = "0.0.0.0";

/// The ContourConfiguration that the controller is started with.
pub(crate) fn configuration(inputs: &Inputs<'_>) -> ContourConfiguration {
    let spec = &inputs.deployment.spec;
    let given = spec.configuration.as_deref().cloned().unwrap_or_default();
    let classes: Vec<String> = spec.ingress_class_name.iter().cloned().collect();
    let ingress = IngressConfig { class_names: classes, ..given.ingress.clone().unwrap_or_default() };
    ContourConfiguration {
        metadata: meta::namespaced(inputs, Component::Contour, &inputs.names.contour),
        spec: ContourConfigurationSpec {
            xds_server: Some(XdsServerConfig {
                address: Some(ANY.to_owned()),
                port: i64::from(XDS_PORT),
                tls: None,
            }),
            ingress: Some(ingress).filter(|ingress| *ingress != IngressConfig::default()),
            health: Some(health(CONTOUR_ADMIN_PORT)),
            metrics: Some(metrics(CONTOUR_ADMIN_PORT)),
            envoy: Some(Box::new(envoy(inputs, given.envoy.as_deref().cloned().unwrap_or_default()))),
            ..given
        },
        status: None,
    }
}

fn envoy(inputs: &Inputs<'_>, given: EnvoyConfig) -> EnvoyConfig {
    let (spec, ports) = (&inputs.deployment.spec.envoy, inputs.settings().ports);
    let listener = |port: u16| EnvoyListener {
        address: Some(spec.listen_address.clone().unwrap_or_else(|| ANY.to_owned())),
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
        health: Some(health(ports.metrics)),
        metrics: Some(metrics(ports.metrics)),
        network: Some(NetworkParameters { admin_port: Some(admin_port), ..network }),
        ..given
    }
}

fn health(port: u16) -> HealthConfig {
    HealthConfig { address: Some(ANY.to_owned()), port: i64::from(port) }
}

fn metrics(port: u16) -> MetricsConfig {
    MetricsConfig { address: Some(ANY.to_owned()), port: i64::from(port), tls: None }
}

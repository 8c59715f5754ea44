//! What a `ContourDeployment` comes to on a cluster: its fields over the defaults that depend on each other.

use contour_crds::ContourDeployment;
use contour_crds::contour_deployment::{EnvoyWorkload, PublishingType};

use crate::defaults::Defaults;

/// Port on which the controller serves xDS.
pub const XDS_PORT: u16 = 8001;

/// Port on which the controller answers probes and tells metrics.
pub const CONTOUR_ADMIN_PORT: u16 = 8000;

/// Port of the agent beside Envoy.
pub const SHUTDOWN_PORT: u16 = 8090;

/// Ports below this one are the kernel's to give.
pub const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// The ports that Envoy's pods listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// HTTP.
    pub http: u16,
    /// HTTPS.
    pub https: u16,
    /// Health and metrics.
    pub metrics: u16,
    /// The readable part of Envoy's admin interface, on loopback.
    pub admin: u16,
    /// The agent that drains Envoy.
    pub shutdown: u16,
}

impl Ports {
    /// Each port with its field in `spec.envoy.ports`.
    pub fn named(self) -> [(&'static str, u16); 5] {
        [
            ("http", self.http),
            ("https", self.https),
            ("metrics", self.metrics),
            ("admin", self.admin),
            ("shutdown", self.shutdown),
        ]
    }

    /// True if a port is the kernel's to give.
    pub fn privileged(self) -> bool {
        self.named().iter().any(|(_, port)| *port < FIRST_UNPRIVILEGED_PORT)
    }
}

/// What a `ContourDeployment` comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings<'a> {
    /// How Envoy is reached.
    pub publishing: PublishingType,
    /// What runs Envoy.
    pub workload: EnvoyWorkload,
    /// True if Envoy uses the network of its node.
    pub host_network: bool,
    /// The ports of Envoy's pods.
    pub ports: Ports,
    /// Image of the controller.
    pub contour_image: &'a str,
    /// Image of Envoy.
    pub envoy_image: &'a str,
}

impl<'a> Settings<'a> {
    /// The settings of a `ContourDeployment` under these defaults.
    pub fn of(deployment: &'a ContourDeployment, defaults: &'a Defaults) -> Self {
        let (spec, envoy) = (&deployment.spec, &deployment.spec.envoy);
        Self {
            publishing: spec.publishing.type_.unwrap_or_default(),
            workload: envoy.workload.unwrap_or_default(),
            host_network: host_network(deployment),
            ports: ports(deployment),
            contour_image: spec.contour.image.as_deref().unwrap_or(&defaults.contour_image),
            envoy_image: envoy.image.as_deref().unwrap_or(&defaults.envoy_image),
        }
    }
}

/// True if Envoy uses the network of its node.
pub fn host_network(deployment: &ContourDeployment) -> bool {
    let publishing = deployment.spec.publishing.type_.unwrap_or_default();
    deployment.spec.envoy.host_network.unwrap_or(publishing == PublishingType::HostNetwork)
}

/// The ports of Envoy's pods.
pub fn ports(deployment: &ContourDeployment) -> Ports {
    let ports = deployment.spec.envoy.ports;
    let (http, https) = if host_network(deployment) { (80, 443) } else { (8080, 8443) };
    Ports {
        http: ports.http.unwrap_or(http),
        https: ports.https.unwrap_or(https),
        metrics: ports.metrics,
        admin: ports.admin,
        shutdown: ports.shutdown.unwrap_or(SHUTDOWN_PORT),
    }
}

//! The children of a `ContourDeployment`, in the order in which they are applied. Pure: the same inputs give the same bytes.
//!
//! A child says nothing that it does not care for: no field that is zero, empty or the server's default without a reason. What others may decide
//! (the replicas of an autoscaled Deployment, ports of nodes, annotations of a cloud) is left out.

mod bootstrap;
mod configuration;
mod contour;
mod envoy;
mod meta;
mod network;
mod pods;
mod rbac;
mod secrets;
mod service;

use contour_crds::ContourDeployment;
use contour_crds::contour_deployment::{EnvoyTemplateStatus, EnvoyWorkload};
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassSpec};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::adoption::Adopted;
use crate::child::Child;
use crate::defaults::Defaults;
use crate::names::Names;
use crate::settings::Settings;

pub(crate) use bootstrap::content as envoy_bootstrap;
pub(crate) use configuration::configuration;
pub(crate) use contour::{
    CONTAINER as CONTOUR_CONTAINER, arguments as contour_arguments, template as contour_template,
};
pub use envoy::{AGENT_CONTAINER, ENVOY_CONTAINER, agent_image};
pub(crate) use envoy::{VOLUMES, template as envoy_template};
pub(crate) use meta::own_selector;
pub use meta::{COMPONENT, Component, INSTANCE};
pub(crate) use network::is_open;
pub use rbac::FixedRole;
pub(crate) use rbac::watched_namespaces;
pub(crate) use secrets::{CERTIFICATE, FORMER, KEY, TRUST, secrets};
pub(crate) use service::envoy as envoy_service;

/// Annotation of the controller's pods: the hash of its configuration, which is read at start only.
pub const CONFIGURATION_HASH: &str = "operator.projectcontour.io/configuration-hash";

/// Annotation of Envoy's pods: the hash of its bootstrap, which is read at start only.
pub const BOOTSTRAP_HASH: &str = "operator.projectcontour.io/bootstrap-hash";

/// `spec.controller` of the IngressClass.
pub const INGRESS_CONTROLLER: &str = "projectcontour.io/ingress-controller";

/// Annotation of the IngressClass that Ingresses without a class get, of Kubernetes.
pub(crate) const DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// What the children are made from. The deployment has passed [`crate::validate::validate`].
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The `ContourDeployment`.
    pub deployment: &'a ContourDeployment,
    /// [`Names::of`] it.
    pub names: &'a Names,
    /// The operator's settings.
    pub defaults: &'a Defaults,
    /// What Envoy's pods were last made with, as the status records it.
    pub kept: Option<&'a EnvoyTemplateStatus>,
    /// Addresses of nodes that serve, for statuses; only used where Envoy is published on the host network and no others are given.
    pub addresses: &'a [String],
    /// What was made by others and has to be fitted.
    pub adopted: &'a Adopted,
}

impl<'a> Inputs<'a> {
    fn settings(&self) -> Settings<'a> {
        Settings::of(self.deployment, self.defaults)
    }
}

/// The children, by the step in which they are applied. Secrets with certificates are not among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stages {
    /// What has to be there before any pod: accounts, bindings, class, configuration, the way to the controller.
    pub foundation: Vec<Child>,
    /// The controller.
    pub contour: Vec<Child>,
    /// Envoy, once the controller is available.
    pub envoy: Vec<Child>,
    /// How Envoy is reached, and who else reaches pods.
    pub publishing: Vec<Child>,
}

impl Stages {
    /// All children, in order.
    pub fn all(&self) -> impl Iterator<Item = &Child> {
        [&self.foundation, &self.contour, &self.envoy, &self.publishing].into_iter().flatten()
    }
}

/// All children of a `ContourDeployment`.
pub fn build(inputs: &Inputs<'_>) -> Stages {
    let bootstrap = bootstrap::bootstrap(inputs);
    let configuration = configuration(inputs);
    let mut foundation = rbac::accounts(inputs);
    foundation.extend(rbac::bindings(inputs));
    foundation.extend([
        Child::of(&ingress_class(inputs)),
        Child::of(&configuration),
        Child::of(&service::contour(inputs)),
    ]);

    let mut contour = vec![
        Child::of(&contour::deployment(inputs, &hash(&configuration.spec))),
        Child::of(&contour::disruption_budget(inputs)),
    ];
    contour.extend(contour::autoscaler(inputs).as_ref().map(Child::of));

    let template_hash = hash(&bootstrap.data);
    let mut envoy = vec![Child::of(&bootstrap)];
    match inputs.settings().workload {
        EnvoyWorkload::DaemonSet => envoy.push(Child::of(&envoy::daemon_set(inputs, &template_hash))),
        EnvoyWorkload::Deployment => {
            envoy.push(Child::of(&envoy::deployment(inputs, &template_hash)));
            envoy.push(Child::of(&envoy::disruption_budget(inputs)));
            envoy.extend(envoy::autoscaler(inputs).as_ref().map(Child::of));
        }
    }
    let mut publishing = vec![Child::of(&service::envoy(inputs).made())];
    publishing.extend(network::policies(inputs));
    Stages { foundation, contour, envoy, publishing }
}

fn ingress_class(inputs: &Inputs<'_>) -> IngressClass {
    let mut metadata = meta::cluster(inputs, Component::Contour, &inputs.names.ingress_class);
    if inputs.deployment.spec.default_ingress_class {
        metadata
            .annotations
            .get_or_insert_default()
            .insert(DEFAULT_INGRESS_CLASS.to_owned(), "true".to_owned());
    }
    IngressClass {
        metadata,
        spec: Some(IngressClassSpec { controller: Some(INGRESS_CONTROLLER.to_owned()), parameters: None }),
    }
}

/// The hash of a value, as an annotation shows it: 16 hexadecimal digits of SHA-256.
fn hash(value: &impl Serialize) -> String {
    let text = serde_json::to_vec(value).expect("what goes into a child can be written as JSON");
    let digest = format!("{:x}", Sha256::digest(text));
    digest[..16].to_owned()
}

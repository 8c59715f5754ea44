//! The children of a `ContourDeployment`, in the order in which they are applied. Pure: the same inputs give the same bytes.

use contour_crds::ContourDeployment;

use crate::child::Child;
use crate::defaults::Defaults;
use crate::names::Names;

/// What the children are made from. The deployment has passed [`crate::validate::validate`].
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The `ContourDeployment`.
    pub deployment: &'a ContourDeployment,
    /// [`Names::of`] it.
    pub names: &'a Names,
    /// The operator's settings.
    pub defaults: &'a Defaults,
    /// Image of the agent (container `shutdown-manager`) in the pod template of the live Envoy workload.
    pub live_agent_image: Option<&'a str>,
    /// Image of Envoy (container `envoy`) in the same template.
    pub live_envoy_image: Option<&'a str>,
    /// Addresses of nodes with a ready Envoy, for statuses; only used where Envoy is published on the host network.
    pub addresses: &'a [String],
}

/// The children, by the step in which they are applied. Secrets with certificates are not among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stages {
    /// What has to be there before any pod: accounts, roles, class, configuration, the way to the controller.
    pub foundation: Vec<Child>,
    /// The controller.
    pub contour: Vec<Child>,
    /// Envoy, once the controller is available.
    pub envoy: Vec<Child>,
    /// How Envoy is reached.
    pub publishing: Vec<Child>,
}

impl Stages {
    /// All children, in order.
    pub fn all(&self) -> impl Iterator<Item = &Child> {
        [&self.foundation, &self.contour, &self.envoy, &self.publishing].into_iter().flatten()
    }
}

/// All children of a `ContourDeployment`.
pub fn build(_inputs: &Inputs<'_>) -> Stages {
    Stages::default()
}

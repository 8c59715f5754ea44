//! What the operator runs unless a `ContourDeployment` says otherwise.

/// The operator's own settings that go into children. They come from its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Image of the controller: that of the operator itself.
    pub contour_image: String,
    /// Image of Envoy.
    pub envoy_image: String,
    /// Image of the agent beside Envoy, for pods that are made anew: see `docs/operator.md`.
    pub agent_image: String,
    /// Version of the operator, such as `0.1.0`.
    pub version: String,
    /// The namespace of the operator, whose pods ask others for their certificates.
    pub namespace: String,
}

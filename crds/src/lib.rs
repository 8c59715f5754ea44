//! The API types, and nothing else: no client, no runtime.
//!
//! - Group `projectcontour.io`: [`HTTPProxy`], [`TLSCertificateDelegation`], [`ExtensionService`] and
//!   [`ContourConfiguration`]. Their schemas are those of Contour 1.33.8: what Contour's custom resource
//!   definitions accept, ours accept, and what they reject, ours reject. `xtask check-schema` proves it.
//! - Group `operator.projectcontour.io`: [`ContourDeployment`] and [`ContourPolicy`], which are this project's own.
//!
//! Three rules hold for every type:
//!
//! - **Whatever the schema accepts can be deserialised.** A field is only as narrow as its schema. What
//!   is accepted is read in the form the API server serves it in: fields that are null are left out, and
//!   whole numbers are not written as fractions (`80`, not `80.0`). Other sources of objects have to do alike.
//! - **Absent is the zero value, where Contour does not tell them apart.** A flag or a number for which
//!   "not given" and zero mean the same is a plain `bool` or integer; a text for which "not given" and
//!   empty mean the same is an `Option<String>` that is never `Some("")`. Everywhere else `Option` tells
//!   "not given" from any given value.
//! - **Serialising leaves out what is unset**, so that nothing is written that was not given.
//!
//! The doc comment of a field is its description in the generated definition ([`all_crds`]).

/// The release of Contour whose API the types of the group `projectcontour.io` are.
pub const CONTOUR_RELEASE: &str = "1.33.8";

pub mod contour_configuration;
pub mod contour_deployment;
pub mod contour_policy;
pub mod extension_service;
pub mod httpproxy;
pub mod patterns;
pub mod schema;
pub mod status;
pub mod tls_certificate_delegation;

mod crd;
mod serde_rules;

pub use contour_configuration::{ContourConfiguration, ContourConfigurationSpec, ContourConfigurationStatus};
pub use contour_deployment::{ContourDeployment, ContourDeploymentSpec, ContourDeploymentStatus};
pub use contour_policy::{ContourPolicy, ContourPolicySpec, PolicyRule};
pub use crd::{all_crds, schema_for};
pub use extension_service::{ExtensionService, ExtensionServiceSpec, ExtensionServiceStatus};
pub use httpproxy::{HTTPProxy, HTTPProxySpec, HTTPProxyStatus};
pub use tls_certificate_delegation::{
    TLSCertificateDelegation, TLSCertificateDelegationSpec, TLSCertificateDelegationStatus,
};

#[cfg(test)]
mod tests;

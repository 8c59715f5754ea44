//! Graph to Envoy resources; owner of every Envoy name.
//!
//! [`Assembly`] is the way in: hosts of the model and changed endpoints go in, [`contour_resource::Transaction`]s come out.
//! Pure: no IO, no clock, and the same input gives the same bytes in every process.

mod accesslog;
mod assembly;
mod assignments;
pub mod bootstrap;
mod cluster;
mod endpoints;
mod hcm;
mod header;
mod host;
mod layout;
mod listener;
mod matching;
mod names;
mod plain;
mod proto;
mod route;
mod route_order;
mod runtime;
mod secret;
mod settings;
mod share;
mod shared;
mod socket;
mod stats;
mod tls;
mod virtual_host;

pub use assembly::{Assembly, Owner, Shortened};
pub use names::{ENVOY_ADMIN, INGRESS_HTTP, INGRESS_HTTPS, RUNTIME_LAYER, STATS_HEALTH, secure_routes};
pub use settings::*;

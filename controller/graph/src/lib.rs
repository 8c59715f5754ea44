//! Objects to virtual hosts, routes, clusters and diagnostics, host by host.
//!
//! The unit of work is one host name. [`Graph::update`] finds the hosts that changed objects reach and builds each from scratch by a pure
//! function that also returns what it read; that record is the index for the next change. What the build found wrong becomes the
//! [`status::ProxyStatus`] of the objects that have the problem.
//!
//! Not here: Envoy's names and messages (`contour-envoy`), endpoints (their own lane), any IO, any clock.

mod annotation;
mod budget;
mod build;
mod conditions;
mod cost;
mod duration;
mod few;
mod graph;
mod headers;
mod host;
mod include;
mod ingress;
mod kept;
mod known;
pub mod limits;
pub mod model;
mod owner;
mod policy;
mod queue;
pub mod re2;
mod root;
mod route;
mod service;
mod settings;
pub mod status;
mod tcp;
mod text;
mod unsupported;

pub use budget::Budgets;
pub use cost::{ENDPOINT, cost};
pub use duration::{parse_duration, parse_timeout};
pub use graph::{Graph, IngressNote, Update};
pub use headers::is_framing_header;
pub use settings::{HostOwnership, Settings};

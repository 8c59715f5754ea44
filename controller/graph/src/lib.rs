//! Objects to virtual hosts, routes, clusters and diagnostics, host by host.

pub mod model;
mod settings;

pub use settings::Settings;

//! Graph to Envoy resources; owner of every Envoy name.

mod settings;

pub use settings::*;

//! Traffic through a real Envoy: objects from YAML, the engine, the xDS server and upstreams that answer. No cluster.
//!
//! Every test has an installation of its own and tells one story. Nothing waits by the clock.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod changes;
mod ingress;
mod listeners;
mod resilience;
mod routing;
mod tcp;
mod tls;
mod upstream;
mod world;

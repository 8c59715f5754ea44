//! Many Envoys, played: what a controller does when a thousand of them connect at once.
//!
//! A played Envoy has a connection of its own with mutual TLS and one delta stream, on which it behaves as Envoy does, but does nothing with
//! what it is told. One of them decodes everything; the others only need to know how much comes and say what the first has learned.

pub mod fleet;
pub mod observe;
pub mod phases;
pub mod play;
pub mod report;
pub mod requests;
pub mod scan;
pub mod slow;
pub mod world;

pub use phases::{Bench, Figures, Phase, Row, Size};

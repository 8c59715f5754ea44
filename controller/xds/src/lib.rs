//! The xDS protocol: aggregated delta and SotW, versions, ACK and NACK.

mod cache;
mod events;
mod table;

pub use cache::{Cache, Snapshot};
pub use events::{Events, NodeEvent};
pub use table::Table;

//! The xDS protocol: aggregated delta and SotW, versions, ACK and NACK.
//!
//! A [`Cache`] holds what is published; a [`Server`] gives it to Envoys. The protocol itself is a pure state machine
//! per stream (`session`), without clock and without IO; the rest is its edge.
//!
//! What is promised, whatever the peer does:
//! - nothing is answered before the first complete state ([`Cache::open`]);
//! - versions are hashes of content, so nothing is sent to an Envoy that has it, after whatever restart;
//! - a change costs what it touches, in the cache and in every stream;
//! - make before break: a route is sent when its clusters are warm, a cluster is removed when no route is left on it;
//! - what a peer refuses is found, held back from that peer alone, and not sent again until it changes.

mod batch;
mod bounded;
mod cache;
mod client_name;
mod facts;
mod grpc;
mod holdings;
mod isolation;
mod lane;
mod listen;
mod message;
mod metrics;
mod nodes;
mod patience;
mod probation;
mod recall;
mod rejection;
mod server;
mod service;
mod session;
mod sharded;
mod sources;
mod stream;
mod subscription;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod turns;
mod warming;
mod wire;

pub use cache::{Cache, Snapshot};
pub use facts::{Fact, Facts, Piece, Refusal};
pub use message::Mode;
pub use nodes::{NodeStatus, Nodes, RejectedPart, TypeStatus};
pub use probation::NOT_TRIED;
pub use server::{Server, ServerError};
pub use table::Table;
pub use tls::{Certificates, LoadedCertificates, TlsError, TlsFiles};

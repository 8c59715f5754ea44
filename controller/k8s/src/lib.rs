//! Kubernetes IO: watches, status writes, lease, events.
//!
//! | part | what it does |
//! |---|---|
//! | [`connect`], [`api_health`] | the client, and whether the API server answers |
//! | [`Sources`] | watches every kind and tells [`contour_objects::Event`]s; a list is one atomic `Replace` |
//! | [`ProxyStatuses`] | per HTTPProxy, the status the API server holds and the one it should hold |
//! | [`StatusWriter`] | makes the two equal, while leading |
//! | [`Election`] | who leads, by a Lease |
//! | [`Metrics`] | what of this Prometheus sees |
//!
//! Each part that does IO is a value with `run(token)`: a future that goes on until the token is cancelled. Requests are those that Contour's
//! stock roles permit: `get`, `list` and `watch` of what is read, `update` of statuses, `create` and `update` of the Lease, `create`
//! of Events.

mod client;
mod decode;
mod lease;
mod lease_event;
mod metrics;
mod statuses;
mod trouble;
mod watch;
mod writer;

pub use client::{ClientError, ClientSource, HealthError, api_health, connect};
pub use lease::{Election, LeaseSettings, LeaseTimesError, always_leading, identity};
pub use metrics::Metrics;
pub use statuses::{ProxyStatuses, Recorded};
pub use watch::{Sources, SourcesError};
pub use writer::StatusWriter;

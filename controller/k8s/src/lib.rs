//! Kubernetes IO: watches, status writes, lease, events.
//!
//! | part | what it does |
//! |---|---|
//! | [`connect`], [`api_health`] | the client, whose requests do not hang, and whether the API server answers |
//! | [`watch()`] | what keeps any watch going, whoever reads it |
//! | [`Sources`] | watches every kind and tells [`contour_objects::Event`]s; a list is one atomic `Replace` |
//! | [`Statuses`] | per HTTPProxy and Ingress, the status the API server holds and the one it should hold |
//! | [`AddressSource`] | the addresses that statuses name, from the Envoy Service |
//! | [`StatusWriter`] | makes the two equal, while leading |
//! | [`Notes`], [`NoteWriter`] | what Ingresses have to tell, as Events, while leading |
//! | [`Election`] | who leads, by a Lease |
//! | [`Metrics`] | what of this Prometheus sees |
//!
//! Around an engine that turns events into configuration:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use contour_k8s::*;
//! # async fn wiring(client: kube::Client, token: tokio_util::sync::CancellationToken) -> Result<(), LeaseTimesError> {
//! let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
//! let statuses = Arc::new(Statuses::new());
//! let sources = Sources {
//!     client: client.clone(),
//!     watch_namespaces: ["web".to_owned()].into(), // empty: all namespaces
//!     settings: contour_graph::Settings::default(),
//!     statuses: Arc::clone(&statuses),
//!     metrics: metrics.clone(),
//! };
//! // The store is complete when each of these was the subject of a first `Event::Replace`.
//! let scopes = sources.scopes();
//! let (sender, events) = tokio::sync::mpsc::channel(1024);
//! tokio::spawn(sources.run(sender, token.clone()));
//!
//! let lease = LeaseSettings::new("projectcontour", identity());
//! let (election, leading) = Election::new(client.clone(), lease, metrics.clone())?;
//! tokio::spawn(election.run(token.clone()));
//! tokio::spawn(StatusWriter::new(client, Arc::clone(&statuses), leading, metrics).run(token));
//! // After a configuration was published: what it means for the owners of its HTTPProxies.
//! statuses.offer(Vec::new());
//! statuses.withdraw(&Vec::new());
//! // Where Envoys are reached, by flag or by an `AddressSource`.
//! statuses.point_to(&parse_addresses("192.0.2.1").expect("an IP address"));
//! # Ok(())
//! # }
//! ```
//!
//! Each part that does IO is a value with `run(token)`: a future that goes on until the token is cancelled. Requests are those that Contour's
//! stock roles permit: `get`, `list` and `watch` of what is read, `update` of statuses, `create` and `update` of the Lease, `create`
//! of Events in its own namespace; and, which they do not permit, `create` and `patch` of Events about Ingresses. Without that right the log has them alone.

mod addresses;
mod client;
mod configuration;
mod decode;
mod hung;
mod lease;
mod lease_event;
mod merge;
mod metrics;
mod notes;
mod statuses;
mod trouble;
mod watch;
mod watcher;
mod writer;

pub use addresses::{ADDRESS_GRACE, ADDRESSES, AddressError, AddressSource, parse_addresses};
pub use client::{ClientError, ClientSource, HealthError, api_health, connect};
pub use configuration::{ConfigurationError, configuration};
pub use hung::HungRequests;
pub use lease::{Election, LeaseSettings, LeaseTimesError, always_leading, identity};
pub use metrics::Metrics;
pub use notes::{NoteWriter, Notes};
pub use statuses::Statuses;
pub use watch::{Sources, SourcesError};
pub use watcher::watch;
pub use writer::StatusWriter;

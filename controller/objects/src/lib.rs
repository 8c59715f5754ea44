//! The object store: events in, a snapshot and what changed out.
//!
//! Sources (`contour-k8s`, `contour-files`) parse what they read into the small types of this crate, once, and send [`Event`]s. The [`Store`]
//! answers each with the set of objects that really changed; an event that repeats what is known changes nothing. No IO, no clock.

mod address;
mod endpoints;
mod ingress;
mod name;
mod namespace;
mod proxy;
mod redact;
mod secret;
mod service;
mod store;
mod turns;

pub use address::{is_ambiguous, is_local, is_local_name};
pub use endpoints::{Endpoint, EndpointPort, EndpointSlice, LeftOut};
pub use ingress::Ingress;
pub use name::{Kind, NamespacedName, ObjectRef};
pub use namespace::{Delegation, Grant, Namespace};
pub use proxy::{HOST_OWNER, Held, Proxy};
pub use redact::redacted;
pub use secret::{CaBundle, Secret, SecretError, TlsPair};
pub use service::{Service, ServicePort};
pub use store::{Changes, Event, Object, Scope, Store};
pub use turns::Turns;

//! Certificates for the connection between controller and Envoy: a CA, two leaves, and when to replace them.
//!
//! The core is pure: the time is an argument, randomness is only in keys.
//! - [`Authority`] signs [`Leaf`]s; [`Certificate`] is what can be read from one.
//! - [`advance`] is the rotation: from what is held to what should be held, one safe step at a time.
//!
//! The edge is thin: [`write_bundle`] swaps the three files of a directory at once, and [`ensure`] keeps a state
//! directory up to date:
//!
//! ```no_run
//! # fn run() -> Result<(), contour_certs::StateError> {
//! let policy = contour_certs::Policy::default();
//! let state = std::path::Path::new("/var/lib/contour/certs");
//! let ensured = contour_certs::ensure(state, jiff::Timestamp::now(), &policy)?;
//! // Serve with state/contour/{ca.crt,tls.crt,tls.key}, give Envoy state/envoy/{...}; again at `ensured.next`.
//! # Ok(())
//! # }
//! ```

mod authority;
mod bundle;
mod certificate;
mod credentials;
mod key;
mod rotation;
mod state;

pub use authority::{Authority, BACKDATE, IssueError, Leaf, LeafRequest, Party, Usage};
pub use bundle::{Bundle, BundleError, CA_FILE, CERTIFICATE_FILE, KEY_FILE, write_bundle, write_private};
pub use certificate::{Certificate, CertificateError};
pub use credentials::{Credentials, Shown};
pub use key::{KeyAlgorithm, PrivateKey, UnknownKeyAlgorithm};
pub use rotation::{Change, Held, Peer, Policy, Step, advance};
pub use state::{Ensured, Outcome, StateError, ensure};

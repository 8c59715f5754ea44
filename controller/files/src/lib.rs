//! The same objects from a directory of YAML: the embedded mode.
//!
//! - [`Directory`] reads every `*.yaml`, `*.yml` and `*.json` file below a directory, checks each document as the API server would
//!   (schema, defaults, unknown fields, names), and answers with [`Event`](contour_objects::Event)s and [`FileProblem`]s. What is broken
//!   keeps its last good state.
//! - [`watch`] does so whenever a file changes.
//! - [`object`] checks one object that is in no file.
//! - [`StatusFiles`] writes the statuses a cluster would hold into files.

mod builtin;
mod bytes;
mod directory;
mod document;
mod file;
mod generations;
mod object;
mod problem;
mod rules;
mod schema;
mod status;
mod walk;
mod watch;
mod yaml;

pub use directory::{Deployment, Directory, Report};
pub use object::object;
pub use problem::{FileProblem, Severity};
pub use status::StatusFiles;
pub use watch::watch;

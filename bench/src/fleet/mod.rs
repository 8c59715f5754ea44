//! A large fleet: what the operator costs where Envoy runs on thousands of nodes, which are objects in a real kube-apiserver and nothing more.
//!
//! The bench plays the controllers of workloads and the kubelets. Of several operators each is measured in the same cluster, one after another.

pub mod cluster;
pub mod operator;
pub mod phases;
pub mod report;

pub use phases::{Bench, Row, Size};

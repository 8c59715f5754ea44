//! The operator against a real kube-apiserver. The tests play what is not there: the controllers of workloads, and the nodes.

mod adversary;
mod bad;
mod binary;
mod deletion;
mod healing;
mod hung;
mod kubelet;
mod lifecycle;
mod policy;
mod quiet;
mod rights;
mod rotation;
mod support;
mod switches;

//! The operator against a real kube-apiserver. The tests play what is not there: the controllers of workloads, and the nodes.

mod addresses;
mod adversary;
mod bad;
mod binary;
mod bootstrap;
mod cannot;
mod default_class;
mod deletion;
mod diff;
mod guarded;
mod healing;
mod hung;
mod independent;
mod kubelet;
mod lifecycle;
mod nodes;
mod orphaned;
mod patched;
mod paused;
mod policy;
mod quiet;
mod rights;
mod rotation;
mod support;
mod switches;
mod undefined;

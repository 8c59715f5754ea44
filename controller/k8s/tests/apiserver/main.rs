//! Against a real kube-apiserver: watches, status writes, the lease.

mod addresses;
mod hung;
mod lease;
mod notes;
mod rights;
mod statuses;
mod support;
mod watches;

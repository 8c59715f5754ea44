//! Against a real kube-apiserver: watches, status writes, the lease.

mod lease;
mod rights;
mod statuses;
mod support;
mod watches;

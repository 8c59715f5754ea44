//! Kubernetes IO: watches, status writes, lease, events.

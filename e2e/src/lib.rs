//! Real parts for tests: Envoy, kube-apiserver and etcd, echo upstreams.

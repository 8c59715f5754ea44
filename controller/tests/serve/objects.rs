//! The objects of the stories, all in namespace `team`.

use std::net::SocketAddr;

use contour_e2e::certs::Leaf;
use serde_json::{Value, json};

/// The namespace of all objects.
pub(crate) const NAMESPACE: &str = "team";

/// A Service with port 80.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]},
    })
}

/// The endpoints of a Service.
pub(crate) fn endpoints(service: &str, addresses: &[SocketAddr]) -> Value {
    let port = addresses.first().map_or(80, SocketAddr::port);
    let endpoints = addresses.iter().map(|address| json!({"addresses": [address.ip().to_string()]}));
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-x"), "labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    })
}

/// An HTTPProxy with this spec.
pub(crate) fn proxy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"name": name}, "spec": spec,
    })
}

/// An HTTPProxy that sends all of `NAME.example.com` to a Service.
pub(crate) fn simple(name: &str, service: &str) -> Value {
    proxy(
        name,
        &json!({
            "virtualhost": {"fqdn": format!("{name}.example.com")},
            "routes": [{"services": [{"name": service, "port": 80}]}],
        }),
    )
}

/// A TLS Secret.
pub(crate) fn tls_secret(name: &str, leaf: &Leaf) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
        "stringData": {"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem},
    })
}

//! Every name Envoy sees.
//!
//! Shapes are Contour's, so that dashboards keep working; the hash in a cluster's name covers everything that is set on it.

use std::fmt::Write;
use std::sync::Arc;

use contour_graph::model::{
    CircuitBreakers, Cluster, Discovery, EndpointsOf, HealthCheck, LoadBalancer, Protocol, Timeout,
    UpstreamValidation,
};
use contour_objects::{NamespacedName, TlsPair};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The plain listener, its RouteConfiguration, and the prefix of its statistics.
pub const INGRESS_HTTP: &str = "ingress_http";
/// The TLS listener and the prefix of its statistics.
pub const INGRESS_HTTPS: &str = "ingress_https";
/// The listener with `/ready` and `/stats`.
pub const STATS_HEALTH: &str = "stats-health";
/// The read-only administration listener, and the bootstrap's cluster that leads to Envoy's administration socket.
pub const ENVOY_ADMIN: &str = "envoy-admin";
/// The runtime layer delivered by RTDS; the bootstrap names it.
pub const RUNTIME_LAYER: &str = "dynamic";

/// A listener without a port and its RouteConfiguration, in which virtual hosts are tried before they go to those who serve.
pub(crate) const TRIAL: &str = "trial";
/// A listener without a port, in which filter chains are tried. It exists only meanwhile.
pub(crate) const TRIAL_HTTPS: &str = "trial_https";

/// Longest name of a cluster, Secret or virtual host, exclusive.
const LIMIT: usize = 60;

/// Name of the RouteConfiguration of a TLS host.
pub fn secure_routes(fqdn: &str) -> Arc<str> {
    format!("https/{fqdn}").into()
}

/// The host whose RouteConfiguration has this name.
pub(crate) fn host_of_routes(name: &str) -> Option<&str> {
    name.strip_prefix("https/")
}

/// Name of a virtual host.
pub(crate) fn virtual_host(fqdn: &str) -> String {
    shortened(&[fqdn])
}

/// Name of the Secret of a certificate: `namespace/name/<10 digits of the chain's SHA-1>`.
pub(crate) fn secret(secret: &NamespacedName, pair: &TlsPair) -> Arc<str> {
    shortened(&[&secret.namespace, &secret.name, &hex(&pair.fingerprint[..5])]).into()
}

/// Name of a ClusterLoadAssignment: `namespace/service[/port name]`, longer where health checks go to another port.
pub(crate) fn assignment(of: &EndpointsOf) -> Arc<str> {
    let mut name = of.service.to_string();
    if let Some(port) = &of.port_name {
        let _ = write!(name, "/{port}");
    }
    if let Some(health) = &of.health_port {
        let separator = if of.port_name.is_some() { "" } else { "/" };
        let _ = write!(name, "{separator}/health/{}", health.name.as_deref().unwrap_or_default());
    }
    name.into()
}

/// Name of a cluster's statistics, shared by all clusters of a Service port.
pub(crate) fn statistics(cluster: &Cluster) -> String {
    format!("{}_{}_{}", cluster.service.namespace, cluster.service.name, cluster.port)
}

/// Name of a cluster: `namespace/service/port/<10 digits of the SHA-1 of all settings that are not defaults>`.
///
/// A name too long to be written in full is identified by the digits alone, so they then cover the full name as well.
pub(crate) fn cluster(cluster: &Cluster) -> Arc<str> {
    let (namespace, service) = (&*cluster.service.namespace, &*cluster.service.name);
    let port = cluster.port.to_string();
    let mut settings = settings(cluster);
    if namespace.len() + service.len() + port.len() + 13 >= LIMIT {
        field(&mut settings, "of", &statistics(cluster));
    }
    shortened(&[namespace, service, &port, &hex(&Sha1::digest(settings)[..5])]).into()
}

/// One setting, unambiguously: values carry their length.
fn field(out: &mut String, key: &str, value: &str) {
    let _ = write!(out, "{key}={}:{value};", value.len());
}

/// What is set on a cluster. Not in it: what follows from the Service alone (the port's name) and the content of Secrets; both change in place.
fn settings(cluster: &Cluster) -> String {
    let mut out = String::new();
    match &cluster.discovery {
        Discovery::Slices(EndpointsOf { health_port: Some(health), .. }) => {
            field(&mut out, "health port", &health.number.to_string());
            field(&mut out, "health port name", health.name.as_deref().unwrap_or_default());
        }
        Discovery::Slices(_) => {}
        Discovery::Dns { hostname, port } => field(&mut out, "dns", &format!("{hostname}:{port}")),
    }
    match cluster.protocol {
        Protocol::Plain => {}
        Protocol::H2c => field(&mut out, "protocol", "h2c"),
        Protocol::H2 => field(&mut out, "protocol", "h2"),
        Protocol::Tls => field(&mut out, "protocol", "tls"),
    }
    if let Some(UpstreamValidation { secret, subject_names, .. }) = &cluster.validation {
        field(&mut out, "ca", &secret.to_string());
        for name in subject_names {
            field(&mut out, "subject", name);
        }
    }
    if let Some(sni) = &cluster.sni {
        field(&mut out, "sni", sni);
    }
    match cluster.load_balancer {
        LoadBalancer::RoundRobin => {}
        LoadBalancer::WeightedLeastRequest => field(&mut out, "balancer", "WeightedLeastRequest"),
        LoadBalancer::Random => field(&mut out, "balancer", "Random"),
        LoadBalancer::Cookie => field(&mut out, "balancer", "Cookie"),
        LoadBalancer::RequestHash => field(&mut out, "balancer", "RequestHash"),
    }
    if let Some(check) = &cluster.health_check {
        health_check(&mut out, check);
    }
    match cluster.idle_connection_timeout {
        Timeout::Default => {}
        Timeout::Disabled => field(&mut out, "idle", "none"),
        Timeout::After(time) => field(&mut out, "idle", &time.as_nanos().to_string()),
    }
    circuit_breakers(&mut out, cluster.circuit_breakers);
    out
}

fn health_check(out: &mut String, check: &HealthCheck) {
    field(out, "check interval", &check.interval.as_nanos().to_string());
    field(out, "check timeout", &check.timeout.as_nanos().to_string());
    field(out, "unhealthy after", &check.unhealthy_threshold.to_string());
    field(out, "healthy after", &check.healthy_threshold.to_string());
    if let Some(http) = &check.http {
        field(out, "check path", &http.path);
        field(out, "check host", &http.host);
        for (start, end) in &http.expected_statuses {
            field(out, "expected", &format!("{start}-{end}"));
        }
    }
}

fn circuit_breakers(out: &mut String, limits: CircuitBreakers) {
    let CircuitBreakers {
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        per_host_max_connections,
    } = limits;
    for (key, limit) in [
        ("max connections", max_connections),
        ("max pending", max_pending_requests),
        ("max requests", max_requests),
        ("max retries", max_retries),
        ("max connections per host", per_host_max_connections),
    ] {
        if let Some(limit) = limit.filter(|&limit| limit > 0) {
            field(out, key, &limit.to_string());
        }
    }
}

/// Joins elements with `/` to less than 60 bytes (Contour's `Hashname`): elements that are too long are cut, from the last to the first, and
/// end in 6 digits of the SHA-256 of the whole; if that is not enough the name is the hash alone.
fn shortened(elements: &[&str]) -> String {
    let whole = elements.join("/");
    if whole.len() < LIMIT {
        return whole;
    }
    let digest = hex(&Sha256::digest(&whole));
    let share = LIMIT / elements.len();
    let mut elements: Vec<String> = elements.iter().map(|&e| e.to_owned()).collect();
    for index in (0..elements.len()).rev() {
        elements[index] = cut(&elements[index], share, &digest[..6]);
        let name = elements.join("/");
        if name.len() < LIMIT {
            return name;
        }
    }
    digest[..LIMIT].to_owned()
}

/// Cuts an element to `length` bytes that end in `-suffix`.
fn cut(element: &str, length: usize, suffix: &str) -> String {
    if element.len() <= length {
        return element.to_owned();
    }
    let keep = length.saturating_sub(suffix.len() + 1);
    format!("{}-{suffix}", &element[..element.floor_char_boundary(keep)])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use contour_graph::model::HealthPort;
    use rstest::rstest;

    use super::*;

    /// Expected values were computed with Contour 1.33.8.
    #[rstest]
    #[case::fits("shop/web/80/da39a3ee5e", "shop/web/80/da39a3ee5e")]
    #[case::long_service(&format!("shop/{}/80/da39a3ee5e", "b".repeat(63)), "shop/bbbbbbbb-456224/80/da39a3ee5e")]
    #[case::all_long(
        &format!("{}/{}/8080/da39a3ee5e", "a".repeat(63), "b".repeat(63)),
        "aaaaaaaa-985575/bbbbbbbb-985575/8080/da39a3ee5e"
    )]
    #[case::long_namespace(&format!("{}/tls/0123456789", "a".repeat(63)), "aaaaaaaaaaaaa-c3f297/tls/0123456789")]
    #[case::long_host(
        &format!("www.{}example.com", "host.".repeat(12)),
        "48fa78088b218dfade3f4f56c2aa77a81d026bef3c93e300dcfe2f800455"
    )]
    #[case::just_fits(&"x".repeat(59), &"x".repeat(59))]
    #[case::just_not(&"x".repeat(60), "42f2d97335669f86846b721a8aa58551a46564eaf6977e3b4836d4645e3e")]
    fn long_names_are_shortened_as_contour_does(#[case] whole: &str, #[case] expected: &str) {
        let elements: Vec<&str> = whole.split('/').collect();
        assert_eq!(shortened(&elements), expected);
    }

    #[test]
    fn cutting_respects_characters() {
        assert_eq!(cut("äöüäöü", 8, "123456"), "-123456");
        assert_eq!(cut("äöüäöü", 9, "123456"), "ä-123456");
    }

    #[test]
    fn assignments_of_different_ports_have_different_names() {
        let of = |port: Option<&str>, health: Option<&str>| {
            let health_port = health.map(|name| HealthPort { number: 1, name: Some(name.into()) });
            let service = NamespacedName::new("ns", "svc");
            assignment(&EndpointsOf { service, port_name: port.map(Arc::from), health_port })
        };
        assert_eq!(&*of(None, None), "ns/svc");
        assert_eq!(&*of(Some("http"), None), "ns/svc/http");
        assert_eq!(&*of(Some("health"), None), "ns/svc/health");
        assert_eq!(&*of(None, Some("health")), "ns/svc//health/health");
        assert_eq!(&*of(Some("health"), Some("health")), "ns/svc/health/health/health");
    }
}

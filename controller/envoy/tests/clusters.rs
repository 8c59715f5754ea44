//! Clusters, their names, and their endpoints.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use contour_envoy::{Assembly, Settings};
use contour_graph::model::*;
use contour_objects::Store;
use contour_resource::ResourceType;
use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use pb::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use prost::Message;
use rstest::rstest;
use support::*;

fn served(cluster: Cluster, settings: Settings, store: &Store) -> Served {
    let action = Action::Forward(Box::new(forward(vec![weighted(cluster, 1)])));
    let host = plain("a.example.com", vec![route(prefix("/"), action)]);
    let served = Served::of(&mut Assembly::new(settings), store, vec![host]);
    served.assert_complete();
    served
}

fn written(cluster: Cluster) -> pb::Cluster {
    let served = served(cluster, Settings::default(), &Store::default());
    served.cluster(served.names(ResourceType::Cluster)[0])
}

fn name_of(cluster: Cluster) -> String {
    written(cluster).name
}

#[test]
fn a_cluster_without_settings() {
    let cluster = written(cluster("kuard"));
    assert_eq!(cluster.name, "default/kuard/80/da39a3ee5e");
    assert_eq!(cluster.alt_stat_name, "default_kuard_80");
    assert_eq!(cluster.cluster_discovery_type, Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())));
    let eds = cluster.eds_cluster_config.expect("EDS");
    assert_eq!(eds.service_name, "default/kuard");
    let source = eds.eds_config.expect("a source").config_source_specifier;
    assert!(matches!(source, Some(core::config_source::ConfigSourceSpecifier::Ads(_))));
    assert_eq!(cluster.connect_timeout.map(|d| d.seconds), Some(2));
    assert_eq!(
        cluster.common_lb_config.and_then(|c| c.healthy_panic_threshold).map(|p| p.value.to_bits()),
        Some(0)
    );
    assert_eq!((cluster.transport_socket, cluster.circuit_breakers), (None, None));
    assert!(cluster.typed_extension_protocol_options.is_empty());
}

/// One change for each setting.
fn variants() -> Vec<Cluster> {
    let base = || cluster("kuard");
    let tls = |secret, subjects: &[&str]| Cluster {
        protocol: Protocol::Tls,
        validation: Some(validation(secret, subjects)),
        ..base()
    };
    let limit = |change: fn(&mut CircuitBreakers)| {
        let mut limits = CircuitBreakers::default();
        change(&mut limits);
        Cluster { circuit_breakers: limits, ..base() }
    };
    let checked_at = |number, port: &str| {
        let health_port = Some(HealthPort { number, name: Some(port.into()) });
        let of = EndpointsOf { service: name("kuard"), port_name: None, health_port };
        Cluster { discovery: Discovery::Slices(of), ..base() }
    };
    let dns = |hostname: &str, port| Cluster {
        discovery: Discovery::Dns { hostname: hostname.to_owned(), port },
        ..base()
    };
    vec![
        base(),
        Cluster { port: 81, ..base() },
        checked_at(81, "health"),
        checked_at(82, "health"),
        checked_at(81, "healthy"),
        dns("a.example.com", 80),
        dns("a.example.com", 81),
        dns("b.example.com", 80),
        Cluster { protocol: Protocol::H2c, ..base() },
        Cluster { protocol: Protocol::H2, ..base() },
        Cluster { protocol: Protocol::Tls, ..base() },
        Cluster { protocol: Protocol::Tls, sni: Some("a".to_owned()), ..base() },
        Cluster { protocol: Protocol::Tls, sni: Some("b".to_owned()), ..base() },
        tls("default/ca", &["a"]),
        tls("default/ca", &["a", "b"]),
        tls("default/ca", &["a;subject=1:b"]),
        tls("other/ca", &["a"]),
        tls("other/ca2", &["a"]),
        Cluster { load_balancer: LoadBalancer::WeightedLeastRequest, ..base() },
        Cluster { load_balancer: LoadBalancer::Random, ..base() },
        Cluster { load_balancer: LoadBalancer::Cookie, ..base() },
        Cluster { load_balancer: LoadBalancer::RequestHash, ..base() },
        Cluster { idle_connection_timeout: Timeout::Disabled, ..base() },
        Cluster { idle_connection_timeout: Timeout::After(Duration::from_secs(1)), ..base() },
        limit(|l| l.max_connections = Some(1)),
        limit(|l| l.max_connections = Some(2)),
        limit(|l| l.max_pending_requests = Some(1)),
        limit(|l| l.max_requests = Some(1)),
        limit(|l| l.max_retries = Some(1)),
        limit(|l| l.per_host_max_connections = Some(1)),
    ]
    .into_iter()
    .chain(health_variants())
    .collect()
}

fn health_variants() -> Vec<Cluster> {
    let base = || cluster("kuard");
    let health = |change: fn(&mut HealthCheck)| {
        let mut check = health_check();
        change(&mut check);
        Cluster { health_check: Some(check), ..base() }
    };
    let http = |change: fn(&mut HttpHealthCheck)| {
        let mut check = health_check();
        change(check.http.as_mut().expect("HTTP"));
        Cluster { health_check: Some(check), ..base() }
    };
    vec![
        health(|_| ()),
        health(|c| c.http = None),
        health(|c| c.interval = Duration::from_secs(1)),
        health(|c| c.timeout = Duration::from_secs(1)),
        health(|c| c.unhealthy_threshold = 9),
        health(|c| c.healthy_threshold = 9),
        http(|h| h.path = String::new()),
        http(|h| h.host = String::new()),
        http(|h| h.expected_statuses = vec![(200, 300)]),
        http(|h| h.expected_statuses = vec![(200, 300), (404, 405)]),
    ]
}

#[test]
fn clusters_that_differ_have_different_names() {
    let variants = variants();
    let names: BTreeSet<_> = variants.iter().cloned().map(name_of).collect();
    assert_eq!(names.len(), variants.len());
    assert!(names.iter().all(|n| n.starts_with("default/kuard/8") && n.len() < 60), "{names:?}");
}

#[test]
fn a_limit_of_zero_is_no_limit() {
    let limits = CircuitBreakers { max_retries: Some(0), ..CircuitBreakers::default() };
    let unlimited = written(Cluster { circuit_breakers: limits, ..cluster("kuard") });
    assert_eq!(unlimited, written(cluster("kuard")));
}

#[test]
fn names_depend_on_content_alone() {
    for variant in variants() {
        assert_eq!(name_of(variant.clone()), name_of(variant));
    }
}

#[test]
fn long_names_are_cut_to_the_length_of_contours() {
    let long = "a-service-with-a-name-that-is-as-long-as-kubernetes-will-take-it";
    let name = name_of(cluster(&format!("some-namespace/{long}")));
    assert!(name.len() < 60, "{name}");
    assert!(name.starts_with("some-namespace/a-service-w~"), "{name}");
    let other = name_of(cluster(&format!("some-namespace/{long}-2")));
    assert_ne!(name, other);
    assert_ne!(name.rsplit('~').next(), other.rsplit('~').next(), "what was cut off is in the digits");
}

#[rstest]
#[case(LoadBalancer::WeightedLeastRequest, LbPolicy::LeastRequest)]
#[case(LoadBalancer::Random, LbPolicy::Random)]
#[case(LoadBalancer::Cookie, LbPolicy::RingHash)]
#[case(LoadBalancer::RequestHash, LbPolicy::RingHash)]
fn strategies(#[case] load_balancer: LoadBalancer, #[case] expected: LbPolicy) {
    assert_eq!(written(Cluster { load_balancer, ..cluster("kuard") }).lb_policy(), expected);
}

#[test]
fn circuit_breakers_of_the_service_come_first() {
    let mut settings = Settings::default();
    settings.cluster.circuit_breakers.max_connections = Some(10);
    settings.cluster.circuit_breakers.max_retries = Some(20);
    let limits = CircuitBreakers {
        max_connections: Some(1),
        max_requests: Some(0),
        per_host_max_connections: Some(5),
        ..Default::default()
    };
    let served =
        served(Cluster { circuit_breakers: limits, ..cluster("kuard") }, settings, &Store::default());
    let breakers = served.cluster(served.names(ResourceType::Cluster)[0]).circuit_breakers.expect("breakers");
    let limits = &breakers.thresholds[0];
    assert_eq!(limits.max_connections.map(|v| v.value), Some(1));
    assert_eq!(limits.max_retries.map(|v| v.value), Some(20));
    assert_eq!(limits.max_requests, None, "zero is unset");
    assert!(limits.track_remaining);
    assert_eq!(breakers.per_host_thresholds[0].max_connections.map(|v| v.value), Some(5));
}

#[test]
fn health_checks() {
    let cluster = written(Cluster { health_check: Some(health_check()), ..cluster("kuard") });
    assert!(cluster.ignore_health_on_host_removal);
    let check = &cluster.health_checks[0];
    assert_eq!(check.interval.map(|d| d.seconds), Some(10));
    let Some(core::health_check::HealthChecker::HttpHealthCheck(http)) = &check.health_checker else {
        panic!("an HTTP check");
    };
    assert_eq!((&*http.path, &*http.host), ("/healthz", "contour-envoy-healthcheck"));
}

#[test]
fn http2_over_tls_with_verification() {
    let cluster = written(Cluster {
        protocol: Protocol::H2,
        validation: Some(validation("default/ca", &["a", "b"])),
        sni: Some("sni.example.com".to_owned()),
        idle_connection_timeout: Timeout::Disabled,
        ..cluster("kuard")
    });
    let Some(core::transport_socket::ConfigType::TypedConfig(any)) =
        cluster.transport_socket.expect("TLS").config_type
    else {
        panic!("a configuration");
    };
    let context = tls::UpstreamTlsContext::decode(any.value.as_slice()).expect("a context");
    assert_eq!(context.sni, "sni.example.com");
    let common = context.common_tls_context.expect("a common part");
    assert_eq!(common.alpn_protocols, ["h2"]);
    let Some(tls::common_tls_context::ValidationContextType::ValidationContext(validation)) =
        common.validation_context_type
    else {
        panic!("verification");
    };
    assert_eq!(validation.match_typed_subject_alt_names.len(), 2);
    let options =
        &cluster.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    let options = http::HttpProtocolOptions::decode(options.value.as_slice()).expect("options");
    assert_eq!(options.common_http_protocol_options.and_then(|o| o.idle_timeout).map(|d| d.seconds), Some(0));
}

#[test]
fn external_names_are_resolved_by_envoy() {
    let discovery = Discovery::Dns { hostname: "www.example.org".to_owned(), port: 443 };
    let cluster = written(Cluster { discovery, ..cluster("kuard") });
    assert_eq!(
        cluster.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()))
    );
    assert_eq!(cluster.load_assignment.expect("an endpoint").endpoints[0].lb_endpoints.len(), 1);
    // Others wait while a new name is resolved; see `a_name_that_is_not_resolved_does_not_hold_up_a_start`.
    let resolver = cluster.typed_dns_resolver_config.and_then(|resolver| resolver.typed_config).unwrap();
    let resolver = CaresDnsResolverConfig::decode(&*resolver.value).unwrap();
    assert_eq!(resolver.query_timeout_seconds.map(|v| v.value), Some(1));
    assert_eq!(resolver.query_tries.map(|v| v.value), Some(1));
    assert!(resolver.resolvers.is_empty(), "the system's");
}

fn endpoints(of: EndpointsOf, store: &Store) -> (String, Vec<(String, u32, Option<u32>)>) {
    let cluster = Cluster { discovery: Discovery::Slices(of), ..cluster("kuard") };
    let served = served(cluster, Settings::default(), store);
    let name = served.names(ResourceType::Endpoints)[0];
    let assignment: endpoint::ClusterLoadAssignment = served.read(ResourceType::Endpoints, name);
    let out = assignment.endpoints.into_iter().flat_map(|l| l.lb_endpoints).map(|e| {
        let Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(e)) = e.host_identifier else {
            panic!("inline")
        };
        let Some(core::address::Address::SocketAddress(socket)) = e.address.expect("an address").address
        else {
            panic!("a socket");
        };
        let Some(core::socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else {
            panic!("a port")
        };
        (socket.address, port, e.health_check_config.map(|h| h.port_value))
    });
    (name.to_owned(), out.collect())
}

fn of(port_name: Option<&str>, health: Option<(u16, &str)>) -> EndpointsOf {
    EndpointsOf {
        service: name("kuard"),
        port_name: port_name.map(Into::into),
        health_port: health.map(|(number, name)| HealthPort { number, name: Some(name.into()) }),
    }
}

#[test]
fn ready_endpoints_of_the_port_each_once_in_order() {
    let mut store = Store::default();
    let ports = [(Some("http"), 8080), (Some("admin"), 9000)];
    apply(&mut store, slice("kuard", "b", &[("10.0.0.2", true), ("10.0.0.3", false)], &ports));
    apply(&mut store, slice("kuard", "a", &[("10.0.0.9", true), ("10.0.0.2", true)], &ports));
    apply(&mut store, slice("kuard", "c", &[("fd00::1", true)], &ports));
    apply(&mut store, slice("other", "d", &[("10.0.0.7", true)], &ports));

    let plain = |ip: &str| (ip.to_owned(), 8080, None);
    let expected = vec![plain("10.0.0.2"), plain("10.0.0.9"), plain("fd00::1")];
    assert_eq!(
        endpoints(of(Some("http"), None), &store),
        ("default/kuard/http".to_owned(), expected.clone())
    );

    let checked: Vec<_> = expected.into_iter().map(|(ip, port, _)| (ip, port, Some(9000))).collect();
    let (name, checked_written) = endpoints(of(Some("http"), Some((81, "admin"))), &store);
    assert_eq!((&*name, checked_written), ("default/kuard/http/health/admin", checked));

    let (name, all) = endpoints(of(None, None), &store);
    assert_eq!((&*name, all.len()), ("default/kuard", 6), "an unnamed port takes all");
}

#[test]
fn no_endpoints_is_an_empty_assignment() {
    assert_eq!(endpoints(of(None, None), &Store::default()), ("default/kuard".to_owned(), Vec::new()));
}

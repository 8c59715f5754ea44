//! Clusters: one for each Service port seen with one set of policies.

use std::collections::HashMap;
use std::sync::Arc;

use contour_graph::model::{
    CircuitBreakers, Cluster, Discovery, HealthCheck, HttpHealthCheck, LoadBalancer, Protocol, Timeout,
    UpstreamValidation,
};
use contour_resource::Resource;
use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::v3::{CodecClientType, Int64Range, Percent};
use envoy_types::pb::google::protobuf::{Any, UInt64Value};
use pb::circuit_breakers::Thresholds;
use pb::cluster::{ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy};
use prost::Message;

use crate::proto::{
    address, ads, any, duration, inline_bytes, is_header_value, string_matcher, timeout, tls_socket, uint32,
};
use crate::route::is_path;
use crate::tls::parameters;
use crate::{ClusterSettings, DnsLookupFamily, names};

/// How long a name server may take to answer.
const DNS_PATIENCE_SECONDS: u64 = 1;

/// Longest SNI Envoy takes.
const LONGEST_SNI: usize = 255;

/// The resource of a cluster.
pub(crate) fn resource(name: &Arc<str>, cluster: &Cluster, settings: &ClusterSettings) -> Resource {
    let resource = Resource::whole(Arc::clone(name), translate(name, cluster, settings).encode_to_vec());
    match &cluster.discovery {
        Discovery::Slices(of) if cluster.health_check.is_some() => {
            resource.needing(names::assignment(of)).warming_slowly()
        }
        Discovery::Slices(of) => resource.needing(names::assignment(of)),
        Discovery::Dns { .. } => resource.warming_slowly(),
    }
}

fn translate(name: &str, cluster: &Cluster, settings: &ClusterSettings) -> pb::Cluster {
    let mut out = pb::Cluster {
        name: name.to_owned(),
        alt_stat_name: names::statistics(cluster),
        connect_timeout: Some(duration(settings.connect_timeout)),
        per_connection_buffer_limit_bytes: settings.buffer_limit_bytes.map(uint32),
        lb_policy: balancer(cluster.load_balancer).into(),
        // With panic routing half of the requests would go to endpoints known to be unhealthy.
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            ..Default::default()
        }),
        health_checks: cluster.health_check.iter().map(|c| health_check(c, cluster.protocol)).collect(),
        // An endpoint that was removed is drained at once, not only when it fails its checks.
        ignore_health_on_host_removal: cluster.health_check.is_some(),
        circuit_breakers: circuit_breakers(cluster.circuit_breakers, settings.circuit_breakers),
        typed_extension_protocol_options: protocol_options(cluster, settings),
        transport_socket: cluster.protocol.is_tls().then(|| tls_socket(&tls_context(cluster, settings))),
        ..Default::default()
    };
    discovery(&mut out, &cluster.discovery, settings.dns_lookup_family);
    out
}

fn discovery(out: &mut pb::Cluster, discovery: &Discovery, family: DnsLookupFamily) {
    let kind = match discovery {
        Discovery::Slices(of) => {
            out.eds_cluster_config = Some(EdsClusterConfig {
                eds_config: Some(ads()),
                service_name: names::assignment(of).to_string(),
            });
            DiscoveryType::Eds
        }
        Discovery::Dns { hostname, port } => {
            out.load_assignment = Some(dns_endpoint(&out.name, hostname, *port));
            out.dns_lookup_family = dns_family(family).into();
            out.typed_dns_resolver_config = Some(impatient_resolver(family));
            // Happy eyeballs over both families is only done for logical clusters.
            if family == DnsLookupFamily::All { DiscoveryType::LogicalDns } else { DiscoveryType::StrictDns }
        }
    };
    out.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
}

/// A resolver that says soon that it has no answer. Envoy finishes its start, and answers the next change of clusters, only when every new name
/// was resolved or was not; on its own it would try a name server that is silent for minutes. Not waiting at all would have routes answer 503
/// until the first answer.
fn impatient_resolver(family: DnsLookupFamily) -> core::TypedExtensionConfig {
    // One family after the other takes twice as long; and the second try of a server takes twice as long as the first.
    let tries = if family == DnsLookupFamily::Auto { 1 } else { 2 };
    let config = CaresDnsResolverConfig {
        query_timeout_seconds: Some(UInt64Value { value: DNS_PATIENCE_SECONDS }),
        query_tries: Some(uint32(tries)),
        ..Default::default()
    };
    core::TypedExtensionConfig {
        name: "envoy.network.dns_resolver.cares".to_owned(),
        typed_config: Some(any(&config)),
    }
}

fn dns_endpoint(cluster: &str, hostname: &str, port: u16) -> endpoint::ClusterLoadAssignment {
    let endpoint = endpoint::Endpoint { address: Some(address(hostname, port)), ..Default::default() };
    let endpoint = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..Default::default() }],
        ..Default::default()
    }
}

fn dns_family(family: DnsLookupFamily) -> pb::cluster::DnsLookupFamily {
    match family {
        DnsLookupFamily::Auto => pb::cluster::DnsLookupFamily::Auto,
        DnsLookupFamily::V4 => pb::cluster::DnsLookupFamily::V4Only,
        DnsLookupFamily::V6 => pb::cluster::DnsLookupFamily::V6Only,
        DnsLookupFamily::All => pb::cluster::DnsLookupFamily::All,
    }
}

fn balancer(strategy: LoadBalancer) -> LbPolicy {
    match strategy {
        LoadBalancer::RoundRobin => LbPolicy::RoundRobin,
        LoadBalancer::WeightedLeastRequest => LbPolicy::LeastRequest,
        LoadBalancer::Random => LbPolicy::Random,
        LoadBalancer::Cookie | LoadBalancer::RequestHash => LbPolicy::RingHash,
    }
}

fn health_check(check: &HealthCheck, protocol: Protocol) -> core::HealthCheck {
    use core::health_check::{HealthChecker, TcpHealthCheck};
    let checker = match &check.http {
        Some(http) => HealthChecker::HttpHealthCheck(http_health_check(http, protocol)),
        None => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
    };
    core::HealthCheck {
        interval: Some(duration(check.interval)),
        timeout: Some(duration(check.timeout)),
        unhealthy_threshold: Some(uint32(check.unhealthy_threshold)),
        healthy_threshold: Some(uint32(check.healthy_threshold)),
        health_checker: Some(checker),
        ..Default::default()
    }
}

fn http_health_check(http: &HttpHealthCheck, protocol: Protocol) -> core::health_check::HttpHealthCheck {
    let codec = match protocol {
        Protocol::H2 | Protocol::H2c => CodecClientType::Http2,
        Protocol::Plain | Protocol::Tls => CodecClientType::Http1,
    };
    let statuses =
        http.expected_statuses.iter().filter(|(start, end)| *start >= 100 && start < end && *end <= 600);
    core::health_check::HttpHealthCheck {
        // Envoy refuses the whole message for either of these; the graph has told the user.
        path: if is_path(&http.path) { http.path.clone() } else { "/".to_owned() },
        host: if is_header_value(&http.host) { http.host.clone() } else { String::new() },
        codec_client_type: codec.into(),
        expected_statuses: statuses
            .map(|&(start, end)| Int64Range { start: start.into(), end: end.into() })
            .collect(),
        ..Default::default()
    }
}

/// The Service's limits, each else the installation's, else Envoy's. Zero means unset at both levels.
fn circuit_breakers(service: CircuitBreakers, installation: CircuitBreakers) -> Option<pb::CircuitBreakers> {
    let pick = |limit: fn(CircuitBreakers) -> Option<u32>| {
        let set = |limits| limit(limits).filter(|&value| value > 0);
        set(service).or_else(|| set(installation)).map(uint32)
    };
    let limits = Thresholds {
        max_connections: pick(|l| l.max_connections),
        max_pending_requests: pick(|l| l.max_pending_requests),
        max_requests: pick(|l| l.max_requests),
        max_retries: pick(|l| l.max_retries),
        track_remaining: true,
        ..Default::default()
    };
    let per_host = pick(|l| l.per_host_max_connections);
    let per_host: Vec<_> = per_host
        .into_iter()
        .map(|limit| Thresholds { max_connections: Some(limit), track_remaining: true, ..Default::default() })
        .collect();
    let unset = Thresholds { track_remaining: true, ..Default::default() };
    (limits != unset || !per_host.is_empty())
        .then(|| pb::CircuitBreakers { thresholds: vec![limits], per_host_thresholds: per_host })
}

/// HTTP options of the upstream side; none where Envoy's defaults are meant. A map of one entry at most: its encoding has one order.
fn protocol_options(cluster: &Cluster, settings: &ClusterSettings) -> HashMap<String, Any> {
    use http::http_protocol_options::explicit_http_config::ProtocolConfig;
    use http::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions};
    let http2 = matches!(cluster.protocol, Protocol::H2 | Protocol::H2c);
    let common = (cluster.idle_connection_timeout != Timeout::Default
        || settings.max_requests_per_connection.is_some())
    .then(|| core::HttpProtocolOptions {
        idle_timeout: timeout(cluster.idle_connection_timeout),
        max_requests_per_connection: settings.max_requests_per_connection.map(uint32),
        ..Default::default()
    });
    if !http2 && common.is_none() {
        return HashMap::new();
    }
    let version = if http2 {
        ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions::default())
    } else {
        ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions::default())
    };
    let options = http::HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(version),
        })),
        ..Default::default()
    };
    HashMap::from([("envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(), any(&options))])
}

fn tls_context(cluster: &Cluster, settings: &ClusterSettings) -> tls::UpstreamTlsContext {
    use tls::common_tls_context::ValidationContextType;
    let alpn = if cluster.protocol == Protocol::H2 { vec!["h2".to_owned()] } else { Vec::new() };
    let sni = cluster.sni.as_deref().filter(|sni| sni.len() <= LONGEST_SNI);
    let validation = cluster.validation.as_ref().map(validation);
    tls::UpstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(parameters(
                settings.tls_minimum,
                settings.tls_maximum,
                &settings.cipher_suites,
                &settings.ecdh_curves,
            )),
            alpn_protocols: alpn,
            validation_context_type: validation.map(ValidationContextType::ValidationContext),
            ..Default::default()
        }),
        sni: sni.unwrap_or_default().to_owned(),
        ..Default::default()
    }
}

fn validation(validation: &UpstreamValidation) -> tls::CertificateValidationContext {
    let names = validation.subject_names.iter().map(|name| tls::SubjectAltNameMatcher {
        san_type: tls::subject_alt_name_matcher::SanType::Dns.into(),
        matcher: Some(string_matcher(MatchPattern::Exact(name.clone()), false)),
        ..Default::default()
    });
    tls::CertificateValidationContext {
        trusted_ca: Some(inline_bytes(&validation.ca.pem)),
        match_typed_subject_alt_names: names.collect(),
        ..Default::default()
    }
}

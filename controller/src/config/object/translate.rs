//! From the object's fields to flags and keys.

use std::fmt::Debug;

use contour_crds::contour_configuration::{
    CompressionAlgorithm, ConfiguredHeadersPolicy, ContourConfigurationSpec, EnvoyConfig,
    EnvoyListenerConfig, EnvoyTls, MetricsConfig, MetricsTls, NamespacedName, TimeoutParameters,
    TracingConfig,
};

use super::{ConfigError, Findings, Place};
use crate::cli::{AdminFlags, EnvoyFlags, ObjectFlags, ServeArgs, StatusFlags, XdsFlags};
use crate::config::file::{self, ConfigFile};

/// Numbers that fit their type in the object, and nothing else.
pub(super) fn numbers(spec: &ContourConfigurationSpec) -> Result<(), Vec<ConfigError>> {
    let envoy = spec.envoy.clone().unwrap_or_default();
    let cluster = envoy.cluster.clone().unwrap_or_default();
    let listener = envoy.listener.clone().unwrap_or_default();
    let circuits = cluster.circuit_breakers.unwrap_or_default();
    let ports = [
        ("spec.xdsServer.port", spec.xds_server.as_ref().map(|server| server.port)),
        ("spec.debug.port", spec.debug.as_ref().map(|debug| debug.port)),
        ("spec.health.port", spec.health.as_ref().map(|health| health.port)),
        ("spec.metrics.port", spec.metrics.as_ref().map(|metrics| metrics.port)),
        ("spec.envoy.http.port", envoy.http.as_ref().map(|http| http.port)),
        ("spec.envoy.https.port", envoy.https.as_ref().map(|https| https.port)),
        ("spec.envoy.health.port", envoy.health.as_ref().map(|health| health.port)),
        ("spec.envoy.metrics.port", envoy.metrics.as_ref().map(|metrics| metrics.port)),
    ];
    let limits = [
        ("spec.envoy.network.numTrustedHops", envoy.network.and_then(|network| network.num_trusted_hops)),
        ("spec.envoy.listener.maxRequestsPerConnection", listener.max_requests_per_connection),
        ("spec.envoy.listener.per-connection-buffer-limit-bytes", listener.per_connection_buffer_limit_bytes),
        ("spec.envoy.listener.maxRequestsPerIOCycle", listener.max_requests_per_io_cycle),
        ("spec.envoy.listener.httpMaxConcurrentStreams", listener.http_max_concurrent_streams),
        ("spec.envoy.listener.maxConnectionsPerListener", listener.max_connections_per_listener),
        ("spec.envoy.cluster.maxRequestsPerConnection", cluster.max_requests_per_connection),
        ("spec.envoy.cluster.per-connection-buffer-limit-bytes", cluster.per_connection_buffer_limit_bytes),
        ("spec.envoy.cluster.circuitBreakers.maxConnections", Some(circuits.max_connections)),
        ("spec.envoy.cluster.circuitBreakers.maxPendingRequests", Some(circuits.max_pending_requests)),
        ("spec.envoy.cluster.circuitBreakers.maxRequests", Some(circuits.max_requests)),
        ("spec.envoy.cluster.circuitBreakers.maxRetries", Some(circuits.max_retries)),
        ("spec.envoy.cluster.circuitBreakers.perHostMaxConnections", Some(circuits.per_host_max_connections)),
    ];
    let mut findings = Findings::default();
    for (field, port) in ports {
        let port = port.unwrap_or_default();
        findings.take(within(
            field,
            port,
            i64::from(u16::MAX),
            "is not a port",
            "use 1 to 65535; 0 is the default",
        ));
    }
    for (field, limit) in limits {
        let limit = i64::from(limit.unwrap_or_default());
        findings.take(within(field, limit, i64::MAX, "is below zero", "use a positive number, or delete it"));
    }
    findings.conclude(())
}

fn within(field: &str, number: i64, most: i64, problem: &str, way_out: &str) -> Result<(), ConfigError> {
    if (0..=most).contains(&number) {
        return Ok(());
    }
    Err(ConfigError::at(Place::Field(field.to_owned()), format!("{number} {problem}"), way_out))
}

/// Flags and file that mean the same. Numbers that are none count as unset.
pub(super) fn translate(args: &ServeArgs, spec: &ContourConfigurationSpec) -> (ServeArgs, ConfigFile) {
    let unset = ServeArgs::unset();
    let envoy = spec.envoy.clone().unwrap_or_default();
    let httpproxy = spec.httpproxy.clone().unwrap_or_default();
    let ingress = spec.ingress.clone().unwrap_or_default();
    let service = envoy.service.clone().unwrap_or_else(|| NamespacedName {
        namespace: String::from("projectcontour"),
        name: String::from("envoy"),
    });
    let file = config_file(spec, &envoy, &unset.envoy);
    let base = crate::cli::BaseFlags { config_path: None, contour_config_name: None, ..args.base.clone() };
    let args = ServeArgs {
        base,
        xds: XdsFlags {
            envoy_client_name: args.xds.envoy_client_name.clone(),
            ..xds(spec, unset.xds.xds_port)
        },
        kubernetes: args.kubernetes.clone(),
        objects: ObjectFlags {
            ingress_class_name: list(&ingress.class_names),
            root_namespaces: list(&httpproxy.root_namespaces),
            strict_host_ownership: args.objects.strict_host_ownership,
            share_httpproxy_hosts: args.objects.share_httpproxy_hosts,
            namespace_memory: args.objects.namespace_memory,
        },
        status: StatusFlags {
            envoy_service_name: Some(service.name),
            envoy_service_namespace: Some(service.namespace),
            ingress_status_address: ingress.status_address,
        },
        leader_election: args.leader_election.clone(),
        envoy: envoy_flags(&envoy, unset.envoy),
        admin: admin(spec, unset.admin),
    };
    (args, file)
}

fn list(items: &[String]) -> Option<String> {
    Some(items.join(",")).filter(|list| !list.is_empty())
}

/// The port, or the default where it is unset.
fn port(port: i64, unset: u16) -> u16 {
    u16::try_from(port).ok().filter(|port| *port > 0).unwrap_or(unset)
}

fn limit(limit: Option<i32>) -> Option<u32> {
    limit.and_then(|limit| u32::try_from(limit).ok())
}

fn xds(spec: &ContourConfigurationSpec, unset_port: u16) -> XdsFlags {
    let server = spec.xds_server.clone().unwrap_or_default();
    let tls = server.tls.unwrap_or_default();
    let file = |given: Option<String>, name: &str| Some(given.unwrap_or_else(|| format!("/certs/{name}")));
    XdsFlags {
        xds_address: server.address.unwrap_or_else(|| String::from("0.0.0.0")),
        xds_port: port(server.port, unset_port),
        contour_cafile: file(tls.ca_file, "ca.crt"),
        contour_cert_file: file(tls.cert_file, "tls.crt"),
        contour_key_file: file(tls.key_file, "tls.key"),
        envoy_client_name: None,
        insecure: tls.insecure,
    }
}

fn admin(spec: &ContourConfigurationSpec, unset: AdminFlags) -> AdminFlags {
    let metrics = spec.metrics.clone().unwrap_or_default();
    let health = spec.health.clone().unwrap_or_default();
    let debug = spec.debug.clone().unwrap_or_default();
    AdminFlags {
        http_address: metrics.address.unwrap_or(unset.http_address),
        http_port: port(metrics.port, unset.http_port),
        health_address: health.address.unwrap_or(unset.health_address),
        health_port: port(health.port, unset.health_port),
        debug_http_address: debug.address.unwrap_or(unset.debug_http_address),
        debug_http_port: port(debug.port, unset.debug_http_port),
    }
}

fn envoy_flags(envoy: &EnvoyConfig, unset: EnvoyFlags) -> EnvoyFlags {
    let plain = envoy.http.clone().unwrap_or_default();
    let secure = envoy.https.clone().unwrap_or_default();
    let health = envoy.health.clone().unwrap_or_default();
    EnvoyFlags {
        envoy_service_http_address: plain.address.unwrap_or(unset.envoy_service_http_address),
        envoy_service_http_port: port(plain.port, unset.envoy_service_http_port),
        envoy_service_https_address: secure.address.unwrap_or(unset.envoy_service_https_address),
        envoy_service_https_port: port(secure.port, unset.envoy_service_https_port),
        use_proxy_protocol: envoy.listener.as_ref().and_then(|listener| listener.use_proxy_protocol),
        stats_address: health.address.unwrap_or(unset.stats_address),
        stats_port: port(health.port, unset.stats_port),
        accesslog_format: None,
        envoy_http_access_log: plain.access_log.unwrap_or(unset.envoy_http_access_log),
        envoy_https_access_log: secure.access_log.unwrap_or(unset.envoy_https_access_log),
    }
}

/// What only a file can say.
fn config_file(spec: &ContourConfigurationSpec, envoy: &EnvoyConfig, unset: &EnvoyFlags) -> ConfigFile {
    let logging = envoy.logging.clone().unwrap_or_default();
    let listener = envoy.listener.clone().unwrap_or_default();
    let httpproxy = spec.httpproxy.clone().unwrap_or_default();
    ConfigFile {
        gateway: spec
            .gateway
            .as_ref()
            .map(|gateway| file::Gateway { gateway_ref: Some(named(&gateway.gateway_ref)) }),
        accesslog_format: logging.access_log_format,
        accesslog_format_string: logging.access_log_format_string,
        json_fields: Some(logging.access_log_json_fields),
        accesslog_level: logging.access_log_level,
        tls: Some(file::Tls {
            fallback_certificate: httpproxy.fallback_certificate.as_ref().map(named),
            envoy_client_certificate: envoy.client_certificate.as_ref().map(named),
            ..tls(listener.tls.clone())
        }),
        disable_permit_insecure: httpproxy.disable_permit_insecure,
        disable_allow_chunked_length: listener.disable_allow_chunked_length,
        disable_merge_slashes: listener.disable_merge_slashes,
        compression: listener.compression.map(|compression| file::Compression {
            algorithm: compression.algorithm.map(|algorithm| algorithm_name(algorithm).to_owned()),
        }),
        server_header_transformation: listener.server_header_transformation.clone(),
        enable_external_name_service: spec.enable_external_name_service,
        timeouts: Some(timeouts(envoy.timeouts.as_deref().cloned().unwrap_or_default())),
        policy: spec.policy.as_ref().map(|policy| file::Policy {
            request_headers: policy.request_headers.clone().map(headers),
            response_headers: policy.response_headers.clone().map(headers),
            apply_to_ingress: policy.apply_to_ingress,
        }),
        default_http_versions: Some(envoy.default_http_versions.clone()),
        cluster: envoy.cluster.as_deref().map(cluster),
        network: envoy.network.map(|network| file::Network {
            num_trusted_hops: limit(network.num_trusted_hops),
            admin_port: network.admin_port,
            strip_trailing_host_dot: network.strip_trailing_host_dot,
        }),
        listener: Some(listener_section(&listener)),
        rate_limit_service: spec.rate_limit_service.as_ref().map(|service| file::RateLimitService {
            extension_service: Some(path_of(&service.extension_service)),
            ..file::RateLimitService::default()
        }),
        global_ext_auth: spec.global_ext_auth.as_ref().map(|server| {
            let reference = server.extension_ref.clone();
            let [namespace, name] = [reference.namespace, reference.name].map(Option::unwrap_or_default);
            file::GlobalExtAuth {
                extension_service: Some(path_of(&NamespacedName { namespace, name })),
                ..file::GlobalExtAuth::default()
            }
        }),
        metrics: Some(metrics(spec.metrics.as_ref(), envoy.metrics.clone(), unset)),
        tracing: spec.tracing.as_deref().map(tracing),
        feature_flags: Some(spec.feature_flags.clone()),
        om_enforced_health_listener: envoy
            .om_enforced_health
            .clone()
            .map(|health| file::Endpoint { address: health.address, port: Some(health.port) }),
        ..ConfigFile::default()
    }
}

fn named(name: &NamespacedName) -> file::Reference {
    file::Reference { name: Some(name.name.clone()), namespace: Some(name.namespace.clone()) }
}

fn path_of(name: &NamespacedName) -> String {
    format!("{}/{}", name.namespace, name.name)
}

fn algorithm_name(algorithm: CompressionAlgorithm) -> &'static str {
    match algorithm {
        CompressionAlgorithm::Gzip => "gzip",
        CompressionAlgorithm::Brotli => "brotli",
        CompressionAlgorithm::Zstd => "zstd",
        CompressionAlgorithm::Disabled => "disabled",
    }
}

fn headers(policy: ConfiguredHeadersPolicy) -> file::HeadersPolicy {
    file::HeadersPolicy { set: Some(policy.set), remove: Some(policy.remove) }
}

fn tls(tls: Option<EnvoyTls>) -> file::Tls {
    let tls = tls.unwrap_or_default();
    file::Tls {
        minimum_protocol_version: tls.minimum_protocol_version,
        maximum_protocol_version: tls.maximum_protocol_version,
        cipher_suites: Some(tls.cipher_suites),
        ..file::Tls::default()
    }
}

/// In a file a missing idle timeout is Contour's 60 s; in the object it is Envoy's hour, which an empty text stands for.
fn timeouts(timeouts: TimeoutParameters) -> file::Timeouts {
    file::Timeouts {
        request_timeout: timeouts.request_timeout,
        connection_idle_timeout: Some(timeouts.connection_idle_timeout.unwrap_or_default()),
        stream_idle_timeout: timeouts.stream_idle_timeout,
        max_connection_duration: timeouts.max_connection_duration,
        delayed_close_timeout: timeouts.delayed_close_timeout,
        connection_shutdown_grace_period: timeouts.connection_shutdown_grace_period,
        connect_timeout: timeouts.connect_timeout,
    }
}

fn cluster(cluster: &contour_crds::contour_configuration::ClusterParameters) -> file::Cluster {
    let tls = cluster.upstream_tls.clone().unwrap_or_default();
    let circuits = cluster.circuit_breakers.unwrap_or_default();
    file::Cluster {
        dns_lookup_family: cluster.dns_lookup_family.clone(),
        max_requests_per_connection: limit(cluster.max_requests_per_connection),
        per_connection_buffer_limit_bytes: limit(cluster.per_connection_buffer_limit_bytes),
        circuit_breakers: Some(file::CircuitBreakers {
            max_connections: limit(Some(circuits.max_connections)),
            max_pending_requests: limit(Some(circuits.max_pending_requests)),
            max_requests: limit(Some(circuits.max_requests)),
            max_retries: limit(Some(circuits.max_retries)),
            per_host_max_connections: limit(Some(circuits.per_host_max_connections)),
        }),
        upstream_tls: Some(file::UpstreamTls {
            minimum_protocol_version: tls.minimum_protocol_version,
            maximum_protocol_version: tls.maximum_protocol_version,
            cipher_suites: Some(tls.cipher_suites),
            ecdh_curves: None,
        }),
    }
}

fn listener_section(listener: &EnvoyListenerConfig) -> file::Listener {
    file::Listener {
        connection_balancer: listener.connection_balancer.clone(),
        max_requests_per_connection: limit(listener.max_requests_per_connection),
        per_connection_buffer_limit_bytes: limit(listener.per_connection_buffer_limit_bytes),
        socket_options: listener.socket_options.map(|options| file::SocketOptions {
            tos: Some(options.tos.into()),
            traffic_class: Some(options.traffic_class.into()),
        }),
        max_requests_per_io_cycle: limit(listener.max_requests_per_io_cycle),
        http2_max_concurrent_streams: limit(listener.http_max_concurrent_streams),
        max_connections_per_listener: limit(listener.max_connections_per_listener),
        max_connections_to_accept_per_socket_event: None,
    }
}

/// Our metrics are where flags say; those of Envoy have an address of their own, even where the object is silent.
fn metrics(
    contour: Option<&MetricsConfig>,
    envoy: Option<MetricsConfig>,
    unset: &EnvoyFlags,
) -> file::Metrics {
    let tls = contour.and_then(|metrics| metrics.tls.clone());
    let envoy = envoy.unwrap_or_default();
    let on = file::MetricsServer {
        address: Some(envoy.address.unwrap_or_else(|| unset.stats_address.clone())),
        port: Some(port(envoy.port, unset.stats_port).into()),
        ..metrics_tls(envoy.tls)
    };
    file::Metrics { contour: Some(metrics_tls(tls)), envoy: Some(on) }
}

fn metrics_tls(tls: Option<MetricsTls>) -> file::MetricsServer {
    let tls = tls.unwrap_or_default();
    file::MetricsServer {
        server_certificate_path: tls.cert_file,
        server_key_path: tls.key_file,
        ca_certificate_path: tls.ca_file,
        ..file::MetricsServer::default()
    }
}

fn tracing(tracing: &TracingConfig) -> file::Tracing {
    let tag = |tag: &contour_crds::contour_configuration::CustomTag| file::CustomTag {
        tag_name: Some(tag.tag_name.clone()),
        literal: tag.literal.clone(),
        request_header_name: tag.request_header_name.clone(),
    };
    file::Tracing {
        extension_service: Some(path_of(&tracing.extension_service)),
        custom_tags: Some(tracing.custom_tags.iter().map(tag).collect()),
        ..file::Tracing::default()
    }
}

/// What the flags say about that the object decides, as text to compare.
pub(super) fn said(args: &ServeArgs) -> Vec<(&'static str, String)> {
    let ServeArgs { xds, objects, status, envoy, admin, .. } = args;
    let text = |value: &dyn Debug| format!("{value:?}");
    vec![
        ("--xds-address", text(&xds.xds_address)),
        ("--xds-port", text(&xds.xds_port)),
        ("--contour-cafile", text(&xds.contour_cafile)),
        ("--contour-cert-file", text(&xds.contour_cert_file)),
        ("--contour-key-file", text(&xds.contour_key_file)),
        ("--insecure", text(&xds.insecure)),
        ("--ingress-class-name", text(&objects.ingress_class_name)),
        ("--root-namespaces", text(&objects.root_namespaces)),
        ("--envoy-service-name", text(&status.envoy_service_name)),
        ("--envoy-service-namespace", text(&status.envoy_service_namespace)),
        ("--ingress-status-address", text(&status.ingress_status_address)),
        ("--envoy-service-http-address", text(&envoy.envoy_service_http_address)),
        ("--envoy-service-http-port", text(&envoy.envoy_service_http_port)),
        ("--envoy-service-https-address", text(&envoy.envoy_service_https_address)),
        ("--envoy-service-https-port", text(&envoy.envoy_service_https_port)),
        ("--use-proxy-protocol", text(&envoy.use_proxy_protocol)),
        ("--stats-address", text(&envoy.stats_address)),
        ("--stats-port", text(&envoy.stats_port)),
        ("--accesslog-format", text(&envoy.accesslog_format)),
        ("--envoy-http-access-log", text(&envoy.envoy_http_access_log)),
        ("--envoy-https-access-log", text(&envoy.envoy_https_access_log)),
        ("--http-address", text(&admin.http_address)),
        ("--http-port", text(&admin.http_port)),
        ("--health-address", text(&admin.health_address)),
        ("--health-port", text(&admin.health_port)),
        ("--debug-http-address", text(&admin.debug_http_address)),
        ("--debug-http-port", text(&admin.debug_http_port)),
    ]
}

//! The settings of the translation to Envoy, from flags and file.

use std::collections::BTreeMap;

use contour_envoy::{
    AccessLogLevel, ClusterSettings, Compression, DnsLookupFamily, HttpVersions, ListenerSettings,
    ServerHeader, Settings, Socket, Timeouts,
};
use contour_graph::model::CircuitBreakers;
use serde_json::Value;

use super::access_log::{check_field, check_format};
use super::checks::{
    ALL_TLS_VERSIONS, at_least_one, choice, ciphers, curves, duration, given, ip_address, octet, port,
    timeout, tls_versions,
};
use super::error::{ConfigError, Findings, Place};
use super::file::{self, ConfigFile};
use crate::cli::{EnvoyFlags, ServeArgs};

const ACCESS_LOG_LEVELS: [(&str, AccessLogLevel); 4] = [
    ("info", AccessLogLevel::Info),
    ("error", AccessLogLevel::Error),
    ("critical", AccessLogLevel::Critical),
    ("disabled", AccessLogLevel::Disabled),
];

const COMPRESSIONS: [(&str, Compression); 4] = [
    ("gzip", Compression::Gzip),
    ("brotli", Compression::Brotli),
    ("zstd", Compression::Zstd),
    ("disabled", Compression::Disabled),
];

const SERVER_HEADERS: [(&str, ServerHeader); 3] = [
    ("overwrite", ServerHeader::Overwrite),
    ("append_if_absent", ServerHeader::AppendIfAbsent),
    ("pass_through", ServerHeader::PassThrough),
];

const DNS_FAMILIES: [(&str, DnsLookupFamily); 4] = [
    ("auto", DnsLookupFamily::Auto),
    ("v4", DnsLookupFamily::V4),
    ("v6", DnsLookupFamily::V6),
    ("all", DnsLookupFamily::All),
];

/// Everything that `contour-envoy` is told.
pub(super) fn settings(args: &ServeArgs, file: &ConfigFile) -> Result<Settings, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let flags = &args.envoy;
    let unset = Settings::default();
    let http = socket(
        "--envoy-service-http-address",
        &flags.envoy_service_http_address,
        flags.envoy_service_http_port,
    );
    let https = socket(
        "--envoy-service-https-address",
        &flags.envoy_service_https_address,
        flags.envoy_service_https_port,
    );
    let stats = socket("--stats-address", &flags.stats_address, flags.stats_port);
    findings.take(access_log(file));
    let admin_port = file.network.unwrap_or_default().admin_port;
    let admin_port = findings.take(port("network.admin-port", admin_port)).unwrap_or(unset.admin_port);
    findings.take(apart(flags, admin_port));
    let level = choice("accesslog-level", file.accesslog_level.as_ref(), &ACCESS_LOG_LEVELS);
    let settings = Settings {
        http: findings.take_or(http, unset.http),
        https: findings.take_or(https, unset.https),
        stats: findings.take_or(stats, unset.stats),
        admin_port,
        // Clients come through a Service or a load balancer, whose ports are not known here.
        public_ports: None,
        http_access_log: findings.take(log_file("--envoy-http-access-log", &flags.envoy_http_access_log)),
        https_access_log: findings.take(log_file("--envoy-https-access-log", &flags.envoy_https_access_log)),
        access_log_level: findings.take(level),
        access_log_format: given(file.accesslog_format_string.as_ref()).map(str::to_owned),
        listener: findings.take(listener(flags, file)),
        timeouts: findings.take(timeouts(&file.timeouts.clone().unwrap_or_default())),
        cluster: findings.take(cluster(file)),
        runtime: findings.take(runtime(file)),
        // Beside what its routes and clusters may take.
        endpoint_memory: (args.objects.namespace_memory << 20) / 4,
    };
    findings.conclude(settings)
}

fn socket(flag: &'static str, address: &str, port: u16) -> Result<Socket, ConfigError> {
    Ok(Socket::new(&ip_address(Place::Flag(flag), address)?, port))
}

/// Two listeners cannot share a socket; Envoy would say so only after the start.
fn apart(flags: &EnvoyFlags, admin_port: u16) -> Result<(), ConfigError> {
    let sockets = [
        (
            "--envoy-service-http-port",
            flags.envoy_service_http_address.as_str(),
            flags.envoy_service_http_port,
        ),
        ("--envoy-service-https-port", &flags.envoy_service_https_address, flags.envoy_service_https_port),
        ("--stats-port", &flags.stats_address, flags.stats_port),
        ("network.admin-port", "127.0.0.1", admin_port),
    ];
    for (index, (flag, address, port)) in sockets.iter().enumerate() {
        let taken = |&&(_, a, p): &&(&str, &str, u16)| (a, p) == (*address, *port);
        if let Some((other, ..)) = sockets[index + 1..].iter().find(taken) {
            let problem = format!("{other} also asks for {address}:{port}");
            return Err(ConfigError::flag(flag, problem, "give each of Envoy's listeners its own port"));
        }
    }
    Ok(())
}

fn log_file(flag: &'static str, path: &str) -> Result<String, ConfigError> {
    if path.is_empty() {
        let way_out = "name a file in Envoy's container; accesslog-level: disabled turns the log off";
        return Err(ConfigError::flag(flag, "there is no path", way_out));
    }
    Ok(path.to_owned())
}

/// Syntax of the access log keys. Fields of the JSON format are checked, though only a JSON log would use them.
fn access_log(file: &ConfigFile) -> Result<(), Vec<ConfigError>> {
    let mut findings = Findings::default();
    findings.take(choice("accesslog-format", file.accesslog_format.as_ref(), &[("envoy", ()), ("json", ())]));
    let format = given(file.accesslog_format_string.as_ref()).unwrap_or_default();
    findings.take(check_format(format).map_err(|problem| {
        let way_out = "use Envoy's access log operators, and end it in \\n within double quotes";
        ConfigError::key("accesslog-format-string", problem, way_out)
    }));
    for (index, field) in file.json_fields.iter().flatten().enumerate() {
        findings.take(check_field(field).map_err(|problem| {
            let way_out = "use an operator in lower case such as duration, or name=%OPERATOR%";
            ConfigError::key(format!("json-fields[{index}]"), problem, way_out)
        }));
    }
    findings.conclude(())
}

fn listener(flags: &EnvoyFlags, file: &ConfigFile) -> Result<ListenerSettings, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let section = file.listener.clone().unwrap_or_default();
    let network = file.network.unwrap_or_default();
    let tls = file.tls.clone().unwrap_or_default();
    let sockets = section.socket_options.unwrap_or_default();
    let compression = file.compression.clone().unwrap_or_default();
    let balancer = section.connection_balancer.as_ref();
    let server_header = file.server_header_transformation.as_ref();
    let mut limit = |key: &str, value| findings.take(at_least_one(&format!("listener.{key}"), value));
    let settings = ListenerSettings {
        proxy_protocol: flags.use_proxy_protocol.unwrap_or_default(),
        max_requests_per_connection: limit(
            "max-requests-per-connection",
            section.max_requests_per_connection,
        ),
        buffer_limit_bytes: limit(
            "per-connection-buffer-limit-bytes",
            section.per_connection_buffer_limit_bytes,
        ),
        http2_max_concurrent_streams: limit(
            "http2-max-concurrent-streams",
            section.http2_max_concurrent_streams,
        ),
        max_accepts_per_socket_event: limit(
            "max-connections-to-accept-per-socket-event",
            section.max_connections_to_accept_per_socket_event,
        ),
        compression: findings.take(choice(
            "compression.algorithm",
            compression.algorithm.as_ref(),
            &COMPRESSIONS,
        )),
        http_versions: findings.take(http_versions(file.default_http_versions.as_ref())),
        disable_allow_chunked_length: file.disable_allow_chunked_length.unwrap_or_default(),
        disable_merge_slashes: file.disable_merge_slashes.unwrap_or_default(),
        server_header: findings.take(choice("serverHeaderTransformation", server_header, &SERVER_HEADERS)),
        exact_connection_balance: findings.take(choice(
            "listener.connection-balancer",
            balancer,
            &[("exact", true)],
        )),
        tos: findings.take(octet("listener.socket-options.tos", sockets.tos)),
        traffic_class: findings.take(octet("listener.socket-options.traffic-class", sockets.traffic_class)),
        trusted_hops: network.num_trusted_hops.unwrap_or_default(),
        strip_trailing_host_dot: network.strip_trailing_host_dot.unwrap_or_default(),
        cipher_suites: findings.take(ciphers("tls.cipher-suites", tls.cipher_suites.as_ref())),
        ecdh_curves: findings.take(curves("tls.ecdh-curves", tls.ecdh_curves.as_ref())),
    };
    findings.conclude(settings)
}

/// Which versions are offered: both where the list is absent or empty. Case does not matter.
fn http_versions(versions: Option<&Vec<String>>) -> Result<HttpVersions, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let (mut one, mut two) = (false, false);
    for (index, version) in versions.into_iter().flatten().enumerate() {
        match version.to_ascii_lowercase().as_str() {
            "http/1.1" => one = true,
            "http/2" => two = true,
            _ => findings.take(Err(ConfigError::key(
                format!("default-http-versions[{index}]"),
                format!("\"{version}\" is not a version that is served"),
                "use \"HTTP/1.1\" or \"HTTP/2\"",
            ))),
        }
    }
    findings.conclude(match (one, two) {
        (true, false) => HttpVersions::Http1,
        (false, true) => HttpVersions::Http2,
        _ => HttpVersions::Both,
    })
}

fn timeouts(section: &file::Timeouts) -> Result<Timeouts, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let mut read =
        |key: &str, text: Option<&String>| findings.take(timeout(&format!("timeouts.{key}"), text));
    // Absent, it has a default of ours; written as "", it is left to Envoy.
    let idle = match &section.connection_idle_timeout {
        None => Timeouts::default().connection_idle,
        text => read("connection-idle-timeout", text.as_ref()),
    };
    let timeouts = Timeouts {
        request: read("request-timeout", section.request_timeout.as_ref()),
        connection_idle: idle,
        stream_idle: read("stream-idle-timeout", section.stream_idle_timeout.as_ref()),
        max_connection_duration: read("max-connection-duration", section.max_connection_duration.as_ref()),
        delayed_close: read("delayed-close-timeout", section.delayed_close_timeout.as_ref()),
        shutdown_grace: read(
            "connection-shutdown-grace-period",
            section.connection_shutdown_grace_period.as_ref(),
        ),
    };
    findings.conclude(timeouts)
}

fn cluster(file: &ConfigFile) -> Result<ClusterSettings, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let section = file.cluster.clone().unwrap_or_default();
    let tls = section.upstream_tls.unwrap_or_default();
    let versions = tls_versions(
        "cluster.upstream-tls",
        tls.minimum_protocol_version.as_ref(),
        tls.maximum_protocol_version.as_ref(),
    );
    let (tls_minimum, tls_maximum) = findings.take_or(versions, ALL_TLS_VERSIONS);
    let connect_timeout = file.timeouts.as_ref().and_then(|timeouts| timeouts.connect_timeout.as_ref());
    let connect_timeout = findings.take(duration("timeouts.connect-timeout", connect_timeout));
    let mut limit = |key: &str, value| findings.take(at_least_one(&format!("cluster.{key}"), value));
    let settings = ClusterSettings {
        max_requests_per_connection: limit(
            "max-requests-per-connection",
            section.max_requests_per_connection,
        ),
        buffer_limit_bytes: limit(
            "per-connection-buffer-limit-bytes",
            section.per_connection_buffer_limit_bytes,
        ),
        connect_timeout: connect_timeout.unwrap_or(ClusterSettings::default().connect_timeout),
        dns_lookup_family: findings.take(choice(
            "cluster.dns-lookup-family",
            section.dns_lookup_family.as_ref(),
            &DNS_FAMILIES,
        )),
        circuit_breakers: circuit_breakers(section.circuit_breakers.unwrap_or_default()),
        tls_minimum,
        tls_maximum,
        cipher_suites: findings
            .take(ciphers("cluster.upstream-tls.cipher-suites", tls.cipher_suites.as_ref())),
        ecdh_curves: findings.take(curves("cluster.upstream-tls.ecdh-curves", tls.ecdh_curves.as_ref())),
    };
    findings.conclude(settings)
}

/// Zero is unset, as for the annotations of Services.
fn circuit_breakers(section: file::CircuitBreakers) -> CircuitBreakers {
    let set = |limit: Option<u32>| limit.filter(|limit| *limit > 0);
    CircuitBreakers {
        max_connections: set(section.max_connections),
        max_pending_requests: set(section.max_pending_requests),
        max_requests: set(section.max_requests),
        max_retries: set(section.max_retries),
        per_host_max_connections: set(section.per_host_max_connections),
    }
}

/// `runtime-settings`, and over them the keys that other settings become.
fn runtime(file: &ConfigFile) -> Result<BTreeMap<String, Value>, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let mut runtime = file.runtime_settings.clone().unwrap_or_default();
    for (key, value) in &runtime {
        if value.is_array() || value.is_object() || value.is_null() {
            let way_out = "write a number, a boolean or a string";
            let error =
                ConfigError::key(format!("runtime-settings.{key}"), "its value is not a scalar", way_out);
            findings.take::<()>(Err(error));
        }
    }
    let section = file.listener.clone().unwrap_or_default();
    let cycle = at_least_one("listener.max-requests-per-io-cycle", section.max_requests_per_io_cycle);
    if let Some(requests) = findings.take(cycle) {
        runtime.insert(String::from("http.max_requests_per_io_cycle"), requests.into());
    }
    let connections =
        at_least_one("listener.max-connections-per-listener", section.max_connections_per_listener);
    if let Some(connections) = findings.take(connections) {
        for listener in [contour_envoy::INGRESS_HTTP, contour_envoy::INGRESS_HTTPS] {
            let key = format!("envoy.resource_limits.listener.{listener}.connection_limit");
            runtime.insert(key, connections.into());
        }
    }
    findings.conclude(runtime)
}

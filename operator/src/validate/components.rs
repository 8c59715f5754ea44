//! `spec.envoy.componentLogLevels`: with a component that it does not have Envoy does not start.

use contour_crds::ContourDeployment;

use crate::problem::Problem;

/// The components of Envoy 1.40. A test asks Envoy itself.
pub const COMPONENTS: [&str; 68] = [
    "admin",
    "alternate_protocols_cache",
    "assert",
    "aws",
    "backtrace",
    "basic_auth",
    "cache_filter",
    "client",
    "compression",
    "config",
    "conn_handler",
    "connection",
    "credential_injector",
    "decompression",
    "dns",
    "dubbo",
    "dynamic_modules",
    "envoy_bug",
    "ext_authz",
    "ext_proc",
    "file",
    "filter",
    "forward_proxy",
    "geolocation",
    "golang",
    "grpc",
    "happy_eyeballs",
    "hc",
    "health_checker",
    "http",
    "http2",
    "hystrix",
    "init",
    "io",
    "ip_tagging",
    "jwt",
    "kafka",
    "key_value_store",
    "local_rate_limit",
    "lua",
    "main",
    "matcher",
    "mcp",
    "misc",
    "mongo",
    "multi_connection",
    "notification",
    "oauth2",
    "pool",
    "quic",
    "quic_stream",
    "rate_limit_quota",
    "rbac",
    "redis",
    "rocketmq",
    "router",
    "runtime",
    "secret",
    "stats",
    "stats_sinks",
    "tap",
    "testing",
    "thrift",
    "tracing",
    "udp",
    "upstream",
    "wasm",
    "websocket",
];

/// What is no component.
pub(super) fn components(deployment: &ContourDeployment) -> Vec<Problem> {
    let given = deployment.spec.envoy.component_log_levels.keys();
    let unknown = given.filter(|name| COMPONENTS.binary_search(&name.as_str()).is_err());
    unknown
        .map(|name| {
            let message = format!(
                "\"{name}\" is no component of Envoy, such as connection, http, router or upstream; Envoy would not start"
            );
            Problem::invalid("spec.envoy.componentLogLevels", message)
        })
        .collect()
}

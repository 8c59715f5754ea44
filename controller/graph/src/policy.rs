//! The smaller policies of a route: timeouts, retries, load balancing, health checks, redirects.

use std::collections::BTreeSet;
use std::time::Duration;

use contour_crds::httpproxy::{
    HttpHealthCheckPolicy, LoadBalancerPolicy, RedirectScheme, RequestHashPolicy, RequestRedirectPolicy,
    RetryOn, RetryPolicy, TcpHealthCheckPolicy, TimeoutPolicy,
};

use crate::duration::parse_timeout;
use crate::headers::{is_host, is_token};
use crate::limits::{
    LONGEST_HEADER_NAME, LONGEST_HOST, LONGEST_PATH, LONGEST_QUERY_NAME, check_length, excerpt,
};
use crate::model::{
    HashInput, HashSource, HealthCheck, HttpHealthCheck, LoadBalancer, Redirect, RedirectPath, Retry, Timeout,
};

/// The three timeouts of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteTimeouts {
    pub(crate) response: Timeout,
    pub(crate) idle: Timeout,
    pub(crate) idle_connection: Timeout,
}

/// Reads `timeoutPolicy`. The error names the field.
pub(crate) fn timeouts(policy: Option<&TimeoutPolicy>) -> Result<RouteTimeouts, String> {
    let Some(policy) = policy else { return Ok(RouteTimeouts::default()) };
    let field = |name: &str, value: &Option<String>| {
        parse_timeout(value.as_deref()).map_err(|e| format!("{name}: {e}"))
    };
    Ok(RouteTimeouts {
        response: field("response", &policy.response)?,
        idle: field("idle", &policy.idle)?,
        idle_connection: field("idleConnection", &policy.idle_connection)?,
    })
}

/// Reads `retryPolicy`: no conditions means `5xx`, a count of −1 means none, 0 means one.
pub(crate) fn retry(policy: &RetryPolicy) -> Result<Retry, String> {
    let on: Vec<&str> = policy.retry_on.iter().map(|on| retry_condition(*on)).collect();
    let codes: BTreeSet<u32> =
        policy.retriable_status_codes.iter().filter_map(|code| u32::try_from(*code).ok()).collect();
    Ok(Retry {
        on: if on.is_empty() { "5xx".to_owned() } else { on.join(",") },
        count: retries(policy.count),
        per_try_timeout: parse_timeout(policy.per_try_timeout.as_deref())
            .map_err(|e| format!("perTryTimeout: {e}"))?,
        status_codes: codes.into_iter().collect(),
    })
}

/// The number of retries that a count asks for.
pub(crate) fn retries(count: i64) -> u32 {
    match count {
        -1 => 0,
        count if count <= 0 => 1,
        count => u32::try_from(count).unwrap_or(u32::MAX),
    }
}

fn retry_condition(on: RetryOn) -> &'static str {
    match on {
        RetryOn::ServerError => "5xx",
        RetryOn::GatewayError => "gateway-error",
        RetryOn::Reset => "reset",
        RetryOn::ResetBeforeRequest => "reset-before-request",
        RetryOn::ConnectFailure => "connect-failure",
        RetryOn::EnvoyRatelimited => "envoy-ratelimited",
        RetryOn::RetriableClientError => "retriable-4xx",
        RetryOn::RefusedStream => "refused-stream",
        RetryOn::RetriableStatusCodes => "retriable-status-codes",
        RetryOn::RetriableHeaders => "retriable-headers",
        RetryOn::Http3PostConnectFailure => "http3-post-connect-failure",
        RetryOn::Cancelled => "cancelled",
        RetryOn::DeadlineExceeded => "deadline-exceeded",
        RetryOn::Internal => "internal",
        RetryOn::ResourceExhausted => "resource-exhausted",
        RetryOn::Unavailable => "unavailable",
    }
}

/// Reads `loadBalancerPolicy` of routes: the strategy, its hash inputs, and what was ignored.
pub(crate) fn load_balancer(
    policy: Option<&LoadBalancerPolicy>,
) -> (LoadBalancer, Vec<HashInput>, Vec<String>) {
    let Some(policy) = policy else { return (LoadBalancer::RoundRobin, Vec::new(), Vec::new()) };
    match policy.strategy.as_deref().unwrap_or_default() {
        "WeightedLeastRequest" => (LoadBalancer::WeightedLeastRequest, Vec::new(), Vec::new()),
        "Random" => (LoadBalancer::Random, Vec::new(), Vec::new()),
        "Cookie" => {
            let cookie = HashInput { terminal: false, source: HashSource::SessionCookie };
            (LoadBalancer::Cookie, vec![cookie], Vec::new())
        }
        "RequestHash" => request_hash(&policy.request_hash_policies),
        "" | "RoundRobin" => (LoadBalancer::RoundRobin, Vec::new(), Vec::new()),
        unknown => (LoadBalancer::RoundRobin, Vec::new(), vec![unknown_strategy(unknown)]),
    }
}

fn request_hash(policies: &[RequestHashPolicy]) -> (LoadBalancer, Vec<HashInput>, Vec<String>) {
    let (mut inputs, mut ignored, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for policy in policies {
        match hash_source(policy) {
            Ok(source) if !seen.insert(source.clone()) => {
                let what = match source {
                    HashSource::Header(name) => format!("header \"{name}\""),
                    HashSource::QueryParameter(name) => format!("query parameter \"{name}\""),
                    HashSource::SourceIp | HashSource::SessionCookie => "the source IP".to_owned(),
                };
                ignored.push(format!("ignoring duplicate request hash policy for {what}"));
            }
            Ok(source) => inputs.push(HashInput { terminal: policy.terminal, source }),
            Err(reason) => ignored.push(format!("ignoring invalid request hash policy: {reason}")),
        }
    }
    if inputs.is_empty() {
        ignored.push(
            "ignoring invalid request hash policies, setting load balancer strategy to default RoundRobin"
                .to_owned(),
        );
        return (LoadBalancer::RoundRobin, Vec::new(), ignored);
    }
    (LoadBalancer::RequestHash, inputs, ignored)
}

fn hash_source(policy: &RequestHashPolicy) -> Result<HashSource, String> {
    let header = policy.header_hash_options.as_ref();
    let query = policy.query_parameter_hash_options.as_ref();
    match (header, query, policy.hash_source_ip) {
        (Some(header), None, false) if header.header_name.len() > LONGEST_HEADER_NAME => Err(format!(
            "the name of the header has {} bytes; {LONGEST_HEADER_NAME} are allowed",
            header.header_name.len()
        )),
        (None, Some(query), false) if query.parameter_name.len() > LONGEST_QUERY_NAME => Err(format!(
            "the name of the query parameter has {} bytes; {LONGEST_QUERY_NAME} are allowed",
            query.parameter_name.len()
        )),
        (Some(header), None, false) if is_token(&header.header_name) => {
            Ok(HashSource::Header(header.header_name.to_ascii_lowercase()))
        }
        (Some(header), None, false) => Err(format!("\"{}\" is not a header name", header.header_name)),
        (None, Some(query), false) if query.parameter_name.is_empty() => {
            Err("the query parameter has no name".to_owned())
        }
        (None, Some(query), false) => {
            // Unlike names of headers, these have case.
            Ok(HashSource::QueryParameter(query.parameter_name.clone()))
        }
        (None, None, true) => Ok(HashSource::SourceIp),
        (None, None, false) => Err("it names neither header, query parameter nor source IP".to_owned()),
        _ => Err("it names more than one of header, query parameter and source IP".to_owned()),
    }
}

/// Reads a strategy where hashing is not possible (TCP): the strategy, and whether the written one was ignored.
pub(crate) fn plain_load_balancer(policy: Option<&LoadBalancerPolicy>) -> (LoadBalancer, Option<String>) {
    match policy.and_then(|p| p.strategy.as_deref()).unwrap_or_default() {
        "WeightedLeastRequest" => (LoadBalancer::WeightedLeastRequest, None),
        "Random" => (LoadBalancer::Random, None),
        hashing @ ("Cookie" | "RequestHash") => (
            LoadBalancer::RoundRobin,
            Some(format!(
                "ignoring field loadBalancerPolicy; {hashing} load balancer policy is not supported for TCPProxies"
            )),
        ),
        "" | "RoundRobin" => (LoadBalancer::RoundRobin, None),
        unknown => (LoadBalancer::RoundRobin, Some(unknown_strategy(unknown))),
    }
}

fn unknown_strategy(written: &str) -> String {
    let shown: String = written.chars().take(40).collect();
    format!(
        "loadBalancerPolicy.strategy {shown:?} is not known, setting load balancer strategy to default RoundRobin"
    )
}

/// Reads an HTTP `healthCheckPolicy`.
pub(crate) fn http_health_check(policy: &HttpHealthCheckPolicy) -> Result<HealthCheck, String> {
    check_length("healthCheckPolicy.path", &policy.path, LONGEST_PATH)?;
    check_length("healthCheckPolicy.host", policy.host.as_deref().unwrap_or_default(), LONGEST_HOST)?;
    if !policy.path.starts_with('/') || policy.path.chars().any(char::is_control) {
        return Err(format!("healthCheckPolicy.path {:?} must start with \"/\"", policy.path));
    }
    if policy.host.iter().flat_map(|host| host.chars()).any(char::is_control) {
        return Err(format!("healthCheckPolicy.host {:?} has control characters", policy.host));
    }
    let mut expected = Vec::new();
    for range in &policy.expected_statuses {
        let start = u16::try_from(range.start).ok().filter(|s| (100..=599).contains(s));
        let end = u16::try_from(range.end).ok().filter(|e| (101..=600).contains(e));
        match (start, end) {
            (Some(start), Some(end)) if start < end => expected.push((start, end)),
            _ => {
                return Err(format!(
                    "healthCheckPolicy.expectedStatuses: start {} must be from 100 to 599, end {} from 101 to 600, and start below end",
                    range.start, range.end
                ));
            }
        }
    }
    Ok(HealthCheck {
        http: Some(HttpHealthCheck {
            path: policy.path.clone(),
            host: policy.host.clone().unwrap_or_else(|| "contour-envoy-healthcheck".to_owned()),
            expected_statuses: expected,
        }),
        interval: seconds(policy.interval_seconds, 10),
        timeout: seconds(policy.timeout_seconds, 2),
        unhealthy_threshold: threshold(policy.unhealthy_threshold_count, 3),
        healthy_threshold: threshold(policy.healthy_threshold_count, 2),
    })
}

/// Reads a TCP `healthCheckPolicy`: connecting is enough.
pub(crate) fn tcp_health_check(policy: &TcpHealthCheckPolicy) -> HealthCheck {
    HealthCheck {
        http: None,
        interval: seconds(policy.interval_seconds, 10),
        timeout: seconds(policy.timeout_seconds, 2),
        unhealthy_threshold: threshold(i64::from(policy.unhealthy_threshold_count), 3),
        healthy_threshold: threshold(i64::from(policy.healthy_threshold_count), 2),
    }
}

/// Zero and negative mean the default; a year is the longest Envoy needs.
fn seconds(value: i64, default: u64) -> Duration {
    let seconds = u64::try_from(value).unwrap_or_default().min(31_536_000);
    Duration::from_secs(if seconds == 0 { default } else { seconds })
}

fn threshold(value: i64, default: u32) -> u32 {
    u32::try_from(value).ok().filter(|v| *v > 0).unwrap_or(default)
}

/// Reads `requestRedirectPolicy`.
pub(crate) fn redirect(policy: &RequestRedirectPolicy) -> Result<Redirect, String> {
    let path = match (&policy.path, &policy.prefix) {
        (Some(_), Some(_)) => return Err("cannot specify both redirect path and redirect prefix".to_owned()),
        (Some(path), None) => Some(RedirectPath::Full(path.clone())),
        (None, Some(prefix)) => Some(RedirectPath::Prefix(prefix.clone())),
        (None, None) => None,
    };
    let status = if policy.status_code == 0 { 302 } else { policy.status_code };
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Err(format!("statusCode {status} is not one of 301, 302, 303, 307 and 308"));
    }
    let texts = [&policy.hostname, &policy.path, &policy.prefix];
    if texts.into_iter().flatten().any(|t| t.chars().any(char::is_control)) {
        return Err("hostname, path and prefix cannot have control characters".to_owned());
    }
    if let Some(host) = policy.hostname.as_deref().filter(|host| !is_host(host)) {
        return Err(format!("hostname \"{}\" is not a host", excerpt(host)));
    }
    for (what, text) in [("path", &policy.path), ("prefix", &policy.prefix)] {
        check_length(what, text.as_deref().unwrap_or_default(), LONGEST_PATH)?;
    }
    Ok(Redirect {
        scheme: policy.scheme.map(|s| scheme(s).to_owned()),
        hostname: policy.hostname.clone(),
        port: policy.port.filter(|p| *p > 0),
        status,
        path,
    })
}

fn scheme(scheme: RedirectScheme) -> &'static str {
    match scheme {
        RedirectScheme::Http => "http",
        RedirectScheme::Https => "https",
    }
}

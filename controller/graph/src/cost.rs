//! What a route costs: an estimate of the memory it takes in every Envoy, from which the budgets are charged.
//!
//! The figures were measured on Envoy 1.40 as resident memory (docs/limits.md says how). What the controller keeps is less, but for hosts.

use contour_crds::httpproxy::{HeadersPolicy, MatchCondition, Route as RouteSpec};
use contour_objects::TlsPair;

use crate::model::{
    Action, Cluster, Discovery, Forward, HeaderPolicy, HeaderValue, HostRewrite, PathMatch, PathRewrite,
    QueryValue, Redirect, RedirectPath, Route, RouteMatch, WeightedCluster,
};

/// A route without texts.
pub(crate) const ROUTE: u64 = 2_600;
/// A byte of text: the message is held beside what is made of it.
const TEXT: u64 = 5;
/// A condition on a header or a query parameter, without its texts.
const CONDITION: u64 = 550;
/// A regular expression, and each byte of it.
const REGEX: (u64, u64) = (2_300, 50);
/// A header to set, without its texts, and one to remove.
const HEADER: (u64, u64) = (500, 150);
/// A cluster among several, without its texts.
const SHARE: u64 = 850;
/// An input of a hash.
const HASH: u64 = 450;
/// A retry policy, and each status code in it.
const RETRY: (u64, u64) = (1_000, 20);
/// A cluster with its statistics, without its texts.
const CLUSTER: u64 = 51_600;

/// What an endpoint takes in every Envoy, for each cluster that has it.
pub const ENDPOINT: u64 = 1_100;
/// A host beside its routes. It takes 3,400 in Envoy and as much in the controller; the rest is room for its reports and notes.
pub(crate) const HOST: u64 = 6_000;
/// A byte of certificates and keys in PEM, and an element of a certificate: each use is parsed by itself.
const CERTIFICATES: (u64, u64) = (7, 110);

/// What TLS for a host costs beside its certificate: a filter chain and its statistics.
pub(crate) const TLS: u64 = 100_000;

/// What a route costs, without its clusters.
pub fn cost(route: &Route) -> u64 {
    let action = match &route.action {
        Action::Forward(forward) => forwarding(forward),
        Action::UpgradeToHttps => 0,
        Action::Redirect(to) => redirect(to),
        Action::Respond { body, .. } => text(body),
    };
    matches(&route.matches) + action
}

/// What a route costs that has these conditions and does nothing.
pub(crate) fn matches(matches: &RouteMatch) -> u64 {
    let path = match &matches.path {
        PathMatch::Regex(path) => regex(path),
        PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Segments(path) => text(path),
    };
    let headers = matches.headers.iter().map(|header| {
        let value = match &header.value {
            HeaderValue::Regex(value) => regex(value),
            HeaderValue::Exact(value) | HeaderValue::Contains(value) => text(value),
            HeaderValue::Present => 0,
        };
        CONDITION + text(&header.name) + value
    });
    let query = matches.query.iter().map(|query| {
        let value = match &query.value {
            QueryValue::Regex(value) => regex(value),
            QueryValue::Exact(value)
            | QueryValue::Prefix(value)
            | QueryValue::Suffix(value)
            | QueryValue::Contains(value) => text(value),
            QueryValue::Present => 0,
        };
        CONDITION + text(&query.name) + value
    });
    ROUTE + path + headers.sum::<u64>() + query.sum::<u64>()
}

/// What conditions add to each route below them, and to the work of building it, whether or not that succeeds.
pub(crate) fn conditions(conditions: &[MatchCondition]) -> u64 {
    conditions
        .iter()
        .map(|condition| {
            let paths = [&condition.prefix, &condition.exact, &condition.regex].into_iter().flatten();
            let header = condition.header.as_deref().map_or(0, |h| {
                let values = [&h.contains, &h.not_contains, &h.exact, &h.not_exact, &h.regex];
                CONDITION + text(&h.name) + values.into_iter().flatten().map(|v| text(v)).sum::<u64>()
            });
            let query = condition.query_parameter.as_deref().map_or(0, |q| {
                let values = [&q.exact, &q.prefix, &q.suffix, &q.regex, &q.contains];
                CONDITION + text(&q.name) + values.into_iter().flatten().map(|v| text(v)).sum::<u64>()
            });
            paths.map(|path| text(path)).sum::<u64>() + header + query
        })
        .sum()
}

/// The work of reading a route, whether or not that succeeds, beside its conditions.
pub(crate) fn reading(spec: &RouteSpec) -> u64 {
    let headers = |policy: &Option<Box<HeadersPolicy>>| {
        policy.as_deref().map_or(0, |policy| {
            let set: u64 =
                policy.set.iter().map(|header| HEADER.0 + text(&header.name) + text(&header.value)).sum();
            set + policy.remove.iter().map(|name| HEADER.1 + text(name)).sum::<u64>()
        })
    };
    let services = spec.services.iter().map(|service| {
        SHARE + headers(&service.request_headers_policy) + headers(&service.response_headers_policy)
    });
    let rewrites = spec.path_rewrite_policy.as_deref().map_or(0, |policy| policy.replace_prefix.len());
    let hashes = spec.load_balancer_policy.as_deref().map_or(0, |policy| policy.request_hash_policies.len());
    let codes = spec.retry_policy.as_deref().map_or(0, |policy| policy.retriable_status_codes.len());
    let policies = headers(&spec.request_headers_policy) + headers(&spec.response_headers_policy);
    services.sum::<u64>() + policies + HASH * count(rewrites + hashes) + RETRY.1 * count(codes)
}

/// What a cluster costs, once for each host that leads to it.
pub(crate) fn cluster(cluster: &Cluster) -> u64 {
    let name = match &cluster.discovery {
        Discovery::Dns { hostname, .. } => text(hostname),
        Discovery::Slices(_) => 0,
    };
    let validation = cluster.validation.as_ref().map_or(0, |validation| {
        let names: u64 = validation.subject_names.iter().map(|name| HEADER.0 + text(name)).sum();
        certificates(validation.ca.pem.len(), validation.ca.elements) + names
    });
    let check = cluster.health_check.as_ref().and_then(|check| check.http.as_ref());
    let check = check.map_or(0, |http| {
        text(&http.path) + text(&http.host) + RETRY.1 * count(http.expected_statuses.len())
    });
    CLUSTER + name + validation + check + cluster.sni.as_deref().map_or(0, text)
}

/// What a certificate with its key costs, once for each host that shows it.
pub(crate) fn pair(pair: &TlsPair) -> u64 {
    certificates(pair.certificate.len() + pair.key.len(), pair.elements)
}

fn certificates(length: usize, elements: usize) -> u64 {
    CERTIFICATES.0 * count(length) + CERTIFICATES.1 * count(elements)
}

fn forwarding(forward: &Forward) -> u64 {
    let clusters = match forward.clusters.as_slice() {
        [only] => shares(std::slice::from_ref(only)).saturating_sub(SHARE),
        several => shares(several),
    };
    let retry = forward
        .retry
        .as_ref()
        .map_or(0, |retry| RETRY.0 + text(&retry.on) + RETRY.1 * count(retry.status_codes.len()));
    let rewrite = forward.rewrite.as_ref().map_or(0, |PathRewrite::Prefix(prefix)| text(prefix));
    let policies = policy(&forward.request_headers) + policy(&forward.response_headers);
    clusters + retry + rewrite + policies + HASH * count(forward.hash.len())
}

/// What weighted clusters cost, beside the clusters themselves.
pub(crate) fn shares(clusters: &[WeightedCluster]) -> u64 {
    clusters.iter().map(|one| SHARE + policy(&one.request_headers) + policy(&one.response_headers)).sum()
}

fn policy(policy: &HeaderPolicy) -> u64 {
    let set: u64 = policy.set.iter().map(|(name, value)| HEADER.0 + text(name) + text(value)).sum();
    let removed: u64 = policy.remove.iter().map(|name| HEADER.1 + text(name)).sum();
    let host = policy.host.as_ref().map_or(0, |host| match host {
        HostRewrite::Literal(host) | HostRewrite::FromHeader(host) => text(host),
    });
    set + removed + host
}

fn redirect(redirect: &Redirect) -> u64 {
    let path = redirect.path.as_ref().map_or(0, |path| match path {
        RedirectPath::Full(path) | RedirectPath::Prefix(path) => text(path),
    });
    path + redirect.hostname.as_deref().map_or(0, text) + redirect.scheme.as_deref().map_or(0, text)
}

fn regex(expression: &str) -> u64 {
    REGEX.0 + REGEX.1 * count(expression.len())
}

/// What a text costs that is copied into Envoy's configuration.
pub(crate) fn text(text: &str) -> u64 {
    TEXT * count(text.len())
}

fn count(number: usize) -> u64 {
    number as u64
}

//! Routes: a match and what happens to requests that match.

use std::collections::BTreeMap;
use std::sync::Arc;

use contour_graph::model::{
    Action, Cluster, Forward, HashInput, HashSource, Origin, PathRewrite, Redirect, RedirectPath, Retry,
    Route, WeightedCluster,
};
use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::google::protobuf::Duration;
use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use pb::route_action::{ClusterSpecifier, HashPolicy, HostRewriteSpecifier, UpgradeConfig, hash_policy};
use pb::weighted_cluster::{ClusterWeight, cluster_weight};
use prost::Message;

use crate::proto::{Metadata, RouteMaps, Struct, inline_text, is_header_value, timeout, uint32};
use crate::settings::PublicPorts;
use crate::{header, matching, names};

/// The clusters routes lead to, by name.
pub(crate) type Clusters = BTreeMap<Arc<str>, Arc<Cluster>>;

/// Encodes a route of `host` as `envoy.config.route.v3.Route`, with the object it comes from if that is to be told, and adds the
/// clusters it leads to.
pub(crate) fn encode(route: &Route, host: &str, tell_origin: bool, clusters: &mut Clusters) -> Vec<u8> {
    let mut out =
        pb::Route { r#match: Some(matching::route_match(&route.matches, host)), ..Default::default() };
    match &route.action {
        Action::Forward(forward) => {
            out.action = Some(pb::route::Action::Route(self::forward(forward, clusters)));
            out.request_headers_to_add = header::to_add(&forward.request_headers);
            out.request_headers_to_remove = header::to_remove(&forward.request_headers);
            out.response_headers_to_add = header::to_add(&forward.response_headers);
            out.response_headers_to_remove = header::to_remove(&forward.response_headers);
        }
        Action::UpgradeToHttps => out.action = Some(pb::route::Action::Redirect(upgrade())),
        Action::Redirect(redirect) => {
            out.action = Some(pb::route::Action::Redirect(self::redirect(redirect)));
        }
        Action::Respond { status, body } => {
            out.action = Some(pb::route::Action::DirectResponse(respond(*status, body)));
        }
    }
    let mut bytes = out.encode_to_vec();
    // Per-route settings of HTTP filters (CORS, rate limits, authorization) belong into `typed_per_filter_config`.
    let maps = RouteMaps {
        metadata: tell_origin.then(|| metadata(&route.origin)),
        typed_per_filter_config: BTreeMap::new(),
    };
    maps.encode(&mut bytes).expect("a Vec grows as needed");
    bytes
}

/// Lets access logs tell which object a route comes from: `%METADATA(ROUTE:envoy.access_loggers.file:io.projectcontour.name)%`.
fn metadata(origin: &Origin) -> Metadata {
    let fields = [
        ("io.projectcontour.kind", origin.kind),
        ("io.projectcontour.namespace", &*origin.object.namespace),
        ("io.projectcontour.name", &*origin.object.name),
    ];
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let fields = Struct { fields: fields.map(|(key, value)| (key.to_owned(), value.into())).collect() };
    Metadata { filter_metadata: [("envoy.access_loggers.file".to_owned(), fields)].into() }
}

fn upgrade() -> pb::RedirectAction {
    pb::RedirectAction {
        scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
        ..Default::default()
    }
}

/// What comes before a redirect to HTTPS whose own answer would lead to the wrong port, since Envoy keeps the one that the client wrote. It
/// drops 80, and a client that writes none uses it.
pub(crate) fn upgrade_of_port(route: &Route, host: &str, ports: PublicPorts) -> Option<Vec<u8>> {
    if route.action != Action::UpgradeToHttps || (ports.http, ports.https) == (80, 443) {
        return None;
    }
    let redirect = pb::RedirectAction { port_redirect: ports.https.into(), ..upgrade() };
    let mut matches = matching::route_match(&route.matches, host);
    if ports.http != 80 {
        matches.headers.push(matching::port(ports.http));
    }
    let route = pb::Route {
        r#match: Some(matches),
        action: Some(pb::route::Action::Redirect(redirect)),
        ..Default::default()
    };
    Some(route.encode_to_vec())
}

/// An answer from Envoy itself.
pub(crate) fn respond(status: u16, body: &str) -> pb::DirectResponseAction {
    pb::DirectResponseAction {
        status: u32::from(status).clamp(200, 599),
        body: (!body.is_empty()).then(|| inline_text(body)),
        ..Default::default()
    }
}

fn redirect(redirect: &Redirect) -> pb::RedirectAction {
    let path = match &redirect.path {
        Some(RedirectPath::Full(path)) if is_path(path) => {
            Some(PathRewriteSpecifier::PathRedirect(path.clone()))
        }
        Some(RedirectPath::Prefix(path)) if is_path(path) => {
            Some(PathRewriteSpecifier::PrefixRewrite(path.clone()))
        }
        _ => None,
    };
    let code = match redirect.status {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    let hostname = redirect.hostname.as_deref().filter(|host| is_header_value(host));
    let scheme = redirect.scheme.as_ref().filter(|scheme| !scheme.is_empty());
    pb::RedirectAction {
        host_redirect: hostname.unwrap_or_default().to_owned(),
        port_redirect: redirect.port.unwrap_or_default().into(),
        response_code: code.into(),
        scheme_rewrite_specifier: scheme.map(|s| SchemeRewriteSpecifier::SchemeRedirect(s.clone())),
        path_rewrite_specifier: path,
        ..Default::default()
    }
}

/// Whether Envoy takes this text as a new path or prefix.
pub(crate) fn is_path(text: &str) -> bool {
    !text.is_empty() && is_header_value(text)
}

fn forward(forward: &Forward, clusters: &mut Clusters) -> pb::RouteAction {
    let rewrite = match &forward.rewrite {
        Some(PathRewrite::Prefix(prefix)) if is_path(prefix) => prefix.as_str(),
        _ => "",
    };
    let upgrades = forward
        .websockets
        .then(|| UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() });
    pb::RouteAction {
        cluster_specifier: Some(destination(&forward.clusters, clusters)),
        prefix_rewrite: rewrite.to_owned(),
        host_rewrite_specifier: host_rewrite(forward),
        timeout: timeout(forward.response_timeout),
        idle_timeout: timeout(forward.idle_timeout),
        retry_policy: forward.retry.as_ref().filter(|r| !r.on.is_empty()).map(retry),
        hash_policy: forward.hash.iter().filter_map(hash).collect(),
        upgrade_configs: upgrades.into_iter().collect(),
        ..Default::default()
    }
}

fn host_rewrite(forward: &Forward) -> Option<HostRewriteSpecifier> {
    let policy = &forward.request_headers;
    let literal = header::host_literal(policy);
    literal.map(|host| HostRewriteSpecifier::HostRewriteLiteral(host.to_owned())).or_else(|| {
        header::host_from_header(policy).map(|name| HostRewriteSpecifier::HostRewriteHeader(name.to_owned()))
    })
}

fn retry(retry: &Retry) -> pb::RetryPolicy {
    pb::RetryPolicy {
        retry_on: retry.on.clone(),
        num_retries: Some(uint32(retry.count)),
        per_try_timeout: timeout(retry.per_try_timeout),
        retriable_status_codes: retry.status_codes.clone(),
        ..Default::default()
    }
}

/// An input of consistent hashing; `None` for a name Envoy refuses.
fn hash(input: &HashInput) -> Option<HashPolicy> {
    use hash_policy::PolicySpecifier;
    let usable = |name: &String| !name.is_empty() && is_header_value(name);
    let specifier = match &input.source {
        HashSource::SessionCookie => PolicySpecifier::Cookie(hash_policy::Cookie {
            name: "X-Contour-Session-Affinity".to_owned(),
            // Zero makes Envoy hand out a session cookie.
            ttl: Some(Duration::default()),
            path: "/".to_owned(),
            ..Default::default()
        }),
        HashSource::Header(name) if usable(name) => {
            PolicySpecifier::Header(hash_policy::Header { header_name: name.clone(), ..Default::default() })
        }
        HashSource::QueryParameter(name) if usable(name) => {
            PolicySpecifier::QueryParameter(hash_policy::QueryParameter { name: name.clone() })
        }
        HashSource::Header(_) | HashSource::QueryParameter(_) => return None,
        HashSource::SourceIp => {
            PolicySpecifier::ConnectionProperties(hash_policy::ConnectionProperties { source_ip: true })
        }
    };
    Some(HashPolicy { terminal: input.terminal, policy_specifier: Some(specifier) })
}

/// A cluster by name where that says everything, else weighted clusters in order of name and weight.
fn destination(services: &[WeightedCluster], clusters: &mut Clusters) -> ClusterSpecifier {
    if let [only] = services
        && header::is_empty(&only.request_headers)
        && header::is_empty(&only.response_headers)
    {
        return ClusterSpecifier::Cluster(reference(&only.cluster, clusters).to_string());
    }
    let weights = names_and_weights(services, clusters);
    let mut weighted: Vec<ClusterWeight> = services
        .iter()
        .zip(weights)
        .map(|(service, (name, weight))| ClusterWeight {
            name: name.to_string(),
            weight: Some(uint32(weight)),
            request_headers_to_add: header::to_add(&service.request_headers),
            request_headers_to_remove: header::to_remove(&service.request_headers),
            response_headers_to_add: header::to_add(&service.response_headers),
            response_headers_to_remove: header::to_remove(&service.response_headers),
            host_rewrite_specifier: header::host_literal(&service.request_headers)
                .map(|host| cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host.to_owned())),
            ..Default::default()
        })
        .collect();
    let key = |c: &ClusterWeight| (c.name.clone(), c.weight.map_or(0, |w| w.value));
    weighted.sort_by_cached_key(key);
    ClusterSpecifier::WeightedClusters(pb::WeightedCluster { clusters: weighted, ..Default::default() })
}

/// The name of a cluster, which is now known to be needed.
fn reference(cluster: &Arc<Cluster>, clusters: &mut Clusters) -> Arc<str> {
    let name = names::cluster(cluster);
    clusters.entry(Arc::clone(&name)).or_insert_with(|| Arc::clone(cluster));
    name
}

/// Names and shares, in the order given. All weights zero means equal shares; Envoy refuses a sum beyond 32 bits, so such weights are scaled.
pub(crate) fn names_and_weights(
    services: &[WeightedCluster],
    clusters: &mut Clusters,
) -> Vec<(Arc<str>, u32)> {
    let total: u64 = services.iter().map(|s| u64::from(s.weight)).sum();
    let limit = u64::from(u32::MAX) - services.len() as u64;
    let share = |weight: u32| match u64::from(weight) {
        _ if total == 0 => 1,
        0 => 0,
        weight if total > limit => (u128::from(weight) * u128::from(limit) / u128::from(total)).max(1),
        weight => weight.into(),
    };
    let share = |weight| u32::try_from(share(weight)).expect("a share is at most its weight or the limit");
    services.iter().map(|s| (reference(&s.cluster, clusters), share(s.weight))).collect()
}

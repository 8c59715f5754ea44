//! One route of an HTTPProxy.

use std::collections::BTreeSet;

use contour_crds::httpproxy::{MatchCondition, PathRewritePolicy, Route as RouteSpec};
use contour_objects::Proxy;

use crate::build::{Build, Reported};
use crate::headers::Place;
use crate::limits::{LONGEST_BODY, LONGEST_PATH, check_length, excerpt};
use crate::model::{
    Action, Forward, HeaderPolicy, HostRewrite, Origin, PathMatch, PathRewrite, Route, RouteMatch, Timeout,
    WeightedCluster,
};
use crate::service::ClusterPolicy;
use crate::{conditions, headers, policy, service, unsupported};

/// A route and whether it may be served without TLS.
#[derive(Clone, Debug)]
pub(crate) struct BuiltRoute {
    pub(crate) route: Route,
    pub(crate) permit_insecure: bool,
}

/// The status Envoy answers with where a route has no cluster, as Contour does.
const NO_CLUSTER: u16 = 503;

/// Builds a route below a chain of include conditions (root first). On error none of this HTTPProxy's own routes may serve.
pub(crate) fn build(
    b: &mut Build<'_>,
    proxy: &Proxy,
    chain: &[&MatchCondition],
    spec: &RouteSpec,
) -> Result<BuiltRoute, Reported> {
    check_action_count(b, proxy, spec)?;
    let matches = route_match(b, proxy, chain, &spec.conditions)?;
    let action = match unsupported::route(b, &proxy.name, spec) {
        Ok(()) => action(b, proxy, spec, &matches)?,
        // Refused here, lest a less specific route serve these requests without the protection.
        Err(Reported) => refuse(NO_CLUSTER),
    };
    Ok(BuiltRoute {
        route: Route { matches, action, origin: origin(proxy) },
        permit_insecure: spec.permit_insecure && !b.settings.disable_permit_insecure,
    })
}

/// The origin of everything an HTTPProxy makes.
pub(crate) fn origin(proxy: &Proxy) -> Origin {
    Origin { kind: "HTTPProxy", object: proxy.name.clone() }
}

/// An action that only answers with a status.
pub(crate) fn refuse(status: u16) -> Action {
    Action::Respond { status, body: String::new() }
}

fn check_action_count(b: &mut Build<'_>, proxy: &Proxy, spec: &RouteSpec) -> Result<(), Reported> {
    let actions = [
        !spec.services.is_empty(),
        spec.request_redirect_policy.is_some(),
        spec.direct_response_policy.is_some(),
    ];
    if actions.into_iter().filter(|set| *set).count() == 1 {
        return Ok(());
    }
    let message =
        "must set exactly one of route.services or route.requestRedirectPolicy or route.directResponsePolicy";
    Err(b.error(&proxy.name, "RouteError", "RouteActionCountNotValid", message))
}

fn route_match(
    b: &mut Build<'_>,
    proxy: &Proxy,
    chain: &[&MatchCondition],
    own: &[MatchCondition],
) -> Result<RouteMatch, Reported> {
    conditions::check_paths(own, false).map_err(|why| {
        b.error(&proxy.name, "RouteError", "PathMatchConditionsNotValid", format!("route: {why}"))
    })?;
    let all = || chain.iter().copied().chain(own);
    conditions::check_headers(all())
        .map_err(|why| b.error(&proxy.name, "RouteError", "HeaderMatchConditionsNotValid", why))?;
    for message in conditions::ignored_header_fields(own) {
        b.warn(&proxy.name, "SpecError", "IgnoredField", message);
    }
    conditions::check_query(all())
        .map_err(|why| b.error(&proxy.name, "RouteError", "QueryParameterMatchConditionsNotValid", why))?;
    let merged = conditions::merge(all());
    conditions::check_merged(&merged.path).map_err(|why| {
        b.error(&proxy.name, "RouteError", "PathMatchConditionsNotValid", format!("route: {why}"))
    })?;
    Ok(merged)
}

fn action(
    b: &mut Build<'_>,
    proxy: &Proxy,
    spec: &RouteSpec,
    matches: &RouteMatch,
) -> Result<Action, Reported> {
    // Policies are checked even where the action has no use for them, as by Contour.
    let (mut forward, idle_connection) = policies(b, proxy, spec, matches)?;
    let policy = cluster_policy(b, proxy, spec, idle_connection, &mut forward)?;
    if let Some(redirect) = spec.request_redirect_policy.as_deref() {
        let redirect = policy::redirect(redirect).map_err(|why| {
            let message = format!("route.requestRedirectPolicy is invalid: {why}");
            b.error(&proxy.name, "RouteError", "RequestRedirectPolicy", message)
        })?;
        return Ok(Action::Redirect(redirect));
    }
    if let Some(response) = spec.direct_response_policy.as_deref() {
        let status = response.status_code;
        if !(200..=599).contains(&status) {
            let message = format!("route.directResponsePolicy.statusCode {status} must be from 200 to 599");
            return Err(b.error(&proxy.name, "RouteError", "RouteActionCountNotValid", message));
        }
        let body = response.body.as_deref().unwrap_or_default();
        check_length("route.directResponsePolicy.body", body, LONGEST_BODY)
            .map_err(|why| b.error(&proxy.name, "RouteError", "DirectResponsePolicyNotValid", why))?;
        return Ok(Action::Respond { status, body: body.to_owned() });
    }
    forward.clusters = clusters(b, proxy, spec, &policy, &forward.request_headers)?;
    if forward.clusters.is_empty() {
        return Ok(refuse(NO_CLUSTER));
    }
    Ok(Action::Forward(Box::new(forward)))
}

/// Everything of a forwarding action but its clusters, and the one timeout that is theirs: that of idle connections.
fn policies(
    b: &mut Build<'_>,
    proxy: &Proxy,
    spec: &RouteSpec,
    matches: &RouteMatch,
) -> Result<(Forward, Timeout), Reported> {
    let namespace = &proxy.name.namespace;
    let request_headers =
        headers::policy(spec.request_headers_policy.as_deref(), Place::RouteRequest { namespace }).map_err(
            |why| {
                let message = format!("{why} on request headers");
                b.error(&proxy.name, "RouteError", "RequestHeadersPolicyInvalid", message)
            },
        )?;
    let response_headers =
        headers::policy(spec.response_headers_policy.as_deref(), Place::RouteResponse { namespace })
            .map_err(|why| {
                let message = format!("{why} on response headers");
                b.error(&proxy.name, "RouteError", "ResponseHeaderPolicyInvalid", message)
            })?;
    let timeouts = policy::timeouts(spec.timeout_policy.as_deref()).map_err(|why| {
        let message = format!("route.timeoutPolicy failed to parse: {why}");
        b.error(&proxy.name, "RouteError", "TimeoutPolicyNotValid", message)
    })?;
    let retry = spec.retry_policy.as_deref().map(policy::retry).transpose().map_err(|why| {
        let message = format!("route.retryPolicy failed to parse: {why}");
        b.error(&proxy.name, "RouteError", "TimeoutPolicyNotValid", message)
    })?;
    let forward = Forward {
        clusters: Vec::new(),
        websockets: spec.enable_websockets,
        response_timeout: timeouts.response,
        idle_timeout: timeouts.idle,
        retry,
        rewrite: rewrite(b, proxy, spec.path_rewrite_policy.as_deref(), matches)?,
        hash: Vec::new(),
        request_headers,
        response_headers,
    };
    Ok((forward, timeouts.idle_connection))
}

fn rewrite(
    b: &mut Build<'_>,
    proxy: &Proxy,
    policy: Option<&PathRewritePolicy>,
    matches: &RouteMatch,
) -> Result<Option<PathRewrite>, Reported> {
    let replacements = policy.map(|p| p.replace_prefix.as_slice()).unwrap_or_default();
    if replacements.is_empty() {
        return Ok(None);
    }
    let error = |b: &mut Build<'_>, reason, message: &str| {
        b.error(&proxy.name, "PrefixReplaceError", reason, message)
    };
    let PathMatch::Prefix(prefix) = &matches.path else {
        return Err(error(
            b,
            "MustHavePrefix",
            "cannot specify prefix replacements without a prefix condition",
        ));
    };
    let mut seen = BTreeSet::new();
    for one in replacements {
        if !seen.insert(&one.prefix) {
            return Err(match &one.prefix {
                Some(prefix) => error(
                    b,
                    "DuplicateReplacement",
                    &format!("conflicting replacements for prefix \"{}\"", excerpt(prefix)),
                ),
                None => error(b, "AmbiguousReplacement", "more than one replacement without a prefix"),
            });
        }
        if let Err(why) = check_length("a replacement", &one.replacement, LONGEST_PATH) {
            return Err(error(b, "AmbiguousReplacement", &why));
        }
        if one.replacement.chars().any(char::is_control) {
            return Err(error(b, "AmbiguousReplacement", "a replacement has control characters"));
        }
    }
    let exact = replacements.iter().find(|r| r.prefix.as_ref() == Some(prefix));
    let chosen = exact.or_else(|| replacements.iter().find(|r| r.prefix.is_none()));
    if chosen.is_none() {
        let shown: String = prefix.chars().take(200).collect();
        let message = format!(
            "pathRewritePolicy.replacePrefix has no replacement for prefix \"{shown}\": the path stays as it is"
        );
        b.warn(&proxy.name, "SpecError", "IgnoredField", message);
    }
    Ok(chosen.map(|r| PathRewrite::Prefix(r.replacement.clone())))
}

/// Reads what all clusters of the route share; hash inputs go to the route itself.
fn cluster_policy(
    b: &mut Build<'_>,
    proxy: &Proxy,
    spec: &RouteSpec,
    idle_connection_timeout: Timeout,
    forward: &mut Forward,
) -> Result<ClusterPolicy, Reported> {
    let (load_balancer, hash, ignored) = policy::load_balancer(spec.load_balancer_policy.as_deref());
    for message in ignored {
        b.warn(&proxy.name, "SpecError", "IgnoredField", message);
    }
    forward.hash = hash;
    let health_check = spec
        .health_check_policy
        .as_deref()
        .map(policy::http_health_check)
        .transpose()
        .map_err(|why| b.error(&proxy.name, "RouteError", "HealthCheckPolicyInvalid", why))?;
    Ok(ClusterPolicy { load_balancer, health_check, idle_connection_timeout })
}

fn clusters(
    b: &mut Build<'_>,
    proxy: &Proxy,
    spec: &RouteSpec,
    policy: &ClusterPolicy,
    route_headers: &HeaderPolicy,
) -> Result<Vec<WeightedCluster>, Reported> {
    let mut clusters = Vec::new();
    for reference in &spec.services {
        unsupported::service(b, &proxy.name, reference);
        if reference.mirror {
            continue;
        }
        let (namespace, service, port) = (&*proxy.name.namespace, reference.name.as_str(), reference.port);
        let place = Place::ServiceRequest { namespace, service, port };
        let mut request_headers = headers::policy(reference.request_headers_policy.as_deref(), place)
            .map_err(|why| {
                let message = format!("{why} on request headers");
                b.error(&proxy.name, "ServiceError", "RequestHeadersPolicyInvalid", message)
            })?;
        if let Some(HostRewrite::FromHeader(header)) = &request_headers.host {
            let message = format!(
                "services \"{service}\": rewriting Host from header \"{header}\" works on routes only and has no effect here"
            );
            b.warn(&proxy.name, "SpecError", "IgnoredField", message);
            request_headers.host = None;
        }
        let place = Place::ServiceResponse { namespace, service, port };
        let response_headers =
            headers::policy(reference.response_headers_policy.as_deref(), place).map_err(|why| {
                let message = format!("{why} on response headers");
                b.error(&proxy.name, "ServiceError", "ResponseHeadersPolicyInvalid", message)
            })?;
        let host = request_headers.host.as_ref().or(route_headers.host.as_ref());
        let unresolved = ("ServiceError", "Spec.Routes");
        let Some(cluster) = service::cluster(b, proxy, reference, policy, host, unresolved)? else {
            continue;
        };
        let weight = weight(b, proxy, reference.weight)?;
        clusters.push(WeightedCluster {
            cluster: b.share(cluster),
            weight,
            request_headers,
            response_headers,
        });
    }
    check_sum(b, proxy, &clusters)?;
    Ok(clusters)
}

/// Reads a weight.
pub(crate) fn weight(b: &mut Build<'_>, proxy: &Proxy, weight: i64) -> Result<u32, Reported> {
    u32::try_from(weight).map_err(|_| {
        let message = format!("services.weight {weight} must be from 0 to {}", u32::MAX);
        b.error(&proxy.name, "ServiceError", "WeightNotValid", message)
    })
}

/// Envoy takes weights that add up to no more than 32 bits.
pub(crate) fn check_sum(
    b: &mut Build<'_>,
    proxy: &Proxy,
    clusters: &[WeightedCluster],
) -> Result<(), Reported> {
    let sum: u64 = clusters.iter().map(|c| u64::from(c.weight)).sum();
    if u32::try_from(sum).is_ok() {
        return Ok(());
    }
    let message = format!("services.weight: the weights add up to {sum}, more than {}", u32::MAX);
    Err(b.error(&proxy.name, "ServiceError", "WeightNotValid", message))
}

//! The listeners for probes, metrics and administration: they hand a few paths to Envoy's own administration socket.

use contour_resource::Resource;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm_pb;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use hcm_pb::http_connection_manager::RouteSpecifier;
use prost::Message;

use crate::proto::{address, any, boolean, string_matcher};
use crate::{Settings, Socket, hcm, names, socket};

/// What `stats-health` answers.
const STATS: [&str; 3] = ["/ready", "/stats", "/stats/prometheus"];

/// What `envoy-admin` answers: everything that only reads.
const ADMIN: [&str; 11] = [
    "/certs",
    "/clusters",
    "/listeners",
    "/config_dump",
    "/memory",
    "/ready",
    "/runtime",
    "/server_info",
    "/stats",
    "/stats/prometheus",
    "/stats/recentlookups",
];

/// The listeners that exist whatever is served.
pub(crate) fn listeners(settings: &Settings) -> Vec<Resource> {
    let admin = Socket::new("127.0.0.1", settings.admin_port);
    let stats = listener(names::STATS_HEALTH, "stats", &settings.stats, &STATS);
    let admin =
        (settings.admin_port > 0).then(|| listener(names::ENVOY_ADMIN, names::ENVOY_ADMIN, &admin, &ADMIN));
    std::iter::once(stats)
        .chain(admin)
        .map(|listener| Resource::whole(listener.name.as_str(), listener.encode_to_vec()))
        .collect()
}

fn listener(name: &str, stat_prefix: &str, socket: &Socket, paths: &[&str]) -> listener::Listener {
    let host = route::VirtualHost {
        name: "backend".to_owned(),
        domains: vec!["*".to_owned()],
        routes: paths.iter().map(|path| read(path)).collect(),
        ..Default::default()
    };
    let routes = route::RouteConfiguration { virtual_hosts: vec![host], ..Default::default() };
    let manager = hcm_pb::HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![hcm::router()],
        normalize_path: Some(boolean(true)),
        ..Default::default()
    };
    let chain =
        listener::FilterChain { filters: vec![hcm::network_filter(any(&manager))], ..Default::default() };
    listener::Listener {
        name: name.to_owned(),
        address: Some(address(&socket.address, socket.port)),
        filter_chains: vec![chain],
        socket_options: socket::keepalive(),
        // Probes must be answered when clients have used up all connections.
        ignore_global_conn_limit: true,
        ..Default::default()
    }
}

/// GET of exactly this path; whatever has no route is 404.
fn read(path: &str) -> route::Route {
    use route::header_matcher::HeaderMatchSpecifier;
    let method = route::HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(string_matcher(
            MatchPattern::Exact("GET".to_owned()),
            true,
        ))),
        ..Default::default()
    };
    route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Path(path.to_owned())),
            headers: vec![method],
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(route::RouteAction {
            cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
                names::ENVOY_ADMIN.to_owned(),
            )),
            ..Default::default()
        })),
        ..Default::default()
    }
}

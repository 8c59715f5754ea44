//! Virtual hosts and route tables, as pieces that are encoded once.

use contour_graph::model::Route;
use contour_resource::Part;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::route::v3 as pb;
use prost::Message;

use crate::proto::{append, uint32};
use crate::route::{self, Clusters};
use crate::settings::PublicPorts;
use crate::{header, names, route_order};

/// Field `virtual_hosts` of `RouteConfiguration`.
const VIRTUAL_HOSTS: u32 = 2;
/// Field `routes` of `VirtualHost`.
const ROUTES: u32 = 3;
/// Longest body of a direct response: what fits into a Kubernetes object. Envoy's own limit is 4 KiB, and it refuses the whole
/// RouteConfiguration for one body that is longer.
const LONGEST_BODY: u32 = 2 << 20;
/// Misdirected Request: tells a client to come back over a connection of its own for this host (RFC 9110, 15.5.20).
const MISDIRECTED: u16 = 421;

/// Encodes `RouteConfiguration { virtual_hosts: [the host] }` with the routes in order, and adds the clusters they lead to. `ports`:
/// those of the listeners, if redirects between them are to know.
pub(crate) fn encode(
    fqdn: &str,
    routes: &[Route],
    tell_origins: bool,
    ports: Option<PublicPorts>,
    clusters: &mut Clusters,
) -> Vec<u8> {
    let mut ordered: Vec<&Route> = routes.iter().collect();
    ordered.sort_by(|a, b| route_order::compare(&a.matches, &b.matches));
    // Settings of a whole host (CORS, rate limits, IP filters) belong into this head, their maps behind it as for routes.
    let mut host = head(&names::virtual_host(fqdn), fqdn).encode_to_vec();
    for route in ordered {
        if let Some(upgrade) = ports.and_then(|ports| route::upgrade_of_port(route, fqdn, ports)) {
            append(&mut host, ROUTES, &upgrade);
        }
        append(&mut host, ROUTES, &route::encode(route, fqdn, tell_origins, clusters));
    }
    let mut out = Vec::with_capacity(host.len() + 6);
    append(&mut out, VIRTUAL_HOSTS, &host);
    out
}

fn head(name: &str, domain: &str) -> pb::VirtualHost {
    pb::VirtualHost { name: name.to_owned(), domains: vec![domain.to_owned()], ..Default::default() }
}

/// Encodes a virtual host that answers 421 to everything for `domain`.
pub(crate) fn misdirected(domain: &str) -> Vec<u8> {
    let route = pb::Route {
        r#match: Some(pb::RouteMatch {
            path_specifier: Some(pb::route_match::PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        action: Some(pb::route::Action::DirectResponse(route::respond(MISDIRECTED, "misdirected request"))),
        ..Default::default()
    };
    let name = if domain == "*" { "misdirected".to_owned() } else { names::virtual_host(domain) };
    let host = pb::VirtualHost { routes: vec![route], ..head(&name, domain) };
    pb::RouteConfiguration { virtual_hosts: vec![host], ..Default::default() }.encode_to_vec()
}

/// Encodes everything of a RouteConfiguration but its virtual hosts.
pub(crate) fn configuration(name: &str) -> Vec<u8> {
    let start =
        header::option("x-request-start", "t=%START_TIME(%s.%3f)%", HeaderAppendAction::AppendIfExistsOrAdd);
    let configuration = pb::RouteConfiguration {
        name: name.to_owned(),
        request_headers_to_add: vec![start],
        ignore_port_in_host_matching: true,
        max_direct_response_body_size_bytes: Some(uint32(LONGEST_BODY)),
        ..Default::default()
    };
    configuration.encode_to_vec()
}

/// The RouteConfiguration of a TLS host in one piece: its virtual host, and 421 for every other: a connection that was accepted
/// for one host must not reach another with other certificates or rules (clients reuse connections where a certificate covers both).
pub(crate) fn secure(fqdn: &str, host: &[u8]) -> Part {
    let mut out = configuration(&names::secure_routes(fqdn));
    out.extend_from_slice(host);
    if fqdn != "*" {
        out.extend_from_slice(&misdirected("*"));
    }
    Part::new("", out)
}

//! Hosts of the model as Envoy's resources, feature by feature.

mod support;

use std::time::Duration;

use contour_envoy::{Assembly, PublicPorts, Settings};
use contour_graph::model::*;
use contour_objects::Store;
use contour_resource::ResourceType;
use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::google::protobuf;
use pb::route::Action as PbAction;
use pb::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use proptest::prelude::*;
use prost::Message as _;
use support::*;

fn served(hosts: Vec<VirtualHost>) -> Served {
    let served = Served::of(&mut Assembly::new(Settings::default()), &Store::default(), hosts);
    served.assert_complete();
    served
}

/// The routes of one plain host.
fn routes(routes: Vec<Route>) -> Vec<pb::Route> {
    let mut served = served(vec![plain("a.example.com", routes)]).routes("ingress_http");
    served.virtual_hosts.remove(0).routes
}

fn action(forward: Forward) -> pb::RouteAction {
    let mut routes = routes(vec![route(prefix("/"), Action::Forward(Box::new(forward)))]);
    match routes.remove(0).action {
        Some(PbAction::Route(action)) => action,
        other => panic!("not a forward: {other:?}"),
    }
}

fn only_to(service: &str) -> Forward {
    forward(vec![weighted(cluster(service), 1)])
}

#[test]
fn a_plain_host() {
    let served = served(vec![plain("a.example.com", vec![route(prefix("/"), to("kuard"))])]);
    let table = served.routes("ingress_http");
    assert_eq!(table.name, "ingress_http");
    assert!(table.ignore_port_in_host_matching);
    let header = table.request_headers_to_add[0].header.as_ref().expect("a header");
    assert_eq!((&*header.key, &*header.value), ("x-request-start", "t=%START_TIME(%s.%3f)%"));
    let host = &table.virtual_hosts[0];
    assert_eq!((&*host.name, &host.domains), ("a.example.com", &vec!["a.example.com".to_owned()]));
    assert_eq!(clusters_of(host.routes[0].clone()), ["default/kuard/80/da39a3ee5e"]);
    assert_eq!(
        served.names(ResourceType::Listener),
        ["envoy-admin", "ingress_http", "stats-health", "trial"]
    );
    assert_eq!(served.names(ResourceType::Runtime), ["dynamic"]);
}

#[test]
fn routes_are_sorted() {
    let written = routes(vec![
        route(prefix("/"), to("root")),
        route(prefix("/long"), to("long")),
        route(RouteMatch { path: PathMatch::Exact("/".to_owned()), ..prefix("") }, to("exact")),
    ]);
    let clusters: Vec<_> = written.iter().flat_map(|r| clusters_of(r.clone())).collect();
    assert_eq!(
        clusters,
        ["default/exact/80/da39a3ee5e", "default/long/80/da39a3ee5e", "default/root/80/da39a3ee5e"]
    );
    assert!(written[0].metadata.is_none(), "no access log asks for it");
}

#[test]
fn routes_tell_their_object_to_access_logs_that_ask() {
    let format = "%METADATA(ROUTE:envoy.access_loggers.file:io.projectcontour.name)%\n";
    let settings = Settings { access_log_format: Some(format.to_owned()), ..Settings::default() };
    let hosts = vec![plain("a.example.com", vec![route(prefix("/"), to("kuard"))])];
    let served = Served::of(&mut Assembly::new(settings), &Store::default(), hosts);
    let route = served.routes("ingress_http").virtual_hosts.remove(0).routes.remove(0);
    let metadata = &route.metadata.expect("metadata").filter_metadata["envoy.access_loggers.file"];
    let text = |key: &str| match &metadata.fields[key].kind {
        Some(protobuf::value::Kind::StringValue(text)) => text.clone(),
        other => panic!("not a text: {other:?}"),
    };
    assert_eq!(text("io.projectcontour.kind"), "HTTPProxy");
    assert_eq!(text("io.projectcontour.namespace"), "default");
    assert_eq!(text("io.projectcontour.name"), "proxy");
}

#[test]
fn weights_are_shares_and_policies_of_a_service_need_them() {
    let action = action(forward(vec![weighted(cluster("b"), 0), weighted(cluster("a"), 0)]));
    let Some(ClusterSpecifier::WeightedClusters(all)) = action.cluster_specifier else { panic!("weighted") };
    let shares: Vec<_> = all.clusters.iter().map(|c| (&*c.name, c.weight.map(|w| w.value))).collect();
    assert_eq!(
        shares,
        [("default/a/80/da39a3ee5e", Some(1)), ("default/b/80/da39a3ee5e", Some(1))],
        "all zero means equal"
    );

    let mut only = weighted(cluster("a"), 0);
    only.request_headers.host = Some(HostRewrite::Literal("inner".to_owned()));
    only.response_headers.remove = vec!["server".to_owned()];
    let action = self::action(forward(vec![only]));
    let Some(ClusterSpecifier::WeightedClusters(all)) = action.cluster_specifier else { panic!("weighted") };
    assert_eq!(all.clusters[0].response_headers_to_remove, ["server"]);
    assert_eq!(
        all.clusters[0].host_rewrite_specifier,
        Some(pb::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(
            "inner".to_owned()
        ))
    );
}

#[test]
fn weights_beyond_what_envoy_takes_are_scaled() {
    let services = vec![
        weighted(cluster("a"), u32::MAX),
        weighted(cluster("b"), u32::MAX / 2),
        weighted(cluster("c"), 0),
        weighted(cluster("d"), 1),
    ];
    let action = action(forward(services));
    let Some(ClusterSpecifier::WeightedClusters(all)) = action.cluster_specifier else { panic!("weighted") };
    let shares: Vec<u64> = all.clusters.iter().map(|c| c.weight.expect("a weight").value.into()).collect();
    assert!(shares.iter().sum::<u64>() <= u32::MAX.into());
    assert!((shares[0] / 2).abs_diff(shares[1]) <= 2, "{shares:?}");
    assert_eq!(shares[2], 0);
    assert_eq!(shares[3], 1, "something stays something");
}

#[test]
fn timeouts_have_three_states() {
    let written = action(Forward {
        response_timeout: Timeout::After(Duration::from_millis(1500)),
        idle_timeout: Timeout::Disabled,
        ..only_to("a")
    });
    assert_eq!(written.timeout, Some(protobuf::Duration { seconds: 1, nanos: 500_000_000 }));
    assert_eq!(written.idle_timeout, Some(protobuf::Duration { seconds: 0, nanos: 0 }));
    assert_eq!(action(only_to("a")).timeout, None);
}

#[test]
fn retries_rewrites_websockets_and_hashing() {
    let written = action(Forward {
        websockets: true,
        retry: Some(Retry {
            on: "5xx,retriable-status-codes".to_owned(),
            count: 0,
            per_try_timeout: Timeout::Default,
            status_codes: vec![418],
        }),
        rewrite: Some(PathRewrite::Prefix("/new".to_owned())),
        hash: vec![
            HashInput { terminal: true, source: HashSource::SessionCookie },
            HashInput { terminal: false, source: HashSource::Header("X-User".to_owned()) },
            HashInput { terminal: false, source: HashSource::QueryParameter("user".to_owned()) },
            HashInput { terminal: false, source: HashSource::SourceIp },
        ],
        ..only_to("a")
    });
    assert_eq!(written.upgrade_configs[0].upgrade_type, "websocket");
    assert_eq!(written.prefix_rewrite, "/new");
    let retry = written.retry_policy.expect("retries");
    assert_eq!(retry.num_retries.map(|n| n.value), Some(0), "zero is said, not left to Envoy");
    assert_eq!((&*retry.retry_on, retry.retriable_status_codes), ("5xx,retriable-status-codes", vec![418]));
    assert_eq!(written.hash_policy.len(), 4);
    let Some(pb::route_action::hash_policy::PolicySpecifier::Cookie(cookie)) =
        &written.hash_policy[0].policy_specifier
    else {
        panic!("a cookie");
    };
    assert!(written.hash_policy[0].terminal);
    assert_eq!((&*cookie.name, &*cookie.path), ("X-Contour-Session-Affinity", "/"));
    assert_eq!(cookie.ttl, Some(protobuf::Duration::default()), "a session cookie");
}

#[test]
fn header_policies_of_a_route() {
    let mut forward = only_to("a");
    forward.request_headers.set.insert("X-B".to_owned(), "2".to_owned());
    forward.request_headers.set.insert("X-A".to_owned(), "1".to_owned());
    forward.request_headers.host = Some(HostRewrite::FromHeader("X-Host".to_owned()));
    forward.response_headers.remove = vec!["Server".to_owned()];
    let written = &routes(vec![route(prefix("/"), Action::Forward(Box::new(forward)))])[0];
    let set: Vec<_> = written
        .request_headers_to_add
        .iter()
        .map(|h| (h.header.as_ref().map(|h| &*h.key), h.append_action))
        .collect();
    let overwrite =
        envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into();
    assert_eq!(set, [(Some("X-A"), overwrite), (Some("X-B"), overwrite)]);
    assert_eq!(written.response_headers_to_remove, ["Server"]);
    let Some(PbAction::Route(action)) = &written.action else { panic!("a forward") };
    assert_eq!(
        action.host_rewrite_specifier,
        Some(HostRewriteSpecifier::HostRewriteHeader("X-Host".to_owned()))
    );
    assert!(matches!(action.cluster_specifier, Some(ClusterSpecifier::Cluster(_))));
}

#[test]
fn headers_envoy_refuses_are_left_out() {
    let mut forward = only_to("a");
    for name in ["", ":path", "Host", "x\ny"] {
        forward.request_headers.set.insert(name.to_owned(), "v".to_owned());
        forward.request_headers.remove.push(name.to_owned());
    }
    forward.request_headers.set.insert("x-good".to_owned(), "bad\r\nvalue".to_owned());
    let written = &routes(vec![route(prefix("/"), Action::Forward(Box::new(forward)))])[0];
    assert_eq!(written.request_headers_to_add, []);
    assert_eq!(written.request_headers_to_remove, Vec::<String>::new());
}

#[test]
fn redirects_and_answers() {
    use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
    let redirect = Redirect {
        scheme: Some("https".to_owned()),
        hostname: Some("b.example.com".to_owned()),
        port: Some(8443),
        status: 307,
        path: Some(RedirectPath::Prefix("/p".to_owned())),
    };
    let written = routes(vec![
        route(prefix("/redirect"), Action::Redirect(redirect)),
        route(prefix("/upgrade"), Action::UpgradeToHttps),
        route(prefix("/teapot"), Action::Respond { status: 418, body: "short and stout".to_owned() }),
        route(prefix("/"), Action::Respond { status: 503, body: String::new() }),
    ]);
    let Some(PbAction::Redirect(redirect)) = &written[0].action else { panic!("a redirect") };
    assert_eq!((&*redirect.host_redirect, redirect.port_redirect), ("b.example.com", 8443));
    assert_eq!(redirect.response_code(), RedirectResponseCode::TemporaryRedirect);
    assert_eq!(redirect.path_rewrite_specifier, Some(PathRewriteSpecifier::PrefixRewrite("/p".to_owned())));
    assert_eq!(
        redirect.scheme_rewrite_specifier,
        Some(SchemeRewriteSpecifier::SchemeRedirect("https".to_owned()))
    );
    let Some(PbAction::Redirect(upgrade)) = &written[1].action else { panic!("a redirect") };
    assert_eq!(upgrade.scheme_rewrite_specifier, Some(SchemeRewriteSpecifier::HttpsRedirect(true)));
    assert_eq!(upgrade.response_code(), RedirectResponseCode::MovedPermanently);
    let Some(PbAction::DirectResponse(answer)) = &written[2].action else { panic!("an answer") };
    assert_eq!(answer.status, 418);
    assert!(answer.body.is_some());
    let Some(PbAction::DirectResponse(answer)) = &written[3].action else { panic!("an answer") };
    assert_eq!((answer.status, &answer.body), (503, &None));
}

/// For these ports: the port that each redirect leads to, 0 for that of the request, and whether it asks for a port in the request.
#[test]
fn redirects_to_https_know_the_port_where_it_is_known() {
    for (http, https, expected) in [
        (80, 443, &[(0, false)][..]),
        (8080, 8443, &[(8443, true), (0, false)]),
        (8080, 443, &[(443, true), (0, false)]),
        (80, 8443, &[(8443, false), (0, false)]),
    ] {
        let settings = Settings { public_ports: Some(PublicPorts { http, https }), ..Settings::default() };
        let host = plain("a.example.com", vec![route(prefix("/"), Action::UpgradeToHttps)]);
        let served = Served::of(&mut Assembly::new(settings), &Store::default(), vec![host]);
        let written = served.routes("ingress_http").virtual_hosts.remove(0).routes;
        let written: Vec<(u32, bool)> = written
            .into_iter()
            .map(|route| {
                let Some(PbAction::Redirect(redirect)) = route.action else { panic!("a redirect") };
                (redirect.port_redirect, !route.r#match.expect("a match").headers.is_empty())
            })
            .collect();
        assert_eq!(written, expected, "{http} and {https}");
    }
}

#[test]
fn a_tls_host() {
    let served = served(vec![secure("a.example.com", "default/cert", vec![route(prefix("/"), to("kuard"))])]);
    let secret = served.names(ResourceType::Secret)[0].to_owned();
    assert!(secret.starts_with("default/cert/"), "{secret}");
    let listener = served.listener("ingress_https");
    assert_eq!(listener.listener_filters[0].name, "envoy.filters.listener.tls_inspector");
    let chain = &listener.filter_chains[0];
    assert_eq!(chain.name, "a.example.com");
    assert_eq!(chain.filter_chain_match.as_ref().expect("a match").server_names, ["a.example.com"]);
    let tls = tls_context(chain).and_then(|c| c.common_tls_context).expect("TLS");
    assert_eq!(tls.alpn_protocols, ["h2", "http/1.1"]);
    assert_eq!(tls.tls_certificate_sds_secret_configs[0].name, secret);

    let table = served.routes("https/a.example.com");
    let hosts: Vec<_> = table.virtual_hosts.iter().map(|h| h.domains.join(" ")).collect();
    assert_eq!(hosts, ["a.example.com", "*"]);
    let Some(PbAction::DirectResponse(misdirected)) = &table.virtual_hosts[1].routes[0].action else {
        panic!("an answer")
    };
    assert_eq!(misdirected.status, 421);
}

#[test]
fn tcp_hosts_have_a_chain_and_no_routes() {
    let proxy =
        TcpProxy { clusters: vec![weighted(cluster("a"), 1), weighted(cluster("b"), 2)], origin: origin() };
    let tls = termination("default/cert", pair("cert"));
    let terminated = VirtualHost {
        fqdn: "b.example.com".into(),
        namespace: Some("default".into()),
        plain: Vec::new(),
        secure: Some(SecureHost::Tcp { tls, proxy }),
    };
    let served = served(vec![passthrough("a.example.com", "kuard"), terminated]);
    let listener = served.listener("ingress_https");
    assert_eq!(listener.filter_chains.len(), 2);
    assert!(tls_context(&listener.filter_chains[0]).is_none(), "the session itself is proxied");
    let tls = tls_context(&listener.filter_chains[1]).and_then(|c| c.common_tls_context).expect("TLS");
    assert_eq!(tls.alpn_protocols, Vec::<String>::new(), "the upstream chooses");
    assert_eq!(served.names(ResourceType::Route), ["ingress_http", "trial"]);
    assert_eq!(
        served.names(ResourceType::Listener),
        ["envoy-admin", "ingress_https", "stats-health", "trial"]
    );
}

#[test]
fn a_wildcard_does_not_answer_for_hosts_of_their_own() {
    let all = |fqdn: &str| secure(fqdn, "default/cert", vec![route(prefix("/"), to("kuard"))]);
    let served = served(vec![
        all("*.example.com"),
        all("own.example.com"),
        passthrough("tcp.example.com", "tcp"),
        all("own.example.org"),
    ]);
    let table = served.routes("https/*.example.com");
    let hosts: Vec<_> = table.virtual_hosts.iter().map(|h| h.domains.join(" ")).collect();
    assert_eq!(hosts, ["*.example.com", "*", "own.example.com", "tcp.example.com"]);
    assert_eq!(served.routes("https/own.example.com").virtual_hosts.len(), 2);
}

#[test]
fn the_administration_listener_only_reads() {
    use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
    let served = served(Vec::new());
    let listener = served.listener("envoy-admin");
    assert!(listener.ignore_global_conn_limit);
    let Some(ConfigType::TypedConfig(filter)) = &listener.filter_chains[0].filters[0].config_type else {
        panic!("a configuration");
    };
    let manager = hcm::HttpConnectionManager::decode(filter.value.as_slice()).expect("a connection manager");
    let Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table)) = manager.route_specifier
    else {
        panic!("routes");
    };
    let paths: Vec<_> = table.virtual_hosts[0]
        .routes
        .iter()
        .map(|route| {
            assert_eq!(clusters_of(route.clone()), ["envoy-admin"]);
            let matches = route.r#match.as_ref().expect("a match");
            assert_eq!(matches.headers[0].name, ":method");
            match &matches.path_specifier {
                Some(pb::route_match::PathSpecifier::Path(path)) => path.as_str(),
                other => panic!("not an exact path: {other:?}"),
            }
        })
        .collect();
    assert_eq!(
        paths,
        [
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
            "/stats/recentlookups"
        ]
    );
}

/// Texts nobody should write, and some that are plain.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,8}", "\\PC{0,8}", any::<String>(), Just("/\r\n\0".to_owned())]
}

proptest! {
    #[test]
    fn no_text_breaks_the_translation(
        host in text(), path in text(), name in text(), value in text(), service in text(), time in any::<Duration>(),
    ) {
        let mut forward = forward(vec![weighted(Cluster { sni: Some(value.clone()), protocol: Protocol::Tls, ..cluster(&service) }, 1)]);
        forward.response_timeout = Timeout::After(time);
        forward.rewrite = Some(PathRewrite::Prefix(path.clone()));
        forward.request_headers.set.insert(name.clone(), value.clone());
        forward.response_headers.remove.push(name.clone());
        forward.request_headers.host = Some(HostRewrite::Literal(value.clone()));
        forward.hash = vec![HashInput { terminal: false, source: HashSource::Header(name.clone()) }];
        let header = HeaderMatch { name, value: HeaderValue::Contains(value.clone()), invert: true, ignore_case: true, missing_is_empty: true };
        let redirect = Redirect { hostname: Some(value), path: Some(RedirectPath::Full(path.clone())), ..Redirect::default() };
        let routes = vec![
            route(RouteMatch { path: PathMatch::Segments(path.clone()), headers: vec![header], query: vec![] }, Action::Redirect(redirect)),
            route(RouteMatch { path: PathMatch::Regex(path), headers: vec![], query: vec![] }, Action::Forward(Box::new(forward))),
        ];
        let served = served(vec![secure(&host, "default/cert", routes)]);
        let table = served.routes(&contour_envoy::secure_routes(&host));
        prop_assert_eq!(table.virtual_hosts[0].routes.len(), 2);
        let clean = |text: &str| !text.contains(['\0', '\r', '\n']);
        for route in &table.virtual_hosts[0].routes {
            let headers = route.request_headers_to_add.iter().filter_map(|h| h.header.as_ref());
            prop_assert!(headers.into_iter().all(|h| clean(&h.key) && clean(&h.value)));
            if let Some(PbAction::Route(action)) = &route.action {
                prop_assert!(clean(&action.prefix_rewrite));
                prop_assert!(action.timeout.is_some_and(|t| t.seconds > 0 || t.nanos > 0));
            }
        }
    }
}

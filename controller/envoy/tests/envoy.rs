//! What a real Envoy makes of it.

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_e2e::certs::{Leaf, TestCa};
use contour_e2e::client::{Outcome, Tls, Watcher, get, tcp_exchange};
use contour_e2e::echo::{Echo, TcpEcho};
use contour_e2e::envoy::{Envoy, Launch};
use contour_e2e::wait::{SOON, eventually};
use contour_envoy::{
    AccessLogLevel, Assembly, Compression, HttpVersions, INGRESS_HTTP, INGRESS_HTTPS, STATS_HEALTH, Settings,
    Socket,
};
use contour_graph::model::*;
use contour_objects::{Store, TlsPair};
use contour_resource::{Resource, ResourceType};
use envoy_types::pb::envoy::config::cluster::v3 as cluster_pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use prost::Message as _;
use support::ads::Ads;
use support::*;

/// An Envoy and what tells it what to do.
struct Proxy {
    envoy: Envoy,
    ads: Ads,
    assembly: Assembly,
    store: Store,
}

fn settings() -> Settings {
    let any_port = Socket::new("127.0.0.1", 0);
    Settings {
        http: any_port.clone(),
        https: any_port.clone(),
        stats: any_port,
        http_access_log: "/dev/null".to_owned(),
        https_access_log: "/dev/null".to_owned(),
        admin_port: 0,
        ..Settings::default()
    }
}

/// The parts of the bootstrap the resources count on: ADS, the runtime layer, and the cluster `envoy-admin`.
fn bootstrap(ads: SocketAddr) -> String {
    let socket = |address: serde_json::Value| serde_json::json!({"endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]});
    let mut contour = socket(serde_json::json!({
        "socket_address": {"address": ads.ip().to_string(), "port_value": ads.port()}
    }));
    contour["cluster_name"] = "contour".into();
    let mut admin = socket(serde_json::json!({"pipe": {"path": "admin.sock"}}));
    admin["cluster_name"] = "envoy-admin".into();
    let source = serde_json::json!({"ads": {}, "resource_api_version": "V3"});
    serde_json::json!({
        "node": {"id": "test", "cluster": "test"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "contour"}}],
            },
            "cds_config": source,
            "lds_config": source,
        },
        "layered_runtime": {"layers": [
            {"name": "dynamic", "rtds_layer": {"name": "dynamic", "rtds_config": source}},
        ]},
        "static_resources": {"clusters": [
            {
                "name": "contour",
                "type": "STATIC",
                "load_assignment": contour,
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http2_protocol_options": {}},
                    },
                },
            },
            {"name": "envoy-admin", "type": "STATIC", "load_assignment": admin},
        ]},
    })
    .to_string()
}

impl Proxy {
    async fn start(settings: Settings, store: Store, hosts: Vec<VirtualHost>) -> Result<Self> {
        let mut assembly = Assembly::new(settings);
        let first = assembly.initial();
        let all = assembly.hosts(&store, hosts.into_iter().map(set));
        let mut served = Served::default();
        served.apply(&first);
        served.apply(&all);
        served.assert_complete();
        let mut ads = Ads::start([first, all])?;
        let envoy = Launch::bootstrap(bootstrap(ads.address)).start().await?;
        envoy.ready().await.with_context(|| format!("{:?}", ads.rejections()))?;
        Ok(Self { envoy, ads, assembly, store })
    }

    fn change(&mut self, changes: Vec<Change>) {
        self.ads.apply(self.assembly.hosts(&self.store, changes));
    }

    async fn assert_accepted(&mut self) -> Result<()> {
        assert_eq!(self.ads.rejections(), []);
        assert_eq!(self.envoy.rejected_updates().await?, std::collections::BTreeMap::new());
        Ok(())
    }
}

#[tokio::test]
async fn a_listener_of_both_families_answers_on_both_also_in_the_place_of_one_of_ipv4() -> Result<()> {
    let [http, https, stats] = contour_e2e::ports::free();
    let on = |any: &str| Settings {
        http: Socket::new(any, http),
        https: Socket::new(any, https),
        stats: Socket::new(any, stats),
        ..settings()
    };
    let host = || VirtualHost {
        fqdn: "a.example.com".into(),
        namespace: Some("default".into()),
        plain: respond(200, "ok"),
        secure: None,
    };
    let mut proxy = Proxy::start(on("0.0.0.0"), Store::default(), vec![host()]).await?;
    let four = SocketAddr::from(([127, 0, 0, 1], http));
    let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, http));
    let health = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, stats));
    get(four, "a.example.com", "/").until_status(200).await?;
    assert!(get(six, "a.example.com", "/").send().await.is_err(), "nobody listens on IPv6 yet");

    // The other listen address. Connections that the old listener had not accepted yet are reset, so nobody does this unasked to what serves.
    let mut both = Assembly::new(on("::"));
    proxy.ads.apply(both.initial());
    proxy.ads.apply(both.hosts(&proxy.store, vec![set(host())]));
    get(six, "a.example.com", "/").until_status(200).await?;
    get(health, "a.example.com", "/ready").until_status(200).await?;
    get(four, "a.example.com", "/").until_status(200).await?;
    proxy.assert_accepted().await
}

fn certificate(leaf: &Leaf, number: u8) -> TlsPair {
    TlsPair {
        certificate: leaf.cert_pem.as_bytes().to_vec(),
        key: leaf.key_pem.as_bytes().to_vec(),
        elements: 1,
        fingerprint: [number; 20],
    }
}

fn tls_host(fqdn: &str, pair: &TlsPair, routes: Vec<Route>) -> VirtualHost {
    let tls = termination("default/cert", pair.clone());
    VirtualHost {
        fqdn: fqdn.into(),
        namespace: Some("default".into()),
        plain: Vec::new(),
        secure: Some(SecureHost::Http { tls, routes }),
    }
}

/// The Service's endpoint is this address.
fn endpoint(store: &mut Store, service: &str, address: SocketAddr) {
    apply(store, slice(service, service, &[(&address.ip().to_string(), true)], &[(None, address.port())]));
}

fn respond(status: u16, body: &str) -> Vec<Route> {
    vec![route(prefix("/"), Action::Respond { status, body: body.to_owned() })]
}

fn header(name: &str, value: HeaderValue) -> HeaderMatch {
    HeaderMatch { name: name.to_owned(), value, invert: false, ignore_case: false, missing_is_empty: false }
}

/// One route for every kind of condition.
fn all_matches() -> Vec<RouteMatch> {
    let path = |path| RouteMatch { path, headers: Vec::new(), query: Vec::new() };
    let on = |headers, query| RouteMatch { path: PathMatch::Prefix("/".to_owned()), headers, query };
    let text = || "x".to_owned();
    let mut out = vec![
        path(PathMatch::Exact("/exact".to_owned())),
        path(PathMatch::Exact("/with?query#fragment".to_owned())),
        path(PathMatch::Regex("/[a-z]+(/.*)?".to_owned())),
        path(PathMatch::Regex(String::new())),
        path(PathMatch::Prefix(String::new())),
        path(PathMatch::Segments("/segment".to_owned())),
        path(PathMatch::Segments("/".to_owned())),
        path(PathMatch::Segments("/a?b".to_owned())),
    ];
    for value in [
        HeaderValue::Exact(text()),
        HeaderValue::Exact(String::new()),
        HeaderValue::Regex("[a-z]*".to_owned()),
        HeaderValue::Regex(String::new()),
        HeaderValue::Contains(text()),
        HeaderValue::Contains(String::new()),
        HeaderValue::Present,
    ] {
        let plain = header("X-Header", value);
        let other = HeaderMatch { invert: true, ignore_case: true, missing_is_empty: true, ..plain.clone() };
        out.extend([on(vec![plain], Vec::new()), on(vec![other], Vec::new())]);
    }
    for value in [
        QueryValue::Exact(text()),
        QueryValue::Regex(String::new()),
        QueryValue::Prefix(text()),
        QueryValue::Prefix(String::new()),
        QueryValue::Suffix(text()),
        QueryValue::Contains(text()),
        QueryValue::Present,
    ] {
        out.push(on(Vec::new(), vec![QueryMatch { name: "q".to_owned(), value, ignore_case: true }]));
    }
    out
}

/// One cluster for every setting.
fn all_clusters(ca: &str) -> Vec<Cluster> {
    let base = || cluster("upstream");
    let mut check = health_check();
    check.http.as_mut().expect("HTTP").expected_statuses = vec![(200, 300), (404, 404), (1, 1000)];
    let mut verified = validation("default/ca", &["a.example.com", "b.example.com"]);
    verified.ca = Arc::new(contour_objects::CaBundle { pem: ca.as_bytes().to_vec(), elements: 1 });
    let dns = Discovery::Dns { hostname: "localhost".to_owned(), port: 1 };
    let breakers = CircuitBreakers {
        max_connections: Some(1),
        max_pending_requests: Some(2),
        max_requests: Some(3),
        max_retries: Some(4),
        per_host_max_connections: Some(5),
    };
    vec![
        Cluster { protocol: Protocol::H2c, ..base() },
        Cluster { protocol: Protocol::Tls, sni: Some("s".repeat(300)), ..base() },
        Cluster { protocol: Protocol::H2, sni: Some("sni".to_owned()), validation: Some(verified), ..base() },
        Cluster { load_balancer: LoadBalancer::WeightedLeastRequest, ..base() },
        Cluster { load_balancer: LoadBalancer::Random, ..base() },
        Cluster { load_balancer: LoadBalancer::Cookie, ..base() },
        Cluster { health_check: Some(check.clone()), ..base() },
        Cluster {
            health_check: Some(HealthCheck { http: None, interval: Duration::from_nanos(1), ..check }),
            ..base()
        },
        Cluster { discovery: dns, ..base() },
        Cluster { circuit_breakers: breakers, ..base() },
        Cluster { idle_connection_timeout: Timeout::After(Duration::MAX), ..base() },
    ]
}

/// One route for every kind of action.
fn all_actions(ca: &str) -> Vec<Action> {
    let mut full = forward(all_clusters(ca).into_iter().map(|c| weighted(c, u32::MAX)).collect());
    for (name, value) in
        [("x-format", "%DOWNSTREAM_REMOTE_ADDRESS% %REQ(X-A)% 100%%"), ("Host", "x"), (":path", "x")]
    {
        full.request_headers.set.insert(name.to_owned(), value.to_owned());
        full.clusters[0].request_headers.set.insert(name.to_owned(), value.to_owned());
        full.response_headers.remove.push(name.to_owned());
    }
    full.request_headers.host = Some(HostRewrite::FromHeader("X-Host".to_owned()));
    full.clusters[0].request_headers.host = Some(HostRewrite::Literal("inner".to_owned()));
    full.websockets = true;
    full.response_timeout = Timeout::After(Duration::MAX);
    full.idle_timeout = Timeout::Disabled;
    full.rewrite = Some(PathRewrite::Prefix("/rewritten".to_owned()));
    full.retry = Some(Retry {
        on: "5xx,what-is-this".to_owned(),
        count: u32::MAX,
        per_try_timeout: Timeout::After(Duration::from_nanos(1)),
        status_codes: vec![418],
    });
    let hash = |source| HashInput { terminal: false, source };
    full.hash = vec![
        hash(HashSource::SessionCookie),
        hash(HashSource::Header("X-User".to_owned())),
        hash(HashSource::Header(String::new())),
        hash(HashSource::QueryParameter("user".to_owned())),
        hash(HashSource::SourceIp),
    ];
    let redirect =
        Redirect { status: 308, path: Some(RedirectPath::Full("/full".to_owned())), ..Redirect::default() };
    let elsewhere = Redirect {
        scheme: Some("https".to_owned()),
        hostname: Some("b.example.com".to_owned()),
        port: Some(u16::MAX),
        status: 302,
        path: Some(RedirectPath::Prefix("/p".to_owned())),
    };
    vec![
        Action::Forward(Box::new(full)),
        Action::Redirect(redirect),
        Action::Redirect(elsewhere),
        Action::UpgradeToHttps,
        Action::Respond { status: 200, body: "x".repeat(10_000) },
        Action::Respond { status: 0, body: String::new() },
    ]
}

fn every_route(ca: &str) -> Vec<Route> {
    let actions = all_actions(ca);
    let actions = actions.into_iter().cycle();
    all_matches().into_iter().zip(actions).map(|(matches, action)| route(matches, action)).collect()
}

fn every_host(ca: &TestCa) -> Result<Vec<VirtualHost>> {
    let pair = certificate(&ca.leaf(&["a.example.com", "*.example.com"])?, 1);
    let both = |fqdn: &str| VirtualHost {
        plain: every_route(ca.pem()),
        ..tls_host(fqdn, &pair, every_route(ca.pem()))
    };
    let proxy = || TcpProxy {
        clusters: vec![weighted(cluster("tcp"), 1), weighted(cluster("tcp2"), u32::MAX)],
        origin: origin(),
    };
    let long = format!("{}.example.com", "long-label.".repeat(20).trim_end_matches('.'));
    let tcp = SecureHost::Tcp { tls: termination("default/cert", pair.clone()), proxy: proxy() };
    let passthrough = SecureHost::Passthrough { proxy: proxy() };
    let only = |fqdn: &str, secure| VirtualHost {
        fqdn: fqdn.into(),
        namespace: Some("default".into()),
        plain: Vec::new(),
        secure: Some(secure),
    };
    Ok(vec![
        both("a.example.com"),
        both("*.example.com"),
        both("*.a.example.com"),
        both(&long),
        both("*"),
        only("tcp.example.com", tcp),
        only("pass.example.com", passthrough),
    ])
}

async fn accepts(settings: Settings) -> Result<()> {
    let ca = TestCa::new("test")?;
    let hosts = every_host(&ca)?;
    let count = hosts.len();
    let mut proxy = Proxy::start(settings, Store::default(), hosts).await?;
    let state = eventually(SOON, || async {
        let tables = proxy.envoy.stats(r"rds\..*\.update_success$").await?;
        anyhow::ensure!(
            tables.len() == 2 + 5 && tables.values().all(|&n| n > 0),
            "not all tables: {tables:?}"
        );
        let runtime = proxy.envoy.stat("runtime.load_success").await?;
        anyhow::ensure!(runtime > 0, "no runtime");
        Ok(proxy.envoy.config_dump().await?.to_string())
    });
    let state = state.await.with_context(|| format!("{:?}", proxy.ads.rejections()))?;
    proxy.assert_accepted().await?;
    assert_eq!(
        state.matches("\"server_names\"").count(),
        count - 1,
        "all chains but that of the default host"
    );
    proxy.envoy.listener(INGRESS_HTTPS).await?;
    Ok(())
}

/// A cluster as translated, whose names are asked of this server.
fn asking(resource: &Resource, server: SocketAddr) -> Result<Resource> {
    let mut cluster = cluster_pb::Cluster::decode(resource.body())?;
    let config =
        cluster.typed_dns_resolver_config.as_mut().and_then(|resolver| resolver.typed_config.as_mut());
    let config = config.context("a cluster with a resolver")?;
    let mut cares = CaresDnsResolverConfig::decode(&*config.value)?;
    let socket = core::SocketAddress {
        address: server.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(server.port().into())),
        ..Default::default()
    };
    cares.resolvers.push(core::Address { address: Some(core::address::Address::SocketAddress(socket)) });
    config.value = cares.encode_to_vec();
    Ok(Resource::whole(Arc::clone(resource.name()), cluster.encode_to_vec()))
}

/// The name server is silent, as it is about a name whose own servers are.
#[tokio::test]
async fn a_name_that_is_not_resolved_does_not_hold_up_a_start() -> Result<()> {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
    let mut assembly = Assembly::new(settings());
    let first = assembly.initial();
    let discovery = Discovery::Dns { hostname: "nowhere.example.com".to_owned(), port: 80 };
    let named = weighted(Cluster { discovery, ..cluster("external") }, 1);
    let action = Action::Forward(Box::new(forward(vec![named])));
    let hosts =
        [plain("a.example.com", vec![route(prefix("/"), action)]), plain("b.example.com", respond(200, "b"))];
    let mut all = assembly.hosts(&Store::default(), hosts.into_iter().map(set));
    for (kind, resource) in &mut all.set {
        if *kind == ResourceType::Cluster {
            *resource = Arc::new(asking(resource, silent.local_addr()?)?);
        }
    }
    let mut ads = Ads::start([first, all])?;
    let envoy = Launch::bootstrap(bootstrap(ads.address)).start().await?;
    envoy.ready().await?;
    let address = envoy.listener(INGRESS_HTTP).await?;
    get(address, "b.example.com", "/").until_status(200).await?;
    assert!(silent.try_recv(&mut [0; 512]).is_ok(), "the name was asked for");
    assert_eq!(ads.rejections(), []);
    Ok(())
}

#[tokio::test]
async fn everything_is_accepted_with_default_settings() -> Result<()> {
    accepts(settings()).await
}

#[tokio::test]
async fn everything_is_accepted_with_every_setting() -> Result<()> {
    let mut settings = settings();
    settings.access_log_level = AccessLogLevel::Error;
    settings.access_log_format = Some(
        "%REQ_WITHOUT_QUERY(:PATH)% %METADATA(ROUTE:envoy.access_loggers.file:io.projectcontour.name)%\n"
            .to_owned(),
    );
    settings.runtime = [("http.max_requests_per_io_cycle".to_owned(), serde_json::json!(5))].into();
    let listener = &mut settings.listener;
    listener.proxy_protocol = true;
    listener.compression = Compression::Zstd;
    listener.http_versions = HttpVersions::Http1;
    listener.exact_connection_balance = true;
    listener.max_requests_per_connection = Some(1);
    listener.buffer_limit_bytes = Some(1 << 20);
    listener.tos = 64;
    listener.http2_max_concurrent_streams = Some(100);
    listener.max_accepts_per_socket_event = Some(1);
    listener.trusted_hops = 1;
    listener.strip_trailing_host_dot = true;
    listener.ecdh_curves = vec!["X25519".to_owned(), "P-256".to_owned()];
    settings.cluster.max_requests_per_connection = Some(100);
    settings.cluster.buffer_limit_bytes = Some(1 << 20);
    settings.cluster.circuit_breakers.max_connections = Some(7);
    settings.cluster.ecdh_curves = vec!["X25519".to_owned()];
    for timeout in [
        &mut settings.timeouts.request,
        &mut settings.timeouts.stream_idle,
        &mut settings.timeouts.max_connection_duration,
        &mut settings.timeouts.delayed_close,
        &mut settings.timeouts.shutdown_grace,
    ] {
        *timeout = Timeout::After(Duration::from_secs(100));
    }
    accepts(settings).await
}

#[tokio::test]
async fn plain_requests_go_where_the_model_says() -> Result<()> {
    let upstream = Echo::start("upstream").await?;
    let mut store = Store::default();
    endpoint(&mut store, "upstream", upstream.address());
    let mut rewritten = forward(vec![weighted(cluster("upstream"), 1)]);
    rewritten.rewrite = Some(PathRewrite::Prefix("/new/".to_owned()));
    rewritten.request_headers.host = Some(HostRewrite::Literal("inner".to_owned()));
    let hosts = vec![
        plain(
            "a.example.com",
            vec![
                route(prefix("/"), to("upstream")),
                route(prefix("/old/"), Action::Forward(Box::new(rewritten))),
                route(prefix("/big"), Action::Respond { status: 418, body: "x".repeat(100_000) }),
                route(prefix("/https"), Action::UpgradeToHttps),
            ],
        ),
        plain("*.wild.example.com", respond(204, "")),
    ];
    let mut proxy = Proxy::start(settings(), store, hosts).await?;
    let http = proxy.envoy.listener(INGRESS_HTTP).await?;

    let answer =
        get(http, "a.example.com:8080", "/").header("accept-encoding", "gzip").until_status(200).await?;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let received = get(http, "A.example.com", "/old/x").until_status(200).await?.received()?;
    assert_eq!((&*received.path, &*received.host), ("/new/x", "inner"));
    let started = received.headers["x-request-start"].clone();
    let seconds = started.strip_prefix("t=").and_then(|t| t.parse::<f64>().ok());
    assert!(seconds.is_some_and(|s| s > 1e9), "{started}");
    assert_eq!(get(http, "a.example.com", "/big").until_status(418).await?.body.len(), 100_000);
    let upgrade = get(http, "a.example.com", "/https").until_status(301).await?;
    assert_eq!(upgrade.header("location"), Some("https://a.example.com/https"));

    get(http, "x.wild.example.com:8080", "/").until_status(204).await?;
    get(http, "x.y.wild.example.com", "/").until_status(404).await?;
    get(http, "unknown.example.com", "/").until_status(404).await?;

    let stats = proxy.envoy.listener(STATS_HEALTH).await?;
    get(stats, "any", "/ready").until_status(200).await?;
    assert!(get(stats, "any", "/stats/prometheus").until_status(200).await?.text().contains("envoy_"));
    get(stats, "any", "/quitquitquit").until_status(404).await?;
    proxy.assert_accepted().await
}

#[tokio::test]
async fn tls_connections_reach_their_host_and_no_other() -> Result<()> {
    let ca = TestCa::new("test")?;
    let leaf = ca.leaf(&["a.example.com", "*.example.com"])?;
    let pair = certificate(&leaf, 1);
    let inner = Echo::start_tls("inner", &ca.leaf(&["pass.example.com"])?, None).await?;
    let tcp = TcpEcho::start("tcp").await?;
    let mut store = Store::default();
    endpoint(&mut store, "inner", inner.address());
    endpoint(&mut store, "tcp", tcp.address());
    let proxied = TcpProxy { clusters: vec![weighted(cluster("tcp"), 1)], origin: origin() };
    let hosts = vec![
        tls_host("a.example.com", &pair, respond(201, "")),
        tls_host("*.example.com", &pair, respond(202, "")),
        passthrough("pass.example.com", "inner"),
        VirtualHost {
            fqdn: "tcp.example.com".into(),
            namespace: Some("default".into()),
            plain: Vec::new(),
            secure: Some(SecureHost::Tcp { tls: termination("default/cert", pair.clone()), proxy: proxied }),
        },
    ];
    let mut proxy = Proxy::start(settings(), store, hosts).await?;
    let https = proxy.envoy.listener(INGRESS_HTTPS).await?;
    let with = |sni: &str| Tls::trusting(&ca).sni(sni);
    for (sni, host, status) in [
        ("a.example.com", "a.example.com:8443", 201),
        ("a.example.com", "b.example.com", 421),
        ("a.example.com", "other.example.org", 421),
        ("b.example.com", "b.example.com", 202),
        ("b.example.com", "c.example.com", 202),
        ("b.example.com", "a.example.com", 421),
        ("b.example.com", "pass.example.com", 421),
        ("b.example.com", "example.com", 421),
    ] {
        let answer = get(https, host, "/").tls(with(sni)).http2().until_status(status).await;
        answer.with_context(|| format!("SNI {sni}, host {host}"))?;
    }
    let received =
        get(https, "pass.example.com", "/").tls(with("pass.example.com")).until_status(200).await?;
    assert_eq!(received.received()?.tls.and_then(|t| t.sni).as_deref(), Some("pass.example.com"));
    let echoed = tcp_exchange(https, Some(&with("tcp.example.com")), b"hello").await?;
    assert!(String::from_utf8_lossy(&echoed).contains("hello"), "{echoed:?}");
    proxy.assert_accepted().await
}

#[tokio::test]
async fn connections_of_a_removed_host_are_told_it_is_gone() -> Result<()> {
    let ca = TestCa::new("test")?;
    let pair = certificate(&ca.leaf(&["a.example.com", "b.example.com"])?, 1);
    let upstream = Echo::start("upstream").await?;
    let mut store = Store::default();
    endpoint(&mut store, "upstream", upstream.address());
    let gone_host = tls_host("a.example.com", &pair, vec![route(prefix("/"), to("upstream"))]);
    let stays = tls_host("b.example.com", &pair, respond(204, ""));
    let mut proxy = Proxy::start(settings(), store, vec![gone_host, stays]).await?;
    let https = proxy.envoy.listener(INGRESS_HTTPS).await?;
    let request = get(https, "a.example.com", "/").tls(Tls::trusting(&ca).sni("a.example.com"));
    request.until_status(200).await?;
    let mut connection = request.connect().await?;
    assert_eq!(connection.send(&request).await?.status, 200);

    proxy.change(vec![gone("a.example.com")]);
    eventually(SOON, || async {
        let clusters = proxy.envoy.clusters().await?.to_string();
        anyhow::ensure!(!clusters.contains("default/upstream"), "the cluster is still there");
        Ok(())
    })
    .await?;
    assert_eq!(connection.send(&request).await?.status, 404, "not 503 for a cluster that is gone");
    assert!(request.send().await.is_err(), "nobody presents a certificate for this name any more");
    proxy.assert_accepted().await
}

#[tokio::test]
async fn endpoints_and_hosts_change_while_envoy_runs() -> Result<()> {
    let (one, two) = (Echo::start("one").await?, Echo::start("two").await?);
    let mut store = Store::default();
    endpoint(&mut store, "upstream", one.address());
    let hosts = vec![plain("a.example.com", vec![route(prefix("/"), to("upstream"))])];
    let mut proxy = Proxy::start(settings(), store, hosts).await?;
    let http = proxy.envoy.listener(INGRESS_HTTP).await?;
    let request = get(http, "a.example.com", "/");
    let from = |instance: &str| {
        let instance = instance.to_owned();
        move |answer: &contour_e2e::client::Answer| {
            let received = answer.received()?;
            anyhow::ensure!(received.instance == instance, "from {}", received.instance);
            Ok(())
        }
    };
    request.until(from(one.instance())).await?;

    let slice = slice("upstream", "upstream", &[("127.0.0.1", true)], &[(None, two.address().port())]);
    let changes = apply(&mut proxy.store, slice);
    let step = proxy.assembly.endpoints(&proxy.store, &changes.endpoints);
    assert_eq!(step.set.len(), 1);
    assert_eq!(step.set[0].0, ResourceType::Endpoints);
    proxy.ads.apply(step);
    request.until(from(two.instance())).await?;

    proxy.change(vec![set(plain("b.example.com", respond(204, "")))]);
    get(http, "b.example.com", "/").until_status(204).await?;
    proxy.change(vec![gone("a.example.com")]);
    request.until_status(404).await?;
    proxy.assert_accepted().await
}

#[tokio::test]
async fn a_refused_host_is_found_and_harms_no_other() -> Result<()> {
    let good = || plain("good.example.com", respond(201, ""));
    let mut proxy = Proxy::start(settings(), Store::default(), vec![good()]).await?;
    let http = proxy.envoy.listener(INGRESS_HTTP).await?;
    get(http, "good.example.com", "/").until_status(201).await?;

    let unbalanced = RouteMatch { path: PathMatch::Regex("/(".to_owned()), ..prefix("") };
    let bad = plain("bad.example.com", vec![route(unbalanced, Action::UpgradeToHttps)]);
    proxy.change(vec![set(bad), set(plain("other.example.com", respond(202, "")))]);
    get(http, "other.example.com", "/").until_status(202).await?;
    get(http, "good.example.com", "/").until_status(201).await?;

    let rejection = proxy.ads.next_rejection().await?;
    assert_eq!((&*rejection.resource, &*rejection.part), ("ingress_http", "bad.example.com"));
    assert!(rejection.message.contains("missing )"), "{}", rejection.message);
    let owners = proxy.assembly.owners(rejection.kind, &rejection.resource, &rejection.part);
    assert_eq!(owners.iter().map(|o| &*o.host).collect::<Vec<_>>(), ["bad.example.com"]);
    assert_eq!(proxy.ads.rejections(), [rejection], "nothing else was refused");
    Ok(())
}

#[tokio::test]
async fn a_rotated_ca_takes_effect_at_once() -> Result<()> {
    let (old, new) = (TestCa::new("old")?, TestCa::new("new")?);
    let upstream = Echo::start_tls("upstream", &new.leaf(&["upstream.example.com"])?, None).await?;
    let mut store = Store::default();
    endpoint(&mut store, "upstream", upstream.address());
    let host = |ca: &TestCa| {
        let mut verified = validation("default/ca", &["upstream.example.com"]);
        verified.ca = Arc::new(contour_objects::CaBundle { pem: ca.pem().as_bytes().to_vec(), elements: 1 });
        let cluster = Cluster { protocol: Protocol::Tls, validation: Some(verified), ..cluster("upstream") };
        let action = Action::Forward(Box::new(forward(vec![weighted(cluster, 1)])));
        plain("a.example.com", vec![route(prefix("/"), action)])
    };
    let mut proxy = Proxy::start(settings(), store, vec![host(&old)]).await?;
    let request = get(proxy.envoy.listener(INGRESS_HTTP).await?, "a.example.com", "/");
    request.until_status(503).await?;
    proxy.change(vec![set(host(&new))]);
    // A cluster that changes waits for its endpoints again: not for Envoy's 15 s until it gives up.
    tokio::time::timeout(Duration::from_secs(10), request.until_status(200)).await??;
    proxy.assert_accepted().await
}

/// A certificate with the key of another: Envoy refuses it, and compares what comes next with it.
fn mismatched(one: &Leaf, other: &Leaf, number: u8) -> TlsPair {
    TlsPair { key: other.key_pem.as_bytes().to_vec(), ..certificate(one, number) }
}

#[tokio::test]
async fn a_refused_certificate_harms_no_other_and_heals() -> Result<()> {
    let ca = TestCa::new("test")?;
    let leaf = |name: &str| ca.leaf(&[name]);
    let (good, bad, other) = (leaf("good.example.com")?, leaf("bad.example.com")?, leaf("x.example.com")?);
    let mut proxy = Proxy::start(settings(), Store::default(), vec![]).await?;
    let host = |fqdn: &str, pair: TlsPair, status| set(tls_host(fqdn, &pair, respond(status, "")));
    proxy.change(vec![
        host("bad.example.com", mismatched(&bad, &other, 2), 202),
        host("good.example.com", certificate(&good, 1), 201),
        host("x.example.com", certificate(&other, 3), 203),
    ]);
    let rejection = proxy.ads.next_rejection().await?;
    let owners = proxy.assembly.owners(rejection.kind, &rejection.resource, &rejection.part);
    assert_eq!(owners.iter().map(|o| &*o.host).collect::<Vec<_>>(), ["bad.example.com"], "{rejection:?}");
    let https = proxy.envoy.listener(INGRESS_HTTPS).await?;
    let answers = async |fqdn: &str, status| {
        let request = get(https, fqdn, "/").tls(Tls::trusting(&ca).sni(fqdn));
        request.until_status(status).await.with_context(|| fqdn.to_owned())
    };
    answers("good.example.com", 201).await?;
    answers("x.example.com", 203).await?;
    proxy.change(vec![host("bad.example.com", certificate(&bad, 2), 202)]);
    answers("bad.example.com", 202).await?;

    // Refused once more, it serves on with its last good certificate, also when the listener changes.
    proxy.change(vec![host("bad.example.com", mismatched(&bad, &other, 2), 202)]);
    let rejection = proxy.ads.next_rejection().await?;
    assert_eq!(rejection.kind, ResourceType::Secret);
    proxy.change(vec![host("y.example.com", certificate(&other, 4), 204)]);
    let request = get(https, "y.example.com", "/").tls(Tls::trusting_anyone().sni("y.example.com"));
    request.until_status(204).await?;
    answers("bad.example.com", 202).await?;
    answers("good.example.com", 201).await?;
    let refused = proxy.ads.rejections().iter().map(|r| r.resource.clone()).collect::<BTreeSet<_>>();
    assert_eq!(refused, [rejection.resource].into(), "nothing else is refused");
    Ok(())
}

/// Most of what is suspect is innocent, and nobody's requests notice the search.
#[tokio::test]
async fn many_refused_hosts_are_found_while_the_others_serve() -> Result<()> {
    let good = |n: usize| plain(&format!("h{n:03}.example.com"), respond(201, ""));
    let mut proxy = Proxy::start(settings(), Store::default(), (0..200).map(good).collect()).await?;
    let http = proxy.envoy.listener(INGRESS_HTTP).await?;
    get(http, "h199.example.com", "/").until_status(201).await?;
    let serving = Watcher::start(get(http, "h007.example.com", "/"));
    let bad = |n: usize| {
        let unbalanced = RouteMatch { path: PathMatch::Regex("/(".to_owned()), ..prefix("") };
        plain(&format!("b{n:02}.example.com"), vec![route(unbalanced, Action::UpgradeToHttps)])
    };
    let news = (0..10).map(bad).chain((200..230).map(good)).map(set).collect();
    proxy.change(news);
    while proxy.ads.rejections().len() < 10 {
        proxy.ads.next_rejection().await?;
    }
    get(http, "h229.example.com", "/").until_status(201).await?;
    let found: BTreeSet<&str> = proxy.ads.rejections().iter().map(|r| &*r.part).collect();
    assert!(found.len() == 10 && found.iter().all(|part| part.starts_with('b')), "{found:?}");
    let runs = serving.stop();
    assert!(runs.iter().all(|run| run.outcome == Outcome::Status(201)), "{runs:?}");
    // Each was found by halves among 40 suspects, whatever else the table holds.
    let refusals = proxy.envoy.stat("http.ingress_http.rds.ingress_http.update_rejected").await?;
    assert!(refusals <= 10 * 6, "{refusals} refusals");
    Ok(())
}

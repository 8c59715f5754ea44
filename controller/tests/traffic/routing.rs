//! Which request goes where, and how it looks when it arrives.

use std::collections::BTreeSet;

use contour_e2e::certs::TestCa;
use contour_e2e::echo::Echo;

use crate::world::{Options, World, all, proxy, service, simple};

#[tokio::test]
async fn the_most_specific_route_answers() {
    let world = World::start(&proxy(
        "team/www",
        r"
  virtualhost: {fqdn: www.example.com}
  routes:
  - conditions: [{prefix: /}]
    directResponsePolicy: {statusCode: 200, body: all}
  - conditions: [{prefix: /api}]
    directResponsePolicy: {statusCode: 200, body: api}
  - conditions: [{prefix: /api/v1}]
    directResponsePolicy: {statusCode: 200, body: v1}
  - conditions: [{exact: /api/v1}]
    directResponsePolicy: {statusCode: 200, body: exact}
  - conditions: [{regex: '/api/v[0-9]+/users/[^/]+'}]
    directResponsePolicy: {statusCode: 200, body: regex}
  - conditions: [{prefix: /api}, {header: {name: x-canary, exact: 'yes'}}]
    directResponsePolicy: {statusCode: 200, body: canary}
  - conditions: [{prefix: /api}, {header: {name: x-canary, exact: 'yes'}}, {queryParameter: {name: debug, present: true}}]
    directResponsePolicy: {statusCode: 200, body: canary-debug}
  - conditions: [{prefix: /agent}, {header: {name: user-agent, contains: Firefox}}]
    directResponsePolicy: {statusCode: 200, body: firefox}
  - conditions: [{prefix: /agent}, {header: {name: user-agent, notcontains: bot, treatMissingAsEmpty: true}}]
    directResponsePolicy: {statusCode: 200, body: person}
  - conditions: [{prefix: /q}, {queryParameter: {name: lang, prefix: de, ignoreCase: true}}]
    directResponsePolicy: {statusCode: 200, body: deutsch}
  - conditions: [{prefix: /q}, {queryParameter: {name: lang, regex: 'f[rm]'}}]
    directResponsePolicy: {statusCode: 200, body: français}
",
    ))
    .await;
    world.get("www.example.com", "/").until_status(200).await.unwrap();
    for (path, header, expected) in [
        ("/", None, "all"),
        ("/ap", None, "all"),
        ("/api", None, "api"),
        ("/api/v1", None, "exact"),
        ("/api/v1/", None, "v1"),
        ("/api/v2/users/me", None, "regex"),
        ("/api/v2/users/me/keys", None, "api"),
        ("/api/v2", Some(("x-canary", "yes")), "canary"),
        ("/api/v2", Some(("x-canary", "no")), "api"),
        ("/api/v2?debug=1", Some(("x-canary", "yes")), "canary-debug"),
        ("/agent", Some(("user-agent", "Firefox/1")), "firefox"),
        ("/agent", Some(("user-agent", "a bot")), "all"),
        ("/agent", None, "person"),
        ("/q?lang=DE-at", None, "deutsch"),
        ("/q?lang=fm", None, "français"),
        ("/q?lang=fmx", None, "all"),
        // Paths are normalized before they are matched.
        ("/x/../api//v1/", None, "v1"),
    ] {
        let request = world.get("www.example.com", path);
        let request = header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.text(), expected, "{path} {header:?}");
        let answer = request.http2().send().await.unwrap();
        assert_eq!(answer.text(), expected, "{path} {header:?} over HTTP/2");
    }
    world.nothing_rejected().await;
}

#[tokio::test]
async fn a_host_is_put_together_from_several_namespaces() {
    let (www, blog) = (Echo::start("www").await.unwrap(), Echo::start("blog").await.unwrap());
    let world = World::start(&all([
        service("edge/www", &[www.address()]).as_str(),
        &service("writers/blog", &[blog.address()]),
        &proxy(
            "edge/root",
            r"
  virtualhost: {fqdn: www.example.com}
  includes:
  - {name: blog, namespace: writers, conditions: [{prefix: /blog}]}
  - {name: gone, namespace: writers, conditions: [{prefix: /gone}]}
  routes:
  - services: [{name: www, port: 80}]
  - conditions: [{prefix: /nothing}]
    services: [{name: missing, port: 80}]
",
        ),
        &proxy(
            "writers/blog",
            r"
  routes:
  - services: [{name: blog, port: 80}]
  - conditions: [{prefix: /drafts}, {header: {name: x-writer, notpresent: true}}]
    directResponsePolicy: {statusCode: 403}
",
        ),
    ]))
    .await;
    world.get("www.example.com", "/").until_status(200).await.unwrap();
    let served = |path: &str| world.get("www.example.com", path);
    assert_eq!(served("/").send().await.unwrap().received().unwrap().service, "www");
    let blog = served("/blog/1?page=2").send().await.unwrap().received().unwrap();
    assert_eq!((blog.service.as_str(), blog.path.as_str()), ("blog", "/blog/1?page=2"));
    assert_eq!(served("/blog/drafts").send().await.unwrap().status, 403);
    assert_eq!(served("/blog/drafts").header("x-writer", "me").send().await.unwrap().status, 200);

    // An include that leads nowhere answers by itself, a Service that is not there as well, a host that is not there not at all.
    assert_eq!(served("/gone/1").send().await.unwrap().status, 502);
    assert_eq!(served("/nothing").send().await.unwrap().status, 503);
    assert_eq!(world.get("other.example.com", "/").send().await.unwrap().status, 404);
    world.until_error("edge", "root", ("IncludeError", "IncludeNotFound")).await;
    world.until_error("edge", "root", ("ServiceError", "ServiceUnresolvedReference")).await;
    // A port in the host header is not part of the name.
    assert_eq!(world.get("www.example.com:8080", "/").send().await.unwrap().status, 200);
    world.nothing_rejected().await;
}

#[tokio::test]
async fn weights_divide_requests_among_services() {
    let [old, new, idle] = [Echo::start("old"), Echo::start("new"), Echo::start("idle")];
    let (old, new, idle) = (old.await.unwrap(), new.await.unwrap(), idle.await.unwrap());
    let world = World::start(&all([
        service("team/old", &[old.address()]).as_str(),
        &service("team/new", &[new.address()]),
        &service("team/idle", &[idle.address()]),
        &proxy(
            "team/www",
            r"
  virtualhost: {fqdn: www.example.com}
  routes:
  - services: [{name: old, port: 80, weight: 3}, {name: new, port: 80, weight: 1}, {name: idle, port: 80, weight: 0}]
",
        ),
    ]))
    .await;
    let www = world.get("www.example.com", "/");
    www.until_status(200).await.unwrap();
    for _ in 0..200 {
        assert_eq!(www.send().await.unwrap().status, 200);
    }
    // Three in four, give or take eight standard deviations.
    assert!(
        (100..=200).contains(&old.requests()) && new.requests() > 5,
        "{} {}",
        old.requests(),
        new.requests()
    );
    assert_eq!(idle.requests(), 0);
}

#[tokio::test]
async fn a_prefix_is_rewritten_with_and_without_its_slash() {
    let (_echo, world) = World::web(
        r"
  virtualhost: {fqdn: www.example.com}
  routes:
  - conditions: [{prefix: /old}]
    pathRewritePolicy: {replacePrefix: [{replacement: /new}]}
    services: [{name: web, port: 80}]
  - conditions: [{prefix: /gone/}]
    pathRewritePolicy: {replacePrefix: [{replacement: /}]}
    services: [{name: web, port: 80}]
",
    )
    .await;
    world.get("www.example.com", "/old").until_status(200).await.unwrap();
    for (path, expected) in [
        ("/old", "/new"),
        ("/old/", "/new/"),
        ("/old/a/b?c=d", "/new/a/b?c=d"),
        ("/gone", "/"),
        ("/gone/", "/"),
        ("/gone/a", "/a"),
    ] {
        let received = world.get("www.example.com", path).send().await.unwrap().received().unwrap();
        assert_eq!(received.path, expected, "{path}");
    }
}

#[tokio::test]
async fn headers_are_set_and_removed_as_written() {
    let (_echo, world) = World::web(
        r#"
  virtualhost: {fqdn: www.example.com}
  routes:
  - requestHeadersPolicy:
      set:
      - {name: Host, value: inner.example.com}
      - {name: X-Discount, value: "100% and %41"}
      - {name: X-Agent, value: "%REQ(User-Agent)%"}
      remove: [X-Secret]
    responseHeadersPolicy:
      set: [{name: Cache-Control, value: no-store}]
      remove: [X-Inner]
    services: [{name: web, port: 80}]
  - conditions: [{prefix: /dynamic}]
    requestHeadersPolicy: {set: [{name: Host, value: "%REQ(X-Tenant)%"}]}
    services: [{name: web, port: 80}]
  - conditions: [{prefix: /service}]
    services:
    - name: web
      port: 80
      requestHeadersPolicy: {set: [{name: X-Of, value: "%CONTOUR_NAMESPACE%/%CONTOUR_SERVICE_NAME%:%CONTOUR_SERVICE_PORT%"}]}
      responseHeadersPolicy: {set: [{name: X-From, value: service}]}
"#,
    )
    .await;
    let request = world
        .get("www.example.com", "/")
        .header("x-secret", "s3cret")
        .header("user-agent", "tester")
        .header("x-echo-header", "x-inner: 1")
        .header("x-echo-header", "cache-control: public");
    let answer = request.until_status(200).await.unwrap();
    let received = answer.received().unwrap();
    assert_eq!(received.host, "inner.example.com");
    let header = |name: &str| received.headers.get(name).map(String::as_str);
    assert_eq!(header("x-discount"), Some("100% and %41"));
    assert_eq!(header("x-agent"), Some("tester"));
    assert_eq!(header("x-secret"), None);
    assert!(header("x-request-start").is_some_and(|start| start.starts_with("t=")), "{received:?}");
    assert_eq!((answer.header("cache-control"), answer.header("x-inner")), (Some("no-store"), None));

    let dynamic = world.get("www.example.com", "/dynamic").header("x-tenant", "seven.example.com");
    assert_eq!(dynamic.send().await.unwrap().received().unwrap().host, "seven.example.com");
    let answer = world.get("www.example.com", "/service").send().await.unwrap();
    assert_eq!(answer.header("x-from"), Some("service"));
    assert_eq!(answer.received().unwrap().headers["x-of"], "team/web:80");
    world.nothing_rejected().await;
}

#[tokio::test]
async fn a_redirect_changes_what_it_names_and_keeps_the_rest() {
    let world = World::start(&proxy(
        "team/www",
        r"
  virtualhost: {fqdn: www.example.com}
  routes:
  - requestRedirectPolicy: {hostname: new.example.com}
  - conditions: [{prefix: /all}]
    requestRedirectPolicy: {scheme: https, hostname: a.example.com, port: 9443, statusCode: 308, path: /there}
  - conditions: [{prefix: /part}]
    requestRedirectPolicy: {prefix: /piece, statusCode: 301}
",
    ))
    .await;
    world.get("www.example.com", "/").until_status(302).await.unwrap();
    for (path, status, location) in [
        ("/a?b=c", 302, "http://new.example.com/a?b=c"),
        ("/all/of/it", 308, "https://a.example.com:9443/there"),
        ("/part/a", 301, "http://www.example.com/piece/a"),
    ] {
        let answer = world.get("www.example.com", path).send().await.unwrap();
        assert_eq!((answer.status, answer.header("location")), (status, Some(location)), "{path}");
    }
}

#[tokio::test]
async fn a_wildcard_stands_for_one_label_and_yields_to_names() {
    let world = World::start(&all([
        proxy(
            "team/any",
            "  virtualhost: {fqdn: '*.example.com'}\n  routes: [{directResponsePolicy: {statusCode: 200, body: any}}]",
        )
        .as_str(),
        &proxy(
            "team/one",
            "  virtualhost: {fqdn: one.example.com}\n  routes: [{directResponsePolicy: {statusCode: 200, body: one}}]",
        ),
    ]))
    .await;
    world.get("one.example.com", "/").until_status(200).await.unwrap();
    for (host, status, body) in [
        ("one.example.com", 200, "one"),
        ("two.example.com", 200, "any"),
        ("two.example.com:8080", 200, "any"),
        ("ONE.example.com", 200, "one"),
        ("TWO.Example.com", 200, "any"),
        ("a.two.example.com", 404, ""),
        ("example.com", 404, ""),
        ("twoxexample.com", 404, ""),
    ] {
        let answer = world.get(host, "/").send().await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{host}");
    }
}

#[tokio::test]
async fn a_websocket_goes_through_where_it_is_enabled() {
    let (_echo, world) = World::web(
        r"
  virtualhost: {fqdn: www.example.com}
  routes:
  - services: [{name: web, port: 80}]
  - conditions: [{prefix: /ws}]
    enableWebsockets: true
    services: [{name: web, port: 80}]
",
    )
    .await;
    world.get("www.example.com", "/ws").until_status(200).await.unwrap();
    assert_eq!(world.get("www.example.com", "/ws").websocket(b"hello").await.unwrap(), b"hello");
    let refused = world.get("www.example.com", "/").websocket(b"hello").await.unwrap_err();
    assert!(format!("{refused:#}").contains("status 403"), "{refused:#}");
}

#[tokio::test]
async fn an_external_name_is_served_only_if_enabled_and_never_as_this_machine() {
    let objects = all([
        "apiVersion: v1\nkind: Service\nmetadata: {namespace: team, name: away}\n\
         spec: {type: ExternalName, externalName: away.example.com, ports: [{port: 80}]}",
        "apiVersion: v1\nkind: Service\nmetadata: {namespace: team, name: home}\n\
         spec: {type: ExternalName, externalName: 127.0.0.1, ports: [{port: 80}]}",
        &simple("away", "away.example.com", "away"),
        &simple("home", "home.example.com", "home"),
    ]);
    let unresolved = ("ServiceError", "ServiceUnresolvedReference");
    let off = World::start(&objects).await;
    off.get("away.example.com", "/").until_status(503).await.unwrap();
    let message = off.until_error("team", "away", unresolved).await;
    assert!(message.contains("enableExternalNameService"), "{message}");
    drop(off);

    let options = Options { external_names: true, ..Options::default() };
    let on = World::start_with(options, TestCa::new("hosts").unwrap(), &objects).await;
    on.get("home.example.com", "/").until_status(503).await.unwrap();
    let message = on.until_error("team", "home", unresolved).await;
    assert!(message.contains("\"127.0.0.1\" points to this machine"), "{message}");
    let clusters = on.envoy().clusters().await.unwrap().to_string();
    assert!(clusters.contains("team/away/80") && !clusters.contains("team/home/80"), "{clusters}");
    on.nothing_rejected().await;
}

#[tokio::test]
async fn one_broken_proxy_harms_no_other() {
    let echo = Echo::start("web").await.unwrap();
    let world = World::start(&all([
        service("team/web", &[echo.address()]).as_str(),
        &simple("good", "good.example.com", "web"),
        &simple("twice-a", "twice.example.com", "web"),
        &simple("twice-b", "twice.example.com", "web"),
        &proxy(
            "team/bad",
            r"
  virtualhost: {fqdn: bad.example.com}
  routes:
  - services: [{name: web, port: 80}]
  - conditions: [{regex: '/('}]
    services: [{name: web, port: 80}]
",
        ),
    ]))
    .await;
    world.get("good.example.com", "/").until_status(200).await.unwrap();
    world.until_error("team", "bad", ("RouteError", "PathMatchConditionsNotValid")).await;
    for name in ["twice-a", "twice-b"] {
        world.until_error("team", name, ("VirtualHostError", "DuplicateVhost")).await;
    }
    let statuses: BTreeSet<u16> = [
        world.get("twice.example.com", "/").send().await.unwrap().status,
        world.get("bad.example.com", "/").send().await.unwrap().status,
    ]
    .into();
    assert_eq!(statuses, BTreeSet::from([404]));
    world.nothing_rejected().await;
}

//! The listeners that are not for traffic.

use std::net::SocketAddr;

use contour_e2e::certs::TestCa;
use contour_e2e::client::get;
use contour_e2e::echo::Echo;
use contour_e2e::ports;
use contour_envoy::ListenerSettings;
use hyper::Method;

use crate::world::{Options, World, all, proxy, service, simple};

#[tokio::test]
async fn probes_and_metrics_are_served_and_administration_only_reads() {
    let direct = proxy(
        "team/www",
        "  virtualhost: {fqdn: www.example.com}\n  routes: [{directResponsePolicy: {statusCode: 200}}]",
    );
    let [admin_port] = ports::free();
    let options = Options { admin_port, ..Options::default() };
    let admin = SocketAddr::from(([127, 0, 0, 1], options.admin_port));
    let world = World::start_with(options, TestCa::new("hosts").unwrap(), &direct).await;
    world.get("www.example.com", "/").until_status(200).await.unwrap();

    let stats = world.stats().await;
    assert_eq!(get(stats, "any", "/ready").until_status(200).await.unwrap().text(), "LIVE\n");
    let answer = get(stats, "any", "/stats").send().await.unwrap();
    assert!(answer.text().contains("http.ingress_http.downstream_rq_2xx: "), "{}", answer.status);
    let answer = get(stats, "any", "/stats/prometheus").send().await.unwrap();
    assert!(answer.text().contains("envoy_http_downstream_rq_xx{"), "{}", answer.status);
    for path in ["/", "/config_dump", "/quitquitquit", "/healthcheck/fail", "/certs"] {
        assert_eq!(get(stats, "any", path).send().await.unwrap().status, 404, "{path}");
    }

    for path in [
        "/certs",
        "/clusters",
        "/listeners",
        "/config_dump",
        "/memory",
        "/ready",
        "/runtime",
        "/server_info",
        "/stats",
    ] {
        assert_eq!(get(admin, "any", path).until_status(200).await.unwrap().status, 200, "{path}");
    }
    for path in
        ["/quitquitquit", "/healthcheck/fail", "/healthcheck/ok", "/logging", "/config_dump/../quitquitquit"]
    {
        for method in [Method::GET, Method::POST] {
            let answer = get(admin, "any", path).method(method.clone()).send().await.unwrap();
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    let posted = get(admin, "any", "/stats").method(Method::POST).send().await.unwrap();
    assert_eq!(posted.status, 404, "administration is read, not told");
    assert_eq!(world.get("www.example.com", "/").send().await.unwrap().status, 200);
    world.nothing_rejected().await;
}

#[tokio::test]
async fn a_load_balancer_in_front_tells_who_the_client_is() {
    let echo = Echo::start("web").await.unwrap();
    let listener = ListenerSettings { proxy_protocol: true, ..ListenerSettings::default() };
    let options = Options { listener, ..Options::default() };
    let objects = [service("team/web", &[echo.address()]), simple("www", "www.example.com", "web")];
    let objects = all(objects.iter().map(String::as_str));
    let world = World::start_with(options, TestCa::new("hosts").unwrap(), &objects).await;
    let www = world.get("www.example.com", "/");
    let told = www.clone().proxy_protocol("192.0.2.7:4711".parse().unwrap());
    let received = told.until_status(200).await.unwrap().received().unwrap();
    assert_eq!(received.headers["x-forwarded-for"], "192.0.2.7");
    www.send().await.unwrap_err();
}

#[tokio::test]
async fn answers_are_compressed_for_who_asks() {
    let echo = Echo::start("web").await.unwrap();
    let objects = [service("team/web", &[echo.address()]), simple("www", "www.example.com", "web")];
    let world = World::start(&all(objects.iter().map(String::as_str))).await;
    let www = world.get("www.example.com", "/");
    let plain = www.until_status(200).await.unwrap();
    assert_eq!((plain.header("content-encoding"), plain.header("server")), (None, Some("envoy")));
    let compressed = www.header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    assert!(compressed.body.starts_with(&[0x1f, 0x8b]), "gzip's magic number");
}

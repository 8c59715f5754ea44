//! TCP by server name.

use contour_e2e::certs::TestCa;
use contour_e2e::client::{Tls, get, tcp_exchange};
use contour_e2e::echo::{Echo, TcpEcho};

use crate::world::{World, all, proxy, service, simple, tls_secret};

#[tokio::test]
async fn passed_through_or_terminated_by_name_and_next_to_http() {
    let (ca, own) = (TestCa::new("hosts").unwrap(), TestCa::new("upstreams").unwrap());
    let leaf = ca.leaf(&["term.example.com", "web.example.com"]).unwrap();
    let inner = own.leaf(&["pass.example.com"]).unwrap();
    let secure = Echo::start_tls("secure", &inner, None).await.unwrap();
    let (raw, web) = (TcpEcho::start("raw").await.unwrap(), Echo::start("web").await.unwrap());
    let world = World::start_tls(
        ca,
        &all([
            service("team/secure", &[secure.address()]).as_str(),
            &service("team/raw", &[raw.address()]),
            &service("team/web", &[web.address()]),
            &tls_secret("team/cert", &leaf),
            &simple("clear", "clear.example.com", "web"),
            &proxy(
                "team/pass",
                r"
  virtualhost: {fqdn: pass.example.com, tls: {passthrough: true}}
  tcpproxy: {services: [{name: secure, port: 80}]}
  routes: [{permitInsecure: true, services: [{name: web, port: 80}]}]
",
            ),
            &proxy(
                "team/term",
                r"
  virtualhost: {fqdn: term.example.com, tls: {secretName: cert}}
  tcpproxy: {include: {name: raw}}
",
            ),
            &proxy("team/raw", "  tcpproxy: {services: [{name: raw, port: 80}]}"),
            &proxy(
                "team/web",
                r"
  virtualhost: {fqdn: web.example.com, tls: {secretName: cert}}
  routes: [{services: [{name: web, port: 80}]}]
",
            ),
        ]),
    )
    .await;
    world.get_tls("web.example.com", "/").await.until_status(200).await.unwrap();
    let https = world.https().await;

    let pass = get(https, "pass.example.com", "/").tls(Tls::trusting(&own));
    let answer = pass.until_status(200).await.unwrap();
    assert!(answer.came_with(&inner).unwrap(), "the upstream's own certificate");
    let received = answer.received().unwrap();
    assert_eq!(received.tls.unwrap().sni.as_deref(), Some("pass.example.com"));
    assert!(!received.headers.contains_key("x-request-id"), "Envoy did not look inside");

    let tls = Tls::trusting(&world.ca).sni("term.example.com");
    let bytes = tcp_exchange(https, Some(&tls), b"any \0 bytes").await.unwrap();
    assert_eq!(bytes, b"raw\nany \0 bytes");

    // Routes next to a TCP proxy are served in the clear.
    let clear = world.get("pass.example.com", "/").send().await.unwrap();
    assert_eq!(clear.received().unwrap().service, "web");
    world.nothing_rejected().await;
}

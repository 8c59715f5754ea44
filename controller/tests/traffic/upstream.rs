//! The way from Envoy to the endpoints: protocols and trust.

use contour_e2e::certs::TestCa;
use contour_e2e::echo::Echo;
use hyper::Method;
use serde_json::json;

use crate::world::{World, all, annotated_service, ca_secret, proxy, service};

fn routes(services: &[(&str, &str)]) -> String {
    let routes = services.iter().map(|(path, service)| {
        format!("  - conditions: [{{prefix: {path}}}]\n    services: [{{{service}, port: 80}}]\n")
    });
    proxy(
        "team/www",
        &format!("  virtualhost: {{fqdn: www.example.com}}\n  routes:\n{}", routes.collect::<String>()),
    )
}

#[tokio::test]
async fn every_protocol_is_spoken_to_services_that_ask_for_it() {
    let ca = TestCa::new("upstreams").unwrap();
    let plain = Echo::start("plain").await.unwrap();
    let secure = Echo::start_tls("secure", &ca.leaf(&["secure.team"]).unwrap(), None).await.unwrap();
    let typed = service("team/typed", &[plain.address()]).replace(
        r#""name":"http","port":80"#,
        r#""appProtocol":"kubernetes.io/h2c","name":"http","port":80"#,
    );
    assert!(typed.contains("appProtocol"));
    let noted = json!({"projectcontour.io/upstream-protocol.tls": "http"});
    let world = World::start(&all([
        service("team/plain", &[plain.address()]).as_str(),
        &service("team/secure", &[secure.address()]),
        &typed,
        &annotated_service("team/noted", &[secure.address()], &noted),
        &routes(&[
            ("/", "name: plain"),
            ("/h2c", "name: plain, protocol: h2c"),
            ("/tls", "name: secure, protocol: tls"),
            ("/h2", "name: secure, protocol: h2"),
            ("/typed", "name: typed"),
            ("/noted", "name: noted"),
        ]),
    ]))
    .await;
    world.get("www.example.com", "/").until_status(200).await.unwrap();
    for (path, service, protocol, alpn) in [
        ("/", "plain", "HTTP/1.1", None),
        ("/h2c", "plain", "HTTP/2.0", None),
        ("/tls", "secure", "HTTP/1.1", Some("http/1.1")),
        ("/h2", "secure", "HTTP/2.0", Some("h2")),
        ("/typed", "plain", "HTTP/2.0", None),
        ("/noted", "secure", "HTTP/1.1", Some("http/1.1")),
    ] {
        let received = world.get("www.example.com", path).send().await.unwrap().received().unwrap();
        assert_eq!((received.service.as_str(), received.protocol.as_str()), (service, protocol), "{path}");
        assert_eq!(received.tls.is_some(), service == "secure", "{path}");
        assert_eq!(received.tls.and_then(|tls| tls.alpn).as_deref(), alpn, "{path}");
    }
    world.nothing_rejected().await;
}

#[tokio::test]
async fn an_upstream_is_believed_only_with_the_right_name_from_the_right_authority() {
    let (ca, other) = (TestCa::new("upstreams").unwrap(), TestCa::new("strangers").unwrap());
    let leaf = ca.leaf(&["secure.team.svc"]).unwrap();
    let secure = Echo::start_tls("secure", &leaf, None).await.unwrap();
    let validated = |ca: &str, names: &str| {
        format!("name: secure, protocol: tls, validation: {{caSecret: {ca}, {names}}}")
    };
    let world = World::start(&all([
        service("team/secure", &[secure.address()]).as_str(),
        &ca_secret("team/ca", &ca),
        &ca_secret("team/other", &other),
        &routes(&[
            ("/right", &validated("ca", "subjectName: secure.team.svc")),
            (
                "/one-of-two",
                &validated("ca", "subjectName: new.team.svc, subjectNames: [new.team.svc, secure.team.svc]"),
            ),
            ("/name", &validated("ca", "subjectName: another.team.svc")),
            ("/authority", &validated("other", "subjectName: secure.team.svc")),
        ]),
    ]))
    .await;
    world.get("www.example.com", "/right").until_status(200).await.unwrap();
    for (path, status) in [("/right", 200), ("/one-of-two", 200), ("/name", 503), ("/authority", 503)] {
        let answer = world.get("www.example.com", path).send().await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    world.nothing_rejected().await;
}

#[tokio::test]
async fn grpc_keeps_its_trailers() {
    let echo = Echo::start("grpc").await.unwrap();
    let world = World::start(&all([
        service("team/grpc", &[echo.address()]).as_str(),
        &routes(&[("/", "name: grpc, protocol: h2c")]),
    ]))
    .await;
    let call = world
        .get("www.example.com", "/echo.Echo/Say")
        .http2()
        .method(Method::POST)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(b"\0\0\0\0\x02hi".to_vec());
    let answer = call.until_status(200).await.unwrap();
    assert_eq!(answer.body.as_ref(), b"\0\0\0\0\x02hi");
    assert_eq!(answer.trailers["grpc-status"], "0");
    // Without anybody there, the caller reads that in gRPC's own words.
    drop(echo);
    let gone = call
        .until(|answer| {
            let status = answer.header("grpc-status");
            anyhow::ensure!(status == Some("14"), "grpc-status {status:?}");
            Ok(())
        })
        .await;
    assert_eq!(gone.unwrap().status, 200);
}

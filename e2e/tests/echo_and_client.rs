//! The echo upstreams and the client, against each other without a proxy in between.

use anyhow::Result;
use contour_e2e::certs::TestCa;
use contour_e2e::client::{Outcome, Run, Tls, Watcher, get, tcp_exchange};
use contour_e2e::echo::{Echo, TcpEcho};
use contour_e2e::wait::eventually;
use hyper::{Method, StatusCode, Version};

#[tokio::test]
async fn one_port_speaks_both_versions_and_tells_what_it_received() -> Result<()> {
    let echo = Echo::start("cart").await?;
    let request = get(echo.address(), "shop.example:8080", "/items?page=2")
        .method(Method::POST)
        .header("X-Test", "a")
        .header("X-Test", "b")
        .body("hello");

    let over_1 = request.send().await?;
    assert_eq!((over_1.status, over_1.version), (200, Version::HTTP_11));
    let received = over_1.received()?;
    assert_eq!(received.service, "cart");
    assert_eq!(received.instance, format!("cart-{}", echo.address().port()));
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/items?page=2"));
    assert_eq!((received.host.as_str(), received.protocol.as_str()), ("shop.example:8080", "HTTP/1.1"));
    assert_eq!((received.headers["x-test"].as_str(), received.body.as_str()), ("a, b", "hello"));
    assert_eq!(received.tls, None);

    let over_2 = request.clone().http2().send().await?;
    assert_eq!(over_2.version, Version::HTTP_2);
    let received = over_2.received()?;
    assert_eq!((received.host.as_str(), received.protocol.as_str()), ("shop.example:8080", "HTTP/2.0"));
    assert_eq!((echo.requests(), echo.connections()), (2, 2));
    Ok(())
}

#[tokio::test]
async fn a_request_asks_for_status_delay_and_headers() -> Result<()> {
    let echo = Echo::start("echo").await?;
    let ask = |path: &str| get(echo.address(), "a.example", path);

    assert_eq!(ask("/status/503").send().await?.status, 503);
    assert_eq!(ask("/").header("x-echo-status", "418").send().await?.status, 418);
    assert_eq!(ask("/status/many").send().await?.status, 400);
    assert_eq!(ask("/delay/long").send().await?.status, 400);

    let started = std::time::Instant::now();
    assert_eq!(ask("/delay/120").send().await?.status, 200);
    assert!(started.elapsed().as_millis() >= 120);

    let with_headers =
        ask("/").header("x-echo-header", "Set-Cookie: a=1").header("x-echo-header", "Set-Cookie: b=2");
    let answer = with_headers.send().await?;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);

    echo.force_status(Some(StatusCode::BAD_GATEWAY));
    assert_eq!(ask("/").send().await?.status, 502);
    echo.force_status(None);
    assert_eq!(ask("/").send().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn tls_tells_names_protocol_and_client() -> Result<()> {
    let ca = TestCa::new("test CA")?;
    let leaf = ca.leaf(&["a.example", "b.example"])?;
    let client = ca.client("some client")?;
    let echo = Echo::start_tls("secure", &leaf, Some(ca.pem())).await?;
    let tls = Tls::trusting(&ca).identity(&client);

    let answer = get(echo.address(), "a.example:443", "/").tls(tls.clone()).http2().send().await?;
    assert_eq!((answer.status, answer.version), (200, Version::HTTP_2));
    assert!(answer.came_with(&leaf)? && !answer.came_with(&client)?);
    let received = answer.received()?.tls.expect("the echo serves TLS");
    assert_eq!(received.sni.as_deref(), Some("a.example"));
    assert_eq!(received.alpn.as_deref(), Some("h2"));
    assert!(received.client_certificate.is_some());

    // The name in TLS and the host in HTTP are independent, which is how a 421 comes about.
    let crossed =
        get(echo.address(), "b.example", "/").tls(tls.clone().sni("a.example")).send().await?.received()?;
    assert_eq!((crossed.host.as_str(), crossed.protocol.as_str()), ("b.example", "HTTP/1.1"));
    assert_eq!(crossed.tls.and_then(|tls| tls.sni).as_deref(), Some("a.example"));

    let nameless = Tls::trusting_anyone().identity(&client).without_sni();
    let nameless = get(echo.address(), "a.example", "/").tls(nameless).send().await?.received()?;
    assert_eq!(nameless.tls.and_then(|tls| tls.sni), None);

    let stranger = get(echo.address(), "a.example", "/").tls(Tls::trusting(&ca)).send().await;
    assert!(stranger.is_err(), "it insists on a client certificate");
    let elsewhere = get(echo.address(), "c.example", "/").tls(tls).send().await;
    assert!(format!("{:#}", elsewhere.unwrap_err()).contains("not valid for name"), "the name is verified");
    Ok(())
}

#[tokio::test]
async fn an_expired_certificate_is_refused() -> Result<()> {
    let ca = TestCa::new("test CA")?;
    let echo = Echo::start_tls("old", &ca.expired_leaf(&["a.example"])?, None).await?;
    let error = get(echo.address(), "a.example", "/").tls(Tls::trusting(&ca)).send().await.unwrap_err();
    assert!(format!("{error:#}").contains("certificate expired"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn websocket_grpc_and_tcp_come_back() -> Result<()> {
    let echo = Echo::start("echo").await?;
    let frames = get(echo.address(), "a.example", "/ws").websocket(b"\x81\x03abc").await?;
    assert_eq!(frames, b"\x81\x03abc");

    let message: &[u8] = b"\0\0\0\0\x02hi";
    let call = get(echo.address(), "a.example", "/pkg.Service/Method").method(Method::POST).http2();
    let answer =
        call.header("content-type", "application/grpc").header("te", "trailers").body(message).send().await?;
    assert_eq!((&answer.body[..], answer.trailers["grpc-status"].as_bytes()), (message, &b"0"[..]));

    let tcp = TcpEcho::start("db").await?;
    assert_eq!(tcp_exchange(tcp.address(), None, b"ping").await?, b"db\nping");
    assert_eq!(tcp.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn a_connection_carries_several_requests() -> Result<()> {
    let echo = Echo::start("echo").await?;
    for first in [get(echo.address(), "a.example", "/1"), get(echo.address(), "a.example", "/1").http2()] {
        let before = echo.connections();
        let mut connection = first.connect().await?;
        assert_eq!(connection.send(&first).await?.received()?.host, "a.example");
        let second = get(echo.address(), "b.example", "/2");
        assert_eq!(connection.send(&second).await?.received()?.host, "b.example");
        assert_eq!(echo.connections() - before, 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_dropped_echo_is_gone_and_can_come_back() -> Result<()> {
    // An address of its own, so that no other test is given the port in between.
    let echo = Echo::start_at("echo", ([127, 0, 0, 9], 0).into()).await?;
    let address = echo.address();
    let mut kept = get(address, "a.example", "/").connect().await?;
    drop(echo);
    eventually(contour_e2e::wait::SOON, || async {
        anyhow::ensure!(get(address, "a.example", "/").send().await.is_err(), "the port still answers");
        Ok(())
    })
    .await?;
    assert!(kept.send(&get(address, "a.example", "/")).await.is_err(), "its connections went with it");

    let _back = Echo::start_at("again", address).await?;
    assert_eq!(get(address, "a.example", "/").send().await?.received()?.service, "again");
    Ok(())
}

#[tokio::test]
async fn the_watcher_sees_a_single_bad_answer() -> Result<()> {
    let echo = Echo::start("echo").await?;
    let mut watcher = Watcher::start(get(echo.address(), "a.example", "/"));
    watcher.until_status(200).await?;
    echo.force_status(Some(StatusCode::SERVICE_UNAVAILABLE));
    watcher.until_status(503).await?;
    echo.force_status(None);
    watcher.until_status(200).await?;
    watcher.after(3).await?;
    let runs = watcher.stop();
    let outcomes: Vec<_> = runs.iter().map(|run| run.outcome.clone()).collect();
    assert_eq!(outcomes, [200, 503, 200].map(Outcome::Status));
    assert!(matches!(runs.last(), Some(Run { requests: 4.., .. })), "{runs:?}");
    Ok(())
}

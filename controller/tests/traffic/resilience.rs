//! What happens when upstreams are slow, broken, or too many to choose from.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::ensure;
use contour_e2e::client::{Request, Watcher};
use contour_e2e::echo::Echo;
use contour_e2e::wait::{SOON, eventually};
use hyper::StatusCode;
use serde_json::json;

use crate::world::{World, all, annotated_service, assert_clean, proxy, service, simple};

async fn three(name: &str) -> ([Echo; 3], Vec<SocketAddr>) {
    let [a, b, c] = [Echo::start(name), Echo::start(name), Echo::start(name)];
    let echoes = [a.await.unwrap(), b.await.unwrap(), c.await.unwrap()];
    let addresses = echoes.iter().map(Echo::address).collect();
    (echoes, addresses)
}

/// The instances that answer, over some requests that must all succeed.
async fn instances(request: &Request, requests: usize) -> anyhow::Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    for _ in 0..requests {
        let answer = request.send().await?;
        ensure!(answer.status == 200, "status {}", answer.status);
        seen.insert(answer.received()?.instance);
    }
    Ok(seen)
}

#[tokio::test]
async fn slow_answers_are_cut_off_and_broken_ones_tried_again() {
    let (echo, world) = World::web(
        r"
  virtualhost: {fqdn: www.example.com}
  routes:
  - services: [{name: web, port: 80}]
  - conditions: [{prefix: /delay}]
    timeoutPolicy: {response: 200ms}
    services: [{name: web, port: 80}]
  - conditions: [{prefix: /retry}]
    retryPolicy: {count: 3, retryOn: [5xx]}
    services: [{name: web, port: 80}]
  - conditions: [{prefix: /codes}]
    retryPolicy: {count: 1, retryOn: [retriable-status-codes], retriableStatusCodes: [429]}
    services: [{name: web, port: 80}]
  - conditions: [{prefix: /never}]
    retryPolicy: {count: -1}
    services: [{name: web, port: 80}]
",
    )
    .await;
    world.get("www.example.com", "/").until_status(200).await.unwrap();
    let www = |path: &str| world.get("www.example.com", path);
    assert_eq!(www("/delay/20000").send().await.unwrap().status, 504);
    assert_eq!(www("/delay/0").send().await.unwrap().status, 200);

    for (path, status, tries) in [
        ("/retry", StatusCode::SERVICE_UNAVAILABLE, 4),
        ("/", StatusCode::SERVICE_UNAVAILABLE, 1),
        ("/retry", StatusCode::NOT_FOUND, 1),
        ("/codes", StatusCode::TOO_MANY_REQUESTS, 2),
        ("/codes", StatusCode::SERVICE_UNAVAILABLE, 1),
        ("/never", StatusCode::SERVICE_UNAVAILABLE, 1),
    ] {
        echo.force_status(Some(status));
        let before = echo.requests();
        assert_eq!(www(path).send().await.unwrap().status, status.as_u16(), "{path} {status}");
        assert_eq!(echo.requests() - before, tries, "{path} {status}");
    }
    echo.force_status(None);
    assert_eq!(www("/retry").send().await.unwrap().status, 200);
}

#[tokio::test]
async fn an_unhealthy_endpoint_gets_no_requests_until_it_is_well() {
    let ([well, sick, _], addresses) = three("web").await;
    let route = proxy(
        "team/www",
        r"
  virtualhost: {fqdn: www.example.com}
  routes:
  - healthCheckPolicy: {path: /healthy, intervalSeconds: 1, timeoutSeconds: 1, unhealthyThresholdCount: 1, healthyThresholdCount: 1}
    services: [{name: web, port: 80}]
",
    );
    let mut world = World::start(&route).await;
    world.put("web.yaml", &service("team/web", &addresses[..1])).await;
    let www = world.get("www.example.com", "/");
    www.until_status(200).await.unwrap();
    // Only now: until a cluster has traffic, Envoy checks once a minute.
    sick.force_status(Some(StatusCode::SERVICE_UNAVAILABLE));
    let mut watcher = Watcher::start(www.clone());
    world.put("web.yaml", &service("team/web", &addresses[..2])).await;
    let checked = sick.requests();
    eventually(SOON, || async {
        ensure!(sick.requests() >= checked + 2, "not checked twice");
        Ok(())
    })
    .await
    .unwrap();
    watcher.after(20).await.unwrap();
    assert_clean(&watcher.stop(), &[200]);

    let serving = async |wanted: &[&Echo]| {
        let wanted: BTreeSet<&str> = wanted.iter().map(|echo| echo.instance()).collect();
        let served = eventually(SOON, || async {
            let seen = instances(&www, 6).await?;
            ensure!(seen.iter().map(String::as_str).eq(wanted.iter().copied()), "{seen:?}");
            Ok(())
        });
        served.await.unwrap_or_else(|error| panic!("{wanted:?}: {error:#}"));
    };
    sick.force_status(None);
    serving(&[&well, &sick]).await;
    sick.force_status(Some(StatusCode::SERVICE_UNAVAILABLE));
    serving(&[&well]).await;
}

#[tokio::test]
async fn a_client_stays_with_its_endpoint() {
    let (_echoes, addresses) = three("web").await;
    let world = World::start(&all([
        service("team/web", &addresses).as_str(),
        &proxy(
            "team/www",
            r"
  virtualhost: {fqdn: www.example.com}
  routes:
  - services: [{name: web, port: 80}]
  - conditions: [{prefix: /hash}]
    loadBalancerPolicy:
      strategy: RequestHash
      requestHashPolicies: [{headerHashOptions: {headerName: X-User}, terminal: true}]
    services: [{name: web, port: 80}]
  - conditions: [{prefix: /cookie}]
    loadBalancerPolicy: {strategy: Cookie}
    services: [{name: web, port: 80}]
",
        ),
    ]))
    .await;
    world.get("www.example.com", "/").until_status(200).await.unwrap();
    assert_eq!(instances(&world.get("www.example.com", "/"), 30).await.unwrap().len(), 3);

    let mut all = BTreeSet::new();
    for user in 0..20 {
        let hashed = world.get("www.example.com", "/hash").header("x-user", &user.to_string());
        let seen = instances(&hashed, 4).await.unwrap();
        assert_eq!(seen.len(), 1, "user {user}");
        all.extend(seen);
    }
    assert!(all.len() > 1, "twenty users do not all share one endpoint of three");

    let mut all = BTreeSet::new();
    for _ in 0..20 {
        let first = world.get("www.example.com", "/cookie").send().await.unwrap();
        let cookie = first.header("set-cookie").unwrap().to_owned();
        assert!(cookie.starts_with("X-Contour-Session-Affinity=") && cookie.contains("Path=/"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap();
        let again = world.get("www.example.com", "/cookie").header("cookie", cookie);
        let seen = instances(&again, 3).await.unwrap();
        assert_eq!(seen, BTreeSet::from([first.received().unwrap().instance]));
        all.extend(seen);
    }
    assert!(all.len() > 1, "twenty clients do not all share one endpoint of three");
}

#[tokio::test]
async fn a_circuit_breaker_limits_what_a_service_gets_at_once() {
    let echo = Echo::start("web").await.unwrap();
    let world = World::start(&all([
        annotated_service("team/web", &[echo.address()], &json!({"projectcontour.io/max-requests": "1"}))
            .as_str(),
        &proxy(
            "team/www",
            "  virtualhost: {fqdn: www.example.com}\n  routes: [{services: [{name: web, port: 80}]}]",
        ),
    ]))
    .await;
    world.get("www.example.com", "/").until_status(200).await.unwrap();
    let before = echo.requests();
    let slow = world.get("www.example.com", "/delay/3000");
    let slow = tokio::spawn(async move { slow.send().await });
    eventually(SOON, || async {
        ensure!(echo.requests() > before, "the slow request has not arrived");
        Ok(())
    })
    .await
    .unwrap();
    let refused = world.get("www.example.com", "/").send().await.unwrap();
    assert_eq!((refused.status, refused.header("x-envoy-overloaded")), (503, Some("true")));
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    assert_eq!(world.get("www.example.com", "/").send().await.unwrap().status, 200);
}

/// It accepts connections, as the kernel does for whoever listens, and never answers.
#[tokio::test]
async fn a_check_that_is_never_answered_delays_nobody_for_an_hour() {
    let hole = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let web = Echo::start("web").await.unwrap();
    let checked = |name: &str, timeout: u32| {
        proxy(
            &format!("team/{name}"),
            &format!(
                "  virtualhost: {{fqdn: {name}.example.com}}\n  routes:\n  - services: [{{name: hole, port: 80}}]\n    healthCheckPolicy: {{path: /, timeoutSeconds: {timeout}}}\n"
            ),
        )
    };
    let objects = all([
        service("team/web", &[web.address()]).as_str(),
        &service("team/hole", &[hole.local_addr().unwrap()]),
        &simple("good", "good.example.com", "web"),
        &checked("slow", 3600),
    ]);
    // An Envoy that starts.
    let mut world = World::start(&objects).await;
    world.get("good.example.com", "/").until_status(200).await.unwrap();
    // One that serves.
    let more = all([checked("slower", 36_000).as_str(), &simple("new", "new.example.com", "web")]);
    world.put("more.yaml", &more).await;
    world.get("new.example.com", "/").until_status(200).await.unwrap();
    world.nothing_rejected().await;
}

//! Hosts with TLS.

use contour_e2e::certs::TestCa;
use contour_e2e::client::{Tls, Watcher};
use contour_e2e::echo::Echo;
use rustls::version::{TLS12, TLS13};

use crate::world::{World, all, proxy, service, tls_secret};

fn host(name: &str, fqdn: &str, tls: &str, route: &str) -> String {
    proxy(
        &format!("team/{name}"),
        &format!(
            "  virtualhost: {{fqdn: {fqdn}, tls: {{{tls}}}}}\n  routes:\n  - services: [{{name: web, port: 80}}]\n{route}"
        ),
    )
}

#[tokio::test]
async fn each_name_has_its_certificate_and_the_clear_leads_to_tls() {
    let ca = TestCa::new("hosts").unwrap();
    let (a, b) = (ca.leaf(&["a.example.com"]).unwrap(), ca.leaf(&["b.example.com"]).unwrap());
    let web = Echo::start("web").await.unwrap();
    let open =
        "  - conditions: [{prefix: /open}]\n    permitInsecure: true\n    services: [{name: web, port: 80}]";
    let world = World::start_tls(
        ca,
        &all([
            service("team/web", &[web.address()]).as_str(),
            &tls_secret("team/a", &a),
            &tls_secret("team/b", &b),
            &host("a", "a.example.com", "secretName: a", open),
            &host("b", "b.example.com", "secretName: b", ""),
        ]),
    )
    .await;
    for (name, leaf) in [("a.example.com", &a), ("b.example.com", &b)] {
        let answer = world.get_tls(name, "/").await.until_status(200).await.unwrap();
        assert!(answer.came_with(leaf).unwrap(), "{name}");
        let headers = answer.received().unwrap().headers;
        assert_eq!(headers["x-forwarded-proto"], "https");
        let answer = world.get_tls(name, "/").await.http2().send().await.unwrap();
        assert_eq!((answer.status, format!("{:?}", answer.version).as_str()), (200, "HTTP/2.0"), "{name}");
    }
    let clear = world.get("a.example.com", "/x?y=z").send().await.unwrap();
    assert_eq!((clear.status, clear.header("location")), (301, Some("https://a.example.com/x?y=z")));
    assert_eq!(world.get("a.example.com", "/open/door").send().await.unwrap().status, 200);
    assert_eq!(world.get("b.example.com", "/open/door").send().await.unwrap().status, 301);

    // Who asks for another name, or none, gets no certificate at all.
    let to_a = world.get_tls("a.example.com", "/").await;
    for tls in [Tls::trusting_anyone().sni("c.example.com"), Tls::trusting_anyone().without_sni()] {
        to_a.clone().tls(tls).send().await.unwrap_err();
    }
    world.nothing_rejected().await;
}

#[tokio::test]
async fn a_connection_for_one_name_is_not_one_for_another() {
    let ca = TestCa::new("hosts").unwrap();
    // Both names in one certificate: browsers then send both over one HTTP/2 connection.
    let both = ca.leaf(&["a.example.com", "b.example.com", "*.wild.example.com"]).unwrap();
    let web = Echo::start("web").await.unwrap();
    let world = World::start_tls(
        ca,
        &all([
            service("team/web", &[web.address()]).as_str(),
            &tls_secret("team/both", &both),
            &host("a", "a.example.com", "secretName: both", ""),
            &host("b", "b.example.com", "secretName: both", ""),
            &host("wild", "'*.wild.example.com'", "secretName: both", ""),
            &host("own", "own.wild.example.com", "secretName: both", ""),
        ]),
    )
    .await;
    for name in ["a.example.com", "b.example.com", "x.wild.example.com", "own.wild.example.com"] {
        world.get_tls(name, "/").await.until_status(200).await.unwrap();
    }
    let a = world.get_tls("a.example.com", "/").await;
    let b = world.get_tls("b.example.com", "/").await;
    let x = world.get_tls("x.wild.example.com", "/").await;
    let y = world.get_tls("y.wild.example.com", "/").await;
    let own = world.get_tls("own.wild.example.com", "/").await;
    for http2 in [false, true] {
        let version = |request: &contour_e2e::client::Request| {
            if http2 { request.clone().http2() } else { request.clone() }
        };
        let mut connection = version(&a).connect().await.unwrap();
        assert_eq!(connection.send(&version(&a)).await.unwrap().status, 200);
        assert_eq!(connection.send(&version(&b)).await.unwrap().status, 421, "HTTP/2: {http2}");
        // Names of one wildcard are one host, but a name that has its own is another.
        let mut connection = version(&x).connect().await.unwrap();
        for (request, status) in [(&x, 200), (&y, 200), (&own, 421), (&a, 421)] {
            assert_eq!(connection.send(&version(request)).await.unwrap().status, status, "{request:?}");
        }
        let mut connection = version(&own).connect().await.unwrap();
        for (request, status) in [(&own, 200), (&x, 421)] {
            assert_eq!(connection.send(&version(request)).await.unwrap().status, status, "{request:?}");
        }
    }
    // Case and port make no other name.
    let upper =
        world.get_tls("A.Example.com:8443", "/").await.tls(Tls::trusting(&world.ca).sni("a.example.com"));
    assert_eq!(upper.send().await.unwrap().status, 200);
    let deep = world.get_tls("x.y.wild.example.com", "/").await.tls(Tls::trusting_anyone());
    assert_eq!(deep.send().await.unwrap().status, 404, "a wildcard stands for one label");
}

#[tokio::test]
async fn the_versions_of_tls_are_limited_as_written() {
    let ca = TestCa::new("hosts").unwrap();
    let leaf = ca.leaf(&["new.example.com", "old.example.com", "any.example.com"]).unwrap();
    let web = Echo::start("web").await.unwrap();
    let world = World::start_tls(
        ca,
        &all([
            service("team/web", &[web.address()]).as_str(),
            &tls_secret("team/cert", &leaf),
            &host("new", "new.example.com", "secretName: cert, minimumProtocolVersion: '1.3'", ""),
            &host("old", "old.example.com", "secretName: cert, maximumProtocolVersion: '1.2'", ""),
            &host("any", "any.example.com", "secretName: cert", ""),
        ]),
    )
    .await;
    for name in ["new.example.com", "old.example.com", "any.example.com"] {
        world.get_tls(name, "/").await.until_status(200).await.unwrap();
    }
    for (name, v12, v13) in
        [("new.example.com", false, true), ("old.example.com", true, false), ("any.example.com", true, true)]
    {
        for (version, accepted) in [(&TLS12, v12), (&TLS13, v13)] {
            let request = world.get_tls(name, "/").await.tls(Tls::trusting(&world.ca).only(version));
            assert_eq!(request.send().await.is_ok(), accepted, "{name} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_namespace_needs_its_delegation_and_is_renewed_in_place() {
    let ca = TestCa::new("hosts").unwrap();
    let first = ca.leaf(&["*.example.com"]).unwrap();
    let second = ca.leaf(&["*.example.com"]).unwrap();
    let web = Echo::start("web").await.unwrap();
    let mut world = World::start_tls(
        ca,
        &all([
            service("team/web", &[web.address()]).as_str(),
            &host("own", "own.example.com", "secretName: certs/wildcard", ""),
            // A host in the clear, so that there is a listener.
            &proxy(
                "team/clear",
                "  virtualhost: {fqdn: clear.example.com}\n  routes: [{services: [{name: web, port: 80}]}]",
            ),
        ]),
    )
    .await;
    world.put("secret.yaml", &tls_secret("certs/wildcard", &first)).await;
    world.until_error("team", "own", ("TLSError", "DelegationNotPermitted")).await;
    // The status may be there before Envoy listens.
    world.get("own.example.com", "/").until_status(404).await.unwrap();
    world
        .put(
            "delegation.yaml",
            "apiVersion: projectcontour.io/v1\nkind: TLSCertificateDelegation\n\
             metadata: {namespace: certs, name: all}\n\
             spec: {delegations: [{secretName: wildcard, targetNamespaces: [team]}]}",
        )
        .await;
    let own = world.get_tls("own.example.com", "/").await;
    let came_with = |leaf| {
        let leaf = Clone::clone(leaf);
        move |answer: &contour_e2e::client::Answer| {
            anyhow::ensure!(answer.status == 200 && answer.came_with(&leaf)?, "another certificate");
            Ok(())
        }
    };
    own.until(came_with(&first)).await.unwrap();
    world.put("secret.yaml", &tls_secret("certs/wildcard", &second)).await;
    own.until(came_with(&second)).await.unwrap();
    world.remove("delegation.yaml").await;
    world.until_error("team", "own", ("TLSError", "DelegationNotPermitted")).await;
    world.get("own.example.com", "/").until_status(404).await.unwrap();
    world.nothing_rejected().await;
}

#[tokio::test]
async fn a_certificate_that_envoy_would_refuse_takes_no_other_host_down() {
    let ca = TestCa::new("hosts").unwrap();
    let leaf = ca.leaf(&["base.example.com", "new.example.com", "weak.example.com"]).unwrap();
    // For tests only, and of no use elsewhere: Envoy wants 2048 bits.
    let mut weak = leaf.clone();
    weak.cert_pem = include_str!("rsa-1024.crt").to_owned();
    weak.key_pem = include_str!("rsa-1024.key").to_owned();
    let web = Echo::start("web").await.unwrap();
    let mut world = World::start_tls(
        ca,
        &all([
            service("team/web", &[web.address()]).as_str(),
            &tls_secret("team/cert", &leaf),
            &host("base", "base.example.com", "secretName: cert", ""),
        ]),
    )
    .await;
    let base = world.get_tls("base.example.com", "/").await;
    base.until_status(200).await.unwrap();
    let mut watcher = Watcher::start(base);
    watcher.until_status(200).await.unwrap();
    world.put("secret.yaml", &tls_secret("team/weak", &weak)).await;
    world.put("weak.yaml", &host("weak", "weak.example.com", "secretName: weak", "")).await;
    let message = world.until_error("team", "weak", ("TLSError", "SecretNotValid")).await;
    assert!(message.contains("RSA key of 1024 bits"), "{message}");

    world.put("new.yaml", &host("new", "new.example.com", "secretName: cert", "")).await;
    world.get_tls("new.example.com", "/").await.until_status(200).await.unwrap();
    world.put("secret.yaml", &tls_secret("team/weak", &leaf)).await;
    world.get_tls("weak.example.com", "/").await.until_status(200).await.unwrap();
    world.until_valid("team", "weak").await;
    world.nothing_rejected().await;
    watcher.after(1).await.unwrap();
    crate::world::assert_clean(&watcher.stop(), &[200]);
}

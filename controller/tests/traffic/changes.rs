//! Changes, seen by a client that never looks away.

use contour_e2e::certs::TestCa;
use contour_e2e::client::{Outcome, Watcher};
use contour_e2e::echo::Echo;
use contour_envoy::bootstrap::XdsMode;

use crate::world::{Options, World, all, assert_clean, proxy, service, simple, tls_secret, until_from};

fn direct(name: &str, fqdn: &str) -> String {
    let spec =
        format!("  virtualhost: {{fqdn: {fqdn}}}\n  routes: [{{directResponsePolicy: {{statusCode: 200}}}}]");
    proxy(&format!("team/{name}"), &spec)
}

#[tokio::test]
async fn a_host_comes_and_goes_without_a_wrong_answer_between() {
    let web = Echo::start("web").await.unwrap();
    let mut world = World::start(&direct("base", "base.example.com")).await;
    world.get("base.example.com", "/").until_status(200).await.unwrap();
    let mut base = Watcher::start(world.get("base.example.com", "/"));
    let mut host = Watcher::start(world.get("www.example.com", "/"));
    host.until_status(404).await.unwrap();
    for round in 0..3 {
        // Everything at once, as `kubectl apply -f` does: endpoints, Service, HTTPProxy.
        let objects = [service("team/web", &[web.address()]), simple("www", "www.example.com", "web")];
        world.put("www.yaml", &all(objects.iter().map(String::as_str))).await;
        host.until_status(200).await.unwrap();
        host.after(20).await.unwrap();
        if round % 2 == 0 {
            world.remove("www.yaml").await;
        } else {
            // Only the HTTPProxy; the Service stays.
            world.put("www.yaml", &objects[0]).await;
        }
        host.until_status(404).await.unwrap();
        host.after(20).await.unwrap();
    }
    assert_clean(&host.stop(), &[404, 200]);
    base.after(1).await.unwrap();
    assert_clean(&base.stop(), &[200]);
    world.nothing_rejected().await;
}

#[tokio::test]
async fn a_host_with_tls_comes_and_goes_without_a_wrong_answer_between() {
    let ca = TestCa::new("hosts").unwrap();
    let leaf = ca.leaf(&["www.example.com", "base.example.com"]).unwrap();
    let web = Echo::start("web").await.unwrap();
    let host = |name: &str| {
        proxy(
            &format!("team/{name}"),
            &format!(
                "  virtualhost: {{fqdn: {name}.example.com, tls: {{secretName: cert}}}}\n  \
                 routes: [{{services: [{{name: web, port: 80}}]}}]"
            ),
        )
    };
    let objects = [service("team/web", &[web.address()]), tls_secret("team/cert", &leaf), host("base")];
    let mut world = World::start_tls(ca, &all(objects.iter().map(String::as_str))).await;
    world.get_tls("base.example.com", "/").await.until_status(200).await.unwrap();
    let mut base = Watcher::start(world.get_tls("base.example.com", "/").await);
    base.until_status(200).await.unwrap();
    let mut www = Watcher::start(world.get_tls("www.example.com", "/").await);
    for _ in 0..2 {
        world.put("www.yaml", &host("www")).await;
        www.until_status(200).await.unwrap();
        www.after(10).await.unwrap();
        world.remove("www.yaml").await;
        // Without the host there is nobody to shake hands with.
        let refused = world.get_tls("www.example.com", "/").await;
        let gone = contour_e2e::wait::eventually(contour_e2e::wait::SOON, || async {
            anyhow::ensure!(refused.send().await.is_err(), "it is still served");
            Ok(())
        });
        gone.await.unwrap();
        world.get("www.example.com", "/").until_status(404).await.unwrap();
        www.after(10).await.unwrap();
    }
    // A connection that was accepted before the host went finds nothing behind it.
    for run in www.stop() {
        assert!(matches!(run.outcome, Outcome::Status(200 | 404) | Outcome::Failed(_)), "{run:?}");
    }
    base.after(1).await.unwrap();
    assert_clean(&base.stop(), &[200]);
    world.nothing_rejected().await;
}

#[tokio::test]
async fn endpoints_and_services_change_under_traffic() {
    let (blue, green) = (Echo::start("blue").await.unwrap(), Echo::start("green").await.unwrap());
    let mut world = World::start(&all([
        service("team/green", &[green.address()]).as_str(),
        &simple("www", "www.example.com", "web"),
    ]))
    .await;
    let www = world.get("www.example.com", "/");
    // No Service yet; then one without endpoints; then one that answers.
    www.until_status(503).await.unwrap();
    world.put("web.yaml", &service("team/web", &[])).await;
    assert_eq!(www.until_status(503).await.unwrap().status, 503);
    world.put("web.yaml", &service("team/web", &[blue.address()])).await;
    until_from(&www, "blue").await;

    let watcher = Watcher::start(www.clone());
    world.put("web.yaml", &service("team/web", &[green.address()])).await;
    until_from(&www, "green").await;
    // Another Service, hence another cluster: make before break.
    world.put("web.yaml", &service("team/web", &[blue.address()])).await;
    until_from(&www, "blue").await;
    world
        .put(
            "objects.yaml",
            &all([
                service("team/green", &[green.address()]).as_str(),
                &simple("www", "www.example.com", "green"),
            ]),
        )
        .await;
    until_from(&www, "green").await;
    world.remove("web.yaml").await;
    // Both upstreams are there all the time, so that nothing may fail.
    let mut watcher = watcher;
    watcher.after(20).await.unwrap();
    assert_clean(&watcher.stop(), &[200]);
    drop(blue);
    assert_eq!(www.send().await.unwrap().status, 200);
    world.nothing_rejected().await;
}

#[tokio::test]
async fn open_connections_outlive_changes_of_others_and_follow_their_own() {
    let ca = TestCa::new("hosts").unwrap();
    let names = ["own.example.com", "other.example.com"];
    let (first, second) = (ca.leaf(&names).unwrap(), ca.leaf(&names).unwrap());
    let host = |name: &str, status: u16| {
        proxy(
            &format!("team/{name}"),
            &format!(
                "  virtualhost: {{fqdn: {name}.example.com, tls: {{secretName: {name}}}}}\n  \
                 routes: [{{directResponsePolicy: {{statusCode: {status}}}}}]"
            ),
        )
    };
    let objects = [tls_secret("team/own", &first), host("own", 200)];
    let mut world = World::start_tls(ca, &all(objects.iter().map(String::as_str))).await;
    for http2 in [false, true] {
        let own = world.get_tls("own.example.com", "/").await;
        let own = if http2 { own.http2() } else { own };
        own.until_status(200).await.unwrap();
        let mut connection = own.connect().await.unwrap();
        assert_eq!(connection.send(&own).await.unwrap().status, 200);

        let other = [tls_secret("team/other", &first), host("other", 200)];
        world.put("other.yaml", &all(other.iter().map(String::as_str))).await;
        world.get_tls("other.example.com", "/").await.until_status(200).await.unwrap();
        assert_eq!(connection.send(&own).await.unwrap().status, 200, "another host came");
        let other = [tls_secret("team/other", &second), host("other", 410)];
        world.put("other.yaml", &all(other.iter().map(String::as_str))).await;
        world.get_tls("other.example.com", "/").await.until_status(410).await.unwrap();
        assert_eq!(connection.send(&own).await.unwrap().status, 200, "another host changed");
        world.remove("other.yaml").await;
        world.get("other.example.com", "/").until_status(404).await.unwrap();
        assert_eq!(connection.send(&own).await.unwrap().status, 200, "another host went");

        let changed = [tls_secret("team/own", &first), host("own", 203)];
        world.put("objects.yaml", &all(changed.iter().map(String::as_str))).await;
        own.until_status(203).await.unwrap();
        assert_eq!(connection.send(&own).await.unwrap().status, 203, "its own host changed");
        world.put("objects.yaml", &all(objects.iter().map(String::as_str))).await;
    }
    world.nothing_rejected().await;
}

#[tokio::test]
async fn an_envoy_that_speaks_sotw_is_served_as_well() {
    let ca = TestCa::new("hosts").unwrap();
    let leaf = ca.leaf(&["www.example.com"]).unwrap();
    let (blue, green) = (Echo::start("blue").await.unwrap(), Echo::start("green").await.unwrap());
    let host = |service: &str| {
        proxy(
            "team/www",
            &format!(
                "  virtualhost: {{fqdn: www.example.com, tls: {{secretName: cert}}}}\n  \
                 routes: [{{permitInsecure: true, services: [{{name: {service}, port: 80}}]}}]"
            ),
        )
    };
    let fixed = [
        service("team/blue", &[blue.address()]),
        service("team/green", &[green.address()]),
        tls_secret("team/cert", &leaf),
    ];
    let objects =
        |service: &str| format!("{}\n---\n{}", all(fixed.iter().map(String::as_str)), host(service));
    let options = Options { mode: XdsMode::Sotw, ..Options::default() };
    let mut world = World::start_with(options, ca, &objects("blue")).await;
    let (plain, secure) = (world.get("www.example.com", "/"), world.get_tls("www.example.com", "/").await);
    for request in [&plain, &secure] {
        until_from(request, "blue").await;
    }
    let mut watchers = [Watcher::start(plain.clone()), Watcher::start(secure.clone())];
    world.put("objects.yaml", &objects("green")).await;
    for request in [&plain, &secure] {
        until_from(request, "green").await;
    }
    for watcher in &mut watchers {
        watcher.after(10).await.unwrap();
    }
    for watcher in watchers {
        assert_clean(&watcher.stop(), &[200]);
    }
    world.remove("objects.yaml").await;
    world.put("base.yaml", &direct("base", "base.example.com")).await;
    world.get("base.example.com", "/").until_status(200).await.unwrap();
    world.nothing_rejected().await;
}

/// How many hosts there are where there are many, half of them with TLS.
const MANY: usize = 200;

fn many() -> Vec<String> {
    let host = |n: usize| {
        let tls = if n.is_multiple_of(2) { ", tls: {secretName: cert}" } else { "" };
        proxy(
            &format!("team/many-{n}"),
            &format!(
                "  virtualhost: {{fqdn: many-{n}.example.com{tls}}}\n  routes: [{{services: [{{name: web, port: 80}}]}}]"
            ),
        )
    };
    (0..MANY).map(host).collect()
}

async fn all_are_served(world: &World) {
    for n in 0..MANY {
        let name = format!("many-{n}.example.com");
        let request =
            if n.is_multiple_of(2) { world.get_tls(&name, "/").await } else { world.get(&name, "/") };
        request.until_status(200).await.unwrap();
    }
}

#[tokio::test]
async fn many_hosts_come_and_go_at_once() {
    let ca = TestCa::new("hosts").unwrap();
    let leaf = ca.leaf(&["*.example.com"]).unwrap();
    let web = Echo::start("web").await.unwrap();
    let base = [
        service("team/web", &[web.address()]),
        tls_secret("team/cert", &leaf),
        direct("base", "base.example.com"),
    ];
    let mut world = World::start_tls(ca, &all(base.iter().map(String::as_str))).await;
    world.get("base.example.com", "/").until_status(200).await.unwrap();
    let mut watcher = Watcher::start(world.get("base.example.com", "/"));
    for _ in 0..2 {
        world.put("many.yaml", &all(many().iter().map(String::as_str))).await;
        all_are_served(&world).await;
        world.remove("many.yaml").await;
        for n in 0..MANY {
            world.get(&format!("many-{n}.example.com"), "/").until_status(404).await.unwrap();
        }
    }
    watcher.after(1).await.unwrap();
    assert_clean(&watcher.stop(), &[200]);
    world.nothing_rejected().await;
}

#[tokio::test]
async fn what_envoy_rejects_among_many_is_found_from_the_start() {
    let ca = TestCa::new("hosts").unwrap();
    let leaf = ca.leaf(&["*.example.com"]).unwrap();
    let web = Echo::start("web").await.unwrap();
    // Eighteen hundred instructions: too many for this Envoy.
    let large = "/a{900}b{900}";
    let odd = |name: &str, tls: &str| {
        let routes = format!("[{{conditions: [{{regex: '{large}'}}], services: [{{name: web, port: 80}}]}}]");
        let spec = format!("  virtualhost: {{fqdn: {name}.example.com{tls}}}\n  routes: {routes}");
        proxy(&format!("team/{name}"), &spec)
    };
    let mut objects = many();
    objects.extend([
        service("team/web", &[web.address()]),
        tls_secret("team/cert", &leaf),
        odd("many-odd", ""),
        odd("many-odd-tls", ", tls: {secretName: cert}"),
    ]);
    let mut world = World::start_tls(ca, &all(objects.iter().map(String::as_str))).await;
    for name in ["many-odd", "many-odd-tls"] {
        let message = world.until_error("team", name, ("EnvoyError", "RejectedByEnvoy")).await;
        assert!(message.contains("program size"), "{message}");
    }
    all_are_served(&world).await;
    let others = |object: &String| !object.contains("many-odd");
    let mended = objects.iter().filter(|object| others(object)).map(String::as_str);
    world.put("objects.yaml", &all(mended)).await;
    world.put("odd.yaml", &simple("many-odd", "many-odd.example.com", "web")).await;
    world.get("many-odd.example.com", "/").until_status(200).await.unwrap();
    world.until_valid("team", "many-odd").await;
    all_are_served(&world).await;
}

//! Ingress.

use contour_e2e::certs::TestCa;
use contour_e2e::echo::Echo;

use crate::world::{World, all, proxy, service, tls_secret};

const HEAD: &str = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {namespace: team, name: ";

fn path(path: &str, kind: &str, service: &str) -> String {
    format!(
        "{{path: '{path}', pathType: {kind}, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}"
    )
}

#[tokio::test]
async fn path_types_and_backends_of_an_ingress() {
    let names = ["default", "web", "exact", "prefix", "regex"];
    let mut echoes = Vec::new();
    let mut objects = Vec::new();
    for name in names {
        let echo = Echo::start(name).await.unwrap();
        objects.push(service(&format!("team/{name}"), &[echo.address()]));
        echoes.push(echo);
    }
    let paths = [
        path("/", "Prefix", "web"),
        path("/exact", "Exact", "exact"),
        path("/pre/fix", "Prefix", "prefix"),
        path("/re/[0-9]+", "ImplementationSpecific", "regex"),
        path("/none", "Prefix", "missing"),
    ];
    objects.push(format!(
        "{HEAD}www}}\nspec:\n  defaultBackend: {{service: {{name: default, port: {{name: http}}}}}}\n\
         \x20 rules:\n  - host: www.example.com\n    http: {{paths: [{}]}}",
        paths.join(", ")
    ));
    objects.push(format!(
        "{HEAD}wild}}\nspec:\n  rules:\n  - host: '*.wild.example.com'\n    http: {{paths: [{}]}}",
        path("/", "Prefix", "web")
    ));
    let world = World::start(&all(objects.iter().map(String::as_str))).await;
    world.get("www.example.com", "/").until_status(200).await.unwrap();
    for (host, path, expected) in [
        ("www.example.com", "/", "web"),
        ("www.example.com", "/exact", "exact"),
        ("www.example.com", "/exact/", "web"),
        ("www.example.com", "/pre/fix", "prefix"),
        ("www.example.com", "/pre/fix/a", "prefix"),
        ("www.example.com", "/pre/fixes", "web"),
        ("www.example.com", "/re/12", "regex"),
        ("www.example.com", "/re/a", "web"),
        ("other.example.com", "/", "default"),
        ("a.wild.example.com", "/", "web"),
    ] {
        let answer = world.get(host, path).send().await.unwrap();
        assert_eq!(answer.received().unwrap().service, expected, "{host}{path}");
    }
    world.nothing_rejected().await;
}

#[tokio::test]
async fn an_ingress_with_tls_and_a_proxy_that_takes_its_host() {
    let ca = TestCa::new("hosts").unwrap();
    let leaf = ca.leaf(&["www.example.com", "only.example.com"]).unwrap();
    let (web, new) = (Echo::start("web").await.unwrap(), Echo::start("new").await.unwrap());
    let rule = |host: &str| format!("{{host: {host}, http: {{paths: [{}]}}}}", path("/", "Prefix", "web"));
    let mut world = World::start_tls(
        ca,
        &all([
            service("team/web", &[web.address()]).as_str(),
            &service("team/new", &[new.address()]),
            &tls_secret("team/cert", &leaf),
            &format!(
                "{HEAD}both}}\nspec: {{tls: [{{hosts: [www.example.com], secretName: cert}}], rules: [{}]}}",
                rule("www.example.com")
            ),
            &format!(
                "{HEAD}only, annotations: {{kubernetes.io/ingress.allow-http: 'false'}}}}\n\
                 spec: {{tls: [{{hosts: [only.example.com], secretName: cert}}], rules: [{}]}}",
                rule("only.example.com")
            ),
            &format!(
                "{HEAD}foreign}}\nspec: {{ingressClassName: nginx, rules: [{}]}}",
                rule("foreign.example.com")
            ),
        ]),
    )
    .await;
    for host in ["www.example.com", "only.example.com"] {
        let answer = world.get_tls(host, "/").await.until_status(200).await.unwrap();
        assert!(answer.came_with(&leaf).unwrap());
    }
    world.get("www.example.com", "/").until_status(200).await.unwrap();
    assert_eq!(world.get("only.example.com", "/").send().await.unwrap().status, 404);
    assert_eq!(world.get("foreign.example.com", "/").send().await.unwrap().status, 404);

    world
        .put(
            "proxy.yaml",
            &proxy(
                "team/www",
                "  virtualhost: {fqdn: www.example.com}\n  routes: [{services: [{name: new, port: 80}]}]",
            ),
        )
        .await;
    crate::world::until_from(&world.get("www.example.com", "/"), "new").await;
    world.remove("proxy.yaml").await;
    crate::world::until_from(&world.get("www.example.com", "/"), "web").await;
    world.nothing_rejected().await;
}

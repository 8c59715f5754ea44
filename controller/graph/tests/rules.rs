//! Rules that depend on settings, and what no schema would let through: sources without one exist.

mod support;

use contour_graph::model::TlsVersion;
use contour_graph::{Graph, Settings};
use contour_objects::{Changes, EndpointSlice, Event, Object, Store};
use serde_json::json;
use support::{build, ingress, proxy, served, service, told};

const WEB: &str = "routes: [{services: [{name: web, port: 80}]}]";

fn root(fqdn: &str) -> String {
    format!("virtualhost: {{fqdn: {fqdn:?}}}\n{WEB}")
}

#[test]
fn hosts_are_compared_without_case() {
    let objects = vec![
        service("a/web", None),
        proxy("a/one", &root("WWW.Example.com")),
        proxy("a/two", &root("www.example.com")),
        proxy("a/alone", &root("ALONE.example.com")),
    ];
    let (graph, update) = build(Settings::default(), objects);
    let duplicate = "VirtualHostError/DuplicateVhost: fqdn \"www.example.com\" is used in multiple HTTPProxies: a/one, a/two";
    assert_eq!(told(&graph, "a/one"), [duplicate]);
    assert_eq!(told(&graph, "a/two"), [duplicate]);
    assert!(served(&update).starts_with("host alone.example.com\n"), "{}", served(&update));
}

#[test]
fn a_root_needs_a_dns_name() {
    for fqdn in
        ["", "*", "a.*.example.com", "a_b.example.com", "-a.example.com", "a..b", "a b", "*.", "\u{e9}.com"]
    {
        let (graph, update) = build(Settings::default(), vec![proxy("a/www", &root(fqdn))]);
        assert!(served(&update).is_empty());
        assert!(told(&graph, "a/www")[0].starts_with("VirtualHostError/FQDNNotSpecified: "), "{fqdn}");
    }
}

#[test]
fn roots_in_other_namespaces_harm_only_themselves() {
    let settings = Settings { root_namespaces: ["a".to_owned()].into(), ..Settings::default() };
    let child = proxy("b/child", WEB);
    let including = "virtualhost: {fqdn: www.example.com}\nincludes: [{name: child, namespace: b}]";
    let objects = vec![
        service("b/web", None),
        child,
        proxy("a/www", including),
        proxy("b/www", &root("www.example.com")),
        proxy("b/other", &root("other.example.com")),
    ];
    let (graph, update) = build(settings, objects);
    let barred = "RootNamespaceError/RootProxyNotAllowedInNamespace: root HTTPProxy cannot be defined in this namespace";
    assert_eq!(told(&graph, "b/www"), [barred]);
    assert_eq!(told(&graph, "b/other"), [barred]);
    assert!(told(&graph, "a/www").is_empty() && told(&graph, "b/child").is_empty());
    assert_eq!(served(&update), "host www.example.com\n  plain  prefix / -> b/web:80 [HTTPProxy b/child]\n");
}

#[test]
fn configured_classes_leave_out_everything_else() {
    let settings = Settings { classes: vec!["inner".to_owned(), "outer".to_owned()], ..Settings::default() };
    let class = |class: &str, fqdn: &str| format!("ingressClassName: {class}\n{}", root(fqdn));
    let objects = vec![
        service("a/web", None),
        proxy("a/inner", &class("inner", "inner.example.com")),
        proxy("a/outer", &class("outer", "outer.example.com")),
        proxy("a/contour", &class("contour", "contour.example.com")),
        proxy("a/none", &root("none.example.com")),
    ];
    let (graph, update) = build(settings, objects);
    let hosts: Vec<&str> = update.hosts.iter().map(|(fqdn, _)| &**fqdn).collect();
    assert_eq!(hosts, ["inner.example.com", "outer.example.com"]);
    assert_eq!(graph.statuses().count(), 2);
}

#[test]
fn external_names_are_off_unless_enabled() {
    let objects = || vec![service("a/web", Some("192.0.2.1")), proxy("a/www", &root("www.example.com"))];
    let (graph, update) = build(Settings::default(), objects());
    assert_eq!(
        told(&graph, "a/www"),
        [
            "ServiceError/ServiceUnresolvedReference: Spec.Routes unresolved service reference: Service \"a/web\" is of type \
          ExternalName: such Services are not enabled (enableExternalNameService)"
        ]
    );
    assert!(served(&update).contains("answer 503"));
    let enabled = Settings { external_names: true, ..Settings::default() };
    let (graph, update) = build(enabled, objects());
    assert!(told(&graph, "a/www").is_empty());
    assert!(served(&update).contains("dns=192.0.2.1:80"));
}

#[test]
fn endpoints_that_are_left_out_are_told_to_all_who_refer_to_their_service() {
    let slice = |family: &str, address: &str| {
        let slice = serde_json::from_value(json!({
            "addressType": family,
            "metadata": {"name": "web-x", "namespace": "a", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": [address]}],
        }));
        Object::EndpointSlice(EndpointSlice::parse(slice.unwrap()).unwrap().into())
    };
    let (mut store, mut graph) = (Store::default(), Graph::new(Settings::default()));
    let mut follow = |object: Object| {
        let mut changes = Changes::default();
        store.apply(Event::Apply(object), &mut changes);
        let update = graph.update(&store, &changes);
        let mut told: Vec<String> = update.notes.into_iter().map(|note| note.message).collect();
        for status in update.statuses {
            assert!(status.errors.is_empty());
            told.extend(status.warnings.iter().map(ToString::to_string));
        }
        told
    };
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let rules = json!([{"host": "in.example.com", "http": {"paths": [{"pathType": "Prefix", "path": "/", "backend": backend}]}}]);
    let meta = json!({"name": "in", "namespace": "a"});
    for object in [
        service("a/web", None),
        proxy("a/www", &root("www.example.com")),
        ingress(json!({"metadata": meta, "spec": {"rules": rules}})),
    ] {
        assert!(follow(object).is_empty());
    }
    let local = "EndpointSlice \"a/web-x\": \"127.0.0.1\" points to this machine or its link, or to many, which is not allowed: it is left out";
    let warned = |text: &str| [text.to_owned(), format!("ServiceError/EndpointNotAllowed: {text}")];
    assert_eq!(follow(slice("IPv4", "127.0.0.1")), warned(local));
    let named = "EndpointSlice \"a/web-x\": addressType FQDN is not supported: \"127.0.0.1\" is left out; use a Service of type ExternalName";
    assert_eq!(follow(slice("FQDN", "127.0.0.1")), warned(named));
    assert!(follow(slice("IPv4", "10.0.0.1")).is_empty());
}

#[test]
fn permit_insecure_can_be_switched_off_and_limits_of_tls_hold() {
    use contour_objects::{NamespacedName, Object, Secret, SecretError, TlsPair};
    let pair = TlsPair { certificate: vec![1], key: vec![1], elements: 1, fingerprint: [0; 20] };
    let secret = Secret {
        name: NamespacedName::new("a", "cert"),
        tls: Ok(pair.into()),
        ca: Err(SecretError::Missing("ca.crt")),
    };
    let host = |tls: &str| {
        format!(
            "virtualhost: {{fqdn: www.example.com, tls: {{secretName: cert{tls}}}}}\n\
             routes: [{{permitInsecure: true, services: [{{name: web, port: 80}}]}}]"
        )
    };
    let objects = |tls: &str| {
        vec![service("a/web", None), Object::Secret(secret.clone().into()), proxy("a/www", &host(tls))]
    };
    let strict =
        Settings { disable_permit_insecure: true, tls_minimum: TlsVersion::V1_3, ..Settings::default() };
    let (_, update) = build(strict.clone(), objects(""));
    let text = served(&update);
    assert!(
        text.contains("plain  prefix / -> 301 to https") && text.contains("tls a/cert 1.3..1.3"),
        "{text}"
    );
    let (graph, update) = build(strict, objects(", maximumProtocolVersion: \"1.2\""));
    assert!(told(&graph, "a/www")[0].starts_with("TLSError/TLSConfigNotValid: "));
    assert!(served(&update).is_empty());
}

fn rules_of(hosts: &serde_json::Value) -> contour_objects::Object {
    ingress(serde_json::json!({
        "metadata": {"name": "www", "namespace": "a"},
        "spec": {"rules": hosts},
    }))
}

fn path(path: &str, kind: &str) -> serde_json::Value {
    let backend = serde_json::json!({"service": {"name": "web", "port": {"number": 80}}});
    serde_json::json!({"path": path, "pathType": kind, "backend": backend})
}

#[test]
fn odd_ingresses_harm_only_themselves() {
    let rule =
        |host: &str, paths: &[serde_json::Value]| serde_json::json!({"host": host, "http": {"paths": paths}});
    let hosts = serde_json::json!([
        rule("a.*.example.com", &[path("/", "Prefix")]),
        rule("WWW.example.com", &[path("/", "Prefix"), path("no-slash", "Exact"), path("/a\u{0}", "Prefix")]),
        rule("www.example.com", &[path("^/regex/.*", "ImplementationSpecific"), path("//", "Prefix")]),
        {"host": "empty.example.com"},
    ]);
    let (_, update) = build(Settings::default(), vec![service("a/web", None), rules_of(&hosts)]);
    let notes: Vec<String> = update.notes.iter().map(|n| format!("{}: {}", n.host, n.message)).collect();
    assert_eq!(
        notes,
        [
            "a.*.example.com: spec.rules.host \"a.*.example.com\" is not a DNS name",
            "www.example.com: spec.rules of host \"www.example.com\": path \"no-slash\" must start with \"/\"",
            "www.example.com: spec.rules of host \"www.example.com\": path \"/a\\0\" has control characters",
        ]
    );
    assert_eq!(
        served(&update),
        "host www.example.com\n  plain  regex /regex/.* -> a/web:80 [Ingress a/www]\n  plain  prefix / -> a/web:80 [Ingress a/www]\n"
    );
}

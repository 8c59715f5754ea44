//! Objects of every shape that the API server takes (1.5 MiB), each as large as that allows: what becomes of them, and in the long form
//! (`cargo test -p contour-graph --release --test shapes -- --ignored --nocapture`) how the time grows with the size.

mod support;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use contour_graph::Settings;
use contour_objects::{Delegation, Grant, NamespacedName, Object};
use serde_json::{Value, json};
use support::{build, ingress, proxy, service, service_of};

type Shape = (&'static str, fn(usize) -> Vec<Object>, usize);

/// Name, objects of a size, and the size that the API server still takes.
const SHAPES: [Shape; 15] = [
    ("an Ingress of many hosts", ingress_of_hosts, 10_000),
    ("an Ingress of many paths", ingress_of_paths, 9_000),
    ("an Ingress of many certificates", ingress_of_certificates, 20_000),
    ("routes", routes, 14_000),
    ("includes of one child", includes, 16_000),
    ("conditions of one route", conditions, 30_000),
    ("conditions of an include over many routes", inherited, 1_000),
    ("services of one route", services, 30_000),
    ("header policies of one route", headers, 30_000),
    ("objects that name one host", one_name, 1_000),
    ("routes to a Service of many ports", ports, 14_000),
    ("hosts that lead to a Service of many ports", ports_from_hosts, 10_000),
    ("routes to a Service of many annotations", annotations, 5_000),
    ("an Ingress of hosts and many websocket paths", ingress_of_websockets, 5_000),
    ("routes to a Service whose CA is one of many delegated", delegated, 7_000),
];

fn lines(head: &str, count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(format!("{head}\n"), |mut text, n| {
        let _ = writeln!(text, "{}", line(n));
        text
    })
}

fn root(rest: &str) -> Object {
    proxy("a/root", &format!("virtualhost: {{fqdn: www.example.com}}\n{rest}"))
}

fn ingress_with(spec: &Value) -> Vec<Object> {
    vec![ingress(json!({"metadata": {"name": "i", "namespace": "a"}, "spec": spec})), service("a/s", None)]
}

fn path(path: &str) -> Value {
    json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}})
}

fn ingress_of_hosts(size: usize) -> Vec<Object> {
    let rule = |n: usize| json!({"host": format!("h{n}.example.com"), "http": {"paths": [path("/")]}});
    ingress_with(&json!({"rules": (0..size).map(rule).collect::<Vec<_>>()}))
}

fn ingress_of_paths(size: usize) -> Vec<Object> {
    let paths: Vec<Value> = (0..size).map(|n| path(&format!("/{n}"))).collect();
    ingress_with(&json!({"rules": [{"host": "www.example.com", "http": {"paths": paths}}]}))
}

fn ingress_of_certificates(size: usize) -> Vec<Object> {
    let hosts: Vec<String> = (0..size).map(|n| format!("h{n}.example.com")).collect();
    ingress_with(&json!({"tls": hosts.iter().map(|host| json!({"hosts": [host]})).collect::<Vec<_>>()}))
}

fn routes(size: usize) -> Vec<Object> {
    let route =
        |n| format!("- {{conditions: [{{prefix: /r{n}}}], directResponsePolicy: {{statusCode: 200}}}}");
    vec![root(&lines("routes:", size, route))]
}

fn includes(size: usize) -> Vec<Object> {
    let all = lines("includes:", size, |n| format!("- {{name: child, conditions: [{{prefix: /p{n}}}]}}"));
    let child = proxy(
        "a/child",
        "routes: [{directResponsePolicy: {statusCode: 200}}, {conditions: [{regex: '/a+'}], directResponsePolicy: {statusCode: 200}}]",
    );
    vec![root(&all), child]
}

fn conditions(size: usize) -> Vec<Object> {
    let all = lines("  conditions:", size, |n| format!("  - {{header: {{name: x-{n}, exact: a}}}}"));
    vec![root(&format!("routes:\n- directResponsePolicy: {{statusCode: 200}}\n{all}"))]
}

fn inherited(size: usize) -> Vec<Object> {
    let all = lines("  conditions:", size, |n| format!("  - {{header: {{name: x-{n}, exact: a}}}}"));
    let include = format!("includes:\n- name: child\n{all}");
    let route =
        |n| format!("- {{conditions: [{{prefix: /r{n}}}], directResponsePolicy: {{statusCode: 200}}}}");
    vec![root(&include), proxy("a/child", &lines("routes:", size, route))]
}

fn services(size: usize) -> Vec<Object> {
    let all = lines("  services:", size, |_| "  - {name: s, port: 80, weight: 1}".to_owned());
    vec![root(&format!("routes:\n- conditions: [{{prefix: /}}]\n{all}")), service("a/s", None)]
}

fn headers(size: usize) -> Vec<Object> {
    let all = lines("    set:", size, |n| format!("    - {{name: x-{n}, value: a}}"));
    let policy = format!("  requestHeadersPolicy:\n{all}");
    vec![root(&format!("routes:\n- services: [{{name: s, port: 80}}]\n{policy}")), service("a/s", None)]
}

fn one_name(size: usize) -> Vec<Object> {
    let root = |n| {
        let spec =
            "virtualhost: {fqdn: www.example.com}\nroutes: [{directResponsePolicy: {statusCode: 200}}]";
        proxy(&format!("a/r{n}"), spec)
    };
    (0..size).map(root).collect()
}

/// A Service of so many ports, whose annotation names all of them.
fn service_of_ports(size: usize) -> Object {
    let port = |n: usize| json!({"name": format!("p{n}"), "port": 1 + n});
    let listed: Vec<String> = (0..size).map(|n| format!("p{n}")).collect();
    service_of(json!({
        "metadata": {"name": "s", "namespace": "a", "annotations": {"projectcontour.io/upstream-protocol.h2c": listed.join(",")}},
        "spec": {"ports": (0..size).map(port).collect::<Vec<_>>()},
    }))
}

fn ports(size: usize) -> Vec<Object> {
    let route = |n| format!("- {{conditions: [{{prefix: /r{n}}}], services: [{{name: s, port: {size}}}]}}");
    vec![root(&lines("routes:", size.min(2_400), route)), service_of_ports(size)]
}

fn ports_from_hosts(size: usize) -> Vec<Object> {
    let root = |n| {
        let spec = format!(
            "virtualhost: {{fqdn: h{n}.example.com}}\nroutes: [{{services: [{{name: s, port: {size}}}]}}]"
        );
        proxy(&format!("a/r{n}"), &spec)
    };
    (0..size).map(root).chain([service_of_ports(size)]).collect()
}

/// Annotations of 256 KiB, the most that the API server takes, none of them usable.
fn annotations(size: usize) -> Vec<Object> {
    let listed: Vec<String> = (0..size * 6).map(|n| format!("x{n}")).collect();
    let service = service_of(json!({
        "metadata": {"name": "s", "namespace": "a", "annotations": {
            "projectcontour.io/upstream-protocol.h2": listed.join(","),
            "projectcontour.io/max-connections": "many",
        }},
        "spec": {"ports": [{"port": 80}]},
    }));
    let route = |n| format!("- {{conditions: [{{prefix: /r{n}}}], services: [{{name: s, port: 80}}]}}");
    vec![root(&lines("routes:", size, route)), service]
}

fn ingress_of_websockets(size: usize) -> Vec<Object> {
    let listed: Vec<String> = (0..size).map(|n| format!("/{n}")).collect();
    let rule =
        |n: usize| json!({"host": format!("h{n}.example.com"), "http": {"paths": [path(&format!("/{n}"))]}});
    let annotations = json!({"projectcontour.io/websocket-routes": listed.join(",")});
    let metadata = json!({"name": "i", "namespace": "a", "annotations": annotations});
    let spec = json!({"rules": (0..size).map(rule).collect::<Vec<_>>()});
    vec![ingress(json!({"metadata": metadata, "spec": spec})), service("a/s", None)]
}

fn ingress_of_empty_tls(size: usize) -> Vec<Object> {
    let rule = |n: usize| json!({"host": format!("h{n}.example.com"), "http": {"paths": [path("/")]}});
    let tls = (0..size).map(|n| json!({"secretName": format!("t{n}")})).collect::<Vec<_>>();
    ingress_with(&json!({"rules": (0..size).map(rule).collect::<Vec<_>>(), "tls": tls}))
}

fn delegated(size: usize) -> Vec<Object> {
    let grant = |n: usize| Grant { secret: format!("t{n}").into(), targets: vec!["b".into(), "a".into()] };
    let delegation =
        Delegation { name: NamespacedName::new("c", "d"), grants: (0..size).map(grant).collect() };
    let route = |n| {
        let validation = format!("{{caSecret: c/t{}, subjectName: s}}", size - 1);
        format!(
            "- {{conditions: [{{prefix: /r{n}}}], services: [{{name: s, port: 80, protocol: tls, validation: {validation}}}]}}"
        )
    };
    let routes = root(&lines("routes:", size, route));
    vec![routes, service("a/s", None), Object::Delegation(Arc::new(delegation))]
}

/// Whatever the shape, it is served, or its owner is told.
#[test]
fn every_shape_is_built_or_told() {
    for (name, objects, most) in SHAPES {
        let (graph, update) = build(Settings::default(), objects(most / 4));
        let told = graph.statuses().any(|status| !status.errors.is_empty()) || !update.notes.is_empty();
        let served = update.hosts.iter().any(|(_, host)| host.is_some());
        assert!(served != told, "{name}: served {served}, told {told}");
    }
}

#[test]
fn an_ingress_of_thousands_of_hosts_serves_each() {
    let (_, update) = build(Settings::default(), ingress_of_hosts(10_000));
    assert_eq!(update.hosts.len(), 10_000);
    assert!(update.hosts.iter().all(|(_, host)| host.as_ref().is_some_and(|host| host.plain.len() == 1)));
}

#[test]
fn an_ingress_of_thousands_of_hosts_and_useless_entries_serves_each() {
    let (_, update) = build(Settings::default(), ingress_of_empty_tls(7_000));
    assert!(update.hosts.len() == 7_000 && update.hosts.iter().all(|(_, host)| host.is_some()));
    assert_eq!(update.notes.len(), 64);
}

#[test]
fn an_ingress_has_so_much_to_tell_and_no_more() {
    let (_, update) = build(Settings::default(), ingress_of_certificates(5_000));
    assert_eq!(update.notes.len(), 64);
}

#[test]
#[ignore = "prints times; nothing fails"]
fn how_the_time_grows() {
    for (name, objects, most) in SHAPES {
        let seconds = [most / 4, most / 2, most].map(|size| {
            let objects = objects(size);
            let started = Instant::now();
            drop(build(Settings::default(), objects));
            started.elapsed().as_secs_f64()
        });
        println!("{name:45} {:8.3} {:8.3} {:8.3} s", seconds[0], seconds[1], seconds[2]);
    }
}

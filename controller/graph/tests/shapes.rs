//! Objects of every shape that the API server takes (1.5 MiB), each as large as that allows: what becomes of them, and in the long form
//! (`cargo test -p contour-graph --release --test shapes -- --ignored --nocapture`) how the time grows with the size.

mod support;

use std::fmt::Write as _;
use std::time::Instant;

use contour_graph::Settings;
use contour_objects::Object;
use serde_json::{Value, json};
use support::{build, ingress, proxy, service};

type Shape = (&'static str, fn(usize) -> Vec<Object>, usize);

/// Name, objects of a size, and the size that the API server still takes.
const SHAPES: [Shape; 10] = [
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

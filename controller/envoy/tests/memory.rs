//! What a route takes in the controller: `cargo test -p contour-envoy --test memory -- --ignored --nocapture`.

mod support;

use contour_crds::httpproxy::{Route, VirtualHost};
use contour_crds::{HTTPProxy, HTTPProxySpec};
use contour_envoy::{Assembly, Settings};
use contour_graph::{Graph, cost};
use contour_objects::{Changes, Event, NamespacedName, Object, Proxy, Service, ServicePort, Store};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::Served;

const SERVICES: usize = 500;

fn service(n: usize) -> Object {
    let ports = vec![ServicePort { name: None, port: 80, tcp: true, app_protocol: None }];
    let name = NamespacedName::new("a", format!("s{n}"));
    Object::Service(Arc::new(Service { name, external_name: None, ports, annotations: BTreeMap::new() }))
}

/// Routes of one kind.
struct Shape {
    name: &'static str,
    hosts: usize,
    routes: usize,
    route: fn(usize) -> Route,
}

fn usual(n: usize) -> Route {
    with(n, json!({}))
}

fn written(route: serde_json::Value) -> Route {
    serde_json::from_value(route).expect("a route")
}

/// A route to a service with these fields besides.
fn with(n: usize, fields: serde_json::Value) -> Route {
    let serde_json::Value::Object(fields) = fields else { panic!("fields: {fields}") };
    let mut route = json!({
        "conditions": [{"prefix": format!("/a/normal/path/{n}")}],
        "services": [{"name": format!("s{}", n % SERVICES), "port": 80}],
    });
    route.as_object_mut().expect("a map").extend(fields);
    written(route)
}

fn several(count: usize, each: impl Fn(usize) -> serde_json::Value) -> serde_json::Value {
    (0..count).map(each).collect()
}

const fn shape(name: &'static str, routes: usize, route: fn(usize) -> Route) -> Shape {
    Shape { name, hosts: 100, routes, route }
}

const SHAPES: [Shape; 10] = [
    shape("usual", 20_000, usual),
    Shape { name: "a host each", hosts: 10_000, routes: 10_000, route: usual },
    shape("a redirect", 20_000, |n| {
        let conditions = json!([{"prefix": format!("/{n}")}]);
        written(json!({"conditions": conditions, "requestRedirectPolicy": {"statusCode": 301}}))
    }),
    shape("an answer of 4,000 bytes", 5_000, |n| {
        let conditions = json!([{"prefix": format!("/{n}")}]);
        let answer = json!({"statusCode": 200, "body": "x".repeat(4_000)});
        written(json!({"conditions": conditions, "directResponsePolicy": answer}))
    }),
    shape("a prefix of 4,000 bytes", 5_000, |n| {
        with(n, json!({"conditions": [{"prefix": format!("/{n}{}", "x".repeat(4_000))}]}))
    }),
    shape("ten conditions on headers", 5_000, |n| {
        let header = |h| json!({"header": {"name": format!("x-{h}"), "exact": format!("a{n}")}});
        with(n, json!({"conditions": several(10, header)}))
    }),
    shape("twenty headers", 5_000, |n| {
        let header = |h| json!({"name": format!("x-{h}"), "value": format!("a{n}")});
        with(n, json!({"requestHeadersPolicy": {"set": several(20, header)}}))
    }),
    shape("a regular expression", 20_000, |n| {
        let regex = format!("/a/[a-z]+/{n}/[0-9]{{1,8}}/(one|two|three)/.*");
        with(n, json!({"conditions": [{"regex": regex}]}))
    }),
    shape("ten services", 5_000, |n| {
        let service = |s| json!({"name": format!("s{s}"), "port": 80, "weight": 1});
        with(n, json!({"services": several(10, service)}))
    }),
    shape("a cluster each (51,600 more)", 5_000, |n| {
        with(n, json!({"timeoutPolicy": {"idleConnection": format!("{}s", n + 1)}}))
    }),
];

/// One of a shape's hosts, with its share of the routes.
fn proxy(host: usize, shape: &Shape) -> Object {
    let each = shape.routes / shape.hosts;
    let spec = HTTPProxySpec {
        virtualhost: Some(Box::new(VirtualHost {
            fqdn: format!("h{host}.example.com"),
            ..VirtualHost::default()
        })),
        routes: (host * each..(host + 1) * each).map(shape.route).collect(),
        ..HTTPProxySpec::default()
    };
    let mut object = HTTPProxy::new(&format!("p{host}"), spec);
    object.metadata.namespace = Some("a".to_owned());
    Object::HttpProxy(Arc::new(Proxy::from(object)))
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it tells this");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// What the controller keeps of a shape (objects, graph, assembly and resources), beside what is charged for its routes.
fn held(shape: &Shape) -> (u64, u64) {
    let before = resident();
    let (mut store, mut changes) = (Store::default(), Changes::default());
    let objects = (0..shape.hosts).map(|host| proxy(host, shape)).chain((0..SERVICES).map(service));
    objects.for_each(|object| store.apply(Event::Apply(object), &mut changes));
    let mut graph = Graph::new(contour_graph::Settings::default());
    let mut assembly = Assembly::new(Settings::default());
    let mut served = Served::default();
    served.apply(&assembly.initial());
    graph.take_in(&store, &changes);
    let (mut charged, mut routes) = (0, 0);
    while !graph.is_settled() {
        let update = graph.build_some(&store, 32 << 20);
        for host in update.hosts.iter().filter_map(|(_, host)| host.as_ref()) {
            charged += host.plain.iter().map(cost).sum::<u64>();
            routes += host.plain.len();
        }
        served.apply(&assembly.hosts(&store, update.hosts));
    }
    let after = resident();
    drop((store, graph, assembly, served));
    assert_eq!(routes, shape.routes, "{}", shape.name);
    (after.saturating_sub(before) / routes as u64, charged / routes as u64)
}

/// Each shape has a process of its own: what an earlier one has given back would be taken for nothing.
#[test]
#[ignore = "prints numbers; nothing fails"]
fn what_a_route_takes_in_the_controller() {
    if let Some(shape) =
        std::env::var("SHAPE").ok().and_then(|at| at.parse().ok()).and_then(|at: usize| SHAPES.get(at))
    {
        let (takes, charged) = held(shape);
        println!("| {} | {takes} | {charged} |", shape.name);
        return;
    }
    for at in 0..SHAPES.len() {
        let itself = std::env::current_exe().expect("this test");
        let mut command = std::process::Command::new(itself);
        command.args(["--ignored", "--nocapture", "what_a_route_takes"]).env("SHAPE", at.to_string());
        let said = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.lines().filter(|line| line.starts_with('|')).for_each(|line| println!("{line}"));
    }
}

//! What a route takes in the controller: `cargo test -p contour-envoy --test memory -- --ignored --nocapture`.

mod support;

use contour_crds::httpproxy::{MatchCondition, Route, Service as ServiceRef, VirtualHost};
use contour_crds::{HTTPProxy, HTTPProxySpec};
use contour_envoy::{Assembly, Settings};
use contour_graph::Graph;
use contour_objects::{Changes, Event, NamespacedName, Object, Proxy, Service, ServicePort, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::Served;

const HOSTS: usize = 100;
const SERVICES: usize = 500;

fn service(n: usize) -> Object {
    let ports = vec![ServicePort { name: None, port: 80, tcp: true, app_protocol: None }];
    let name = NamespacedName::new("a", format!("s{n}"));
    Object::Service(Arc::new(Service { name, external_name: None, ports, annotations: BTreeMap::new() }))
}

/// One of [`HOSTS`] hosts, with its share of the routes.
fn proxy(host: usize, routes: usize) -> Object {
    let route = |n: usize| Route {
        conditions: vec![MatchCondition {
            prefix: Some(format!("/a/normal/path/{n}")),
            ..MatchCondition::default()
        }],
        services: vec![ServiceRef { name: format!("s{}", n % SERVICES), port: 80, ..ServiceRef::default() }],
        ..Route::default()
    };
    let spec = HTTPProxySpec {
        virtualhost: Some(Box::new(VirtualHost {
            fqdn: format!("h{host}.example.com"),
            ..VirtualHost::default()
        })),
        routes: (0..routes / HOSTS).map(route).collect(),
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

/// Everything that the controller keeps of so many routes: objects, graph, assembly and resources.
fn held(routes: usize) -> (Store, Graph, Assembly, Served) {
    let (mut store, mut changes) = (Store::default(), Changes::default());
    let objects = (0..HOSTS).map(|host| proxy(host, routes)).chain((0..SERVICES).map(service));
    objects.for_each(|object| store.apply(Event::Apply(object), &mut changes));
    let mut graph = Graph::new(contour_graph::Settings::default());
    let mut assembly = Assembly::new(Settings::default());
    let mut served = Served::default();
    served.apply(&assembly.initial());
    graph.take_in(&store, &changes);
    while !graph.is_settled() {
        let update = graph.build_some(&store, 32 << 20);
        served.apply(&assembly.hosts(&store, update.hosts));
    }
    (store, graph, assembly, served)
}

#[test]
#[ignore = "prints numbers; nothing fails"]
fn what_a_route_takes_in_the_controller() {
    let empty = resident();
    let small = held(10_000);
    let before = resident();
    let large = held(50_000);
    let after = resident();
    println!("10,000 routes: {} bytes each", (before - empty) / 10_000);
    println!("50,000 routes: {} bytes each", (after - before) / 50_000);
    drop((small, large));
}

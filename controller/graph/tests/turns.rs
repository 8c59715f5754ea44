//! The work of one step is bounded, whatever it consists of.

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;

use contour_graph::{Graph, Settings};
use contour_objects::{Changes, Endpoint, EndpointPort, EndpointSlice, Event, NamespacedName, Object, Store};
use support::{proxy, service};

const ENDPOINTS: u32 = 10_000;

/// The slice of a namespace's Service `s`, with all its endpoints.
fn slice(namespace: &str) -> Object {
    let endpoint = |n: u32| Endpoint { address: Ipv4Addr::from(0x0a00_0000 + n).into(), ready: true };
    Object::EndpointSlice(Arc::new(EndpointSlice {
        name: NamespacedName::new(namespace, "s-x"),
        service: NamespacedName::new(namespace, "s"),
        endpoints: (0..ENDPOINTS).map(endpoint).collect(),
        ports: vec![EndpointPort { name: None, port: 8080 }],
        left_out: None,
    }))
}

fn host(namespace: &str, n: usize) -> Object {
    let spec = format!(
        "virtualhost: {{fqdn: h{n}.{namespace}.example.com}}\nroutes: [{{services: [{{name: s, port: 80}}]}}]"
    );
    proxy(&format!("{namespace}/h{n}"), &spec)
}

/// Many namespaces that all begin to lead to their many endpoints at the same time do not have them encoded in one step.
#[test]
fn endpoints_that_come_with_hosts_count_as_work_once() {
    let namespaces: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
    let (mut store, mut changes) = (Store::default(), Changes::default());
    for namespace in &namespaces {
        let objects = [service(&format!("{namespace}/s"), None), slice(namespace), host(namespace, 0)];
        for object in objects {
            store.apply(Event::Apply(object), &mut changes);
        }
    }
    let mut graph = Graph::new(Settings::default());
    graph.take_in(&store, &changes);
    let step = 32 << 20;
    let mut steps = Vec::new();
    while !graph.is_settled() {
        steps.push(graph.build_some(&store, step).hosts.len());
    }
    assert_eq!(steps.iter().sum::<usize>(), namespaces.len());
    // 33 MB and a little: four times 11 MB are more than one step takes.
    assert!(steps.iter().all(|&hosts| hosts <= 4), "{steps:?}");

    // Who leads to what is led to already adds nothing.
    let mut changes = Changes::default();
    for n in 1..100 {
        store.apply(Event::Apply(host("n0", n)), &mut changes);
    }
    graph.take_in(&store, &changes);
    assert_eq!(graph.build_some(&store, step).hosts.len(), 99);
}

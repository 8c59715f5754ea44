//! Endpoints are bounded: what one namespace has of them takes nothing from another, and never costs more than a bound.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_envoy::{Assembly, Settings};
use contour_graph::model::*;
use contour_objects::{
    Changes, Endpoint, EndpointPort, EndpointSlice, Event, NamespacedName, Object, ObjectRef, Store,
};
use contour_resource::ResourceType;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use proptest::prelude::*;
use support::*;

/// What an assignment shows at most.
const MOST: usize = 16_384;

fn settings(endpoints: u64) -> Settings {
    Settings { endpoint_memory: endpoints * 1_100, ..Settings::default() }
}

/// A slice of so many addresses, from the `first` on, and so many ports.
fn large(service: &str, slice: &str, first: u32, endpoints: u32, ports: u16) -> Arc<EndpointSlice> {
    let endpoint =
        |n: u32| Endpoint { address: std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), ready: true };
    let port = |n: u16| EndpointPort { name: Some(format!("p{n}").into()), port: 1 + n };
    Arc::new(EndpointSlice {
        left_out: None,
        name: name(slice),
        service: name(service),
        endpoints: (first..first + endpoints).map(endpoint).collect(),
        ports: (0..ports).map(port).collect(),
    })
}

/// The port of this number, named after it; `None`: one without a name.
fn to_port(service: &str, port: Option<u16>) -> Cluster {
    let port_name = port.map(|port| format!("p{port}").into());
    let of = EndpointsOf { service: name(service), port_name, health_port: None };
    Cluster { discovery: Discovery::Slices(of), port: port.unwrap_or(80), ..cluster(service) }
}

/// A host whose object is in the namespace of the first Service.
fn host(fqdn: &str, clusters: Vec<Cluster>) -> VirtualHost {
    let namespace = Arc::clone(&clusters[0].service.namespace);
    let origin = Origin { kind: "HTTPProxy", object: NamespacedName { namespace, name: "www".into() } };
    let action = Action::Forward(Box::new(forward(clusters.into_iter().map(|c| weighted(c, 1)).collect())));
    plain(fqdn, vec![Route { origin, ..route(prefix("/"), action) }])
}

fn shown(served: &Served, assignment: &str) -> usize {
    let assignment: ClusterLoadAssignment = served.read(ResourceType::Endpoints, assignment);
    assignment.endpoints.iter().map(|locality| locality.lb_endpoints.len()).sum()
}

/// Who is told what, by assignment.
fn told(assembly: &mut Assembly) -> BTreeMap<String, (Option<String>, BTreeSet<String>)> {
    let told = assembly.shortened().into_iter().map(|one| {
        let origins = one.owners.iter().flat_map(|owner| &owner.origins);
        let objects = origins.map(|origin| origin.object.to_string()).collect();
        (one.assignment.to_string(), (one.message, objects))
    });
    told.collect()
}

/// What the API server takes in one object: 1,000 addresses at each of thousands of ports.
#[test]
fn a_slice_of_many_ports_is_not_all_of_their_products() {
    let mut store = Store::default();
    apply(&mut store, large("a/s", "a/s-1", 0, 1_000, 20_000));
    let mut assembly = Assembly::new(Settings::default());
    // Without a name, a port of the Service takes all that there are.
    let served = Served::of(&mut assembly, &store, vec![host("x", vec![to_port("a/s", None)])]);
    assert_eq!(shown(&served, "a/s"), MOST);
    let told = told(&mut assembly);
    let (message, objects) = &told["a/s"];
    let message = message.as_deref().expect("there is something to tell");
    assert_eq!(
        message,
        "Service \"a/s\" has more endpoints than are used: 16384, as many as one may have; use several Services"
    );
    assert_eq!(*objects, BTreeSet::from(["a/www".to_owned()]));
}

#[test]
fn thousands_of_ports_over_a_hundred_large_slices_are_one_walk() {
    let mut store = Store::default();
    for n in 0..100 {
        apply(&mut store, large("a/s", &format!("a/s-{n}"), n * 1_000, 1_000, 100));
    }
    let clusters = (0..100).map(|n| to_port("a/s", Some(n))).collect();
    let mut assembly = Assembly::new(settings(100_000));
    let served = Served::of(&mut assembly, &store, vec![host("x", clusters)]);
    let all: usize = (0..100).map(|n| shown(&served, &format!("a/s/p{n}"))).sum();
    assert_eq!(all, 100 * 512, "the largest power of two that the budget covers for each of a hundred");
}

/// What the engine does in one step at most: `cargo test --release -p contour-envoy --test endpoints -- --ignored --nocapture`.
#[test]
#[ignore = "prints times; nothing fails"]
fn how_long_all_endpoints_of_a_namespace_take() {
    let mut store = Store::default();
    let budget = (512 << 20) / 1_100;
    let services = u32::try_from(budget / MOST as u64).expect("few");
    for n in 0..services {
        let first = n * 100_000;
        for part in 0..17 {
            let slice = format!("a/s{n}-{part:02}");
            apply(&mut store, large(&format!("a/s{n}"), &slice, first + part * 1_000, 1_000, 1));
        }
    }
    let clusters = (0..services).map(|n| to_port(&format!("a/s{n}"), None)).collect();
    let mut assembly = Assembly::new(settings(budget));
    let hosts = [set(host("x", clusters))];
    let started = std::time::Instant::now();
    let made = assembly.hosts(&store, hosts);
    let took = started.elapsed();
    let served = |(kind, _): &&(ResourceType, _)| *kind == ResourceType::Endpoints;
    println!(
        "{} assignments of {MOST} endpoints in one step: {took:?}",
        made.set.iter().filter(served).count()
    );
}

#[test]
fn a_namespace_without_budget_left_shows_fewer_of_its_largest_and_others_all() {
    let mut store = Store::default();
    for (service, endpoints) in [("a/small", 10), ("a/large", 900), ("a/larger", 2_000), ("b/s", 900)] {
        apply(&mut store, large(service, service, 0, endpoints, 1));
    }
    let mut assembly = Assembly::new(settings(1_500));
    let to = |services: &[&str]| services.iter().map(|service| to_port(service, None)).collect();
    let hosts = vec![host("x", to(&["a/small", "a/large"])), host("y", to(&["b/s", "a/small"]))];
    let mut served = Served::of(&mut assembly, &store, hosts);
    assert_eq!(["a/small", "a/large", "b/s"].map(|name| shown(&served, name)), [10, 900, 900]);
    assert!(told(&mut assembly).is_empty());

    // Another host of the namespace asks for too much: what is shown already is made smaller in its turn.
    served.apply(&assembly.hosts(&store, [set(host("z", to(&["a/larger"])))]));
    assert!(!assembly.is_settled());
    served.apply(&assembly.some_endpoints(&store, u64::MAX));
    assert_eq!(
        ["a/small", "a/large", "a/larger", "b/s"].map(|name| shown(&served, name)),
        [10, 512, 512, 900]
    );
    let now = told(&mut assembly);
    assert_eq!(now.keys().collect::<Vec<_>>(), ["a/large", "a/larger"]);
    assert!(
        now["a/large"]
            .0
            .as_deref()
            .is_some_and(|message| message.contains("512, since those of namespace a"))
    );
    assert!(
        now.values().all(|(_, objects)| objects.iter().all(|object| object.starts_with("a/"))),
        "{now:?}"
    );

    served.apply(&assembly.hosts(&store, [gone("z")]));
    served.apply(&assembly.some_endpoints(&store, u64::MAX));
    assert_eq!(["a/small", "a/large"].map(|name| shown(&served, name)), [10, 900]);
    assert_eq!(told(&mut assembly)["a/large"].0, None, "all are used again");
}

#[test]
fn each_cluster_of_a_service_counts() {
    let mut store = Store::default();
    apply(&mut store, large("a/s", "a/s", 0, 1_000, 1));
    let balanced = |load_balancer| Cluster { load_balancer, ..to_port("a/s", None) };
    let mut assembly = Assembly::new(settings(2_000));
    let two = vec![balanced(LoadBalancer::RoundRobin), balanced(LoadBalancer::Random)];
    let mut served = Served::of(&mut assembly, &store, vec![host("x", two.clone())]);
    assert_eq!(shown(&served, "a/s"), 1_000);
    let mut three = two;
    three.push(balanced(LoadBalancer::WeightedLeastRequest));
    served.apply(&assembly.hosts(&store, [set(host("x", three))]));
    served.apply(&assembly.some_endpoints(&store, u64::MAX));
    assert_eq!(shown(&served, "a/s"), 512);
    // An endpoint whose health is checked takes as much as eighteen others.
    let checked = Cluster { health_check: Some(health_check()), ..to_port("a/s", None) };
    served.apply(&assembly.hosts(&store, [set(host("x", vec![checked]))]));
    served.apply(&assembly.some_endpoints(&store, u64::MAX));
    assert_eq!(shown(&served, "a/s"), 64);
}

#[test]
fn a_host_that_comes_later_is_told_too() {
    let mut store = Store::default();
    apply(&mut store, large("a/s", "a/s", 0, 1_000, 1));
    let mut assembly = Assembly::new(settings(500));
    Served::of(&mut assembly, &store, vec![host("x", vec![to_port("a/s", None)])]);
    assert_eq!(told(&mut assembly).len(), 1);
    assert!(told(&mut assembly).is_empty(), "it was told");
    assembly.hosts(&store, [set(host("y", vec![to_port("a/s", None)]))]);
    assert_eq!(told(&mut assembly).len(), 1, "to the objects of that host, too");
    assembly.hosts(&store, [set(host("z", vec![to_port("a/other", None)]))]);
    assert!(told(&mut assembly).is_empty());
}

/// A namespace with much to do delays another's one Service by one step.
#[test]
fn namespaces_take_turns() {
    let mut store = Store::default();
    let services: Vec<String> = (0..50).map(|n| format!("a/s{n:02}")).chain(["b/s".to_owned()]).collect();
    let mut assembly = Assembly::new(Settings::default());
    let clusters = services.iter().map(|service| to_port(service, None)).collect();
    Served::of(&mut assembly, &store, vec![host("x", clusters)]);
    let mut changes = Changes::default();
    for service in &services {
        let slice = Object::EndpointSlice(large(service, service, 0, 10, 1));
        store.apply(Event::Apply(slice), &mut changes);
    }
    assembly.note_endpoints(&changes.endpoints);
    let mut steps = Vec::new();
    while !assembly.is_settled() {
        let step = assembly.some_endpoints(&store, 1);
        steps.extend(step.set.iter().map(|(_, resource)| resource.name().to_string()));
    }
    assert_eq!(steps.len(), services.len(), "each once");
    assert_eq!(steps[..3], ["a/s00", "b/s", "a/s01"]);
}

type Step = (BTreeMap<u8, Vec<(u8, u8)>>, Vec<(u8, u8, u8)>, u64);

/// Hosts by number with the Services (of a namespace) they lead to; slices (a Service of a namespace with so many endpoints); the cut.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let services = proptest::collection::vec((0..2_u8, 0..3_u8), 0..3);
    let hosts = proptest::collection::btree_map(0..3_u8, services, 0..3);
    let slices = proptest::collection::vec((0..2_u8, 0..3_u8, 0..40_u8), 0..4);
    let cut = prop_oneof![Just(1_u64), Just(20_000), Just(u64::MAX)];
    proptest::collection::vec((hosts, slices, cut), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// However the work is cut, and whatever changes in between, it leads where one build leads.
    #[test]
    fn steps_lead_where_one_build_leads(steps in steps()) {
        let service = |namespace: u8, n: u8| format!("n{namespace}/s{n}");
        let mut store = Store::default();
        let mut assembly = Assembly::new(settings(50));
        let mut served = Served::of(&mut assembly, &store, Vec::new());
        let mut now: BTreeMap<u8, VirtualHost> = BTreeMap::new();
        let mut known: BTreeMap<String, bool> = BTreeMap::new();
        let mut hear = |assembly: &mut Assembly| {
            for (assignment, (message, _)) in told(assembly) {
                known.insert(assignment, message.is_some());
            }
        };
        for (hosts, slices, cut) in steps {
            let mut changes = Changes::default();
            for (namespace, n, endpoints) in slices {
                let service = service(namespace, n);
                let event = match endpoints {
                    0 => Event::Delete(ObjectRef::new(contour_objects::Kind::EndpointSlice, name(&service))),
                    _ => Event::Apply(Object::EndpointSlice(large(&service, &service, 0, endpoints.into(), 1))),
                };
                store.apply(event, &mut changes);
            }
            let mut changed = Vec::new();
            for (fqdn, services) in hosts {
                let clusters: Vec<_> = services.iter().map(|(ns, n)| to_port(&service(*ns, *n), None)).collect();
                let fqdn_text = format!("h{fqdn}");
                if clusters.is_empty() {
                    now.remove(&fqdn);
                    changed.push(gone(&fqdn_text));
                } else {
                    now.insert(fqdn, host(&fqdn_text, clusters.clone()));
                    changed.push(set(host(&fqdn_text, clusters)));
                }
            }
            served.apply(&assembly.hosts(&store, changed));
            served.assert_complete();
            assembly.note_endpoints(&changes.endpoints);
            served.apply(&assembly.some_endpoints(&store, cut));
            hear(&mut assembly);
        }
        while !assembly.is_settled() {
            served.apply(&assembly.some_endpoints(&store, 1));
        }
        hear(&mut assembly);
        let mut fresh = Assembly::new(settings(50));
        let mut expected = Served::of(&mut fresh, &store, now.into_values().collect());
        while !fresh.is_settled() {
            expected.apply(&fresh.some_endpoints(&store, u64::MAX));
        }
        prop_assert_eq!(served.versions(), expected.versions());
        known.retain(|_, cut| *cut);
        let expected: BTreeSet<String> =
            told(&mut fresh).into_iter().filter(|(_, (message, _))| message.is_some()).map(|(name, _)| name).collect();
        prop_assert_eq!(known.into_keys().collect::<BTreeSet<_>>(), expected);
    }
}

//! The store: what events leave behind, and what they say has changed.

use std::sync::Arc;

use contour_objects::{
    Changes, Delegation, Endpoint, EndpointPort, EndpointSlice, Event, Grant, Kind, LeftOut, Namespace,
    NamespacedName, Object, ObjectRef, Scope, Service, Store,
};
use k8s_openapi::api::discovery::v1;

fn service(name: &str) -> Object {
    let name = NamespacedName::parse(name, &"".into());
    let annotations = std::collections::BTreeMap::new();
    Object::Service(Arc::new(Service { name, external_name: None, ports: Vec::new(), annotations }))
}

fn slice(name: &str, service: &str, address: [u8; 4]) -> Object {
    let endpoint = Endpoint { address: address.into(), ready: true };
    Object::EndpointSlice(Arc::new(EndpointSlice {
        name: NamespacedName::parse(name, &"".into()),
        service: NamespacedName::parse(service, &"".into()),
        endpoints: vec![endpoint],
        ports: vec![EndpointPort { name: None, port: 80 }],
        left_out: None,
    }))
}

fn apply(store: &mut Store, event: Event) -> Vec<String> {
    let mut changes = Changes::default();
    store.apply(event, &mut changes);
    let objects = changes.objects.iter().map(ToString::to_string);
    objects.chain(changes.endpoints.iter().map(|service| format!("endpoints {service}"))).collect()
}

fn replace(kind: Kind, namespace: Option<&str>, objects: Vec<Object>) -> Event {
    Event::Replace(Scope { kind, namespace: namespace.map(Arc::from) }, objects)
}

fn delete(kind: Kind, name: &str) -> Event {
    Event::Delete(ObjectRef::new(kind, NamespacedName::parse(name, &"".into())))
}

#[test]
fn repetitions_change_nothing() {
    let mut store = Store::default();
    for object in [service("a/web"), slice("a/web-1", "a/web", [10, 0, 0, 1])] {
        assert_eq!(apply(&mut store, Event::Apply(object.clone())).len(), 1);
        assert!(apply(&mut store, Event::Apply(object.clone())).is_empty());
        let kind = object.reference().kind;
        assert!(apply(&mut store, replace(kind, None, vec![object])).is_empty());
    }
    assert!(apply(&mut store, delete(Kind::Service, "a/none")).is_empty());
    assert!(apply(&mut store, delete(Kind::EndpointSlice, "a/none")).is_empty());
}

#[test]
fn a_list_of_a_namespace_removes_from_that_namespace_only() {
    let mut store = Store::default();
    let all = ["a/one", "a/two", "b/one"].map(service).to_vec();
    assert_eq!(apply(&mut store, replace(Kind::Service, None, all)).len(), 3);
    let listed = vec![service("a/two"), service("a/three")];
    let changed = apply(&mut store, replace(Kind::Service, Some("a"), listed));
    assert_eq!(changed, ["Service a/one", "Service a/three"]);
    assert_eq!(store.count(Kind::Service), 3);
    assert!(store.service(&NamespacedName::new("b", "one")).is_some());
    assert_eq!(apply(&mut store, replace(Kind::Service, None, Vec::new())).len(), 3);
    assert_eq!(store.count(Kind::Service), 0);
}

#[test]
fn a_list_of_one_kind_leaves_the_others() {
    let mut store = Store::default();
    apply(&mut store, Event::Apply(service("a/web")));
    assert!(apply(&mut store, replace(Kind::Ingress, None, Vec::new())).is_empty());
    assert_eq!(store.count(Kind::Service), 1);
}

#[test]
fn a_slice_that_moves_changes_both_services() {
    let mut store = Store::default();
    let of = |store: &Store, name| store.slices(&NamespacedName::new("a", name)).count();
    assert_eq!(apply(&mut store, Event::Apply(slice("a/s", "a/one", [10, 0, 0, 1]))), ["endpoints a/one"]);
    let moved = apply(&mut store, Event::Apply(slice("a/s", "a/two", [10, 0, 0, 1])));
    assert_eq!(moved, ["endpoints a/one", "endpoints a/two"]);
    assert_eq!((of(&store, "one"), of(&store, "two")), (0, 1));
    assert_eq!(apply(&mut store, delete(Kind::EndpointSlice, "a/s")), ["endpoints a/two"]);
    assert_eq!((of(&store, "two"), store.count(Kind::EndpointSlice)), (0, 0));
    apply(&mut store, Event::Apply(slice("a/s", "a/one", [10, 0, 0, 1])));
    assert_eq!(apply(&mut store, replace(Kind::EndpointSlice, None, Vec::new())), ["endpoints a/one"]);
    assert_eq!(of(&store, "one"), 0);
}

#[test]
fn what_is_left_out_of_a_slice_is_a_change_of_its_service() {
    let mut store = Store::default();
    let slice = |name: &str, service: &str, first: &str| {
        let read = parse(serde_json::json!({
            "addressType": "IPv4",
            "metadata": {"name": name, "namespace": "a", "labels": {"kubernetes.io/service-name": service}},
            "endpoints": [{"addresses": [first]}, {"addresses": ["10.0.0.2"]}],
        }));
        Event::Apply(Object::EndpointSlice(Arc::new(read.unwrap())))
    };
    let told = |store: &Store, service: &str| {
        let slice = store.incomplete_slice(&NamespacedName::new("a", service))?;
        Some(format!("{}: {}", slice.name, slice.left_out.as_ref()?))
    };
    assert_eq!(apply(&mut store, slice("s", "one", "10.0.0.1")), ["endpoints a/one"]);
    assert_eq!(told(&store, "one"), None);
    let both = ["Service a/one", "endpoints a/one"];
    assert_eq!(apply(&mut store, slice("s", "one", "127.0.0.1")), both);
    assert!(told(&store, "one").unwrap().starts_with("a/s: \"127.0.0.1\" points to this machine"));
    assert_eq!(apply(&mut store, slice("r", "one", "127.0.0.2")), both);
    assert!(told(&store, "one").unwrap().starts_with("a/r: \"127.0.0.2\""), "the first by name");
    let moved = apply(&mut store, slice("r", "two", "127.0.0.2"));
    assert_eq!(moved, ["Service a/one", "Service a/two", "endpoints a/one", "endpoints a/two"]);
    assert!(told(&store, "one").unwrap().starts_with("a/s:"));
    assert_eq!(apply(&mut store, slice("s", "one", "10.0.0.1")), both);
    assert_eq!(apply(&mut store, slice("s", "one", "10.0.0.3")), ["endpoints a/one"]);
    assert_eq!(told(&store, "one"), None);
    assert_eq!(apply(&mut store, delete(Kind::EndpointSlice, "a/r")), ["Service a/two", "endpoints a/two"]);
    assert_eq!(told(&store, "two"), None);
}

#[test]
fn a_namespace_has_no_namespace() {
    let mut store = Store::default();
    let namespace =
        Namespace { name: NamespacedName::new("", "team"), labels: std::collections::BTreeMap::default() };
    assert_eq!(apply(&mut store, Event::Apply(Object::Namespace(Arc::new(namespace)))), ["Namespace team"]);
    assert!(store.namespace("team").is_some());
}

#[test]
fn delegations_add_up_within_their_namespace() {
    let mut store = Store::default();
    let mut grant = |namespace: &str, name: &str, secret: &str, targets: &[&str]| {
        let targets = targets.iter().map(|target| Arc::from(*target)).collect();
        let grants = vec![Grant { secret: secret.into(), targets }];
        let name = NamespacedName::new(namespace, name);
        apply(&mut store, Event::Apply(Object::Delegation(Arc::new(Delegation { name, grants }))));
    };
    grant("certs", "a", "one", &["blue"]);
    grant("certs", "b", "one", &["green", "*"]);
    grant("certs", "c", "two", &[]);
    grant("certs-2", "a", "two", &["*"]);
    let one = NamespacedName::new("certs", "one");
    let two = NamespacedName::new("certs", "two");
    assert!(store.delegated(&one, "blue") && store.delegated(&one, "anybody"));
    assert!(!store.delegated(&two, "blue"), "a delegation of another namespace does not count");
    assert!(store.delegated(&two, "certs"), "its own namespace always may");
    apply(&mut store, delete(Kind::Delegation, "certs/b"));
    assert!(store.delegated(&one, "blue") && !store.delegated(&one, "green"));
}

fn parse(yaml: serde_json::Value) -> Option<EndpointSlice> {
    EndpointSlice::parse(serde_json::from_value::<v1::EndpointSlice>(yaml).expect("a slice"))
}

#[test]
fn a_slice_keeps_what_reaches_envoy() {
    let read = parse(serde_json::json!({
        "addressType": "IPv6",
        "metadata": {"name": "web-1", "namespace": "a", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [
            {"addresses": ["10.0.0.1", "10.0.0.2"]},
            {"addresses": ["fd00::1"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.4"], "conditions": {}},
            {"addresses": ["host.example.com"]},
            {"addresses": []},
        ],
        "ports": [
            {"name": "http", "port": 8080, "protocol": "TCP"},
            {"name": "", "port": 9090},
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "none"},
            {"name": "zero", "port": 0},
            {"name": "large", "port": 65536},
        ],
    }))
    .expect("it belongs to a Service");
    assert_eq!(read.service, NamespacedName::new("a", "web"));
    let endpoints: Vec<String> =
        read.endpoints.iter().map(|e| format!("{} {}", e.address, e.ready)).collect();
    assert_eq!(endpoints, ["10.0.0.1 true", "fd00::1 false", "10.0.0.3 true", "10.0.0.4 true"]);
    let ports: Vec<(Option<&str>, u16)> = read.ports.iter().map(|p| (p.name.as_deref(), p.port)).collect();
    assert_eq!(ports, [(Some("http"), 8080), (None, 9090)]);
}

#[test]
fn a_slice_of_nobody_is_left_out() {
    let metadata = serde_json::json!({"name": "web-1", "namespace": "a"});
    assert_eq!(
        parse(serde_json::json!({"addressType": "IPv4", "metadata": metadata, "endpoints": []})),
        None
    );
}

#[test]
fn nobody_but_who_runs_envoy_names_local_addresses() {
    let slice = |family: &str, addresses: &[&str]| {
        let endpoints: Vec<_> = addresses.iter().map(|a| serde_json::json!({"addresses": [a]})).collect();
        let slice = serde_json::json!({
            "addressType": family,
            "metadata": {"name": "web-1", "namespace": "a", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": endpoints,
        });
        serde_json::from_value::<v1::EndpointSlice>(slice).unwrap()
    };
    let kept =
        |slice: &EndpointSlice| slice.endpoints.iter().map(|e| e.address.to_string()).collect::<Vec<_>>();
    let mixed = slice("IPv4", &["10.0.0.1", "0.0.0.0", "127.0.0.1"]);
    let read = EndpointSlice::parse(mixed.clone()).unwrap();
    assert_eq!(kept(&read), ["10.0.0.1"]);
    assert_eq!(read.left_out, Some(LeftOut::Local([0, 0, 0, 0].into())));
    let own = EndpointSlice::parse_own(mixed).unwrap();
    assert_eq!(kept(&own), ["10.0.0.1", "0.0.0.0", "127.0.0.1"]);
    assert_eq!(own.left_out, None);
    for address in ["::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "fe80::1", "ff02::1"] {
        let read = EndpointSlice::parse(slice("IPv6", &[address])).unwrap();
        assert!(kept(&read).is_empty() && read.left_out.is_some(), "{address}");
    }
    for address in ["127.0.0.1", "10.0.0.1", "localhost", "example.com"] {
        for read in [EndpointSlice::parse, EndpointSlice::parse_own] {
            let read = read(slice("FQDN", &[address])).unwrap();
            assert!(kept(&read).is_empty());
            assert_eq!(read.left_out, Some(LeftOut::Fqdn(address.into())));
        }
    }
    assert_eq!(EndpointSlice::parse(slice("FQDN", &[])).unwrap().left_out, None);
}

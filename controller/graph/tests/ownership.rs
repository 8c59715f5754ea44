//! Who has a host name: what golden states cannot say, which is how many are told, and names in the spelling of old objects.

mod support;

use std::sync::Arc;

use contour_graph::{Graph, HostOwnership, Settings, Update};
use contour_objects::{Changes, Event, Kind, NamespacedName, Object, ObjectRef, Proxy, Store};
use serde_json::json;
use support::{build, ingress, proxy, served, service, told};

/// A root of `www.example.com` of this age.
fn root(name: &str, created: i64) -> Object {
    root_of("www.example.com", name, created)
}

fn root_of(fqdn: &str, name: &str, created: i64) -> Object {
    let spec =
        format!("virtualhost: {{fqdn: \"{fqdn}\"}}\nroutes: [{{services: [{{name: web, port: 80}}]}}]");
    let Object::HttpProxy(root) = proxy(name, &spec) else { unreachable!("it is an HTTPProxy") };
    Object::HttpProxy(Arc::new(Proxy { created, ..Proxy::clone(&root) }))
}

/// An Ingress of this host.
fn ingress_of(host: &str, namespace: &str, name: &str) -> Object {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let path = json!({"path": "/ingress", "pathType": "Prefix", "backend": backend});
    ingress(json!({
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": "2020-01-01T00:00:00Z"},
        "spec": {"rules": [{"host": host, "http": {"paths": [path]}}]},
    }))
}

fn settings(ownership: HostOwnership) -> Settings {
    Settings { ownership, ..Settings::default() }
}

/// A graph that is told of one object after the other.
struct Story {
    store: Store,
    graph: Graph,
}

impl Story {
    fn new(ownership: HostOwnership) -> Self {
        Self { store: Store::default(), graph: Graph::new(settings(ownership)) }
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>) -> Update {
        let mut changes = Changes::default();
        events.into_iter().for_each(|event| self.store.apply(event, &mut changes));
        self.graph.update(&self.store, &changes)
    }

    fn delete(&mut self, name: &str) -> Update {
        let name = NamespacedName::parse(name, &"".into());
        self.tell([Event::Delete(ObjectRef::new(Kind::HttpProxy, name))])
    }
}

/// Statuses that one contender more, or one less, may change however many there are.
const FEW: usize = 10;

#[test]
fn one_duplicate_more_or_less_changes_few_statuses() {
    for ownership in [HostOwnership::Proxies, HostOwnership::Strict, HostOwnership::Shared] {
        let mut story = Story::new(ownership);
        let many = (0..2000).map(|n| Event::Apply(root(&format!("team{}/r{n:04}", n % 7), 100 + n)));
        assert_eq!(story.tell(many).statuses.len(), 2000);
        // The youngest, the oldest, and one in between.
        for (name, created) in [("team0/young", 9999), ("team1/old", 1), ("team2/middle", 1000)] {
            let more = story.tell([Event::Apply(root(name, created))]).statuses.len();
            assert!((1..=FEW).contains(&more), "{ownership:?}: {name} changed {more} statuses");
        }
        for name in ["team0/young", "team1/old", "team2/middle", "team0/r0000"] {
            let less = story.delete(name).statuses.len();
            assert!(less <= FEW, "{ownership:?}: without {name} {less} statuses changed");
        }
    }
}

#[test]
fn what_duplicates_are_told_stays_short() {
    for ownership in [HostOwnership::Proxies, HostOwnership::Strict] {
        let roots = (0..1000).map(|n| root(&format!("a/r{n:04}"), n)).collect();
        let (graph, _) = build(settings(ownership), roots);
        for name in ["a/r0001", "a/r0500"] {
            let told = told(&graph, name);
            assert!(told.len() == 1 && told[0].len() < 300, "{told:?}");
            assert!(
                told[0].starts_with("VirtualHostError/DuplicateVhost: fqdn \"www.example.com\" is used in ")
            );
        }
    }
}

#[test]
fn the_spelling_of_a_name_does_not_make_it_another() {
    let all = vec![
        service("shop/web", None),
        service("evil/web", None),
        root_of("WWW.XN--Bcher-kva.example", "shop/site", 1),
        root_of("www.xn--bcher-kva.EXAMPLE", "evil/site", 2),
        ingress_of("www.XN--bcher-KVA.example", "evil", "www"),
        root_of("www.xn--bcher-kva.example.", "evil/dotted", 0),
        ingress_of("www.xn--bcher-kva.example.", "evil", "dotted"),
        ingress_of("www.b\u{fc}cher.example", "evil", "unicode"),
        ingress_of("www.xn--bcher-kva.example:80", "evil", "port"),
    ];
    let (graph, update) = build(settings(HostOwnership::Strict), all);
    assert_eq!(
        served(&update),
        "host www.xn--bcher-kva.example\n  plain  prefix / -> shop/web:80 [HTTPProxy shop/site]\n"
    );
    assert!(told(&graph, "shop/site").is_empty());
    assert_eq!(
        told(&graph, "evil/site"),
        [
            "VirtualHostError/DuplicateVhost: fqdn \"www.xn--bcher-kva.example\" is used in multiple namespaces: HTTPProxy shop/site has it"
        ]
    );
    assert_eq!(update.notes.len(), 4, "{:?}", update.notes);
}

#[test]
fn who_leaves_a_name_leaves_it_to_the_next() {
    let mut story = Story::new(HostOwnership::Strict);
    let objects = [
        service("a/web", None),
        service("b/web", None),
        root("a/site", 1 << 40),
        root("b/site", 2 << 40),
        ingress_of("www.example.com", "b", "www"),
    ];
    story.tell(objects.map(Event::Apply));
    assert!(told(&story.graph, "a/site")[0].contains("Ingress b/www has it"));
    let ingress = NamespacedName::new("b", "www");
    story.tell([Event::Delete(ObjectRef::new(Kind::Ingress, ingress))]);
    assert!(told(&story.graph, "a/site").is_empty() && !told(&story.graph, "b/site").is_empty());
    story.tell([Event::Apply(root_of("other.example.com", "a/site", 1 << 40))]);
    assert!(told(&story.graph, "a/site").is_empty() && told(&story.graph, "b/site").is_empty());
}

#[test]
fn notes_of_an_ingress_are_bounded() {
    let path = |n: usize| {
        let backend = json!({"service": {"name": format!("gone{n}"), "port": {"number": 80}}});
        json!({"path": format!("/{n}"), "pathType": "Prefix", "backend": backend})
    };
    let paths: Vec<_> = (0..5000).map(path).collect();
    let object = ingress(json!({
        "metadata": {"name": "www", "namespace": "a"},
        "spec": {"rules": [{"host": "www.example.com", "http": {"paths": paths}}]},
    }));
    let (_, update) = build(Settings::default(), vec![object]);
    assert_eq!(update.notes.len(), 64);
    assert_eq!(update.notes[63].message, "there are more problems than are listed here");
}

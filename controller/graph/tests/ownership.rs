//! Who has a host name: what golden states cannot say, which is how many are told, and names in the spelling of old objects.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use contour_crds::HTTPProxyStatus;
use contour_graph::{Graph, HostOwnership, Settings, Update};
use contour_objects::{Changes, Event, Held, Kind, NamespacedName, Object, ObjectRef, Proxy, Store};
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

/// A world whose statuses are written and read again, as by a leader and all replicas.
struct Recorded {
    story: Story,
    statuses: BTreeMap<NamespacedName, HTTPProxyStatus>,
    day: u8,
}

impl Recorded {
    fn new() -> Self {
        let mut story = Story::new(HostOwnership::Strict);
        story.tell(["a/web", "b/web"].map(|name| Event::Apply(service(name, None))));
        Self { story, statuses: BTreeMap::new(), day: 0 }
    }

    /// Tells of an object, with the status it has.
    fn tell(&mut self, object: Object) {
        self.story.tell([Event::Apply(self.with_status(object))]);
        self.write();
    }

    fn with_status(&self, object: Object) -> Object {
        let Object::HttpProxy(proxy) = object else { return object };
        let held = self.statuses.get(&proxy.name).and_then(|status| Held::recorded(&status.conditions));
        Object::HttpProxy(Arc::new(Proxy { held, ..Proxy::clone(&proxy) }))
    }

    /// Writes the statuses, which come back with the objects and change nothing more.
    fn write(&mut self) {
        self.day += 1;
        let now = format!("2026-01-{:02}T00:00:00Z", self.day);
        for status in self.story.graph.statuses() {
            let written = self.statuses.entry(status.object.clone()).or_default();
            if let Some(merged) = status.merge(written, &now) {
                *written = merged;
            }
        }
        let all: Vec<Object> = self.story.store.proxies().cloned().map(Object::HttpProxy).collect();
        let echo = all.into_iter().map(|object| Event::Apply(self.with_status(object)));
        let echo: Vec<Event> = echo.collect();
        let update = self.story.tell(echo);
        assert!(update.statuses.is_empty(), "{:?}", update.statuses);
    }

    /// What another process builds of the same objects.
    fn restart(&mut self) {
        let mut graph = Graph::new(settings(HostOwnership::Strict));
        graph.update(&self.story.store, &everything(&self.story.store));
        for status in self.story.graph.statuses() {
            assert_eq!(graph.status(&status.object), Some(status));
        }
        self.story.graph = graph;
    }

    /// Whether this HTTPProxy has its host, in what serves and in what is recorded.
    fn has(&self, name: &str) -> bool {
        let name = NamespacedName::parse(name, &"".into());
        let status = self.story.graph.status(&name).expect("a status");
        let recorded = Held::recorded(&self.statuses[&name].conditions).is_some();
        assert_eq!(recorded, status.holds.is_some());
        assert_eq!(recorded, status.errors.is_empty(), "{status:?}");
        recorded
    }
}

fn everything(store: &Store) -> Changes {
    let proxies = store.proxies().map(|p| ObjectRef::new(Kind::HttpProxy, p.name.clone()));
    let ingresses = store.ingresses().map(|i| ObjectRef::new(Kind::Ingress, i.name.clone()));
    Changes { objects: proxies.chain(ingresses).collect(), ..Changes::default() }
}

#[test]
fn an_older_object_that_is_edited_takes_no_host() {
    let mut world = Recorded::new();
    world.tell(root_of("old.example.com", "b/old", 1 << 40));
    world.tell(root("a/site", 2 << 40));
    assert!(world.has("a/site") && world.has("b/old"));
    world.tell(root("b/old", 1 << 40));
    assert!(world.has("a/site") && !world.has("b/old"));
    world.restart();
    assert!(world.has("a/site") && !world.has("b/old"));
    // An Ingress that is older, too; and one in the owner's namespace takes nothing from the owner either.
    world.tell(ingress_of("www.example.com", "b", "www"));
    world.tell(root("a/older", 1));
    assert!(world.has("a/site") && !world.has("b/old") && !world.has("a/older"));
    // The owner is edited, in whatever way.
    world.tell(root_of("WWW.example.com", "a/site", 2 << 40));
    assert!(world.has("a/site") && !world.has("b/old"));
}

#[test]
fn who_gives_a_host_up_does_not_get_it_back_by_age() {
    let mut world = Recorded::new();
    world.tell(root("a/site", 1 << 40));
    world.tell(root("b/site", 2 << 40));
    assert!(world.has("a/site") && !world.has("b/site"));
    world.tell(root_of("other.example.com", "a/site", 1 << 40));
    assert!(world.has("a/site") && world.has("b/site"));
    world.tell(root("a/site", 1 << 40));
    assert!(!world.has("a/site") && world.has("b/site"));
}

#[test]
fn of_several_records_the_newest_holds() {
    let mut world = Recorded::new();
    world.tell(root("a/site", 1 << 40));
    let stale = world.statuses[&NamespacedName::new("a", "site")].clone();
    world.story.delete("a/site");
    world.tell(root("b/site", 2 << 40));
    // Back from where its status was not ours to write: another class, or a write that never worked.
    world.statuses.insert(NamespacedName::new("a", "site"), stale);
    world.tell(root("a/site", 1 << 40));
    assert!(!world.has("a/site") && world.has("b/site"));
    world.restart();
}

#[test]
fn records_count_and_are_made_only_where_hosts_have_one_owner() {
    let mut world = Recorded::new();
    world.tell(root("a/site", 1 << 40));
    let Object::HttpProxy(recorded) = world.with_status(root("a/site", 2 << 40)) else { unreachable!() };
    assert!(recorded.has_host_since().is_some());
    for ownership in [HostOwnership::Proxies, HostOwnership::Shared] {
        let all = vec![service("a/web", None), Object::HttpProxy(Arc::clone(&recorded)), root("b/site", 1)];
        let (graph, update) = build(settings(ownership), all);
        assert!(served(&update).is_empty());
        assert!(graph.statuses().all(|status| status.holds.is_none() && !status.errors.is_empty()));
    }
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

/// Who names a host answers for it; of several none does.
#[test]
fn the_namespace_of_a_host_is_that_of_who_names_it() {
    let namespace = |ownership, objects: Vec<Object>| {
        let mut story = Story::new(ownership);
        let update = story.tell(objects.into_iter().map(Event::Apply));
        let host = update.hosts.into_iter().find(|(fqdn, _)| &**fqdn == "www.example.com");
        let host = host.and_then(|(_, host)| host).expect("it is served");
        host.namespace.as_deref().map(str::to_owned)
    };
    let of = |namespace: &str| ingress_of("www.example.com", namespace, "i");
    let services = || vec![service("team/web", None), service("other/web", None)];
    let with = |more: Vec<Object>| services().into_iter().chain(more).collect();
    let shared = HostOwnership::Shared;
    assert_eq!(namespace(shared, with(vec![root("team/www", 1)])).as_deref(), Some("team"));
    assert_eq!(namespace(shared, with(vec![of("other")])).as_deref(), Some("other"));
    assert_eq!(namespace(shared, with(vec![root("team/www", 1), of("other")])), None);
    assert_eq!(namespace(shared, with(vec![root("team/www", 1), of("team")])).as_deref(), Some("team"));
    let kept_out = with(vec![root("team/www", 1), of("other")]);
    assert_eq!(namespace(HostOwnership::Proxies, kept_out).as_deref(), Some("team"));
}

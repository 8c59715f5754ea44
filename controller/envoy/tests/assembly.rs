//! Steps from one state to the next.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_envoy::{Assembly, Owner, Settings};
use contour_graph::model::*;
use contour_objects::Store;
use contour_resource::{ResourceType, Transaction};
use proptest::prelude::*;
use support::*;

fn said(transaction: &Transaction) -> Vec<String> {
    let set = transaction.set.iter().map(|(kind, r)| format!("+{} {}", kind.short(), r.name()));
    let removed = transaction.remove.iter().map(|(kind, name)| format!("-{} {name}", kind.short()));
    set.chain(removed).collect()
}

fn to_root(service: &str) -> Vec<Route> {
    vec![route(prefix("/"), to(service))]
}

/// An assembly with these hosts, and what it published.
fn start(hosts: Vec<VirtualHost>) -> (Assembly, Served) {
    let mut assembly = Assembly::new(Settings::default());
    let served = Served::of(&mut assembly, &Store::default(), hosts);
    (assembly, served)
}

#[test]
fn one_changed_host_says_only_what_changed() {
    let (mut assembly, mut served) = start(vec![plain("a", to_root("one")), plain("b", to_root("one"))]);
    let store = Store::default();
    let mut step = |changes: Vec<Change>| {
        let transaction = assembly.hosts(&store, changes);
        served.apply(&transaction);
        served.assert_complete();
        said(&transaction)
    };
    assert_eq!(step(vec![set(plain("a", to_root("one")))]), Vec::<String>::new(), "nothing changed");
    assert_eq!(
        step(vec![set(plain("a", to_root("two")))]),
        ["+cds default/two/80/da39a3ee5e", "+eds default/two", "+rds ingress_http"]
    );
    assert_eq!(
        step(vec![gone("b")]),
        ["+rds ingress_http", "-cds default/one/80/da39a3ee5e", "-eds default/one"]
    );
    assert_eq!(
        step(vec![gone("a")]),
        ["+rds ingress_http", "-cds default/two/80/da39a3ee5e", "-eds default/two", "-lds ingress_http"]
    );
    assert_eq!(step(vec![gone("a"), gone("never")]), Vec::<String>::new());
}

#[test]
fn the_first_transaction_is_what_always_exists() {
    let first = Assembly::new(Settings::default()).initial();
    assert_eq!(
        said(&first),
        [
            "+lds stats-health",
            "+lds envoy-admin",
            "+lds trial",
            "+rds trial",
            "+rtds dynamic",
            "+rds ingress_http"
        ]
    );
    let without = Settings { admin_port: 0, ..Settings::default() };
    assert!(!said(&Assembly::new(without).initial()).contains(&"+lds envoy-admin".to_owned()));
}

#[test]
fn a_part_that_did_not_change_is_not_encoded_again() {
    let (mut assembly, served) = start(vec![plain("a", to_root("one")), plain("b", to_root("one"))]);
    let before = served.resource(ResourceType::Route, "ingress_http").parts().to_vec();
    let step = assembly.hosts(&Store::default(), [set(plain("b", to_root("two")))]);
    let (_, after) = step.set.iter().find(|(kind, _)| *kind == ResourceType::Route).expect("routes changed");
    assert!(Arc::ptr_eq(&before[0], &after.parts()[0]), "the head");
    assert!(Arc::ptr_eq(&before[1], &after.parts()[1]), "host a");
    assert_ne!(before[2], after.parts()[2]);
}

#[test]
fn a_removed_tls_host_leaves_an_empty_table() {
    let host = || secure("a.example.com", "default/cert", to_root("one"));
    let (mut assembly, mut served) =
        start(vec![host(), secure("b.example.com", "default/cert", to_root("two"))]);
    let secret = served.names(ResourceType::Secret)[0].to_owned();

    let step = assembly.hosts(&Store::default(), [gone("a.example.com")]);
    assert_eq!(
        said(&step),
        [
            "+rds ingress_http",
            "+rds https/a.example.com",
            "+lds ingress_https",
            "-cds default/one/80/da39a3ee5e",
            "-eds default/one"
        ]
    );
    served.apply(&step);
    assert_eq!(served.routes("https/a.example.com").virtual_hosts, []);
    assert_eq!(served.names(ResourceType::Secret), [&*secret], "the other host still presents it");

    served.apply(&assembly.hosts(&Store::default(), [set(host())]));
    assert_eq!(served.routes("https/a.example.com").virtual_hosts.len(), 2, "the host is back");

    let step = assembly.hosts(&Store::default(), [gone("a.example.com"), gone("b.example.com")]);
    assert!(said(&step).contains(&"-lds ingress_https".to_owned()));
    assert!(said(&step).contains(&format!("-sds {secret}")));
}

#[test]
fn empty_tables_are_bounded_but_outlive_their_step() {
    let many = 5000;
    let hosts = || (0..many).map(|n| format!("host-{n}.example.com"));
    let tables = |served: &Served| served.names(ResourceType::Route).len() - 2;
    let (mut assembly, mut served) =
        start(hosts().map(|fqdn| secure(&fqdn, "default/cert", to_root("one"))).collect());
    served.apply(&assembly.hosts(&Store::default(), hosts().map(|fqdn| gone(&fqdn))));
    assert_eq!(tables(&served), many, "Envoys are told before it is forgotten");
    served.apply(&assembly.hosts(&Store::default(), [set(plain("a", to_root("one")))]));
    assert_eq!(tables(&served), 4096);
}

#[test]
fn a_new_certificate_is_a_new_secret() {
    let host = |pair| {
        let tls = termination("default/cert", pair);
        let secure = Some(SecureHost::Http { tls, routes: to_root("one") });
        VirtualHost { fqdn: "a".into(), namespace: Some("default".into()), plain: Vec::new(), secure }
    };
    let (mut assembly, served) = start(vec![host(pair("old"))]);
    let old = served.names(ResourceType::Secret)[0].to_owned();
    let step = said(&assembly.hosts(&Store::default(), [set(host(pair("new")))]));
    assert!(step.contains(&format!("-sds {old}")), "{step:?}");
    assert!(step.contains(&"+lds ingress_https".to_owned()), "{step:?}");
    assert!(!step.iter().any(|s| s.contains("rds")), "the routes are the same: {step:?}");
}

#[test]
fn a_host_under_a_wildcard_changes_the_wildcard() {
    let (mut assembly, mut served) = start(vec![secure("*.example.com", "default/cert", to_root("all"))]);
    let own = || secure("a.example.com", "default/cert", to_root("one"));
    let hosts = |served: &Served| {
        let table = served.routes("https/*.example.com");
        table.virtual_hosts.iter().map(|h| h.domains[0].clone()).collect::<Vec<_>>()
    };
    served.apply(&assembly.hosts(&Store::default(), [set(own())]));
    assert_eq!(hosts(&served), ["*.example.com", "*", "a.example.com"]);
    let again =
        assembly.hosts(&Store::default(), [set(secure("a.example.com", "default/cert", to_root("two")))]);
    assert!(!said(&again).contains(&"+rds https/*.example.com".to_owned()), "{:?}", said(&again));
    served.apply(&again);
    served.apply(&assembly.hosts(&Store::default(), [gone("a.example.com")]));
    assert_eq!(hosts(&served), ["*.example.com", "*"]);
}

/// A host is in the table of the nearest wildcard only: that one's domain stands for it in the tables of those above.
#[test]
fn wildcards_above_wildcards_make_no_products() {
    let all = |fqdn: &str| secure(fqdn, "default/cert", to_root("all"));
    let (mut assembly, mut served) =
        start(vec![all("*.x"), all("a.x"), all("b-c.x"), all("d.b.x"), all("e.d.b.x")]);
    let domains = |served: &Served, wildcard: &str| {
        let table = served.routes(&format!("https/{wildcard}"));
        let mut domains: Vec<_> = table.virtual_hosts.iter().skip(2).map(|h| h.domains[0].clone()).collect();
        domains.sort();
        domains
    };
    assert_eq!(domains(&served, "*.x"), ["a.x", "b-c.x", "d.b.x", "e.d.b.x"]);
    served.apply(&assembly.hosts(&Store::default(), [set(all("*.b.x"))]));
    assert_eq!(domains(&served, "*.x"), ["*.b.x", "a.x", "b-c.x"]);
    assert_eq!(domains(&served, "*.b.x"), ["d.b.x", "e.d.b.x"]);
    served.apply(&assembly.hosts(&Store::default(), [gone("d.b.x"), set(all("f.b.x"))]));
    assert_eq!(domains(&served, "*.x"), ["*.b.x", "a.x", "b-c.x"]);
    assert_eq!(domains(&served, "*.b.x"), ["e.d.b.x", "f.b.x"]);
    served.apply(&assembly.hosts(&Store::default(), [gone("*.b.x")]));
    assert_eq!(domains(&served, "*.x"), ["a.x", "b-c.x", "e.d.b.x", "f.b.x"]);

    let deep = |depth: usize| "w.".repeat(depth) + "x";
    let wildcards = (0..60).map(|depth| set(all(&format!("*.{}", deep(depth)))));
    let hosts = (0..300).map(|n| set(all(&format!("h{n}.{}", deep(60)))));
    served.apply(&assembly.hosts(&Store::default(), wildcards.chain(hosts)));
    let tables = (0..60).map(|depth| domains(&served, &format!("*.{}", deep(depth))).len());
    assert_eq!(tables.sum::<usize>(), 4 + 59 + 300, "each is listed once");
}

#[test]
fn a_wildcard_without_routes_has_no_table() {
    let (mut assembly, served) = start(vec![passthrough("*.example.com", "tcp")]);
    assert_eq!(served.names(ResourceType::Route), ["ingress_http", "trial"]);
    let both = [set(secure("a.example.com", "default/cert", to_root("one"))), gone("a.example.com")];
    let step = assembly.hosts(&Store::default(), both);
    assert!(!said(&step).iter().any(|s| s.contains("https/")), "{:?}", said(&step));
}

#[test]
fn endpoints_change_alone_and_only_where_they_are_shown() {
    let mut store = Store::default();
    let mut assembly = Assembly::new(Settings::default());
    Served::of(&mut assembly, &store, vec![plain("a", to_root("one"))]);
    let ports = [(None, 8080)];
    let mut step = |service: &str, endpoints: &[(&str, bool)]| {
        let changes = apply(&mut store, slice(service, service, endpoints, &ports));
        said(&assembly.endpoints(&store, &changes.endpoints))
    };
    assert_eq!(step("one", &[("10.0.0.1", true)]), ["+eds default/one"]);
    assert_eq!(step("one", &[("10.0.0.1", true), ("10.0.0.2", false)]), Vec::<String>::new(), "not ready");
    assert_eq!(step("unused", &[("10.0.0.1", true)]), Vec::<String>::new());
}

#[test]
fn a_renamed_port_moves_the_cluster_to_other_endpoints() {
    let host = |port: Option<&str>| {
        let of = EndpointsOf { service: name("one"), port_name: port.map(Into::into), health_port: None };
        let cluster = Cluster { discovery: Discovery::Slices(of), ..cluster("one") };
        let action = Action::Forward(Box::new(forward(vec![weighted(cluster, 1)])));
        plain("a", vec![route(prefix("/"), action)])
    };
    let (mut assembly, mut served) = start(vec![host(None)]);
    let step = assembly.hosts(&Store::default(), [set(host(Some("http")))]);
    assert_eq!(said(&step), ["+cds default/one/80/da39a3ee5e", "+eds default/one/http", "-eds default/one"]);
    served.apply(&step);
    served.assert_complete();
}

#[test]
fn owners_of_what_may_be_rejected() {
    let (assembly, served) = start(vec![
        plain("a", to_root("shared")),
        plain("b", to_root("shared")),
        secure("c", "default/cert", to_root("own")),
    ]);
    let hosts = |kind, name: &str, part: &str| {
        let owners = assembly.owners(kind, name, part);
        assert!(owners.iter().all(|o: &Owner| o.origins == [origin()]), "{owners:?}");
        owners.into_iter().map(|o| o.host.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(hosts(ResourceType::Route, "ingress_http", "a"), ["a"]);
    assert_eq!(hosts(ResourceType::Route, "ingress_http", ""), Vec::<String>::new());
    assert_eq!(hosts(ResourceType::Route, "https/c", ""), ["c"]);
    assert_eq!(hosts(ResourceType::Listener, "ingress_https", "c"), ["c"]);
    assert_eq!(hosts(ResourceType::Cluster, "default/shared/80/da39a3ee5e", ""), ["a", "b"]);
    assert_eq!(hosts(ResourceType::Endpoints, "default/own", ""), ["c"]);
    assert_eq!(hosts(ResourceType::Secret, served.names(ResourceType::Secret)[0], ""), ["c"]);
    assert_eq!(hosts(ResourceType::Runtime, "dynamic", ""), Vec::<String>::new());
}

/// What xDS holds against whom: a namespace for what is its own, the host where several name it, nobody for what is ours.
#[test]
fn who_answers_for_what() {
    let own = secure("a", "team/cert", to_root("team/one"));
    let own = VirtualHost { namespace: Some("team".into()), ..own };
    let shared = VirtualHost { namespace: None, ..plain("b", to_root("other/two")) };
    let wildcard = secure("*", "default/wildcard", to_root("one"));
    let (_, served) = start(vec![own, shared, wildcard]);
    let parts = |kind, name: &str| {
        let parts = served.0[&(kind, name.into())].parts().iter();
        let parts = parts.map(|p| format!("{}@{}", p.id, p.origin.as_deref().unwrap_or("-")));
        parts.collect::<Vec<_>>().join(" ")
    };
    for (kind, name, expected) in [
        (ResourceType::Route, "ingress_http", "@- *@default a@team b@host b"),
        (ResourceType::Listener, "ingress_https", "@- *@default a@team"),
        (ResourceType::Route, "https/a", "@team"),
        (ResourceType::Route, "https/*", "@default a@-"),
        (ResourceType::Cluster, "team/one/80/da39a3ee5e", "@team"),
        (ResourceType::Endpoints, "other/two", "@other"),
        (ResourceType::Listener, "ingress_http", "@-"),
    ] {
        assert_eq!(parts(kind, name), expected, "{kind:?} {name}");
    }
    let secrets = served.0.iter().filter(|((kind, _), _)| *kind == ResourceType::Secret);
    for ((_, name), secret) in secrets {
        let (namespace, _) = name.split_once('/').unwrap();
        assert_eq!(secret.parts()[0].origin.as_deref(), Some(namespace));
    }
}

#[test]
fn bytes_are_the_same_every_time() {
    let settings = || {
        let runtime = (0..20).map(|n| (format!("key.{n}"), serde_json::json!({"a": n, "b": [n], "c": "x"})));
        Settings { runtime: runtime.collect(), ..Settings::default() }
    };
    let hosts = || {
        vec![
            plain("a", to_root("one")),
            secure("b", "default/cert", to_root("two")),
            plain("c", vec![route(prefix("/"), Action::Respond { status: 200, body: "x".to_owned() })]),
        ]
    };
    let first = Served::of(&mut Assembly::new(settings()), &Store::default(), hosts()).versions();
    for _ in 0..20 {
        // Every HashMap has another order: one anywhere below would show.
        assert_eq!(Served::of(&mut Assembly::new(settings()), &Store::default(), hosts()).versions(), first);
    }
}

const HOSTS: [&str; 6] = [
    "a.example.com",
    "b.example.com",
    "*.example.com",
    "x.a.example.com",
    "*.a.example.com",
    "a.example.org",
];

fn action() -> impl Strategy<Value = Action> {
    let service = prop::sample::select(vec!["one", "two", "three"]);
    let discovery = prop::sample::select(vec![None, Some("http"), Some("admin")]);
    prop_oneof![
        4 => (service, discovery, any::<bool>()).prop_map(|(service, health, tls)| {
            let health_port = health.map(|h| HealthPort { number: 81, name: Some(h.into()) });
            let of = EndpointsOf { service: name(service), port_name: None, health_port };
            let protocol = if tls { Protocol::Tls } else { Protocol::Plain };
            let cluster = Cluster { discovery: Discovery::Slices(of), protocol, ..cluster(service) };
            Action::Forward(Box::new(forward(vec![weighted(cluster, 1)])))
        }),
        1 => Just(Action::UpgradeToHttps),
    ]
}

fn host(fqdn: &'static str) -> impl Strategy<Value = Option<VirtualHost>> {
    let routes = || prop::collection::vec((prop::sample::select(vec!["/", "/a", "/b"]), action()), 0..3);
    let secret = prop::sample::select(vec!["default/one", "default/two"]);
    (0..5, routes(), routes(), secret).prop_map(move |(kind, plain, secure, secret)| {
        let all = |routes: Vec<(&str, Action)>| {
            let routes: BTreeMap<_, _> = routes.into_iter().collect();
            routes.into_iter().map(|(path, action)| route(prefix(path), action)).collect::<Vec<_>>()
        };
        let mut routes = all(secure);
        if routes.is_empty() {
            routes = to_root("one");
        }
        let secure = match kind {
            0 => return None,
            1 => None,
            2 => passthrough(fqdn, "two").secure,
            _ => Some(SecureHost::Http { tls: termination(secret, pair(secret)), routes }),
        };
        Some(VirtualHost { fqdn: fqdn.into(), namespace: Some("default".into()), plain: all(plain), secure })
    })
}

fn changes() -> impl Strategy<Value = Vec<Vec<(&'static str, Option<VirtualHost>)>>> {
    let change =
        prop::sample::select(HOSTS.to_vec()).prop_flat_map(|fqdn| host(fqdn).prop_map(move |h| (fqdn, h)));
    prop::collection::vec(prop::collection::vec(change, 0..4), 1..8)
}

type Versions = BTreeMap<(ResourceType, Arc<str>), u64>;

/// Without the emptied tables of these hosts, which a fresh start does not know of.
fn without_tombstones(served: &Served, gone: &BTreeSet<&str>) -> Versions {
    let mut versions = served.versions();
    for host in gone {
        let key = (ResourceType::Route, contour_envoy::secure_routes(host));
        assert_eq!(served.routes(&key.1).virtual_hosts, [], "the table of {host}");
        assert!(versions.remove(&key).is_some());
    }
    versions
}

fn has_table(host: &VirtualHost) -> bool {
    matches!(host.secure, Some(SecureHost::Http { .. }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn steps_lead_where_a_fresh_start_leads(batches in changes()) {
        let store = Store::default();
        let (mut assembly, mut served) = start(Vec::new());
        let mut now: BTreeMap<&str, VirtualHost> = BTreeMap::new();
        let mut gone: BTreeSet<&str> = BTreeSet::new();
        for batch in batches {
            let before: BTreeSet<_> = now.iter().filter(|(_, host)| has_table(host)).map(|(fqdn, _)| *fqdn).collect();
            let changes = batch.iter().map(|(fqdn, host)| ((*fqdn).into(), host.clone().map(Arc::new)));
            served.apply(&assembly.hosts(&store, changes));
            served.assert_complete();
            for (fqdn, host) in batch {
                match host {
                    Some(host) => now.insert(fqdn, host),
                    None => now.remove(fqdn),
                };
            }
            gone.extend(before);
            gone.retain(|fqdn| !now.get(fqdn).is_some_and(has_table));
        }
        let (mut fresh, expected) = start(now.values().cloned().collect());
        prop_assert_eq!(without_tombstones(&served, &gone), expected.versions());
        let again = fresh.hosts(&store, now.into_values().map(set));
        prop_assert!(again.is_empty(), "saying the same again changes nothing: {:?}", again);
        let services: BTreeSet<_> = ["one", "two", "three"].into_iter().map(name).collect();
        prop_assert!(assembly.endpoints(&store, &services).is_empty());
    }
}

//! Budgets in bytes: what exceeds one harms only itself, and what served before goes on.

mod support;

use std::fmt::Write as _;

use contour_graph::model::{SecureHost, VirtualHost};
use contour_graph::{Budgets, Settings, cost};
use contour_objects::{Changes, Event, Object};
use serde_json::json;
use support::{World, build, ingress, proxy, service};

const MIB: u64 = 1 << 20;

fn settings(object: u64, host: u64, namespace: u64) -> Settings {
    Settings { budgets: Budgets { object, host, namespace }, ..Settings::default() }
}

/// So many routes that only answer.
fn answers(count: usize) -> String {
    (0..count).fold("routes:\n".to_owned(), |mut text, n| {
        let _ = writeln!(
            text,
            "- {{conditions: [{{prefix: /r{n}}}], directResponsePolicy: {{statusCode: 200}}}}"
        );
        text
    })
}

fn root(fqdn: &str, rest: &str) -> String {
    format!("virtualhost: {{fqdn: {fqdn}}}\n{rest}")
}

fn include(name: &str, prefix: &str) -> String {
    format!("includes: [{{name: {name}, conditions: [{{prefix: {prefix}}}]}}]\n")
}

fn costs(host: &VirtualHost) -> u64 {
    let secure = match &host.secure {
        Some(SecureHost::Http { routes, .. }) => routes.as_slice(),
        _ => &[],
    };
    host.plain.iter().chain(secure).map(cost).sum()
}

/// Few bytes that are many when each route repeats them.
#[test]
fn a_long_prefix_over_many_routes_is_refused_where_it_is_written() {
    let long = format!("/{}", "x".repeat(4_000));
    let objects = vec![
        proxy("a/root", &root("www.example.com", &(include("child", &long) + &answers(3)))),
        proxy("a/child", &answers(1500)),
        proxy("b/other", &root("other.example.com", &answers(3))),
    ];
    let world = World::new(settings(8 * MIB, 16 * MIB, 64 * MIB), objects);
    let told = world.told("a/root");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("IncludeError/TooLarge: the conditions of an include"), "{}", told[0]);
    assert!(told[0].contains("8.0 MiB"), "{}", told[0]);
    assert_eq!((world.routes("www.example.com"), world.routes("other.example.com")), (3, 3));
}

#[test]
fn ten_thousand_routes_with_normal_texts_are_no_burden() {
    let routes = (0..10_000).fold("routes:\n".to_owned(), |mut text, n| {
        let _ = writeln!(
            text,
            "- {{conditions: [{{prefix: /a/normal/path/{n}}}], services: [{{name: s{}, port: 80}}]}}",
            n % 500
        );
        text
    });
    let mut objects: Vec<Object> = (0..500).map(|n| service(&format!("a/s{n}"), None)).collect();
    objects.push(proxy("a/root", &root("www.example.com", &routes)));
    let world = World::new(Settings::default(), objects);
    assert_eq!(world.told("a/root"), Vec::<String>::new());
    assert_eq!(world.routes("www.example.com"), 10_000);
}

#[test]
fn what_exceeds_serves_as_it_last_did_and_others_go_on() {
    let shared = include("one", "/one") + "- {name: two, conditions: [{prefix: /two}]}\n";
    let shared = shared.replace("includes: [", "includes:\n- ").replace("]}]\n", "]}\n");
    let objects = vec![
        proxy("a/root", &root("www.example.com", &shared)),
        proxy("a/one", &answers(10)),
        proxy("a/two", &answers(10)),
    ];
    let mut world = World::new(settings(MIB / 2, MIB, 10 * MIB), objects);
    assert_eq!(world.routes("www.example.com"), 20);

    world.put(vec![proxy("a/one", &answers(1000)), proxy("a/two", &answers(11))]);
    assert_eq!(world.routes("www.example.com"), 21, "the sibling's change goes out");
    let told = world.told("a/one");
    assert!(
        told[0].starts_with("RouteError/TooLarge: the routes of this object would take 0.6 MiB"),
        "{told:?}"
    );
    assert!(told[0].ends_with("; its last version that fitted is served"), "{told:?}");
    assert!(world.told("a/two").is_empty() && world.told("a/root").is_empty());

    world.put(vec![proxy("a/two", &answers(12))]);
    assert_eq!(world.routes("www.example.com"), 22, "and so do later ones");
    world.put(vec![proxy("a/one", &answers(9))]);
    assert_eq!(world.routes("www.example.com"), 21);
    assert!(world.told("a/one").is_empty());
}

#[test]
fn an_include_that_grows_serves_as_it_last_did() {
    let at = |prefix: &str| proxy("a/root", &root("www.example.com", &include("child", prefix)));
    let mut world = World::new(settings(MIB, MIB, 10 * MIB), vec![at("/a"), proxy("a/child", &answers(100))]);
    let before = world.hosts["www.example.com"].clone();
    world.put(vec![at(&format!("/{}", "x".repeat(4_000)))]);
    assert_eq!(world.hosts["www.example.com"], before);
    assert!(world.told("a/root")[0].starts_with("IncludeError/TooLarge: "));
    assert!(world.told("a/child").is_empty(), "who is included has done nothing");
}

#[test]
fn what_did_not_change_goes_before_what_grew() {
    let objects = |count| {
        let includes = "includes:\n- {name: first, conditions: [{prefix: /1}]}\n- {name: last, conditions: [{prefix: /2}]}\n";
        vec![
            proxy("a/root", &root("www.example.com", includes)),
            proxy("a/first", &answers(count)),
            proxy("a/last", &answers(150)),
        ]
    };
    let mut world = World::new(settings(MIB, MIB, 10 * MIB), objects(100));
    assert_eq!(world.routes("www.example.com"), 250);
    world.put(objects(300));
    assert_eq!(world.routes("www.example.com"), 250, "the last is not crowded out by the first");
}

#[test]
fn what_is_gone_is_not_kept() {
    let objects = vec![
        proxy("a/root", &root("www.example.com", &(include("child", "/c") + &answers(2)))),
        proxy("a/child", &answers(10)),
    ];
    let mut world = World::new(settings(MIB, MIB, 10 * MIB), objects);
    world.put(vec![proxy("a/root", &root("www.example.com", &answers(1000)))]);
    assert_eq!(world.routes("www.example.com"), 12);
    world.delete("a/child");
    assert_eq!(
        world.routes("www.example.com"),
        3,
        "the root's two, and a 502 for its include that leads nowhere"
    );
}

#[test]
fn including_what_is_anothers_does_not_use_up_its_budget() {
    let victim = vec![
        proxy("victim/www", &root("victim.example.com", &include("shared", "/s"))),
        proxy("victim/shared", &answers(100)),
    ];
    let mut world = World::new(settings(MIB, MIB, 2 * MIB), victim);
    let roots = |n: usize| {
        let include =
            format!("includes: [{{name: shared, namespace: victim, conditions: [{{prefix: /p{n}}}]}}]");
        proxy(&format!("thief/r{n}"), &root(&format!("h{n}.example.com"), &include))
    };
    world.put((0..100).map(roots).collect());
    world.put(vec![proxy("victim/shared", &answers(110))]);
    assert_eq!(world.routes("victim.example.com"), 110);
    let served = (0..100).filter(|n| world.routes(&format!("h{n}.example.com")) > 0).count();
    assert!((1..20).contains(&served), "{served}");
}

#[test]
fn a_namespace_that_gives_up_a_host_gets_another() {
    let host =
        |n: usize, count| proxy(&format!("a/r{n}"), &root(&format!("h{n}.example.com"), &answers(count)));
    let mut world = World::new(settings(MIB, MIB, MIB), vec![host(1, 150), host(2, 150)]);
    world.put(vec![host(3, 150)]);
    let routes = |world: &World| [1, 2, 3].map(|n| world.routes(&format!("h{n}.example.com")));
    assert_eq!(routes(&world), [150, 150, 0]);
    assert!(world.told("a/r3")[0].contains("more than the 1.0 MiB that one namespace may have"));
    world.put(vec![host(1, 250)]);
    assert_eq!(routes(&world), [150, 150, 0], "who serves does not take more either");
    world.delete("a/r2");
    assert_eq!(routes(&world), [250, 0, 0], "the first in line gets it");
    world.put(vec![host(1, 10)]);
    assert_eq!(routes(&world), [10, 0, 150]);
    assert!(world.told("a/r3").is_empty());
}

#[test]
fn annotations_that_are_copied_to_each_path_are_charged() {
    let paths: Vec<_> = (0..2000)
        .map(|n| json!({"path": format!("/{n}"), "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}))
        .collect();
    let object = json!({
        "metadata": {"name": "i", "namespace": "a", "annotations": {"projectcontour.io/retry-on": "x".repeat(4_000)}},
        "spec": {"rules": [{"host": "www.example.com", "http": {"paths": paths}}]},
    });
    let settings = Settings { classes: Vec::new(), ..settings(8 * MIB, 16 * MIB, 64 * MIB) };
    let (_, update) = build(settings, vec![ingress(object), service("a/s", None)]);
    assert!(update.hosts.is_empty());
    let told = |text: &str| update.notes.iter().any(|note| note.message.contains(text));
    assert!(told("the routes of this object would take"), "{:?}", update.notes);
}

/// One Ingress names tens of thousands of hosts in a few bytes each.
#[test]
fn a_host_is_charged_beside_its_routes() {
    let rule = |n: usize| {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        json!({"host": format!("h{n}.example.com"), "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}})
    };
    let rules: Vec<_> = (0..500).map(rule).collect();
    let object = json!({"metadata": {"name": "i", "namespace": "a"}, "spec": {"rules": rules}});
    let settings = Settings { classes: Vec::new(), ..settings(MIB, 2 * MIB, 20 * MIB) };
    let (_, update) = build(settings, vec![ingress(object), service("a/s", None)]);
    let served = update.hosts.iter().filter(|(_, host)| host.is_some()).count();
    // 6,000 for the host, 2,605 for the route, 51,600 for the cluster.
    assert_eq!(served, 20 * (1 << 20) / 60_205);
}

#[test]
fn clusters_are_charged_once_each() {
    let routes = |differ: bool| {
        (0..4000).fold("routes:\n".to_owned(), |mut text, n| {
            let seconds = if differ { n + 1 } else { 1 };
            let _ = writeln!(
                text,
                "- {{conditions: [{{prefix: /{n}}}], services: [{{name: s, port: 80}}], timeoutPolicy: {{idleConnection: {seconds}s}}}}"
            );
            text
        })
    };
    let objects =
        |differ| vec![service("a/s", None), proxy("a/root", &root("www.example.com", &routes(differ)))];
    let world = World::new(Settings::default(), objects(false));
    assert_eq!((world.routes("www.example.com"), world.told("a/root")), (4000, Vec::new()));
    let world = World::new(Settings::default(), objects(true));
    assert_eq!(world.routes("www.example.com"), 0);
    assert!(world.told("a/root")[0].starts_with("RouteError/TooLarge: "));
}

/// One route, thousands of headers, and at its end something that makes the whole come to nothing: each of many includes reads it all.
#[test]
fn reading_what_is_refused_at_its_end_is_bounded() {
    let headers = (0..900).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "    - {{name: x-{n}, value: a}}");
        text
    });
    let child = format!(
        "routes:\n- requestHeadersPolicy:\n    set:\n{headers}  responseHeadersPolicy: {{set: [{{name: 'not a name', value: a}}]}}\n  services: [{{name: s, port: 80}}]"
    );
    let includes = (0..2_000).fold("includes:\n".to_owned(), |mut text, n| {
        let _ = writeln!(text, "- {{name: child, conditions: [{{prefix: /p{n}}}]}}");
        text
    });
    let objects = vec![proxy("a/root", &root("www.example.com", &includes)), proxy("a/child", &child)];
    let world = World::new(settings(16 * MIB, 32 * MIB, 64 * MIB), objects);
    let told = world.told("a/child");
    assert!(told.iter().any(|line| line.contains("takes too much work")), "{told:?}");
}

#[test]
fn work_that_comes_to_nothing_is_bounded() {
    let bad = answers(50) + "- {conditions: [{regex: '/a('}], directResponsePolicy: {statusCode: 200}}\n";
    let includes: String = (0..5000).fold("includes:\n".to_owned(), |mut text, n| {
        let _ = writeln!(text, "- {{name: bad, conditions: [{{prefix: /{n}}}]}}");
        text
    });
    let objects = vec![proxy("a/root", &root("www.example.com", &includes)), proxy("a/bad", &bad)];
    let world = World::new(settings(MIB, MIB, MIB), objects);
    let told = world.told("a/bad");
    assert!(told.iter().any(|line| line.contains("takes too much work")), "{told:?}");
}

/// Nothing that is served costs more than its budgets, whatever was asked for.
#[test]
fn all_that_is_served_is_within_the_budgets() {
    let node = |n: usize| {
        let includes: String = (0..8).fold("includes:\n".to_owned(), |mut text, k| {
            let _ =
                writeln!(text, "- {{name: n{}, conditions: [{{prefix: /{k}{}}}]}}", n + 1, "x".repeat(200));
            text
        });
        includes + &answers(5)
    };
    let mut objects: Vec<Object> = (1..6).map(|n| proxy(&format!("a/n{n}"), &node(n))).collect();
    objects.push(proxy("a/n6", &answers(20)));
    objects.push(proxy("a/root", &root("www.example.com", &node(0))));
    let world = World::new(settings(4 * MIB, 5 * MIB, 6 * MIB), objects);
    let spends: u64 = world.hosts.values().map(|host| costs(host)).sum();
    assert!(spends > MIB && spends <= 5 * MIB, "{spends}");
}

/// Once what exceeded is gone, nothing is left of it: the graph is the graph built afresh.
#[test]
fn after_an_excess_the_graph_is_as_if_it_never_was() {
    let objects = |count| {
        vec![
            proxy("a/root", &root("www.example.com", &(include("child", "/c") + &answers(2)))),
            proxy("a/child", &answers(count)),
            proxy("a/more", &root("more.example.com", &answers(40))),
        ]
    };
    let mut world = World::new(settings(MIB, MIB, MIB), objects(100));
    world.put(objects(5000));
    world.put(objects(101));
    let fresh = World::new(settings(MIB, MIB, MIB), objects(101));
    assert_eq!(world.hosts, fresh.hosts);
    for name in ["a/root", "a/child", "a/more"] {
        assert_eq!(world.told(name), fresh.told(name));
    }
}

/// A namespace with much to build does not delay another's single change.
#[test]
fn namespaces_take_turns() {
    let many = |count| {
        (0..2000)
            .map(move |n| proxy(&format!("busy/r{n}"), &root(&format!("h{n}.example.com"), &answers(count))))
    };
    let mut world = World::new(Settings::default(), many(1).collect());
    let mut changes = Changes::default();
    for object in many(2) {
        world.store.apply(Event::Apply(object), &mut changes);
    }
    world.graph.take_in(&world.store, &changes);
    // A host with two answers counts as 11,230.
    let slice = 50 * 11_230;
    let first = world.graph.build_some(&world.store, slice);
    assert_eq!(first.hosts.len(), 50);
    assert_eq!(first.statuses.len(), 0, "{:?}", first.statuses.first());

    let mut changes = Changes::default();
    let quiet = proxy("quiet/www", &root("quiet.example.org", &answers(1)));
    world.store.apply(Event::Apply(quiet), &mut changes);
    world.graph.take_in(&world.store, &changes);
    let next = world.graph.build_some(&world.store, slice);
    assert!(next.hosts.iter().any(|(fqdn, _)| **fqdn == *"quiet.example.org"));
    assert!(
        next.statuses.iter().any(|status| *status.object.name == *"www"),
        "its status does not wait either"
    );
    let mut slices = 2;
    while !world.graph.is_settled() {
        world.graph.build_some(&world.store, slice);
        slices += 1;
    }
    assert_eq!(slices, 41);
}

//! Certificates and authorities are charged by what they are, for each host and cluster that uses them.

mod support;

use std::fmt::Write as _;
use std::sync::Arc;

use contour_graph::model::{SecureHost, VirtualHost};
use contour_graph::{Budgets, Settings};
use contour_objects::{CaBundle, NamespacedName, Object, Secret, SecretError, TlsPair};
use serde_json::json;
use support::{World, ingress, proxy, service};

const MIB: u64 = 1 << 20;

fn settings(object: u64, namespace: u64) -> Settings {
    let budgets = Budgets { object, host: 2 * object, namespace };
    Settings { budgets, classes: Vec::new(), ..Settings::default() }
}

/// A Secret `a/cert` of so many bytes and elements, as pair and as authorities.
fn secret(length: usize, elements: usize) -> Object {
    let content = vec![b'c'; length];
    let pair = TlsPair { certificate: content.clone(), key: vec![b'k'], elements, fingerprint: [0; 20] };
    Object::Secret(Arc::new(Secret {
        name: NamespacedName::new("a", "cert"),
        tls: Ok(Arc::new(pair)),
        ca: Ok(Arc::new(CaBundle { pem: content, elements })),
    }))
}

fn host(n: usize) -> Object {
    let spec = format!(
        "virtualhost: {{fqdn: h{n}.example.com, tls: {{secretName: cert}}}}\n\
         routes: [{{directResponsePolicy: {{statusCode: 200}}}}]"
    );
    proxy(&format!("a/h{n}"), &spec)
}

/// The lengths of the chains that are shown, one for each host.
fn chains(world: &World) -> Vec<usize> {
    let chain = |host: &Arc<VirtualHost>| match &host.secure {
        Some(SecureHost::Http { tls, .. }) => tls.pair.certificate.len(),
        other => panic!("{other:?}"),
    };
    world.hosts.values().map(chain).collect()
}

#[test]
fn a_chain_is_charged_by_its_length_and_by_what_stands_in_it() {
    let hosts = || (0..20).map(host);
    let usual = || settings(64 * MIB, 16 * MIB);
    let world = World::new(usual(), hosts().chain([secret(4_000, 200)]).collect());
    assert_eq!(world.hosts.len(), 20, "what is usual is no burden");
    let long = World::new(usual(), hosts().chain([secret(1_000_000, 200)]).collect());
    assert_eq!(long.hosts.len(), 2, "each host has its own copy");
    let odd = World::new(usual(), hosts().chain([secret(100_000, 40_000)]).collect());
    assert_eq!(odd.hosts.len(), 3, "many small things take more than one that is large");
    let told = odd.told("a/h9");
    assert!(
        told[0].starts_with("TLSError/TooLarge: with this the hosts of namespace a would take"),
        "{told:?}"
    );
    assert!(told[0].contains("certificates"), "{told:?}");
}

#[test]
fn authorities_are_charged_for_each_cluster() {
    let routes = (0..40).fold("routes:\n".to_owned(), |mut text, n| {
        let _ = writeln!(
            text,
            "- {{conditions: [{{prefix: /{n}}}], timeoutPolicy: {{idleConnection: {}s}}, \
             services: [{{name: s, port: 80, protocol: tls, validation: {{caSecret: cert, subjectName: s}}}}]}}",
            n + 1
        );
        text
    });
    let objects = |length, elements| {
        let root = format!("virtualhost: {{fqdn: www.example.com}}\n{routes}");
        vec![proxy("a/root", &root), service("a/s", None), secret(length, elements)]
    };
    let small = World::new(settings(64 * MIB, 64 * MIB), objects(4_000, 200));
    assert_eq!((small.hosts.len(), small.told("a/root")), (1, Vec::new()));
    let large = World::new(settings(64 * MIB, 64 * MIB), objects(1_000_000, 200));
    assert!(large.hosts.is_empty());
    let told = large.told("a/root");
    assert!(told[0].starts_with("RouteError/TooLarge: the routes of this object would take"), "{told:?}");
}

#[test]
fn the_certificate_of_an_ingress_is_charged() {
    let hosts: Vec<String> = (0..20).map(|n| format!("h{n}.example.com")).collect();
    let rule = |host: &String| {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        json!({"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}})
    };
    let rules: Vec<_> = hosts.iter().map(rule).collect();
    let spec = json!({"rules": rules, "tls": [{"hosts": hosts, "secretName": "cert"}]});
    let object = ingress(json!({"metadata": {"name": "i", "namespace": "a"}, "spec": spec}));
    let objects = vec![object, service("a/s", None), secret(1_000_000, 200)];
    assert_eq!(World::new(settings(64 * MIB, 16 * MIB), objects).hosts.len(), 2);
}

/// Nobody edits the objects that refer to a Secret when it changes: what they served goes on, as where they change themselves.
#[test]
fn a_secret_that_grows_too_much_leaves_the_last_one_that_fitted() {
    let mut world =
        World::new(settings(64 * MIB, 16 * MIB), (0..20).map(host).chain([secret(4_000, 200)]).collect());
    world.put(vec![secret(1_000_000, 200)]);
    let shown = chains(&world);
    assert_eq!(shown.len(), 20, "nobody is left out");
    assert!(shown.iter().filter(|&&length| length == 4_000).count() >= 18, "{shown:?}");
    let told = world.told("a/h9");
    assert!(told[0].ends_with("; what it served before goes on being served"), "{told:?}");

    world.put(vec![secret(5_000, 200)]);
    assert_eq!(chains(&world), [5_000; 20], "and as soon as it fits, it is shown");
    assert_eq!(world.told("a/h9"), Vec::<String>::new());
}

/// A Secret that is gone is not shown for ever, however large what replaced it was.
#[test]
fn a_secret_that_is_gone_is_not_kept() {
    let mut world =
        World::new(settings(64 * MIB, 16 * MIB), (0..20).map(host).chain([secret(4_000, 200)]).collect());
    world.put(vec![secret(1_000_000, 200)]);
    let unusable = Secret {
        name: NamespacedName::new("a", "cert"),
        tls: Err(SecretError::Missing("tls.crt")),
        ca: Err(SecretError::Missing("ca.crt")),
    };
    world.put(vec![Object::Secret(Arc::new(unusable))]);
    assert!(world.hosts.is_empty());
}

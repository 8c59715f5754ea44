//! Whatever happens in whatever order, the graph that follows changes is the graph built afresh.

use std::collections::BTreeMap;
use std::sync::Arc;

use contour_crds::httpproxy::{Include, MatchCondition, Route, Service as ServiceRef, Tls, VirtualHost};
use contour_crds::status::{ConditionStatus, DetailedCondition};
use contour_crds::{HTTPProxy, HTTPProxySpec};
use contour_graph::model;
use contour_graph::status::ProxyStatus;
use contour_graph::{Graph, HostOwnership, Settings, Update};
use contour_objects::{
    Changes, Delegation, EndpointSlice, Event, Grant, HOST_OWNER, Held, Ingress, Kind, LeftOut,
    NamespacedName, Object, ObjectRef, Proxy, Secret, SecretError, Service, ServicePort, Store, TlsPair,
};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};
use proptest::prelude::*;

const NAMESPACES: [&str; 2] = ["blue", "green"];
const HOSTS: [&str; 3] = ["x.example.com", "y.example.com", "*.example.com"];
const PREFIXES: [&str; 4] = ["/", "/a", "/b", "/a/b"];

fn names(stem: &'static str, count: usize) -> impl Strategy<Value = NamespacedName> {
    (0..NAMESPACES.len(), 0..count)
        .prop_map(move |(ns, n)| NamespacedName::new(NAMESPACES[ns], format!("{stem}{n}")))
}

fn condition() -> impl Strategy<Value = Vec<MatchCondition>> {
    proptest::option::of(0..PREFIXES.len()).prop_map(|prefix| {
        prefix
            .map(|p| MatchCondition { prefix: Some(PREFIXES[p].to_owned()), ..MatchCondition::default() })
            .into_iter()
            .collect()
    })
}

fn route() -> impl Strategy<Value = Route> {
    (condition(), 0..3_usize, any::<bool>()).prop_map(|(conditions, service, permit_insecure)| Route {
        conditions,
        permit_insecure,
        services: vec![ServiceRef { name: format!("s{service}"), port: 80, ..ServiceRef::default() }],
        ..Route::default()
    })
}

fn include() -> impl Strategy<Value = Include> {
    (names("p", 3), condition()).prop_map(|(name, conditions)| Include {
        name: name.name.to_string(),
        namespace: Some(name.namespace.to_string()),
        conditions,
    })
}

fn virtual_host() -> impl Strategy<Value = VirtualHost> {
    (0..HOSTS.len(), proptest::option::of(names("t", 2))).prop_map(|(host, secret)| VirtualHost {
        fqdn: HOSTS[host].to_owned(),
        tls: secret.map(|s| Box::new(Tls { secret_name: Some(s.to_string()), ..Tls::default() })),
        ..VirtualHost::default()
    })
}

/// What the status records: one of the hosts since one of two days, or nothing.
fn held() -> impl Strategy<Value = Option<Held>> {
    proptest::option::of((0..HOSTS.len(), 1..3_u8)).prop_map(|record| {
        let (host, day) = record?;
        Held::recorded(&[DetailedCondition {
            type_: HOST_OWNER.to_owned(),
            status: ConditionStatus::True,
            message: format!("this HTTPProxy has the host \"{}\"", HOSTS[host]),
            last_transition_time: format!("2026-01-0{day}T00:00:00Z"),
            ..DetailedCondition::default()
        }])
    })
}

fn proxy() -> impl Strategy<Value = Object> {
    let spec = (
        proptest::option::weighted(0.4, virtual_host()),
        proptest::collection::vec(route(), 0..3),
        proptest::collection::vec(include(), 0..3),
        prop_oneof![9 => Just(None), 1 => Just(Some("other".to_owned()))],
    );
    (names("p", 3), spec, 0..2_i64, held()).prop_map(
        |(name, (host, routes, includes, class), created, held)| {
            let spec = HTTPProxySpec {
                virtualhost: host.map(Box::new),
                routes,
                includes,
                ingress_class_name: class,
                ..HTTPProxySpec::default()
            };
            let mut object = HTTPProxy::new(&name.name, spec);
            object.metadata.namespace = Some(name.namespace.to_string());
            Object::HttpProxy(Arc::new(Proxy { created, held, ..Proxy::from(object) }))
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    let ownership =
        prop_oneof![Just(HostOwnership::Proxies), Just(HostOwnership::Strict), Just(HostOwnership::Shared)];
    let roots = prop_oneof![3 => Just(None), 1 => Just(Some("blue".to_owned()))];
    (ownership, roots).prop_map(|(ownership, root)| Settings {
        ownership,
        root_namespaces: root.into_iter().collect(),
        ..Settings::default()
    })
}

fn service() -> impl Strategy<Value = Object> {
    (names("s", 3), prop_oneof![3 => Just(80_u16), 1 => Just(81)]).prop_map(|(name, port)| {
        let ports = vec![ServicePort { name: None, port, tcp: true, app_protocol: None }];
        Object::Service(Arc::new(Service { name, external_name: None, ports, annotations: BTreeMap::new() }))
    })
}

/// EndpointSlices, of which something may be left out.
fn slice() -> impl Strategy<Value = Object> {
    let left_out = prop_oneof![
        Just(None),
        Just(Some(LeftOut::Fqdn("localhost".into()))),
        Just(Some(LeftOut::Local([127, 0, 0, 1].into())))
    ];
    (names("e", 3), 0..3_usize, left_out).prop_map(|(name, service, left_out)| {
        let service = NamespacedName::new(Arc::clone(&name.namespace), format!("s{service}"));
        let (endpoints, ports) = (Vec::new(), Vec::new());
        Object::EndpointSlice(Arc::new(EndpointSlice { name, service, endpoints, ports, left_out }))
    })
}

fn secret() -> impl Strategy<Value = Object> {
    (names("t", 2), 0..3_u8).prop_map(|(name, content)| {
        let pair = TlsPair {
            certificate: vec![content],
            key: vec![content],
            elements: 1,
            fingerprint: [content; 20],
        };
        let tls = if content == 0 { Err(SecretError::Missing("tls.crt")) } else { Ok(Arc::new(pair)) };
        Object::Secret(Arc::new(Secret { name, tls, ca: Err(SecretError::Missing("ca.crt")) }))
    })
}

fn delegation() -> impl Strategy<Value = Object> {
    (names("d", 1), 0..2_usize, proptest::option::of(0..NAMESPACES.len())).prop_map(
        |(name, secret, target)| {
            let target = target.map_or("*", |n| NAMESPACES[n]);
            let grants = vec![Grant { secret: format!("t{secret}").into(), targets: vec![target.into()] }];
            Object::Delegation(Arc::new(Delegation { name, grants }))
        },
    )
}

fn ingress() -> impl Strategy<Value = Object> {
    (names("i", 2), 0..HOSTS.len(), 0..PREFIXES.len(), 0..3_usize, any::<bool>(), 0..2_i64).prop_map(
        |(name, host, prefix, service, tls, created)| {
            let port = ServiceBackendPort { number: Some(80), name: None };
            let service = IngressServiceBackend { name: format!("s{service}"), port: Some(port) };
            let path = HTTPIngressPath {
                path: Some(PREFIXES[prefix].to_owned()),
                path_type: "Prefix".to_owned(),
                backend: IngressBackend { service: Some(service), resource: None },
            };
            let rule = IngressRule {
                host: Some(HOSTS[host].to_owned()),
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            };
            let tls = tls.then(|| {
                vec![IngressTLS {
                    hosts: Some(vec![HOSTS[host].to_owned()]),
                    secret_name: Some("t0".to_owned()),
                }]
            });
            let spec = IngressSpec { rules: Some(vec![rule]), tls, ..IngressSpec::default() };
            let annotations = BTreeMap::new();
            Object::Ingress(Arc::new(Ingress { name, created, class: None, annotations, spec }))
        },
    )
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![5 => proxy(), 2 => service(), 1 => slice(), 1 => secret(), 1 => delegation(), 2 => ingress()]
}

fn event() -> impl Strategy<Value = Event> {
    let kinds = [
        (Kind::HttpProxy, "p"),
        (Kind::Service, "s"),
        (Kind::EndpointSlice, "e"),
        (Kind::Secret, "t"),
        (Kind::Delegation, "d"),
        (Kind::Ingress, "i"),
    ];
    let delete = (0..kinds.len(), 0..NAMESPACES.len(), 0..3_usize).prop_map(move |(kind, ns, n)| {
        let (kind, stem) = kinds[kind];
        Event::Delete(ObjectRef::new(kind, NamespacedName::new(NAMESPACES[ns], format!("{stem}{n}"))))
    });
    prop_oneof![4 => object().prop_map(Event::Apply), 1 => delete]
}

/// How much is built at a time: one host, two, all.
fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(1), 1 => Just(15_000), 1 => Just(u64::MAX)]
}

/// What a reader of the updates knows after them.
#[derive(Debug, Default, PartialEq)]
struct World {
    hosts: BTreeMap<Arc<str>, Arc<model::VirtualHost>>,
    statuses: BTreeMap<NamespacedName, ProxyStatus>,
}

impl World {
    fn follow(&mut self, graph: &mut Graph, store: &Store, changes: &Changes) {
        self.learn(graph.update(store, changes));
    }

    fn learn(&mut self, update: Update) {
        for (fqdn, host) in update.hosts {
            match host {
                Some(host) => self.hosts.insert(fqdn, host),
                None => self.hosts.remove(&fqdn),
            };
        }
        for name in update.gone {
            self.statuses.remove(&name);
        }
        self.statuses.extend(update.statuses.into_iter().map(|s| (s.object.clone(), s)));
    }
}

/// Everything in a store, as one change.
fn everything(store: &Store) -> Changes {
    let proxies = store.proxies().map(|p| ObjectRef::new(Kind::HttpProxy, p.name.clone()));
    let ingresses = store.ingresses().map(|i| ObjectRef::new(Kind::Ingress, i.name.clone()));
    Changes { objects: proxies.chain(ingresses).collect(), ..Changes::default() }
}

/// Errors come in the order hosts were visited; what counts is which there are.
fn sorted(mut world: World) -> World {
    for status in world.statuses.values_mut() {
        status.errors.sort();
        status.warnings.sort();
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn following_changes_equals_building_afresh(settings in settings(), batches in proptest::collection::vec(proptest::collection::vec(event(), 1..4), 1..25)) {
        let (mut store, mut graph, mut world) = (Store::default(), Graph::new(settings.clone()), World::default());
        for batch in batches {
            let mut changes = Changes::default();
            for event in batch {
                store.apply(event, &mut changes);
            }
            world.follow(&mut graph, &store, &changes);
        }
        let (mut fresh, mut afresh) = (Graph::new(settings), World::default());
        afresh.follow(&mut fresh, &store, &everything(&store));
        prop_assert_eq!(sorted(world), sorted(afresh));
    }

    /// However the work is cut, and whatever changes between two cuts, it leads where one build leads.
    #[test]
    fn building_in_slices_equals_building_at_once(
        settings in settings(),
        batches in proptest::collection::vec((proptest::collection::vec(event(), 0..4), amount()), 1..40),
        last in amount(),
    ) {
        let (mut store, mut graph, mut world) = (Store::default(), Graph::new(settings.clone()), World::default());
        for (batch, most) in batches {
            let mut changes = Changes::default();
            for event in batch {
                store.apply(event, &mut changes);
            }
            graph.take_in(&store, &changes);
            world.learn(graph.build_some(&store, most));
        }
        let mut left = 1000;
        while !graph.is_settled() {
            prop_assert!(left > 0, "it never settles");
            left -= 1;
            world.learn(graph.build_some(&store, last));
        }
        let (mut fresh, mut afresh) = (Graph::new(settings), World::default());
        afresh.follow(&mut fresh, &store, &everything(&store));
        prop_assert_eq!(sorted(world), sorted(afresh));
    }

    #[test]
    fn the_order_of_objects_does_not_matter(settings in settings(), objects in proptest::collection::vec(object(), 1..20), seed in any::<u64>()) {
        let mut unique: BTreeMap<ObjectRef, Object> = BTreeMap::new();
        unique.extend(objects.into_iter().map(|o| (o.reference(), o)));
        let forward: Vec<Object> = unique.values().cloned().collect();
        let mut shuffled = forward.clone();
        shuffled.sort_by_key(|o| {
            let text = format!("{seed}{}", o.reference());
            text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        });
        let end = |objects: Vec<Object>| {
            let (mut store, mut graph, mut world) = (Store::default(), Graph::new(settings.clone()), World::default());
            for object in objects {
                let mut changes = Changes::default();
                store.apply(Event::Apply(object), &mut changes);
                world.follow(&mut graph, &store, &changes);
            }
            sorted(world)
        };
        prop_assert_eq!(end(forward), end(shuffled));
    }

    #[test]
    fn repeating_an_event_changes_nothing(objects in proptest::collection::vec(object(), 1..20)) {
        let mut store = Store::default();
        for object in objects {
            store.apply(Event::Apply(object.clone()), &mut Changes::default());
            let mut again = Changes::default();
            store.apply(Event::Apply(object), &mut again);
            prop_assert!(again.is_empty(), "{:?}", again);
        }
    }
}

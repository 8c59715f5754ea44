//! Whatever happens in whatever order, a peer ends with what the cache holds, less what it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use contour_resource::{Resource, ResourceType, Transaction};
use proptest::prelude::*;

use super::peer::{Peer, resource};
use crate::cache::{Cache, Snapshot};
use crate::message::{Mode, Output};

use ResourceType::{Cluster, Endpoints, Listener, Route, Secret};

/// What can happen.
#[derive(Clone, Debug)]
enum Act {
    Set(ResourceType, String),
    Remove(ResourceType, String),
    Answer(usize),
    Subscribe(u8),
    Unsubscribe(u8),
    Reconnect(bool),
}

const BAD: &str = "!";

fn content() -> impl Strategy<Value = String> {
    prop_oneof![6 => "[a-c]", 1 => "[a-c]!"]
}

fn act() -> impl Strategy<Value = Act> {
    let plain = (prop_oneof![Just(Cluster), Just(Endpoints), Just(Secret)], 0..5_u8, content()).prop_map(
        |(kind, n, text)| {
            let mark = match kind {
                Secret => "^",
                Cluster if n % 2 == 1 => "%",
                _ => "",
            };
            Act::Set(kind, format!("n{n}={text}{mark}"))
        },
    );
    let composite = (
        prop_oneof![Just(Listener), Just(Route)],
        0..2_u8,
        content(),
        proptest::collection::btree_map("[p-w]", content(), 0..6),
        any::<bool>(),
    )
        .prop_map(|(kind, n, head, parts, aside)| {
            let parts = parts.iter().map(|(id, text)| format!("{id}:{text}"));
            let text = [format!("n{n}={head}")].into_iter().chain(parts).collect::<Vec<_>>().join("|");
            Act::Set(kind, text + if aside { "~t" } else { "" })
        });
    let kind = prop_oneof![Just(Cluster), Just(Endpoints), Just(Secret), Just(Listener), Just(Route)];
    prop_oneof![
        4 => plain,
        4 => composite,
        2 => (kind, 0..5_u8).prop_map(|(kind, n)| Act::Remove(kind, format!("n{n}"))),
        8 => any::<usize>().prop_map(Act::Answer),
        1 => (0..5_u8).prop_map(Act::Subscribe),
        1 => (0..5_u8).prop_map(Act::Unsubscribe),
        1 => any::<bool>().prop_map(Act::Reconnect),
    ]
}

fn bad(part: &contour_resource::Part) -> bool {
    part.bytes.contains(&BAD.as_bytes()[0])
}

/// What was refused must not be sent again while the cache has it.
#[derive(Default)]
struct Refused(BTreeMap<(ResourceType, Arc<str>, Arc<str>, u64), u64>);

impl Refused {
    fn check(&mut self, outputs: &[Output], peer: &Peer, cache: &Snapshot) {
        // Where nothing of a resource was accepted, any change in it is a new try of all of it.
        let version = |kind: ResourceType, name: &str| cache.get(kind, name).map(|r| r.version());
        let accepted =
            |kind: ResourceType, name: &Arc<str>| peer.session.lane(kind).known.sent(name).is_some();
        self.0.retain(|(kind, name, part, hash), refused_in| {
            let present = cache.get(*kind, name);
            present.is_some_and(|r| r.parts().iter().any(|p| p.id == *part && p.hash == *hash))
                && (accepted(*kind, name) || version(*kind, name) == Some(*refused_in))
        });
        for output in outputs {
            match output {
                Output::Send(response) => {
                    for resource in response.resources.iter() {
                        // Between two states that have a part the view may have passed one that has not: that forgets.
                        let told = |hash: &u64| resource.withheld().iter().any(|w| w.refused == *hash);
                        self.0.retain(|(kind, name, part, hash), _| {
                            let present = resource.parts().iter().any(|p| p.id == *part);
                            *kind != response.kind || name != resource.name() || present || told(hash)
                        });
                        for part in resource.parts() {
                            let key =
                                (response.kind, Arc::clone(resource.name()), Arc::clone(&part.id), part.hash);
                            assert!(!self.0.contains_key(&key), "sent again: {key:?}");
                        }
                    }
                }
                Output::Rejected { kind, resource, part, hash, .. } => {
                    let Some(present) = cache.get(*kind, resource) else { continue };
                    // The search may have been about an earlier state than the one that is looked at next: that is a new try.
                    let viewed = peer.session.source(*kind).get(*kind, resource);
                    if viewed.is_none_or(|viewed| viewed.version() != present.version()) {
                        continue;
                    }
                    // Of a composite of which nothing was accepted, what was refused may be another content.
                    let plain = !matches!(kind, Listener | Route);
                    let refused = (*kind, Arc::clone(resource), present.version());
                    let unchanged = accepted(*kind, resource) || (plain && peer.refused.contains(&refused));
                    if unchanged && present.parts().iter().any(|p| p.id == *part && p.hash == *hash) {
                        let key = (*kind, Arc::clone(resource), Arc::clone(part), *hash);
                        self.0.insert(key, present.version());
                    }
                }
                Output::Recovered { kind, resource, part } => {
                    self.0.retain(|(k, name, p, _), _| (k, name, p) != (kind, resource, part));
                }
                _ => {}
            }
        }
    }
}

fn good_parts(resource: &Resource) -> BTreeMap<&str, u64> {
    resource.parts().iter().filter(|p| !bad(p)).map(|p| (&*p.id, p.hash)).collect()
}

/// The peer has all that is good, nothing that is bad, and nothing that is gone.
fn check_converged(peer: &Peer, cache: &Snapshot, wanted: &BTreeSet<String>, reconnected: bool) {
    let kept = peer.session.kept_in_use();
    for ((kind, name), has) in &peer.has {
        assert!(has.parts().iter().all(|p| !bad(p)), "{kind:?} {name} has a part that it refuses");
        let gone = cache.get(*kind, name).is_none();
        // SotW has no words for it, except in types that are complete.
        let unsaid = peer.mode == Mode::Sotw && matches!(kind, Endpoints | Secret | Route);
        assert!(
            !gone || unsaid || kept.contains(&(*kind, Arc::clone(name))),
            "{kind:?} {name} is gone from the cache, not from the peer"
        );
    }
    for kind in [Cluster, Endpoints, Secret, Listener, Route] {
        for resource in cache.table(kind).iter() {
            let name = resource.name();
            if matches!(kind, Endpoints | Secret | Route) && !wanted.contains(&**name) {
                continue;
            }
            let has = peer.has.get(&(kind, Arc::clone(name)));
            let Some(has) = has else {
                let head = resource.parts().first().is_some_and(|p| bad(p));
                assert!(head, "{kind:?} {name} is missing");
                continue;
            };
            // What the peer has from an earlier stream, or from before SotW could not say that it is gone, cannot be
            // taken apart: a bad head holds all of it.
            if (reconnected || peer.mode == Mode::Sotw) && bad(&resource.parts()[0]) {
                continue;
            }
            let has: BTreeMap<&str, u64> = has.parts().iter().map(|p| (&*p.id, p.hash)).collect();
            if resource.parts().len() == 1 && bad(&resource.parts()[0]) {
                continue;
            }
            for (id, hash) in good_parts(resource).into_iter().filter(|_| kind != Secret) {
                assert_eq!(has.get(id), Some(&hash), "{kind:?} {name}/{id} is not up to date");
            }
            if kind == Secret && !peer.confused.contains(name) {
                assert_eq!(peer.works.get(name), Some(&resource.version_text()), "{name} does not work");
            }
        }
    }
}

fn play(mode: Mode, acts: &[Act]) {
    let now = Instant::now();
    let cache = Cache::new();
    let mut peer = Peer::new(mode, cache.snapshot(), now);
    let mut refused = Refused::default();
    cache.commit(Transaction { set: vec![(Route, resource("t=trial"))], remove: vec![] });
    peer.session.update(cache.snapshot());
    let mut wanted: BTreeSet<String> = (0..3).map(|n| format!("n{n}")).chain(["t".to_owned()]).collect();
    let names: Vec<String> = wanted.iter().cloned().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for kind in [Cluster, Endpoints, Listener, Route, Secret] {
        let by_name = matches!(kind, Endpoints | Secret | Route);
        peer.ask(kind, if by_name { &names } else { &[] }, &[]);
    }
    for act in acts {
        match act {
            Act::Set(kind, text) => {
                cache.commit(Transaction { set: vec![(*kind, resource(text))], remove: vec![] });
            }
            Act::Remove(kind, name) => {
                cache.commit(Transaction { set: vec![], remove: vec![(*kind, name.as_str().into())] });
            }
            Act::Answer(which) => {
                let waiting: Vec<_> = peer.received.keys().copied().collect();
                if !waiting.is_empty() {
                    peer.judge(waiting[which % waiting.len()], BAD);
                }
            }
            Act::Subscribe(n) | Act::Unsubscribe(n) => {
                let name = format!("n{n}");
                let add = matches!(act, Act::Subscribe(_)) && wanted.insert(name.clone());
                let drop = matches!(act, Act::Unsubscribe(_)) && wanted.remove(&name);
                for kind in [Endpoints, Secret, Route] {
                    if add {
                        peer.ask(kind, &[&name], &[]);
                    } else if drop {
                        peer.ask(kind, &[], &[&name]);
                        refused.0.retain(|(k, n, ..), _| *k != kind || **n != *name);
                    }
                }
            }
            Act::Reconnect(restart) => {
                if *restart {
                    peer.restart();
                }
                peer.reconnect(cache.snapshot(), now);
                refused = Refused::default();
            }
        }
        peer.session.update(cache.snapshot());
        let outputs = peer.poll(now);
        refused.check(&outputs, &peer, &cache.snapshot());
    }
    let outputs = peer.settle(BAD, now);
    refused.check(&outputs, &peer, &cache.snapshot());
    let reconnected = acts.iter().any(|act| matches!(act, Act::Reconnect(_)));
    check_converged(&peer, &cache.snapshot(), &wanted, reconnected);
}

/// An Envoy's own rules: it asks for the endpoints of its clusters, and cannot use a cluster before it has them anew.
struct Envoy {
    peer: Peer,
    /// Name and version of each Cluster that was warmed.
    warm: BTreeSet<Arc<str>>,
    /// Names of Clusters of which some version was warmed.
    usable: BTreeSet<Arc<str>>,
    asked: BTreeSet<Arc<str>>,
}

impl Envoy {
    fn answer(&mut self, kind: ResourceType) {
        let response = self.peer.received[&kind][0].clone();
        self.peer.ack(kind);
        match kind {
            Cluster => {
                for cluster in response.resources.iter() {
                    let needs = cluster.needs().expect("every cluster of this test needs endpoints");
                    // In SotW all clusters are listed, and what is unchanged is left alone.
                    if !self.warm.contains(&key(cluster)) {
                        self.warm.retain(|k| !k.starts_with(&format!("{} ", cluster.name())));
                    }
                    if self.asked.insert(Arc::clone(needs)) {
                        self.peer.ask(Endpoints, &[needs], &[]);
                    }
                }
                let present: BTreeSet<Arc<str>> = self.clusters().map(|c| Arc::clone(c.name())).collect();
                self.usable.retain(|name| present.contains(name));
                self.warm.retain(|k| present.iter().any(|name| k.starts_with(&format!("{name} "))));
                let used: BTreeSet<Arc<str>> = self.clusters().filter_map(|c| c.needs().cloned()).collect();
                for name in self.asked.difference(&used).cloned().collect::<Vec<_>>() {
                    self.asked.remove(&name);
                    self.peer.ask(Endpoints, &[], &[&name]);
                }
                self.check_routes();
            }
            Endpoints => {
                let delivered: BTreeSet<&Arc<str>> =
                    response.resources.iter().map(|r| r.name()).chain(&response.removed).collect();
                let ready: Vec<_> = self
                    .clusters()
                    .filter(|c| c.needs().is_some_and(|n| delivered.contains(n)))
                    .cloned()
                    .collect();
                self.warm.extend(ready.iter().map(|c| key(c)));
                self.usable.extend(ready.iter().map(|c| Arc::clone(c.name())));
            }
            _ => self.check_routes(),
        }
    }

    fn clusters(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.peer.has.iter().filter(|((kind, _), _)| *kind == Cluster).map(|(_, r)| r)
    }

    /// No route refers to a cluster that is missing or was never warm.
    fn check_routes(&self) {
        for ((_, name), route) in self.peer.has.iter().filter(|((kind, _), _)| *kind == Route) {
            for part in route.parts().iter().filter(|p| !p.id.is_empty()) {
                let target = String::from_utf8(part.bytes.to_vec()).unwrap();
                let cluster = self.peer.has.get(&(Cluster, target.as_str().into()));
                assert!(cluster.is_some(), "{name}/{} refers to {target}, which is not there", part.id);
            }
        }
    }

    /// No new route may refer to a cluster that was never warm. One that is replaced serves on meanwhile.
    fn check_usable(&self, outputs: &[Output]) {
        for output in outputs {
            let Output::Send(response) = output else { continue };
            let routes = response.resources.iter().filter(|_| response.kind == Route);
            for part in routes.flat_map(|r| r.parts()).filter(|p| !p.id.is_empty()) {
                let target = String::from_utf8(part.bytes.to_vec()).unwrap();
                assert!(self.usable.contains(target.as_str()), "{target} is not warm");
            }
        }
    }
}

fn key(cluster: &Resource) -> Arc<str> {
    format!("{} {}", cluster.name(), cluster.version_text()).into()
}

/// A consistent world: routes `host -> cluster`, and only the clusters they use; two clusters share endpoints, some warm slowly.
fn world(routes: &BTreeMap<u8, u8>, generation: u8) -> BTreeMap<(ResourceType, String), Arc<Resource>> {
    let parts = routes.iter().map(|(host, cluster)| format!("h{host}:c{cluster}"));
    let table = ["r=head".to_owned()].into_iter().chain(parts).collect::<Vec<_>>().join("|");
    let mut world = BTreeMap::new();
    world.insert((Route, "r".to_owned()), resource(&table));
    for cluster in routes.values() {
        let (endpoints, text) = (cluster / 2, generation % 2);
        let slow = if cluster % 3 == 1 { "%" } else { "" };
        let one = resource(&format!("c{cluster}=v{text}>e{endpoints}{slow}"));
        world.insert((Cluster, format!("c{cluster}")), one);
        world.insert((Endpoints, format!("e{endpoints}")), resource(&format!("e{endpoints}=x")));
    }
    world
}

fn step(
    before: &BTreeMap<(ResourceType, String), Arc<Resource>>,
    after: &BTreeMap<(ResourceType, String), Arc<Resource>>,
) -> Transaction {
    Transaction {
        set: after.iter().map(|((kind, _), r)| (*kind, Arc::clone(r))).collect(),
        remove: before
            .keys()
            .filter(|k| !after.contains_key(*k))
            .map(|(kind, name)| (*kind, name.as_str().into()))
            .collect(),
    }
}

fn play_traffic(mode: Mode, worlds: &[(BTreeMap<u8, u8>, u8)], answers: &[u8]) {
    let now = Instant::now();
    let cache = Cache::new();
    let peer = Peer::new(mode, cache.snapshot(), now);
    let mut envoy = Envoy { peer, warm: BTreeSet::new(), usable: BTreeSet::new(), asked: BTreeSet::new() };
    envoy.peer.ask(Cluster, &[], &[]);
    envoy.peer.ask(Listener, &[], &[]);
    envoy.peer.ask(Route, &["r"], &[]);
    let (mut present, mut worlds, mut answers) = (BTreeMap::new(), worlds.iter(), answers.iter());
    for _ in 0..5_000 {
        let outputs = envoy.peer.poll(now);
        envoy.check_usable(&outputs);
        let waiting: Vec<_> = envoy.peer.received.keys().copied().collect();
        let choice = answers.next().copied();
        let commit = waiting.is_empty() || choice.is_some_and(|c| c % 4 == 0);
        if commit && let Some((routes, generation)) = worlds.next() {
            let next = world(routes, *generation);
            cache.commit(step(&present, &next));
            present = next;
            envoy.peer.session.update(cache.snapshot());
        } else if waiting.is_empty() {
            break;
        } else {
            // Envoy works through its stream in order.
            let number = |kind: &ResourceType| envoy.peer.received[kind][0].nonce.parse::<u64>().unwrap();
            let first = waiting.into_iter().min_by_key(number).expect("something waits");
            envoy.answer(first);
        }
    }
    let has: BTreeSet<String> = envoy.clusters().map(|c| c.name().to_string()).collect();
    let expected: BTreeSet<String> =
        present.keys().filter(|(kind, _)| *kind == Cluster).map(|(_, name)| name.clone()).collect();
    assert_eq!(has, expected);
    for cluster in envoy.clusters() {
        assert!(envoy.warm.contains(&key(cluster)), "{} never became warm", cluster.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_peer_converges_delta(acts in proptest::collection::vec(act(), 0..80)) {
        play(Mode::Delta, &acts);
    }

    #[test]
    fn a_peer_converges_sotw(acts in proptest::collection::vec(act(), 0..80)) {
        play(Mode::Sotw, &acts);
    }

    #[test]
    fn routes_never_point_to_nothing(
        worlds in proptest::collection::vec(
            (proptest::collection::btree_map(0..4_u8, 0..6_u8, 0..4), any::<u8>()), 1..12),
        answers in proptest::collection::vec(any::<u8>(), 0..80),
        sotw in any::<bool>(),
    ) {
        play_traffic(if sotw { Mode::Sotw } else { Mode::Delta }, &worlds, &answers);
    }
}

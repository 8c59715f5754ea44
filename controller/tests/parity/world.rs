//! A world of objects that refer to each other, most of the time to something that is there.

use std::collections::BTreeSet;

use contour_objects::Object;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::{kinds, schema, texts};

/// The namespaces of a world; names of every length.
pub(crate) const NAMESPACES: [&str; 4] =
    ["team-1", "a", "0", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"];
const SERVICES: [&str; 6] =
    ["web", "api", "s0", "s1", "sssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss", "ext"];
const SECRETS: [&str; 4] = ["cert", "cert2", "ca", "odd"];

/// Hosts that mean something, few of which are named twice.
const FEW: [&str; 8] =
    ["1.2.3.4", "localhost", "a", "0", "misdirected", "*.example.com", "*.com", "shared.example.com"];

/// One object that can be made smaller.
pub(crate) type Tree = Box<dyn ValueTree<Value = Value>>;

/// Makes worlds: the same ones for the same seed.
pub(crate) struct Worlds {
    /// Calm ones, in which nearly everything serves, and wild ones, in turns.
    moods: [Vec<BoxedStrategy<Value>>; 2],
    turn: usize,
    runner: TestRunner,
}

impl Worlds {
    /// Worlds of so many objects.
    pub(crate) fn new(seed: u64, objects: usize) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
        Self { moods: [16, 3].map(|usual| slots(objects, usual)), turn: 0, runner }
    }

    /// The next world.
    pub(crate) fn next(&mut self) -> Vec<Tree> {
        let runner = &mut self.runner;
        let grow = |slot: &BoxedStrategy<Value>| slot.new_tree(runner).expect("no strategy here gives up");
        self.turn += 1;
        self.moods[self.turn % 2].iter().map(grow).collect()
    }
}

/// A strategy for each object of a world, with so many usual values for each odd one.
fn slots(objects: usize, usual: u32) -> Vec<BoxedStrategy<Value>> {
    let mut slots = surroundings();
    let spec = schema::spec("HTTPProxy", usual);
    let routing = (0..).map(|index| routing(index, &spec));
    slots.extend(routing.take(objects.saturating_sub(surroundings().len())));
    slots
}

/// Everything that hosts refer to.
fn surroundings() -> Vec<BoxedStrategy<Value>> {
    let mut slots = Vec::new();
    for namespace in NAMESPACES {
        slots.extend(SERVICES.map(|name| kinds::service(namespace, name)));
        for service in SERVICES.into_iter().filter(|name| *name != "ext") {
            slots.push(kinds::slice(namespace, format!("{service}-1"), service));
        }
        slots.push(kinds::slice(namespace, "web-2".to_owned(), "web"));
        slots.extend(SECRETS.map(|name| kinds::secret(namespace, name)));
        slots.push(delegation(namespace));
    }
    slots
}

fn delegation(namespace: &'static str) -> BoxedStrategy<Value> {
    let target = select(vec!["*", "a", "team-1", "", "missing"]);
    let grant = (select(vec!["cert", "cert2", "ca", "", "missing"]), proptest::collection::vec(target, 1..3))
        .prop_map(|(secret, targets)| json!({"secretName": secret, "targetNamespaces": targets}));
    proptest::collection::vec(grant, 0..4)
        .prop_map(move |grants| {
            let spec = json!({"spec": {"delegations": grants}});
            kinds::whole("projectcontour.io/v1", "TLSCertificateDelegation", namespace, "all", &spec)
        })
        .boxed()
}

/// What serves hosts: roots, their children, and Ingresses.
fn routing(index: usize, spec: &BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let namespace = NAMESPACES[index % NAMESPACES.len()];
    match index / NAMESPACES.len() % 8 {
        0 => child(namespace, format!("c{}", index / 32 % 3), index, spec),
        1..=4 => root(namespace, index, spec),
        _ => kinds::ingress(
            namespace,
            format!("i{index}"),
            &format!("i{index}.example.org"),
            format!("h{}.example.com", index + 16),
        ),
    }
}

fn child(
    namespace: &'static str,
    name: String,
    index: usize,
    spec: &BoxedStrategy<Value>,
) -> BoxedStrategy<Value> {
    let name = if index < 96 { name } else { format!("c{index}") };
    let to_child = move |mut spec: Value| {
        spec.as_object_mut().map(|fields| fields.remove("virtualhost"));
        kinds::whole("projectcontour.io/v1", "HTTPProxy", namespace, &name, &json!({"spec": spec}))
    };
    spec.clone().prop_map(to_child).boxed()
}

fn root(namespace: &'static str, index: usize, spec: &BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let own = format!("h{index}.example.com");
    let odd: Vec<String> = texts::hosts().into_iter().filter(|host| is_fqdn(host)).collect();
    let fqdn = prop_oneof![
        16 => Just(own.clone()),
        2 => Just(format!("*.{own}")),
        1 => select(odd).prop_map(move |host| format!("{index}.{host}")),
        1 => Just(FEW[index / 2 % FEW.len()].to_owned()),
    ];
    let fqdn = fqdn.prop_filter("a host name", |fqdn| is_fqdn(fqdn));
    (spec.clone(), fqdn)
        .prop_map(move |(mut spec, fqdn)| {
            spec["virtualhost"]["fqdn"] = fqdn.into();
            kinds::whole(
                "projectcontour.io/v1",
                "HTTPProxy",
                namespace,
                &format!("r{index}"),
                &json!({"spec": spec}),
            )
        })
        .boxed()
}

/// Whether the schemas take a host name.
pub(crate) fn is_fqdn(text: &str) -> bool {
    static FQDN: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| {
        regex::Regex::new(contour_crds::patterns::FQDN).expect("a regular expression")
    });
    FQDN.is_match(text)
}

/// The objects, as the store takes them. Strategies make nothing that a cluster refuses.
pub(crate) fn objects(values: &[Value]) -> Vec<Object> {
    let read = |value: &Value| match contour_files::object(value) {
        Ok(object) => object,
        Err(errors) => panic!("the strategies made what no cluster takes: {errors:?}\n{value:#}"),
    };
    values.iter().filter_map(read).collect()
}

/// The hosts that objects name.
pub(crate) fn hosts(objects: &[Object]) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    for object in objects {
        match object {
            Object::HttpProxy(proxy) => hosts.extend(proxy.fqdn().map(|fqdn| fqdn.to_string())),
            Object::Ingress(ingress) => {
                let rules =
                    ingress.spec.rules.iter().flatten().map(|rule| rule.host.as_deref().unwrap_or_default());
                hosts.extend(
                    rules.map(|host| if host.is_empty() { "*".to_owned() } else { host.to_lowercase() }),
                );
            }
            _ => {}
        }
    }
    hosts
}

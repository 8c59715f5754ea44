//! Whatever objects say: no panic, no exhaustion, and nobody else is harmed.

mod support;

use std::collections::BTreeMap;

use contour_crds::{HTTPProxySpec, HTTPProxyStatus, schema_for};
use contour_graph::Settings;
use contour_graph::status::{ProxyStatus, State};
use contour_objects::{NamespacedName, Object};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{build, proxy, proxy_of, served, service, told};

/// Texts that mean something somewhere, and texts that should mean nothing.
const TEXTS: [&str; 34] = [
    "",
    "/",
    "//",
    "/a",
    "/a/",
    "/a(",
    "/[a",
    "a",
    "p0",
    "p1",
    "p2",
    "s0",
    "s1",
    "blue",
    "green",
    "green/t0",
    "Host",
    "x-a",
    "X A",
    "www.example.com",
    "*.example.com",
    "*",
    "1.3",
    "5s",
    "infinity",
    "1.5h1x",
    "99999999h",
    "%",
    "%REQ(X-A)%",
    "%CONTOUR_NAMESPACE%",
    "Cookie",
    "RequestHash",
    "\u{0}\r\n",
    "\u{e9}\u{1f600}",
];

/// One of [`TEXTS`], and now and then one as long as nobody writes.
fn text() -> impl Strategy<Value = String> {
    let long =
        ["a", "/", "\u{1}", "\u{e9}", "%", "*.a", "[", "a b"].map(|unit| unit.repeat(9_000 / unit.len()));
    prop_oneof![
        60 => proptest::sample::select(&TEXTS[..]).prop_map(str::to_owned),
        1 => proptest::sample::select(long.to_vec()),
    ]
}

/// The most bytes of one message, of the messages of a status, and of all of it as it is written, where a character may take six.
const LONGEST_MESSAGE: usize = 4096;
const MOST_MESSAGES: usize = 2 * 32_760;
const LONGEST_STATUS: usize = 6 * MOST_MESSAGES + 128 * 256;

/// Whether a status is no longer than one may be.
fn check_length(status: &ProxyStatus) -> Result<(), TestCaseError> {
    let issues = status.errors.iter().chain(&status.warnings);
    let longest = issues.map(|issue| issue.message.len()).max().unwrap_or_default();
    prop_assert!(longest <= LONGEST_MESSAGE, "{longest}: {:?}", status.errors);
    prop_assert!(status.errors.len() <= 64 && status.warnings.len() <= 64);
    let written = status.merge(&HTTPProxyStatus::default(), "2026-01-01T00:00:00Z").expect("it is new");
    let lists = written.conditions.iter().flat_map(|valid| valid.errors.iter().chain(&valid.warnings));
    let messages: usize = lists.map(|one| one.message.len()).sum();
    prop_assert!(messages <= MOST_MESSAGES + 256, "{messages}");
    let bytes = serde_json::to_vec(&written).expect("JSON").len();
    prop_assert!(bytes <= LONGEST_STATUS, "{bytes}");
    Ok(())
}

/// Any value that a structural schema describes, patterns and rules aside.
fn value(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(choices) = schema["enum"].as_array() {
        return proptest::sample::select(choices.clone()).boxed();
    }
    match schema["type"].as_str() {
        Some("object") => object(schema),
        Some("array") => {
            proptest::collection::vec(value(&schema["items"]), 0..3).prop_map(Value::from).boxed()
        }
        Some("integer") => integer(schema),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("number") => any::<u32>().prop_map(Value::from).boxed(),
        _ => text().prop_map(Value::from).boxed(),
    }
}

fn integer(schema: &Value) -> BoxedStrategy<Value> {
    let bits32 = schema["format"] == "int32";
    let least = schema["minimum"].as_i64().unwrap_or(if bits32 { i64::from(i32::MIN) } else { i64::MIN });
    let most = schema["maximum"].as_i64().unwrap_or(if bits32 { i64::from(i32::MAX) } else { i64::MAX });
    let all = [least, -1, 0, 1, 80, 200, 443, 4_294_967_295, most];
    let fitting: Vec<i64> = all.into_iter().filter(|n| (least..=most).contains(n)).collect();
    proptest::sample::select(fitting).prop_map(Value::from).boxed()
}

fn object(schema: &Value) -> BoxedStrategy<Value> {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object().into_iter().flatten().map(|(name, of)| {
        let field_of = name.clone();
        let field = value(of).prop_map(move |value| (field_of.clone(), value));
        if required.contains(&name.as_str()) {
            field.prop_map(Some).boxed()
        } else {
            proptest::option::weighted(0.25, field).boxed()
        }
    });
    let fields: Vec<_> = fields.collect();
    fields.prop_map(|fields| fields.into_iter().flatten().collect::<serde_json::Map<_, _>>().into()).boxed()
}

/// Any spec; what its type cannot hold is left to the schema to refuse.
fn spec() -> BoxedStrategy<HTTPProxySpec> {
    let schema = schema_for("HTTPProxy").expect("it is one of the kinds");
    let spec = value(&schema["properties"]["spec"]);
    spec.prop_filter_map("the type holds it", |spec| serde_json::from_value(spec).ok()).boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn no_object_panics_or_harms_another(specs in proptest::collection::vec(spec(), 3)) {
        let mut objects: Vec<Object> =
            specs.into_iter().enumerate().map(|(n, spec)| proxy_of(&format!("blue/p{n}"), spec)).collect();
        objects.extend(["blue/s0", "blue/s1", "quiet/web"].map(|name| service(name, None)));
        objects.push(proxy("quiet/www", "virtualhost: {fqdn: quiet.example.org}\nroutes: [{services: [{name: web, port: 80}]}]"));
        let (graph, update) = build(Settings::default(), objects);
        let quiet = served(&update);
        prop_assert!(quiet.contains("host quiet.example.org\n  plain  prefix / -> quiet/web:80 [HTTPProxy quiet/www]\n"), "{quiet}");
        prop_assert!(told(&graph, "quiet/www").is_empty());
        for status in graph.statuses() {
            check_length(status)?;
        }
        for note in &update.notes {
            prop_assert!(note.message.len() <= LONGEST_MESSAGE, "{}", note.message.len());
        }
        let hosts: BTreeMap<_, _> = update.hosts.iter().filter_map(|(fqdn, host)| Some((fqdn, host.as_ref()?))).collect();
        for (fqdn, host) in hosts {
            prop_assert_eq!(fqdn, &host.fqdn);
            prop_assert!(!host.plain.is_empty() || host.secure.is_some());
        }
    }
}

/// Each test thread has 2 MiB, as the controller's own threads have; this has less.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(512 * 1024).spawn(test);
    thread.expect("a thread").join().expect("it does not overflow or fail");
}

fn state(graph: &contour_graph::Graph, name: &str) -> State {
    graph.status(&NamespacedName::parse(name, &"".into())).expect("a status").state()
}

#[test]
fn a_chain_of_includes_ends_somewhere() {
    on_a_small_stack(|| {
        let node = |n: usize| format!("includes: [{{name: n{}}}]", n + 1);
        let mut objects: Vec<Object> = (1..5000).map(|n| proxy(&format!("a/n{n}"), &node(n))).collect();
        objects.push(proxy("a/root", &format!("virtualhost: {{fqdn: www.example.com}}\n{}", node(0))));
        let (graph, _) = build(Settings::default(), objects);
        assert_eq!(state(&graph, "a/n63"), State::Invalid);
        assert!(told(&graph, "a/n63")[0].starts_with("IncludeError/TooManyIncludes: "));
        assert_eq!(state(&graph, "a/n64"), State::Orphaned);
    });
}

#[test]
fn a_chain_of_tcp_includes_ends_somewhere() {
    on_a_small_stack(|| {
        let node = |n: usize| format!("tcpproxy: {{include: {{name: n{}}}}}", n + 1);
        let mut objects: Vec<Object> = (1..5000).map(|n| proxy(&format!("a/n{n}"), &node(n))).collect();
        let host = "virtualhost: {fqdn: www.example.com, tls: {passthrough: true}}";
        objects.push(proxy("a/root", &format!("{host}\n{}", node(0))));
        let (graph, _) = build(Settings::default(), objects);
        assert!(told(&graph, "a/n64")[0].starts_with("TCPProxyIncludeError/TooManyIncludes: "));
        assert_eq!(state(&graph, "a/n65"), State::Orphaned);
    });
}

#[test]
fn a_tree_that_doubles_at_every_level_ends_somewhere() {
    let node = |n: usize| {
        format!(
            "includes: [{{name: n{0}, conditions: [{{prefix: /l}}]}}, {{name: n{0}, conditions: [{{prefix: /r}}]}}]",
            n + 1
        )
    };
    let mut objects: Vec<Object> = (1..40).map(|n| proxy(&format!("a/n{n}"), &node(n))).collect();
    objects.push(proxy("a/n40", "routes: [{directResponsePolicy: {statusCode: 200}}]"));
    objects.push(proxy("a/root", &format!("virtualhost: {{fqdn: www.example.com}}\n{}", node(0))));
    let (graph, _) = build(Settings::default(), objects);
    assert!(told(&graph, "a/n39").iter().any(|told| told.starts_with("IncludeError/TooManyIncludes: ")));
}

#[test]
fn a_status_lists_so_many_problems_and_no_more() {
    let services: Vec<String> = (0..5000).map(|n| format!("{{name: gone{n}, port: 80}}")).collect();
    let spec =
        format!("virtualhost: {{fqdn: www.example.com}}\nroutes: [{{services: [{}]}}]", services.join(", "));
    let (graph, update) = build(Settings::default(), vec![proxy("a/www", &spec)]);
    let told = told(&graph, "a/www");
    assert_eq!(told.len(), 64);
    assert!(told[63].starts_with("ServiceError/MoreIssues: "), "{}", told[63]);
    assert!(served(&update).contains("answer 503"));
}

/// As many problems as there can be, each as long as it can be, by whoever reaches the object.
#[test]
fn a_status_is_no_longer_than_so_many_bytes() {
    let odd = |n: usize| format!("{n}{}", "\u{1}".repeat(200_000));
    let routes: Vec<Value> = (0..80)
        .map(|n| {
            json!({
                "conditions": [{"prefix": format!("/{}", odd(n))}],
                "services": [{"name": odd(n), "port": 80}],
                "requestHeadersPolicy": {"set": [{"name": odd(n), "value": "a"}]},
                "timeoutPolicy": {"response": odd(n)},
                "cookieRewritePolicies": [{"name": odd(n)}],
            })
        })
        .collect();
    let services: Vec<Value> = (0..80).map(|n| json!({"name": odd(n), "port": 80})).collect();
    let gone = json!({"services": services});
    let spec = |routes: Value| {
        let spec = json!({"virtualhost": {"fqdn": "www.example.com"}, "routes": routes});
        serde_json::from_value::<HTTPProxySpec>(spec).expect("a spec")
    };
    let objects = vec![
        proxy_of("a/one", spec(json!(routes))),
        proxy_of("b/two", HTTPProxySpec { virtualhost: None, ..spec(json!([gone])) }),
        proxy("b/root", "virtualhost: {fqdn: b.example.com}\nincludes: [{name: two}]"),
    ];
    let (graph, _) = build(Settings::default(), objects);
    assert!(!told(&graph, "a/one").is_empty() && told(&graph, "b/two").len() == 64);
    for status in graph.statuses() {
        check_length(status).unwrap_or_else(|why| panic!("{}: {why}", status.object));
    }
}

#[test]
fn one_object_with_thousands_of_conditions_is_no_burden() {
    let headers: Vec<String> =
        (0..20_000).map(|n| format!("{{header: {{name: x-{n}, exact: a}}}}")).collect();
    let spec = format!(
        "virtualhost: {{fqdn: www.example.com}}\nroutes: [{{conditions: [{}], directResponsePolicy: {{statusCode: 200}}}}]",
        headers.join(", ")
    );
    let (graph, update) = build(Settings::default(), vec![proxy("a/www", &spec)]);
    assert!(told(&graph, "a/www").is_empty());
    assert!(served(&update).contains("header(x-19999 = \"a\")"));
}

#[test]
fn a_child_below_ten_thousand_roots_and_a_root_of_ten_thousand_children() {
    let root = |n: usize| {
        let spec = format!("virtualhost: {{fqdn: h{n}.example.com}}\nincludes: [{{name: child}}]");
        proxy(&format!("a/r{n}"), &spec)
    };
    let mut objects: Vec<Object> = (0..10_000).map(root).collect();
    // Every root gives the child another problem to tell.
    objects.push(proxy(
        "a/child",
        "includes: [{name: child}]\nroutes: [{directResponsePolicy: {statusCode: 200}}]",
    ));
    let includes: Vec<String> =
        (0..10_000).map(|n| format!("{{name: c{n}, conditions: [{{prefix: /{n}}}]}}")).collect();
    let all = format!("virtualhost: {{fqdn: all.example.com}}\nincludes: [{}]", includes.join(", "));
    objects.push(proxy("a/all", &all));
    objects.extend(
        (0..10_000).map(|n| proxy(&format!("a/c{n}"), "routes: [{directResponsePolicy: {statusCode: 200}}]")),
    );
    let (graph, update) = build(Settings::default(), objects);
    assert_eq!(update.hosts.len(), 10_001);
    assert_eq!(told(&graph, "a/child").len(), 64);
    assert!(told(&graph, "a/all").is_empty(), "{:?}", told(&graph, "a/all"));
    assert_eq!(state(&graph, "a/c9999"), State::Valid);
}

//! The manifests of this repository fit what the operator builds.

use std::collections::BTreeSet;
use std::path::PathBuf;

use contour_crds::ContourDeployment;
use contour_operator::adoption::Adopted;
use contour_operator::build::{FixedRole, Inputs, build};
use contour_operator::clash::clashes;
use contour_operator::defaults::Defaults;
use contour_operator::names::Names;
use contour_operator::validate::validate;
use serde_json::{Value, json};

fn defaults() -> Defaults {
    Defaults {
        contour_image: "example/contour:v1".to_owned(),
        envoy_image: "example/envoy:v1".to_owned(),
        agent_image: "example/contour:v1".to_owned(),
        version: "1.0.0".to_owned(),
        namespace: "contour-operator".to_owned(),
    }
}

fn documents(path: &str) -> Vec<Value> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_example_can_be_built() {
    let mut objects = documents("examples/contourdeployment.yaml");
    objects.retain(|object| object["kind"] == "ContourDeployment");
    assert_eq!(objects.len(), 1, "ContourDeployments of the example");
    for object in objects {
        let deployment: ContourDeployment = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(serde_json::to_value(&deployment.spec).unwrap(), object["spec"], "no field is unknown");
        assert_eq!(validate(&deployment, &defaults()), []);
        assert_eq!(clashes(&deployment, [&deployment]), []);
    }
}

/// Nobody can grant what they neither have nor may bind: the operator may bind what it gives to controllers, and has none of it.
#[test]
fn the_operator_may_bind_what_it_gives_and_nothing_else() {
    let manifest = documents("bundle/operator.yaml");
    let rules = |name: &str| -> Vec<Value> {
        let role = manifest
            .iter()
            .find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("the manifest has no ClusterRole {name}"));
        role["rules"].as_array().unwrap().clone()
    };
    let own = rules("contour-operator");
    let has = |rule: &Value, field: &str, text: &str| {
        rule[field].as_array().is_some_and(|all| all.iter().any(|one| one == text))
    };
    let bound: BTreeSet<&str> = own
        .iter()
        .filter(|rule| has(rule, "verbs", "bind"))
        .flat_map(|rule| rule["resourceNames"].as_array().expect("bind is for names").iter())
        .map(|name| name.as_str().unwrap())
        .collect();
    let fixed: BTreeSet<&str> = FixedRole::ALL.map(FixedRole::name).into();
    assert_eq!(bound, fixed);
    let mut given = BTreeSet::new();
    for spec in [json!({}), json!({ "contour": { "watchNamespaces": ["shop", "edge"] } })] {
        for reference in referred_to(&spec) {
            assert_eq!(reference["kind"], "ClusterRole");
            given.insert(reference["name"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(given, fixed.iter().map(|name| (*name).to_owned()).collect());
    for name in fixed {
        assert!(!rules(name).is_empty(), "{name} gives nothing");
        assert!(rules(name).iter().all(|rule| !has(rule, "verbs", "*") && !has(rule, "resources", "*")));
    }
    for kind in
        ["endpointslices", "ingresses", "ingresses/status", "httpproxies", "tlscertificatedelegations", "*"]
    {
        assert!(!own.iter().any(|rule| has(rule, "resources", kind)), "the operator has rights to {kind}");
    }
    for verb in ["escalate", "impersonate", "*"] {
        assert!(!own.iter().any(|rule| has(rule, "verbs", verb)), "the operator may {verb}");
    }
}

/// What the bindings of this spec refer to.
fn referred_to(spec: &Value) -> Vec<Value> {
    let metadata = json!({ "name": "site", "namespace": "edge", "uid": "1" });
    let deployment: ContourDeployment =
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).expect("the spec is one");
    let inputs = Inputs {
        deployment: &deployment,
        names: &Names::of(&deployment).expect("the name is right"),
        defaults: &defaults(),
        kept: None,
        addresses: &[],
        adopted: &Adopted::NOTHING,
    };
    let stages = build(&inputs);
    let bindings = stages.all().filter(|child| child.kind.is_binding());
    bindings.map(|binding| binding.object.data["roleRef"].clone()).collect()
}

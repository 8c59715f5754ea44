//! The manifests of this repository fit what the operator builds.

use std::path::PathBuf;

use contour_crds::ContourDeployment;
use contour_operator::build::{Inputs, build};
use contour_operator::child::ChildKind;
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

/// The API server lets nobody grant what he does not have: the operator's own rights have to contain those of each controller.
#[test]
fn the_operator_has_every_right_that_it_passes_on() {
    let manifest = documents("bundle/operator.yaml");
    let own: Vec<&Value> = manifest
        .iter()
        .filter(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "contour-operator")
        .flat_map(|role| role["rules"].as_array().unwrap())
        .collect();
    assert!(!own.is_empty(), "the manifest has the operator's ClusterRole");
    let has = |wanted: (&str, &str, &str)| {
        let names =
            |rule: &Value, key: &str, name: &str| rule[key].as_array().unwrap().iter().any(|n| *n == name);
        own.iter().any(|rule| {
            names(rule, "apiGroups", wanted.0)
                && names(rule, "resources", wanted.1)
                && names(rule, "verbs", wanted.2)
        })
    };
    let mut passed_on = 0;
    for spec in [json!({}), json!({ "contour": { "watchNamespaces": ["shop"] } })] {
        for (group, resource, verb) in granted(&spec) {
            assert!(
                has((&group, &resource, &verb)),
                "the operator may not {verb} {resource} of group {group:?}"
            );
            passed_on += 1;
        }
    }
    assert!(passed_on > 20, "only {passed_on} rights are passed on");
}

/// What the controller of this spec may do: group, resource and verb.
fn granted(spec: &Value) -> Vec<(String, String, String)> {
    let metadata = json!({ "name": "site", "namespace": "edge", "uid": "1" });
    let deployment: ContourDeployment =
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).expect("the spec is one");
    let inputs = Inputs {
        deployment: &deployment,
        names: &Names::of(&deployment).expect("the name is right"),
        defaults: &defaults(),
        kept: None,
        addresses: &[],
    };
    let stages = build(&inputs);
    let roles = stages.all().filter(|child| matches!(child.kind, ChildKind::Role | ChildKind::ClusterRole));
    let texts = |rule: &Value, key: &str| -> Vec<String> {
        serde_json::from_value(rule[key].clone()).expect("a list of texts")
    };
    let mut granted = Vec::new();
    for rule in roles.flat_map(|role| role.object.data["rules"].as_array().expect("a role has rules").clone())
    {
        for group in texts(&rule, "apiGroups") {
            for resource in texts(&rule, "resources") {
                let verbs = texts(&rule, "verbs").into_iter();
                granted.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    granted
}

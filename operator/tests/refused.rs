//! What is told of a `ContourDeployment` that cannot be: alone (`refused/*.yaml`, specs), and beside an older one (`clash/*.yaml`).

use std::path::Path;

use contour_crds::ContourDeployment;
use contour_operator::clash::clashes;
use contour_operator::defaults::Defaults;
use contour_operator::problem::Problem;
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

fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).expect("the case can be read");
    serde_saphyr::from_str(&text).expect("the case is YAML")
}

fn deployment(metadata: &Value, spec: &Value) -> ContourDeployment {
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).expect("the spec is one")
}

fn named(name: &str) -> ContourDeployment {
    deployment(&json!({ "name": name, "namespace": "edge" }), &json!({}))
}

fn told(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("{} {problem}", problem.reason)).collect();
    lines.join("\n")
}

#[test]
fn the_impossible_is_refused() {
    insta::glob!("refused/*.yaml", |path| {
        let deployment = deployment(&json!({ "name": "site", "namespace": "edge" }), &read(path));
        let problems = validate(&deployment, &defaults());
        assert!(!problems.is_empty(), "{} is accepted", path.display());
        insta::assert_snapshot!(told(&problems));
    });
}

#[test]
fn a_patch_has_a_greatest_size() {
    let patched = |length: usize| {
        let annotations = json!({ "example.com/a": "a".repeat(length) });
        let patch = json!({ "metadata": { "annotations": annotations } });
        let spec = json!({ "contour": { "podTemplatePatch": patch } });
        validate(&deployment(&json!({ "name": "site", "namespace": "edge" }), &spec), &defaults())
    };
    assert_eq!(patched(16_000), []);
    assert_eq!(
        told(&patched(16_384)),
        "Invalid spec.contour.podTemplatePatch: has 16433 bytes as JSON; a patch has 16384 at most"
    );
}

#[test]
fn what_an_older_one_has_is_refused() {
    insta::glob!("clash/*.yaml", |path| {
        let case = read(path);
        let object = |who: &str, created: &str| {
            let metadata = &case[who]["metadata"];
            let mut metadata =
                if metadata.is_null() { json!({ "name": who, "namespace": who }) } else { metadata.clone() };
            metadata["creationTimestamp"] = json!(created);
            deployment(&metadata, &case[who]["spec"])
        };
        let older = object("older", "2026-01-01T00:00:00Z");
        let newer = object("newer", "2026-01-02T00:00:00Z");
        let all = [older.clone(), newer.clone()];
        assert_eq!(clashes(&older, &all), [], "the older one goes on");
        insta::assert_snapshot!(told(&clashes(&newer, &all)));
    });
}

#[test]
fn of_two_of_one_age_the_first_name_goes_on() {
    let (first, second) = (named("a"), named("b"));
    let all = [second.clone(), first.clone()];
    assert_eq!(clashes(&first, &all), []);
    assert!(!clashes(&second, &all).is_empty());
}

#[test]
fn names_that_children_cannot_have_are_refused() {
    for name in ["a".repeat(56), "a.b".to_owned()] {
        let problems = validate(&named(&name), &defaults());
        assert_eq!(
            problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(),
            ["metadata.name"]
        );
    }
    assert_eq!(validate(&named(&"a".repeat(55)), &defaults()), []);
}

#[test]
fn a_wrong_default_is_told_as_the_operators() {
    let defaults = Defaults { envoy_image: "not an image".to_owned(), ..defaults() };
    let problems = validate(&named("a"), &defaults);
    assert!(told(&problems).contains("--envoy-image of the operator"), "{}", told(&problems));
}

//! Each kind of difference is found, and the list of intended differences is held to what there is.

use super::{Difference, Facts, Report, compare};
use serde_json::{Value, json};

fn crd(change: impl FnOnce(&mut Value)) -> Value {
    let mut crd = json!({
        "metadata": { "name": "things.projectcontour.io" },
        "spec": {
            "group": "projectcontour.io",
            "scope": "Namespaced",
            "names": { "kind": "Thing", "shortNames": ["th"] },
            "versions": [{
                "name": "v1",
                "additionalPrinterColumns": [{ "name": "A", "jsonPath": ".a", "description": "x" }],
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "description": "A thing.",
                    "required": ["spec", "metadata"],
                    "properties": { "spec": { "type": "object", "properties": {
                        "ports": { "type": "array", "items": { "type": "integer", "minimum": 1 } },
                        "texts": { "type": "object", "additionalProperties": { "enum": ["b", "a"] } }
                    } } }
                } }
            }]
        }
    });
    change(&mut crd);
    crd
}

fn report(ours: &Value, theirs: &Value, intended: &[Difference]) -> Report {
    let facts = |crd| Facts::of(std::iter::once(crd)).expect("the definition is well-formed");
    compare(&facts(ours), &facts(theirs), intended)
}

fn schema(crd: &mut Value) -> &mut Value {
    &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn found(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let report = report(&crd(change), &crd(|_| ()), &[]);
    assert_eq!(report.is_clean(), report.unlisted.is_empty());
    report.unlisted.iter().map(ToString::to_string).collect()
}

#[test]
fn equal_definitions_do_not_differ() {
    assert_eq!(found(|_| ()), Vec::<String>::new());
}

#[test]
fn descriptions_and_order_and_kinds_of_numbers_do_not_matter() {
    let changed = found(|crd| {
        crd["spec"]["versions"][0]["additionalPrinterColumns"][0]["description"] = json!("y");
        let schema = schema(crd);
        schema["description"] = json!("Other words.");
        schema["required"] = json!(["metadata", "spec"]);
        schema["properties"]["spec"]["properties"]["texts"]["additionalProperties"]["enum"] =
            json!(["a", "b"]);
        schema["properties"]["spec"]["properties"]["ports"]["items"]["minimum"] = json!(1.0);
    });
    assert_eq!(changed, Vec::<String>::new());
}

#[test]
fn differences_are_told_by_place() {
    let changed = found(|crd| {
        crd["spec"]["names"]["shortNames"] = json!(["thing"]);
        let properties = &mut schema(crd)["properties"]["spec"]["properties"];
        properties["ports"]["items"]["minimum"] = json!(0);
        properties["texts"]["additionalProperties"]["enum"] = json!(["a"]);
        properties["ports"]["x-kubernetes-list-type"] = json!("set");
    });
    assert_eq!(
        changed,
        [
            r#"things.projectcontour.io  names.shortNames: ours ["thing"], theirs ["th"]"#,
            r#"things.projectcontour.io v1 .spec.ports x-kubernetes-list-type: ours "set", theirs (absent)"#,
            "things.projectcontour.io v1 .spec.ports[] minimum: ours 0.0, theirs 1.0",
            r#"things.projectcontour.io v1 .spec.texts{} enum: ours ["a"], theirs ["a","b"]"#,
        ]
    );
}

#[test]
fn a_missing_field_is_a_difference() {
    let changed = found(|crd| {
        schema(crd)["properties"]["spec"]["properties"].as_object_mut().expect("fields").remove("ports");
    });
    assert!(changed.iter().any(|line| line.contains("v1 .spec.ports type: ours (absent)")), "{changed:?}");
}

#[test]
fn a_missing_definition_is_one_difference() {
    let nothing = Facts::default();
    let theirs = Facts::of(std::iter::once(&crd(|_| ()))).expect("the definition is well-formed");
    let report = compare(&nothing, &theirs, &[]);
    let lines: Vec<String> = report.unlisted.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["things.projectcontour.io  defined: ours (absent), theirs true"]);
}

#[test]
fn listed_differences_must_be_there_and_have_a_reason() {
    let ours = crd(|crd| crd["spec"]["scope"] = json!("Cluster"));
    let listed = |theirs: &str, reason: &str| Difference {
        crd: "things.projectcontour.io".to_owned(),
        place: String::new(),
        keyword: "scope".to_owned(),
        ours: Some(json!("Cluster")),
        theirs: Some(json!(theirs)),
        reason: reason.to_owned(),
    };
    assert!(report(&ours, &crd(|_| ()), &[listed("Namespaced", "on purpose")]).is_clean());

    let unreasoned = report(&ours, &crd(|_| ()), &[listed("Namespaced", " ")]);
    assert_eq!((unreasoned.is_clean(), unreasoned.unreasoned.len()), (false, 1));

    let stale = report(&ours, &crd(|_| ()), &[listed("Other", "on purpose")]);
    assert_eq!((stale.is_clean(), stale.stale.len(), stale.unlisted.len()), (false, 1, 1));
}

#[test]
fn what_is_not_known_is_an_error() {
    let odd = crd(|crd| crd["spec"]["surprise"] = json!(1));
    let error = Facts::of(std::iter::once(&odd)).expect_err("the definition has a part that is not known");
    assert!(format!("{error:#}").contains("`spec.surprise` is not known here"), "{error:#}");
}

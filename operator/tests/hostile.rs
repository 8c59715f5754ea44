//! No `ContourDeployment` that can be read makes the operator panic: it is told what is wrong, or it is built.

use contour_crds::ContourDeployment;
use contour_operator::adoption::Adopted;
use contour_operator::build::{Inputs, build};
use contour_operator::clash::clashes;
use contour_operator::defaults::Defaults;
use contour_operator::names::Names;
use contour_operator::validate::validate;
use serde_json::{Value, json};

/// What each field is replaced by, and nothing.
fn replacements() -> [Option<Value>; 11] {
    [
        None,
        Some(json!("")),
        Some(json!("x")),
        Some(json!("../\u{0}\u{1f642}")),
        Some(json!("9".repeat(400) + "h")),
        Some(json!(0)),
        Some(json!(-1)),
        Some(json!(i64::MAX)),
        Some(json!([])),
        Some(json!({})),
        Some(json!(["--", "--=", "--no-", "-", "", "--help"])),
    ]
}

#[test]
fn whatever_can_be_read_is_told_or_built() {
    let text = include_str!("build/everything.yaml");
    let spec: Value = serde_saphyr::from_str(text).unwrap();
    let metadata = json!({ "name": "site", "namespace": "edge", "uid": "1" });
    let whole = json!({ "metadata": metadata, "spec": spec });
    let mut pointers = Vec::new();
    collect(&whole, String::new(), &mut pointers);
    let (mut refused, mut built) = (0, 0);
    for pointer in &pointers {
        for replacement in replacements() {
            let mut changed = whole.clone();
            replace(&mut changed, pointer, replacement);
            match serde_json::from_value::<ContourDeployment>(changed) {
                Ok(deployment) if is_built(&deployment) => built += 1,
                Ok(_) => refused += 1,
                Err(_) => {}
            }
        }
    }
    assert!(refused > 50 && built > 300, "{refused} refused and {built} built");
}

/// The JSON pointers of all values.
fn collect(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(key, value)| collect(value, format!("{pointer}/{}", escaped(key)), pointers));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, item)| collect(item, format!("{pointer}/{at}"), pointers));
        }
        _ => {}
    }
    pointers.push(pointer);
}

fn replace(whole: &mut Value, pointer: &str, replacement: Option<Value>) {
    if let Some(value) = replacement {
        *whole.pointer_mut(pointer).expect("the pointer is one of this value") = value;
        return;
    }
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    let key = key.replace("~1", "/").replace("~0", "~");
    match whole.pointer_mut(parent).expect("the parent is there") {
        Value::Object(fields) => drop(fields.shift_remove(&key)),
        Value::Array(items) => drop(items.remove(key.parse().expect("the key of a list is a number"))),
        _ => {}
    }
}

/// False if something is wrong with it.
fn is_built(deployment: &ContourDeployment) -> bool {
    let defaults = Defaults {
        contour_image: "example/contour:v1".to_owned(),
        envoy_image: "example/envoy:v1".to_owned(),
        agent_image: "example/contour:v1".to_owned(),
        version: "1.0.0".to_owned(),
        namespace: "contour-operator".to_owned(),
    };
    let other: ContourDeployment = serde_json::from_value(json!({ "metadata": { "name": "a" }, "spec": {} }))
        .expect("the other is right");
    let clashing = clashes(deployment, [&other, deployment]);
    assert_eq!(clashing, clashes(deployment, [deployment, &other]), "the order does not matter");
    if !validate(deployment, &defaults).is_empty() {
        return false;
    }
    let names = Names::of(deployment).expect("nothing is wrong with the names");
    let inputs = Inputs {
        deployment,
        names: &names,
        defaults: &defaults,
        kept: None,
        addresses: &[],
        adopted: &Adopted::NOTHING,
    };
    assert_eq!(build(&inputs), build(&inputs));
    true
}

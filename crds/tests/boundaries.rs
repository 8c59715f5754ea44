//! Whatever the schema of a kind accepts, the type of the kind can read.
//!
//! Objects with every field of the schema are made from the schema itself: numbers at their least and at
//! their greatest value, each value of an enumeration, empty and filled lists and texts.

use contour_crds::{
    ContourConfiguration, ContourDeployment, ContourPolicy, ExtensionService, HTTPProxy,
    TLSCertificateDelegation, schema_for,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// Which of the accepted values to make.
#[derive(Clone, Copy, Debug)]
enum Pick {
    /// The least number, the shortest list, `false`.
    Least,
    /// The greatest number, a list of one element, `true`.
    Greatest,
    /// The value of an enumeration at this index, as far as there are as many; otherwise like `Greatest`.
    Value(usize),
}

/// As many as the longest enumeration has, which is the one of `retryOn`.
const VALUES: usize = 16;

#[test]
fn every_accepted_http_proxy_can_be_read() {
    check::<HTTPProxy>("HTTPProxy");
}

#[test]
fn every_accepted_delegation_can_be_read() {
    check::<ContourPolicy>("ContourPolicy");
    check::<TLSCertificateDelegation>("TLSCertificateDelegation");
}

#[test]
fn every_accepted_extension_service_can_be_read() {
    check::<ExtensionService>("ExtensionService");
}

#[test]
fn every_accepted_configuration_can_be_read() {
    check::<ContourConfiguration>("ContourConfiguration");
}

#[test]
fn every_accepted_deployment_can_be_read() {
    check::<ContourDeployment>("ContourDeployment");
}

fn check<K: DeserializeOwned + Serialize>(kind: &str) {
    let schema = schema_for(kind).expect("the kind is of this crate");
    read::<K>(&object(&schema, Pick::Least));
    check_without_each_optional_field::<K>(&schema);
    for pick in (0..VALUES).map(Pick::Value).chain([Pick::Greatest]) {
        let full = object(&schema, pick);
        let written = serde_json::to_value(read::<K>(&full)).expect("the object can be written");
        for part in ["spec", "status"] {
            assert_same(&format!("{kind} {pick:?} .{part}"), &full[part], &written[part]);
        }
    }
}

/// No field that the schema does not require is required by the type.
fn check_without_each_optional_field<K: DeserializeOwned>(schema: &Value) {
    let full = object(schema, Pick::Greatest);
    let mut optional = Vec::new();
    collect_optional(schema, "", &mut optional);
    assert!(optional.len() > 4, "only {optional:?} are optional");
    for (parent, name) in optional {
        let mut object = full.clone();
        let fields = object.pointer_mut(&parent).and_then(Value::as_object_mut);
        let removed = fields.and_then(|fields| fields.remove(&name));
        assert!(removed.is_some(), "{parent}/{name} was not made");
        read::<K>(&object);
    }
}

/// The optional fields of a made object, each as the JSON pointer of its parent and its name.
fn collect_optional(schema: &Value, pointer: &str, found: &mut Vec<(String, String)>) {
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|required| required.iter().any(|field| field == name))
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        // Every object has them, whatever its schema says.
        let of_every_object =
            pointer.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str());
        if !required(name) && !of_every_object {
            found.push((pointer.to_owned(), name.clone()));
        }
        collect_optional(property, &format!("{pointer}/{name}"), found);
    }
    if let Some(items) = schema.get("items") {
        collect_optional(items, &format!("{pointer}/0"), found);
    }
}

fn object(schema: &Value, pick: Pick) -> Value {
    let mut object = make(schema, pick);
    object["metadata"] = json!({ "name": "made" });
    object
}

fn read<K: DeserializeOwned>(object: &Value) -> K {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error} in {object:#}"))
}

/// Every field given has to be written as it was: none is unknown to the type, or of another name.
fn assert_same(place: &str, given: &Value, written: &Value) {
    match (given, written) {
        (Value::Object(given), Value::Object(written)) => {
            for (name, value) in given {
                let field = written.get(name).unwrap_or_else(|| panic!("{place}.{name} is lost"));
                assert_same(&format!("{place}.{name}"), value, field);
            }
            assert_eq!(given.len(), written.len(), "{place} has more fields than were given");
        }
        (Value::Array(given), Value::Array(written)) => {
            assert_eq!(given.len(), written.len(), "{place}");
            for (given, written) in given.iter().zip(written) {
                assert_same(&format!("{place}[]"), given, written);
            }
        }
        _ => assert_eq!(given, written, "{place}"),
    }
}

fn make(schema: &Value, pick: Pick) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        let index = match pick {
            Pick::Least => 0,
            Pick::Greatest => values.len() - 1,
            Pick::Value(index) => index.min(values.len() - 1),
        };
        return values[index].clone();
    }
    if schema["x-kubernetes-int-or-string"] == json!(true) {
        return if matches!(pick, Pick::Least) { json!(0) } else { json!("1") };
    }
    match schema["type"].as_str() {
        Some("object") => make_object(schema, pick),
        Some("array") => make_array(schema, pick),
        Some("boolean") => json!(!matches!(pick, Pick::Least)),
        Some("integer") => make_integer(schema, pick),
        Some("string") => make_text(schema, pick),
        other => panic!("no value can be made of the type {other:?}"),
    }
}

fn make_object(schema: &Value, pick: Pick) -> Value {
    let mut object = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        object.insert(name.clone(), make(property, pick));
    }
    if let Some(of) = schema.get("additionalProperties") {
        object.insert("any key".to_owned(), make(of, pick));
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == json!(true) {
        object.insert("any field".to_owned(), json!({ "of": ["any", null, 1] }));
    }
    Value::Object(object)
}

fn make_array(schema: &Value, pick: Pick) -> Value {
    let least = schema["minItems"].as_u64().unwrap_or(0);
    let length = if matches!(pick, Pick::Least) { least } else { least.max(1) };
    (0..length).map(|_| make(&schema["items"], pick)).collect()
}

fn make_integer(schema: &Value, pick: Pick) -> Value {
    let (least, greatest) = match schema["format"].as_str() {
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let greatest = schema["maximum"].as_i64().unwrap_or(greatest);
    let exclusive = schema["exclusiveMaximum"].as_bool().unwrap_or(false);
    match pick {
        Pick::Least => json!(schema["minimum"].as_i64().unwrap_or(least)),
        Pick::Greatest | Pick::Value(_) => json!(greatest - i64::from(exclusive)),
    }
}

/// Patterns are checked by the API server's tests; here any text will do, as no type reads into texts.
fn make_text(schema: &Value, pick: Pick) -> Value {
    let least = schema["minLength"].as_u64().unwrap_or(0);
    let length = if matches!(pick, Pick::Least) { least } else { least.max(1) };
    json!("x".repeat(usize::try_from(length).expect("the length of a text")))
}

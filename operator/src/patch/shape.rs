//! Whether a patch, or what came of it, has the fields and types of Kubernetes' own. Pure.

use std::sync::LazyLock;

use contour_crds::schema::structural;
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service};
use serde_json::Value;

use super::strategic::is_directive;
use super::{Fault, Target, below, item};

static POD: LazyLock<Value> = LazyLock::new(structural::<PodTemplateSpec>);
static SERVICE: LazyLock<Value> = LazyLock::new(structural::<Service>);

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A patch: null and directives tell what to do, and nothing has to be there.
    Patch,
    /// An object: what Kubernetes requires has to be there.
    Object,
}

/// Everything in a value that does not fit.
pub(super) fn faults(target: Target, form: Form, value: &Value) -> Vec<Fault> {
    let schema = match target {
        Target::Pod => &*POD,
        Target::Service => &*SERVICE,
        // Envoy reads it.
        Target::Bootstrap => return Vec::new(),
    };
    let mut found = Vec::new();
    look(schema, form, "", value, &mut found);
    found
}

fn look(schema: &Value, form: Form, path: &str, value: &Value, found: &mut Vec<Fault>) {
    let either = schema["x-kubernetes-int-or-string"] == Value::Bool(true);
    let kind = if either { "number or text" } else { schema["type"].as_str().unwrap_or_default() };
    let expected = match (kind, value) {
        (_, Value::Null) if form == Form::Patch => return,
        ("object", Value::Object(_)) => return fields(schema, form, path, value, found),
        ("array", Value::Array(items)) => {
            let inner = &schema["items"];
            return items.iter().enumerate().for_each(|(index, value)| {
                look(inner, form, &item(path, index), value, found);
            });
        }
        ("string" | "number or text", Value::String(_))
        | ("boolean", Value::Bool(_))
        | ("number", Value::Number(_)) => return,
        ("integer" | "number or text", Value::Number(number)) => {
            let narrow = either || schema["format"] == "int32";
            let fits = number.as_i64().is_some_and(|number| !narrow || i32::try_from(number).is_ok());
            if fits {
                return;
            }
            "a whole number that Kubernetes can hold"
        }
        ("object", _) => "an object",
        ("array", _) => "a list",
        ("string", _) => "a text; put it in quotes",
        ("boolean", _) => "true or false, without quotes",
        ("integer" | "number", _) => "a number, without quotes",
        ("number or text", _) => "a number or a text",
        // Kubernetes takes any value here.
        _ => return,
    };
    found.push(Fault::new(path, format!("has to be {expected}")));
}

fn fields(schema: &Value, form: Form, path: &str, value: &Value, found: &mut Vec<Fault>) {
    let more = &schema["additionalProperties"];
    for (name, value) in value.as_object().into_iter().flatten() {
        if form == Form::Patch && is_directive(name) {
            continue;
        }
        let path = below(path, name);
        match schema["properties"].get(name) {
            Some(inner) => look(inner, form, &path, value, found),
            None if more.is_object() => look(more, form, &path, value, found),
            None if schema["properties"].is_object() => {
                found.push(Fault::new(path, "is no field of Kubernetes; mind the spelling"));
            }
            None => {}
        }
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if form == Form::Object {
        let lacking = required.filter(|name| value.get(name).is_none());
        found.extend(lacking.map(|name| Fault::new(below(path, name), "has to be given")));
    }
}

//! From Rust types to the schemas of Kubernetes.
//!
//! A schema of Kubernetes is "structural": no references, one type per value, and no `null`. What schemars
//! derives is brought into that form here, by one transformation of every sub-schema. kube's own
//! transformation is not used, because it replaces the description of an optional field by the one of the
//! field's type and marks the field nullable.

use crate::patterns::QUANTITY;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};

/// The structural schema of a type, as the value of `openAPIV3Schema` or of one of its properties.
pub fn structural<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.with_transform(Structural).into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema.to_value()
}

/// Brings a schema into structural form.
#[derive(Clone, Copy, Debug)]
struct Structural;

impl Transform for Structural {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        if let Some(object) = schema.as_object_mut() {
            drop_null(object);
            merge_only_alternative(object);
            gather_enumeration(object);
        }
    }
}

/// Takes `null` out of the types and the values of a schema: an optional field is left out, never null.
fn drop_null(schema: &mut Map<String, Value>) {
    if let Some(types) = schema.get_mut("type")
        && let Some(list) = types.as_array_mut()
    {
        list.retain(|name| name != "null");
        if list.len() == 1 {
            *types = list.remove(0);
        }
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    if let Some(alternatives) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        alternatives.retain(|alternative| alternative.get("type") != Some(&json!("null")));
    }
}

/// Replaces "any of this one schema" by that schema. What is said outside, such as the description of a
/// field, wins over what is said inside, such as the description of its type.
fn merge_only_alternative(schema: &mut Map<String, Value>) {
    let Some([Value::Object(only)]) = schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice) else {
        return;
    };
    let only = only.clone();
    schema.remove("anyOf");
    for (key, value) in only {
        schema.entry(key).or_insert(value);
    }
}

/// Replaces "one of these constants", which is how an enumeration with documented variants is derived, by
/// an enumeration of values.
fn gather_enumeration(schema: &mut Map<String, Value>) {
    let Some(alternatives) = schema.get("oneOf").and_then(Value::as_array) else { return };
    let values: Option<Vec<Value>> =
        alternatives.iter().map(|alternative| alternative.get("const").cloned()).collect();
    let Some(values) = values else { return };
    let of_type = alternatives.first().and_then(|alternative| alternative.get("type")).cloned();
    schema.remove("oneOf");
    schema.insert("enum".to_owned(), Value::Array(values));
    if let Some(of_type) = of_type {
        schema.insert("type".to_owned(), of_type);
    }
}

/// The schema of one of Kubernetes' own types, with each description cut to its first sentence: the whole texts
/// would be four fifths of a definition.
pub(crate) fn brief<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<T>();
    Brief.transform(&mut schema);
    schema
}

/// The schema of a list of one of Kubernetes' own types.
pub(crate) fn brief_list<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let items = brief::<T>(generator);
    json_schema!({ "type": "array", "maxItems": 64, "items": items, "x-kubernetes-list-type": "atomic" })
}

/// A number, or a percentage such as `10%`.
pub(crate) fn count_or_percentage(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 0,
        "maximum": i32::MAX,
        "pattern": "^(100|[1-9]?[0-9])%$",
    })
}

/// Cuts descriptions, and holds quantities to their form.
#[derive(Clone, Copy, Debug)]
struct Brief;

impl Transform for Brief {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if let Some(Value::String(text)) = object.get_mut("description") {
            let end = [". ", ".\n", "\n"].iter().filter_map(|stop| text.find(stop)).min();
            text.truncate(end.unwrap_or(text.len()));
        }
        // Metadata within an object are those of what is made from a template: labels and annotations.
        if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut)
            && properties.contains_key("managedFields")
        {
            properties.retain(|name, _| name == "labels" || name == "annotations");
        }
        // Of the types used here, only quantities are a number or a text.
        if object.contains_key("x-kubernetes-int-or-string") {
            object.insert("pattern".to_owned(), QUANTITY.into());
        }
    }
}

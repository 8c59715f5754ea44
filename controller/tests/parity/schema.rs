//! Values from structural schemas: everything a schema has, later fields included, and nothing that it refuses.

use contour_crds::schema_for;
use proptest::prelude::*;
use proptest::sample::select;
use regex::Regex;
use serde_json::{Map, Value};

use super::{shape, texts};

/// The spec of a custom kind, with so many usual values for each odd one.
pub(crate) fn spec(kind: &str, usual: u32) -> BoxedStrategy<Value> {
    let schema = schema_for(kind).expect("it is one of the kinds");
    value(&schema["properties"]["spec"], &Place { path: "spec".to_owned(), usual })
}

/// Where a value stands, such as `spec.routes[].conditions[].prefix`.
struct Place {
    path: String,
    usual: u32,
}

impl Place {
    fn within(&self, step: &str) -> Self {
        Self { path: format!("{}{step}", self.path), usual: self.usual }
    }

    fn usual(&self) -> u32 {
        self.usual * if shape::refers(&self.path) { 8 } else { 1 }
    }
}

/// Any value that fits the schema.
fn value(schema: &Value, place: &Place) -> BoxedStrategy<Value> {
    if let Some(choices) = schema["enum"].as_array() {
        return select(choices.clone()).boxed();
    }
    let value = match schema["type"].as_str() {
        Some("object") => object(schema, place),
        Some("array") => list(schema, place),
        Some("integer") => integer(schema, place),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("number") => any::<u32>().prop_map(Value::from).boxed(),
        _ => text(schema, place),
    };
    shape::mended(&place.path, value)
}

fn object(schema: &Value, place: &Place) -> BoxedStrategy<Value> {
    if let Some(additional) = schema["additionalProperties"].as_object() {
        let values = value(&Value::Object(additional.clone()), &place.within("{}"));
        let entries = proptest::collection::btree_map("[a-z]{1,8}", values, 0..3);
        return entries.prop_map(|map| map.into_iter().collect::<Map<_, _>>().into()).boxed();
    }
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object().into_iter().flatten().map(|(name, of)| {
        let inner = place.within(&format!(".{name}"));
        let share = if required.contains(&name.as_str()) { 1.0 } else { shape::share(&inner.path) };
        let field_of = name.clone();
        let field = value(of, &inner).prop_map(move |value| (field_of.clone(), value));
        match share {
            share if share >= 1.0 => field.prop_map(Some).boxed(),
            share => proptest::option::weighted(share, field).boxed(),
        }
    });
    let fields: Vec<_> = fields.collect();
    fields.prop_map(|fields| fields.into_iter().flatten().collect::<Map<_, _>>().into()).boxed()
}

fn list(schema: &Value, place: &Place) -> BoxedStrategy<Value> {
    let size = |keyword: &str| schema[keyword].as_u64().and_then(|size| usize::try_from(size).ok());
    let least = size("minItems").unwrap_or(0);
    let most = size("maxItems").unwrap_or(least + 3).min(least + 3);
    let items = value(&schema["items"], &place.within("[]"));
    let many = size("maxItems").unwrap_or(40).min(40);
    let few = proptest::collection::vec(items.clone(), least..=most);
    prop_oneof![100 => few, 1 => proptest::collection::vec(items, most..=many)].prop_map(Value::from).boxed()
}

/// Usual numbers, and those at which something ends: the schema's own bounds, and those of the types they are put into.
fn integer(schema: &Value, place: &Place) -> BoxedStrategy<Value> {
    let (low, high) = match schema["format"].as_str() {
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    // A bound may be written as a fraction.
    let bound = |keyword: &str, default| {
        let number = &schema[keyword];
        number.as_i64().or(number.as_f64().and_then(|n| format!("{n:.0}").parse().ok())).unwrap_or(default)
    };
    let least = bound("minimum", low);
    let most = bound("maximum", high) - i64::from(schema["exclusiveMaximum"] == true);
    let around = [0, 1 << 8, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 31_536_000, 9_000_000_000];
    let mut odd: Vec<i64> = around.iter().flat_map(|n| [n - 1, *n, n + 1]).collect();
    odd.extend([least, least.saturating_add(1), most.saturating_sub(1), most]);
    odd.retain(|n| (least..=most).contains(n));
    let mut usual = texts::numbers(&place.path);
    usual.retain(|n| (least..=most).contains(n));
    mix(usual, odd, place.usual(), None).prop_map(Value::from).boxed()
}

/// Usual texts of the place, odd ones, and any that the pattern takes.
fn text(schema: &Value, place: &Place) -> BoxedStrategy<Value> {
    let pattern =
        schema["pattern"].as_str().map(|pattern| pattern.replace(r"\d", "[0-9]").replace(r"\/", "/"));
    let matches = pattern
        .as_deref()
        .map(|p| Regex::new(&p.replace(r"/[\]", r"/\[\]")).expect("patterns of the schemas are regular"));
    let length = |keyword: &str| schema[keyword].as_u64().and_then(|n| usize::try_from(n).ok());
    let (least, most) = (length("minLength").unwrap_or(0), length("maxLength").unwrap_or(usize::MAX));
    let fits = |text: &String| {
        (least..=most).contains(&text.chars().count()) && matches.as_ref().is_none_or(|m| m.is_match(text))
    };
    let (mut usual, mut odd) = texts::of(&place.path);
    if let Some(most) = length("maxLength") {
        odd.extend([most - 1, most, most + 1].map(|n| "a".repeat(n)));
    }
    usual.retain(fits);
    odd.retain(fits);
    let any = pattern.filter(|p| p.starts_with("^(((")).and_then(|p| {
        let inner = p.trim_start_matches('^').trim_end_matches('$').to_owned();
        proptest::string::string_regex(&inner).ok()
    });
    mix(usual, odd, place.usual(), any.map(Strategy::boxed)).prop_map(Value::from).boxed()
}

fn mix<T: Clone + std::fmt::Debug + 'static>(
    usual: Vec<T>,
    odd: Vec<T>,
    usually: u32,
    any: Option<BoxedStrategy<T>>,
) -> BoxedStrategy<T> {
    let mut choices: Vec<(u32, BoxedStrategy<T>)> = Vec::new();
    for (weight, values) in [(usually, usual), (1, odd)] {
        if !values.is_empty() {
            choices.push((weight, select(values).boxed()));
        }
    }
    choices.extend(any.map(|any| (1, any)));
    assert!(!choices.is_empty(), "no value is known that fits the schema: give one in texts.rs");
    proptest::strategy::Union::new_weighted(choices).boxed()
}

//! Structural schemas, as the API server applies them: defaults, unknown fields, types and bounds.
//!
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regex::Regex;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::{bytes, rules};

/// A structural schema (OpenAPI v3.0 with Kubernetes' extensions), ready to be applied.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "the keywords of the format are what they are")]
pub(crate) struct Schema {
    r#type: Option<Type>,
    nullable: bool,
    properties: BTreeMap<String, Self>,
    required: Vec<String>,
    additional_properties: Option<Additional>,
    items: Option<Box<Self>>,
    #[serde(rename = "enum")]
    choices: Vec<Value>,
    pattern: Option<Pattern>,
    format: Option<String>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    exclusive_minimum: bool,
    exclusive_maximum: bool,
    min_length: Option<usize>,
    max_length: Option<usize>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    min_properties: Option<usize>,
    max_properties: Option<usize>,
    default: Option<Value>,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    preserve_unknown: bool,
    #[serde(rename = "x-kubernetes-int-or-string")]
    int_or_string: bool,
    #[serde(rename = "x-kubernetes-list-type")]
    list_type: Option<String>,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    list_map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-validations")]
    validations: Vec<Validation>,
}

/// A CEL rule of the schema.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Validation {
    /// The rule, in CEL.
    pub(crate) rule: String,
    message: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Additional {
    Allowed(bool),
    Schema(Box<Schema>),
}

#[derive(Debug)]
struct Pattern(Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&from_go(&text)).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A pattern of Go's syntax (which schemas are written in) in that of the `regex` crate: there, `\d`, `\s` and `\w` are ASCII only, and
/// `[`, `&` and `~` mean themselves within brackets.
fn from_go(pattern: &str) -> String {
    let (mut out, mut bracket) = (String::new(), false);
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        let class = |inner: &str| if bracket { inner.to_owned() } else { format!("[{inner}]") };
        match (c, rest.peek()) {
            ('\\', Some(&escaped)) => {
                rest.next();
                match escaped {
                    'd' => out += &class("0-9"),
                    's' => out += &class("\\t\\n\\f\\r "),
                    'w' => out += &class("0-9A-Za-z_"),
                    _ => out.extend([c, escaped]),
                }
                continue;
            }
            ('[', next) if bracket && next != Some(&':') => out.push('\\'),
            ('&' | '~', _) if bracket => out.push('\\'),
            ('[', _) => bracket = true,
            (']', _) => bracket = false,
            _ => {}
        }
        out.push(c);
    }
    out
}

/// One step of the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into the field of an object.
    Field(String),
    /// Into the item of a list.
    Index(usize),
}

impl Step {
    /// The step into a field.
    pub(crate) fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }
}

/// The path as people write it: `spec.routes[0].services`.
pub(crate) struct Path<'a>(pub(crate) &'a [Step]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Field(name) if name.contains(['.', '/']) => write!(f, "[{name:?}]")?,
                Step::Field(name) if position == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

/// Something the schema does not allow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Where.
    pub(crate) path: Vec<Step>,
    /// What is wrong with it.
    pub(crate) message: String,
    /// Whether it is a field the schema does not know, which need not hurt.
    pub(crate) unknown: bool,
}

/// Fills defaults into a value and lists what the schema does not allow. Messages quote values only if `quote` is set.
pub(crate) fn check(schema: &Schema, value: &mut Value, quote: bool) -> Vec<Violation> {
    let mut check = Check { path: Vec::new(), violations: Vec::new(), quote };
    check.value(schema, value);
    check.violations
}

impl Schema {
    /// The schema of a field, named or not.
    fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.additional_properties {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        })
    }

    /// Leaves a field to another check.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.properties.remove(name);
        self.required.retain(|required| required != name);
        self
    }
}

struct Check {
    path: Vec<Step>,
    violations: Vec<Violation>,
    quote: bool,
}

impl Check {
    fn report(&mut self, message: String) {
        self.violations.push(Violation { path: self.path.clone(), message, unknown: false });
    }

    fn within(&mut self, step: Step, check: impl FnOnce(&mut Self)) {
        self.path.push(step);
        check(self);
        self.path.pop();
    }

    fn value(&mut self, schema: &Schema, value: &mut Value) {
        if value.is_null() && schema.nullable {
            return;
        }
        if schema.r#type == Some(Type::Integer) {
            whole(value);
        }
        if let Some(expected) = mismatch(schema, value) {
            let found = self.describe(value);
            return self.report(format!("must be {expected}, not {found}"));
        }
        if !schema.choices.is_empty() && !schema.choices.contains(value) {
            let choices: Vec<_> = schema.choices.iter().map(Value::to_string).collect();
            let found = self.describe(value);
            self.report(format!("must be one of {}, not {found}", choices.join(", ")));
        }
        match value {
            Value::Object(fields) => self.object(schema, fields),
            Value::Array(items) => self.list(schema, items),
            Value::String(text) => self.text(schema, text),
            Value::Number(number) => self.number(schema, number),
            Value::Null | Value::Bool(_) => {}
        }
        for validation in schema.validations.iter().filter(|v| !rules::holds(&v.rule, value)) {
            let message = validation.message.as_ref().unwrap_or(&validation.rule);
            self.report(message.clone());
        }
    }

    fn object(&mut self, schema: &Schema, fields: &mut Map<String, Value>) {
        // A null where none is allowed counts as absent, before defaults apply.
        fields.retain(|name, value| {
            !value.is_null() || schema.field(name).is_none_or(|property| property.nullable)
        });
        for (name, property) in &schema.properties {
            if let Some(default) = &property.default
                && !fields.contains_key(name)
            {
                fields.insert(name.clone(), default.clone());
            }
        }
        for name in schema.required.iter().filter(|&name| !fields.contains_key(name)) {
            self.within(Step::field(name), |check| check.report("is required".to_owned()));
        }
        self.size("field", fields.len(), schema.min_properties, schema.max_properties);
        for (name, value) in fields.iter_mut() {
            self.within(Step::field(name), |check| match schema.field(name) {
                Some(property) => check.value(property, value),
                None => check.unknown(schema, name),
            });
        }
    }

    fn unknown(&mut self, parent: &Schema, name: &str) {
        if parent.preserve_unknown || matches!(parent.additional_properties, Some(Additional::Allowed(true)))
        {
            return;
        }
        let close = |known: &&String| {
            known.eq_ignore_ascii_case(name) || strsim::damerau_levenshtein(known.as_str(), name) <= 2
        };
        let message = match parent.properties.keys().find(close) {
            Some(meant) => format!("is not a known field; did you mean \"{meant}\"?"),
            None => "is not a known field".to_owned(),
        };
        self.violations.push(Violation { path: self.path.clone(), message, unknown: true });
    }

    fn list(&mut self, schema: &Schema, items: &mut [Value]) {
        self.size("item", items.len(), schema.min_items, schema.max_items);
        if let Some(item_schema) = &schema.items {
            for (index, item) in items.iter_mut().enumerate() {
                self.within(Step::Index(index), |check| check.value(item_schema, item));
            }
        }
        let identity = |item: &Value| match schema.list_type.as_deref() {
            Some("set") => Some(item.to_string()),
            Some("map") => {
                Some(schema.list_map_keys.iter().map(|key| item[key].clone()).collect::<Value>().to_string())
            }
            _ => None,
        };
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            if identity(item).is_some_and(|identity| !seen.insert(identity)) {
                self.within(Step::Index(index), |check| {
                    check.report("repeats an earlier item of the list".to_owned());
                });
            }
        }
    }

    fn text(&mut self, schema: &Schema, text: &mut String) {
        self.size("character", text.chars().count(), schema.min_length, schema.max_length);
        if let Some(Pattern(regex)) = &schema.pattern
            && !regex.is_match(text)
        {
            let found = self.describe(&Value::from(text.as_str()));
            self.report(format!("{found} does not match the pattern {regex}"));
        }
        if schema.format.as_deref() == Some("byte") {
            match bytes::canonical(text) {
                // The types of the API read less than the API server does.
                Ok(canonical) => *text = canonical,
                Err(message) => self.report(message.to_owned()),
            }
        }
    }

    fn number(&mut self, schema: &Schema, number: &serde_json::Number) {
        let Some(value) = number.as_f64() else { return };
        let (least, most) = match schema.format.as_deref() {
            Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
            _ => (None, None),
        };
        if let Some(minimum) = schema.minimum.or(least)
            && (value < minimum || schema.exclusive_minimum && value <= minimum)
        {
            let relation = if schema.exclusive_minimum { "greater than" } else { "at least" };
            self.report(format!("must be {relation} {minimum}, not {number}"));
        }
        if let Some(maximum) = schema.maximum.or(most)
            && (value > maximum || schema.exclusive_maximum && value >= maximum)
        {
            let relation = if schema.exclusive_maximum { "less than" } else { "at most" };
            self.report(format!("must be {relation} {maximum}, not {number}"));
        }
    }

    fn size(&mut self, what: &str, size: usize, minimum: Option<usize>, maximum: Option<usize>) {
        if let Some(minimum) = minimum.filter(|&minimum| size < minimum) {
            self.report(format!("must have at least {minimum} {what}{}, not {size}", plural(minimum)));
        }
        if let Some(maximum) = maximum.filter(|&maximum| size > maximum) {
            self.report(format!("must have at most {maximum} {what}{}, not {size}", plural(maximum)));
        }
    }

    fn describe(&self, value: &Value) -> String {
        match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) | Value::Number(_) if !self.quote => "another scalar".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => format!("the number {number}"),
            Value::String(_) if !self.quote => "the text given".to_owned(),
            Value::String(text) if text.chars().count() > 80 => {
                format!("{:?}…", text.chars().take(80).collect::<String>())
            }
            Value::String(text) => format!("{text:?}"),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Writes an integer that is written as a fraction (`1e3`, `80.0`) as an integer, up to where fractions are exact.
fn whole(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let fraction = if value.is_f64() { value.as_f64() } else { None };
    if let Some(number) = fraction.filter(|number| number.fract() == 0.0 && number.abs() <= EXACT)
        && let Ok(number) = format!("{number:.0}").parse::<i64>()
    {
        *value = number.into();
    }
}

/// What the value should be, if it is something else.
fn mismatch(schema: &Schema, value: &Value) -> Option<&'static str> {
    let whole =
        || value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0);
    if schema.int_or_string {
        return (!value.is_string() && !whole()).then_some("an integer or a text");
    }
    let (fits, expected) = match schema.r#type? {
        Type::Object => (value.is_object(), "an object"),
        Type::Array => (value.is_array(), "a list"),
        Type::String => (value.is_string(), "a text"),
        Type::Integer => (whole(), "an integer"),
        Type::Number => (value.is_number(), "a number"),
        Type::Boolean => (value.is_boolean(), "true or false"),
    };
    (!fits).then_some(expected)
}

#[cfg(test)]
impl Schema {
    /// Every CEL rule of the schema.
    pub(crate) fn all_rules(&self) -> Vec<&str> {
        let below = self.properties.values().chain(self.items.as_deref());
        let additional = match &self.additional_properties {
            Some(Additional::Schema(schema)) => Some(&**schema),
            _ => None,
        };
        let own = self.validations.iter().map(|v| v.rule.as_str());
        own.chain(below.chain(additional).flat_map(Self::all_rules)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(schema: Value, mut value: Value) -> Vec<String> {
        let schema: Schema = serde_json::from_value(schema).unwrap();
        check(&schema, &mut value, true)
            .into_iter()
            .map(|v| format!("{}: {}", Path(&v.path), v.message))
            .collect()
    }

    #[test]
    fn each_keyword_rejects_what_it_must_and_nothing_else() {
        let cases = [
            (json!({"type": "integer"}), json!(5.0), None),
            (json!({"type": "integer"}), json!("5"), Some("must be an integer, not \"5\"")),
            (json!({"type": "string", "nullable": true}), json!(null), None),
            (json!({"type": "string"}), json!(null), Some("must be a text, not null")),
            (
                json!({"x-kubernetes-int-or-string": true}),
                json!(true),
                Some("must be an integer or a text, not true"),
            ),
            (json!({"enum": ["a", "b"]}), json!("c"), Some("must be one of \"a\", \"b\", not \"c\"")),
            (json!({"pattern": r"^\d+$"}), json!("12"), None),
            (json!({"pattern": r"^\d+$"}), json!("١"), Some("\"١\" does not match the pattern ^[0-9]+$")),
            (json!({"pattern": r"^[^[\]&&~\s]+$"}), json!("a-b"), None),
            (
                json!({"pattern": r"^[^[\]&&~\s]+$"}),
                json!("a&"),
                Some("\"a&\" does not match the pattern ^[^\\[\\]\\&\\&\\~\\t\\n\\f\\r ]+$"),
            ),
            (json!({"maximum": 5, "exclusiveMaximum": true}), json!(5), Some("must be less than 5, not 5")),
            (json!({"minimum": 1}), json!(0), Some("must be at least 1, not 0")),
            (
                json!({"type": "integer", "format": "int32"}),
                json!(3_000_000_000_u32),
                Some("must be at most 2147483647, not 3000000000"),
            ),
            (json!({"minLength": 1}), json!(""), Some("must have at least 1 character, not 0")),
            (json!({"maxItems": 2}), json!([1, 2, 3]), Some("must have at most 2 items, not 3")),
            (json!({"format": "byte"}), json!("%"), Some("must be base64; plain text goes into stringData")),
        ];
        for (schema, value, expected) in cases {
            let found = problems(schema.clone(), value.clone());
            let expected: Vec<_> = expected.into_iter().map(|message| format!(": {message}")).collect();
            assert_eq!(found, expected, "{schema} {value}");
        }
    }

    #[test]
    fn objects_and_lists_name_the_place() {
        let schema = json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                     "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
        }});
        let value = json!({"nmae": "x", "free": {"any": 1}, "labels": {"a.b": 1}, "list": [{"k": "1"}, {"k": "1"}, {"K": "2"}]});
        assert_eq!(
            problems(schema, value),
            [
                "name: is required",
                "nmae: is not a known field; did you mean \"name\"?",
                "labels[\"a.b\"]: must be a text, not the number 1",
                "list[2].K: is not a known field; did you mean \"k\"?",
                "list[1]: repeats an earlier item of the list",
            ]
        );
    }

    #[test]
    fn defaults_are_filled_in_at_every_depth() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "object", "default": {}, "properties": {
            "b": {"type": "integer", "default": 3}, "c": {"type": "string"}}}}});
        let schema: Schema = serde_json::from_value(schema).unwrap();
        for (given, filled) in [
            (json!({}), json!({"a": {"b": 3}})),
            (json!({"a": {"b": null, "c": null}}), json!({"a": {"b": 3}})),
        ] {
            let mut value = given;
            assert!(check(&schema, &mut value, true).is_empty());
            assert_eq!(value, filled);
        }
    }

    #[test]
    fn values_are_not_quoted_where_they_may_be_secret() {
        let schema: Schema = serde_json::from_value(json!({"type": "integer"})).unwrap();
        let violations = check(&schema, &mut json!("hunter2"), false);
        assert_eq!(violations[0].message, "must be an integer, not the text given");
    }
}

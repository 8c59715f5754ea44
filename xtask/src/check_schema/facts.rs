//! A custom resource definition, taken apart into facts.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The keyword of the fact that there is a definition of that name.
pub(super) const DEFINED: &str = "defined";

/// What a fact is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The definition's name.
    pub(super) crd: String,
    /// Where in the definition: empty for the definition itself, `v1` for one of its versions, and
    /// `v1 .spec.routes[]` for a place in the schema of a version.
    pub(super) place: String,
    /// What is said there.
    pub(super) keyword: String,
}

/// The facts of several definitions.
#[derive(Debug, Default)]
pub(super) struct Facts(BTreeMap<Key, Value>);

/// The group of a definition, or the empty text if it has none.
pub(super) fn group(crd: &Value) -> &str {
    crd["spec"]["group"].as_str().unwrap_or_default()
}

impl Facts {
    /// Takes definitions apart.
    ///
    /// # Errors
    /// Fails if a value is not a definition, or if a part of it is not known here: what is not known
    /// cannot be compared.
    pub(super) fn of<'a>(crds: impl Iterator<Item = &'a Value>) -> Result<Self> {
        let mut facts = Self::default();
        for crd in crds {
            let name = crd["metadata"]["name"].as_str().context("a definition has no name")?;
            Walk { facts: &mut facts, crd: name }
                .definition(&crd["spec"])
                .with_context(|| format!("in the definition {name}"))?;
        }
        Ok(facts)
    }

    pub(super) fn defines(&self, crd: &str) -> bool {
        let key = Key { crd: crd.to_owned(), place: String::new(), keyword: DEFINED.to_owned() };
        self.0.contains_key(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.keys()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.0.get(key)
    }
}

/// The walk through one definition.
struct Walk<'a> {
    facts: &'a mut Facts,
    crd: &'a str,
}

impl Walk<'_> {
    fn state(&mut self, place: &str, keyword: &str, value: Value) {
        let key = Key { crd: self.crd.to_owned(), place: place.to_owned(), keyword: keyword.to_owned() };
        self.facts.0.insert(key, value);
    }

    fn definition(&mut self, spec: &Value) -> Result<()> {
        self.state("", DEFINED, json!(true));
        for (keyword, value) in object(spec, "spec")? {
            match keyword.as_str() {
                "names" => {
                    for (name, value) in object(value, "names")? {
                        self.state("", &format!("names.{name}"), value.clone());
                    }
                }
                "versions" => {
                    for version in value.as_array().context("`versions` is not a list")? {
                        self.version(version)?;
                    }
                }
                "group" | "scope" | "preserveUnknownFields" | "conversion" => {
                    self.state("", keyword, value.clone());
                }
                other => bail!("`spec.{other}` is not known here"),
            }
        }
        Ok(())
    }

    fn version(&mut self, version: &Value) -> Result<()> {
        let place = version["name"].as_str().context("a version has no name")?;
        for (keyword, value) in object(version, "version")? {
            match keyword.as_str() {
                "name" => {}
                "schema" => self.schema(&format!("{place} "), &value["openAPIV3Schema"])?,
                "additionalPrinterColumns" => {
                    self.state(place, keyword, without_descriptions(value));
                }
                _ => self.state(place, keyword, value.clone()),
            }
        }
        Ok(())
    }

    /// Every keyword of a schema is a fact, but its description. Sub-schemas have places of their own.
    fn schema(&mut self, place: &str, schema: &Value) -> Result<()> {
        for (keyword, value) in object(schema, place)? {
            match keyword.as_str() {
                "description" => {}
                "properties" => {
                    for (name, property) in object(value, place)? {
                        self.schema(&format!("{place}.{name}"), property)?;
                    }
                }
                "items" => self.schema(&format!("{place}[]"), value)?,
                "additionalProperties" => self.schema(&format!("{place}{{}}"), value)?,
                // Their order means nothing.
                "required" | "enum" => self.state(place, keyword, sorted(value)),
                _ => self.state(place, keyword, number_as_float(value)),
            }
        }
        Ok(())
    }
}

fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>> {
    value.as_object().with_context(|| format!("`{}` is not an object", place.trim()))
}

fn without_descriptions(columns: &Value) -> Value {
    let mut columns = columns.clone();
    for column in columns.as_array_mut().into_iter().flatten() {
        if let Some(column) = column.as_object_mut() {
            column.remove("description");
        }
    }
    columns
}

fn sorted(list: &Value) -> Value {
    let mut list = list.clone();
    if let Some(values) = list.as_array_mut() {
        values.sort_by_key(Value::to_string);
    }
    list
}

/// Limits are floating-point numbers in one serialisation and integers in another.
fn number_as_float(value: &Value) -> Value {
    value.as_f64().map_or_else(|| value.clone(), |number| json!(number))
}

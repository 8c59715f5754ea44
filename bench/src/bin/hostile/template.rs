//! The small language of a step: plain YAML in which texts may name variables and a few generators make what is long.
//!
//! | written | becomes |
//! |---|---|
//! | `${i}`, `${i+1}`, `${i/250}`, `${i%250}` in a text | the variable, or one sum, quotient or remainder of it |
//! | `$text: {of: ab, times: 3}` | `ababab` |
//! | `$join: [a, b]` | the texts one after another |
//! | `$list: {of: VALUE, times: 3}` | three values, in which `${j}` counts |
//! | `$map: {key: "k${j}", value: VALUE, times: 3}` | three entries |
//! | `$number: "${port}"` | a number |
//! | `$file: NAME` | the text of a file in `certificates` |
//!
//! It is data: there are no conditions, and everything is bounded.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};

/// The most that one generator makes: entries, or bytes of a text. More than kube-apiserver takes.
const MOST: usize = 4_000_000;

/// What a text may name, and where files are.
#[derive(Clone, Debug)]
pub(crate) struct Scope<'a> {
    variables: BTreeMap<&'static str, String>,
    files: &'a Path,
}

impl<'a> Scope<'a> {
    /// A scope without variables.
    pub(crate) fn new(files: &'a Path) -> Self {
        Self { variables: BTreeMap::new(), files }
    }

    /// With this variable besides, or instead of the one of this name.
    #[must_use]
    pub(crate) fn with(&self, name: &'static str, value: impl Into<String>) -> Self {
        let mut scope = self.clone();
        scope.variables.insert(name, value.into());
        scope
    }

    /// What a value of a step becomes.
    pub(crate) fn expand(&self, value: &Value) -> Result<Value> {
        match value {
            Value::String(text) => Ok(Value::String(self.text(text)?)),
            Value::Array(items) => items.iter().map(|item| self.expand(item)).collect(),
            Value::Object(fields) => match fields.iter().next() {
                Some((name, argument))
                    if fields.len() == 1 && name.starts_with('$') && !name.starts_with("${") =>
                {
                    self.generate(name, argument).with_context(|| name.clone())
                }
                _ => {
                    let entry =
                        |(name, value): (&String, &Value)| Ok((self.text(name)?, self.expand(value)?));
                    Ok(Value::Object(fields.iter().map(entry).collect::<Result<_>>()?))
                }
            },
            plain => Ok(plain.clone()),
        }
    }

    fn generate(&self, name: &str, argument: &Value) -> Result<Value> {
        match name {
            "$text" => {
                let of = self.string(&argument["of"])?;
                let times = self.times(argument)?;
                ensure!(of.len().saturating_mul(times) <= MOST, "longer than {MOST} bytes");
                Ok(Value::String(of.repeat(times)))
            }
            "$join" => {
                let parts = argument.as_array().context("it takes a list of texts")?;
                let parts: Vec<String> = parts.iter().map(|part| self.string(part)).collect::<Result<_>>()?;
                Ok(Value::String(parts.concat()))
            }
            "$list" => {
                let one = |j: usize| self.with("j", j.to_string()).expand(&argument["of"]);
                Ok(Value::Array((0..self.times(argument)?).map(one).collect::<Result<_>>()?))
            }
            "$map" => {
                let one = |j: usize| {
                    let scope = self.with("j", j.to_string());
                    Ok((scope.string(&argument["key"])?, scope.expand(&argument["value"])?))
                };
                Ok(Value::Object((0..self.times(argument)?).map(one).collect::<Result<Map<_, _>>>()?))
            }
            "$number" => Ok(self.string(argument)?.parse::<i64>().context("it is no number")?.into()),
            "$file" => {
                let name = self.string(argument)?;
                ensure!(!name.contains('/'), "files lie in one directory");
                let path = self.files.join(name);
                let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                Ok(Value::String(text))
            }
            _ => bail!("there is no such generator"),
        }
    }

    fn times(&self, argument: &Value) -> Result<usize> {
        let times = self.expand(&argument["times"])?.as_u64().context("it takes `of` and `times`")?;
        let times = usize::try_from(times)?;
        ensure!(times <= MOST, "more than {MOST}");
        Ok(times)
    }

    fn string(&self, value: &Value) -> Result<String> {
        match self.expand(value)? {
            Value::String(text) => Ok(text),
            other => bail!("{other} is not a text"),
        }
    }

    /// A text with its variables filled in.
    pub(crate) fn text(&self, text: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) =
                after.split_once('}').with_context(|| format!("{text}: a \"${{\" without end"))?;
            filled += before;
            filled += &self.variable(name)?;
            rest = after;
        }
        Ok(filled + rest)
    }

    fn variable(&self, expression: &str) -> Result<String> {
        let known = |name: &str| {
            let known = || self.variables.keys().copied().collect::<Vec<_>>().join(", ");
            self.variables
                .get(name)
                .with_context(|| format!("there is no variable {name}; there are {}", known()))
        };
        let Some(at) = expression.find(['+', '/', '%']) else { return known(expression).cloned() };
        let (name, rest) = expression.split_at(at);
        let (operator, number) = rest.split_at(1);
        let (left, right): (u64, u64) = (known(name)?.parse()?, number.parse()?);
        let result = match operator {
            "+" => left.checked_add(right),
            "/" => left.checked_div(right),
            _ => left.checked_rem(right),
        };
        Ok(result.with_context(|| format!("{expression} has no value"))?.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expand(value: &Value) -> Result<Value> {
        Scope::new(Path::new("nowhere")).with("i", "503").with("port", "8080").expand(value)
    }

    #[test]
    fn variables_and_generators() {
        let step = json!({
            "name": "a-${i}",
            "ip": "10.0.${i/250}.${i%250}",
            "port": {"$number": "${port}"},
            "long": {"$join": ["/", {"$text": {"of": "ab", "times": 3}}]},
            "routes": {"$list": {"times": 2, "of": {"at": "/${i}/${j+1}"}}},
            "labels": {"$map": {"times": 2, "key": "k${j}", "value": "v"}},
            "regex": "^/a$",
            "number": 7,
        });
        let expected = json!({
            "name": "a-503",
            "ip": "10.0.2.3",
            "port": 8080,
            "long": "/ababab",
            "routes": [{"at": "/503/1"}, {"at": "/503/2"}],
            "labels": {"k0": "v", "k1": "v"},
            "regex": "^/a$",
            "number": 7,
        });
        assert_eq!(expand(&step).unwrap(), expected);
    }

    #[test]
    fn mistakes_are_told() {
        for (step, expected) in [
            (json!("${k}"), "there is no variable k; there are i, port"),
            (json!("${i"), "${i: a \"${\" without end"),
            (json!("${i/0}"), "i/0 has no value"),
            (json!({"$shell": "id"}), "$shell: there is no such generator"),
            (json!({"$file": "../key"}), "$file: files lie in one directory"),
            (json!({"$text": {"of": "abc", "times": 2_000_000}}), "$text: longer than 4000000 bytes"),
            (json!({"$list": {"of": 1, "times": 5_000_000}}), "$list: more than 4000000"),
            (json!({"$number": "x"}), "$number: it is no number: invalid digit found in string"),
        ] {
            assert_eq!(format!("{:#}", expand(&step).unwrap_err()), expected);
        }
    }
}

//! YAML as a tree that knows its lines.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, Spanned};

use crate::schema::Step;

/// Nothing of Kubernetes nests deeper; a bound on the stack a hostile file can take (about 20 KiB per level in a debug build).
const DEEPEST: usize = 40;

/// The most values (keys, texts, numbers, lists, maps) of a file, those that aliases stand for included. 64 MiB, the most a file may
/// have, of what `kubectl get -o yaml` writes hold about 4,000,000.
const MOST_VALUES: usize = 8_000_000;
/// The most of them that aliases may stand for: an alias is a few bytes in the file and any number of values in memory.
const MOST_REPEATED: usize = 1_000_000;
/// The most text of a file, in bytes, that of aliases included: twice the largest file.
const MOST_TEXT: usize = 128 << 20;

/// A value and the line it starts in.
#[derive(Debug)]
pub(crate) struct Node {
    /// The line, from 1.
    pub(crate) line: u32,
    tree: Tree,
}

#[derive(Debug)]
enum Tree {
    Scalar(Value),
    List(Vec<Node>),
    /// Key, the key's line, value.
    Map(Vec<(String, u32, Node)>),
}

/// Why a file is not YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// The line, from 1; 0 if unknown.
    pub(crate) line: u32,
    /// What the parser says.
    pub(crate) message: String,
}

/// Reads all documents of a file, handing over one after the other; empty ones are left out. JSON is YAML too.
pub(crate) fn parse<C: Default + Extend<Node>>(text: &str) -> Result<C, SyntaxError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            max_nodes: MOST_VALUES,
            max_total_scalar_bytes: MOST_TEXT,
            max_recorded_anchor_events: MOST_REPEATED,
            // All else is bounded by the size of a file, and by these.
            max_events: usize::MAX,
            max_documents: usize::MAX,
            max_aliases: usize::MAX,
            max_anchors: usize::MAX,
            max_merge_keys: usize::MAX,
            max_total_comment_bytes: usize::MAX,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MOST_REPEATED,
            max_alias_expansions_per_anchor: usize::MAX,
        },
        with_snippet: false,
        legacy_octal_numbers: true,
    };
    serde_saphyr::from_str_multiple_with_options(text, options).map_err(|error| SyntaxError {
        line: error.location().map_or(0, |l| line_of(l.line())),
        // The parser quotes keys, aliases and escapes, and what it is about may be a Secret.
        message: contour_objects::redacted(&explain(&error)),
    })
}

/// What is wrong: for a limit, which one and what to do; else as the parser says it.
fn explain(error: &Error) -> String {
    let values = MOST_VALUES / 1_000_000;
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => explain(error),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            format!("nests deeper than {DEEPEST} levels, which nothing of Kubernetes does")
        }
        Error::Budget { breach: BudgetBreach::Nodes { .. }, .. } => format!(
            "has more than {values} million values, with those that its aliases (`*name`) stand for: split it into several files"
        ),
        Error::Budget { breach: BudgetBreach::ScalarBytes { .. }, .. } => format!(
            "has more than {} MiB of text, with that its aliases (`*name`) stand for: split it into several files",
            MOST_TEXT >> 20
        ),
        Error::Budget {
            breach: BudgetBreach::RecordedAnchorEvents { .. } | BudgetBreach::RecordedAnchorBytes { .. },
            ..
        }
        | Error::AliasReplayLimitExceeded { .. } => {
            "has aliases (`*name`) that stand for more than a million values: write out what they stand for, or split the file".to_owned()
        }
        other => format!("is not valid YAML: {}", other.without_snippet()),
    }
}

fn line_of(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

impl Node {
    /// The value without lines.
    pub(crate) fn to_json(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Tree::Map(entries) => {
                let fields: Map<_, _> =
                    entries.iter().map(|(key, _, node)| (key.clone(), node.to_json())).collect();
                Value::Object(fields)
            }
        }
    }

    /// The field of this name.
    pub(crate) fn get(&self, field: &str) -> Option<&Self> {
        let Tree::Map(entries) = &self.tree else { return None };
        entries.iter().find(|(key, ..)| key == field).map(|(_, _, node)| node)
    }

    /// The text of a field, if it is a text.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        match &self.get(field)?.tree {
            Tree::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The items of a field that is a list.
    pub(crate) fn list(&self, field: &str) -> Option<&[Self]> {
        match &self.get(field)?.tree {
            Tree::List(items) => Some(items),
            _ => None,
        }
    }

    /// Whether a field is there and null.
    pub(crate) fn is_null(&self, field: &str) -> bool {
        self.get(field).is_some_and(|node| matches!(node.tree, Tree::Scalar(Value::Null)))
    }

    /// The line of what a path leads to, or of the last thing on the way that exists.
    pub(crate) fn line_at(&self, path: &[Step]) -> u32 {
        let (mut node, mut line) = (self, self.line);
        for step in path {
            let next = match (&node.tree, step) {
                (Tree::Map(entries), Step::Field(field)) => {
                    entries.iter().find(|(key, ..)| key == field).map(|e| (e.1, &e.2))
                }
                (Tree::List(items), Step::Index(index)) => items.get(*index).map(|item| (item.line, item)),
                _ => None,
            };
            let Some(next) = next else { break };
            (line, node) = next;
        }
        line
    }
}

impl From<&Value> for Node {
    /// A tree that was never text: it has no lines.
    fn from(value: &Value) -> Self {
        let tree = match value {
            Value::Array(items) => Tree::List(items.iter().map(Self::from).collect()),
            Value::Object(fields) => {
                Tree::Map(fields.iter().map(|(key, value)| (key.clone(), 0, Self::from(value))).collect())
            }
            scalar => Tree::Scalar(scalar.clone()),
        };
        Self { line: 0, tree }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self { line: line_of(referenced.line()), tree: value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Tree::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = access.next_entry::<Spanned<String>, Node>()? {
            entries.push((key.value, line_of(key.referenced.line()), node));
        }
        Ok(Tree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
        super::parse(text)
    }

    #[test]
    fn several_documents_keep_the_lines_of_the_file() {
        let text = "# comment\n---\na: 1\n---\n# another\n\nb:\n  c: [x, yes, 0x10, 1.5, null]\n---\n";
        let documents = parse(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!((documents[0].line, documents[1].line), (3, 7));
        assert_eq!(documents[1].to_json(), json!({"b": {"c": ["x", true, 16, 1.5, null]}}));
        assert_eq!(documents[1].line_at(&[Step::field("b"), Step::field("c"), Step::Index(2)]), 8);
        assert_eq!(documents[1].line_at(&[Step::field("b"), Step::field("missing")]), 7);
    }

    #[test]
    fn json_is_read_whatever_its_white_space() {
        let documents = parse("{\n\t\"a\": {\"b\": [1,\n\t\t2]}\n}\n").unwrap();
        assert_eq!(documents[0].to_json(), json!({"a": {"b": [1, 2]}}));
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let documents = parse("base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3\n").unwrap();
        assert_eq!(documents[0].to_json()["other"], json!({"y": 3, "x": 1}));
    }

    #[test]
    fn syntax_errors_name_the_line() {
        for (text, line) in
            [("a: 1\nb: [\nc: 2\n", 2), ("a: 1\na: 2\n", 2), ("a: 1\n  b: 2\n", 2), ("a: 'x\n", 0)]
        {
            let error = parse(text).unwrap_err();
            assert!(line == 0 || error.line == line, "{text:?}: {error:?}");
            assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
            assert!(parse(&text).is_err());
        }
        let message =
            parse(&format!("{}{}", "[".repeat(DEEPEST + 2), "]".repeat(DEEPEST + 2))).unwrap_err().message;
        assert!(message.contains("nests deeper than 40 levels"), "{message}");
    }

    #[test]
    fn what_tools_write_is_not_bounded_by_counts() {
        // More documents, uses of an anchor, values and comments than the parser takes by default.
        let documents = "---\n# Source: x\na: 1\n".repeat(1_100);
        assert_eq!(parse(&documents).unwrap().len(), 1_100);
        let anchors = format!("labels: &l {{app: web}}\nall:\n{}", "- *l\n- {<<: *l}\n".repeat(500));
        assert_eq!(parse(&anchors).unwrap()[0].list("all").unwrap().len(), 1_000);
        let values = format!("all:\n{}", "- a\n".repeat(260_000));
        assert_eq!(parse(&values).unwrap()[0].list("all").unwrap().len(), 260_000);
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        use std::fmt::Write;
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            writeln!(text, "a{n}: &a{n} [{aliases}]").unwrap();
        }
        let message = parse(&text).unwrap_err().message;
        assert!(message.contains("a million values") && message.contains("split"), "{message}");
        // One text, again and again: few values, many bytes.
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(130));
        let message = parse(&text).unwrap_err().message;
        assert!(message.contains("128 MiB of text"), "{message}");
    }
}

//! The validation rules that our custom resource definitions carry in CEL, as functions.
//!
//! There are few, so an interpreter of the language would be most of this crate. A test holds this table to the schemas.

use serde_json::Value;

/// Whether the value keeps the rule. A rule this table does not know is kept.
pub(crate) fn holds(rule: &str, value: &Value) -> bool {
    find(rule).is_none_or(|check| check(value))
}

fn find(rule: &str) -> Option<fn(&Value) -> bool> {
    let rule: String = rule.split_whitespace().collect::<Vec<_>>().join(" ");
    match rule.as_str() {
        "has(self.subjectNames) ? self.subjectNames[0] == self.subjectName : true" => {
            Some(first_subject_name)
        }
        "self.http != self.https && self.http != self.metrics && self.http != self.admin && self.https != self.metrics && self.https != self.admin && self.metrics != self.admin" => {
            Some(four_different_ports)
        }
        _ => None,
    }
}

fn four_different_ports(value: &Value) -> bool {
    let ports: Vec<_> = ["http", "https", "metrics", "admin"].iter().map(|port| value.get(port)).collect();
    (1..ports.len()).all(|n| !ports[..n].contains(&ports[n]))
}

/// An empty list has no first item, which CEL takes for an error, and the API server for a violation.
fn first_subject_name(value: &Value) -> bool {
    value
        .get("subjectNames")
        .is_none_or(|names| names.get(0).is_some_and(|first| Some(first) == value.get("subjectName")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::document::tests::custom_schemas;

    #[test]
    fn every_rule_of_the_schemas_is_known() {
        for (kind, schema) in custom_schemas() {
            for rule in schema.all_rules() {
                assert!(find(rule).is_some(), "{kind} has a rule that is missing here: {rule}");
            }
        }
    }

    #[test]
    fn ports_differ() {
        assert!(four_different_ports(&json!({"http": 1, "https": 2, "metrics": 3, "admin": 4})));
        assert!(!four_different_ports(&json!({"http": 1, "https": 2, "metrics": 3, "admin": 2})));
    }

    #[test]
    fn the_first_subject_name_is_the_subject_name() {
        assert!(first_subject_name(&json!({"subjectName": "a"})));
        assert!(first_subject_name(&json!({"subjectName": "a", "subjectNames": ["a", "b"]})));
        assert!(!first_subject_name(&json!({"subjectName": "a", "subjectNames": ["b", "a"]})));
        assert!(!first_subject_name(&json!({"subjectName": "a", "subjectNames": []})));
    }
}

//! The validation rules that our custom resource definitions carry in CEL, as functions.
//!
//! There are few, so an interpreter of the language would be most of this crate. A test holds the tables to the schemas.

mod deployment;

use serde_json::Value;

/// Whether a value keeps one rule.
type Check = fn(&Value) -> bool;

/// Whether the value keeps the rule. A rule this table does not know is kept.
pub(crate) fn holds(rule: &str, value: &Value) -> bool {
    find(rule).is_none_or(|check| check(value))
}

fn find(rule: &str) -> Option<Check> {
    let rule: String = rule.split_whitespace().collect::<Vec<_>>().join(" ");
    if rule == "has(self.subjectNames) ? self.subjectNames[0] == self.subjectName : true" {
        return Some(first_subject_name);
    }
    deployment::RULES.iter().find(|(known, _)| *known == rule).map(|(_, check)| *check)
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
    fn the_first_subject_name_is_the_subject_name() {
        assert!(first_subject_name(&json!({"subjectName": "a"})));
        assert!(first_subject_name(&json!({"subjectName": "a", "subjectNames": ["a", "b"]})));
        assert!(!first_subject_name(&json!({"subjectName": "a", "subjectNames": ["b", "a"]})));
        assert!(!first_subject_name(&json!({"subjectName": "a", "subjectNames": []})));
    }
}

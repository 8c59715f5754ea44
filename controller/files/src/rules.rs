//! The validation rules that our custom resource definitions carry in CEL, as functions.
//!
//! There are few, so an interpreter of the language would be most of this crate. A test holds this table to the schemas.

use std::time::Duration;

use contour_graph::parse_duration;
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
        "!has(self.lifetime) || duration(self.lifetime) >= duration('1h')" => Some(an_hour_of_life),
        "!has(self.caLifetime) || duration(self.caLifetime) >= duration(has(self.lifetime) ? self.lifetime : '8760h')" => {
            Some(outlived_by_its_authority)
        }
        _ => None,
    }
}

fn four_different_ports(value: &Value) -> bool {
    let ports: Vec<_> = ["http", "https", "metrics", "admin"].iter().map(|port| value.get(port)).collect();
    (1..ports.len()).all(|n| !ports[..n].contains(&ports[n]))
}

/// A lifetime, or what it is without the field. A text that is no duration is an error of CEL, and keeps no rule.
fn lifetime(value: &Value, field: &str, hours: u64) -> Option<Duration> {
    value.get(field).map_or(Some(Duration::from_hours(hours)), |text| parse_duration(text.as_str()?).ok())
}

fn an_hour_of_life(value: &Value) -> bool {
    lifetime(value, "lifetime", 8760).is_some_and(|lifetime| lifetime >= Duration::from_hours(1))
}

fn outlived_by_its_authority(value: &Value) -> bool {
    let leaf = lifetime(value, "lifetime", 8760);
    value.get("caLifetime").is_none()
        || leaf.zip(lifetime(value, "caLifetime", 87600)).is_some_and(|(leaf, ca)| ca >= leaf)
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
    fn certificates_live_long_enough() {
        for (settings, kept) in [
            (json!({}), true),
            (json!({"lifetime": "59m"}), false),
            (json!({"lifetime": "9000h"}), true),
            (json!({"caLifetime": "8759h"}), false),
            (json!({"lifetime": "2h", "caLifetime": "2h"}), true),
            (json!({"lifetime": "3h", "caLifetime": "2h"}), false),
        ] {
            assert_eq!(
                an_hour_of_life(&settings) && outlived_by_its_authority(&settings),
                kept,
                "{settings}"
            );
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

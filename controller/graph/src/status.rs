//! What is told to the owner of an HTTPProxy.
//!
//! The stages below collect [`Issue`]s; a [`ProxyStatus`] is what one object's owner reads: Contour's `Valid` condition with its errors and
//! warnings (reference 1.12), `currentStatus` and `description`.

use std::fmt;

use contour_crds::HTTPProxyStatus;
use contour_crds::status::{ConditionStatus, DetailedCondition, SubCondition};
use contour_objects::{HOST_OWNER, NamespacedName};

use crate::build::{add_issue, more_issues};

/// Longest message the API server takes in a condition, in bytes, as Contour cuts it.
const LONGEST_MESSAGE: usize = 32_760;

/// The most bytes of all errors' messages together, and of all warnings': the object has to fit into etcd with both.
const MOST_BYTES: usize = LONGEST_MESSAGE;

/// One error or warning: the type and reason are Contour's identifiers, the message is for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Issue {
    /// Condition type, for example `RouteError`.
    pub kind: &'static str,
    /// Reason, for example `TimeoutPolicyNotValid`.
    pub reason: &'static str,
    /// What is wrong, with the value and the way out.
    pub message: String,
}

impl Issue {
    /// An issue with this type, reason and message.
    pub fn new(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, reason, message: message.into() }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {}", self.kind, self.reason, self.message)
    }
}

/// `status.currentStatus`, without `NotReconciled`, which only the CRD's default writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `valid`
    Valid,
    /// `invalid`
    Invalid,
    /// `orphaned`
    Orphaned,
}

impl State {
    /// As written into `status.currentStatus`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Orphaned => "orphaned",
        }
    }
}

/// The status of one HTTPProxy, as the last build saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyStatus {
    /// The HTTPProxy.
    pub object: NamespacedName,
    /// The generation the build read.
    pub generation: i64,
    /// Why it does not serve, or not all of it.
    pub errors: Vec<Issue>,
    /// What is ignored.
    pub warnings: Vec<Issue>,
    /// The host that it has, to be recorded where hosts have one owner.
    pub holds: Option<String>,
}

impl ProxyStatus {
    /// Adds an error that is not there yet, as long as there is room.
    pub fn add_error(&mut self, error: Issue) {
        add_issue(&mut self.errors, error);
    }

    /// Adds a warning that is not the graph's.
    pub fn add_warning(&mut self, warning: Issue) {
        add_issue(&mut self.warnings, warning);
    }

    /// The summary of errors.
    pub fn state(&self) -> State {
        match self.errors.as_slice() {
            [] => State::Valid,
            errors if errors.iter().any(|e| e.kind == "Orphaned") => State::Orphaned,
            _ => State::Invalid,
        }
    }

    /// `status.description`: the condition's message, or the orphan's.
    pub fn description(&self) -> &str {
        match self.errors.iter().find(|e| e.kind == "Orphaned") {
            Some(orphan) => &orphan.message,
            None if self.errors.is_empty() => "Valid HTTPProxy",
            None => "At least one error present, see Errors for details",
        }
    }

    /// The status to write over `existing`, or `None` where it already says this (transition times aside) or is newer.
    /// Conditions of other types, and the load balancer's addresses, are left alone. `now` is RFC 3339, in seconds.
    pub fn merge(&self, existing: &HTTPProxyStatus, now: &str) -> Option<HTTPProxyStatus> {
        let mut merged = existing.clone();
        let mut valid = self.condition();
        let found = merged.conditions.iter_mut().find(|c| c.type_ == "Valid");
        if found.as_ref().is_some_and(|c| c.observed_generation > self.generation) {
            return None;
        }
        valid.last_transition_time = match &found {
            Some(old) if old.status == valid.status => old.last_transition_time.clone(),
            _ => now.to_owned(),
        };
        match found {
            Some(old) => *old = valid,
            None => merged.conditions.push(valid),
        }
        self.record_holder(&mut merged.conditions, now);
        merged.current_status = Some(self.state().as_str().to_owned());
        merged.description = Some(self.description().to_owned());
        (merged != *existing).then_some(merged)
    }

    /// Records the host that the object has, and since when; who has none any more loses the record.
    fn record_holder(&self, conditions: &mut Vec<DetailedCondition>, now: &str) {
        let Some(holds) = &self.holds else {
            conditions.retain(|condition| condition.type_ != HOST_OWNER);
            return;
        };
        let record = match conditions.iter_mut().find(|condition| condition.type_ == HOST_OWNER) {
            Some(record) => record,
            None => conditions.push_mut(DetailedCondition::default()),
        };
        let same = record.status == ConditionStatus::True && record.message == *holds;
        *record = DetailedCondition {
            type_: HOST_OWNER.to_owned(),
            status: ConditionStatus::True,
            reason: "Held".to_owned(),
            message: holds.clone(),
            observed_generation: self.generation,
            last_transition_time: if same { record.last_transition_time.clone() } else { now.to_owned() },
            ..DetailedCondition::default()
        };
    }

    fn condition(&self) -> DetailedCondition {
        let valid = self.errors.is_empty();
        let message =
            if valid { "Valid HTTPProxy" } else { "At least one error present, see Errors for details" };
        DetailedCondition {
            type_: "Valid".to_owned(),
            status: if valid { ConditionStatus::True } else { ConditionStatus::False },
            reason: if valid { "Valid" } else { "ErrorPresent" }.to_owned(),
            message: message.to_owned(),
            observed_generation: self.generation,
            last_transition_time: String::new(),
            errors: sub_conditions(&self.errors),
            warnings: sub_conditions(&self.warnings),
        }
    }
}

/// As many issues as there is room for; the last one then says that there are more.
fn sub_conditions(issues: &[Issue]) -> Vec<SubCondition> {
    let (mut listed, mut room) = (Vec::new(), MOST_BYTES);
    for issue in issues {
        let condition = sub_condition(issue);
        let Some(rest) = room.checked_sub(condition.message.len()) else {
            listed.push(sub_condition(&more_issues(issue.kind)));
            break;
        };
        room = rest;
        listed.push(condition);
    }
    listed
}

fn sub_condition(issue: &Issue) -> SubCondition {
    let mut message = issue.message.clone();
    if message.len() > LONGEST_MESSAGE {
        let cut = (0..=LONGEST_MESSAGE).rev().find(|&i| message.is_char_boundary(i)).unwrap_or(0);
        message.truncate(cut);
    }
    SubCondition {
        type_: issue.kind.to_owned(),
        status: ConditionStatus::True,
        reason: issue.reason.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_fits_into_etcd_whatever_is_said() {
        let issue = |i: usize| Issue::new("RouteError", "Odd", format!("{i}{}", "ü".repeat(20_000)));
        let status = ProxyStatus {
            object: NamespacedName::new("team", "www"),
            generation: 1,
            errors: (0..64).map(issue).collect(),
            warnings: (0..64).map(issue).collect(),
            holds: None,
        };
        let written = status.merge(&HTTPProxyStatus::default(), "2026-01-01T00:00:00Z").unwrap();
        let bytes = serde_json::to_string(&written).unwrap().len();
        assert!(bytes < 128 * 1024, "{bytes} bytes");
        let errors = &written.conditions[0].errors;
        let reasons: Vec<_> = errors.iter().map(|error| error.reason.as_str()).collect();
        assert_eq!(reasons, ["Odd", "MoreIssues"]);
    }

    #[test]
    fn what_fits_is_told_in_full() {
        let status = ProxyStatus {
            object: NamespacedName::new("team", "www"),
            generation: 1,
            errors: (0..60)
                .map(|i| Issue::new("RouteError", "Odd", format!("{i}{}", "x".repeat(500))))
                .collect(),
            warnings: Vec::new(),
            holds: None,
        };
        let written = status.merge(&HTTPProxyStatus::default(), "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(written.conditions[0].errors.len(), 60);
    }
}

//! Events: what a person should know of a `ContourDeployment`, told when its status changes.

use std::collections::BTreeSet;

use contour_crds::ContourDeploymentStatus;
use contour_crds::status::ConditionStatus;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::live::Stranger;
use crate::names::{FIELD_MANAGER, OWNER_NAME, OWNER_NAMESPACE};
use crate::status::{DELETING, PAUSED, condition, cut, find};

/// Most bytes of an Event's note that the API server takes.
const NOTE: usize = 1024;

/// How many objects with our labels that are not ours are named for one `ContourDeployment`, as long as the process lives: anyone can make
/// more of them.
const STRANGERS: usize = 64;

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Whether someone should look.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub note: String,
    /// Which other object it is about. What tells of another object is another Event.
    pub related: Option<ObjectReference>,
}

impl Notice {
    /// Good or neutral news.
    pub fn normal(reason: impl Into<String>, note: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), note: note.into(), related: None }
    }

    /// Something that someone should look at.
    pub fn warning(reason: impl Into<String>, note: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.into(), note: note.into(), related: None }
    }
}

/// What changed from one status to the next that a person should know.
pub fn notices(before: &ContourDeploymentStatus, now: &ContourDeploymentStatus) -> Vec<Notice> {
    let mut notices = Vec::new();
    for condition in &now.conditions {
        let held = |status: &ContourDeploymentStatus| {
            find(status, &condition.type_).map(|c| (c.status == ConditionStatus::True, c.reason.clone()))
        };
        let (was, is) = (held(before), condition.status == ConditionStatus::True);
        let changed = was.as_ref().is_none_or(|(held, _)| *held != is);
        let other_reason = was.as_ref().is_none_or(|(_, reason)| *reason != condition.reason);
        let (reason, note) = (&condition.reason, &condition.message);
        let notice = match (condition.type_.as_str(), is) {
            (condition::DEGRADED, true) if changed || other_reason => Notice::warning(reason, note),
            (condition::DEGRADED, false) if changed && was.is_some() => {
                Notice::normal("Recovered", "nothing needs help any more")
            }
            (condition::AVAILABLE, true) if changed => Notice::normal("Available", note),
            (condition::AVAILABLE, false) if changed && was.is_some() && reason != DELETING => {
                Notice::warning(reason, note)
            }
            (condition::PROGRESSING, true) if changed || other_reason => Notice::normal(reason, note),
            (condition::PROGRESSING, false) if changed && reason == "Complete" => {
                Notice::normal(reason, note)
            }
            (condition::PROGRESSING, false) if other_reason && reason == PAUSED => {
                Notice::normal(reason, note)
            }
            (condition::CERTIFICATES_READY, false) if changed && was.is_some() => {
                Notice::warning(reason, note)
            }
            (condition::CERTIFICATES_READY, true) if other_reason => {
                Notice::normal(format!("Certificates{reason}"), note)
            }
            _ => continue,
        };
        notices.push(notice);
    }
    notices
}

/// Tells of objects that have our labels and are not ours, each once. `named` are those that were told before.
pub fn strangers(found: &[Stranger], named: &mut BTreeSet<String>) -> Vec<Notice> {
    let mut notices = Vec::new();
    for stranger in found {
        if named.len() >= STRANGERS || !named.insert(stranger.to_string()) {
            continue;
        }
        let last = if named.len() == STRANGERS { "; more such objects are not named" } else { "" };
        let note = format!(
            "{stranger} has the labels of a child and {}: it counts for nothing and is left as it is; take {OWNER_NAME} and \
             {OWNER_NAMESPACE} off it{last}",
            stranger.why
        );
        notices.push(Notice { related: Some(stranger.reference()), ..Notice::warning("NotAChild", note) });
    }
    notices
}

/// Writes Events.
#[derive(Clone)]
pub struct Teller {
    recorder: Recorder,
}

impl Teller {
    /// Writes them in the name of this process: `identity` tells which one.
    pub fn new(client: Client, identity: String) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(cut(identity, 128)) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells of an object. That it cannot be told is logged, and keeps nothing from going on.
    pub async fn tell(&self, about: &ObjectReference, notices: Vec<Notice>) {
        for notice in notices {
            let event = Event {
                type_: if notice.warning { EventType::Warning } else { EventType::Normal },
                reason: cut(notice.reason, 128),
                note: Some(cut(notice.note, NOTE)),
                action: "Reconcile".to_owned(),
                secondary: notice.related,
            };
            if let Err(error) = self.recorder.publish(&event, about).await {
                let reason = event.reason;
                tracing::warn!(reason, "no Event could be written: {:#}", anyhow::Error::from(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::problem::Problem;
    use crate::reconcile::rollout::Because;
    use crate::status::{Report, status};

    fn told(reports: &[Report]) -> Vec<String> {
        let mut last = ContourDeploymentStatus::default();
        let mut told = Vec::new();
        for report in reports {
            let next = status(&last, 1, report, Timestamp::UNIX_EPOCH);
            told = notices(&last, &next)
                .into_iter()
                .map(|notice| format!("{}{}", if notice.warning { "!" } else { "" }, notice.reason))
                .collect();
            last = next;
        }
        told
    }

    #[test]
    fn who_has_our_labels_is_named_once_and_not_without_end() {
        let stranger = |n: usize| Stranger {
            kind: "Pod".to_owned(),
            api_version: "v1".to_owned(),
            namespace: Some("other".to_owned()),
            name: format!("p{n:03}"),
            why: "is in another namespace".to_owned(),
        };
        let mut named = BTreeSet::new();
        let first = strangers(&[stranger(1)], &mut named);
        assert_eq!(first.len(), 1);
        assert!(
            first[0].warning
                && first[0].note.starts_with("Pod other/p001 has the labels of a child and is in")
        );
        assert_eq!(first[0].related.as_ref().and_then(|one| one.name.as_deref()), Some("p001"));
        assert_eq!(strangers(&[stranger(1)], &mut named), []);
        let many: Vec<Stranger> = (0..1000).map(stranger).collect();
        let told = strangers(&many, &mut named);
        assert_eq!(told.len(), STRANGERS - 1);
        assert!(told.last().unwrap().note.ends_with("more such objects are not named"));
        assert_eq!(strangers(&many, &mut named), []);
    }

    #[test]
    fn changes_are_told_and_nothing_else() {
        let waiting = |reason: &str| Report { waiting: Some(Because::new(reason, "m")), ..Report::default() };
        let failing = |reason: &str| Report { failing: Some(Because::new(reason, "m")), ..Report::default() };
        let refused = Report { problems: vec![Problem::invalid("f", "m")], ..Report::default() };
        for (reports, expected) in [
            (vec![waiting("A")], vec!["A"]),
            (vec![waiting("A"), waiting("A")], vec![]),
            (vec![waiting("A"), waiting("B")], vec!["B"]),
            (vec![waiting("A"), Report::default()], vec!["Complete"]),
            (vec![waiting("A"), failing("ErrImagePull")], vec!["!ErrImagePull"]),
            (vec![failing("ErrImagePull"), failing("ImagePullBackOff")], vec!["!ImagePullBackOff"]),
            (vec![failing("X"), waiting("A")], vec!["A", "Recovered"]),
            (vec![refused], vec!["!Invalid"]),
        ] {
            assert_eq!(told(&reports), expected, "{reports:?}");
        }
    }
}

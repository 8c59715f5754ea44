//! Who keeps changing what is ours. Pure.
//!
//! What somebody edits or deletes is healed at once. But who does so again each time, such as an autoscaler that the object does not
//! know of, or a tool that applies an older manifest, would keep both sides writing for ever and replace pods each time. So every child
//! may be healed a few times at once; after that only once in a while, and it is told.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::rollout::Because;
use crate::child::ChildRef;

/// How often a child is healed at once.
const AT_ONCE: i32 = 5;

/// After how long it may be healed once more.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// The heals of the children of one `ContourDeployment`.
#[derive(Clone, Debug, Default)]
pub(super) struct Contests {
    children: BTreeMap<ChildRef, Contest>,
}

/// The heals of one child: all of them, each [`PAUSE`] long, end at `until`.
#[derive(Clone, Debug)]
struct Contest {
    until: Timestamp,
    /// How it was last kept from being healed, while nobody knows that it is over.
    told: Option<String>,
}

impl Contests {
    /// How long a child must be left as somebody made it; `None`: it may be healed now.
    pub(super) fn wait(&self, child: &ChildRef, now: Timestamp) -> Option<SignedDuration> {
        let open = self.children.get(child)?.until.duration_since(now) - PAUSE * (AT_ONCE - 1);
        open.is_positive().then_some(open)
    }

    /// Notes that a child was healed.
    pub(super) fn healed(&mut self, child: &ChildRef, now: Timestamp) {
        let contest = self.children.entry(child.clone()).or_insert(Contest { until: now, told: None });
        contest.until = contest.until.max(now) + PAUSE;
    }

    /// Notes that a child is left as it is for now: `how` says what is done to it, and by whom.
    pub(super) fn left(&mut self, child: &ChildRef, how: &str) {
        if let Some(contest) = self.children.get_mut(child) {
            let seconds = PAUSE.as_secs();
            contest.told = Some(format!(
                "{child} {how} again and again, and is set right once in {seconds} seconds until that ends"
            ));
        }
    }

    /// What to tell, and how long it stays true if nothing happens. Forgets what is over.
    pub(super) fn told(&mut self, now: Timestamp) -> Option<(Because, SignedDuration)> {
        self.children.retain(|_, contest| contest.until > now);
        // Quiet for two pauses: it was not merely kept waiting for one.
        let over = |contest: &Contest| contest.until.duration_since(now) - PAUSE * (AT_ONCE - 2);
        self.children.values_mut().find_map(|contest| {
            if !over(contest).is_positive() {
                contest.told = None;
            }
            let told = contest.told.clone()?;
            Some((Because::new("Contested", told), over(contest)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::ChildKind;

    fn child(name: &str) -> ChildRef {
        ChildRef { kind: ChildKind::Service, namespace: Some("n".to_owned()), name: name.to_owned() }
    }

    /// Somebody edits a child whenever it was healed, from second 0 to this one; when it is healed.
    fn heals(contests: &mut Contests, until: i64) -> Vec<i64> {
        let mut healed = Vec::new();
        for second in 0..until {
            let now = Timestamp::from_second(second).unwrap();
            // Three times a second.
            for _ in 0..3 {
                if contests.wait(&child("a"), now).is_none() {
                    contests.healed(&child("a"), now);
                    healed.push(second);
                } else {
                    contests.left(&child("a"), "is edited");
                }
            }
        }
        healed
    }

    #[test]
    fn the_first_heals_are_at_once_and_the_others_once_in_a_while() {
        let mut contests = Contests::default();
        assert_eq!(heals(&mut contests, 100), [0, 0, 0, 1, 1, 30, 60, 90]);
        assert_eq!(contests.wait(&child("b"), Timestamp::UNIX_EPOCH), None, "another child has its own");
    }

    #[test]
    fn it_is_told_until_it_is_quiet() {
        let mut contests = Contests::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        contests.healed(&child("a"), at(0));
        assert_eq!(contests.told(at(0)), None);
        heals(&mut contests, 31);
        let (because, holds) = contests.told(at(31)).unwrap();
        assert_eq!(because.reason, "Contested");
        assert!(because.message.starts_with("Service n/a is edited again and again"), "{}", because.message);
        assert!(contests.told(at(31) + holds - SignedDuration::from_secs(1)).is_some());
        assert_eq!(contests.told(at(31) + holds), None);
        assert!(contests.told(at(1_000)).is_none() && contests.children.is_empty());
    }
}

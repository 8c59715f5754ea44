//! Which resources of one type a client wants: the rules of the xDS protocol, and nothing else.
//!
//! Source: "How the client specifies what resources to return" and "Wildcard" in Envoy's xDS protocol description.

use std::sync::Arc;

use crate::message::Text;
use crate::sharded::Names;

/// What a client is subscribed to, for one type on one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    wildcard: bool,
    names: Names,
    started: bool,
    /// Whether an empty list still means everything: only as long as no name was ever given.
    nameless: bool,
}

/// What a request changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// Named by the client: each must be answered, even when nothing changed since it was last sent.
    pub(crate) asked: Names,
    /// No longer wanted: the client has forgotten them.
    pub(crate) dropped: Vec<Arc<str>>,
    /// Everything is wanted from now on.
    pub(crate) all: bool,
    /// No longer everything is wanted: what is not named is forgotten.
    pub(crate) only_named: bool,
}

impl Subscription {
    /// Whether a request for this type was seen.
    pub(crate) fn started(&self) -> bool {
        self.started
    }

    /// Whether everything is wanted.
    pub(crate) fn wildcard(&self) -> bool {
        self.wildcard
    }

    /// The names that are wanted by name.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Whether a resource of this name is wanted.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Takes in the lists of a delta request. `legacy` says that an empty first request asks for everything. `existing` are the names
    /// of all resources: those that are wanted are shared with it.
    pub(crate) fn delta(
        &mut self,
        subscribe: Vec<Text>,
        unsubscribe: &[Text],
        legacy: bool,
        existing: &Names,
    ) -> Change {
        let mut change = Change::default();
        let first = !std::mem::replace(&mut self.started, true);
        if first && legacy && subscribe.is_empty() {
            self.wildcard = true;
            change.all = true;
        }
        // What is in both lists is wanted.
        let mut dropped: Vec<Arc<str>> = Vec::new();
        for name in unsubscribe {
            if **name == *"*" {
                change.only_named |= std::mem::replace(&mut self.wildcard, false);
            } else {
                self.names.remove(name);
                dropped.push((**name).into());
            }
        }
        let (wildcard, wanted) = collect(subscribe, existing);
        if wildcard {
            change.all |= !std::mem::replace(&mut self.wildcard, true);
        }
        self.names.add(&wanted);
        self.names.share(existing, &wanted);
        change.asked = wanted;
        // A name given up while everything is wanted: the client may have forgotten it, so it is told again.
        dropped.retain(|name| !self.names.contains(name));
        if self.wildcard && !change.all {
            change.asked.extend(dropped);
        } else {
            change.dropped = dropped;
        }
        change
    }

    /// Takes in the names of a SotW request: all that is wanted. `legacy` and `existing` as for delta.
    pub(crate) fn sotw(&mut self, names: Vec<Text>, legacy: bool, existing: &Names) -> Change {
        let mut change = Change::default();
        let first = !std::mem::replace(&mut self.started, true);
        if first {
            self.nameless = legacy;
        }
        self.nameless &= names.is_empty();
        let (star, wanted) = collect(names, existing);
        let wildcard = self.nameless || star;
        change.all = wildcard && !self.wildcard;
        change.only_named = self.wildcard && !wildcard;
        let differing = wanted.changed_since(&self.names);
        let (asked, dropped): (Vec<_>, Vec<_>) =
            differing.into_iter().partition(|name| wanted.contains(name));
        change.asked.extend(asked);
        if !wildcard {
            change.dropped = dropped;
        }
        self.wildcard = wildcard;
        self.names = wanted;
        change
    }
}

/// Whether everything is in a list, and what it names.
fn collect(list: Vec<Text>, existing: &Names) -> (bool, Names) {
    let (mut names, others) = existing.gather(list, |name| name, |_, _| true);
    let mut wildcard = false;
    for name in others {
        if *name == *"*" {
            wildcard = true;
        } else {
            names.insert((*name).into());
        }
    }
    (wildcard, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<Text> {
        text.split_whitespace().map(|word| word.to_owned().into()).collect()
    }

    /// Steps of (subscribe, unsubscribe, outcome).
    type DeltaSteps<'a> = &'a [(&'a str, &'a str, &'a str)];
    /// Steps of (names, outcome).
    type SotwSteps<'a> = &'a [(&'a str, &'a str)];

    /// `asked|dropped|all|only_named|wildcard|names`
    fn show(change: &Change, now: &Subscription) -> String {
        let join = |names: Vec<&Arc<str>>| {
            let mut names: Vec<&str> = names.iter().map(|n| &***n).collect();
            names.sort_unstable();
            names.join(" ")
        };
        format!(
            "{}|{}|{}{}{}|{}",
            join(change.asked.iter().collect()),
            join(change.dropped.iter().collect()),
            if change.all { "+*" } else { "" },
            if change.only_named { "-*" } else { "" },
            if now.wildcard { " all" } else { "" },
            join(now.names.iter().collect()),
        )
    }

    #[test]
    fn delta_requests() {
        // Whether the legacy wildcard is allowed, and the steps.
        let table: &[(bool, DeltaSteps<'_>)] = &[
            (true, &[("", "", "||+* all|"), ("", "", "|| all|")]),
            (false, &[("", "", "|||"), ("a", "", "a|||a")]),
            (true, &[("a b", "", "a b|||a b"), ("", "a", "|a||b"), ("", "b", "|b||"), ("", "", "|||")]),
            (true, &[("*", "", "||+* all|"), ("", "*", "||-*|")]),
            // Named in addition to everything; given up again, it is still covered and is told again.
            (true, &[("", "", "||+* all|"), ("a", "", "a|| all|a"), ("", "a", "a|| all|")]),
            (true, &[("* a", "", "a||+* all|a"), ("", "*", "||-*|a"), ("", "a", "|a||")]),
            // Asked for again: answered again.
            (true, &[("a", "", "a|||a"), ("a", "", "a|||a")]),
            // In both lists: wanted.
            (true, &[("a", "", "a|||a"), ("a", "a", "a|||a")]),
        ];
        for (legacy, steps) in table {
            let mut subscription = Subscription::default();
            for (subscribe, unsubscribe, outcome) in *steps {
                let change =
                    subscription.delta(texts(subscribe), &texts(unsubscribe), *legacy, &Names::default());
                assert_eq!(
                    show(&change, &subscription),
                    *outcome,
                    "+{subscribe} -{unsubscribe} of {steps:?}"
                );
            }
        }
    }

    #[test]
    fn sotw_requests() {
        let table: &[(bool, SotwSteps<'_>)] = &[
            (true, &[("", "||+* all|"), ("", "|| all|")]),
            // Once names were given, an empty list is nothing.
            (true, &[("", "||+* all|"), ("a", "a||-*|a"), ("", "|a||")]),
            (false, &[("", "|||"), ("a b", "a b|||a b"), ("b c", "c|a||b c"), ("", "|b c||")]),
            (false, &[("*", "||+* all|"), ("* a", "a|| all|a"), ("a", "||-*|a")]),
        ];
        for (legacy, steps) in table {
            let mut subscription = Subscription::default();
            for (names, outcome) in *steps {
                let change = subscription.sotw(texts(names), *legacy, &Names::default());
                assert_eq!(show(&change, &subscription), *outcome, "{names} of {steps:?}");
            }
        }
    }
}

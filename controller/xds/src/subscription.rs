//! Which resources of one type a client wants: the rules of the xDS protocol, and nothing else.
//!
//! Source: "How the client specifies what resources to return" and "Wildcard" in Envoy's xDS protocol description.

use std::collections::BTreeSet;
use std::sync::Arc;

/// What a client is subscribed to, for one type on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    started: bool,
    /// Whether an empty list still means everything: only as long as no name was ever given.
    nameless: bool,
}

/// What a request changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Named by the client: each must be answered, even when nothing changed since it was last sent.
    pub(crate) asked: Vec<Arc<str>>,
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
    pub(crate) fn names(&self) -> &BTreeSet<Arc<str>> {
        &self.names
    }

    /// Whether a resource of this name is wanted.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Takes in the lists of a delta request. `legacy` says that an empty first request asks for everything.
    pub(crate) fn delta(&mut self, subscribe: &[String], unsubscribe: &[String], legacy: bool) -> Change {
        let mut change = Change::default();
        let first = !std::mem::replace(&mut self.started, true);
        if first && legacy && subscribe.is_empty() {
            self.wildcard = true;
            change.all = true;
        }
        // What is in both lists is wanted.
        for name in unsubscribe {
            if name == "*" {
                change.only_named |= std::mem::replace(&mut self.wildcard, false);
            } else {
                self.names.remove(name.as_str());
                change.dropped.push(name.as_str().into());
            }
        }
        for name in subscribe {
            if name == "*" {
                change.all |= !std::mem::replace(&mut self.wildcard, true);
            } else {
                let name: Arc<str> = name.as_str().into();
                self.names.insert(Arc::clone(&name));
                change.asked.push(name);
            }
        }
        // A name given up while everything is wanted: the client may have forgotten it, so it is told again.
        let (told_again, dropped) = std::mem::take(&mut change.dropped)
            .into_iter()
            .filter(|name| !self.names.contains(name))
            .partition(|_| self.wildcard && !change.all);
        change.dropped = dropped;
        change.asked.extend::<Vec<_>>(told_again);
        change
    }

    /// Takes in the names of a SotW request: all that is wanted. `legacy` as for delta.
    pub(crate) fn sotw(&mut self, names: &[String], legacy: bool) -> Change {
        let mut change = Change::default();
        let first = !std::mem::replace(&mut self.started, true);
        if first {
            self.nameless = legacy;
        }
        self.nameless &= names.is_empty();
        let wildcard = self.nameless || names.iter().any(|n| n == "*");
        let wanted: BTreeSet<Arc<str>> =
            names.iter().filter(|n| *n != "*").map(|n| n.as_str().into()).collect();
        change.all = wildcard && !self.wildcard;
        change.only_named = self.wildcard && !wildcard;
        change.asked = wanted.difference(&self.names).cloned().collect();
        if !wildcard {
            change.dropped = self.names.difference(&wanted).cloned().collect();
        }
        self.wildcard = wildcard;
        self.names = wanted;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Steps of (subscribe, unsubscribe, outcome).
    type DeltaSteps<'a> = &'a [(&'a str, &'a str, &'a str)];
    /// Steps of (names, outcome).
    type SotwSteps<'a> = &'a [(&'a str, &'a str)];

    /// `asked|dropped|all|only_named|wildcard|names`
    fn show(change: &Change, now: &Subscription) -> String {
        let join = |names: Vec<&Arc<str>>| names.iter().map(|n| &***n).collect::<Vec<&str>>().join(" ");
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
                let change = subscription.delta(&strings(subscribe), &strings(unsubscribe), *legacy);
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
                let change = subscription.sotw(&strings(names), *legacy);
                assert_eq!(show(&change, &subscription), *outcome, "{names} of {steps:?}");
            }
        }
    }
}

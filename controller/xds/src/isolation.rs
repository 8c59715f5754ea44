//! Finding what a peer refuses in a response whose error names nothing, or names it wrongly.
//!
//! The suspects are the parts in which the refused resources differ from what the peer accepted before. They are
//! bisected: half of them is tried while the other half is withheld; what is refused is halved again; when one half is
//! accepted the other is known to hold an offender without being tried. An offender among n suspects is found in about
//! log₂ n responses, and every trial leaves fewer suspects, so the search ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_resource::{Part, Resource};

use crate::rejection::{compose, rest_version};

/// After so many parts of a resource were refused one by one, with none accepted, the head they share is tried alone.
const STRIKES: usize = 4;

/// One part of one resource, under suspicion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Suspect {
    pub(crate) resource: Arc<str>,
    pub(crate) part: Arc<str>,
    pub(crate) hash: u64,
}

/// A part that was found to be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offender {
    pub(crate) suspect: Suspect,
    pub(crate) message: String,
    /// The version of its resource without the parts found, as if its head had not been.
    pub(crate) rest: u64,
}

#[derive(Debug)]
struct Group {
    suspects: Vec<Suspect>,
    /// The group above this one on the stack is the other half of a refused whole: if all of that is accepted, the
    /// offender is here.
    paired: bool,
    /// Known to hold an offender.
    guilty: bool,
}

impl Group {
    fn new(suspects: Vec<Suspect>) -> Self {
        Self { suspects, paired: false, guilty: false }
    }
}

/// A search in progress.
#[derive(Debug)]
pub(crate) struct Isolation {
    targets: BTreeMap<Arc<str>, Arc<Resource>>,
    /// A stack: the last group is tried next.
    untested: Vec<Group>,
    trial: Option<Group>,
    offenders: Vec<(Suspect, String)>,
    strikes: BTreeMap<Arc<str>, usize>,
    message: String,
}

/// What the peer has accepted, by resource name.
pub(crate) type Base<'a> = &'a dyn Fn(&str) -> Option<Arc<Resource>>;

impl Isolation {
    /// Begins the search in the resources of a refused response.
    pub(crate) fn begin(refused: &[Arc<Resource>], base: Base<'_>, message: String) -> Self {
        let targets: BTreeMap<_, _> = refused.iter().map(|r| (Arc::clone(r.name()), Arc::clone(r))).collect();
        let suspects = targets.values().flat_map(|r| suspects(r, base(r.name()).as_deref())).collect();
        let mut isolation = Self {
            targets,
            untested: Vec::new(),
            trial: None,
            offenders: Vec::new(),
            strikes: BTreeMap::new(),
            message,
        };
        isolation.divide(Group::new(suspects), refused, base);
        isolation
    }

    /// The names of the resources under suspicion.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.targets.keys()
    }

    /// What to send next; None when the search is over.
    pub(crate) fn next_trial(&mut self, base: Base<'_>) -> Option<Vec<Arc<Resource>>> {
        while let Some(group) = self.untested.pop() {
            if group.suspects.is_empty() {
                continue;
            }
            if group.guilty {
                self.divide(group, &[], base);
                continue;
            }
            let resources = self.trial_of(&group, base);
            self.trial = Some(group);
            if resources.is_empty() {
                // Nothing the peer does not have already.
                self.accepted();
                continue;
            }
            return Some(resources);
        }
        None
    }

    /// The last trial was accepted.
    pub(crate) fn accepted(&mut self) {
        self.trial = None;
        if let Some(below) = self.untested.last_mut()
            && std::mem::replace(&mut below.paired, false)
        {
            below.guilty = true;
        }
    }

    /// The last trial was refused.
    pub(crate) fn refused(&mut self, sent: &[Arc<Resource>], base: Base<'_>, message: String) {
        self.message = message;
        if let Some(below) = self.untested.last_mut() {
            below.paired = false;
        }
        if let Some(group) = self.trial.take() {
            self.divide(group, sent, base);
        }
    }

    /// What was found, when the search is over.
    pub(crate) fn into_offenders(self) -> Vec<Offender> {
        let mut found: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (suspect, _) in &self.offenders {
            found.entry(Arc::clone(&suspect.resource)).or_default().insert(Arc::clone(&suspect.part));
        }
        let rest = |name: &Arc<str>| {
            self.targets.get(name).map_or(0, |target| rest_version(target, |part| found[name].contains(part)))
        };
        let offender = |(suspect, message): (Suspect, String)| Offender {
            rest: rest(&suspect.resource),
            suspect,
            message,
        };
        self.offenders.clone().into_iter().map(offender).collect()
    }

    /// Splits a group that holds an offender, or convicts it when it is a single suspect.
    fn divide(&mut self, group: Group, sent: &[Arc<Resource>], base: Base<'_>) {
        let mut suspects = group.suspects;
        if suspects.len() < 2 {
            if let Some(suspect) = suspects.pop() {
                self.convict(suspect, base);
            }
            return;
        }
        let hinted = hinted(&suspects, sent, &self.message);
        let (last, first) = if hinted.is_empty() || hinted.len() == suspects.len() {
            let first = suspects.drain(..suspects.len() / 2).collect();
            (suspects, first)
        } else {
            suspects.into_iter().partition(|s| hinted.contains(s))
        };
        self.untested.push(Group { paired: true, ..Group::new(last) });
        self.untested.push(Group::new(first));
    }

    fn convict(&mut self, suspect: Suspect, base: Base<'_>) {
        let resource = Arc::clone(&suspect.resource);
        let (head, unaccepted) = (suspect.part.is_empty(), base(&resource).is_none());
        if head && unaccepted {
            // It is refused even alone. So what was refused with it proves nothing.
            self.offenders.retain(|(found, _)| found.resource != resource);
        }
        self.accuse(suspect);
        // Nothing speaks against the rest any more: if this was the only offender, one trial proves all of it.
        let mut rest: Vec<Suspect> = self.untested.drain(..).rev().flat_map(|g| g.suspects).collect();
        rest.retain(|s| !(head && unaccepted) || s.resource != resource);
        self.untested.push(Group::new(rest));
        if unaccepted && !head {
            let strikes = self.strikes.entry(Arc::clone(&resource)).or_default();
            *strikes += 1;
            let alone = if *strikes < STRIKES { self.take_last(&resource) } else { self.head(&resource) };
            self.untested.extend(alone.map(|suspect| Group::new(vec![suspect])));
        }
    }

    /// The head of a resource, to be tried without any other part.
    fn head(&self, resource: &Arc<str>) -> Option<Suspect> {
        let head = self.targets.get(resource)?.parts().iter().find(|p| p.id.is_empty())?;
        Some(Suspect { resource: Arc::clone(resource), part: Arc::clone(&head.id), hash: head.hash })
    }

    /// Takes a part far from those refused so far, to be tried alone: to tell a bad head from bad neighbours.
    fn take_last(&mut self, resource: &Arc<str>) -> Option<Suspect> {
        let rest = &mut self.untested.last_mut()?.suspects;
        let at = rest.iter().rposition(|s| s.resource == *resource)?;
        Some(rest.remove(at))
    }

    fn accuse(&mut self, suspect: Suspect) {
        self.offenders.push((suspect, self.message.clone()));
    }

    /// The resources of a group with everything else that is suspect withheld.
    fn trial_of(&self, group: &Group, base: Base<'_>) -> Vec<Arc<Resource>> {
        let names: BTreeSet<&Arc<str>> = group.suspects.iter().map(|s| &s.resource).collect();
        let waiting = self.untested.iter().flat_map(|g| &g.suspects);
        let withheld: BTreeSet<(&str, &str, u64)> = waiting
            .chain(self.offenders.iter().map(|(found, _)| found))
            .filter(|s| names.contains(&s.resource))
            .map(|s| (&*s.resource, &*s.part, s.hash))
            .collect();
        let compose_one = |name: &Arc<str>| {
            let target = self.targets.get(name)?;
            let base = base(name);
            let is_withheld = |part: &Part| withheld.contains(&(&**name, &*part.id, part.hash));
            let composed = compose(target, base.as_deref(), is_withheld)?;
            (base.map(|b| b.version()) != Some(composed.version())).then_some(composed)
        };
        names.into_iter().filter_map(compose_one).collect()
    }
}

/// The parts of a refused resource that the peer did not have.
fn suspects(resource: &Resource, base: Option<&Resource>) -> Vec<Suspect> {
    let known: BTreeMap<&str, u64> =
        base.into_iter().flat_map(Resource::parts).map(|p| (&*p.id, p.hash)).collect();
    let suspect = |p: &Arc<Part>| Suspect {
        resource: Arc::clone(resource.name()),
        part: Arc::clone(&p.id),
        hash: p.hash,
    };
    // Without its head a resource is nothing: in one that the peer never had, the head goes with every trial.
    let with_head = base.is_some() || resource.parts().len() == 1;
    let new: Vec<Suspect> = resource
        .parts()
        .iter()
        .filter(|p| known.get(&*p.id) != Some(&p.hash) && (with_head || !p.id.is_empty()))
        .map(suspect)
        .collect();
    if new.is_empty() {
        // Refused although nothing in it is new: the peer has changed its mind about the whole.
        return resource.parts().first().map(suspect).into_iter().collect();
    }
    new
}

/// The suspects that an error seems to speak of: by name, or by their place in the message that was refused.
fn hinted(suspects: &[Suspect], sent: &[Arc<Resource>], message: &str) -> BTreeSet<Suspect> {
    let named = |s: &Suspect| mentions(message, if s.part.is_empty() { &s.resource } else { &s.part });
    let mut found: BTreeSet<Suspect> = suspects.iter().filter(|s| named(s)).cloned().collect();
    if found.is_empty()
        && let Some(index) = first_index(message)
    {
        for resource in sent {
            let repeated = resource.parts().iter().filter(|p| !p.id.is_empty());
            if let Some(part) = repeated.into_iter().nth(index) {
                found.extend(
                    suspects.iter().filter(|s| s.resource == *resource.name() && s.part == part.id).cloned(),
                );
            }
        }
    }
    found
}

/// Whether a text has this name in it, not merely as a piece of a longer name.
fn mentions(text: &str, name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let mut after = text[at + name.len()..].chars();
            let (next, second) = (after.next(), after.next());
            // A full stop ends a sentence unless the name goes on after it.
            let goes_on = next.is_some_and(inside) || (next == Some('.') && second.is_some_and(inside));
            !before.is_some_and(|c| inside(c) || c == '.') && !goes_on
        })
}

/// The first number in square brackets, as in `VirtualHosts[3]`.
fn first_index(text: &str) -> Option<usize> {
    text.split('[').skip(1).find_map(|rest| rest.split_once(']').and_then(|(number, _)| number.parse().ok()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A peer that refuses every response with a part that contains `!`, or a head that contains `?`.
    struct Peer {
        has: RefCell<BTreeMap<Arc<str>, Arc<Resource>>>,
        error: &'static str,
        /// Refuses a resource without any part beside its head, as Envoy does a Listener without filter chains.
        wants_parts: bool,
    }

    impl Peer {
        fn new(error: &'static str) -> Self {
            Self { has: RefCell::default(), error, wants_parts: false }
        }

        fn judge(&self, sent: &[Arc<Resource>]) -> Result<(), String> {
            let bad = |r: &Arc<Resource>| {
                r.parts().iter().any(|p| p.bytes.contains(&b'!'))
                    || (self.wants_parts && r.parts().len() == 1)
            };
            if sent.iter().any(bad) {
                return Err(self.error.to_owned());
            }
            self.has.borrow_mut().extend(sent.iter().map(|r| (Arc::clone(r.name()), Arc::clone(r))));
            Ok(())
        }

        /// Runs the search to its end. Returns the offenders as `resource/part` and the number of trials.
        fn search(&self, refused: &[Arc<Resource>]) -> (Vec<String>, usize) {
            let base = |name: &str| self.has.borrow().get(name).cloned();
            let mut isolation = Isolation::begin(refused, &base, self.error.to_owned());
            let mut trials = 0;
            while let Some(sent) = isolation.next_trial(&base) {
                trials += 1;
                assert!(trials < 10_000, "the search must end");
                match self.judge(&sent) {
                    Ok(()) => isolation.accepted(),
                    Err(message) => isolation.refused(&sent, &base, message),
                }
            }
            let mut names: Vec<String> = isolation
                .into_offenders()
                .iter()
                .map(|o| format!("{}/{}", o.suspect.resource, o.suspect.part))
                .collect();
            names.sort();
            (names, trials)
        }
    }

    fn table(name: &str, head: &str, hosts: usize, bad: &[usize]) -> Arc<Resource> {
        let mut parts = vec![Arc::new(Part::new("", head.to_owned()))];
        parts.extend((0..hosts).map(|i| {
            let text = format!("host {i}{}", if bad.contains(&i) { "!" } else { "" });
            Arc::new(Part::new(format!("h{i:04}"), text))
        }));
        Arc::new(Resource::new(name, parts))
    }

    fn whole(name: &str, text: &str) -> Arc<Resource> {
        Arc::new(Resource::whole(name, text.to_owned()))
    }

    #[test]
    fn one_bad_part_in_a_thousand_takes_its_logarithm() {
        for bad in [0, 1, 499, 500, 998, 999] {
            let peer = Peer::new("nameless");
            let (found, trials) = peer.search(&[table("r", "head", 1_000, &[bad])]);
            assert_eq!(found, [format!("r/h{bad:04}")]);
            assert!(trials <= 12, "{trials} trials for {bad}");
            assert_eq!(peer.has.borrow()["r"].parts().len(), 1_000, "everything else was delivered");
        }
    }

    #[test]
    fn many_offenders_are_all_found() {
        let peer = Peer::new("nameless");
        let bad = [3, 77, 78, 500, 999];
        let (found, trials) =
            peer.search(&[table("r", "head", 1_000, &bad), whole("s", "good"), whole("t", "!")]);
        assert_eq!(found, ["r/h0003", "r/h0077", "r/h0078", "r/h0500", "r/h0999", "t/"]);
        assert!(trials <= 6 * 12, "{trials} trials");
        assert!(peer.has.borrow().contains_key("s"));
    }

    #[test]
    fn only_what_changed_is_suspect() {
        let peer = Peer::new("nameless");
        peer.judge(&[table("r", "head", 1_000, &[])]).unwrap();
        let (found, trials) = peer.search(&[table("r", "head", 1_000, &[7])]);
        assert_eq!((found, trials), (vec!["r/h0007".to_owned()], 0));
        assert_eq!(peer.search(&[table("r", "head!", 1_000, &[])]), (vec!["r/".to_owned()], 0));
    }

    #[test]
    fn an_error_that_names_the_part_is_believed_once_proven() {
        for error in ["duplicate domain in h0007.", "RouteConfigurationValidationError.VirtualHosts[7]: no"] {
            let peer = Peer::new(error);
            let (found, trials) = peer.search(&[table("r", "head", 1_000, &[7])]);
            assert_eq!((found, trials), (vec!["r/h0007".to_owned()], 1), "{error}");
        }
        let peer = Peer::new("h0008 is to blame, it lies");
        let (found, _) = peer.search(&[table("r", "head", 1_000, &[7])]);
        assert_eq!(found, ["r/h0007"]);
    }

    #[test]
    fn a_bad_head_is_told_from_bad_parts() {
        for wants_parts in [false, true] {
            let peer = Peer { wants_parts, ..Peer::new("nameless") };
            let (found, trials) = peer.search(&[table("r", "head!", 1_000, &[])]);
            assert_eq!(found, ["r/"]);
            assert!(trials <= 17, "{trials} trials");
            let peer = Peer { wants_parts, ..Peer::new("nameless") };
            let (found, _) = peer.search(&[table("r", "head", 8, &[0, 1, 2])]);
            assert_eq!(found, ["r/h0000", "r/h0001", "r/h0002"]);
            let peer = Peer::new("nameless");
            let (found, _) = peer.search(&[table("r", "head", 5, &[0, 1, 2, 3, 4])]);
            assert_eq!(
                found,
                ["r/h0000", "r/h0001", "r/h0002", "r/h0003", "r/h0004"],
                "the head is innocent"
            );
        }
    }

    #[test]
    fn names_are_not_pieces_of_names() {
        for (text, name, expected) in [
            ("cluster 'a/b/80/x' bad", "a/b/80/x", true),
            ("cluster a/b/80/x-2 bad", "a/b/80/x", false),
            ("host www.example.com.", "example.com", false),
            ("host example.com.", "example.com", true),
            ("host example.com.de", "example.com", false),
            ("anything", "", false),
        ] {
            assert_eq!(mentions(text, name), expected, "{name} in {text}");
        }
        assert_eq!(first_index("A[x].B[12]: C[3]"), Some(12));
    }
}

//! Finding what a peer refuses in a response whose error names nothing, or names it wrongly.
//!
//! The suspects are the parts in which the refused resources differ from what the peer accepted before. They are
//! bisected: half of them is tried while the other half is withheld, and what is refused is halved again. An offender among
//! n suspects is found in about log₂ n responses, and every trial leaves fewer suspects, so the search ends.
//!
//! A large resource is tried *aside*: its suspects are sent as the parts of another resource that serves nobody
//! ([`Trial`]). So a trial is as large as what is suspect, not as the table it belongs to, and it never takes anything away
//! from a peer that serves. Other resources are tried in place: what a trial withholds, the peer keeps as it last had it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use contour_resource::{Part, Resource, Trial, Withheld};

use crate::rejection::{compose, rest_version};

/// After so many parts of a resource were refused one by one, with none accepted, the head they share is tried alone.
const STRIKES: usize = 4;

/// So many offenders are taken for the only ones: after each, everything else is tried at once. More have more company, and
/// are found by halves alone.
const FEW: usize = 4;

/// One part of one resource, under suspicion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Suspect {
    pub(crate) resource: Arc<str>,
    pub(crate) part: Arc<str>,
    pub(crate) hash: u64,
}

impl Suspect {
    pub(crate) fn new(resource: &Resource, part: &Part) -> Self {
        Self { resource: Arc::clone(resource.name()), part: Arc::clone(&part.id), hash: part.hash }
    }
}

/// A part that was found to be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offender {
    pub(crate) suspect: Suspect,
    pub(crate) message: String,
    /// For what was tried in place: the version of its resource without the parts found, as if its head had not been.
    pub(crate) rest: Option<u64>,
}

#[derive(Debug, Default)]
struct Group {
    suspects: Vec<Suspect>,
    /// Tried aside: all suspects are of one resource.
    aside: Option<Arc<Trial>>,
    /// The group above this one on the stack is the other half of a refused whole: if all of that is accepted, the
    /// offender is here.
    paired: bool,
    /// Known to hold an offender.
    guilty: bool,
}

impl Group {
    fn of(suspects: Vec<Suspect>, aside: Option<Arc<Trial>>) -> Self {
        Self { suspects, aside, ..Self::default() }
    }
}

/// A resource under suspicion.
#[derive(Debug)]
struct Target {
    resource: Arc<Resource>,
    /// Its parts by id and hash.
    parts: HashMap<(Arc<str>, u64), Arc<Part>>,
}

/// Everything under suspicion, by name.
#[derive(Debug, Default)]
struct Targets(BTreeMap<Arc<str>, Target>);

impl Targets {
    fn insert(&mut self, resource: &Arc<Resource>) {
        let parts = resource.parts().iter().map(|p| ((Arc::clone(&p.id), p.hash), Arc::clone(p))).collect();
        self.0.insert(Arc::clone(resource.name()), Target { resource: Arc::clone(resource), parts });
    }

    fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.0.get(name).map(|target| &target.resource)
    }

    /// The part that a suspect is, if its resource still has it.
    fn find(&self, suspect: &Suspect) -> Option<&Arc<Part>> {
        self.0.get(&suspect.resource)?.parts.get(&(Arc::clone(&suspect.part), suspect.hash))
    }
}

/// A search in progress.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    targets: Targets,
    /// A stack: the last group is tried next.
    untested: Vec<Group>,
    trial: Option<Group>,
    offenders: Vec<(Suspect, String, bool)>,
    /// What was accepted aside.
    proven: BTreeSet<Suspect>,
    /// The names it was tried under.
    trials: BTreeSet<Arc<str>>,
    strikes: BTreeMap<Arc<str>, usize>,
    message: String,
}

/// What the peer has accepted, by resource name.
pub(crate) type Base<'a> = &'a dyn Fn(&str) -> Option<Arc<Resource>>;

impl Isolation {
    /// Takes the resources of a refused response under suspicion. `aside` says whether parts of a resource can be tried aside.
    pub(crate) fn blame(
        &mut self,
        refused: &[Arc<Resource>],
        base: Base<'_>,
        aside: &dyn Fn(&Resource) -> Option<Arc<Trial>>,
        message: String,
    ) {
        self.message = message;
        let mut in_place = Vec::new();
        let mut groups = Vec::new();
        for resource in refused {
            let base = base(resource.name());
            self.targets.insert(resource);
            let suspects = suspects(resource, base.as_deref());
            match aside(resource).filter(|_| suspects.iter().all(|s| !s.part.is_empty())) {
                Some(trial) => groups.push(Group::of(suspects, Some(trial))),
                None => in_place.extend(suspects),
            }
        }
        groups.extend((!in_place.is_empty()).then(|| Group::of(in_place, None)));
        if groups.len() > 1 {
            // Any of them may be innocent.
            self.untested.extend(groups);
            return;
        }
        match groups.pop() {
            Some(group) if group.suspects.len() == 1 && !self.is_certain(&group, base) => {
                self.untested.push(group);
            }
            Some(group) => self.divide(group, refused, base),
            None => {}
        }
    }

    /// Whether a single suspect of a refused response is an offender without a trial of its own.
    ///
    /// Aside it is if the peer has everything else. A peer that does not look again at what it has refused has to refuse
    /// another variant: else it would take what it refused here from the next process without a word.
    fn is_certain(&self, group: &Group, base: Base<'_>) -> bool {
        let Some(suspect) = group.suspects.first() else { return true };
        let varies = self.targets.get(&suspect.resource).is_some_and(|r| r.varies());
        !varies && (group.aside.is_none() || base(&suspect.resource).is_some())
    }

    /// Takes parts of a resource under suspicion before they were sent.
    pub(crate) fn suspect(
        &mut self,
        resource: &Arc<Resource>,
        suspects: Vec<Suspect>,
        aside: Option<Arc<Trial>>,
    ) {
        self.targets.insert(resource);
        self.untested.insert(0, Group::of(suspects, aside));
    }

    /// The names of the resources under suspicion.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.targets.0.keys()
    }

    /// Has these trial resources set right at the end.
    pub(crate) fn leave_behind(&mut self, trials: impl IntoIterator<Item = Arc<str>>) {
        self.trials.extend(trials);
    }

    /// The names of the resources that parts were tried in.
    pub(crate) fn trials(&self) -> impl Iterator<Item = &Arc<str>> {
        self.trials.iter()
    }

    /// Whether a trial waits for its answer.
    pub(crate) fn awaits(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether this was accepted aside.
    pub(crate) fn is_proven(&self, suspect: &Suspect) -> bool {
        self.proven.contains(suspect)
    }

    /// What must not be sent of a resource before the search is over.
    pub(crate) fn withheld(&self, resource: &str) -> BTreeSet<(Arc<str>, u64)> {
        let open = self.untested.iter().chain(&self.trial).flat_map(|g| &g.suspects);
        open.chain(self.offenders.iter().map(|(found, ..)| found))
            .filter(|s| *s.resource == *resource)
            .map(|s| (Arc::clone(&s.part), s.hash))
            .collect()
    }

    /// What to send next; None when the search is over.
    pub(crate) fn next_trial(&mut self, base: Base<'_>) -> Option<Vec<Arc<Resource>>> {
        while let Some(mut group) = self.untested.pop() {
            // What has changed since is no longer there to be tried, and what was found out about the whole no longer holds.
            let before = group.suspects.len();
            group.suspects.retain(|s| self.targets.find(s).is_some());
            if group.suspects.len() < before {
                group.guilty = false;
                self.untested.iter_mut().for_each(|below| below.paired = false);
            }
            if group.suspects.is_empty() {
                continue;
            }
            // Aside nobody is convicted untried: what is refused there may only be refused among the others in place.
            let alone = group.suspects.len() == 1;
            if group.guilty && !(alone && (group.aside.is_some() || !self.is_certain(&group, base))) {
                self.divide(group, &[], base);
                continue;
            }
            let resources = self.trial_of(&group, base);
            self.trials.extend(group.aside.iter().map(|trial| Arc::clone(&trial.name)));
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
        let Some(group) = self.trial.take() else { return };
        if group.aside.is_some() {
            self.proven.extend(group.suspects);
        }
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

    /// What was found, and what was accepted aside, when the search is over.
    pub(crate) fn finish(mut self) -> (Vec<Offender>, BTreeSet<Suspect>) {
        // Of two contents of a part that were refused one after the other, the later counts, whichever was found first.
        let part_of = |suspect: &Suspect| (Arc::clone(&suspect.resource), Arc::clone(&suspect.part));
        let later = self.offenders.iter().filter(|(suspect, ..)| self.targets.find(suspect).is_some());
        let later: BTreeSet<(Arc<str>, Arc<str>)> = later.map(|(suspect, ..)| part_of(suspect)).collect();
        self.offenders.retain(|(suspect, ..)| {
            self.targets.find(suspect).is_some() || !later.contains(&part_of(suspect))
        });
        let mut found: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (suspect, ..) in &self.offenders {
            found.entry(Arc::clone(&suspect.resource)).or_default().insert(Arc::clone(&suspect.part));
        }
        let rest = |name: &Arc<str>| {
            self.targets.get(name).map_or(0, |target| rest_version(target, |part| found[name].contains(part)))
        };
        let offender = |(suspect, message, aside): (Suspect, String, bool)| {
            let rest = (!aside).then(|| rest(&suspect.resource));
            Offender { suspect, message, rest }
        };
        (self.offenders.clone().into_iter().map(offender).collect(), self.proven)
    }

    /// Splits a group that holds an offender, or convicts it when it is a single suspect.
    fn divide(&mut self, group: Group, sent: &[Arc<Resource>], base: Base<'_>) {
        let Group { mut suspects, aside, .. } = group;
        if suspects.len() < 2 {
            if let Some(suspect) = suspects.pop() {
                self.convict(suspect, aside.is_some(), base);
            }
            return;
        }
        let hinted = hinted(&suspects, sent, aside.as_deref(), &self.message);
        let (last, first) = if hinted.is_empty() || hinted.len() == suspects.len() {
            let first = suspects.drain(..suspects.len() / 2).collect();
            (suspects, first)
        } else {
            suspects.into_iter().partition(|s| hinted.contains(s))
        };
        self.untested.push(Group { paired: true, ..Group::of(last, aside.clone()) });
        self.untested.push(Group::of(first, aside));
    }

    fn convict(&mut self, suspect: Suspect, aside: bool, base: Base<'_>) {
        if aside {
            self.offenders.push((suspect, self.message.clone(), true));
            return;
        }
        let resource = Arc::clone(&suspect.resource);
        let (head, unaccepted) = (suspect.part.is_empty(), base(&resource).is_none());
        if head && unaccepted {
            // It is refused even alone. So what was refused with it proves nothing.
            self.offenders.retain(|(found, ..)| found.resource != resource || found.part.is_empty());
        }
        self.offenders.push((suspect, self.message.clone(), false));
        if self.offenders.len() > FEW {
            return;
        }
        // Nothing speaks against the rest any more: if this was the only offender, one trial proves all of it.
        let in_place = self.untested.extract_if(.., |group| group.aside.is_none());
        let mut rest: Vec<Suspect> = in_place.flat_map(|g| g.suspects).collect();
        rest.retain(|s| !(head && unaccepted) || s.resource != resource);
        self.untested.push(Group::of(rest, None));
        if unaccepted && !head {
            let strikes = self.strikes.entry(Arc::clone(&resource)).or_default();
            *strikes += 1;
            let alone = if *strikes < STRIKES { self.take_last(&resource) } else { self.head(&resource) };
            self.untested.extend(alone.map(|suspect| Group::of(vec![suspect], None)));
        }
    }

    /// The head of a resource, to be tried without any other part.
    fn head(&self, resource: &Arc<str>) -> Option<Suspect> {
        let target = self.targets.get(resource)?;
        Some(Suspect::new(target, target.parts().iter().find(|p| p.id.is_empty())?))
    }

    /// Takes a part far from those refused so far, to be tried alone: to tell a bad head from bad neighbours.
    fn take_last(&mut self, resource: &Arc<str>) -> Option<Suspect> {
        let rest = &mut self.untested.last_mut()?.suspects;
        let at = rest.iter().rposition(|s| s.resource == *resource)?;
        Some(rest.remove(at))
    }

    /// What shows whether a group is accepted: aside nothing but its suspects; in place the resources with everything else
    /// that is suspect withheld.
    fn trial_of(&self, group: &Group, base: Base<'_>) -> Vec<Arc<Resource>> {
        if let Some(trial) = &group.aside {
            let parts = group.suspects.iter().filter_map(|s| self.targets.find(s)).cloned();
            let parts = std::iter::once(Arc::clone(&trial.head)).chain(parts).collect();
            return vec![Arc::new(Resource::new(Arc::clone(&trial.name), parts))];
        }
        let mut suspects: BTreeMap<&Arc<str>, BTreeSet<(&str, u64)>> = BTreeMap::new();
        for suspect in &group.suspects {
            suspects.entry(&suspect.resource).or_default().insert((&*suspect.part, suspect.hash));
        }
        let waiting = self.untested.iter().flat_map(|g| &g.suspects);
        let withheld: BTreeSet<(&str, &str, u64)> = waiting
            .chain(self.offenders.iter().map(|(found, ..)| found))
            .filter(|s| suspects.contains_key(&s.resource))
            .map(|s| (&*s.resource, &*s.part, s.hash))
            .collect();
        let one = |(name, suspects): (&Arc<str>, BTreeSet<(&str, u64)>)| {
            let target = self.targets.get(name)?;
            let base = base(name);
            let tried = match &base {
                Some(base) => exchange(target, base, &suspects),
                None => compose(target, None, |p| withheld.contains(&(&**name, &*p.id, p.hash)))?,
            };
            let is_new = base.as_ref().map(|b| b.version()) != Some(tried.version());
            is_new.then(|| self.told(tried, base.as_deref()))
        };
        suspects.into_iter().filter_map(one).collect()
    }

    /// A trial that tells what is known to be refused, for the case that the peer keeps it.
    fn told(&self, tried: Arc<Resource>, base: Option<&Resource>) -> Arc<Resource> {
        let offenders = self.offenders.iter().map(|(suspect, ..)| suspect);
        let offenders = offenders.filter(|suspect| suspect.resource == *tried.name());
        let has: HashMap<&str, u64> = tried.parts().iter().map(|p| (&*p.id, p.hash)).collect();
        let found = offenders.map(|s| Withheld { refused: s.hash, instead: has.get(&*s.part).copied() });
        let withheld: Vec<Withheld> = base.iter().flat_map(|b| b.withheld()).copied().chain(found).collect();
        if withheld.is_empty() { tried } else { Arc::new(Resource::clone(&tried).lacking(withheld)) }
    }
}

/// What the peer has, with these parts of `target` in it: whatever else it has got meanwhile, it keeps.
fn exchange(target: &Arc<Resource>, base: &Resource, tried: &BTreeSet<(&str, u64)>) -> Arc<Resource> {
    let has: HashMap<&str, &Arc<Part>> = base.parts().iter().map(|p| (&*p.id, p)).collect();
    let wanted: BTreeSet<&str> = target.parts().iter().map(|p| &*p.id).collect();
    let take = |part: &Arc<Part>| {
        let is_tried = tried.contains(&(&*part.id, part.hash));
        if is_tried { Some(Arc::clone(part)) } else { has.get(&*part.id).map(|p| Arc::clone(p)) }
    };
    let parts = target.parts().iter().filter_map(take);
    let others = base.parts().iter().filter(|p| !wanted.contains(&*p.id)).cloned();
    Arc::new(target.with_parts(parts.chain(others).collect()))
}

/// The parts of a refused resource that the peer did not have.
fn suspects(resource: &Resource, base: Option<&Resource>) -> Vec<Suspect> {
    // Without its head a resource is nothing: in one that the peer never had, the head goes with every trial.
    let with_head = base.is_some() || resource.parts().len() == 1;
    let mut new = unknown(resource, base);
    new.retain(|s| with_head || !s.part.is_empty());
    if new.is_empty() {
        // Refused although nothing in it is new: the peer has changed its mind about the whole.
        return resource.parts().first().map(|part| Suspect::new(resource, part)).into_iter().collect();
    }
    new
}

/// The parts of a resource that `base` does not have.
pub(crate) fn unknown(resource: &Resource, base: Option<&Resource>) -> Vec<Suspect> {
    let known: HashMap<&str, u64> =
        base.into_iter().flat_map(Resource::parts).map(|p| (&*p.id, p.hash)).collect();
    let new = resource.parts().iter().filter(|p| known.get(&*p.id) != Some(&p.hash));
    new.map(|part| Suspect::new(resource, part)).collect()
}

/// The suspects that an error seems to speak of: by name, or by their place in the message that was refused.
fn hinted(
    suspects: &[Suspect],
    sent: &[Arc<Resource>],
    aside: Option<&Trial>,
    message: &str,
) -> BTreeSet<Suspect> {
    let named = |s: &Suspect| mentions(message, if s.part.is_empty() { &s.resource } else { &s.part });
    let mut found: BTreeSet<Suspect> = suspects.iter().filter(|s| named(s)).cloned().collect();
    if found.is_empty()
        && let Some(index) = first_index(message)
    {
        for resource in sent {
            let of = |s: &&Suspect| {
                s.resource == *resource.name() || aside.is_some_and(|trial| trial.name == *resource.name())
            };
            let repeated = resource.parts().iter().filter(|p| !p.id.is_empty());
            if let Some(part) = repeated.into_iter().nth(index) {
                found.extend(suspects.iter().filter(of).filter(|s| s.part == part.id).cloned());
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
            let mut isolation = Isolation::default();
            isolation.blame(refused, &base, &|_| None, self.error.to_owned());
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
                .finish()
                .0
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

//! What a peer refused: remembered until it changes, and left out of what is sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use contour_resource::{Part, Resource, Withheld};

use crate::isolation::Suspect;

/// Parts of a resource, by id and content.
pub(crate) type Contents = BTreeSet<(Arc<str>, u64)>;

/// One refused part of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The content that was refused.
    pub(crate) hash: u64,
    /// What the peer said.
    pub(crate) message: String,
    /// Set while nothing of the resource was ever accepted: the version of the resource without what was refused of it,
    /// head apart. Then nothing is certain, as a part may only have been refused for its head: a change anywhere in the
    /// resource is a new try of all of it.
    pub(crate) tentative: Option<u64>,
}

/// Everything a peer refused of one type, by resource and part.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    by_resource: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Rejection>>,
}

impl Rejections {
    /// What is sent of a resource, with what was refused of it told.
    pub(crate) fn told(&self, sendable: Arc<Resource>, of: &Resource) -> Arc<Resource> {
        let Some(parts) = self.by_resource.get(of.name()) else { return sendable };
        let refused = |part: &&Arc<Part>| parts.get(&part.id).is_some_and(|r| r.hash == part.hash);
        let has: HashMap<&str, u64> = sendable.parts().iter().map(|p| (&*p.id, p.hash)).collect();
        // A version tells of so many and no more: first of one of each origin, then of the second, so that nobody's push out another's.
        let mut counts: HashMap<Option<&Arc<str>>, usize> = HashMap::new();
        let mut refused: Vec<(usize, &Arc<Part>)> = of
            .parts()
            .iter()
            .filter(refused)
            .map(|part| {
                let count = counts.entry(part.origin.as_ref()).or_default();
                *count += 1;
                (*count, part)
            })
            .collect();
        refused.sort_by_key(|(number, _)| *number);
        let told = refused
            .into_iter()
            .map(|(_, part)| Withheld { refused: part.hash, instead: has.get(&*part.id).copied() });
        Arc::new(Resource::clone(&sendable).lacking(told.collect()))
    }

    /// Whether some content of this part was refused.
    pub(crate) fn holds(&self, resource: &str, part: &str) -> bool {
        self.by_resource.get(resource).is_some_and(|parts| parts.contains_key(part))
    }

    /// Whether this was refused.
    pub(crate) fn is(&self, suspect: &Suspect) -> bool {
        let parts = self.by_resource.get(&suspect.resource);
        parts.and_then(|parts| parts.get(&suspect.part)).is_some_and(|r| r.hash == suspect.hash)
    }

    /// Whether nothing was refused.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_resource.is_empty()
    }

    /// The resources of which something was refused.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_resource.keys()
    }

    /// All of them: resource, part, rejection.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Rejection)> {
        self.by_resource.iter().flat_map(|(name, parts)| parts.iter().map(move |(part, r)| (name, part, r)))
    }

    /// Whether any part of this resource was refused.
    pub(crate) fn contains(&self, resource: &str) -> bool {
        self.by_resource.contains_key(resource)
    }

    /// The refused parts of a resource.
    pub(crate) fn of(&self, resource: &str) -> Vec<(Arc<str>, Rejection)> {
        let parts = self.by_resource.get(resource);
        parts.into_iter().flatten().map(|(id, rejection)| (Arc::clone(id), rejection.clone())).collect()
    }

    /// Remembers a refused part.
    pub(crate) fn insert(&mut self, resource: &Arc<str>, part: &Arc<str>, rejection: Rejection) {
        self.by_resource.entry(Arc::clone(resource)).or_default().insert(Arc::clone(part), rejection);
    }

    /// Forgets the refused parts that this content of their resource no longer has. Returns their ids. What is `held` back for another
    /// reason was not tried.
    pub(crate) fn prune(&mut self, resource: &Resource, held: &Contents) -> Vec<Arc<str>> {
        let Some(parts) = self.by_resource.get_mut(resource.name()) else { return Vec::new() };
        let present: BTreeMap<&str, u64> = resource.parts().iter().map(|p| (&*p.id, p.hash)).collect();
        let is_gone = |id: &Arc<str>, r: &Rejection| present.get(&**id) != Some(&r.hash);
        let tentative = parts.values().find_map(|r| r.tentative);
        let gone: Vec<Arc<str>> = parts.extract_if(.., |id, r| is_gone(id, r)).map(|(id, _)| id).collect();
        let is_out = |part: &Part| {
            parts.contains_key(&part.id)
                || (!held.is_empty() && held.contains(&(Arc::clone(&part.id), part.hash)))
        };
        if tentative.is_some_and(|rest| rest != rest_version(resource, is_out)) {
            return gone.into_iter().chain(self.forget(resource.name())).collect();
        }
        if parts.is_empty() {
            self.by_resource.remove(resource.name());
        }
        gone
    }

    /// Something of the resource was accepted, so what was refused of it was refused for itself.
    pub(crate) fn confirm(&mut self, resource: &str) {
        for rejection in self.by_resource.get_mut(resource).into_iter().flat_map(BTreeMap::values_mut) {
            rejection.tentative = None;
        }
    }

    /// Forgets a resource. Returns the ids of the parts that were refused.
    pub(crate) fn forget(&mut self, resource: &str) -> Vec<Arc<str>> {
        self.by_resource.remove(resource).map(|parts| parts.into_keys().collect()).unwrap_or_default()
    }

    /// Whether this content of a part was refused.
    pub(crate) fn refused(&self, resource: &str, part: &Part) -> bool {
        let parts = self.by_resource.get(resource);
        parts.and_then(|parts| parts.get(&part.id)).is_some_and(|r| r.hash == part.hash)
    }
}

/// The version of a resource without the parts that were left out of it, as if its head had not been.
pub(crate) fn rest_version(resource: &Resource, is_out: impl Fn(&Part) -> bool) -> u64 {
    let kept = resource.parts().iter().filter(|p| p.id.is_empty() || !is_out(p)).cloned();
    Resource::new(Arc::clone(resource.name()), kept.collect()).version()
}

/// A resource without the parts that `withheld` names, each replaced by its version in `base`, if that has one.
///
/// A part that `base` holds with the same content stays: the peer has it. None when the head is missing.
pub(crate) fn compose(
    resource: &Arc<Resource>,
    base: Option<&Resource>,
    withheld: impl Fn(&Part) -> bool,
) -> Option<Arc<Resource>> {
    if !resource.parts().iter().any(|part| withheld(part)) {
        return Some(Arc::clone(resource));
    }
    let earlier: BTreeMap<&str, &Arc<Part>> =
        base.into_iter().flat_map(Resource::parts).map(|p| (&*p.id, p)).collect();
    let mut parts = Vec::with_capacity(resource.parts().len());
    for part in resource.parts() {
        if !withheld(part) {
            parts.push(Arc::clone(part));
            continue;
        }
        let instead = earlier.get(&*part.id).filter(|p| !withheld(p));
        match instead {
            Some(accepted) => parts.push(Arc::clone(accepted)),
            None if part.id.is_empty() => return None,
            None => {}
        }
    }
    (!parts.is_empty()).then(|| Arc::new(resource.with_parts(parts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(parts: &[(&str, &str)]) -> Arc<Resource> {
        let parts = parts.iter().map(|(id, text)| Arc::new(Part::new(*id, (*text).to_owned()))).collect();
        Arc::new(Resource::new("r", parts))
    }

    fn refuse(rejections: &mut Rejections, resource: &Resource, id: &str) {
        let part = resource.parts().iter().find(|p| &*p.id == id).unwrap();
        let rejection = Rejection { hash: part.hash, message: "no".to_owned(), tentative: None };
        rejections.insert(resource.name(), &part.id, rejection);
    }

    #[test]
    fn refused_parts_are_replaced_or_left_out() {
        let base = resource(&[("", "h"), ("a", "a")]);
        let next = resource(&[("", "H"), ("a", "A"), ("b", "B")]);
        let mut rejections = Rejections::default();
        refuse(&mut rejections, &next, "a");
        refuse(&mut rejections, &next, "b");
        let apply =
            |rejections: &Rejections, base| compose(&next, base, |part| rejections.refused("r", part));
        let composed = rejections.told(apply(&rejections, Some(&base)).unwrap(), &next);
        assert_eq!(composed.body(), "Ha");
        let (a, b, old) = (next.parts()[1].hash, next.parts()[2].hash, base.parts()[1].hash);
        let withheld = [Withheld { refused: a, instead: Some(old) }, Withheld { refused: b, instead: None }];
        assert_eq!(composed.withheld(), withheld);
        assert_eq!(apply(&rejections, None).unwrap().body(), "H");
        refuse(&mut rejections, &next, "");
        assert_eq!(apply(&rejections, Some(&base)).unwrap().body(), "ha");
        assert!(apply(&rejections, None).is_none());
    }

    #[test]
    fn a_version_tells_of_every_origin() {
        let part = |id: String, origin: &str| Arc::new(Part::new(id, "!").of_origin(Some(&origin.into())));
        let bad = (0..100).map(|i| part(format!("b{i:03}"), "bad"));
        let head = Arc::new(Part::new("", "h"));
        let next =
            Resource::new("r", [head].into_iter().chain(bad).chain([part("c".into(), "other")]).collect());
        let mut rejections = Rejections::default();
        next.parts()[1..].iter().for_each(|part| refuse(&mut rejections, &next, &part.id));
        let next = Arc::new(next);
        let sent = compose(&next, None, |part| rejections.refused("r", part)).unwrap();
        let version = rejections.told(sent, &next).version_text();
        let (_, told) = contour_resource::read_version(&version).unwrap();
        let c = next.parts().last().unwrap().hash;
        assert_eq!((told.len(), told[0].refused, told[1].refused), (64, next.parts()[1].hash, c));
    }

    #[test]
    fn without_an_accepted_version_any_change_is_a_new_try() {
        let next = resource(&[("", "H"), ("a", "A"), ("b", "B")]);
        for (changed, gone) in [
            (vec![("", "H"), ("a", "A"), ("b", "B")], vec![]),
            (vec![("", "H2"), ("a", "A"), ("b", "B")], vec!["", "a"]),
            (vec![("", "H"), ("a", "A2"), ("b", "B")], vec!["a", ""]),
            (vec![("", "H"), ("a", "A"), ("b", "B2")], vec!["", "a"]),
        ] {
            let mut rejections = Rejections::default();
            refuse(&mut rejections, &next, "a");
            let tentative = Some(resource(&[("", "H"), ("b", "B")]).version());
            let (hash, message) = (next.parts()[0].hash, "no".to_owned());
            rejections.insert(next.name(), &"".into(), Rejection { hash, message, tentative });
            let found: Vec<String> = rejections
                .prune(&resource(&changed), &Contents::new())
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, gone, "{changed:?}");
        }
    }

    #[test]
    fn a_rejection_ends_when_the_content_changes() {
        let next = resource(&[("", "H"), ("a", "A"), ("b", "B")]);
        let mut rejections = Rejections::default();
        refuse(&mut rejections, &next, "a");
        refuse(&mut rejections, &next, "b");
        assert_eq!(rejections.prune(&next, &Contents::new()), Vec::<Arc<str>>::new());
        let later = resource(&[("", "H"), ("a", "A2")]);
        assert_eq!(rejections.prune(&later, &Contents::new()), ["a".into(), "b".into()]);
        assert_eq!(rejections.resources().count(), 0);
        assert!(!rejections.contains("r"));
    }
}

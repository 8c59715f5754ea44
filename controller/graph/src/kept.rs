//! What was built of a host, and which versions of its objects were the last to fit its budgets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_objects::{Kind, NamespacedName, ObjectRef, Proxy, Secret};

use crate::build::{Report, add_issue};
use crate::few::Packed;
use crate::host::BuiltHost;
use crate::ingress::Indexed;
use crate::status::Issue;

/// One version of an object.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Proxy(Arc<Proxy>),
    Ingress(Indexed),
    Secret(Arc<Secret>),
}

/// A version of an object, and the namespace that pays for what it serves.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) payer: Arc<str>,
    pub(crate) content: Content,
}

impl Version {
    fn is(&self, other: &Self) -> bool {
        match (&self.content, &other.content) {
            (Content::Proxy(one), Content::Proxy(other)) => Arc::ptr_eq(one, other),
            (Content::Ingress(one), Content::Ingress(other)) => one.is(other),
            (Content::Secret(one), Content::Secret(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// Versions of objects. Only pointers: the objects are the store's until they change there.
pub(crate) type Versions = BTreeMap<ObjectRef, Version>;

/// What is remembered of a built host.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) reads: Vec<ObjectRef>,
    pub(crate) reports: Packed<NamespacedName, Report>,
    pub(crate) serves: bool,
    /// Digests of its notes.
    pub(crate) notes: Vec<u64>,
    /// What namespaces pay for it.
    pub(crate) spent: Packed<Arc<str>, u64>,
    /// Namespaces that could not pay for all of it.
    pub(crate) short: BTreeSet<Arc<str>>,
    /// The root that has it, if one does and this is recorded.
    pub(crate) holder: Option<NamespacedName>,
    /// The versions that serve now.
    good: Packed<ObjectRef, Version>,
}

impl Entry {
    /// Remembers a host.
    pub(crate) fn of(built: &mut BuiltHost, serves: bool) -> Self {
        let mut good = std::mem::take(&mut built.used);
        good.retain(|object, _| !built.account.excess.contains(object));
        Self {
            reads: std::mem::take(&mut built.reads).into_iter().collect(),
            reports: std::mem::take(&mut built.reports).into(),
            serves,
            notes: Vec::new(),
            spent: std::mem::take(&mut built.account.spent).into(),
            short: std::mem::take(&mut built.account.short),
            holder: built.holder.take(),
            good: good.into(),
        }
    }

    /// The versions to build from instead of those that exceed a budget: what the offenders were when they served; with `all`, what
    /// everything was that their budget pays for. Only objects that still exist and are reached count.
    pub(crate) fn instead(&self, exceeding: &BuiltHost, all: bool) -> Versions {
        let blamed = &exceeding.account.excess;
        let payers: BTreeSet<&Arc<str>> =
            blamed.iter().filter_map(|object| exceeding.used.get(object)).map(|used| &used.payer).collect();
        let changed = self.good.iter().filter(|(object, version)| {
            let now = exceeding.used.get(*object);
            let concerned = blamed.contains(*object) || (all && payers.contains(&version.payer));
            concerned && now.is_some_and(|now| !now.is(version))
        });
        changed.map(|(object, version)| (object.clone(), version.clone())).collect()
    }

    /// Whether a build leaves out only what did not serve before.
    pub(crate) fn keeps_all(&self, built: &BuiltHost) -> bool {
        built.account.excess.iter().all(|object| self.good.get(object).is_none())
    }
}

impl BuiltHost {
    /// Tells what exceeds budgets, and what is served in its place.
    pub(crate) fn tell_excess(&mut self, instead: &Versions) {
        let mut others: BTreeSet<&ObjectRef> = instead.keys().collect();
        for (object, mut issue) in std::mem::take(&mut self.complaints) {
            others.remove(&object);
            issue.message += if instead.contains_key(&object) {
                "; its last version that fitted is served"
            } else if self.account.excess.contains(&object) {
                "; it is not served"
            } else {
                "; what it served before goes on being served"
            };
            self.tell(&object, issue, true);
        }
        // Whose Secret it is has no status to read it in: who refers to it is told.
        for object in others.into_iter().filter(|object| object.kind != Kind::Secret) {
            let message = "another object of this host exceeds a budget; the last version of this one that fitted is served";
            self.tell(object, Issue::new("SpecError", "TooLarge", message), false);
        }
    }

    fn tell(&mut self, object: &ObjectRef, issue: Issue, error: bool) {
        if object.kind == Kind::Ingress {
            return self.notes.entry(object.name.clone()).or_default().push(issue.message);
        }
        let report = self.reports.entry(object.name.clone()).or_default();
        add_issue(if error { &mut report.errors } else { &mut report.warnings }, issue);
    }

    /// Takes over what an attempt with the present versions found.
    pub(crate) fn after(mut self, first: BuiltHost) -> Self {
        self.reads.extend(first.reads);
        self.complaints.extend(first.complaints);
        self.account.work += first.account.work;
        self.account.short.extend(first.account.short);
        self.services.remember(first.services);
        self
    }
}

//! What differs between what should be and what is there. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use contour_crds::ContourDeployment;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::apply::{self, difference, stamped};
use crate::build::Stages;
use crate::child::{Child, ChildKind, ChildRef};
use crate::ownership::Owner;
use crate::problem::Problem;
use crate::prune::{Situation, obsolete};

/// What a `ContourDeployment` should have.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The children whose content is known.
    pub stages: &'a Stages,
    /// The Secrets with certificates, of which is only said whether they are there.
    pub secrets: &'a [ChildRef],
    /// Secrets that may stay.
    pub kept: &'a [ChildRef],
}

impl Wanted<'_> {
    /// All that is to be there, in the order in which it is applied.
    pub fn all(&self) -> Vec<ChildRef> {
        let before = self.stages.foundation.iter().map(Child::reference);
        let after = [&self.stages.contour, &self.stages.envoy, &self.stages.publishing];
        let after = after.into_iter().flatten().map(Child::reference);
        before.chain(self.secrets.iter().cloned()).chain(after).collect()
    }
}

/// What the operator would do about a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It would be made.
    Missing,
    /// It is being deleted, and would be made anew then.
    Ending,
    /// It would be made what is wanted now: what was applied last was something else.
    Changed,
    /// Somebody edited it: the path of the first such field, which would be set right.
    Edited(String),
    /// An object of this name is in the way, and why it is no child.
    NotOurs(String),
    /// It would be deleted, once what is there runs without it.
    Obsolete,
}

impl Change {
    /// One word, for programs.
    fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ending => "ending",
            Self::Changed => "changed",
            Self::Edited(_) => "edited",
            Self::NotOurs(_) => "notOurs",
            Self::Obsolete => "obsolete",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Ending => f.write_str("is being deleted, and would be made again"),
            Self::Changed => f.write_str("changed"),
            Self::Edited(path) => write!(f, "edited ({path})"),
            Self::NotOurs(why) => write!(f, "not ours: {why}"),
            Self::Obsolete => f.write_str("would be deleted"),
        }
    }
}

/// A child that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub child: ChildRef,
    /// What would be done about it.
    pub change: Change,
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("kind", &self.child.kind.to_string())?;
        if let Some(namespace) = &self.child.namespace {
            fields.serialize_entry("namespace", namespace)?;
        }
        fields.serialize_entry("name", &self.child.name)?;
        fields.serialize_entry("change", self.change.word())?;
        match &self.change {
            Change::Edited(path) => fields.serialize_entry("path", path)?,
            Change::NotOurs(why) => fields.serialize_entry("why", why)?,
            _ => {}
        }
        fields.end()
    }
}

/// How one `ContourDeployment` compares with the cluster.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why it is refused: then nothing would be changed.
    #[serde(serialize_with = "problems")]
    pub refused: Vec<Problem>,
    /// What is not as it should be, in the order in which it would be set right.
    pub differences: Vec<Difference>,
    /// What should be known beside that.
    pub notes: Vec<String>,
}

fn problems<S: Serializer>(all: &[Problem], serializer: S) -> Result<S::Ok, S::Error> {
    let entry = |problem: &Problem| {
        let Problem { field, reason, message } = problem;
        serde_json::json!({ "field": field, "reason": reason, "message": message })
    };
    serializer.collect_seq(all.iter().map(entry))
}

impl Comparison {
    /// One that nothing is known of yet.
    pub fn of(deployment: &ContourDeployment) -> Self {
        Self {
            namespace: deployment.namespace().unwrap_or_default(),
            name: deployment.name_any(),
            ..Self::default()
        }
    }

    /// Whether there is something to tell.
    pub fn differs(&self) -> bool {
        !self.refused.is_empty() || !self.differences.is_empty()
    }

    pub(super) fn add(&mut self, (differences, notes): (Vec<Difference>, Vec<String>)) {
        self.differences.extend(differences);
        self.notes.extend(notes);
    }
}

/// A line for each thing that differs.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.refused {
            writeln!(f, "ContourDeployment {}/{}: refused: {problem}", self.namespace, self.name)?;
        }
        self.differences.iter().try_for_each(|one| writeln!(f, "{}: {}", one.child, one.change))
    }
}

/// What the operator would do, given all objects that have the names or, in the owner's namespace, the labels of children; and what it would
/// leave as it is.
pub fn compare(
    owner: &Owner,
    wanted: &Wanted<'_>,
    found: &BTreeMap<ChildRef, Arc<DynamicObject>>,
) -> (Vec<Difference>, Vec<String>) {
    let contents: BTreeMap<ChildRef, &Child> =
        wanted.stages.all().map(|child| (child.reference(), child)).collect();
    let (mut differences, mut notes) = (Vec::new(), Vec::new());
    for child in wanted.all() {
        let live = found.get(&child).map(|live| &**live);
        let change = change(owner, &child, contents.get(&child).copied(), live);
        match change {
            // Whoever else's it is, it serves the same.
            Some(Change::NotOurs(why)) if child.kind == ChildKind::IngressClass => {
                notes.push(format!("{child} {why}; it is left as it is"));
            }
            Some(change) => differences.push(Difference { child, change }),
            None => {}
        }
    }
    let all: BTreeSet<ChildRef> = wanted.all().into_iter().chain(wanted.kept.iter().cloned()).collect();
    // What does not say that it is one, the operator does not see.
    let ours = found.iter().filter(|(child, live)| {
        owner.is_named_by(&live.metadata) && owner.foreign(child, &live.metadata).is_none()
    });
    let ended = Situation { rolled_out: true, revoke: true };
    let gone = obsolete(ours.map(|(child, _)| child), &all, ended, |child| owner.is_for_served(child)).now;
    differences.extend(gone.into_iter().map(|child| Difference { child, change: Change::Obsolete }));
    (differences, notes)
}

/// What would be done about one child, of which a Secret has no content here.
fn change(
    owner: &Owner,
    child: &ChildRef,
    content: Option<&Child>,
    live: Option<&DynamicObject>,
) -> Option<Change> {
    let Some(live) = live else { return Some(Change::Missing) };
    if let Some(why) = owner.foreign(child, &live.metadata) {
        return Some(Change::NotOurs(why));
    }
    if live.metadata.deletion_timestamp.is_some() {
        return Some(Change::Ending);
    }
    Some(match difference(child.kind, &stamped(content?), Some(live))? {
        apply::Difference::Missing => Change::Missing,
        apply::Difference::Changed => Change::Changed,
        apply::Difference::Drifted(path) => Change::Edited(path),
    })
}

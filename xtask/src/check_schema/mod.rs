//! The proof that our custom resource definitions accept and reject what Contour's do.
//!
//! Both sides are taken apart into facts, such as "the minimum of `.spec.routes[].retryPolicy.count` is -1".
//! The facts must be the same, except for the differences listed in `intended_differences.yaml`, each with
//! its reason. A listed difference that is not there any more is an error too.

mod contour;
mod facts;

use anyhow::{Context, Result};
use facts::{DEFINED, Facts, Key};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

/// The group that both projects serve. What is in other groups is ours alone.
const GROUP: &str = "projectcontour.io";

const INTENDED: &str = include_str!("intended_differences.yaml");

/// What `check-schema` exits with when there is nothing to compare with.
const NOT_AVAILABLE: u8 = 3;

/// Compares and reports. `contour_crds` is a file with Contour's definitions.
pub(crate) fn run(contour_crds: Option<PathBuf>) -> Result<ExitCode> {
    let file = match contour_crds {
        Some(file) => file,
        None => match contour::locate() {
            Ok(file) => file,
            Err(error) => {
                eprintln!("cannot compare: {error:#}");
                eprintln!("install Go, or name a file with Contour's definitions by --contour-crds");
                return Ok(ExitCode::from(NOT_AVAILABLE));
            }
        },
    };
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let theirs: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| format!("cannot parse {}", file.display()))?;
    let intended: Vec<Difference> =
        serde_saphyr::from_str(INTENDED).context("cannot parse intended_differences.yaml")?;
    let theirs = Facts::of(theirs.iter().filter(|crd| facts::group(crd) == GROUP))?;
    let report = compare(&our_facts()?, &theirs, &intended);
    print!("{report}");
    println!("compared {} facts with {}", theirs.len(), file.display());
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn our_facts() -> Result<Facts> {
    let crds: serde_json::Result<Vec<Value>> =
        contour_crds::all_crds().iter().map(serde_json::to_value).collect();
    let crds = crds.context("cannot serialise our definitions")?;
    Facts::of(crds.iter().filter(|crd| facts::group(crd) == GROUP))
}

/// One fact that differs. A side that does not state the fact has no value.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    /// The definition's name, such as `httpproxies.projectcontour.io`.
    crd: String,
    /// Where in the definition, such as `.spec.routes[].services[].port`.
    place: String,
    /// What is said there, such as `minimum`.
    keyword: String,
    #[serde(default)]
    ours: Option<Value>,
    #[serde(default)]
    theirs: Option<Value>,
    /// Why the difference is intended; never given for one that was found.
    #[serde(default)]
    reason: String,
}

impl Difference {
    fn is_same(&self, other: &Self) -> bool {
        (&self.crd, &self.place, &self.keyword, &self.ours, &self.theirs)
            == (&other.crd, &other.place, &other.keyword, &other.ours, &other.theirs)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Option<Value>| value.as_ref().map_or("(absent)".to_owned(), Value::to_string);
        let Self { crd, place, keyword, .. } = self;
        write!(f, "{crd} {place} {keyword}: ours {}, theirs {}", side(&self.ours), side(&self.theirs))
    }
}

/// What a comparison found.
#[derive(Debug, Default, PartialEq)]
struct Report {
    /// Differences that are not listed.
    unlisted: Vec<Difference>,
    /// Listed differences that do not exist.
    stale: Vec<Difference>,
    /// Listed differences without a reason.
    unreasoned: Vec<Difference>,
    /// Listed differences that exist.
    intended: Vec<Difference>,
}

impl Report {
    fn is_clean(&self) -> bool {
        self.unlisted.is_empty() && self.stale.is_empty() && self.unreasoned.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.unlisted {
            writeln!(f, "differs: {difference}")?;
        }
        for difference in &self.stale {
            writeln!(f, "listed as intended, but not so: {difference}")?;
        }
        for difference in &self.unreasoned {
            writeln!(f, "listed without a reason: {difference}")?;
        }
        for difference in &self.intended {
            writeln!(f, "intended: {difference} ({})", difference.reason)?;
        }
        Ok(())
    }
}

fn compare(ours: &Facts, theirs: &Facts, intended: &[Difference]) -> Report {
    let found = differences(ours, theirs);
    let mut report = Report::default();
    for difference in found.iter().filter(|found| !intended.iter().any(|listed| listed.is_same(found))) {
        report.unlisted.push(difference.clone());
    }
    for listed in intended {
        let list = if !found.iter().any(|found| listed.is_same(found)) {
            &mut report.stale
        } else if listed.reason.trim().is_empty() {
            &mut report.unreasoned
        } else {
            &mut report.intended
        };
        list.push(listed.clone());
    }
    report
}

fn differences(ours: &Facts, theirs: &Facts) -> Vec<Difference> {
    let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    // A definition that one side lacks is one difference, not as many as it has facts.
    let both = |key: &Key| ours.defines(&key.crd) && theirs.defines(&key.crd);
    keys.into_iter()
        .filter(|key| ours.get(key) != theirs.get(key) && (key.keyword == DEFINED || both(key)))
        .map(|key| Difference {
            crd: key.crd.clone(),
            place: key.place.clone(),
            keyword: key.keyword.clone(),
            ours: ours.get(key).cloned(),
            theirs: theirs.get(key).cloned(),
            reason: String::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests;

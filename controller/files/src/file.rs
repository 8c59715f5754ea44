//! One file: its documents, each at its last good state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_128;

use crate::document::{self, Document, Key, Outcome, Readings};
use crate::patience::{self, Moment};
use crate::problem::{FileProblem, Severity};
use crate::yaml;

/// A document that applies, unless another file says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// What it says.
    pub(crate) document: Document,
    /// The reading with which it came into the file, or, where it only stays from before, left it.
    pub(crate) scan: u64,
    /// Where it only stays from before: until when; `None`: until the file says something valid about it.
    pub(crate) until: Option<Instant>,
}

/// What is known of a file.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// Digest of the content last parsed.
    digest: Option<u128>,
    /// Whether it held objects and has no document now.
    emptied: bool,
    /// What the file says now.
    pub(crate) fresh: Vec<Standing>,
    /// What it said before about objects that it does not say anything valid about now.
    pub(crate) kept: Vec<Standing>,
    /// What is wrong with it.
    pub(crate) problems: Vec<FileProblem>,
}

impl File {
    /// Takes the content in; parses only what differs from last time.
    pub(crate) fn update(&mut self, path: &Path, content: &[u8], moment: Moment) {
        self.expire(moment);
        let digest = xxh3_128(content);
        if self.digest == Some(digest) {
            return;
        }
        self.digest = Some(digest);
        let Ok(text) = std::str::from_utf8(content) else { return self.fail(path, 0, not_text(content), moment) };
        match yaml::parse::<Readings>(text) {
            Err(error) => self.fail(path, error.line, &error.message, moment),
            Ok(Readings(readings)) => self.replace(path, readings, moment),
        }
    }

    /// The file cannot be read: all stays as it was. Whether there is anything to stay.
    pub(crate) fn unreadable(&mut self, moment: Moment) -> bool {
        self.digest = None;
        self.problems.clear();
        self.keep_all(moment.scan);
        !self.kept.is_empty()
    }

    /// The file is not there. Whether anything of it stays for now.
    pub(crate) fn missing(&mut self, moment: Moment) -> bool {
        self.digest = None;
        self.emptied = false;
        self.problems.clear();
        self.kept.append(&mut self.fresh.drain(..).map(|standing| leaving(standing, moment)).collect());
        // What was broken and is gone is gone.
        self.kept.iter_mut().for_each(|kept| kept.until = kept.until.or(moment.missing()));
        self.expire(moment);
        moment.patient && !self.kept.is_empty()
    }

    /// When the next document of the file ends that only stays for a while.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.kept.iter().filter_map(|kept| kept.until).min()
    }

    /// Lets go of what has stayed long enough.
    fn expire(&mut self, moment: Moment) {
        self.kept.retain(|kept| kept.until.is_none_or(|until| moment.now < until));
        if self.emptied && self.kept.is_empty() {
            self.emptied = false;
            self.problems.clear();
        }
    }

    /// Nothing is known about what the file says now: all of it stays.
    fn keep_all(&mut self, scan: u64) {
        self.kept.iter_mut().for_each(|kept| kept.until = None);
        self.kept.extend(self.fresh.drain(..).map(|standing| Standing { scan, until: None, ..standing }));
    }

    fn fail(&mut self, path: &Path, line: u32, message: &str, moment: Moment) {
        self.keep_all(moment.scan);
        self.emptied = false;
        self.problems = vec![problem(path, line, !self.kept.is_empty(), message)];
    }

    fn replace(&mut self, path: &Path, readings: Vec<document::Reading>, moment: Moment) {
        let since: BTreeMap<Key, u64> =
            self.fresh.iter().map(|fresh| (fresh.document.key.clone(), fresh.scan)).collect();
        let empty = readings.is_empty();
        let leaving = self.fresh.drain(..).map(|standing| leaving(standing, moment));
        let before: Vec<_> = self.kept.drain(..).chain(leaving).collect();
        let had: BTreeSet<Key> = before.iter().map(|standing| standing.document.key.clone()).collect();
        let (mut invalid, mut unnamed) = (BTreeSet::new(), false);
        self.problems.clear();
        for reading in readings {
            let kept = match &reading.outcome {
                Outcome::Invalid(key) => had.contains(key),
                Outcome::Unnamed => !before.is_empty(),
                Outcome::Valid(_) | Outcome::Foreign => false,
            };
            self.problems.extend(reading.issues.into_iter().map(|issue| FileProblem {
                object: issue.object,
                severity: issue.severity,
                ..problem(path, issue.line, kept && issue.severity == Severity::Error, &issue.message)
            }));
            match reading.outcome {
                Outcome::Valid(document) => {
                    let scan = since.get(&document.key).copied().unwrap_or(moment.scan);
                    self.fresh.push(Standing { document, scan, until: None });
                }
                Outcome::Invalid(key) => drop(invalid.insert(key)),
                Outcome::Unnamed => unnamed = true,
                Outcome::Foreign => {}
            }
        }
        // A document that does not say which object it is may be any that the file held before.
        let said: BTreeSet<&Key> = self.fresh.iter().map(|fresh| &fresh.document.key).collect();
        let stays = |standing: Standing| match &standing.document.key {
            key if said.contains(key) => None,
            key if unnamed || invalid.contains(key) => Some(Standing { until: None, ..standing }),
            _ => {
                let patience = if empty { moment.emptied() } else { moment.missing() };
                let until = standing.until.or(patience)?;
                Some(Standing { until: Some(until), ..standing })
            }
        };
        let kept: Vec<_> = before.into_iter().filter_map(stays).collect();
        self.kept = kept;
        self.emptied = empty && !self.kept.is_empty();
        if self.emptied {
            self.problems.push(problem(path, 0, true, &patience::is_empty()));
        }
    }
}

/// A document that was in the file until now.
fn leaving(standing: Standing, moment: Moment) -> Standing {
    Standing { scan: moment.scan, until: None, ..standing }
}

fn problem(path: &Path, line: u32, kept: bool, message: &str) -> FileProblem {
    let (file, message) = (path.to_owned(), message.to_owned());
    FileProblem { file, line, object: None, severity: Severity::Error, kept, message }
}

/// What content is that is no text.
fn not_text(content: &[u8]) -> &'static str {
    match content {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "is UTF-16, as PowerShell's `>` writes it: save it as UTF-8",
        _ => "is not UTF-8",
    }
}

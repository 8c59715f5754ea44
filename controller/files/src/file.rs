//! One file: its documents, each at its last good state.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_128;

use crate::document::{Document, Key, Outcome, Reading, Readings};
use crate::problem::{FileProblem, Severity};
use crate::yaml;

/// How long a file that became empty keeps its objects: `helm template > x.yaml` empties it before it renders.
const GRACE: Duration = Duration::from_secs(10);

/// What is known of a file.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// Digest of the content last parsed.
    digest: Option<u128>,
    /// Where it has no document any more: until when it keeps what it held.
    grace: Option<Instant>,
    /// What the file says now.
    pub(crate) fresh: Vec<Document>,
    /// What it said before about objects that it does not say anything valid about now.
    pub(crate) kept: Vec<Document>,
    /// What is wrong with it.
    pub(crate) problems: Vec<FileProblem>,
}

impl File {
    /// Takes the content in; parses only what differs from last time.
    pub(crate) fn update(&mut self, path: &Path, content: &[u8], now: Instant) {
        let digest = xxh3_128(content);
        if self.digest != Some(digest) {
            self.digest = Some(digest);
            self.parse(path, content, now);
        }
        if self.grace.is_some_and(|until| until <= now) {
            self.grace = None;
            self.kept.clear();
            self.problems = vec![problem(path, 0, false, "is empty: what it held is gone")];
        }
    }

    /// When to look at the file again although it did not change.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.grace
    }

    /// The file cannot be read: all stays as it was. Whether there is anything to stay.
    pub(crate) fn unreadable(&mut self) -> bool {
        self.digest = None;
        self.problems.clear();
        self.keep_all();
        !self.kept.is_empty()
    }

    fn parse(&mut self, path: &Path, content: &[u8], now: Instant) {
        let Ok(text) = std::str::from_utf8(content) else { return self.fail(path, 0, not_text(content)) };
        match yaml::parse::<Readings>(text) {
            Err(error) => self.fail(path, error.line, &error.message),
            Ok(Readings { documents: 0, .. }) => self.empty(path, now),
            Ok(readings) => self.replace(path, readings.all),
        }
    }

    /// The file has no document. If it had, it may be about to be written.
    fn empty(&mut self, path: &Path, now: Instant) {
        let until = self.grace.unwrap_or(now + GRACE);
        self.keep_all();
        self.problems.clear();
        if !self.kept.is_empty() {
            self.grace = Some(until);
            let message =
                format!("is empty now; if it stays so for {} seconds, what it held is gone", GRACE.as_secs());
            self.problems.push(problem(path, 0, true, &message));
        }
    }

    fn keep_all(&mut self) {
        self.grace = None;
        self.kept.append(&mut self.fresh);
    }

    fn fail(&mut self, path: &Path, line: u32, message: &str) {
        self.keep_all();
        self.problems = vec![FileProblem {
            severity: Severity::Error,
            ..problem(path, line, !self.kept.is_empty(), message)
        }];
    }

    fn replace(&mut self, path: &Path, readings: Vec<Reading>) {
        let before: Vec<_> = self.fresh.drain(..).chain(self.kept.drain(..)).collect();
        let had = |key: &Key| before.iter().any(|document| document.key == *key);
        let (mut invalid, mut unnamed) = (BTreeSet::new(), false);
        self.problems.clear();
        self.grace = None;
        for reading in readings {
            let kept = match &reading.outcome {
                Outcome::Invalid(key) => had(key),
                Outcome::Unnamed => !before.is_empty(),
                Outcome::Valid(_) | Outcome::Foreign => false,
            };
            self.problems.extend(reading.issues.into_iter().map(|issue| FileProblem {
                file: path.to_owned(),
                line: issue.line,
                object: issue.object,
                kept: kept && issue.severity == Severity::Error,
                severity: issue.severity,
                message: issue.message,
            }));
            match reading.outcome {
                Outcome::Valid(document) => self.fresh.push(document),
                Outcome::Invalid(key) => drop(invalid.insert(key)),
                Outcome::Unnamed => unnamed = true,
                Outcome::Foreign => {}
            }
        }
        // A document that does not say which object it is may be any that the file held before.
        let said: BTreeSet<_> = self.fresh.iter().map(|document| document.key.clone()).collect();
        let stays = |key: &Key| !said.contains(key) && (unnamed || invalid.contains(key));
        self.kept = before.into_iter().filter(|document| stays(&document.key)).collect();
    }
}

/// A warning about a file.
fn problem(path: &Path, line: u32, kept: bool, message: &str) -> FileProblem {
    let (file, message) = (path.to_owned(), message.to_owned());
    FileProblem { file, line, object: None, severity: Severity::Warning, kept, message }
}

/// What content is that is no text.
fn not_text(content: &[u8]) -> &'static str {
    match content {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "is UTF-16, as PowerShell's `>` writes it: save it as UTF-8",
        _ => "is not UTF-8",
    }
}

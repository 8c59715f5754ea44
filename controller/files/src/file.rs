//! One file: its documents, each at its last good state.

use std::collections::BTreeSet;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use crate::document::{self, Document, Key, Outcome};
use crate::problem::{FileProblem, Severity};
use crate::yaml;

/// What is known of a file.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// Digest of the content last parsed.
    digest: Option<u128>,
    /// What the file says now.
    pub(crate) fresh: Vec<Document>,
    /// What it said before about objects that it does not say anything valid about now.
    pub(crate) kept: Vec<Document>,
    /// What is wrong with it.
    pub(crate) problems: Vec<FileProblem>,
}

impl File {
    /// Takes the content in; parses only what differs from last time.
    pub(crate) fn update(&mut self, path: &Path, content: &[u8]) {
        let digest = xxh3_128(content);
        if self.digest == Some(digest) {
            return;
        }
        self.digest = Some(digest);
        let Ok(text) = std::str::from_utf8(content) else { return self.fail(path, 0, "is not UTF-8") };
        match yaml::parse(text) {
            Err(error) => self.fail(path, error.line, &format!("is not valid YAML: {}", error.message)),
            Ok(nodes) => self.replace(path, nodes.iter().flat_map(document::read).collect()),
        }
    }

    /// The file cannot be read: all stays as it was. Whether there is anything to stay.
    pub(crate) fn unreadable(&mut self) -> bool {
        self.digest = None;
        self.problems.clear();
        self.kept.append(&mut self.fresh);
        !self.kept.is_empty()
    }

    fn fail(&mut self, path: &Path, line: u32, message: &str) {
        self.kept.append(&mut self.fresh);
        self.problems = vec![FileProblem {
            file: path.to_owned(),
            line,
            object: None,
            severity: Severity::Error,
            kept: !self.kept.is_empty(),
            message: message.to_owned(),
        }];
    }

    fn replace(&mut self, path: &Path, readings: Vec<document::Reading>) {
        let before: Vec<_> = self.fresh.drain(..).chain(self.kept.drain(..)).collect();
        let had = |key: &Key| before.iter().any(|document| document.key == *key);
        let (mut invalid, mut unnamed) = (BTreeSet::new(), false);
        self.problems.clear();
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

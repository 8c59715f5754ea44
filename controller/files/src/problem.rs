//! What is wrong with a file, and where.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// How much a problem costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What is told does not apply; the last good state serves.
    Error,
    /// What is told is left out, the rest applies.
    Warning,
}

/// One problem of one file; gone from the next report when it is fixed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FileProblem {
    /// The file, relative to the directory.
    pub file: PathBuf,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: u32,
    /// The object, as `HTTPProxy team/name`, where the document says which it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Whether the object's new state is lost, or only a part of it.
    pub severity: Severity,
    /// Whether an earlier good state of the object, or of all objects of the file, still applies.
    pub kept: bool,
    /// What is wrong. Never holds a value of a Secret.
    pub message: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if let Some(object) = &self.object {
            write!(f, " {object}:")?;
        }
        write!(f, " {}", self.message)?;
        f.write_str(if self.kept { " (the last good state still serves)" } else { "" })
    }
}

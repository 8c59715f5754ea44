//! How long what a file no longer says stays, in case the file is only being written.

use std::time::{Duration, Instant};

/// An empty file is often one that a program has only begun to write: `helm template > x.yaml` empties it before it renders.
const EMPTIED: Duration = Duration::from_secs(10);
/// A file that is gone may come back under its name, as editors do it, and one that lacks objects may only be half written.
const MISSING: Duration = Duration::from_secs(2);

/// The moment of a reading, and how patient it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// When it is.
    pub(crate) now: Instant,
    /// Which reading of the directory it is, from 1.
    pub(crate) scan: u64,
    /// Whether what vanishes stays for a while.
    pub(crate) patient: bool,
}

impl Moment {
    /// Until when the objects of a file stay that became empty.
    pub(crate) fn emptied(self) -> Option<Instant> {
        self.patient.then(|| self.now + EMPTIED)
    }

    /// Until when an object stays that is not in its file any more, or whose file is gone.
    pub(crate) fn missing(self) -> Option<Instant> {
        self.patient.then(|| self.now + MISSING)
    }
}

/// What is told about a file that became empty.
pub(crate) fn is_empty() -> String {
    format!(
        "is empty now, as a file is that is about to be written anew; if it stays so, its objects end in {} seconds",
        EMPTIED.as_secs()
    )
}

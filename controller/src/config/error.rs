//! What can be wrong with the configuration, and where.

use std::fmt::{self, Display};
use std::io;
use std::path::PathBuf;

use contour_objects::NamespacedName;
use thiserror::Error;

/// Where a setting was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A flag of `contour serve`, with its dashes.
    Flag(&'static str),
    /// A key of the configuration file, as a dotted path from its top.
    Key(String),
    /// A field of the ContourConfiguration, from `spec`.
    Field(String),
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Field(path) => f.write_str(path),
            Self::Key(path) => write!(f, "key {path}"),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The file is not YAML, holds a key nobody reads, or a value of the wrong type. Only the first is found.
    #[error("line {line}, column {column}: {problem}")]
    Parse {
        /// Line in the file, from 1; 0 where the parser cannot tell.
        line: u64,
        /// Column in the file, from 1; 0 where the parser cannot tell.
        column: u64,
        /// The key's path, what is wrong, and what would be right.
        problem: String,
    },
    /// A value that no installation can have.
    #[error("{place}: {problem}; {way_out}")]
    Invalid {
        /// Flag, key or field.
        place: Place,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        way_out: String,
    },
    /// A value that Contour takes and this version does not yet.
    #[error("{place}: {feature} is not supported yet; {way_out}")]
    Unsupported {
        /// Flag, key or field.
        place: Place,
        /// The feature asked for.
        feature: &'static str,
        /// How to go on without it.
        way_out: String,
    },
}

impl ConfigError {
    /// A wrong value at a key.
    pub(super) fn key(
        path: impl Into<String>,
        problem: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Self {
        Self::Invalid { place: Place::Key(path.into()), problem: problem.into(), way_out: way_out.into() }
    }

    /// A wrong value at a flag.
    pub(super) fn flag(flag: &'static str, problem: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::Invalid { place: Place::Flag(flag), problem: problem.into(), way_out: way_out.into() }
    }

    /// A wrong value at either.
    pub(super) fn at(place: Place, problem: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::Invalid { place, problem: problem.into(), way_out: way_out.into() }
    }
}

impl From<ConfigError> for Vec<ConfigError> {
    fn from(error: ConfigError) -> Self {
        vec![error]
    }
}

/// Why `contour serve` has no settings to start with.
#[derive(Debug, Error)]
pub enum LoadError {
    /// `--config-path` cannot be read.
    #[error("--config-path: cannot read {path}; name a file that this process may read, or leave the flag out", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Flags or file hold what cannot be: every problem found, not just the first.
    #[error("{}", listing(file.as_ref().map(|file| format!("keys are those of {}", file.display())), errors))]
    Invalid {
        /// The file, where one was given.
        file: Option<PathBuf>,
        /// At least one.
        errors: Vec<ConfigError>,
    },
    /// Flags or the ContourConfiguration hold what cannot be: every problem found, not just the first.
    #[error("{}", listing(Some(format!("fields are those of ContourConfiguration {object}")), errors))]
    InvalidObject {
        /// The object.
        object: NamespacedName,
        /// At least one.
        errors: Vec<ConfigError>,
    },
}

/// All errors, one a line, below a line that counts them and says where their names are from.
fn listing(origin: Option<String>, errors: &[ConfigError]) -> String {
    let count = match errors.len() {
        1 => String::from("1 setting is wrong"),
        n => format!("{n} settings are wrong"),
    };
    let origin = origin.map(|origin| format!(" ({origin})")).unwrap_or_default();
    let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
    format!("{count}{origin}:{}", lines.concat())
}

/// Gathers what is wrong while the rest is still being read, so that all of it is told at once.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: Vec<ConfigError>,
}

impl Findings {
    /// The value, or the fallback after noting the errors; [`Self::conclude`] lets no fallback out.
    pub(super) fn take_or<T>(&mut self, checked: Result<T, impl Into<Vec<ConfigError>>>, fallback: T) -> T {
        checked.unwrap_or_else(|errors| {
            self.errors.extend(errors.into());
            fallback
        })
    }

    /// As [`Self::take_or`], with the type's default to fall back on.
    pub(super) fn take<T: Default>(&mut self, checked: Result<T, impl Into<Vec<ConfigError>>>) -> T {
        self.take_or(checked, T::default())
    }

    /// The value if nothing was wrong, else everything that was.
    pub(super) fn conclude<T>(self, value: T) -> Result<T, Vec<ConfigError>> {
        if self.errors.is_empty() { Ok(value) } else { Err(self.errors) }
    }
}

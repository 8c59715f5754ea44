//! What is wrong with a `ContourDeployment`, for the person who wrote it.

use std::fmt;

/// One thing that is wrong with a `ContourDeployment`. Nothing is applied while there is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The path of the field, such as `spec.envoy.ports.http`.
    pub field: String,
    /// One word for the kind of problem, fit for the reason of a condition.
    pub reason: &'static str,
    /// The cause and the way out, in a sentence that does not repeat the field.
    pub message: String,
}

impl Problem {
    /// A value that cannot be used.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: "Invalid", message: message.into() }
    }

    /// What another `ContourDeployment` already has.
    pub fn clash(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: "Clash", message: message.into() }
    }

    /// What policy does not allow.
    pub fn forbidden(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: "Forbidden", message: message.into() }
    }

    /// What the controller cannot do yet.
    pub fn unsupported(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: "Unsupported", message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

//! What one side works with, told to whoever rotates it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Certificate;

/// The public part of what one side of the connection has loaded: the answer to `GET /certificates`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Fingerprints of the authorities it trusts, see [`Certificate::sha256`].
    pub authorities: BTreeSet<String>,
    /// The certificate it shows.
    pub certificate: Shown,
}

/// A certificate, by what is needed to tell it from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Its fingerprint, see [`Certificate::sha256`].
    pub sha256: String,
    /// End of its validity.
    pub not_after: Timestamp,
}

impl Credentials {
    /// What trusting `authorities` and showing `leaf` is told as.
    pub fn of<'a>(authorities: impl IntoIterator<Item = &'a Certificate>, leaf: &Certificate) -> Self {
        Self {
            authorities: authorities.into_iter().map(Certificate::sha256).collect(),
            certificate: Shown { sha256: leaf.sha256(), not_after: leaf.not_after() },
        }
    }
}

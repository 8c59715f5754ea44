//! Where the look meets the rotation of certificates.

use std::time::Duration;

use contour_crds::ContourDeployment;

use super::{Context, Error, REGULAR};
use crate::child::{Child, ChildRef};
use crate::names::Names;
use crate::observe::Live;
use crate::problem::Problem;
use crate::status::Certificates;

/// What a look at the certificates came to.
pub(super) struct Looked {
    /// The Secrets as they should be.
    pub(super) secrets: Vec<Child>,
    /// Secrets that are not written and not to be removed either.
    pub(super) kept: Vec<ChildRef>,
    /// What is wrong with the user's own.
    pub(super) problems: Vec<Problem>,
    /// What to tell.
    pub(super) told: Certificates,
    /// When to look again.
    pub(super) again: Duration,
}

/// Looks at the certificates.
pub(super) async fn look(
    _context: &Context,
    _deployment: &ContourDeployment,
    _names: &Names,
    _live: &Live,
) -> Result<Looked, Error> {
    Ok(Looked {
        secrets: Vec::new(),
        kept: Vec::new(),
        problems: Vec::new(),
        told: Certificates::default(),
        again: REGULAR,
    })
}

//! What is wrong with a `ContourDeployment` that its schema cannot tell.

use contour_crds::ContourDeployment;

use crate::defaults::Defaults;
use crate::names::Names;
use crate::problem::Problem;

/// Everything that is wrong with a `ContourDeployment`, looked at alone. Empty: it can be built.
pub fn validate(deployment: &ContourDeployment, _defaults: &Defaults) -> Vec<Problem> {
    Names::of(deployment).err().into_iter().collect()
}

//! What two `ContourDeployment`s cannot both have. The later one is told, and changes nothing.

use contour_crds::ContourDeployment;

use crate::names::DEFAULT_CLASS;
use crate::problem::Problem;

/// What of this `ContourDeployment` an earlier one has already. Earlier is the older one, and of two of the same age the one whose
/// namespace and name come first. `others` may contain the object itself.
pub fn clashes<'a>(
    deployment: &ContourDeployment,
    others: impl IntoIterator<Item = &'a ContourDeployment>,
) -> Vec<Problem> {
    let earlier = others.into_iter().filter(|other| order(other) < order(deployment));
    let same = earlier.filter(|other| class(other) == class(deployment));
    same.map(|other| {
        Problem::clash(
            "spec.ingressClassName",
            format!(
                "class \"{}\" is already served by the older ContourDeployment {}; name another class, or delete one of the two",
                class(deployment),
                told(other)
            ),
        )
    })
    .collect()
}

fn class(deployment: &ContourDeployment) -> &str {
    deployment.spec.ingress_class_name.as_deref().unwrap_or(DEFAULT_CLASS)
}

fn told(deployment: &ContourDeployment) -> String {
    let metadata = &deployment.metadata;
    format!(
        "{}/{}",
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default()
    )
}

/// By age, then by namespace and name. An object without a time was not created yet, so it comes last.
fn order(deployment: &ContourDeployment) -> impl Ord + use<> {
    let metadata = &deployment.metadata;
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created.is_none(), created, metadata.namespace.clone(), metadata.name.clone())
}

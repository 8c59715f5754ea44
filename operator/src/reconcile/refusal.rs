//! What is wrong with a `ContourDeployment`, and what it was before that.

use std::time::Duration;

use contour_crds::{ContourDeployment, ContourDeploymentStatus};
use kube::ResourceExt as _;

use super::{Context, REGULAR, adopt, certificates};
use crate::clash::accepted;
use crate::problem::Problem;
use crate::rules::judge;
use crate::status::Certificates;
use crate::validate::validate;

/// When to look again for Secrets that are to come.
const ASK: Duration = Duration::from_secs(5);

/// Why a `ContourDeployment` is not accepted as it is.
pub(super) struct Refusal {
    pub(super) problems: Vec<Problem>,
    /// What to tell of the user's own certificates, if they are what is wrong.
    pub(super) certificates: Option<Certificates>,
    /// When to look again.
    pub(super) again: Duration,
}

/// What is wrong with a `ContourDeployment`: alone, beside others, or with the Secrets that it names.
pub(super) async fn refusal(
    deployment: &ContourDeployment,
    before: &ContourDeploymentStatus,
    context: &Context,
) -> Refusal {
    let mut refusal = Refusal { problems: Vec::new(), certificates: None, again: REGULAR };
    let others = context.caches.deployments.state();
    let others = others.iter().map(|other| &**other);
    refusal.problems = judge(deployment, others, &context.defaults, |deployment| context.forbids(deployment));
    if refusal.problems.is_empty() && deployment.spec.adopt {
        refusal.problems = adopt::refused(deployment, before, context).await;
    }
    // That they cannot be read is found again, and told, where they are needed.
    let namespace = deployment.namespace().unwrap_or_default();
    if refusal.problems.is_empty()
        && let Some(own) = &deployment.spec.certificates.secret_refs
        && let Ok((problems, told)) = certificates::users_own(context, &namespace, own).await
        && !problems.is_empty()
    {
        refusal.problems = problems;
        refusal.certificates = Some(told);
        // Secrets of users have no label of ours, so nobody tells when they come.
        refusal.again = ASK;
    }
    refusal
}

/// A `ContourDeployment` as it was when nothing was wrong with it.
pub(super) fn last_accepted(
    deployment: &ContourDeployment,
    before: &ContourDeploymentStatus,
    context: &Context,
) -> Option<ContourDeployment> {
    let last = accepted(deployment, before)?;
    // Another version of us may have accepted it.
    validate(&last, &context.defaults).is_empty().then_some(last)
}

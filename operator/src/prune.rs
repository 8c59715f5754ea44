//! What is there and not wanted any more, and when it may go. Pure.

use std::collections::BTreeSet;

use crate::child::{ChildKind, ChildRef};

/// What decides whether something may go yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// Contour and Envoy run as they should, so nothing needs any more what they do not.
    pub rolled_out: bool,
    /// Rights that were narrowed may go: pods of Contour that need them are no more, or will not go by themselves.
    pub revoke: bool,
}

/// What is not wanted any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obsolete {
    /// To be deleted now.
    pub now: Vec<ChildRef>,
    /// To be deleted once the rollouts have ended: pods of before may still need it.
    pub later: Vec<ChildRef>,
}

/// Which of the live children are not among the wanted ones.
///
/// - What steers a workload that it does not steer any more, or keeps others from its pods, goes at once: an autoscaler would fight over the replicas.
/// - A workload goes when the one that replaces it runs. Until then it may have to make room for it: see [`crate::reconcile`].
/// - Rights to what is served, which `is_right` tells, go whatever else is rolled out.
/// - The rest goes when all pods run as they should: Secrets and maps serve pods of before until then.
pub fn obsolete<'a>(
    live: impl IntoIterator<Item = &'a ChildRef>,
    wanted: &BTreeSet<ChildRef>,
    situation: Situation,
    is_right: impl Fn(&ChildRef) -> bool,
) -> Obsolete {
    let mut obsolete = Obsolete::default();
    for child in live.into_iter().filter(|child| !wanted.contains(child)) {
        let now = match child.kind {
            ChildKind::HorizontalPodAutoscaler
            | ChildKind::PodDisruptionBudget
            | ChildKind::NetworkPolicy => true,
            _ if is_right(child) => situation.rolled_out || situation.revoke,
            _ => situation.rolled_out,
        };
        if now { &mut obsolete.now } else { &mut obsolete.later }.push(child.clone());
    }
    obsolete
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(kind: ChildKind, name: &str) -> ChildRef {
        ChildRef { kind, namespace: kind.namespaced().then(|| "n".to_owned()), name: name.to_owned() }
    }

    #[test]
    fn what_is_wanted_stays_and_the_rest_goes_in_its_time() {
        use ChildKind::{
            DaemonSet, Deployment, HorizontalPodAutoscaler, NetworkPolicy, PodDisruptionBudget, Role, Secret,
        };
        let wanted: BTreeSet<_> =
            [child(Deployment, "contour"), child(Deployment, "envoy"), child(Role, "contour")].into();
        for (kind, before) in [
            (DaemonSet, false),
            (Deployment, false),
            (Role, false),
            (Secret, false),
            (HorizontalPodAutoscaler, true),
            (PodDisruptionBudget, true),
            (NetworkPolicy, true),
        ] {
            let old = child(kind, "old");
            let live: Vec<_> = wanted.iter().chain([&old]).cloned().collect();
            for (rolled_out, now) in [(false, before), (true, true)] {
                let situation = Situation { rolled_out, revoke: false };
                let found = obsolete(&live, &wanted, situation, |_| false);
                let expected = (
                    if now { vec![old.clone()] } else { vec![] },
                    if now { vec![] } else { vec![old.clone()] },
                );
                assert_eq!((found.now, found.later), expected, "{old} {situation:?}");
            }
        }
    }

    #[test]
    fn another_namespace_or_kind_is_another_object() {
        let wanted: BTreeSet<_> = [child(ChildKind::Role, "r")].into();
        let elsewhere = ChildRef { namespace: Some("m".to_owned()), ..child(ChildKind::Role, "r") };
        let binding = child(ChildKind::RoleBinding, "r");
        let found =
            obsolete([&elsewhere, &binding], &wanted, Situation { rolled_out: true, revoke: false }, |_| {
                false
            });
        assert_eq!(found.now, [elsewhere, binding]);
    }

    #[test]
    fn rights_to_what_is_served_do_not_wait_for_what_is_rolled_out() {
        let (right, other) = (child(ChildKind::Role, "resources"), child(ChildKind::Role, "contour"));
        for (revoke, now) in [(false, vec![]), (true, vec![right.clone()])] {
            let situation = Situation { rolled_out: false, revoke };
            let found = obsolete([&right, &other], &BTreeSet::new(), situation, |child| *child == right);
            assert_eq!(found.now, now);
        }
    }
}

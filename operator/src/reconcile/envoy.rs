//! The steps of a look that concern Envoy: its workload, the ways to it, and what is left of another workload.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::DynamicObject;

use super::publishing::{Turn, turn, waits_for_load_balancer};
use super::rollout::Because;
use super::room::yields;
use super::steps::{Walk, may_write};
use super::workloads::{envoy_workload, live_envoys, template, typed};
use super::{Error, SOON};
use crate::apply::{Difference, difference, stamped};
use crate::build::{Stages, is_open};
use crate::child::{Child, ChildKind, ChildRef};
use crate::names::Names;

impl Walk<'_> {
    /// Applies Envoy, as far as it may change now. Returns whether something has to wait.
    ///
    /// What someone edited or deleted is healed at once; what is to change waits for the controller to have rolled out.
    pub(super) async fn roll_envoy(&mut self, stages: &Stages, contour_rolled_out: bool) -> bool {
        let workload = envoy_ref(stages, self.names);
        let runs = live_envoys(&self.live, self.owner).next().is_some();
        let unbalanced = self.waits_for_load_balancer(stages);
        let (mut held, mut whole) = (false, true);
        for child in &stages.envoy {
            let reference = child.reference();
            let is_workload = Some(&reference) == workload.as_ref();
            let live = self.live.children.get(&reference);
            let found = difference(child.kind, &stamped(child), live.map(|live| &**live));
            let before = self.before.envoy.is_some() && !(is_workload && runs);
            // Pods of a workload need what comes before it.
            let holds = !contour_rolled_out || unbalanced || !whole;
            if found.is_none_or(|found| may_write(&found, holds, before)) {
                let applied = self.apply(child).await;
                whole &= self.tried(applied).is_some();
            } else {
                held = true;
            }
        }
        if held && contour_rolled_out && unbalanced {
            self.again = self.again.min(SOON);
            self.wait(Because::new(
                "WaitingForLoadBalancer",
                "Envoy stays on the network of its nodes until its load balancer has an address",
            ));
        } else if held {
            self.wait(Because::new("WaitingForContour", "Envoy changes when Contour has rolled out"));
        }
        held || !whole
    }

    fn waits_for_load_balancer(&self, stages: &Stages) -> bool {
        let wanted = envoy_workload(&stages.envoy, self.names).and_then(|child| template(&child.object));
        let live = live_envoys(&self.live, self.owner).find_map(|(_, object)| template(object));
        let Some(wanted) = wanted else { return false };
        waits_for_load_balancer(live.as_ref(), &wanted, self.envoy_service().as_ref())
    }

    pub(super) fn envoy_service(&self) -> Option<Service> {
        let reference = self.names.child(ChildKind::Service, &self.names.envoy);
        self.live.children.get(&reference).and_then(|object| typed(object))
    }

    /// Applies the ways to Envoy whose turn it is.
    pub(super) async fn publish(&mut self, stages: &Stages, now: Turn) {
        for child in &stages.publishing {
            let reference = child.reference();
            let live = self.live.children.get(&reference);
            let its = if child.kind == ChildKind::NetworkPolicy {
                turn_of_policy(child, live.map(|live| &**live))
            } else {
                let live: Option<Service> = live.and_then(|object| typed(object));
                typed::<Service>(&child.object).map_or(Turn::WithEnvoy, |wanted| turn(live.as_ref(), &wanted))
            };
            if its == now {
                let applied = self.apply(child).await;
                self.tried(applied);
            }
        }
    }

    /// Has a workload of Envoy that is not wanted any more give up what the new one waits for. It goes when that one serves.
    pub(super) async fn make_room(
        &mut self,
        stages: &Stages,
        wanted: &BTreeSet<ChildRef>,
    ) -> Result<(), Error> {
        let Some(new) = envoy_ref(stages, self.names) else { return Ok(()) };
        let Some(new) = self.live.children.get_key_value(&new).map(|(new, object)| (new, &**object)) else {
            return Ok(());
        };
        let former = live_envoys(&self.live, self.owner).filter(|(reference, _)| !wanted.contains(reference));
        let found = former.filter(|(_, object)| object.metadata.deletion_timestamp.is_none()).find_map(
            |(old, object)| {
                Some((old, object, yields((old, object), new, &self.live.envoy, &self.live.lost)?))
            },
        );
        let Some((old, object, patch)) = found else { return Ok(()) };
        Ok(self.context.writer.change(old, object, patch).await?)
    }
}

/// Which child Envoy's workload is.
pub(super) fn envoy_ref(stages: &Stages, names: &Names) -> Option<ChildRef> {
    envoy_workload(&stages.envoy, names).map(Child::reference)
}

/// What lets more in comes before Envoy changes, and what lets less in when the pods that it is for run. What was edited is set right.
fn turn_of_policy(wanted: &Child, live: Option<&DynamicObject>) -> Turn {
    let found = difference(wanted.kind, &stamped(wanted), live);
    let edited = matches!(found, Some(Difference::Drifted(_)));
    let open = typed::<NetworkPolicy>(&wanted.object).is_some_and(|policy| is_open(&policy));
    if edited || (open && live.is_some()) { Turn::BeforeEnvoy } else { Turn::AfterEnvoy }
}

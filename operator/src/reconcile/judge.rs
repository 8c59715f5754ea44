//! How far the workloads of a look have come, and what is told of that.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::REGULAR;
use super::deadlines::{self, LATE, failed_create};
use super::rollout::{Because, Rollout, UNSCHEDULABLE, View, Workload};
use super::steps::Walk;
use super::workloads::live_envoys;
use crate::build;
use crate::child::{ChildKind, ChildRef};
use crate::status::{condition, find};
use crate::writer::category;

/// When to look again while pods are lacking: why, is told in Events that are not watched.
const LACKING: Duration = Duration::from_secs(2);

/// How far a workload has come, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It runs as it should.
    Complete,
    /// Not yet.
    Waiting,
    /// It will not without help.
    Failing,
}

impl Walk<'_> {
    /// How far a workload has come. If it is not complete, the report says why.
    pub(super) async fn judge(
        &mut self,
        reference: &ChildRef,
        component: build::Component,
        name: &str,
    ) -> Progress {
        let Some(workload) = self.workload(reference, component) else {
            return Progress::Waiting;
        };
        let (now, deadlines) = ((self.context.clock)(), reference.kind == ChildKind::DaemonSet);
        let late = deadlines.then(|| {
            let told = find(self.before, condition::DEGRADED).is_some_and(|told| told.reason == LATE);
            self.context
                .remember(self.deployment, |memory| memory.deadlines.pass(reference, &workload, now, told))
        });
        let because = match workload.rollout.clone() {
            Rollout::Complete => return Progress::Complete,
            Rollout::Failing(because) => because,
            Rollout::Waiting(because, until) => {
                let refused = self.refused_pods(reference, &workload).await;
                let until = until.into_iter().chain(late.flatten()).min();
                let late = || until.filter(|until| *until <= now).map(|_| deadlines::late(&because));
                let Some(lasting) = refused.or_else(late) else {
                    self.until(until, now);
                    let mut message = format!("{name}: {}", because.message);
                    if workload.unplaced {
                        message.push_str(&self.way_out(name));
                    }
                    self.wait(Because::new(format!("{}{name}", because.reason), message));
                    return Progress::Waiting;
                };
                lasting
            }
        };
        let mut message = format!("{name} does not roll out: {}", because.message);
        if because.reason == UNSCHEDULABLE {
            message.push_str(&self.way_out(name));
        }
        self.report.failing.get_or_insert(Because::new(because.reason, message));
        Progress::Failing
    }

    /// What helps a workload whose pods find no node.
    fn way_out(&self, name: &str) -> String {
        let field = name.to_lowercase();
        let mut text = format!("; set spec.{field}.placement right, or make room on the nodes that it names");
        if name == "Envoy" && live_envoys(&self.live, self.owner).count() > 1 {
            text.push_str(
                "; what ran before serves until this does, and spec.envoy.workload can be set back",
            );
        }
        text
    }

    fn workload(&self, reference: &ChildRef, component: build::Component) -> Option<Workload> {
        let pods = self.live.pods_of(component);
        super::workloads::judge(reference.kind, self.live.children.get(reference)?, pods, self.view())
    }

    pub(super) fn view(&self) -> View<'_> {
        View { lost: &self.live.lost, now: (self.context.clock)() }
    }

    /// Looks again then, though nothing may have happened.
    fn until(&mut self, until: Option<Timestamp>, now: Timestamp) {
        let pause = until.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
        self.again = self.again.min(pause.unwrap_or(REGULAR).max(Duration::from_millis(100)));
    }

    /// Why pods of a `DaemonSet` cannot be made, as its controller said in an Event. A Deployment tells in a condition.
    async fn refused_pods(&mut self, reference: &ChildRef, workload: &Workload) -> Option<Because> {
        let live = self.live.children.get(reference)?;
        if reference.kind != ChildKind::DaemonSet || workload.there >= workload.desired {
            return None;
        }
        self.again = self.again.min(LACKING);
        let about = format!("involvedObject.uid={},reason=FailedCreate", live.uid().unwrap_or_default());
        let api: Api<Event> = Api::namespaced(self.context.client.clone(), &self.names.namespace);
        match api.list(&ListParams::default().fields(&about)).await {
            Ok(found) => failed_create(&found.items, &self.live.envoy),
            // All else can be judged without.
            Err(error) => {
                self.context.metrics.failed(category(&error));
                tracing::warn!(child = %reference, "Events about it cannot be read: {error}");
                None
            }
        }
    }
}

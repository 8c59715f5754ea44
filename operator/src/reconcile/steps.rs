//! The steps of a look, in order. What a step waits for ends the look, and is told; the next event begins another one.

use std::collections::BTreeSet;
use std::time::Duration;

use contour_crds::contour_deployment::EnvoyTemplateStatus;
use contour_crds::{ContourDeployment, ContourDeploymentStatus};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::json;

use super::certificates::{self, Looked};
use super::publishing::{Turn, addresses, node_addresses, turn, waits_for_load_balancer};
use super::rollout::{Because, Rollout, Workload, is_blocked};
use super::workloads::{
    component, envoy_template, envoy_workload, is_envoy_workload, live_envoys, template, typed,
};
use super::{Context, Error, Look, REGULAR, SOON, without_owner};
use crate::apply::{Difference, difference, stamped};
use crate::build::{self, ENVOY_CONTAINER, Inputs, Stages};
use crate::child::{Child, ChildKind, ChildRef};
use crate::clash::clashes;
use crate::live::Live;
use crate::names::{FINALIZER, Names};
use crate::ownership::Owner;
use crate::problem::Problem;
use crate::prune::{Situation, obsolete};
use crate::settings::host_network;
use crate::status::Report;
use crate::validate::validate;
use crate::writer::last_other;

/// When to look again for Secrets that are to come.
const ASK: Duration = Duration::from_secs(5);

/// Name of the controller's container.
const CONTOUR_CONTAINER: &str = "contour";

/// Looks at a `ContourDeployment` that is to be there.
pub(super) async fn look(
    deployment: &ContourDeployment,
    before: &ContourDeploymentStatus,
    context: &Context,
) -> Look {
    let names = match Names::of(deployment) {
        Ok(names) => names,
        Err(problem) => {
            let report = Report { problems: vec![problem], ..Report::default() };
            return Look { report, error: None, again: REGULAR, strangers: Vec::new() };
        }
    };
    let owner = Owner::of(deployment, &names, before);
    let live = context.caches.of(&owner);
    context.remember(deployment, |memory| memory.pods = live.pods().filter_map(|pod| pod.uid()).collect());
    let strangers = live.strangers.clone();
    let mut walk = Walk {
        context,
        deployment,
        names: &names,
        owner: &owner,
        before,
        live,
        report: Report { ingress_class: Some(names.ingress_class.clone()), ..Report::default() },
        again: REGULAR,
    };
    let error = walk.run().await.err();
    walk.tell_inventory().await;
    walk.tell_contests();
    walk.tell_components();
    Look { report: walk.report, error, again: walk.again, strangers }
}

/// A look under way.
struct Walk<'a> {
    context: &'a Context,
    deployment: &'a ContourDeployment,
    names: &'a Names,
    owner: &'a Owner,
    /// What was told last. Envoy was there before if it was told of.
    before: &'a ContourDeploymentStatus,
    /// What is there; what was written is put in.
    live: Live,
    report: Report,
    again: Duration,
}

impl Walk<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        self.report.problems = self.problems();
        if !self.report.problems.is_empty() {
            return self.keep_certificates().await;
        }
        let certificates = self.look_at_certificates().await?;
        if !certificates.problems.is_empty() {
            self.report.problems.clone_from(&certificates.problems);
            self.report.certificates = Some(certificates.told);
            // Secrets of users have no label of ours, so nobody tells when they come.
            self.again = self.again.min(ASK);
            return Ok(());
        }
        self.report.certificates = Some(certificates.told.clone());
        self.ensure_finalizer().await?;
        let stages = self.build();
        let wanted: BTreeSet<ChildRef> =
            stages.all().chain(&certificates.secrets).map(Child::reference).collect();
        self.apply_all(&stages.foundation).await?;
        self.apply_all(&certificates.secrets).await?;
        self.apply_all(&stages.contour).await?;
        let contour = self.judge(&self.contour_ref(), build::Component::Contour, "Contour");
        self.publish(&stages, Turn::BeforeEnvoy).await?;
        let held = self.roll_envoy(&stages, contour).await?;
        let envoy = match envoy_workload(&stages.envoy, self.names).map(Child::reference) {
            Some(reference) => self.judge(&reference, build::Component::Envoy, "Envoy"),
            None => true,
        };
        if self.live.children.keys().any(|child| envoy_ref(&stages, self.names).as_ref() == Some(child)) {
            self.publish(&stages, Turn::WithEnvoy).await?;
        }
        let rolled_out = contour && envoy && !held;
        if rolled_out {
            self.publish(&stages, Turn::AfterEnvoy).await?;
        }
        self.prune(&stages, &wanted, rolled_out, &certificates).await
    }

    async fn look_at_certificates(&mut self) -> Result<Looked, Error> {
        self.read_secrets().await?;
        let certificates = certificates::look(self.context, self.deployment, self.names, &self.live).await?;
        self.again = self.again.min(certificates.again);
        Ok(certificates)
    }

    /// What runs goes on while its object is wrong, however long that takes: so do its certificates, if there are some.
    async fn keep_certificates(&mut self) -> Result<(), Error> {
        let own = self.deployment.spec.certificates.secret_refs.is_some();
        if own || !certificates::are_there(self.names, &self.live) {
            return Ok(());
        }
        let certificates = self.look_at_certificates().await?;
        self.report.certificates = Some(certificates.told);
        self.apply_all(&certificates.secrets).await
    }

    /// What is wrong with the object, alone or beside others.
    fn problems(&self) -> Vec<Problem> {
        let mut problems = validate(self.deployment, &self.context.defaults);
        if problems.is_empty() {
            problems = self.context.forbids(self.deployment);
        }
        if problems.is_empty() {
            // What may not be made is in nobody's way.
            let others = self.context.caches.deployments.state();
            let others = others.iter().filter(|other| self.context.forbids(other).is_empty());
            problems = clashes(self.deployment, others.map(|other| &**other));
        }
        problems
    }

    /// Reads the Secrets of certificates themselves. A cache that does not know yet what was made a moment ago would have a second authority
    /// made.
    async fn read_secrets(&mut self) -> Result<(), Error> {
        let Names { ca_secret, contour_secret, envoy_secret, .. } = self.names;
        for name in [ca_secret, contour_secret, envoy_secret] {
            let reference = self.names.child(ChildKind::Secret, name);
            match self.context.writer.read(&reference, self.owner).await? {
                Some(secret) => self.live.children.insert(reference, secret),
                None => self.live.children.remove(&reference),
            };
        }
        Ok(())
    }

    async fn ensure_finalizer(&self) -> Result<(), Error> {
        if self.deployment.finalizers().iter().any(|held| held == FINALIZER) {
            return Ok(());
        }
        let mut finalizers = self.deployment.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        set_finalizers(self.context, self.deployment, &finalizers).await
    }

    fn build(&self) -> Stages {
        let kept = self.before.envoy_template.clone().or_else(|| self.unrecorded_template());
        build::build(&Inputs {
            deployment: self.deployment,
            names: self.names,
            defaults: &self.context.defaults,
            kept: kept.as_ref(),
            addresses: &node_addresses(&self.live.envoy),
        })
    }

    /// What Envoy's pods are made with where the status does not say so yet: an earlier version made them, or this one did and could not tell.
    /// Only of a workload that is [ours](Owner::foreign).
    fn unrecorded_template(&self) -> Option<EnvoyTemplateStatus> {
        live_envoys(&self.live, self.owner).find_map(|(_, object)| envoy_template(object))
    }

    /// Tells what will have to be removed without the help of owner references: what is there and ours, not what is wanted, since an object
    /// of others may have that name. What was recorded stays so until it is gone; a cache may not know it yet.
    async fn tell_inventory(&mut self) {
        if !self.report.problems.is_empty() {
            return;
        }
        let mut all: BTreeSet<ChildRef> = self.live.children.keys().cloned().collect();
        for child in self.owner.recorded().filter(|child| !self.live.children.contains_key(child)) {
            if !matches!(self.context.writer.read(child, self.owner).await, Ok(None)) {
                all.insert(child.clone());
            }
        }
        self.report.inventory = Some(without_owner(&all, &self.names.namespace));
    }

    async fn apply_all(&mut self, children: &[Child]) -> Result<(), Error> {
        for child in children {
            self.apply(child).await?;
        }
        Ok(())
    }

    async fn apply(&mut self, child: &Child) -> Result<(), Error> {
        let reference = child.reference();
        let mut live = self.live.children.get(&reference).cloned();
        let now = (self.context.clock)();
        let wait = self.context.remember(self.deployment, |memory| memory.contests.wait(&reference, now));
        if let Some(wait) = wait {
            // The cache may not know yet of the last time it was set right.
            live = self.context.writer.read(&reference, self.owner).await?;
            if self.leaves(child, &reference, live.as_deref()) {
                self.again = self.again.min(wait.unsigned_abs());
                return Ok(());
            }
        }
        let Some(applied) = self.context.writer.apply(child, live, self.owner).await? else { return Ok(()) };
        if matches!(applied.written, Some(Difference::Missing | Difference::Drifted(_))) {
            self.context.remember(self.deployment, |memory| memory.contests.healed(&reference, now));
        }
        if is_envoy_workload(child.kind) && reference.name == self.names.envoy {
            self.report.envoy_template = envoy_template(&child.object);
        }
        self.live.children.insert(reference, applied.live);
        Ok(())
    }

    /// Whether a child that may not be healed now is to be left as somebody made it, which is noted then.
    fn leaves(&self, child: &Child, reference: &ChildRef, live: Option<&DynamicObject>) -> bool {
        let how = match difference(child.kind, &stamped(child), live) {
            None | Some(Difference::Changed) => return false,
            Some(Difference::Missing) => "is deleted".to_owned(),
            Some(Difference::Drifted(path)) => {
                let by = live.and_then(last_other).map(|by| format!(" by {by}")).unwrap_or_default();
                format!("is edited{by} ({path})")
            }
        };
        self.context.remember(self.deployment, |memory| memory.contests.left(reference, &how));
        true
    }

    /// Tells who keeps changing children.
    fn tell_contests(&mut self) {
        let now = (self.context.clock)();
        if let Some((because, holds)) =
            self.context.remember(self.deployment, |memory| memory.contests.told(now))
        {
            self.report.contested = Some(because);
            self.again = self.again.min(holds.unsigned_abs());
        }
    }

    fn contour_ref(&self) -> ChildRef {
        self.names.child(ChildKind::Deployment, &self.names.contour)
    }

    /// Whether a workload has rolled out. If not, the report says why.
    fn judge(&mut self, reference: &ChildRef, component: build::Component, name: &str) -> bool {
        let Some(Workload { rollout, .. }) = self.workload(reference, component) else {
            return false;
        };
        match rollout {
            Rollout::Complete => return true,
            Rollout::Waiting(because) => self.wait(Because::new(
                format!("{}{name}", because.reason),
                format!("{name}: {}", because.message),
            )),
            Rollout::Failing(because) => {
                let because =
                    Because::new(because.reason, format!("{name} does not roll out: {}", because.message));
                self.report.failing.get_or_insert(because);
            }
        }
        false
    }

    fn workload(&self, reference: &ChildRef, component: build::Component) -> Option<Workload> {
        let pods = self.live.pods_of(component);
        super::workloads::judge(reference.kind, self.live.children.get(reference)?, pods)
    }

    /// Notes what is waited for; the first is what the next depend on.
    fn wait(&mut self, because: Because) {
        self.report.waiting.get_or_insert(because);
    }

    /// Applies Envoy, as far as it may change now. Returns whether something has to wait.
    ///
    /// What someone edited or deleted is healed at once; what is to change waits for the controller to have rolled out.
    async fn roll_envoy(&mut self, stages: &Stages, contour_rolled_out: bool) -> Result<bool, Error> {
        let workload = envoy_ref(stages, self.names);
        let runs = live_envoys(&self.live, self.owner).next().is_some();
        let unbalanced = self.waits_for_load_balancer(stages);
        let mut held = false;
        for child in &stages.envoy {
            let reference = child.reference();
            let is_workload = Some(&reference) == workload.as_ref();
            let live = self.live.children.get(&reference);
            let now = match difference(child.kind, &stamped(child), live.map(|live| &**live)) {
                None | Some(Difference::Drifted(_)) => true,
                Some(Difference::Missing) if self.before.envoy.is_some() && !(is_workload && runs) => true,
                Some(Difference::Missing | Difference::Changed) => contour_rolled_out && !unbalanced,
            };
            if now {
                self.apply(child).await?;
            } else {
                held = true;
            }
        }
        if held && contour_rolled_out {
            self.again = self.again.min(SOON);
            self.wait(Because::new(
                "WaitingForLoadBalancer",
                "Envoy stays on the network of its nodes until its load balancer has an address",
            ));
        } else if held {
            self.wait(Because::new("WaitingForContour", "Envoy changes when Contour has rolled out"));
        }
        Ok(held)
    }

    fn waits_for_load_balancer(&self, stages: &Stages) -> bool {
        let wanted = envoy_workload(&stages.envoy, self.names).and_then(|child| template(&child.object));
        let live = live_envoys(&self.live, self.owner).find_map(|(_, object)| template(object));
        let Some(wanted) = wanted else { return false };
        waits_for_load_balancer(live.as_ref(), &wanted, self.envoy_service().as_ref())
    }

    fn envoy_service(&self) -> Option<Service> {
        let reference = self.names.child(ChildKind::Service, &self.names.envoy);
        self.live.children.get(&reference).and_then(|object| typed(object))
    }

    /// Applies the ways to Envoy whose turn it is.
    async fn publish(&mut self, stages: &Stages, now: Turn) -> Result<(), Error> {
        for child in &stages.publishing {
            let reference = child.reference();
            let live: Option<Service> = self.live.children.get(&reference).and_then(|object| typed(object));
            let its = match typed::<Service>(&child.object).filter(|_| child.kind == ChildKind::Service) {
                Some(wanted) => turn(live.as_ref(), &wanted),
                None => Turn::WithEnvoy,
            };
            if its == now {
                self.apply(child).await?;
            }
        }
        Ok(())
    }

    /// Deletes what is not wanted any more, as soon as it may go.
    async fn prune(
        &mut self,
        stages: &Stages,
        wanted: &BTreeSet<ChildRef>,
        rolled_out: bool,
        certificates: &Looked,
    ) -> Result<(), Error> {
        let blocked = match envoy_ref(stages, self.names).map(|reference| reference.kind) {
            Some(ChildKind::DaemonSet) => is_blocked(&self.live.envoy, "DaemonSet"),
            _ => is_blocked(&self.live.envoy, "ReplicaSet"),
        };
        let wanted: BTreeSet<ChildRef> = wanted.iter().chain(&certificates.kept).cloned().collect();
        let found = obsolete(self.live.children.keys(), &wanted, Situation { rolled_out, blocked });
        for child in found.now {
            let Some(object) = self.live.children.get(&child).cloned() else { continue };
            if object.metadata.deletion_timestamp.is_none() {
                self.context.writer.delete(&child, &object).await?;
            } else {
                self.wait(Because::new("Removing", format!("{child} is being deleted")));
            }
        }
        Ok(())
    }

    /// Tells what runs, whatever the steps came to.
    fn tell_components(&mut self) {
        let contour = component(&self.contour_ref(), &self.live, &self.live.contour, CONTOUR_CONTAINER);
        self.report.contour = contour;
        // While one takes over from the other, the one that serves more counts.
        let envoys = live_envoys(&self.live, self.owner)
            .filter_map(|(reference, _)| component(reference, &self.live, &self.live.envoy, ENVOY_CONTAINER));
        self.report.envoy = envoys.max_by_key(|envoy| envoy.workload.available);
        let nodes = node_addresses(&self.live.envoy);
        let service = self.envoy_service();
        self.report.addresses = Some(addresses(service.as_ref(), &nodes, host_network(self.deployment)));
    }
}

/// Which child Envoy's workload is.
fn envoy_ref(stages: &Stages, names: &Names) -> Option<ChildRef> {
    envoy_workload(&stages.envoy, names).map(Child::reference)
}

/// Replaces the finalizers of a `ContourDeployment`, unless someone else changed it meanwhile.
pub(super) async fn set_finalizers(
    context: &Context,
    deployment: &ContourDeployment,
    finalizers: &[String],
) -> Result<(), Error> {
    let namespace = deployment.namespace().unwrap_or_default();
    let api: Api<ContourDeployment> = Api::namespaced(context.client.clone(), &namespace);
    let body = json!({ "metadata": {
        "finalizers": finalizers, "resourceVersion": deployment.resource_version(), "uid": deployment.uid(),
    } });
    match api.patch(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await {
        Ok(_) => Ok(()),
        // It is gone, which is what removing the last one is for.
        Err(kube::Error::Api(status)) if status.code == 404 && finalizers.is_empty() => Ok(()),
        Err(error) => Err(Error::Own { what: "finalizer", source: Box::new(error) }),
    }
}

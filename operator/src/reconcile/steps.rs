//! The steps of a look, in order. What fails or is waited for holds up what depends on it and nothing else, and is told; the next event begins
//! another look.

use std::collections::BTreeSet;
use std::time::Duration;

use contour_crds::{ContourDeployment, ContourDeploymentStatus};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::json;

use super::addresses::{self, Published};
use super::certificates::{self, Looked};
use super::envoy::envoy_ref;
use super::judge::Progress;
use super::publishing::{self, Turn};
use super::refusal::{last_accepted, refusal};
use super::rollout::Because;
use super::workloads::{component, envoy_template, is_envoy_workload, live_envoys, unrecorded_template};
use super::{Context, Error, Look, REGULAR, without_owner};
use crate::adoption::{Adopted, is_found};
use crate::apply::{Difference, difference, stamped};
use crate::build::{self, CONTOUR_CONTAINER, ENVOY_CONTAINER, FixedRole, Inputs, Stages};
use crate::child::{Child, ChildKind, ChildRef};
use crate::families;
use crate::live::Live;
use crate::names::{FINALIZER, Names};
use crate::ownership::Owner;
use crate::prune::{Situation, obsolete};
use crate::settings::host_network;
use crate::status::{Report, addresses_cut};
use crate::writer::last_other;

/// Looks at a `ContourDeployment` that is to be there.
///
/// While something is wrong with it, nothing that runs is changed, but all of it is kept as it was last accepted. While it is paused, nothing
/// is written but certificates.
pub(super) async fn look(
    deployment: &ContourDeployment,
    before: &ContourDeploymentStatus,
    context: &Context,
) -> Look {
    let mut refusal = refusal(deployment, before, context).await;
    let paused = deployment.spec.paused;
    let accepted = if refusal.problems.is_empty() && !paused {
        Some(deployment.clone())
    } else {
        last_accepted(deployment, before, context)
    };
    // Children of names that are impossible were never made.
    let walked = accepted.as_ref().unwrap_or(deployment);
    let Ok(names) = Names::of(walked) else {
        let report = Report { problems: refusal.problems, ..Report::default() };
        return Look { report, errors: Vec::new(), again: REGULAR, strangers: Vec::new() };
    };
    let owner = Owner::of(walked, &names, before);
    let live = context.caches.of(&owner);
    context.remember(deployment, |memory| memory.pods = live.pods().filter_map(|pod| pod.uid()).collect());
    let strangers = live.strangers.clone();
    // What was rolled out last is what is served.
    let families = families::resolved(walked, &names, &live, before);
    let mut served = families.clone();
    if !before.ip_families.is_empty() {
        served.spec.network.ip_families.clone_from(&before.ip_families);
    }
    let at_nodes = families::at_nodes(&served, &names, &live);
    let (nodes, now) = (addresses::nodes(&live, &at_nodes), (context.clock)());
    let nodes = context.remember(deployment, |memory| memory.addresses.pass(&nodes, &before.addresses, now));
    let again = nodes.again.map_or(refusal.again, |again| refusal.again.min(again.unsigned_abs()));
    let report = Report {
        ingress_class: Some(names.ingress_class.clone()),
        certificates: refusal.certificates.take(),
        looked: accepted.is_some(),
        paused,
        ..Report::default()
    };
    let mut walk = Walk {
        context,
        deployment: walked,
        resolved: families,
        names: &names,
        owner: &owner,
        before,
        live,
        nodes,
        report,
        again,
        refused: !refusal.problems.is_empty(),
        failures: Vec::new(),
    };
    let end = match &accepted {
        Some(_) if !paused => walk.run().await,
        _ => walk.keep_certificates().await,
    };
    walk.tried(end);
    if accepted.is_some() && !paused {
        walk.tell_inventory().await;
        walk.report.accepted = serde_json::to_string(&walked.spec).ok();
        walk.tell_default_class().await;
    }
    walk.tell_contests();
    walk.tell_components();
    let mut report = walk.report;
    report.problems = refusal.problems;
    Look { report, errors: walk.failures, again: walk.again, strangers }
}

/// A look under way.
pub(super) struct Walk<'a> {
    pub(super) context: &'a Context,
    /// With the fields by which its children are made: the last accepted ones.
    pub(super) deployment: &'a ContourDeployment,
    /// The same with the IP families that it is on, which the children are made for.
    resolved: Box<ContourDeployment>,
    pub(super) names: &'a Names,
    pub(super) owner: &'a Owner,
    /// What was told last. Envoy was there before if it was told of.
    pub(super) before: &'a ContourDeploymentStatus,
    /// What is there; what was written is put in.
    pub(super) live: Live,
    /// The addresses of nodes that are published.
    nodes: Published,
    pub(super) report: Report,
    pub(super) again: Duration,
    /// What runs is kept, and not changed.
    refused: bool,
    /// What could not be done.
    failures: Vec<Error>,
}

/// Whether a child may be written now, given whether changes are held and whether it was there before. What was edited or deleted is healed
/// whatever is held.
pub(super) fn may_write(difference: &Difference, held: bool, there_before: bool) -> bool {
    match difference {
        Difference::Drifted(_) => true,
        Difference::Missing => there_before || !held,
        Difference::Changed => !held,
    }
}

impl Walk<'_> {
    /// Takes the steps. What fails stops what depends on it; the error is what nothing can go on without.
    async fn run(&mut self) -> Result<(), Error> {
        let adopted = self.take_over().await?;
        let looked = self.look_at_certificates().await;
        let certificates = self.tried(looked);
        if let Some(certificates) = &certificates
            && self.report.certificates.is_none()
        {
            self.report.certificates = Some(certificates.told.clone());
        }
        self.ensure_finalizer().await?;
        self.learn_families(&adopted).await;
        let stages = self.build(&adopted);
        let mut wanted: BTreeSet<ChildRef> = stages.all().map(Child::reference).collect();
        let secrets = certificates.as_ref().map(|looked| looked.secrets.clone());
        wanted.extend(secrets.iter().flatten().map(Child::reference));
        let kept = certificates.as_ref().map(|looked| looked.kept.clone());
        wanted.extend(kept.unwrap_or_else(|| self.secrets().to_vec()));

        // Pods need all of it but the rights in other namespaces: what is lacking there is lacking for those alone.
        let (bindings, others): (Vec<_>, Vec<_>) =
            stages.foundation.iter().cloned().partition(|child| child.kind.is_binding());
        let granted = self.has_roles();
        let mut whole = self.tried(granted).is_some() && self.apply_all(&bindings).await;
        whole &= self.apply_all(&others).await;
        whole &= match &secrets {
            Some(secrets) => self.apply_all(secrets).await,
            None => false,
        };
        whole &= self.roll_contour(&stages, whole).await;
        let contour = self.judge(&self.contour_ref(), build::Component::Contour, "Contour").await;
        let contour_rolled_out = contour == Progress::Complete && whole;
        self.publish(&stages, Turn::BeforeEnvoy).await;
        let held = self.roll_envoy(&stages, contour_rolled_out).await;
        let envoy = match envoy_ref(&stages, self.names) {
            Some(reference) => self.judge(&reference, build::Component::Envoy, "Envoy").await,
            None => Progress::Complete,
        };
        if self.live.children.keys().any(|child| envoy_ref(&stages, self.names).as_ref() == Some(child)) {
            self.publish(&stages, Turn::WithEnvoy).await;
        }
        let rolled_out = contour_rolled_out && envoy == Progress::Complete && !held;
        if contour_rolled_out {
            self.report.ip_families = Some(self.resolved.spec.network.ip_families.clone());
        }
        if rolled_out {
            self.publish(&stages, Turn::AfterEnvoy).await;
        }
        let made = self.make_room(&stages, &wanted).await;
        self.tried(made);
        // What was narrowed is not needed by the pods that come, and does not wait for those of before for ever.
        let revoke = whole && contour != Progress::Waiting;
        self.prune(&wanted, Situation { rolled_out, revoke }).await;
        Ok(())
    }

    /// Whether the cluster has what Contour is given.
    fn has_roles(&self) -> Result<(), Error> {
        let missing = self.context.caches.missing_roles();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::RolesMissing(missing.into_iter().map(FixedRole::name).collect()))
    }

    /// Whether all that Contour is to be given is there, in the same namespace or the cluster: then what else is there can be taken back.
    fn is_replaced(&self, right: &ChildRef, wanted: &BTreeSet<ChildRef>) -> bool {
        let is_there = |binding: &ChildRef| {
            let live = self.live.children.get(binding);
            live.is_some_and(|live| live.metadata.deletion_timestamp.is_none())
        };
        let mut beside =
            wanted.iter().filter(|other| other.kind.is_binding() && other.namespace == right.namespace);
        self.has_roles().is_ok() && beside.all(is_there)
    }

    /// Notes what could not be done.
    pub(super) fn tried<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.failures.push(error)).ok()
    }

    /// Applies Contour, as far as it may change now: `whole`, all that its pods need is there. Returns whether it is all applied.
    async fn roll_contour(&mut self, stages: &Stages, whole: bool) -> bool {
        let mut all = true;
        for child in &stages.contour {
            let live = self.live.children.get(&child.reference());
            let found = difference(child.kind, &stamped(child), live.map(|live| &**live));
            // What others made is not as it should be, and serves.
            let found = match live {
                Some(live) if is_found(live) => found.map(|_| Difference::Changed),
                _ => found,
            };
            if found.is_some_and(|found| !may_write(&found, !whole, self.before.contour.is_some())) {
                all = false;
                continue;
            }
            let applied = self.apply(child).await;
            // How many there are, and how many may go at a time, is not what they are.
            all &= self.tried(applied).is_some() || child.kind != ChildKind::Deployment;
        }
        all
    }

    async fn look_at_certificates(&mut self) -> Result<Looked, Error> {
        self.count_older_pods().await?;
        self.read_secrets().await?;
        let certificates = certificates::look(self.context, self.deployment, self.names, &self.live).await?;
        self.again = self.again.min(certificates.again);
        Ok(certificates)
    }

    /// Where nothing else is to be written, certificates are kept at least: while it is paused, or where it is not known what was accepted last,
    /// as an earlier version made what runs.
    async fn keep_certificates(&mut self) -> Result<(), Error> {
        let own = self.deployment.spec.certificates.secret_refs.is_some();
        if own || !certificates::are_there(self.names, &self.live) {
            return Ok(());
        }
        let certificates = self.look_at_certificates().await?;
        self.report.certificates = Some(certificates.told);
        self.apply_all(&certificates.secrets).await;
        Ok(())
    }

    /// The Secrets with certificates of ours.
    fn secrets(&self) -> [ChildRef; 3] {
        let Names { ca_secret, contour_secret, envoy_secret, .. } = self.names;
        [ca_secret, contour_secret, envoy_secret].map(|name| self.names.child(ChildKind::Secret, name))
    }

    /// Reads the Secrets of certificates themselves. A cache that does not know yet what was made a moment ago would have a second authority
    /// made.
    async fn read_secrets(&mut self) -> Result<(), Error> {
        for reference in self.secrets() {
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

    fn build(&self, adopted: &Adopted) -> Stages {
        let recorded = self.before.envoy_template.clone();
        let kept = recorded.or_else(|| unrecorded_template(&self.live, self.owner));
        build::build(&Inputs {
            deployment: &self.resolved,
            names: self.names,
            defaults: &self.context.defaults,
            kept: kept.as_ref(),
            addresses: &self.nodes.addresses,
            adopted,
        })
    }

    /// Makes the Service of Contour before all else where there is none yet: the first Service of an installation tells the first IP family of the
    /// cluster, without which Contour would have to be made twice where that is IPv6.
    async fn learn_families(&mut self, adopted: &Adopted) {
        let reference = self.names.child(ChildKind::Service, &self.names.contour);
        if self.live.children.contains_key(&reference) {
            return;
        }
        let foundation = self.build(adopted).foundation;
        if let Some(service) = foundation.iter().find(|child| child.reference() == reference) {
            let applied = self.apply(service).await;
            self.tried(applied);
            self.resolved = families::resolved(self.deployment, self.names, &self.live, self.before);
        }
    }

    /// Tells what will have to be removed without the help of owner references: what is there and ours, not what is wanted, since an object
    /// of others may have that name. What was recorded stays so until it is gone; a cache may not know it yet.
    async fn tell_inventory(&mut self) {
        let mut all: BTreeSet<ChildRef> = self.live.children.keys().cloned().collect();
        for child in self.owner.recorded().filter(|child| !self.live.children.contains_key(child)) {
            if !matches!(self.context.writer.read(child, self.owner).await, Ok(None)) {
                all.insert(child.clone());
            }
        }
        self.report.inventory = Some(without_owner(&all, &self.names.namespace));
    }

    /// Applies children that do not depend on each other. Returns whether all are there that pods need.
    async fn apply_all(&mut self, children: &[Child]) -> bool {
        let mut all = true;
        for child in children {
            let applied = self.apply(child).await;
            let elsewhere =
                child.kind == ChildKind::RoleBinding && self.owner.is_for_served(&child.reference());
            all &= self.tried(applied).is_some() || elsewhere;
        }
        all
    }

    pub(super) async fn apply(&mut self, child: &Child) -> Result<(), Error> {
        let reference = child.reference();
        let mut live = self.live.children.get(&reference).cloned();
        // Addresses and certificates go on.
        let goes_on = matches!(child.kind, ChildKind::Service | ChildKind::Secret);
        if self.refused && !goes_on {
            let found = difference(child.kind, &stamped(child), live.as_deref());
            if found.is_some_and(|found| !may_write(&found, true, true)) {
                return Ok(());
            }
        }
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

    /// Notes what is waited for; the first is what the next depend on.
    pub(super) fn wait(&mut self, because: Because) {
        self.report.waiting.get_or_insert(because);
    }

    /// Deletes what is not wanted any more, as soon as it may go.
    async fn prune(&mut self, wanted: &BTreeSet<ChildRef>, situation: Situation) {
        let owner = self.owner;
        let is_right = |child: &ChildRef| owner.is_for_served(child);
        for child in obsolete(self.live.children.keys(), wanted, situation, is_right).now {
            // Rolled out is what serves: a pod may be left on a node that is not ready, and is to start again as it was.
            if child.kind == ChildKind::ConfigMap && self.live.uses_map(&child.name) {
                continue;
            }
            if child.kind.is_right() && !self.is_replaced(&child, wanted) {
                continue;
            }
            let Some(object) = self.live.children.get(&child).cloned() else { continue };
            if object.metadata.deletion_timestamp.is_none() {
                let deleted = self.context.writer.delete(&child, &object).await.map_err(Error::from);
                self.tried(deleted);
            } else {
                self.wait(Because::new("Removing", format!("{child} is being deleted")));
            }
        }
    }

    /// Tells what runs, whatever the steps came to.
    fn tell_components(&mut self) {
        let contour =
            component(&self.contour_ref(), &self.live, &self.live.contour, CONTOUR_CONTAINER, self.view());
        self.report.contour = contour;
        // While one takes over from the other, the one that serves more counts.
        let envoys = live_envoys(&self.live, self.owner).filter_map(|(reference, _)| {
            component(reference, &self.live, &self.live.envoy, ENVOY_CONTAINER, self.view())
        });
        self.report.envoy = envoys.max_by_key(|envoy| envoy.workload.available);
        // What is refused is not published.
        let given = &self.deployment.spec.publishing.addresses[..];
        let (given, nodes) = (if self.report.looked { given } else { &[] }, &self.nodes.addresses);
        let (service, on_host) = (self.envoy_service(), host_network(self.deployment));
        let addresses = publishing::addresses(given, service.as_ref(), nodes, on_host);
        if self.nodes.cut && addresses == *nodes {
            self.report.warnings.push(addresses_cut());
        }
        self.report.addresses = Some(addresses);
    }
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

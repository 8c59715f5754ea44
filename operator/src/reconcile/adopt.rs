//! Takes over an installation that others made, as `spec.adopt` asks.

use std::sync::Arc;

use contour_crds::{ContourDeployment, ContourDeploymentStatus};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Resource as _, ResourceExt as _};

use super::steps::Walk;
use super::{Context, Error, list};
use crate::adoption::{Adopted, has_older_pods, is_found, problems};
use crate::child::{ChildKind, ChildRef};
use crate::events::Notice;
use crate::names::Names;
use crate::ownership::Owner;
use crate::pod::Pod;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::status::adopted_pods_run;

/// What stands against taking over what is there. What cannot be read is told where it is taken over.
pub(super) async fn refused(
    deployment: &ContourDeployment,
    before: &ContourDeploymentStatus,
    context: &Context,
) -> Vec<Problem> {
    let Ok(names) = Names::of(deployment) else { return Vec::new() };
    let owner = Owner::of(deployment, &names, before);
    let live = context.caches.of(&owner);
    let mut found: Vec<(ChildRef, Arc<DynamicObject>)> = Vec::new();
    let service = names.child(ChildKind::Service, &names.envoy);
    for reference in owner.workloads().into_iter().chain([service]) {
        let known = live.children.get(&reference).cloned();
        let object = match known {
            Some(known) => Some(known),
            None => context.writer.read(&reference, &owner).await.unwrap_or_default(),
        };
        found.extend(object.map(|object| (reference, object)));
    }
    let found: Vec<_> = found.iter().map(|(reference, object)| (reference.clone(), &**object)).collect();
    problems(deployment, &Settings::of(deployment, &context.defaults), &names, &found)
}

impl Walk<'_> {
    /// Takes over the workloads that others made, and finds out what has to fit them.
    pub(super) async fn take_over(&mut self) -> Result<Adopted, Error> {
        let mut taken = Vec::new();
        for reference in self.owner.workloads() {
            if !self.deployment.spec.adopt || self.live.children.contains_key(&reference) {
                continue;
            }
            let Some(found) = self.context.writer.read(&reference, self.owner).await? else { continue };
            if is_found(&found) {
                self.context.writer.take_fields(&reference, &found).await?;
                taken.push(reference.to_string());
            }
            self.live.children.insert(reference, found);
        }
        let adopted = Adopted::of(&self.live, self.owner, self.deployment.spec.adopt);
        if !taken.is_empty() {
            self.tell_taken(&taken).await;
        }
        self.report.warnings.extend(adopted.keeps().map(|_| adopted_pods_run()));
        Ok(adopted)
    }

    async fn tell_taken(&self, taken: &[String]) {
        let note = format!(
            "takes over {}: Contour is replaced, and Envoy's pods run on as they are until spec.adopt is taken back",
            taken.join(" and ")
        );
        let (namespace, name) = (self.deployment.namespace().unwrap_or_default(), self.deployment.name_any());
        tracing::info!(%namespace, name, reason = "Adopted", "{note}");
        let reference = self.deployment.object_ref(&());
        self.context.teller.tell(&reference, vec![Notice::normal("Adopted", note)]).await;
    }

    /// Pods of a template that others made do not have our labels, so that no watch knows of them. They work with certificates as all others.
    pub(super) async fn count_older_pods(&mut self) -> Result<(), Error> {
        let adopted = Adopted::of(&self.live, self.owner, self.deployment.spec.adopt);
        let older = self.owner.workloads_of(&self.live).filter(|(_, object)| has_older_pods(object));
        let selected = older.filter_map(|(reference, _)| {
            let selector = adopted.selector(self.owner.component(&reference.name)?)?;
            let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            Some((reference.kind, ListParams::default().labels(&labels.join(","))))
        });
        for (kind, labels) in selected.collect::<Vec<_>>() {
            let (context, namespace) = (self.context, self.owner.namespace());
            let sets = match kind {
                ChildKind::Deployment => {
                    list::<ReplicaSet>(context, namespace, &labels, "the ReplicaSets of what is adopted")
                        .await?
                }
                _ => Vec::new(),
            };
            let pods = list::<Pod>(context, namespace, &labels, "the pods of what is adopted").await?;
            self.live.count(self.owner, sets, pods);
        }
        Ok(())
    }
}

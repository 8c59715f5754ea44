//! Removes all that belongs to a `ContourDeployment` that is being deleted, and lets it go when nothing is left.
//!
//! What is left is read from the API server, not from the caches: they may not know yet what was made a moment ago. What only has our labels
//! is neither removed nor waited for.
//!
//! A deletion with `--cascade=orphan` removes nothing: what runs goes on, and belongs to nobody until another one adopts it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contour_crds::{ContourDeployment, ContourDeploymentStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, ListParams};
use kube::core::{DynamicObject, ObjectMeta};
use kube::{Resource, ResourceExt as _};

use super::rollout::Because;
use super::steps::set_finalizers;
use super::{Context, Error, Look, few, list, unread};
use crate::child::{ChildKind, ChildRef};
use crate::events::Notice;
use crate::live::{Live, Stranger};
use crate::names::{FINALIZER, Names};
use crate::ownership::{Owner, controller};
use crate::pod::Pod;
use crate::status::{DELETING, Report};

/// When to look again while something is left.
const AGAIN: Duration = Duration::from_secs(5);

/// The finalizer that asks for `--cascade=orphan`.
const ORPHAN: &str = "orphan";

/// How long after its time a pod may be there before we say that it is stuck.
const OVERDUE: SignedDuration = SignedDuration::from_secs(30);

/// Removes the children. `None`: nothing is left, and the `ContourDeployment` may go.
pub(super) async fn finalize(
    deployment: &ContourDeployment,
    before: &ContourDeploymentStatus,
    context: &Context,
) -> Option<Look> {
    let mut strangers = Vec::new();
    let mut report = Report { deleting: true, ..Report::default() };
    let errors = match remove(deployment, before, context, &mut report, &mut strangers).await {
        Ok(true) => return None,
        Ok(false) => Vec::new(),
        Err(error) => vec![error],
    };
    Some(Look { report, errors, again: AGAIN, strangers })
}

/// `true`: nothing is left.
async fn remove(
    deployment: &ContourDeployment,
    before: &ContourDeploymentStatus,
    context: &Context,
    report: &mut Report,
    strangers: &mut Vec<Stranger>,
) -> Result<bool, Error> {
    // Without our finalizer nothing was made, or we are done.
    let others: Vec<String> =
        deployment.finalizers().iter().filter(|held| *held != FINALIZER).cloned().collect();
    if others.len() == deployment.finalizers().len() {
        return Ok(true);
    }
    // Names that are impossible were never used.
    if let Ok(names) = Names::of(deployment) {
        let owner = Owner::of(deployment, &names, before);
        let (live, _) = left(deployment, context, &names, &owner).await?;
        if is_orphaning(deployment, &live) {
            release(deployment, context, &owner, &live).await?;
            set_finalizers(context, deployment, &others).await?;
            return Ok(true);
        }
        // The workloads first; nothing needs what comes before them in the order in which they were made.
        for (child, object) in live.children.iter().rev() {
            if object.metadata.deletion_timestamp.is_none() {
                context.writer.delete(child, object).await?;
            }
        }
        let (live, pods) = left(deployment, context, &names, &owner).await?;
        *strangers = live.strangers;
        if !(live.children.is_empty() && pods.is_empty()) {
            tell(report, &live.children, &pods, (context.clock)());
            return Ok(false);
        }
        remove_lease(context, &names).await?;
    }
    set_finalizers(context, deployment, &others).await?;
    Ok(true)
}

/// Whether what runs is to stay. The garbage collector may have done its part before we looked: it takes owner references away, and then the
/// finalizer that asked for it.
fn is_orphaning(deployment: &ContourDeployment, live: &Live) -> bool {
    let owned = |object: &Arc<DynamicObject>| controller(&object.metadata).is_some();
    deployment.finalizers().iter().any(|held| held == ORPHAN)
        || (live.orphaned && !live.children.values().any(owned))
}

/// Takes from all children what makes them children. The garbage collector does so where owner references are, but not for what it does not
/// know yet, which it would delete for the lack of its owner.
async fn release(
    deployment: &ContourDeployment,
    context: &Context,
    owner: &Owner,
    live: &Live,
) -> Result<(), Error> {
    // Roles of earlier versions are nobody's any more: what Contour needs it has by bindings.
    for (child, object) in live.children.iter().filter(|(child, _)| !child.kind.is_role()) {
        context.writer.change(child, object, owner.released(child, &object.metadata)).await?;
    }
    let note = "what it made runs on and belongs to nobody; a ContourDeployment of the same name takes it over with spec.adopt";
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    tracing::info!(%namespace, name, reason = "Orphaned", "{note}");
    context.teller.tell(&deployment.object_ref(&()), vec![Notice::normal("Orphaned", note)]).await;
    Ok(())
}

/// What is left, and the pods of it: those that were proven to be ours once, as what proved it may be gone before them.
async fn left(
    deployment: &ContourDeployment,
    context: &Context,
    names: &Names,
    owner: &Owner,
) -> Result<(Live, Vec<Arc<Pod>>), Error> {
    let labels = ListParams::default().labels(&names.owner_selector());
    let mut objects = Vec::new();
    for kind in ChildKind::ALL {
        match context.writer.api(kind, None).list(&labels).await {
            Ok(found) => objects.extend(found.into_iter().map(|object| (kind, Arc::new(object)))),
            // Its definition is gone, and with it all there was of it.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(unread(&format!("what is left of kind {kind}"), error)),
        }
    }
    // The pods first: what is the controller of one was there before it.
    let pods = list::<Pod>(context, &names.namespace, &labels, "the pods that are left").await?;
    let sets =
        list::<ReplicaSet>(context, &names.namespace, &labels, "the ReplicaSets that are left").await?;
    let live = Live::of(owner, objects, sets, pods.iter().cloned());
    let ours = context.remember(deployment, |memory| {
        memory.pods.extend(live.pods().filter_map(|pod| pod.uid()));
        memory.pods.clone()
    });
    let is_ours = |pod: &Arc<Pod>| pod.uid().is_some_and(|uid| ours.contains(&uid));
    Ok((live, pods.into_iter().filter(is_ours).collect()))
}

/// The controllers made it, and none of them is left.
async fn remove_lease(context: &Context, names: &Names) -> Result<(), Error> {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), &names.namespace);
    match api.delete(&names.lease, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(unread(&format!("Lease {} to delete it", names.lease), error)),
    }
}

/// Says what is left, and what holds it.
fn tell(
    report: &mut Report,
    children: &BTreeMap<ChildRef, Arc<DynamicObject>>,
    pods: &[Arc<Pod>],
    now: Timestamp,
) {
    let mut left: Vec<String> = children.keys().map(ToString::to_string).collect();
    let mut held = Vec::new();
    for (child, object) in children {
        held.extend(holds(&object.metadata).map(|by| format!("{child} has {by}")));
    }
    for pod in pods {
        let name = format!("Pod {}", pod.name_any());
        held.extend(holds(&pod.metadata).map(|by| format!("{name} has {by}")));
        let due = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        if let Some(due) = due.filter(|due| now.duration_since(*due) > OVERDUE) {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node");
            held.push(format!("{name} should have ended at {due}: look at {node}"));
        }
        left.push(name);
    }
    report.waiting = Some(Because::new(DELETING, format!("waits for {} to go", few(&left, ", "))));
    if !held.is_empty() {
        report.failing = Some(Because::new(
            "DeletionBlocked",
            format!("{}; remove what holds it, or wait", few(&held, ", ")),
        ));
    }
}

/// The finalizers that hold an object that is to go; those of Kubernetes itself pass.
fn holds(metadata: &ObjectMeta) -> Option<String> {
    metadata.deletion_timestamp.as_ref()?;
    let foreign = |held: &&String| !matches!(held.as_str(), "foregroundDeletion" | "orphan");
    let held: Vec<&str> = metadata.finalizers.iter().flatten().filter(foreign).map(String::as_str).collect();
    (!held.is_empty()).then(|| format!("the finalizer {}", held.join(" and ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::reference;

    #[test]
    fn what_is_left_and_what_holds_it_is_told() {
        let pod = |name: &str, due: &str| -> Arc<Pod> {
            Arc::new(serde_json::from_value(json!({
                "metadata": {"name": name, "deletionTimestamp": due}, "spec": {"nodeName": "edge-1", "containers": []},
            }))
            .unwrap())
        };
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let told = |finalizers: &[&str], pods: &[Arc<Pod>]| {
            let object: DynamicObject = serde_json::from_value(json!({"metadata": {
                "name": "envoy", "namespace": "n", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers,
            }}))
            .unwrap();
            let children = [(reference(ChildKind::Service, &object), Arc::new(object))].into();
            let mut report = Report::default();
            tell(&mut report, &children, pods, now);
            (report.waiting.unwrap().message, report.failing.map(|because| because.message))
        };
        let fresh = pod("a", "2026-01-01T00:00:50Z");
        assert_eq!(
            told(&[], std::slice::from_ref(&fresh)),
            ("waits for Service n/envoy, Pod a to go".to_owned(), None)
        );
        let (_, held) = told(&["service.kubernetes.io/load-balancer-cleanup"], &[fresh]);
        assert_eq!(
            held.unwrap(),
            "Service n/envoy has the finalizer service.kubernetes.io/load-balancer-cleanup; remove what holds it, or wait"
        );
        let (_, held) = told(&["foregroundDeletion"], &[pod("b", "2026-01-01T00:00:00Z")]);
        assert!(held.unwrap().starts_with("Pod b should have ended at 2026-01-01T00:00:00Z: look at edge-1"));
    }
}

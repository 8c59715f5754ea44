//! The two components, as they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use contour_crds::contour_deployment::EnvoyTemplateStatus;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::adoption::is_found;
use crate::build::{AGENT_CONTAINER, Component as Part, ENVOY_CONTAINER};
use crate::child::{Child, ChildKind, ChildRef, untyped};
use crate::live::Live;
use crate::names::Names;
use crate::ownership::Owner;
use crate::pod::Pod;
use crate::reconcile::rollout::{View, Workload, is_ready, of_daemon_set, of_deployment};
use crate::status::Component;

/// A live child as what it is; `None` if the API server's object is not of the shape that its kind has.
pub(super) fn typed<K: DeserializeOwned>(object: &DynamicObject) -> Option<K> {
    serde_json::from_value(untyped(object))
        .inspect_err(|error| tracing::warn!(name = object.name_any(), "an object cannot be read: {error}"))
        .ok()
}

/// Judges a live workload, given the pods of its component.
pub(super) fn judge(
    kind: ChildKind,
    object: &DynamicObject,
    pods: &[Arc<Pod>],
    view: View<'_>,
) -> Option<Workload> {
    match kind {
        ChildKind::Deployment => Some(of_deployment(&typed::<Deployment>(object)?, pods, view)),
        ChildKind::DaemonSet => Some(of_daemon_set(&typed::<DaemonSet>(object)?, pods, view)),
        _ => None,
    }
}

/// A component as the status tells it: its workload, and what its ready pods run.
pub(super) fn component(
    reference: &ChildRef,
    live: &Live,
    pods: &[Arc<Pod>],
    container: &str,
    view: View<'_>,
) -> Option<Component> {
    let object = live.children.get(reference)?;
    let workload = judge(reference.kind, object, pods, view)?;
    let desired_image = template(object).and_then(|template| image(&template, container)).unwrap_or_default();
    let images: BTreeSet<&str> =
        pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| image_of(pod, container)).collect();
    Some(Component { workload, desired_image, images: images.into_iter().map(str::to_owned).collect() })
}

/// The pod template of a workload.
pub(super) fn template(object: &DynamicObject) -> Option<PodTemplateSpec> {
    let template: &Value = object.data.get("spec")?.get("template")?;
    serde_json::from_value(template.clone()).ok()
}

/// What the pods of a workload of Envoy are made with.
pub(super) fn envoy_template(workload: &DynamicObject) -> Option<EnvoyTemplateStatus> {
    let template = template(workload)?;
    Some(EnvoyTemplateStatus {
        agent_image: image(&template, AGENT_CONTAINER)?,
        envoy_image: image(&template, ENVOY_CONTAINER)?,
    })
}

/// What Envoy's pods are made with where the status does not say so yet: an earlier version made them, or this one did and could not tell.
/// Only of a workload that is [ours](Owner::foreign), and not one that others made.
pub(crate) fn unrecorded_template(live: &Live, owner: &Owner) -> Option<EnvoyTemplateStatus> {
    let mut made = live_envoys(live, owner).filter(|(_, object)| !is_found(object));
    made.find_map(|(_, object)| envoy_template(object))
}

/// The image of a container, or of an init container.
fn image(template: &PodTemplateSpec, container: &str) -> Option<String> {
    let spec: &PodSpec = template.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|one| one.name == container)?.image.clone()
}

/// The same of a pod.
fn image_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|one| one.name == container)?.image.as_deref()
}

/// The workload of Envoy among these children.
pub(super) fn envoy_workload<'a>(children: &'a [Child], names: &Names) -> Option<&'a Child> {
    let is_workload = |child: &&Child| is_envoy_workload(child.kind) && child.reference().name == names.envoy;
    children.iter().find(is_workload)
}

/// Whether Envoy may run as this kind.
pub(super) fn is_envoy_workload(kind: ChildKind) -> bool {
    matches!(kind, ChildKind::DaemonSet | ChildKind::Deployment)
}

/// The live workloads of Envoy: two while one takes over from the other.
pub(crate) fn live_envoys<'a>(
    live: &'a Live,
    owner: &'a Owner,
) -> impl Iterator<Item = (&'a ChildRef, &'a DynamicObject)> {
    let all = live.children.iter().map(|(reference, object)| (reference, &**object));
    all.filter(|(reference, _)| {
        is_envoy_workload(reference.kind) && owner.component(&reference.name) == Some(Part::Envoy)
    })
}

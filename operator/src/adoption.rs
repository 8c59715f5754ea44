//! What is found of an installation that others made, such as that of the stock manifests, when `spec.adopt` takes it over. Pure.
//!
//! Contour is replaced at once, as any new version of it. Envoy's pods run on as they are: what makes them gets the template that we would
//! give it, but replaces no pod, until `spec.adopt` is taken back. Until then the Envoys that run have to be reached as before, so what they
//! listen on has to be what is asked for.

use std::collections::BTreeMap;

use contour_crds::ContourDeployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ManagedFieldsEntry};
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde_json::{Map, Value, json};

use crate::build::{Component, ENVOY_CONTAINER, own_selector};
use crate::child::{ChildKind, ChildRef};
use crate::live::Live;
use crate::names::{ADOPTED, APPLIED, FIELD_MANAGER, Names};
use crate::ownership::Owner;
use crate::problem::Problem;
use crate::settings::{Ports, Settings, ports};

/// Who writes to workloads what belongs to no manifest.
const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// What children have to fit, because something that runs has it and cannot change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// The labels that Contour's Deployment selects pods by, where they are not those that we would choose.
    contour: Option<BTreeMap<String, String>>,
    /// The same of Envoy's workload.
    envoy: Option<BTreeMap<String, String>>,
    /// Envoy's pods are not replaced: the ports that they listen on, as [`ADOPTED`] records them.
    keeps: Option<String>,
}

impl Adopted {
    /// Nothing was made by others.
    pub const NOTHING: Self = Self { contour: None, envoy: None, keeps: None };

    /// What the live workloads of an owner have. `adopts`: it keeps what it takes over.
    pub fn of(live: &Live, owner: &Owner, adopts: bool) -> Self {
        let mut adopted = Self::NOTHING;
        for (reference, workload) in owner.workloads_of(live) {
            let Some(component) = owner.component(&reference.name) else { continue };
            let ours = own_selector(owner.instance(), component);
            let others = labels(workload).filter(|labels| *labels != ours);
            match component {
                Component::Contour => adopted.contour = others,
                Component::Envoy => {
                    // Two are there while one follows the other; the second is made to fit the first.
                    adopted.envoy = adopted.envoy.or(others);
                    let kept = || workload.annotations().get(ADOPTED).cloned();
                    let found = is_found(workload).then(|| listening(workload));
                    adopted.keeps = adopted.keeps.or_else(|| found.or_else(kept).filter(|_| adopts));
                }
            }
        }
        adopted
    }

    /// The labels by which a workload that others made selects its pods.
    pub(crate) fn selector(&self, component: Component) -> Option<&BTreeMap<String, String>> {
        match component {
            Component::Contour => self.contour.as_ref(),
            Component::Envoy => self.envoy.as_ref(),
        }
    }

    /// The ports that the Envoys listen on whose pods are not replaced; `None`: pods are replaced as ever.
    pub fn keeps(&self) -> Option<&str> {
        self.keeps.as_deref()
    }
}

/// Whether an object was made by others and not written yet.
pub(crate) fn is_found(object: &DynamicObject) -> bool {
    !object.annotations().contains_key(APPLIED)
}

fn selector(workload: &DynamicObject) -> Option<LabelSelector> {
    serde_json::from_value(workload.data.pointer("/spec/selector")?.clone()).ok()
}

fn labels(workload: &DynamicObject) -> Option<BTreeMap<String, String>> {
    selector(workload)?.match_labels.filter(|labels| !labels.is_empty())
}

/// Whether a workload may have pods that are not of its newest template, and so without our labels.
pub(crate) fn has_older_pods(workload: &DynamicObject) -> bool {
    let number = |path: &str| workload.data.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let (all, updated) = match workload.data.pointer("/status/currentNumberScheduled") {
        Some(_) => (number("/status/currentNumberScheduled"), number("/status/updatedNumberScheduled")),
        None => (number("/status/replicas"), number("/status/updatedReplicas")),
    };
    let unseen = workload.metadata.generation.unwrap_or(0) > number("/status/observedGeneration");
    is_found(workload) || workload.annotations().contains_key(ADOPTED) || unseen || updated < all
}

/// The ports of Envoy's container that have the names by which they are reached, as `http=8080,https=8443,metrics=8002`.
fn listening(workload: &DynamicObject) -> String {
    let containers = workload.data.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let envoy = containers.into_iter().flatten().find(|container| container["name"] == ENVOY_CONTAINER);
    let ports = envoy.and_then(|envoy| envoy["ports"].as_array()).into_iter().flatten();
    let mut named: Vec<(&str, i64)> =
        ports.filter_map(|port| Some((port["name"].as_str()?, port["containerPort"].as_i64()?))).collect();
    named.retain(|(name, _)| REACHED.contains(name));
    named.sort_unstable();
    written(named)
}

/// The names of ports by which Services and probes reach Envoy.
const REACHED: [&str; 3] = ["http", "https", "metrics"];

fn asked(ports: Ports) -> String {
    written(ports.named().into_iter().filter(|(name, _)| REACHED.contains(name)))
}

fn written<'a, N: std::fmt::Display>(ports: impl IntoIterator<Item = (&'a str, N)>) -> String {
    ports.into_iter().map(|(name, port)| format!("{name}={port}")).collect::<Vec<_>>().join(",")
}

/// What stands against taking over what was found, and keeping it as it runs: the workloads of Envoy and its Service.
pub(crate) fn problems(
    deployment: &ContourDeployment,
    settings: &Settings<'_>,
    names: &Names,
    found: &[(ChildRef, &DynamicObject)],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (reference, object) in found {
        match reference.kind {
            ChildKind::Service => problems.extend(other_type(settings, reference, object)),
            _ if reference.name == names.envoy => {
                if is_found(object) && reference.kind.to_string() != format!("{:?}", settings.workload) {
                    problems.push(Problem::invalid(
                        "spec.envoy.workload",
                        format!("{reference}, which is to be adopted, is another kind of workload: say {} here, and change it when spec.adopt is taken back", reference.kind),
                    ));
                }
                problems.extend(other_ports(deployment, reference, object));
                problems.extend(other_selector(reference, object));
            }
            _ => problems.extend(other_selector(reference, object)),
        }
    }
    problems
}

/// A Service that is reached in another way than is asked for.
fn other_type(settings: &Settings<'_>, reference: &ChildRef, object: &DynamicObject) -> Option<Problem> {
    use contour_crds::contour_deployment::PublishingType as Type;
    let type_ = object.data.pointer("/spec/type").and_then(Value::as_str).unwrap_or("ClusterIP");
    let (fits, field) = match (type_, settings.publishing) {
        ("LoadBalancer", publishing) => (publishing == Type::LoadBalancerService, "LoadBalancerService"),
        ("NodePort", publishing) => (publishing == Type::NodePortService, "NodePortService"),
        (_, Type::ClusterIPService | Type::HostNetwork) => (true, ""),
        _ => (false, "ClusterIPService or HostNetwork"),
    };
    let problem = || {
        let message = format!(
            "{reference}, which is to be adopted, is of type {type_}, and would be reached by nobody as it is now: say {field} here, and change \
             it when spec.adopt is taken back"
        );
        Problem::invalid("spec.publishing.type", message)
    };
    (is_found(object) && !fits).then(problem)
}

/// Envoys that listen on other ports than Contour would tell them to.
fn other_ports(
    deployment: &ContourDeployment,
    reference: &ChildRef,
    object: &DynamicObject,
) -> Option<Problem> {
    let listen = match object.annotations().get(ADOPTED) {
        Some(recorded) => recorded.clone(),
        None if is_found(object) => listening(object),
        None => return None,
    };
    let asked = asked(ports(deployment));
    let problem = || {
        let message = format!(
            "the pods of {reference}, which are adopted as they run, have the ports {listen}, and {asked} is asked for: say here what they \
             have, and change it when spec.adopt is taken back"
        );
        Problem::invalid("spec.envoy.ports", message)
    };
    (listen != asked).then(problem)
}

/// A selector that a Service cannot have as well.
fn other_selector(reference: &ChildRef, object: &DynamicObject) -> Option<Problem> {
    let selector = selector(object).unwrap_or_default();
    let expressions = selector.match_expressions.is_some_and(|expressions| !expressions.is_empty());
    let nothing = selector.match_labels.is_none_or(|labels| labels.is_empty());
    (expressions || nothing).then(|| {
        let message = format!(
            "the selector of {reference} is not one of labels alone, which a Service needs to find the same pods; it cannot be adopted"
        );
        Problem::invalid("spec.adopt", message)
    })
}

/// The managers of a workload's fields once we say its whole `spec`, as a merge patch: what is not applied any more then goes, where it would
/// stay beside ours, as a container of the same name in another list would. `None`: there is nothing that others say.
pub(crate) fn taken_fields(live: &DynamicObject, api_version: &str) -> Option<Value> {
    let (mut spec, mut left) = (Map::new(), Vec::new());
    for entry in live.metadata.managed_fields.iter().flatten() {
        let whole = entry.subresource.is_none() && entry.api_version.as_deref() == Some(api_version);
        let theirs = whole && entry.manager.as_deref() != Some(CONTROLLER_MANAGER);
        let mut entry = entry.clone();
        let fields = entry.fields_v1.as_mut().and_then(|fields| fields.0.as_object_mut());
        if let (true, Some(fields)) = (theirs, fields) {
            if let Some(Value::Object(taken)) = fields.shift_remove("f:spec") {
                merge(&mut spec, taken);
            }
            if fields.is_empty() {
                continue;
            }
        }
        left.push(entry);
    }
    if spec.is_empty() {
        return None;
    }
    let mut ours = ManagedFieldsEntry {
        api_version: Some(api_version.to_owned()),
        fields_type: Some("FieldsV1".to_owned()),
        manager: Some(FIELD_MANAGER.to_owned()),
        operation: Some("Apply".to_owned()),
        ..ManagedFieldsEntry::default()
    };
    ours.fields_v1 =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1(json!({ "f:spec": spec })));
    left.push(ours);
    Some(json!({ "metadata": { "managedFields": left } }))
}

/// The union of two sets of fields.
fn merge(into: &mut Map<String, Value>, other: Map<String, Value>) {
    for (name, value) in other {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(into)), Value::Object(value)) => merge(into, value),
            (Some(_), _) => {}
            (None, value) => {
                into.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;

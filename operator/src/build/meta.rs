//! Metadata and labels of children.

use std::collections::BTreeMap;
use std::fmt;

use contour_crds::contour_deployment::NameScheme;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::Resource as _;

use super::Inputs;
use crate::names::{FIELD_MANAGER, OWNER_UID};

/// Label: what a child is a part of.
const NAME: &str = "app.kubernetes.io/name";
/// Label: the name of the `ContourDeployment`.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label: which of the two components a child belongs to, [`Component`].
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label: who made it.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label by which tools find the pods of the stock manifests.
const APP: &str = "app";

/// The two components of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The controller.
    Contour,
    /// The proxies.
    Envoy,
}

impl Component {
    /// The name, as labels have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contour => "contour",
            Self::Envoy => "envoy",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Metadata of a child in the namespace of the `ContourDeployment`, which owns it.
pub(super) fn namespaced(inputs: &Inputs<'_>, component: Component, name: &str) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(inputs.names.namespace.clone()),
        owner_references: inputs.deployment.controller_owner_ref(&()).map(|reference| vec![reference]),
        ..labelled(inputs, component, name)
    }
}

/// Metadata of a child in another namespace, where an owner reference means nothing: it records whose it is.
pub(super) fn foreign(inputs: &Inputs<'_>, component: Component, namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(namespace.to_owned()), ..cluster(inputs, component, name) }
}

/// Metadata of a child of the whole cluster, which an object of a namespace cannot own: it records whose it is.
pub(super) fn cluster(inputs: &Inputs<'_>, component: Component, name: &str) -> ObjectMeta {
    let uid = inputs.deployment.metadata.uid.clone();
    ObjectMeta {
        annotations: uid.map(|uid| [(OWNER_UID.to_owned(), uid)].into()),
        ..labelled(inputs, component, name)
    }
}

fn labelled(inputs: &Inputs<'_>, component: Component, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels(inputs, component)),
        ..ObjectMeta::default()
    }
}

/// The labels of every child of a component, and of its pods. They say nothing of versions: those of a pod would replace it.
pub(super) fn labels(inputs: &Inputs<'_>, component: Component) -> BTreeMap<String, String> {
    let mut labels = inputs.names.owner_labels();
    labels.extend(own_selector(&inputs.names.instance, component));
    labels.insert(COMPONENT.to_owned(), component.to_string());
    labels.insert(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
    if inputs.deployment.spec.names == Some(NameScheme::Stock) {
        labels.insert(APP.to_owned(), component.to_string());
    }
    labels
}

/// The pods of a component, for workloads, Services and budgets.
pub(super) fn selector(inputs: &Inputs<'_>, component: Component) -> LabelSelector {
    LabelSelector { match_labels: Some(selector_labels(inputs, component)), match_expressions: None }
}

/// The labels that pods are selected by. They never change: a workload's selector cannot, and one that was made by others keeps its own.
pub(super) fn selector_labels(inputs: &Inputs<'_>, component: Component) -> BTreeMap<String, String> {
    inputs
        .adopted
        .selector(component)
        .cloned()
        .unwrap_or_else(|| own_selector(&inputs.names.instance, component))
}

/// The labels that the pods of an installation that we made are selected by.
pub(crate) fn own_selector(instance: &str, component: Component) -> BTreeMap<String, String> {
    [(NAME, component.as_str()), (INSTANCE, instance)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

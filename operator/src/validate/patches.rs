//! `podTemplatePatch`, `servicePatch` and `bootstrapPatch`: what the API server would refuse, and what may not be patched.

use contour_crds::ContourDeployment;
use serde::Serialize;
use serde_json::Value;

use crate::adoption::Adopted;
use crate::build::{Component, Inputs, contour_template, envoy_bootstrap, envoy_service, envoy_template};
use crate::defaults::Defaults;
use crate::names::Names;
use crate::patch::{Fault, Patched, bootstrap_keeps, pod_keeps, service_keeps};
use crate::problem::Problem;

/// Patches of the controller's pods.
pub(crate) const CONTOUR: &str = "spec.contour.podTemplatePatch";
/// Patches of Envoy's pods.
pub(crate) const ENVOY: &str = "spec.envoy.podTemplatePatch";
/// Patches of Envoy's bootstrap.
pub(crate) const BOOTSTRAP: &str = "spec.envoy.bootstrapPatch";
/// Patches of Envoy's Service.
pub(crate) const SERVICE: &str = "spec.publishing.servicePatch";

/// What is wrong with patches.
pub(super) fn patches(deployment: &ContourDeployment, names: &Names, defaults: &Defaults) -> Vec<Problem> {
    let inputs =
        Inputs { deployment, names, defaults, kept: None, addresses: &[], adopted: &Adopted::NOTHING };
    let (contour, envoy) = (contour_template(&inputs, ""), envoy_template(&inputs, ""));
    let template = envoy.result.as_ref().map(json).unwrap_or_default();
    let mut problems =
        looked(CONTOUR, &contour, |plain, patched| pod_keeps(Component::Contour, plain, patched));
    problems.extend(looked(ENVOY, &envoy, |plain, patched| pod_keeps(Component::Envoy, plain, patched)));
    problems.extend(looked(BOOTSTRAP, &envoy_bootstrap(&inputs), bootstrap_keeps));
    // Where Envoy's pods are wrong, what a Service can lead to is not known.
    if problems.is_empty() {
        let service = envoy_service(&inputs);
        problems = looked(SERVICE, &service, |plain, patched| service_keeps(plain, patched, &template));
    }
    problems
}

fn looked<T: Serialize>(
    field: &str,
    patched: &Patched<T>,
    keeps: impl Fn(&Value, &Value) -> Vec<Fault>,
) -> Vec<Problem> {
    let faults = match &patched.result {
        Ok(result) => keeps(&json(&patched.plain), &json(result)),
        Err(faults) => faults.clone(),
    };
    let told = faults.into_iter().map(|Fault { path, message }| {
        let field = if path.is_empty() { field.to_owned() } else { format!("{field}.{path}") };
        Problem::invalid(field, message)
    });
    told.collect()
}

fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("an object of Kubernetes can be written as JSON")
}

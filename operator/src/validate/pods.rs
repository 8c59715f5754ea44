//! What would make pods that the API server refuses, or that hide what the operator looks for.

use std::collections::{BTreeMap, BTreeSet};

use contour_crds::ContourDeployment;
use contour_crds::contour_deployment::{Autoscaling, DisruptionBudget, EnvoySettings, EnvoyWorkload};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::build::VOLUMES;
use crate::names::OWN_PREFIX;
use crate::patch::is_own_label;
use crate::problem::Problem;
use crate::settings::host_network;

/// What is wrong with what is asked for pods.
pub(super) fn pods(deployment: &ContourDeployment) -> Vec<Problem> {
    let (contour, envoy) = (&deployment.spec.contour, &deployment.spec.envoy);
    let mut problems = Vec::new();
    for (field, keys) in [
        ("contour.podLabels", &contour.pod_labels),
        ("contour.podAnnotations", &contour.pod_annotations),
        ("envoy.podLabels", &envoy.pod_labels),
        ("envoy.podAnnotations", &envoy.pod_annotations),
    ] {
        problems.extend(reserved(field, keys));
    }
    problems.extend(autoscaling("contour", contour.autoscaling, contour.resources.as_ref()));
    problems.extend(autoscaling("envoy", envoy.autoscaling, envoy.resources.as_ref()));
    problems.extend(eviction("contour", &contour.disruption_budget));
    problems.extend(eviction("envoy", &envoy.disruption_budget));
    problems.extend(replacement(envoy, host_network(deployment)));
    problems.extend(volumes(envoy));
    problems.extend(mounts(envoy));
    problems
}

fn reserved(field: &str, keys: &BTreeMap<String, String>) -> Vec<Problem> {
    let own = |key: &str| key.starts_with(OWN_PREFIX) || (field.ends_with("Labels") && is_own_label(key));
    let taken = keys.keys().filter(|key| own(key));
    taken
        .map(|key| {
            let message = format!("\"{key}\" is the operator's to set; use another key");
            Problem::invalid(format!("spec.{field}"), message)
        })
        .collect()
}

/// A share of nothing cannot be measured.
fn autoscaling(
    component: &str,
    asked: Option<Autoscaling>,
    resources: Option<&ResourceRequirements>,
) -> Option<Problem> {
    asked?;
    let resources = resources?;
    let says =
        |list: &Option<BTreeMap<String, _>>| list.as_ref().is_some_and(|list| list.contains_key("cpu"));
    let known = says(&resources.requests) || says(&resources.limits);
    (!known).then(|| {
        let message = "autoscaling measures the requested processor time, so requests need cpu, such as 100m";
        Problem::invalid(format!("spec.{component}.resources"), message)
    })
}

/// Somewhere a pod has to go.
fn eviction(component: &str, budget: &DisruptionBudget) -> Option<Problem> {
    budget.max_unavailable.as_ref().is_some_and(is_zero).then(|| {
        let message = "no pod could ever be evicted, and no node be drained; allow 1 at least";
        Problem::invalid(format!("spec.{component}.disruptionBudget.maxUnavailable"), message)
    })
}

/// Somewhere a first pod has to be replaced.
fn replacement(envoy: &EnvoySettings, host_network: bool) -> Option<Problem> {
    let asked = &envoy.update_strategy;
    let daemon_set = envoy.workload.unwrap_or_default() == EnvoyWorkload::DaemonSet;
    let unavailable = asked.max_unavailable.as_ref().map_or(!daemon_set && !host_network, is_zero);
    let surge = asked.max_surge.as_ref().map_or(daemon_set || host_network, is_zero);
    (unavailable && surge).then(|| {
        let way_out = if daemon_set { "" } else { ", or maxSurge to 1" };
        let message = format!("no pod could ever be replaced; set maxUnavailable to 1{way_out}");
        Problem::invalid("spec.envoy.updateStrategy", message)
    })
}

fn is_zero(value: &IntOrString) -> bool {
    match value {
        IntOrString::Int(number) => *number == 0,
        IntOrString::String(text) => text == "0%",
    }
}

fn volumes(envoy: &EnvoySettings) -> Vec<Problem> {
    let mut seen: BTreeSet<&str> = VOLUMES.into_iter().map(|(name, _)| name).collect();
    let given = envoy.extra_volumes.iter().enumerate();
    let taken = given.filter(|(_, volume)| !seen.insert(&volume.name)).map(|(index, volume)| {
        let message = format!("there is a volume \"{}\" already; use another name", volume.name);
        Problem::invalid(format!("spec.envoy.extraVolumes[{index}].name"), message)
    });
    taken.collect()
}

fn mounts(envoy: &EnvoySettings) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut paths: BTreeSet<&str> = VOLUMES.into_iter().map(|(_, path)| path).collect();
    for (index, mount) in envoy.extra_volume_mounts.iter().enumerate() {
        let field = |name: &str| format!("spec.envoy.extraVolumeMounts[{index}].{name}");
        if !envoy.extra_volumes.iter().any(|volume| volume.name == mount.name) {
            let message = format!("spec.envoy.extraVolumes has no volume \"{}\"; add it there", mount.name);
            problems.push(Problem::invalid(field("name"), message));
        }
        let path = mount.mount_path.trim_end_matches('/');
        let hides = |own: &str| path == own || path.starts_with(&format!("{own}/"));
        if !path.starts_with('/') || path.contains(':') {
            let message =
                format!("\"{}\" is not an absolute path below the root, without a colon", mount.mount_path);
            problems.push(Problem::invalid(field("mountPath"), message));
        } else if VOLUMES.iter().any(|(_, own)| hides(own)) || !paths.insert(path) {
            let message = format!("{path} is the place of another volume; use another path");
            problems.push(Problem::invalid(field("mountPath"), message));
        }
    }
    problems
}

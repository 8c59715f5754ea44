//! What two `ContourDeployment`s cannot both have. The later one is told, and changes nothing.

use contour_crds::ContourDeployment;
use contour_crds::contour_deployment::EnvoySettings;

use crate::names::{DEFAULT_CLASS, Names};
use crate::problem::Problem;
use crate::settings::{host_network, ports};

/// What of this `ContourDeployment` an earlier one has already. Earlier is the older one, and of two of the same age the one whose
/// namespace and name come first. `others` may contain the object itself.
pub fn clashes<'a>(
    deployment: &ContourDeployment,
    others: impl IntoIterator<Item = &'a ContourDeployment>,
) -> Vec<Problem> {
    let mut problems: Vec<Problem> = others
        .into_iter()
        .filter(|other| order(other) < order(deployment))
        .flat_map(|other| {
            [class(deployment, other), names(deployment, other)]
                .into_iter()
                .flatten()
                .chain(host_ports(deployment, other).into_iter().chain(node_ports(deployment, other)))
        })
        .collect();
    problems.sort();
    problems
}

fn class(deployment: &ContourDeployment, other: &ContourDeployment) -> Option<Problem> {
    let of = |deployment: &ContourDeployment| {
        deployment.spec.ingress_class_name.clone().unwrap_or_else(|| DEFAULT_CLASS.to_owned())
    };
    (of(deployment) == of(other)).then(|| {
        let message = format!(
            "class \"{}\" is already served by the older {}; name another class, or delete one of the two",
            of(deployment),
            told(other)
        );
        Problem::clash("spec.ingressClassName", message)
    })
}

fn names(deployment: &ContourDeployment, other: &ContourDeployment) -> Option<Problem> {
    let (own, others) = (Names::of(deployment).ok()?, Names::of(other).ok()?);
    let children = |names: &Names| [names.contour.clone(), names.envoy.clone(), names.bootstrap.clone()];
    let same = children(&own).iter().any(|name| children(&others).contains(name));
    (own.namespace == others.namespace && same).then(|| {
        let message = format!(
            "the older {} has children of the same names in this namespace; use names: Derived, or another namespace",
            told(other)
        );
        Problem::clash("spec.names", message)
    })
}

/// Ports of nodes that both Envoys may run on.
fn host_ports(deployment: &ContourDeployment, other: &ContourDeployment) -> Vec<Problem> {
    let shared = host_network(deployment)
        && host_network(other)
        && may_meet(&deployment.spec.envoy, &other.spec.envoy);
    if !shared {
        return Vec::new();
    }
    let taken = ports(other).named();
    let clashes = ports(deployment).named().into_iter().filter_map(|(name, port)| {
        let (use_, _) = taken.iter().find(|(_, taken)| *taken == port)?;
        let message = format!(
            "port {port} is {use_} of the older {} on the same nodes; give another port, or place the two on different nodes by \
             envoy.placement.nodeSelector",
            told(other)
        );
        Some(Problem::clash(format!("spec.envoy.ports.{name}"), message))
    });
    clashes.collect()
}

/// True unless the node selectors ask for different values of one label. Affinities are not looked at.
fn may_meet(one: &EnvoySettings, other: &EnvoySettings) -> bool {
    let others = &other.placement.node_selector;
    !one.placement
        .node_selector
        .iter()
        .any(|(key, value)| others.get(key).is_some_and(|theirs| theirs != value))
}

/// Ports that both Services ask for, on all nodes.
fn node_ports(deployment: &ContourDeployment, other: &ContourDeployment) -> Vec<Problem> {
    let of = |deployment: &ContourDeployment| {
        let ports = deployment.spec.publishing.node_ports;
        [("http", ports.http), ("https", ports.https)]
    };
    let taken = of(other).map(|(_, port)| port);
    let clashes = of(deployment).into_iter().filter(|(_, port)| port.is_some() && taken.contains(port));
    clashes
        .map(|(name, port)| {
            let message = format!(
                "port {} of all nodes is asked for by the older {}; give another port",
                port.unwrap_or_default(),
                told(other)
            );
            Problem::clash(format!("spec.publishing.nodePorts.{name}"), message)
        })
        .collect()
}

fn told(deployment: &ContourDeployment) -> String {
    let metadata = &deployment.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("ContourDeployment {}/{}", text(&metadata.namespace), text(&metadata.name))
}

/// By age, then by namespace and name. An object without a time was not created yet, so it comes last.
fn order(deployment: &ContourDeployment) -> impl Ord + use<> {
    let metadata = &deployment.metadata;
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created.is_none(), created, metadata.namespace.clone(), metadata.name.clone())
}

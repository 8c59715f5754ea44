//! What two `ContourDeployment`s cannot both have: it belongs to the one that serves with it, and as long as nobody does to the older one.
//! The other one is told, and changes nothing.

use std::collections::BTreeMap;

use contour_crds::contour_deployment::EnvoySettings;
use contour_crds::{ContourDeployment, ContourDeploymentStatus};

use crate::names::{DEFAULT_CLASS, Names};
use crate::problem::Problem;
use crate::settings::{host_network, ports};

/// What two want, by what it is, and what the first of them is told.
type Wanted = BTreeMap<String, Problem>;

/// What of this `ContourDeployment` belongs to others. Of two that both serve with something, or both do not, the older one has it, and of two
/// of the same age the one whose namespace and name come first. `others` may contain the object itself.
pub fn clashes<'a>(
    deployment: &ContourDeployment,
    others: impl IntoIterator<Item = &'a ContourDeployment>,
) -> Vec<Problem> {
    let is_other = |other: &&ContourDeployment| order(other) != order(deployment);
    let mut problems: Vec<Problem> =
        others.into_iter().filter(is_other).flat_map(|other| belongs_to(other, deployment)).collect();
    problems.sort();
    problems.dedup();
    problems
}

/// A `ContourDeployment` as it serves: as it was when nothing was wrong with it, which is what runs.
pub fn serving(deployment: &ContourDeployment) -> Option<ContourDeployment> {
    accepted(deployment, deployment.status.as_ref()?)
}

/// A `ContourDeployment` as this status of it says that it was last accepted.
pub(crate) fn accepted(
    deployment: &ContourDeployment,
    status: &ContourDeploymentStatus,
) -> Option<ContourDeployment> {
    let spec = serde_json::from_str(status.accepted.as_ref()?).ok()?;
    Some(ContourDeployment { spec, ..deployment.clone() })
}

/// What of a `ContourDeployment` another one has.
fn belongs_to(other: &ContourDeployment, deployment: &ContourDeployment) -> Vec<Problem> {
    let older = order(other) < order(deployment);
    let (here, there) = (serving(deployment), serving(other));
    // What both have alike, if each is there.
    let both = |one: &Option<ContourDeployment>, other: &ContourDeployment| {
        one.as_ref().map(|one| shared(one, other)).unwrap_or_default()
    };
    let mut lost = Wanted::new();
    if let Some(there) = &there {
        let served = both(&here, there);
        lost.extend(
            shared(deployment, there).into_iter().filter(|(what, _)| older || !served.contains_key(what)),
        );
    }
    if older {
        let served = both(&here, other);
        lost.extend(shared(deployment, other).into_iter().filter(|(what, _)| !served.contains_key(what)));
    }
    lost.into_values().collect()
}

/// What both want.
fn shared(deployment: &ContourDeployment, other: &ContourDeployment) -> Wanted {
    let one = class(deployment, other).into_iter().chain(default_class(deployment, other));
    let one = one.chain(names(deployment, other));
    one.chain(host_ports(deployment, other)).chain(node_ports(deployment, other)).collect()
}

fn class(deployment: &ContourDeployment, other: &ContourDeployment) -> Option<(String, Problem)> {
    let of = |deployment: &ContourDeployment| {
        deployment.spec.ingress_class_name.clone().unwrap_or_else(|| DEFAULT_CLASS.to_owned())
    };
    (of(deployment) == of(other)).then(|| {
        let message = format!(
            "class \"{}\" is already served by {}; name another class, or delete one of the two",
            of(deployment),
            told(other)
        );
        ("class".to_owned(), Problem::clash("spec.ingressClassName", message))
    })
}

/// A cluster has one default class.
fn default_class(deployment: &ContourDeployment, other: &ContourDeployment) -> Option<(String, Problem)> {
    (deployment.spec.default_ingress_class && other.spec.default_ingress_class).then(|| {
        let message = format!("the class of {} is the default of the cluster already", told(other));
        ("default class".to_owned(), Problem::clash("spec.defaultIngressClass", message))
    })
}

/// Workloads and Services of the same names; whatever else may be called alike is of another kind.
fn names(deployment: &ContourDeployment, other: &ContourDeployment) -> Option<(String, Problem)> {
    let (own, others) = (Names::of(deployment).ok()?, Names::of(other).ok()?);
    let children = |names: &Names| [names.contour.clone(), names.envoy.clone()];
    let same = children(&own).iter().any(|name| children(&others).contains(name));
    (own.namespace == others.namespace && same).then(|| {
        let message = format!(
            "{} has children of the same names in this namespace; use names: Derived, or another namespace",
            told(other)
        );
        ("names".to_owned(), Problem::clash("spec.names", message))
    })
}

/// Ports of nodes that both Envoys may run on.
fn host_ports(deployment: &ContourDeployment, other: &ContourDeployment) -> Vec<(String, Problem)> {
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
            "port {port} is {use_} of {} on the same nodes; give another port, or place the two on different nodes by \
             envoy.placement.nodeSelector",
            told(other)
        );
        Some((format!("port {port}"), Problem::clash(format!("spec.envoy.ports.{name}"), message)))
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
fn node_ports(deployment: &ContourDeployment, other: &ContourDeployment) -> Vec<(String, Problem)> {
    let of = |deployment: &ContourDeployment| {
        let ports = deployment.spec.publishing.node_ports;
        [("http", ports.http), ("https", ports.https)]
    };
    let taken = of(other).map(|(_, port)| port);
    let clashes = of(deployment).into_iter().filter(|(_, port)| port.is_some() && taken.contains(port));
    clashes
        .map(|(name, port)| {
            let port = port.unwrap_or_default();
            let message =
                format!("port {port} of all nodes is asked for by {}; give another port", told(other));
            (
                format!("node port {port}"),
                Problem::clash(format!("spec.publishing.nodePorts.{name}"), message),
            )
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Of this age, that wants this class, and serves with another one or none yet.
    fn object(name: &str, day: u8, wants: &str, serves: Option<&str>) -> ContourDeployment {
        let accepted = serves.map(|class| format!("{{\"ingressClassName\":\"{class}\"}}"));
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": name, "creationTimestamp": format!("2026-01-0{day}T00:00:00Z")},
            "spec": {"ingressClassName": wants, "publishing": {"type": "ClusterIPService"}},
            "status": {"accepted": accepted},
        }))
        .unwrap()
    }

    fn told_of_class(one: &ContourDeployment, other: &ContourDeployment) -> bool {
        clashes(one, [one, other]).iter().any(|problem| problem.field == "spec.ingressClassName")
    }

    #[test]
    fn a_class_belongs_to_who_serves_it() {
        for (older, newer, who_is_told) in [
            // Nobody serves it, or both do: the older one has it.
            (("a", None), ("a", None), "newer"),
            (("a", Some("a")), ("a", Some("a")), "newer"),
            (("a", Some("a")), ("a", None), "newer"),
            // An older one that is changed takes nothing from who serves.
            (("a", Some("b")), ("a", Some("a")), "older"),
            (("a", None), ("a", Some("a")), "older"),
            // What is still served is taken, whatever is wanted instead.
            (("b", Some("a")), ("a", None), "newer"),
            (("b", Some("b")), ("a", Some("a")), "nobody"),
            // Each serves what the other one wants: both stay as they are.
            (("b", Some("a")), ("a", Some("b")), "both"),
        ] {
            let (old, new) = (object("x", 1, older.0, older.1), object("y", 2, newer.0, newer.1));
            let told = match (told_of_class(&old, &new), told_of_class(&new, &old)) {
                (true, true) => "both",
                (true, false) => "older",
                (false, true) => "newer",
                (false, false) => "nobody",
            };
            assert_eq!(told, who_is_told, "{older:?} {newer:?}");
        }
    }

    #[test]
    fn kinds_that_differ_do_not_clash() {
        let named = |name: &str, class: &str| {
            let mut one = object(name, 1, class, None);
            one.metadata.namespace = Some("n".to_owned());
            one
        };
        // A DaemonSet and a ConfigMap are both called `envoy-bootstrap-a`, and something after it.
        assert_eq!(clashes(&named("bootstrap-a", "b"), [&named("a", "a")]), []);
    }
}

//! What pods of both components have in common.

use std::collections::BTreeMap;

use contour_crds::contour_deployment::{EnvoyWorkload, ImagePullPolicy, Placement};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, LocalObjectReference, ObjectFieldSelector,
    PodSpec, ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext,
    TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Inputs;
use super::meta::{self, Component};

/// Whom pods run as: `nobody`.
pub(super) const NOBODY: i64 = 65534;

/// Files of Secrets: for the owner and the group of the pod alone.
const SECRET_MODE: i32 = 0o440;

/// Labels and annotations of a pod: those of the component, those that were asked for, and `hash`.
pub(super) fn metadata(
    inputs: &Inputs<'_>,
    component: Component,
    asked: (&BTreeMap<String, String>, &BTreeMap<String, String>),
    scraped: (&str, u16),
    hash: (&str, &str),
) -> ObjectMeta {
    let (path, port) = scraped;
    let own = [
        (hash.0, hash.1.to_owned()),
        ("prometheus.io/path", path.to_owned()),
        ("prometheus.io/port", port.to_string()),
        ("prometheus.io/scrape", "true".to_owned()),
    ];
    let mut annotations: BTreeMap<String, String> =
        own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    annotations.extend(asked.1.clone());
    let mut labels = asked.0.clone();
    labels.extend(meta::labels(inputs, component));
    labels.extend(meta::selector_labels(inputs, component));
    ObjectMeta { annotations: Some(annotations), labels: Some(labels), ..ObjectMeta::default() }
}

/// A pod's place, account and pull Secrets. Where nothing is said, and its workload does not place it, it keeps apart from its like.
pub(super) fn placed(
    inputs: &Inputs<'_>,
    component: Component,
    placement: &Placement,
    account: &str,
) -> PodSpec {
    let mut node_selector = placement.node_selector.clone();
    if node_selector.is_empty() {
        node_selector.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
    }
    let secrets = inputs.deployment.spec.image_pull_secrets.iter();
    let spread = placement.topology_spread_constraints.clone();
    let by_node = component == Component::Envoy && inputs.settings().workload == EnvoyWorkload::DaemonSet;
    let unsaid = spread.is_empty() && placement.affinity.is_none() && !by_node;
    let spread = if unsaid { vec![apart(inputs, component)] } else { spread };
    PodSpec {
        affinity: placement.affinity.as_deref().cloned(),
        image_pull_secrets: unless_empty(
            secrets.map(|name| LocalObjectReference { name: name.clone() }).collect(),
        ),
        node_selector: Some(node_selector),
        priority_class_name: placement.priority_class_name.clone(),
        service_account_name: Some(account.to_owned()),
        tolerations: unless_empty(placement.tolerations.clone()),
        topology_spread_constraints: unless_empty(spread),
        ..PodSpec::default()
    }
}

/// On different nodes, if there are enough. Pods of an earlier template do not count.
fn apart(inputs: &Inputs<'_>, component: Component) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        label_selector: Some(meta::selector(inputs, component)),
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    }
}

/// A container with nothing but its image, its command and the least rights: whatever it may write is a mount.
pub(super) fn container(
    name: &str,
    image: &str,
    policy: Option<ImagePullPolicy>,
    command: &str,
    args: Vec<String>,
) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(format!("{:?}", policy.unwrap_or_default())),
        command: Some(vec![command.to_owned()]),
        args: Some(args),
        security_context: Some(least_rights(None)),
        ..Container::default()
    }
}

/// No capability but `added`, no way to get more, no file to write outside of mounts.
pub(super) fn least_rights(added: Option<&str>) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            add: added.map(|capability| vec![capability.to_owned()]),
            drop: Some(vec!["ALL".to_owned()]),
        }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// The seccomp profile of the container runtime.
pub(super) fn seccomp() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

/// What was asked for, or else these requests, and no limits: a proxy or its controller that is throttled is worse than one that uses more.
pub(super) fn resources(
    asked: Option<&ResourceRequirements>,
    cpu: &str,
    memory: &str,
) -> ResourceRequirements {
    let requests = || {
        [("cpu", cpu), ("memory", memory)].map(|(key, value)| (key.to_owned(), Quantity(value.to_owned())))
    };
    asked.cloned().unwrap_or_else(|| ResourceRequirements {
        requests: Some(requests().into()),
        ..ResourceRequirements::default()
    })
}

/// A port that Services and probes know by name.
pub(super) fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// A variable with a field of the pod.
pub(super) fn field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { api_version: None, field_path: path.to_owned() };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

/// The volume of a Secret.
pub(super) fn secret(volume: &str, secret: &str) -> Volume {
    Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            default_mode: Some(SECRET_MODE),
            secret_name: Some(secret.to_owned()),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Where a volume is seen.
pub(super) fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// The list, unless there is nothing in it: an empty one is not kept by the API server.
pub(super) fn unless_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

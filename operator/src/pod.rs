//! A pod, as much of it as is read. A class on every node of a large cluster has thousands, and a whole one takes some 20 KiB of memory: what is
//! not named here is not even decoded.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{HostIP, NodeAffinity, Pod as Whole, PodIP};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::Deserialize;

use crate::names::{OWNER_NAME, OWNER_NAMESPACE};

/// Label of a pod of a `DaemonSet`: which template it is.
pub(crate) const GENERATION: &str = "pod-template-generation";

/// A pod. Fields are called as those of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Whose it is, and since when.
    pub metadata: ObjectMeta,
    /// Where it runs, and what of.
    pub spec: Option<PodSpec>,
    /// How it is.
    pub status: Option<PodStatus>,
}

/// Where a pod runs, and what of.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Its node.
    pub node_name: Option<String>,
    /// The node that a `DaemonSet` made it for.
    pub affinity: Option<Affinity>,
    /// What runs in it.
    pub containers: Vec<Container>,
    /// What runs before, or beside.
    pub init_containers: Option<Vec<Container>>,
    /// The config maps and Secrets that it needs are among them.
    pub volumes: Option<Vec<Volume>>,
}

/// Where a pod may be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// On which nodes.
    pub node_affinity: Option<NodeAffinity>,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: Option<String>,
    /// Its ports.
    pub ports: Option<Vec<ContainerPort>>,
}

/// A port of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// The port of its node.
    pub host_port: Option<i32>,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// With what of a `ConfigMap`.
    pub config_map: Option<MapVolume>,
    /// With what of a Secret.
    pub secret: Option<SecretVolume>,
}

/// Which `ConfigMap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MapVolume {
    /// Its name.
    pub name: String,
}

/// Which Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretVolume {
    /// Its name.
    pub secret_name: Option<String>,
}

/// How a pod is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Whether it is ready, and has a node.
    pub conditions: Option<Vec<PodCondition>>,
    /// How its containers are.
    pub container_statuses: Option<Vec<ContainerStatus>>,
    /// How those are that run before, or beside.
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
    /// The first address of its node.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
    /// All addresses of its node.
    #[serde(rename = "hostIPs")]
    pub host_ips: Option<Vec<HostIP>>,
    /// Its first address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// All its addresses.
    #[serde(rename = "podIPs")]
    pub pod_ips: Option<Vec<PodIP>>,
}

/// A condition of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// Which.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in a word.
    pub reason: Option<String>,
    /// Why, in a sentence.
    pub message: Option<String>,
    /// Since when.
    pub last_transition_time: Option<Time>,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Whether it is ready.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: i32,
    /// How it is now.
    pub state: Option<ContainerState>,
    /// How it ended last.
    pub last_state: Option<ContainerState>,
}

/// How a container is, or ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It waits.
    pub waiting: Option<Waiting>,
    /// It ended.
    pub terminated: Option<Terminated>,
}

/// What a container waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// In a word.
    pub reason: Option<String>,
    /// In a sentence.
    pub message: Option<String>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// With which exit status.
    pub exit_code: i32,
    /// What it said.
    pub message: Option<String>,
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Whole::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Whole::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Whole::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Whole::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
impl Pod {
    /// As it is in the cache of a running operator, for tests of those who read it.
    pub(crate) fn cached(whole: serde_json::Value) -> std::sync::Arc<Self> {
        let mut pod: Self = serde_json::from_value(whole).expect("a pod");
        pod.trim();
        pod.into()
    }
}

/// The conditions that are read.
const CONDITIONS: [&str; 2] = ["Ready", "PodScheduled"];

impl Pod {
    /// Takes off what is decoded and not read.
    pub(crate) fn trim(&mut self) {
        trim(&mut self.metadata, &[GENERATION]);
        if let Some(spec) = &mut self.spec {
            for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
                retain(&mut container.ports, |port| port.host_port.is_some());
            }
            retain(&mut spec.volumes, |volume| volume.config_map.is_some() || volume.secret.is_some());
        }
        if let Some(status) = &mut self.status {
            retain(&mut status.conditions, |condition| CONDITIONS.contains(&condition.type_.as_str()));
            // Nothing is asked of one that works.
            for statuses in [&mut status.container_statuses, &mut status.init_container_statuses] {
                retain(statuses, |container| !container.ready);
            }
        }
    }
}

/// Takes all off an object's metadata but what tells whose it is, how long it has been there and how it goes. Of the labels those of owners stay,
/// and these.
pub(crate) fn trim(metadata: &mut ObjectMeta, labels: &[&str]) {
    metadata.annotations = None;
    metadata.managed_fields = None;
    metadata.generate_name = None;
    metadata.resource_version = None;
    let read = |label: &String| {
        let label = label.as_str();
        [OWNER_NAME, OWNER_NAMESPACE].contains(&label) || labels.contains(&label)
    };
    if let Some(all) = metadata.labels.take() {
        metadata.labels = Some(all.into_iter().filter(|(label, _)| read(label)).collect());
    }
    retain(&mut metadata.owner_references, |owner| owner.controller == Some(true));
}

/// Keeps what is read, and no memory for more.
fn retain<T>(list: &mut Option<Vec<T>>, is_read: impl FnMut(&T) -> bool) {
    if let Some(all) = list {
        all.retain(is_read);
        all.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What the API server has of a pod of Envoy, or the most of it.
    fn whole() -> serde_json::Value {
        let probe =
            json!({"httpGet": {"path": "/ready", "port": "metrics", "scheme": "HTTP"}, "periodSeconds": 4});
        let container = |name: &str, port: i32| {
            json!({
                "name": name, "image": format!("example/{name}:v1"), "args": ["--a", "--b"], "command": [name],
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "ports": [{"name": "p", "containerPort": port, "hostPort": port}, {"name": "q", "containerPort": 1}],
                "readinessProbe": probe, "volumeMounts": [{"name": "config", "mountPath": "/config"}],
            })
        };
        let running = |name: &str, ready: bool| {
            json!({
                "name": name, "image": "i", "imageID": "sha256:0", "ready": ready, "restartCount": 3, "started": true,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {"terminated": {"exitCode": 1, "message": "m", "reason": "Error"}},
            })
        };
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let owner = |name: &str, controller: bool| json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": name, "uid": "set", "controller": controller});
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "envoy-x", "namespace": "n", "uid": "pod", "generateName": "envoy-", "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
                "labels": {
                    "app.kubernetes.io/component": "envoy", "pod-template-generation": "4",
                    OWNER_NAME: "edge", OWNER_NAMESPACE: "n",
                },
                "annotations": {"prometheus.io/port": "8002"},
                "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}}],
                "ownerReferences": [owner("other", false), owner("envoy", true)],
                "finalizers": ["example.com/f"],
            },
            "spec": {
                "nodeName": "node-1", "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]},
                    ]}},
                    "podAntiAffinity": {},
                },
                "containers": [container("envoy", 80)], "initContainers": [container("shutdown-manager", 8090)],
                "volumes": [
                    {"name": "config", "configMap": {"name": "bootstrap", "items": [{"key": "k", "path": "p"}]}},
                    {"name": "certs", "secret": {"secretName": "envoycert", "defaultMode": 288}},
                    {"name": "admin", "emptyDir": {}},
                ],
            },
            "status": {
                "phase": "Running", "hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
                "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "startTime": "2026-01-01T00:00:00Z",
                "conditions": [condition("Ready"), condition("ContainersReady"), condition("PodScheduled")],
                "containerStatuses": [running("envoy", true), running("other", false)],
                "initContainerStatuses": [running("shutdown-manager", false)],
            },
        })
    }

    #[test]
    fn what_is_read_is_kept_and_nothing_else() {
        let port = |port| ContainerPort { host_port: Some(port) };
        let container = |name: &str, number| Container {
            name: name.to_owned(),
            image: Some(format!("example/{name}:v1")),
            ports: Some(vec![port(number)]),
        };
        let status = |name: &str| ContainerStatus {
            name: name.to_owned(),
            image: "i".to_owned(),
            ready: false,
            restart_count: 3,
            state: Some(ContainerState {
                waiting: Some(Waiting {
                    reason: Some("CrashLoopBackOff".to_owned()),
                    message: Some("back-off".to_owned()),
                }),
                terminated: None,
            }),
            last_state: Some(ContainerState {
                waiting: None,
                terminated: Some(Terminated { exit_code: 1, message: Some("m".to_owned()) }),
            }),
        };
        let condition = |kind: &str| PodCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap()),
            ..PodCondition::default()
        };
        let all = whole();
        let metadata: ObjectMeta = serde_json::from_value(json!({
            "name": "envoy-x", "namespace": "n", "uid": "pod", "finalizers": ["example.com/f"],
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
            "labels": {"pod-template-generation": "4", OWNER_NAME: "edge", OWNER_NAMESPACE: "n"},
            "ownerReferences": [all["metadata"]["ownerReferences"][1]],
        }))
        .unwrap();
        let spec = PodSpec {
            node_name: Some("node-1".to_owned()),
            affinity: serde_json::from_value(all["spec"]["affinity"].clone()).unwrap(),
            containers: vec![container("envoy", 80)],
            init_containers: Some(vec![container("shutdown-manager", 8090)]),
            volumes: Some(vec![
                Volume { config_map: Some(MapVolume { name: "bootstrap".to_owned() }), secret: None },
                Volume {
                    config_map: None,
                    secret: Some(SecretVolume { secret_name: Some("envoycert".to_owned()) }),
                },
            ]),
        };
        let ip = |ip: &str| ip.to_owned();
        let status = PodStatus {
            conditions: Some(vec![condition("Ready"), condition("PodScheduled")]),
            container_statuses: Some(vec![status("other")]),
            init_container_statuses: Some(vec![status("shutdown-manager")]),
            host_ip: Some(ip("192.0.2.1")),
            host_ips: Some(["192.0.2.1", "2001:db8::1"].map(|one| HostIP { ip: ip(one) }).into()),
            pod_ip: Some(ip("10.0.0.1")),
            pod_ips: Some(["10.0.0.1", "fd00::1"].map(|one| PodIP { ip: ip(one) }).into()),
        };
        assert_eq!(*Pod::cached(all), Pod { metadata, spec: Some(spec), status: Some(status) });
    }

    #[test]
    fn it_takes_little_memory() {
        let whole = size_of::<Whole>() + 2 * size_of::<k8s_openapi::api::core::v1::Container>();
        let ours = size_of::<Pod>() + 2 * (size_of::<Container>() + size_of::<Volume>());
        assert!(ours < 1_500 && ours < whole / 4, "{ours} of {whole}");
    }

    #[test]
    fn it_is_a_pod_to_the_api_server() {
        assert_eq!((Pod::kind(&()), Pod::plural(&())), ("Pod".into(), "pods".into()));
        assert_eq!((Pod::group(&()), Pod::version(&())), ("".into(), "v1".into()));
    }
}

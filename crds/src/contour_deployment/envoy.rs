//! The proxies.

use super::contour::{Autoscaling, ContourLogLevel};
use super::pods::{DisruptionBudget, ImagePullPolicy, Patch, Placement, annotation_map, label_map, patch};
use crate::patterns::{ABSOLUTE_PATH, GO_DURATION, IP_ADDRESS_CHARACTERS};
use crate::schema::{brief, brief_list, count_or_percentage};
use crate::serde_rules::{non_empty, unset};
use k8s_openapi::api::core::v1::{ResourceRequirements, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.replicas) || (has(self.workload) && self.workload == 'Deployment')",
    "message": "replicas needs workload Deployment: a DaemonSet has one pod per node"
}, {
    "rule": "!has(self.autoscaling) || (has(self.workload) && self.workload == 'Deployment')",
    "message": "autoscaling needs workload Deployment: a DaemonSet has one pod per node"
}, {
    "rule": "!has(self.externalReplicas) || !self.externalReplicas || (has(self.workload) && self.workload == 'Deployment')",
    "message": "externalReplicas needs workload Deployment: a DaemonSet has one pod per node"
}, {
    "rule": "!has(self.replicas) || !has(self.autoscaling)",
    "message": "replicas and autoscaling exclude each other"
}, {
    "rule": "!has(self.externalReplicas) || !self.externalReplicas || (!has(self.replicas) && !has(self.autoscaling))",
    "message": "externalReplicas excludes replicas and autoscaling"
}, {
    "rule": "!has(self.updateStrategy) || !has(self.updateStrategy.maxSurge) || (has(self.workload) && self.workload == 'Deployment')",
    "message": "updateStrategy.maxSurge needs workload Deployment"
}]))]
pub struct EnvoySettings {
    /// `DaemonSet`, one pod per node, or `Deployment`; `DaemonSet` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub workload: Option<EnvoyWorkload>,
    /// How many pods of a `Deployment`; 2 by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<i32>,
    /// Chooses the number of pods of a `Deployment` by their load.
    #[serde(default, skip_serializing_if = "unset")]
    pub autoscaling: Option<Autoscaling>,
    /// Leaves the number of pods to somebody else, such as KEDA or an autoscaler of your own.
    #[serde(default, skip_serializing_if = "unset")]
    pub external_replicas: bool,
    /// How many pods may be evicted at a time; 1 by default. Pods of a `DaemonSet` are not evicted.
    #[serde(default, skip_serializing_if = "unset")]
    pub disruption_budget: DisruptionBudget,
    /// Uses the network of the node; by default if publishing is of type `HostNetwork`.
    #[serde(default, skip_serializing_if = "unset")]
    pub host_network: Option<bool>,
    /// The ports to listen on.
    #[serde(default, skip_serializing_if = "unset")]
    pub ports: EnvoyPorts,
    /// The IP address to listen on for HTTP and HTTPS; by default `0.0.0.0`, or `::`, which takes IPv4 as well, where
    /// IPv6 is served.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 45), regex(pattern = IP_ADDRESS_CHARACTERS))]
    pub listen_address: Option<String>,
    /// The image of Envoy; by default that of the operator's release.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When images are pulled; `IfNotPresent` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// The image of the agent that drains Envoy. By default the one that runs, and where none runs, or the
    /// image of Envoy changes anyway, that of the operator: an upgrade of Contour alone restarts no Envoy.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 512))]
    pub agent_image: Option<String>,
    /// What a pod's Envoy needs and gets; requests of 200m and 256Mi, and no limits, by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "brief::<ResourceRequirements>")]
    pub resources: Option<ResourceRequirements>,
    /// On which nodes.
    #[serde(default, skip_serializing_if = "unset")]
    pub placement: Placement,
    /// How pods are replaced.
    #[serde(default, skip_serializing_if = "unset")]
    pub update_strategy: UpdateStrategy,
    /// How many threads serve requests; one per processor by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "i32", range(min = 1, max = 1024))]
    pub concurrency: Option<u16>,
    /// Which messages Envoy logs; `info` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub log_level: Option<EnvoyLogLevel>,
    /// Other levels for components of Envoy, such as `connection: debug`. A change replaces all pods.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(extend("maxProperties" = 64))]
    pub component_log_levels: BTreeMap<String, EnvoyLogLevel>,
    /// The file that requests are logged to; `/dev/stdout` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 4096), regex(pattern = ABSOLUTE_PATH))]
    pub access_log: Option<String>,
    /// How Envoy is drained before its pod ends.
    #[serde(default, skip_serializing_if = "unset")]
    pub shutdown: Shutdown,
    /// At what load Envoy refuses work.
    #[serde(default, skip_serializing_if = "unset")]
    pub overload: Overload,
    /// Further volumes of pods.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "brief_list::<Volume>")]
    pub extra_volumes: Vec<Volume>,
    /// Where Envoy sees the further volumes.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "brief_list::<VolumeMount>")]
    pub extra_volume_mounts: Vec<VolumeMount>,
    /// Further labels of pods. A change replaces all pods.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "label_map")]
    pub pod_labels: BTreeMap<String, String>,
    /// Further annotations of pods. A change replaces all pods.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "annotation_map")]
    pub pod_annotations: BTreeMap<String, String>,
    /// A patch of Envoy's bootstrap, with the names of fields as in `envoy.yaml` (`stats_sinks`): objects are merged, null
    /// removes a field, and lists are replaced, but for those of clusters, layers, monitors and actions, which are merged by
    /// name. It needs a ContourPolicy that allows patches, and cannot change the ways to the controller. A change replaces
    /// all pods.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "patch")]
    pub bootstrap_patch: Patch,
    /// A strategic merge patch of the pod template (`metadata`, `spec`), as `kubectl patch` takes it, for what no
    /// other field says. It needs a ContourPolicy that allows patches, and cannot change what the operator relies on.
    /// A change replaces all pods.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "patch")]
    pub pod_template_patch: Patch,
}

/// What runs the pods of Envoy.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum EnvoyWorkload {
    /// One pod per node.
    #[default]
    DaemonSet,
    /// A number of pods.
    Deployment,
}

/// The ports that Envoy's pods listen on. No two may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.metrics != self.admin && (!has(self.http) || (self.http != self.metrics && self.http != self.admin && (!has(self.https) || self.http != self.https))) && (!has(self.https) || (self.https != self.metrics && self.https != self.admin))",
    "message": "http, https, metrics and admin must be four different ports"
}, {
    "rule": "!has(self.shutdown) || (self.shutdown != self.metrics && self.shutdown != self.admin && (!has(self.http) || self.http != self.shutdown) && (!has(self.https) || self.https != self.shutdown))",
    "message": "shutdown must differ from the other ports"
}]))]
pub struct EnvoyPorts {
    /// HTTP; 80 on the network of the node, else 8080, by default. So it is 8080 for `contour standalone`.
    #[serde(skip_serializing_if = "unset")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub http: Option<u16>,
    /// HTTPS; 443 on the network of the node, else 8443, by default. So it is 8443 for `contour standalone`.
    #[serde(skip_serializing_if = "unset")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub https: Option<u16>,
    /// Health and metrics.
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub metrics: u16,
    /// The readable part of Envoy's admin interface, on loopback.
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub admin: u16,
    /// The agent that drains Envoy; 8090 by default.
    #[serde(skip_serializing_if = "unset")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub shutdown: Option<u16>,
}

impl Default for EnvoyPorts {
    fn default() -> Self {
        Self { http: None, https: None, metrics: 8002, admin: 9001, shutdown: None }
    }
}

/// How pods are replaced. A number, or a percentage such as `10%`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// How many pods may be missing meanwhile; `10%` of a `DaemonSet`, none of a `Deployment` unless on the
    /// network of nodes, by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "count_or_percentage")]
    pub max_unavailable: Option<IntOrString>,
    /// How many pods of a `Deployment` may be there in addition meanwhile; `10%`, and none on the network of
    /// nodes, by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "count_or_percentage")]
    pub max_surge: Option<IntOrString>,
}

/// Which messages Envoy logs: those of a level and of all after it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum EnvoyLogLevel {
    /// Every step.
    Trace,
    /// What helps to find errors in Envoy.
    Debug,
    /// What is worth knowing.
    #[default]
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
    /// What keeps Envoy from working.
    Critical,
    /// Nothing.
    Off,
}

/// How Envoy is drained before its pod ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.gracePeriod) || duration(self.gracePeriod) <= duration('24h')",
    "message": "gracePeriod must be at most 24h"
}, {
    "rule": "!has(self.checkInterval) || duration(self.checkInterval) >= duration('1s')",
    "message": "checkInterval must be at least 1s"
}, {
    "rule": "duration(has(self.drainDelay) ? self.drainDelay : '0s') + duration(has(self.checkDelay) ? self.checkDelay : '0s') < duration(has(self.gracePeriod) ? self.gracePeriod : '300s')",
    "message": "drainDelay and checkDelay together must be less than gracePeriod, which is 300s by default"
}]))]
pub struct Shutdown {
    /// How long Envoy goes on as if nothing were, for load balancers that are late to notice; none by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 2, max = 32), regex(pattern = GO_DURATION))]
    pub drain_delay: Option<String>,
    /// How long, after Envoy's health check fails, until connections are counted; none by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 2, max = 32), regex(pattern = GO_DURATION))]
    pub check_delay: Option<String>,
    /// How often connections are counted; `5s` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 2, max = 32), regex(pattern = GO_DURATION))]
    pub check_interval: Option<String>,
    /// With how many open connections Envoy may end; none by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(range(min = 0))]
    pub min_open_connections: i32,
    /// When the pod ends even if connections are open; `300s` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 2, max = 32), regex(pattern = GO_DURATION))]
    pub grace_period: Option<String>,
    /// Which messages the agent logs; `info` by default. A change replaces all pods.
    #[serde(default, skip_serializing_if = "unset")]
    pub log_level: Option<ContourLogLevel>,
    /// What the agent needs and gets; requests of 10m and 32Mi, and no limits, by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "brief::<ResourceRequirements>")]
    pub resources: Option<ResourceRequirements>,
}

/// At what load Envoy refuses work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overload {
    /// Envoy gives memory back as its heap comes near this many bytes, and refuses requests when it is there.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "i64", range(min = 1))]
    pub max_heap_bytes: Option<u64>,
    /// How many connections of clients each Envoy takes at a time.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "i64", range(min = 1))]
    pub max_downstream_connections: Option<u64>,
}

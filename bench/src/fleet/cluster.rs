//! The cluster: nodes, and what the controllers of workloads and the kubelets would write.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contour_crds::ContourDeployment;
use contour_e2e::apiserver::ApiServer;
use contour_e2e::wait::eventually;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// The namespace of the operator, whose installations may have what the bench asks for.
pub const NAMESPACE: &str = "contour-operator";

/// The `ContourDeployment`.
pub const NAME: &str = "edge";

/// Requests under way at once.
const CONCURRENT: usize = 48;

/// How long the operator may take for a step.
const PATIENCE: Duration = Duration::from_mins(2);

/// A cluster with an installation on so many nodes.
pub struct Cluster {
    client: Client,
    nodes: usize,
    /// Which are not ready.
    ailing: usize,
    set: Option<DaemonSet>,
    template: Value,
}

impl Cluster {
    /// An empty one.
    pub async fn new(api: &ApiServer, nodes: usize) -> Result<Self> {
        api.install_crds(&contour_crds::all_crds()).await?;
        let client = api.client().await?;
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(Self { client, nodes, ailing: 0, set: None, template: Value::Null })
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn sets(&self) -> Api<DaemonSet> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn deployments(&self) -> Api<ContourDeployment> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Makes all nodes.
    pub async fn make_nodes(&self) -> Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let made = stream::iter(0..self.nodes).map(|n| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &node(n)?).await.context("a node").map(drop) }
        });
        made.buffer_unordered(CONCURRENT).try_collect().await
    }

    /// Asks the operator, which runs, for the installation, and gives it its pods.
    pub async fn install(&mut self) -> Result<()> {
        let asked = json!({
            "apiVersion": "operator.projectcontour.io/v1alpha1", "kind": "ContourDeployment",
            "metadata": {"name": NAME}, "spec": {"ingressClassName": "fleet"},
        });
        self.deployments().create(&PostParams::default(), &serde_json::from_value(asked)?).await?;
        self.roll_contour().await?;
        let set = eventually(PATIENCE, || async { Ok(self.sets().get("envoy-edge").await?) }).await?;
        self.template = serde_json::to_value(&set.spec.template)?;
        self.set = Some(set);
        self.make_pods(0..self.nodes).await?;
        self.count(self.nodes).await
    }

    /// Says that Contour has rolled out.
    async fn roll_contour(&self) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let contour = eventually(PATIENCE, || async { Ok(api.get("contour-edge").await?) }).await?;
        let status = json!({"status": {
            "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
            "observedGeneration": contour.metadata.generation,
        }});
        api.patch_status("contour-edge", &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Makes the pods of these nodes, which become ready.
    async fn make_pods(&self, nodes: impl Iterator<Item = usize>) -> Result<()> {
        let set = self.set.as_ref().context("there is no DaemonSet yet")?;
        let made = stream::iter(nodes).map(|n| {
            let (api, pod) = (self.pods(), pod(n, set, &self.template));
            async move {
                api.create(&PostParams::default(), &pod?).await.context("a pod")?;
                tell(&api, n, true).await
            }
        });
        made.buffer_unordered(CONCURRENT).try_collect().await
    }

    /// The pods of these nodes are ready from now on, or are not, and the DaemonSet says so.
    pub async fn flip(&mut self, nodes: std::ops::Range<usize>, ready: bool) -> Result<()> {
        let count = nodes.len();
        let told = stream::iter(nodes).map(|n| {
            let api = self.pods();
            async move { tell(&api, n, ready).await }
        });
        told.buffer_unordered(CONCURRENT).try_collect::<()>().await?;
        self.ailing = if ready { self.ailing.saturating_sub(count) } else { self.ailing + count };
        self.count(self.nodes).await
    }

    /// Replaces the pods of these nodes, all at once.
    pub async fn restart(&mut self, nodes: std::ops::Range<usize>) -> Result<()> {
        let ended = stream::iter(nodes.clone()).map(|n| {
            let api = self.pods();
            async move {
                api.delete(&pod_name(n), &DeleteParams::default().grace_period(0))
                    .await
                    .context("a pod")
                    .map(drop)
            }
        });
        ended.buffer_unordered(CONCURRENT).try_collect::<()>().await?;
        self.ailing += nodes.len();
        self.count(self.nodes - nodes.len()).await?;
        self.make_pods(nodes.clone()).await?;
        self.ailing -= nodes.len();
        self.count(self.nodes).await
    }

    /// What the DaemonSet's controller would write of so many pods.
    async fn count(&self, there: usize) -> Result<()> {
        let (all, ready) = (self.nodes, self.nodes - self.ailing);
        let set = self.set.as_ref().context("there is no DaemonSet yet")?;
        let status = json!({"status": {
            "desiredNumberScheduled": all, "currentNumberScheduled": there, "updatedNumberScheduled": there,
            "numberReady": ready, "numberAvailable": ready, "numberUnavailable": all - ready, "numberMisscheduled": 0,
            "observedGeneration": set.metadata.generation,
        }});
        self.sets().patch_status(&set.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Changes the `ContourDeployment` without a meaning.
    pub async fn poke(&self, n: usize) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {"poked": n.to_string()}}});
        self.deployments().patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until all of it is as it should be.
    pub async fn complete(&self) -> Result<()> {
        eventually(PATIENCE, || async {
            let status = self.deployments().get(NAME).await?.status.context("no status yet")?;
            ensure!(
                status.reason.as_deref() == Some("Serving"),
                "it is {:?}: {:?}",
                status.reason,
                status.conditions
            );
            let pods = status.envoy.and_then(|envoy| envoy.pods);
            ensure!(pods == Some(format!("{0}/{0}", self.nodes)), "its pods are {pods:?}");
            Ok(())
        })
        .await
    }

    /// What kube-apiserver says of itself.
    pub async fn metrics(&self) -> Result<String> {
        let request = hyper::Request::get("/metrics").body(Vec::new())?;
        Ok(self.client.request_text(request).await?)
    }
}

fn address(n: usize) -> String {
    format!("10.{}.{}.{}", 64 + n / 65_536, n / 256 % 256, n % 256)
}

fn pod_name(n: usize) -> String {
    format!("envoy-edge-{n:05}")
}

/// A node with what a kubelet tells of it.
fn node(n: usize) -> Result<Node> {
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": format!("Kubelet{kind}"), "message": "the kubelet says so",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let images: Vec<Value> = (0..20)
        .map(|i| json!({"names": [format!("registry.example.com/team/image-{i}@sha256:{i:064}")], "sizeBytes": 100_000_000}))
        .collect();
    Ok(serde_json::from_value(json!({
        "metadata": {"name": format!("node-{n:05}"), "labels": {
            "kubernetes.io/os": "linux", "kubernetes.io/hostname": format!("node-{n:05}"),
            "topology.kubernetes.io/zone": format!("zone-{}", n % 3),
        }},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address(n)}],
            "conditions": [
                condition("MemoryPressure", "False"), condition("DiskPressure", "False"), condition("PIDPressure", "False"),
                condition("Ready", "True"),
            ],
            "images": images,
        },
    }))?)
}

/// A pod as the DaemonSet's controller makes it of the template.
fn pod(n: usize, set: &DaemonSet, template: &Value) -> Result<Pod> {
    let mut pod = template.clone();
    let node = format!("node-{n:05}");
    pod["metadata"]["name"] = json!(pod_name(n));
    pod["metadata"]["labels"]["pod-template-generation"] = json!("1");
    pod["metadata"]["labels"]["controller-revision-hash"] = json!("5d9c7f6b8");
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": set.name_any(), "uid": set.uid(), "controller": true,
        "blockOwnerDeletion": true,
    }]);
    pod["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}],
    }}});
    pod["spec"]["nodeName"] = json!(node);
    let tolerated =
        ["not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"];
    pod["spec"]["tolerations"] = tolerated
        .iter()
        .map(|taint| json!({"key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": "NoExecute"}))
        .collect();
    serde_json::from_value(pod).context("the template is none of a pod")
}

/// What the kubelet tells of a pod.
async fn tell(api: &Api<Pod>, n: usize, ready: bool) -> Result<()> {
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        json!({"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let container = |name: &str, ready: bool| {
        json!({
            "name": name, "image": "example/image:v1", "imageID": "sha256:0", "ready": ready, "restartCount": 0, "started": true,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "containerID": format!("containerd://{n:064}"),
        })
    };
    let status = json!({"status": {
        "phase": "Running", "hostIP": address(n), "hostIPs": [{"ip": address(n)}], "podIP": address(n),
        "podIPs": [{"ip": address(n)}], "startTime": "2026-01-01T00:00:00Z",
        "conditions": [
            condition("PodReadyToStartContainers", true), condition("Initialized", true), condition("Ready", ready),
            condition("ContainersReady", ready), condition("PodScheduled", true),
        ],
        "containerStatuses": [container("envoy", ready)],
        "initContainerStatuses": [container("shutdown-manager", true)],
    }});
    api.patch_status(&pod_name(n), &PatchParams::default(), &Patch::Merge(status))
        .await
        .context("a pod's status")?;
    Ok(())
}

//! Plays the controllers of workloads, the scheduler and the kubelets of a cluster of two nodes, for one namespace: pods come and go with their
//! workloads, and become ready at once, unless a test holds them, their node is lost, or another pod has their ports of it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use contour_e2e::wait::{SOON, eventually};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Node, Pod, PodSpec, PodTemplateSpec};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{self, Event as WatchEvent};
use kube::{Client, Resource, ResourceExt as _};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The addresses of the nodes.
pub(crate) const NODES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// A cluster's machinery for one namespace.
pub(crate) struct Kubelet {
    hands: Hands,
    _stop: DropGuard,
}

#[derive(Clone)]
struct Hands {
    client: Client,
    namespace: String,
    held: Arc<Mutex<BTreeMap<String, Value>>>,
    /// The nodes whose kubelet does not answer any more.
    lost: Arc<Mutex<BTreeSet<String>>>,
    /// The pods that are not ready for now, and the nodes that a `DaemonSet`'s pods have to leave.
    ailing: Arc<Mutex<BTreeSet<String>>>,
    left: Arc<Mutex<BTreeSet<String>>>,
    /// The address of each pod.
    addresses: Arc<Mutex<BTreeMap<String, String>>>,
    /// One thing at a time.
    busy: Arc<tokio::sync::Mutex<()>>,
}

impl Kubelet {
    pub(crate) fn start(client: &Client, namespace: &str) -> Self {
        let hands = Hands {
            client: client.clone(),
            namespace: namespace.to_owned(),
            held: Arc::default(),
            lost: Arc::default(),
            ailing: Arc::default(),
            left: Arc::default(),
            addresses: Arc::default(),
            busy: Arc::default(),
        };
        let token = CancellationToken::new();
        tokio::spawn({
            let (hands, token) = (hands.clone(), token.clone());
            async move {
                tokio::select! {
                    () = token.cancelled() => {}
                    () = hands.work() => {}
                }
            }
        });
        Self { hands, _stop: token.drop_guard() }
    }

    /// Keeps the pods of the workload of this name, which are made from now on, from becoming ready: their status is this one.
    pub(crate) fn hold(&self, workload: &str, status: Value) {
        self.hands.held.lock().expect("nobody panics with it").insert(workload.to_owned(), status);
    }

    /// Lets them become ready.
    pub(crate) async fn release(&self, workload: &str) -> Result<()> {
        self.hands.held.lock().expect("nobody panics with it").remove(workload);
        // A workload may go while it is looked at.
        eventually(SOON, || self.hands.renew(workload)).await
    }

    /// The name of a node.
    pub(crate) fn node(&self, n: usize) -> String {
        self.hands.node(n)
    }

    /// The pod of a `DaemonSet` on a node is ready or is not.
    pub(crate) async fn is_ready(&self, workload: &str, n: usize, ready: bool) -> Result<()> {
        let pod = format!("{workload}-daemonset-{n}");
        put(&self.hands.ailing, pod, !ready);
        eventually(SOON, || self.hands.renew(workload)).await
    }

    /// The pods of a `DaemonSet` have to leave a node, as by a taint, or may come back.
    pub(crate) async fn may_stay(&self, workload: &str, n: usize, may: bool) -> Result<()> {
        put(&self.hands.left, self.node(n), !may);
        eventually(SOON, || self.hands.renew(workload)).await
    }

    /// The kubelet of a node does not answer any more: it is not ready, and nothing starts or ends there.
    pub(crate) async fn lose(&self, n: usize) -> Result<()> {
        let name = self.node(n);
        let nodes: Api<Node> = Api::all(self.hands.client.clone());
        let node = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        nodes.create(&PostParams::default(), &node).await?;
        let status =
            json!({"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]});
        nodes.patch_status(&name, &PatchParams::default(), &merge(&status)).await?;
        self.hands.lost.lock().expect("nobody panics with it").insert(name);
        for workload in ["contour-edge", "envoy-edge"] {
            Box::pin(eventually(SOON, || self.hands.renew(workload))).await?;
        }
        Ok(())
    }
}

fn put(set: &Mutex<BTreeSet<String>>, name: String, is: bool) {
    let mut set = set.lock().expect("nobody panics with it");
    if is {
        set.insert(name)
    } else {
        set.remove(&name)
    };
}

/// The pods of a workload that is looked at.
struct Work<'a> {
    kind: &'static str,
    name: String,
    /// The name and the UID of what its pods belong to.
    controller: (String, String),
    /// Tells its template from others.
    generation: String,
    template: &'a PodTemplateSpec,
    /// Which of its pods there are to be. Those of a `DaemonSet` are called like their nodes.
    pods: Vec<usize>,
    /// Which template of a `DaemonSet` it is.
    template_generation: Option<String>,
    /// Pods of before stay until somebody deletes them.
    by_hand: bool,
}

/// What came of the pods of a workload.
#[derive(Default)]
struct Made {
    there: usize,
    updated: usize,
    ready: usize,
    /// Why one could not be made.
    refused: Option<String>,
}

impl Hands {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn work(&self) {
        let deployments = kube::runtime::watcher(self.api::<Deployment>(), watcher::Config::default());
        let sets = kube::runtime::watcher(self.api::<DaemonSet>(), watcher::Config::default());
        let names = stream::select(
            deployments.filter_map(|event| async { touched(event.ok()?) }),
            sets.filter_map(|event| async { touched(event.ok()?) }),
        );
        let mut names = pin!(names);
        while let Some(name) = names.next().await {
            // Something may change under our hands.
            let _ = eventually(SOON, || self.renew(&name)).await;
        }
    }

    fn node(&self, n: usize) -> String {
        format!("{}-{}", self.namespace, n % NODES.len())
    }

    fn is_lost(&self, node: &str) -> bool {
        self.lost.lock().expect("nobody panics with it").contains(node)
    }

    /// Makes pods and status of the workloads of this name what they should be.
    async fn renew(&self, name: &str) -> Result<()> {
        let _busy = self.busy.lock().await;
        let deployment = self.api::<Deployment>().get_opt(name).await?;
        let set = self.api::<DaemonSet>().get_opt(name).await?;
        let mut replica_set = None;
        if let Some(deployment) = &deployment {
            let count = usize::try_from(deployment.spec.replicas.unwrap_or(1))?;
            let made = Box::pin(self.replica_set(name, deployment)).await?;
            let pods = (0..count).collect();
            let mut work = work("ReplicaSet", deployment, &deployment.spec.template, pods);
            work.by_hand = is_paused(deployment);
            work.controller = (made.name_any(), made.uid().unwrap_or_default());
            replica_set = made.uid();
            let made = Box::pin(self.pods(&work)).await?;
            let failure = made.refused.map(|message| {
                json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}])
            });
            let status = json!({
                "observedGeneration": deployment.metadata.generation, "replicas": made.there,
                "updatedReplicas": made.updated, "readyReplicas": made.ready, "availableReplicas": made.ready,
                "conditions": failure,
            });
            self.api::<Deployment>().patch_status(name, &PatchParams::default(), &merge(&status)).await?;
        }
        if let Some(set) = &set {
            let mut without = left(set);
            without.extend(self.left.lock().expect("nobody panics with it").iter().cloned());
            let pods: Vec<usize> = (0..NODES.len()).filter(|n| !without.contains(&self.node(*n))).collect();
            let count = pods.len();
            let mut work = work("DaemonSet", set, &set.spec.template, pods);
            let strategy = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
            work.by_hand = strategy == Some("OnDelete");
            let made = Box::pin(self.pods(&work)).await?;
            if let Some(message) = &made.refused {
                Box::pin(self.tell_refused(set, message)).await?;
            }
            let status = json!({
                "observedGeneration": set.metadata.generation, "desiredNumberScheduled": count,
                "currentNumberScheduled": made.there, "updatedNumberScheduled": made.updated,
                "numberMisscheduled": 0, "numberReady": made.ready, "numberAvailable": made.ready,
                "numberUnavailable": count - made.ready,
            });
            self.api::<DaemonSet>().patch_status(name, &PatchParams::default(), &merge(&status)).await?;
        }
        let uids: BTreeSet<String> =
            [deployment.and_then(|d| d.uid()), set.and_then(|s| s.uid()), replica_set]
                .into_iter()
                .flatten()
                .collect();
        self.bury(name, &uids).await
    }

    /// Tells that pods of a `DaemonSet` cannot be made, as its controller does.
    async fn tell_refused(&self, set: &DaemonSet, message: &str) -> Result<()> {
        let now = jiff::Timestamp::now().to_string();
        let event = serde_json::from_value(json!({
            "metadata": {"generateName": format!("{}.", set.name_any())},
            "involvedObject": {
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": set.name_any(), "namespace": self.namespace,
                "uid": set.uid(),
            },
            "type": "Warning", "reason": "FailedCreate", "message": format!("Error creating: {message}"),
            "firstTimestamp": now, "lastTimestamp": now, "count": 1, "source": {"component": "daemonset-controller"},
        }))?;
        self.api::<Event>().create(&PostParams::default(), &event).await?;
        Ok(())
    }

    /// The `ReplicaSet` of a Deployment. One is enough, as pods are replaced in place, unless its labels are others.
    async fn replica_set(&self, name: &str, deployment: &Deployment) -> Result<ReplicaSet> {
        let (sets, of) = (self.api::<ReplicaSet>(), format!("{name}-5d9c"));
        let uid = deployment.uid().unwrap_or_default();
        let labels = deployment.spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
        if let Some(found) = sets.get_opt(&of).await? {
            let same = is_paused(deployment) || found.metadata.labels == labels;
            if same && found.owner_references().iter().any(|owner| owner.uid == uid) {
                return Ok(found);
            }
            sets.delete(&of, &DeleteParams::default()).await?;
        }
        let made = serde_json::from_value(json!({
            "metadata": {
                "name": of, "labels": labels, "annotations": {"workload": name},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid, "controller": true,
                }],
            },
            "spec": {"selector": deployment.spec.selector, "template": deployment.spec.template},
        }))?;
        Ok(sets.create(&PostParams::default(), &made).await?)
    }

    /// Makes the pods of a workload.
    async fn pods(&self, work: &Work<'_>) -> Result<Made> {
        let pods = self.api::<Pod>();
        let held = self.held.lock().expect("nobody panics with it").get(&work.name).cloned();
        let mut all: BTreeMap<String, Pod> =
            pods.list(&ListParams::default()).await?.into_iter().map(|pod| (pod.name_any(), pod)).collect();
        let mut made = Made::default();
        let wanted: BTreeSet<String> =
            work.pods.iter().flat_map(|n| [work.pod(*n), work.substitute(*n)]).collect();
        let over = |pod: &&Pod| !wanted.contains(&pod.name_any()) && work.made(pod);
        for name in all.values().filter(over).map(Pod::name_any).collect::<Vec<_>>() {
            pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
            all.remove(&name);
        }
        for n in work.pods.iter().copied() {
            let mut name = work.pod(n);
            let mut node = self.place(work, n, &name, &all);
            if let Some(pod) = all.get(&name)
                && work.is_over(pod, node.as_deref())
            {
                // On a node that is lost nobody is there to end it.
                let lost = node_of(pod).is_some_and(|node| self.is_lost(node));
                let seconds = if lost { 30 } else { 0 };
                pods.delete(&name, &DeleteParams::default().grace_period(seconds)).await?;
                match pods.get_opt(&name).await? {
                    Some(pod) => all.insert(name.clone(), pod),
                    None => all.remove(&name),
                };
            }
            // What cannot end is replaced elsewhere, but on a node of its own.
            let ends = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
            if work.kind == "ReplicaSet" && all.get(&name).is_some_and(ends) {
                name = work.substitute(n);
                node = self.place(work, n, &name, &all);
            }
            if !all.contains_key(&name) {
                let pod = self.made(work, &name, n, node.as_deref())?;
                match pods.create(&PostParams::default(), &pod).await {
                    Ok(pod) => all.insert(name.clone(), pod),
                    Err(kube::Error::Api(status)) if status.code == 403 => {
                        made.refused = Some(status.message);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
            }
            let pod = &all[&name];
            made.there += 1;
            made.updated += usize::from(!work.is_old(pod));
            let held = held.as_ref().filter(|_| !is_ready(pod));
            let status = self.status(&name, n, node.as_deref(), held);
            let first = &status["conditions"][0];
            made.ready += usize::from(first["type"] == "Ready" && first["status"] == "True");
            pods.patch_status(&name, &PatchParams::default(), &merge(&status)).await?;
        }
        Ok(made)
    }

    /// The node that a pod is on or may run on: one where nobody else has its ports.
    fn place(&self, work: &Work<'_>, n: usize, name: &str, all: &BTreeMap<String, Pod>) -> Option<String> {
        if let Some(placed) = all.get(name).and_then(node_of) {
            return Some(placed.to_owned());
        }
        let ports = host_ports(work.template.spec.as_ref());
        let is_free = |node: &String| {
            let mut there = all.values().filter(|pod| node_of(pod) == Some(node) && pod.name_any() != name);
            there.all(|pod| host_ports(pod.spec.as_ref()).is_disjoint(&ports))
        };
        let nodes = if work.kind == "DaemonSet" { vec![n] } else { vec![n, n + 1] };
        let mut nodes = nodes.into_iter().map(|n| self.node(n));
        nodes.find(|node| is_free(node) && (work.kind == "DaemonSet" || !self.is_lost(node)))
    }

    /// What the kubelet, or the scheduler, says of a pod.
    fn status(&self, name: &str, n: usize, node: Option<&str>, held: Option<&Value>) -> Value {
        let ready = |word: &str| json!({"conditions": [{"type": "Ready", "status": word}, {"type": "PodScheduled", "status": "True"}]});
        let mut status = match (held, node) {
            (Some(held), _) => held.clone(),
            (None, None) => json!({"conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.",
            }]}),
            // What only the kubelet could say of its containers stays as it was said last.
            (None, Some(node)) => {
                let ailing = self.ailing.lock().expect("nobody panics with it").contains(name);
                ready(if ailing || self.is_lost(node) { "False" } else { "True" })
            }
        };
        status["phase"] = json!("Running");
        if node.is_some() {
            status["hostIP"] = json!(NODES[n % NODES.len()]);
            status["hostIPs"] = json!([{"ip": NODES[n % NODES.len()]}]);
            status["podIP"] = json!(self.address(name));
        }
        status
    }

    /// The pod, as the workload's controller and the scheduler would make it.
    fn made(&self, work: &Work<'_>, name: &str, n: usize, node: Option<&str>) -> Result<Pod> {
        let metadata = work.template.metadata.clone().context("a pod template has metadata")?;
        let mut spec = serde_json::to_value(&work.template.spec)?;
        if let Some(node) = node {
            spec["nodeName"] = json!(node);
        }
        if work.kind == "DaemonSet" {
            let its = json!({"key": "metadata.name", "operator": "In", "values": [self.node(n)]});
            spec["affinity"]["nodeAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [its]}],
            }});
        }
        let mut labels = metadata.labels.unwrap_or_default();
        labels.extend(
            work.template_generation
                .iter()
                .map(|generation| ("pod-template-generation".to_owned(), generation.clone())),
        );
        let mut annotations = metadata.annotations.unwrap_or_default();
        annotations.insert("generation".to_owned(), work.generation.clone());
        annotations.insert("workload".to_owned(), work.name.clone());
        Ok(serde_json::from_value(json!({
            "metadata": {
                "name": name, "labels": labels, "annotations": annotations,
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": work.kind, "name": work.controller.0, "uid": work.controller.1,
                    "controller": true,
                }],
            },
            "spec": spec,
        }))?)
    }

    /// An address of loopback that no other pod of any test has.
    fn address(&self, pod: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let mut addresses = self.addresses.lock().expect("nobody panics with it");
        let made = addresses.entry(pod.to_owned()).or_insert_with(|| {
            let process = std::process::id().to_be_bytes();
            format!(
                "127.{}.{}.{}",
                process[2] % 127 + 128,
                process[3],
                NEXT.fetch_add(1, Ordering::SeqCst) % 254 + 1
            )
        });
        made.clone()
    }

    /// Removes pods whose workload is gone, or has become smaller.
    async fn bury(&self, workload: &str, uids: &BTreeSet<String>) -> Result<()> {
        let pods = self.api::<Pod>();
        for pod in pods.list(&ListParams::default()).await? {
            let ours = pod.annotations().get("workload").is_some_and(|name| name == workload);
            let orphan = pod.owner_references().iter().all(|owner| !uids.contains(&owner.uid));
            if ours && orphan {
                pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
            }
        }
        let sets = self.api::<ReplicaSet>();
        for set in sets.list(&ListParams::default()).await? {
            let ours = set.annotations().get("workload").is_some_and(|name| name == workload);
            if ours && set.uid().is_none_or(|uid| !uids.contains(&uid)) {
                sets.delete(&set.name_any(), &DeleteParams::default()).await?;
            }
        }
        Ok(())
    }
}

impl Work<'_> {
    fn pod(&self, n: usize) -> String {
        format!("{}-{}-{n}", self.name, self.kind.to_lowercase())
    }

    /// Whether a pod is one of its own.
    fn made(&self, pod: &Pod) -> bool {
        pod.owner_references().iter().any(|owner| owner.uid == self.controller.1)
    }

    /// Whether a pod is to be replaced; `node` is where it is or may be now.
    fn is_over(&self, pod: &Pod, node: Option<&str>) -> bool {
        let bound = node_of(pod).is_none() && node.is_some();
        !self.made(pod) || bound || (self.is_old(pod) && !self.by_hand)
    }

    /// The name of a pod in the place of one that cannot end.
    fn substitute(&self, n: usize) -> String {
        format!("{}-{}", self.pod(n), self.generation)
    }

    fn is_old(&self, pod: &Pod) -> bool {
        pod.annotations().get("generation") != Some(&self.generation)
    }
}

fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.paused == Some(true)
}

/// The nodes that a `DaemonSet` is told to leave.
fn left(set: &DaemonSet) -> BTreeSet<String> {
    let template = serde_json::to_value(&set.spec.template).unwrap_or_default();
    let terms = template
        .pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let not = terms.iter().filter(|field| field["operator"] == "NotIn");
    not.filter_map(|field| field["values"][0].as_str().map(str::to_owned)).collect()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|held| held.type_ == "Ready" && held.status == "True")
}

fn host_ports(spec: Option<&PodSpec>) -> BTreeSet<i32> {
    let containers =
        spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| port.host_port)
        .collect()
}

fn work<'a>(
    kind: &'static str,
    object: &impl Resource<DynamicType = ()>,
    template: &'a PodTemplateSpec,
    pods: Vec<usize>,
) -> Work<'a> {
    let meta = object.meta();
    Work {
        kind,
        name: meta.name.clone().unwrap_or_default(),
        controller: (meta.name.clone().unwrap_or_default(), meta.uid.clone().unwrap_or_default()),
        generation: hash(template),
        template,
        pods,
        template_generation: meta
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get("deprecated.daemonset.template.generation").cloned()),
        by_hand: false,
    }
}

/// What a template says, in short. A change of their number replaces no pods.
fn hash(template: &PodTemplateSpec) -> String {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(template).unwrap_or_default().hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

fn merge(status: &Value) -> Patch<Value> {
    Patch::Merge(json!({ "status": status }))
}

fn touched<K: Resource>(event: WatchEvent<K>) -> Option<String> {
    match event {
        WatchEvent::Apply(object) | WatchEvent::InitApply(object) | WatchEvent::Delete(object) => {
            object.meta().name.clone()
        }
        WatchEvent::Init | WatchEvent::InitDone => None,
    }
}

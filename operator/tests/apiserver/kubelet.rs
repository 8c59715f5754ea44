//! Plays the controllers of workloads and the kubelets of a cluster of two nodes, for one namespace: pods come and go with their
//! workloads, and become ready at once, unless a test holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use contour_e2e::wait::{SOON, eventually};
use contour_operator::reconcile::rollout::is_ready;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{self, Event};
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
}

/// The pods of a workload that is looked at.
struct Work<'a> {
    kind: &'static str,
    name: String,
    /// The name and the UID of what its pods belong to.
    controller: (String, String),
    generation: i64,
    template: &'a PodTemplateSpec,
    count: usize,
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
            // Something changed under our hands: it comes again as an event.
            let _ = self.renew(&name).await;
        }
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
            let mut work = work("ReplicaSet", deployment, &deployment.spec.template, count);
            work.controller = (made.name_any(), made.uid().unwrap_or_default());
            replica_set = made.uid();
            let ready = Box::pin(self.pods(&work)).await?;
            let status = json!({
                "observedGeneration": deployment.metadata.generation, "replicas": count, "updatedReplicas": count,
                "readyReplicas": ready, "availableReplicas": ready,
            });
            self.api::<Deployment>().patch_status(name, &PatchParams::default(), &merge(&status)).await?;
        }
        if let Some(set) = &set {
            let count = NODES.len();
            let work = work("DaemonSet", set, &set.spec.template, count);
            let ready = Box::pin(self.pods(&work)).await?;
            let status = json!({
                "observedGeneration": set.metadata.generation, "desiredNumberScheduled": count,
                "currentNumberScheduled": count, "updatedNumberScheduled": count, "numberMisscheduled": 0,
                "numberReady": ready, "numberAvailable": ready, "numberUnavailable": count - ready,
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

    /// The `ReplicaSet` of a Deployment. One is enough: pods are replaced in place.
    async fn replica_set(&self, name: &str, deployment: &Deployment) -> Result<ReplicaSet> {
        let (sets, of) = (self.api::<ReplicaSet>(), format!("{name}-5d9c"));
        let uid = deployment.uid().unwrap_or_default();
        if let Some(found) = sets.get_opt(&of).await? {
            if found.owner_references().iter().any(|owner| owner.uid == uid) {
                return Ok(found);
            }
            sets.delete(&of, &DeleteParams::default()).await?;
        }
        let labels = deployment.spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
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

    /// Makes the pods of a workload, and returns how many are ready.
    async fn pods(&self, work: &Work<'_>) -> Result<usize> {
        let pods = self.api::<Pod>();
        let held = self.held.lock().expect("nobody panics with it").get(&work.name).cloned();
        let wanted = (0..work.count).map(|n| work.pod(n)).collect::<BTreeSet<_>>();
        let mut ready = 0;
        for (n, name) in wanted.iter().enumerate() {
            let generation = work.generation.to_string();
            let current = pods.get_opt(name).await?;
            let is_old = |pod: &Pod| {
                pod.annotations().get("generation") != Some(&generation)
                    || pod.owner_references().iter().all(|owner| owner.uid != work.controller.1)
            };
            if current.as_ref().is_some_and(is_old) {
                pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
            }
            let pod = match pods.get_opt(name).await? {
                Some(pod) => pod,
                None => pods.create(&PostParams::default(), &work.made(name, n)?).await?,
            };
            // What was made before is ready, and stays so.
            let held = held.clone().filter(|_| !is_ready(&pod));
            ready += usize::from(held.is_none());
            let status = held.unwrap_or_else(|| {
                json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]})
            });
            let mut status = status;
            status["phase"] = json!("Running");
            status["hostIP"] = json!(NODES[n % NODES.len()]);
            status["hostIPs"] = json!([{"ip": NODES[n % NODES.len()]}]);
            status["podIP"] = json!(self.address(name));
            pods.patch_status(name, &PatchParams::default(), &merge(&status)).await?;
        }
        Ok(ready)
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

    /// The pod, as the workload's controller and the scheduler would make it.
    fn made(&self, name: &str, n: usize) -> Result<Pod> {
        let metadata = self.template.metadata.clone().context("a pod template has metadata")?;
        let mut spec = serde_json::to_value(&self.template.spec)?;
        spec["nodeName"] = json!(format!("node-{}", n % NODES.len()));
        let mut annotations = metadata.annotations.unwrap_or_default();
        annotations.insert("generation".to_owned(), self.generation.to_string());
        annotations.insert("workload".to_owned(), self.name.clone());
        Ok(serde_json::from_value(json!({
            "metadata": {
                "name": name, "labels": metadata.labels, "annotations": annotations,
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": self.kind, "name": self.controller.0, "uid": self.controller.1,
                    "controller": true,
                }],
            },
            "spec": spec,
        }))?)
    }
}

fn work<'a>(
    kind: &'static str,
    object: &impl Resource<DynamicType = ()>,
    template: &'a PodTemplateSpec,
    count: usize,
) -> Work<'a> {
    let meta = object.meta();
    Work {
        kind,
        name: meta.name.clone().unwrap_or_default(),
        controller: (meta.name.clone().unwrap_or_default(), meta.uid.clone().unwrap_or_default()),
        generation: meta.generation.unwrap_or(0),
        template,
        count,
    }
}

fn merge(status: &Value) -> Patch<Value> {
    Patch::Merge(json!({ "status": status }))
}

fn touched<K: Resource>(event: Event<K>) -> Option<String> {
    match event {
        Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => object.meta().name.clone(),
        Event::Init | Event::InitDone => None,
    }
}

//! What is there: caches of `ContourDeployment`s, of every kind of child, of pods and their `ReplicaSets`, and of nodes, each kept by one watch.
//!
//! Only objects with our label are watched, and nodes, whatever else the cluster holds; whose they are, [`crate::ownership`] tells. Each change tells whose child it was, so that it is looked
//! at at once. A list that was read anew, after a lost watch, tells everyone: what vanished meanwhile left no event.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;

use contour_crds::{ContourDeployment, ContourPolicy};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Namespace, Node, NodeCondition, NodeStatus};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::Api;
use kube::core::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::build::FixedRole;
use crate::child::{ChildKind, ChildRef};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::names::{OWNER_NAME, OWNER_NAMESPACE, WATCHED_BY};
use crate::ownership::Owner;
use crate::pod::{Pod, trim};
use crate::writer::category;

/// How kinds that are no children are told.
const DEPLOYMENT: &str = "ContourDeployment";
const POD: &str = "Pod";
const REPLICA_SET: &str = "ReplicaSet";
const POLICY: &str = "ContourPolicy";
const NAMESPACE: &str = "Namespace";
const NODE: &str = "Node";

/// Whom to look at next.
pub type Trigger = ObjectRef<ContourDeployment>;

/// The caches. Clones share their content.
#[derive(Clone)]
pub struct Caches {
    /// All `ContourDeployment`s of the cluster.
    pub deployments: Store<ContourDeployment>,
    /// The policy that is obeyed, if there is one.
    policies: Store<ContourPolicy>,
    /// The namespaces that consent to be watched.
    namespaces: Store<Namespace>,
    /// What controllers are given, as far as the cluster has it.
    roles: BTreeMap<FixedRole, Store<ClusterRole>>,
    children: BTreeMap<ChildKind, Store<DynamicObject>>,
    pods: Store<Pod>,
    replica_sets: Store<ReplicaSet>,
    nodes: Store<Node>,
    /// The kinds whose cache was not filled yet.
    awaited: watch::Receiver<BTreeSet<String>>,
}

impl Caches {
    /// The caches, and the watches that keep them, to be run. Each change is told to `triggers`.
    pub fn new(
        client: &Client,
        policy: &str,
        triggers: &mpsc::Sender<Trigger>,
        metrics: &Metrics,
    ) -> (Self, Watches) {
        let (deployments, deployments_writer) = store();
        let (policies, policies_writer) = store();
        let (namespaces, namespaces_writer) = store();
        let (pods, pods_writer) = store();
        let (replica_sets, replica_sets_writer) = store();
        let (nodes, nodes_writer) = store();
        // Nodes are not waited for: one that is not known counts as ready.
        let kinds = ChildKind::ALL.map(|kind| kind.to_string()).into_iter();
        let kinds = kinds.chain([DEPLOYMENT, POLICY, NAMESPACE, POD, REPLICA_SET].map(str::to_owned));
        let kinds = kinds.chain(FixedRole::ALL.map(role_name));
        let (filling, awaited) = watch::channel(kinds.collect());
        let telling = Telling {
            triggers: triggers.clone(),
            deployments: deployments.clone(),
            told: HashMap::new(),
            filling,
            metrics: metrics.clone(),
        };
        let (mut roles, mut roles_writers) = (BTreeMap::new(), Vec::new());
        for role in FixedRole::ALL {
            let (reader, writer) = store();
            roles.insert(role, reader);
            roles_writers.push((role, writer));
        }
        let mut children = BTreeMap::new();
        let mut writers = Vec::new();
        for kind in ChildKind::ALL {
            let writer = Writer::new(kind.resource());
            children.insert(kind, writer.as_reader());
            writers.push((kind, writer));
        }
        let watches = Watches {
            client: client.clone(),
            telling,
            policy: policy.to_owned(),
            deployments: deployments_writer,
            policies: policies_writer,
            namespaces: namespaces_writer,
            roles: roles_writers,
            pods: pods_writer,
            replica_sets: replica_sets_writer,
            nodes: nodes_writer,
            children: writers,
        };
        let caches =
            Self { deployments, policies, namespaces, roles, children, pods, replica_sets, nodes, awaited };
        (caches, watches)
    }

    /// Returns when every cache was filled once, or its kind has no definition, so that there is nothing to fill it with.
    pub async fn filled(&self) {
        // Not by the stores' own futures: of those who wait for one store, only the last is woken (kube-runtime 5.0.0). The queue is the one
        // that waits for the store of `ContourDeployment`s.
        //
        // Fails only if the watches were dropped: then there is nothing to wait for, and the process ends.
        let _ = self.awaited.clone().wait_for(BTreeSet::is_empty).await;
    }

    /// The policy, if there is one.
    pub fn policy(&self) -> Option<Arc<ContourPolicy>> {
        self.policies.state().into_iter().next()
    }

    /// The fixed roles that the cluster does not have.
    pub fn missing_roles(&self) -> Vec<FixedRole> {
        let missing = self.roles.iter().filter(|(_, store)| store.state().is_empty());
        missing.map(|(role, _)| *role).collect()
    }

    /// Whether a namespace consents to be watched by the installations of another.
    pub fn consents(&self, namespace: &str, watched_by: &str) -> bool {
        let known = self.namespaces.get(&ObjectRef::new(namespace));
        known.is_some_and(|known| known.labels().get(WATCHED_BY).is_some_and(|by| by == watched_by))
    }

    /// What belongs to this owner, and what only says so.
    pub fn of(&self, owner: &Owner) -> Live {
        let children = self.children.iter().flat_map(|(kind, store)| {
            let labelled = store.state_filter(|object| owner.is_named_by(&object.metadata));
            labelled.into_iter().map(|object| (*kind, object))
        });
        let sets = self.replica_sets.state_filter(|set| owner.is_named_by(&set.metadata));
        let pods = self.pods.state_filter(|pod| owner.is_named_by(&pod.metadata));
        let lost = self.nodes.state_filter(is_lost);
        let lost = lost.iter().map(|node| node.name_any()).collect();
        Live { lost, ..Live::of(owner, children, sets, pods) }
    }
}

/// Which child an object is.
pub fn reference(kind: ChildKind, object: &DynamicObject) -> ChildRef {
    ChildRef { kind, namespace: object.namespace().filter(|_| kind.namespaced()), name: object.name_any() }
}

/// The watches behind [`Caches`].
pub struct Watches {
    client: Client,
    telling: Telling,
    policy: String,
    deployments: Writer<ContourDeployment>,
    policies: Writer<ContourPolicy>,
    namespaces: Writer<Namespace>,
    roles: Vec<(FixedRole, Writer<ClusterRole>)>,
    pods: Writer<Pod>,
    replica_sets: Writer<ReplicaSet>,
    nodes: Writer<Node>,
    children: Vec<(ChildKind, Writer<DynamicObject>)>,
}

impl Watches {
    /// Keeps the caches until the token is cancelled.
    pub async fn run(self, token: CancellationToken) {
        let Self {
            client,
            telling,
            policy,
            deployments,
            policies,
            namespaces,
            roles,
            pods,
            replica_sets,
            nodes,
            children,
        } = self;
        let (all, labelled) = (watcher::Config::default, |label| watcher::Config::default().labels(label));
        let mut running = tokio::task::JoinSet::new();
        let deployments = Source {
            whose: |deployment: &ContourDeployment| Some(ObjectRef::from_obj(deployment)),
            // What it serves with is nobody else's, and what it wants may have to wait for another one.
            shared: Some(|deployment| {
                let accepted = deployment.status.as_ref().and_then(|status| status.accepted.as_deref());
                format!("{} {}", generation(deployment), accepted.unwrap_or_default())
            }),
            ..Source::of(DEPLOYMENT, &client, all(), deployments)
        };
        running.spawn(deployments.keep(telling.clone(), token.clone()));
        let only = all().fields(&format!("metadata.name={policy}"));
        let policies = Source { shared: Some(generation), ..Source::of(POLICY, &client, only, policies) };
        running.spawn(policies.keep(telling.clone(), token.clone()));
        let namespaces = Source {
            trim: |namespace: &mut Namespace| {
                (namespace.spec, namespace.status) = <_>::default();
                trim(&mut namespace.metadata, &[WATCHED_BY]);
            },
            shared: Some(|namespace| namespace.labels().get(WATCHED_BY).cloned().unwrap_or_default()),
            ..Source::of(NAMESPACE, &client, labelled(WATCHED_BY), namespaces)
        };
        running.spawn(namespaces.keep(telling.clone(), token.clone()));
        for (role, writer) in roles {
            running.spawn(watched_role(&client, role, writer).keep(telling.clone(), token.clone()));
        }
        running.spawn(watched_nodes(&client, nodes).keep(telling.clone(), token.clone()));
        let pods =
            Source { whose: owner, trim: Pod::trim, ..Source::of(POD, &client, labelled(OWNER_NAME), pods) };
        running.spawn(pods.keep(telling.clone(), token.clone()));
        let replica_sets = Source {
            whose: owner,
            // Who its controller is, is all that is asked of one.
            trim: |set: &mut ReplicaSet| {
                (set.spec, set.status) = <_>::default();
                trim(&mut set.metadata, &[]);
            },
            ..Source::of(REPLICA_SET, &client, labelled(OWNER_NAME), replica_sets)
        };
        running.spawn(replica_sets.keep(telling.clone(), token.clone()));
        for (kind, cache) in children {
            let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
            let children =
                Source { whose: owner, ..Source::new(kind.to_string(), api, labelled(OWNER_NAME), cache) };
            running.spawn(children.keep(telling.clone(), token.clone()));
        }
        // A watch that panicked would leave a cache that is never true again.
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a watch ended: {error}");
                return;
            }
        }
    }
}

/// One watch.
struct Source<K: Resource + Clone + 'static>
where
    K::DynamicType: Eq + Hash + Clone,
{
    kind: String,
    api: Api<K>,
    config: watcher::Config,
    cache: Writer<K>,
    /// Takes off what nobody reads.
    trim: fn(&mut K),
    /// Whom a change of this object concerns.
    whose: fn(&K) -> Option<Trigger>,
    /// What of an object concerns everyone when it becomes another one.
    shared: Option<fn(&K) -> String>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Source<K> {
    fn of(kind: &str, client: &Client, config: watcher::Config, cache: Writer<K>) -> Self {
        Self::new(kind.to_owned(), Api::all(client.clone()), config, cache)
    }
}

impl<K: Resource + Clone + 'static> Source<K>
where
    K::DynamicType: Eq + Hash + Clone,
{
    /// Nothing is trimmed, and changes concern nobody in particular.
    fn new(kind: String, api: Api<K>, config: watcher::Config, cache: Writer<K>) -> Self {
        Self { kind, api, config, cache, trim: |_| {}, whose: |_| None, shared: None }
    }
}

impl<K> Source<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    async fn keep(self, mut telling: Telling, token: CancellationToken) {
        let Self { kind, api, config, cache, trim, whose, shared } = self;
        let events = contour_k8s::watch(api, config)
            // Nobody reads it, and it is most of a small object.
            .modify(move |object| {
                object.managed_fields_mut().clear();
                trim(object);
            })
            .reflect(cache);
        let mut events = pin!(events);
        let mut trouble = None;
        loop {
            let event = tokio::select! {
                () = token.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(Event::Init)) => {}
                Some(Ok(Event::InitDone)) => {
                    trouble = None;
                    telling.filled(&kind);
                    telling.everyone().await;
                }
                Some(Ok(Event::InitApply(object))) => {
                    // Everyone is told when all are there.
                    if let Some(shared) = shared {
                        telling.is_new(&object, shared(&object));
                    }
                }
                Some(Ok(Event::Apply(object))) => {
                    trouble = None;
                    telling.about(whose(&object)).await;
                    if shared.is_some_and(|shared| telling.is_new(&object, shared(&object))) {
                        telling.everyone().await;
                    }
                }
                Some(Ok(Event::Delete(object))) => {
                    trouble = None;
                    telling.about(whose(&object)).await;
                    if shared.is_some() {
                        telling.forget(&object);
                        telling.everyone().await;
                    }
                }
                Some(Err(error)) => {
                    if cause(&error) == UNDEFINED {
                        // There are none, which what does not need them goes on with, and a deletion ends with.
                        telling.filled(&kind);
                    }
                    telling.failed(&kind, error, &mut trouble);
                }
                None => return,
            }
        }
    }
}

/// The [cause](category) where a kind has no definition.
const UNDEFINED: &str = "NotFound";

fn cause(error: &watcher::Error) -> &'static str {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => category(error),
        watcher::Error::WatchError(status) if status.code == 410 => "Expired",
        watcher::Error::WatchError(_) => "ServerError",
        watcher::Error::NoResourceVersion => "Invalid",
    }
}

/// Tells who is to be looked at.
#[derive(Clone)]
struct Telling {
    triggers: mpsc::Sender<Trigger>,
    deployments: Store<ContourDeployment>,
    /// Per object, what everyone was told of it.
    told: HashMap<String, String>,
    filling: watch::Sender<BTreeSet<String>>,
    metrics: Metrics,
}

impl Telling {
    async fn about(&self, trigger: Option<Trigger>) {
        if let Some(trigger) = trigger {
            // Fails only when the controller ended, and the process with it.
            let _ = self.triggers.send(trigger).await;
        }
    }

    async fn everyone(&self) {
        for deployment in self.deployments.state() {
            self.about(Some(ObjectRef::from_obj(&*deployment))).await;
        }
    }

    fn filled(&self, kind: &str) {
        self.filling.send_if_modified(|awaited| awaited.remove(kind));
    }

    /// Whether this was not told to everyone yet of the object.
    fn is_new(&mut self, object: &impl Resource, told: String) -> bool {
        let Some(uid) = object.meta().uid.clone() else { return false };
        let is_new = self.told.get(&uid) != Some(&told);
        self.told.insert(uid, told);
        is_new
    }

    fn forget(&mut self, object: &impl Resource) {
        self.told.remove(object.meta().uid.as_deref().unwrap_or_default());
    }

    /// Tells each cause once, until the watch works again.
    fn failed(&self, kind: &str, error: watcher::Error, told: &mut Option<&'static str>) {
        let cause = cause(&error);
        self.metrics.failed(cause);
        if told.replace(cause) == Some(cause) {
            return;
        }
        let way_out = match cause {
            UNDEFINED => {
                "; install the definitions: contour-operator crds | kubectl apply --server-side -f -"
            }
            "Forbidden" => "; give the operator's service account every right of bundle/install.yaml",
            _ => "",
        };
        tracing::warn!(kind, cause, "a watch does not work: {:#}{way_out}", anyhow::Error::from(error));
    }
}

/// What the watch of a fixed role is told as.
fn role_name(role: FixedRole) -> String {
    format!("ClusterRole {}", role.name())
}

/// The watch of one fixed role: everyone is told when it comes or goes.
fn watched_role(client: &Client, role: FixedRole, cache: Writer<ClusterRole>) -> Source<ClusterRole> {
    let only = watcher::Config::default().fields(&format!("metadata.name={}", role.name()));
    Source {
        trim: |role: &mut ClusterRole| (role.rules, role.aggregation_rule) = <_>::default(),
        shared: Some(|_| String::new()),
        ..Source::of(&role_name(role), client, only, cache)
    }
}

/// The watch of nodes: everyone is told when one is lost, or is back.
fn watched_nodes(client: &Client, cache: Writer<Node>) -> Source<Node> {
    Source {
        trim: only_readiness,
        shared: Some(|node| is_lost(node).to_string()),
        ..Source::of(NODE, client, watcher::Config::default(), cache)
    }
}

/// Each change of what an object asks for has another one.
fn generation(object: &impl Resource) -> String {
    object.meta().generation.unwrap_or(0).to_string()
}

/// Whether a node says that it is not ready, or nobody heard of it for long. One that says nothing yet is new.
fn is_lost(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status != "True")
}

/// Takes all off a node but that: clusters have many.
fn only_readiness(node: &mut Node) {
    node.spec = None;
    trim(&mut node.metadata, &[]);
    if let Some(status) = node.status.take() {
        let conditions = status.conditions.map(|conditions| {
            let ready = conditions.into_iter().filter(|condition| condition.type_ == "Ready");
            ready
                .map(|NodeCondition { type_, status, .. }| NodeCondition { type_, status, ..<_>::default() })
                .collect()
        });
        node.status = Some(NodeStatus { conditions, ..NodeStatus::default() });
    }
}

/// Whose child an object says to be, by its labels.
fn owner(object: &impl Resource) -> Option<Trigger> {
    let labels = object.meta().labels.as_ref()?;
    Some(ObjectRef::new(labels.get(OWNER_NAME)?).within(labels.get(OWNER_NAMESPACE)?))
}

//! What these tests share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};

use anyhow::{Context as _, Result};
use contour_crds::contour_deployment::ContourDeploymentStatus;
use contour_crds::status::{ConditionStatus, DetailedCondition};
use contour_crds::{ContourDeployment, ContourPolicy, all_crds};
use contour_e2e::apiserver::ApiServer;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::always_leading;
use contour_operator::build::FixedRole;
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::controller::{Controller, Settings};
use contour_operator::defaults::Defaults;
use contour_operator::metrics::Metrics;
use contour_operator::names::{ADDRESSES, OWNER_NAME, OWNER_NAMESPACE};
use contour_operator::observe::reference;
use contour_operator::reconcile::Clock;
use contour_operator::status::{condition, find};
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::kubelet::{Kubelet, NODES};

/// A namespace with its machinery, and an operator that looks at it only.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) kubelet: Kubelet,
}

impl World {
    /// A world of its own for a test.
    pub(crate) async fn new(api: &ApiServer, prefix: &str) -> Result<Self> {
        api.install_crds(&all_crds()).await?;
        let client = api.client().await?;
        let rule = json!({"name": "all", "namespaces": ["*"], "images": ["*"], "hostNetwork": true, "volumes": ["*"], "watchNamespaces": ["*"], "patches": true, "privileged": true, "defaultIngressClass": true});
        set_policy(&client, OPEN, &json!([rule])).await?;
        set_roles(&client).await?;
        let namespace = api.namespace(prefix).await?;
        let kubelet = Kubelet::start(&client, &namespace);
        Ok(Self { client, namespace, kubelet })
    }

    /// An operator that leads.
    pub(crate) fn operator(&self) -> Operator {
        Operator::start(&self.client, &[&self.namespace], always_leading(), Arc::new(Timestamp::now))
    }

    pub(crate) fn deployments(&self) -> Api<ContourDeployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates a `ContourDeployment` with these fields over a minimal one: a class of its own, and ports that no other test has.
    pub(crate) async fn create(&self, name: &str, spec: Value) -> Result<ContourDeployment> {
        let mut whole = json!({
            "ingressClassName": format!("{}-{name}", self.namespace),
            "envoy": {"ports": ports()},
        });
        merge(&mut whole, spec);
        let deployment = json!({
            "apiVersion": "operator.projectcontour.io/v1alpha1", "kind": "ContourDeployment",
            "metadata": {"name": name}, "spec": whole,
        });
        Ok(self.deployments().create(&PostParams::default(), &serde_json::from_value(deployment)?).await?)
    }

    /// Changes the fields of a `ContourDeployment`.
    pub(crate) async fn change(&self, name: &str, spec: Value) -> Result<ContourDeployment> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        Ok(self.deployments().patch(name, &PatchParams::default(), &patch).await?)
    }

    /// Makes the operator look, without a change that means anything.
    pub(crate) async fn poke(&self, name: &str) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {"poked": uuid::Uuid::new_v4().to_string()}}});
        self.deployments().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until a `ContourDeployment` is no more.
    pub(crate) async fn gone(&self, name: &str) -> Result<()> {
        eventually(SOON, || async {
            let left = self.deployments().get_opt(name).await?;
            anyhow::ensure!(left.is_none(), "it is still there: {left:?}");
            Ok(())
        })
        .await
    }

    pub(crate) async fn status(&self, name: &str) -> Result<ContourDeploymentStatus> {
        self.deployments().get(name).await?.status.context("no status yet")
    }

    /// Waits until a condition holds or not, for this reason, for the newest generation.
    pub(crate) async fn condition(
        &self,
        name: &str,
        kind: &str,
        holds: bool,
        reason: &str,
    ) -> Result<DetailedCondition> {
        eventually(SOON, || async {
            let deployment = self.deployments().get(name).await?;
            let status = deployment.status.context("no status yet")?;
            let found = find(&status, kind).with_context(|| format!("no condition {kind}"))?;
            let held = found.status == ConditionStatus::True;
            anyhow::ensure!(
                held == holds
                    && found.reason == reason
                    && Some(found.observed_generation) == deployment.metadata.generation,
                "{kind} is {found:?}; all: {:?}",
                status
                    .conditions
                    .iter()
                    .map(|c| (&c.type_, c.status, &c.reason, &c.message))
                    .collect::<Vec<_>>()
            );
            Ok(found.clone())
        })
        .await
    }

    /// Waits until all is as it should be.
    pub(crate) async fn complete(&self, name: &str) -> Result<ContourDeploymentStatus> {
        self.condition(name, condition::PROGRESSING, false, "Complete").await?;
        self.condition(name, condition::AVAILABLE, true, "Serving").await?;
        self.status(name).await
    }

    /// Waits until Envoy's Service names the nodes.
    pub(crate) async fn addresses_told(&self, name: &str) -> Result<()> {
        let service = self.child(ChildKind::Service, &format!("envoy-{name}"));
        eventually(SOON, || async {
            let service = self.api(&service).get(&service.name).await?;
            let told = service.annotations().get(ADDRESSES).cloned();
            anyhow::ensure!(told == Some(NODES.join(",")), "the Service tells {told:?}");
            Ok(())
        })
        .await
    }

    /// Waits until all is as it should be, told everywhere, and the operator has nothing left to do; returns the versions then.
    pub(crate) async fn settled(&self, operator: &Operator, name: &str) -> Result<BTreeMap<String, String>> {
        self.complete(name).await?;
        self.addresses_told(name).await?;
        self.still(operator, name).await
    }

    /// Waits until another look of the operator changes nothing; returns the versions then.
    pub(crate) async fn still(&self, operator: &Operator, name: &str) -> Result<BTreeMap<String, String>> {
        eventually(SOON, || async {
            let before = self.versions(name).await?;
            operator.look_again(self, name).await?;
            let after = self.versions(name).await?;
            anyhow::ensure!(after == before, "it still changes: {after:?} after {before:?}");
            Ok(after)
        })
        .await
    }

    pub(crate) fn api(&self, child: &ChildRef) -> Api<DynamicObject> {
        let resource = child.kind.resource();
        match &child.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// A child in the namespace, or of the cluster.
    pub(crate) fn child(&self, kind: ChildKind, name: &str) -> ChildRef {
        let namespace = kind.namespaced().then(|| self.namespace.clone());
        ChildRef { kind, namespace, name: name.to_owned() }
    }

    pub(crate) async fn exists(&self, child: &ChildRef) -> Result<bool> {
        Ok(self.api(child).get_opt(&child.name).await?.is_some())
    }

    /// Waits until a child is there, or is not.
    pub(crate) async fn until(&self, child: &ChildRef, there: bool) -> Result<()> {
        eventually(SOON, || async {
            anyhow::ensure!(self.exists(child).await? == there, "{child} is there: {}", !there);
            Ok(())
        })
        .await
    }

    /// All children of a `ContourDeployment`, by their labels.
    pub(crate) async fn children(&self, name: &str) -> Result<BTreeMap<ChildRef, DynamicObject>> {
        let labels = format!("{OWNER_NAME}={name},{OWNER_NAMESPACE}={}", self.namespace);
        let mut children = BTreeMap::new();
        for kind in ChildKind::ALL {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind.resource());
            for object in api.list(&ListParams::default().labels(&labels)).await? {
                children.insert(reference(kind, &object), object);
            }
        }
        Ok(children)
    }

    /// The version of each child, and of the object itself.
    pub(crate) async fn versions(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let mut versions: BTreeMap<String, String> = self
            .children(name)
            .await?
            .into_iter()
            .map(|(child, object)| (child.to_string(), object.resource_version().unwrap_or_default()))
            .collect();
        let status = serde_json::to_string(&self.status(name).await?)?;
        versions.insert("status".to_owned(), status);
        Ok(versions)
    }
}

/// Makes the roles of the operator's manifest that it gives to Contour.
pub(crate) async fn set_roles(client: &Client) -> Result<()> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bundle/operator.yaml");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(manifest)?)?;
    let fixed = FixedRole::ALL.map(FixedRole::name);
    let api: Api<ClusterRole> = Api::all(client.clone());
    let mut made = 0;
    for document in documents {
        let role = document["metadata"]["name"].as_str().filter(|name| fixed.contains(name));
        if let Some(name) = role.filter(|_| document["kind"] == "ClusterRole") {
            api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&document)).await?;
            made += 1;
        }
    }
    anyhow::ensure!(made == fixed.len(), "the manifest has {made} of the roles {fixed:?}");
    Ok(())
}

/// The policy of tests that are not about policy: everybody may have everything.
const OPEN: &str = "open";

/// Makes a policy of these rules.
pub(crate) async fn set_policy(client: &Client, name: &str, rules: &Value) -> Result<()> {
    let policy = json!({
        "apiVersion": "operator.projectcontour.io/v1alpha1", "kind": "ContourPolicy",
        "metadata": {"name": name}, "spec": {"rules": rules},
    });
    let api: Api<ContourPolicy> = Api::all(client.clone());
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(policy)).await?;
    Ok(())
}

/// Ports that no other `ContourDeployment` of this process has.
pub(crate) fn ports() -> Value {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let first = NEXT.fetch_add(5, Ordering::SeqCst);
    json!({
        "http": first, "https": first + 1, "metrics": first + 2, "admin": first + 3, "shutdown": first + 4,
    })
}

/// A clock that stands still until it is put on.
pub(crate) fn clock() -> (Clock, Arc<AtomicI64>) {
    let second = Arc::new(AtomicI64::new(Timestamp::now().as_second()));
    let read = Arc::clone(&second);
    let clock = move || Timestamp::from_second(read.load(Ordering::SeqCst)).expect("within all time");
    (Arc::new(clock), second)
}

/// Puts the fields of one object over those of another.
pub(crate) fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// A running operator, until it is dropped.
pub(crate) struct Operator {
    registry: Registry,
    running: tokio::task::JoinHandle<()>,
    token: CancellationToken,
    _stop: DropGuard,
}

/// The images of this operator.
pub(crate) fn defaults() -> Defaults {
    Defaults {
        contour_image: "example/contour:v1".to_owned(),
        envoy_image: "example/envoy:v1".to_owned(),
        agent_image: "example/contour:v1".to_owned(),
        version: "1.0.0".to_owned(),
        namespace: "contour-operator".to_owned(),
    }
}

impl Operator {
    pub(crate) fn start(
        client: &Client,
        namespaces: &[&str],
        leading: watch::Receiver<bool>,
        clock: Clock,
    ) -> Self {
        Self::with(client, namespaces, leading, clock, (defaults(), OPEN, None))
    }

    /// One that leads, and is known to others by this Lease.
    pub(crate) fn called(
        client: &Client,
        namespaces: &[&str],
        clock: Clock,
        defaults: Defaults,
        lease: &str,
    ) -> Self {
        Self::with(client, namespaces, always_leading(), clock, (defaults, OPEN, Some(lease)))
    }

    /// One that obeys this policy.
    pub(crate) fn under(client: &Client, namespaces: &[&str], policy: &str) -> Self {
        Self::with(client, namespaces, always_leading(), Arc::new(Timestamp::now), (defaults(), policy, None))
    }

    fn with(
        client: &Client,
        namespaces: &[&str],
        leading: watch::Receiver<bool>,
        clock: Clock,
        (defaults, policy, lease): (Defaults, &str, Option<&str>),
    ) -> Self {
        let mut registry = Registry::default();
        let settings = Settings {
            client: client.clone(),
            leading,
            identity: "operator_1".to_owned(),
            defaults,
            watch_namespaces: namespaces.iter().map(|&namespace| namespace.to_owned()).collect(),
            operator: lease.map(str::to_owned),
            policy: policy.to_owned(),
            namespace: "contour-operator".to_owned(),
            metrics: Metrics::register(&mut registry),
            clock,
        };
        let token = CancellationToken::new();
        let running = tokio::spawn(Controller::new(settings).run(token.clone()));
        Self { registry, running, _stop: token.clone().drop_guard(), token }
    }

    /// One of another version, that leads.
    pub(crate) fn of(client: &Client, namespaces: &[&str], defaults: Defaults) -> Self {
        Self::with(client, namespaces, always_leading(), Arc::new(Timestamp::now), (defaults, OPEN, None))
    }

    /// Ends it, as a signal would.
    pub(crate) async fn stop(self) -> Result<()> {
        self.token.cancel();
        tokio::time::timeout(SOON, self.running).await.context("the operator does not end")??;
        Ok(())
    }

    /// The sum of all series whose name and labels begin like this.
    pub(crate) fn sum(&self, series: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string");
        let values =
            text.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<u64>().unwrap_or(0)).sum()
    }

    /// How many requests it made that could change a child.
    pub(crate) fn changes(&self) -> u64 {
        self.sum("contour_operator_writes_total") + self.sum("contour_operator_deletes_total")
    }

    /// How often it looked.
    pub(crate) fn looks(&self) -> u64 {
        self.sum("contour_operator_reconciles_total")
    }

    /// Makes it look several times, for nothing.
    pub(crate) async fn look_again(&self, world: &World, name: &str) -> Result<()> {
        for _ in 0..3 {
            let before = self.looks();
            world.poke(name).await?;
            eventually(SOON, || async {
                anyhow::ensure!(self.looks() > before, "it does not look");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

//! Who may not touch an installation changes nothing of it by what they write elsewhere, or beside it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use contour_e2e::apiserver::{self, ApiServer};
use contour_e2e::wait::{SOON, eventually};
use contour_operator::build::COMPONENT;
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::names::{OWNER_NAME, OWNER_NAMESPACE, OWNER_UID};
use contour_operator::status::condition;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::kubelet::NODES;
use crate::support::{Operator, World, defaults};

/// Somebody who may do this in one namespace, and nothing else anywhere.
struct Adversary {
    client: Client,
    namespace: String,
    labels: Value,
}

impl Adversary {
    async fn new(api: &ApiServer, world: &World, namespace: &str, allowed: Value) -> Result<Self> {
        let user = format!("adversary-{namespace}");
        let post = PostParams::default();
        let role = json!({"metadata": {"name": "adversary"}, "rules": allowed});
        let roles: Api<Role> = Api::namespaced(world.client.clone(), namespace);
        roles.create(&post, &serde_json::from_value(role)?).await?;
        let binding = json!({
            "metadata": {"name": "adversary"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "adversary"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        let bindings: Api<RoleBinding> = Api::namespaced(world.client.clone(), namespace);
        bindings.create(&post, &serde_json::from_value(binding)?).await?;
        Ok(Self {
            client: api.client_as(&user).await?,
            namespace: namespace.to_owned(),
            labels: json!({OWNER_NAME: "edge", OWNER_NAMESPACE: world.namespace, COMPONENT: "envoy"}),
        })
    }

    /// Creates an object that says to be a child, with these fields, and a finalizer of its own.
    async fn creates(&self, kind: ChildKind, name: &str, fields: Value) -> Result<ChildRef> {
        let resource = kind.resource();
        let mut object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": name, "labels": self.labels, "finalizers": ["adversary.example.com/hold"]},
        });
        for (field, value) in fields.as_object().context("fields")? {
            object[field] = value.clone();
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        eventually(SOON, || async {
            // The rights were granted a moment ago.
            api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await?;
            Ok(())
        })
        .await?;
        Ok(ChildRef { kind, namespace: Some(self.namespace.clone()), name: name.to_owned() })
    }

    /// Creates a pod that says to be an Envoy, and is ready on a node of this address.
    async fn creates_pod(&self, name: &str, node: &str) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pod = json!({
            "metadata": {"name": name, "labels": self.labels, "finalizers": ["adversary.example.com/hold"]},
            "spec": {"containers": [{"name": "envoy", "image": "adversary/envoy:v1"}]},
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let status = json!({"status": {
            "phase": "Running", "hostIP": node, "hostIPs": [{"ip": node}], "podIP": "198.51.100.99",
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }
}

/// A workload that would have its image become that of the agent.
fn workload(labels: &Value) -> Value {
    let mut template = labels.clone();
    template["app"] = json!("adversary");
    json!({"spec": {
        "selector": {"matchLabels": {"app": "adversary"}},
        "template": {
            "metadata": {"labels": template},
            "spec": {
                "nodeSelector": {"no": "node"},
                "initContainers": [{"name": "shutdown-manager", "image": "adversary/agent:v1"}],
                "containers": [{"name": "envoy", "image": "example/envoy:v1"}],
            },
        },
    }})
}

/// Waits until each of these is named in an Event about the object.
async fn named(world: &World, strangers: &[String]) -> Result<()> {
    eventually(SOON, || async {
        let told = notes(world).await?;
        for stranger in strangers {
            let about = told.keys().any(|note| note.starts_with(&format!("{stranger} has the labels")));
            anyhow::ensure!(about, "{stranger} is not named: {told:?}");
        }
        Ok(())
    })
    .await
}

/// What was told of objects that are no children, and how often.
async fn notes(world: &World) -> Result<BTreeMap<String, i32>> {
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    let mut notes = BTreeMap::new();
    for event in events.list(&ListParams::default()).await? {
        if event.reason.as_deref() == Some("NotAChild") {
            assert_eq!(event.type_.as_deref(), Some("Warning"));
            let times = event.series.map_or(1, |series| series.count);
            *notes.entry(event.note.unwrap_or_default()).or_insert(0) += times;
        }
    }
    Ok(notes)
}

/// The image of the agent in a workload of Envoy.
async fn agent(world: &World, workload: &ChildRef) -> Result<Value> {
    let live = world.api(workload).get(&workload.name).await?;
    Ok(live.data["spec"]["template"]["spec"]["initContainers"][0]["image"].clone())
}

/// Fails unless all that was there is as it was.
async fn unchanged(world: &World, before: &BTreeMap<String, String>) -> Result<()> {
    let after = world.versions("edge").await?;
    for (child, version) in before {
        assert_eq!(after.get(child), Some(version), "{child}");
    }
    Ok(())
}

async fn gone(world: &World) -> Result<()> {
    world.deployments().delete("edge", &DeleteParams::default()).await?;
    world.gone("edge").await
}

#[tokio::test]
async fn who_labels_objects_of_another_namespace_changes_nothing() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "attacked").await?;
    let other = api.namespace("adversary").await?;
    let operator = world.operator();
    world.create("edge", json!({})).await?;
    let before = world.settled(&operator, "edge").await?;

    let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let adversary = Adversary::new(api, &world, &other, everything).await?;
    let set = adversary.creates(ChildKind::DaemonSet, "agent", workload(&adversary.labels)).await?;
    let mut strangers = BTreeSet::from([set.clone()]);
    for kind in [ChildKind::ConfigMap, ChildKind::Secret, ChildKind::ServiceAccount] {
        strangers.insert(adversary.creates(kind, "theirs", json!({})).await?);
    }
    // Called as the operator calls what it makes in a namespace that is watched; this one is not.
    let uid = world.deployments().get("edge").await?.uid();
    let name = format!("contour.served.{}.edge", world.namespace);
    let metadata = json!({
        "name": name, "labels": adversary.labels, "annotations": {OWNER_UID: uid},
        "finalizers": ["adversary.example.com/hold"],
    });
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "adversary"});
    let binding = json!({ "metadata": metadata, "roleRef": reference });
    strangers.insert(adversary.creates(ChildKind::RoleBinding, &name, binding).await?);
    adversary.creates_pod("envoy", "198.51.100.66").await?;
    let mut all: Vec<String> = strangers.iter().map(ToString::to_string).collect();
    all.push(format!("Pod {other}/envoy"));
    named(&world, &all).await?;
    operator.look_again(&world, "edge").await?;
    unchanged(&world, &before).await?;
    assert_eq!(world.status("edge").await?.addresses, NODES);

    // What is made anew has the agent that was there, also once theirs is gone.
    let envoy = world.child(ChildKind::DaemonSet, "envoy-edge");
    let changes_to = async |level: &str| {
        world.change("edge", json!({"envoy": {"logLevel": level}})).await?;
        world.complete("edge").await?;
        assert_eq!(agent(&world, &envoy).await?, "example/contour:v1");
        anyhow::Ok(())
    };
    changes_to("debug").await?;
    let release = json!({"metadata": {"finalizers": null}});
    world.api(&set).patch("agent", &PatchParams::default(), &Patch::Merge(release)).await?;
    world.api(&set).delete("agent", &DeleteParams::default()).await?;
    strangers.remove(&set);
    changes_to("warn").await?;
    let told = notes(&world).await?;
    assert!(told.len() == all.len() && told.values().all(|times| *times == 1), "{told:?}");

    gone(&world).await?;
    for stranger in &strangers {
        let left = world.api(stranger).get(&stranger.name).await?;
        assert_eq!(left.metadata.deletion_timestamp, None, "{stranger} was deleted");
    }
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &other);
    assert_eq!(pods.get("envoy").await?.metadata.deletion_timestamp, None);
    Ok(())
}

#[tokio::test]
async fn who_has_deployments_and_pods_of_the_namespace_takes_nothing_over() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "beside").await?;
    let operator = world.operator();
    world.create("edge", json!({"envoy": {"workload": "Deployment"}})).await?;
    let before = world.settled(&operator, "edge").await?;
    let rules = json!([
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["*"]},
    ]);
    let adversary = Adversary::new(api, &world, &world.namespace, rules).await?;
    let theirs = adversary.creates(ChildKind::Deployment, "agent", workload(&adversary.labels)).await?;
    adversary.creates_pod("liar", "198.51.100.66").await?;
    let pods = [
        format!("ReplicaSet {}/agent-5d9c", world.namespace),
        format!("Pod {}/agent-replicaset-0", world.namespace),
        format!("Pod {}/liar", world.namespace),
    ];
    named(&world, &[&[theirs.to_string()], &pods[..]].concat()).await?;
    operator.look_again(&world, "edge").await?;
    unchanged(&world, &before).await?;
    assert_eq!(world.status("edge").await?.addresses, NODES);

    // Their image in the live workload does not stay, and is not carried on.
    let envoy = world.child(ChildKind::Deployment, "envoy-edge");
    let image = json!({"spec": {"template": {"spec": {"initContainers": [
        {"name": "shutdown-manager", "image": "adversary/agent:v1"},
    ]}}}});
    let deployments: Api<DynamicObject> =
        Api::namespaced_with(adversary.client.clone(), &world.namespace, &ChildKind::Deployment.resource());
    deployments.patch("envoy-edge", &PatchParams::default(), &Patch::Strategic(image)).await?;
    eventually(SOON, || async {
        let image = agent(&world, &envoy).await?;
        anyhow::ensure!(image == "example/contour:v1", "the agent is {image}");
        Ok(())
    })
    .await?;
    world.change("edge", json!({"envoy": {"logLevel": "debug"}})).await?;
    world.complete("edge").await?;
    assert_eq!(agent(&world, &envoy).await?, "example/contour:v1");

    gone(&world).await?;
    let left = world.api(&theirs).get("agent").await?;
    assert_eq!(left.metadata.deletion_timestamp, None);
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    assert_eq!(pods.get("liar").await?.metadata.deletion_timestamp, None);
    Ok(())
}

#[tokio::test]
async fn what_is_called_like_a_child_is_neither_overwritten_nor_adopted() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "called").await?;
    let operator = world.operator();
    let labels = json!({OWNER_NAME: "edge", OWNER_NAMESPACE: world.namespace});
    for (child, why) in [
        (world.child(ChildKind::ServiceAccount, "contour-edge"), "it has no controller reference"),
        (world.child(ChildKind::Secret, "contourcert-edge"), "it has no controller reference"),
        (
            world.child(ChildKind::ClusterRoleBinding, &format!("contour.served.{}.edge", world.namespace)),
            "it has no annotation operator.projectcontour.io/contourdeployment-uid",
        ),
    ] {
        let resource = child.kind.resource();
        let mut theirs = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": child.name, "labels": labels},
        });
        if child.kind.is_binding() {
            theirs["roleRef"] =
                json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
        }
        let theirs = serde_json::from_value(theirs)?;
        let made = world.api(&child).create(&PostParams::default(), &theirs).await?;
        world.create("edge", json!({})).await?;
        let degraded = world.condition("edge", condition::DEGRADED, true, "NotOurs").await?;
        for part in [&child.to_string(), why, "delete or rename it"] {
            assert!(degraded.message.contains(part), "{part} is not in {}", degraded.message);
        }
        operator.look_again(&world, "edge").await?;
        assert_eq!(world.api(&child).get(&child.name).await?, made);
        gone(&world).await?;
        assert_eq!(world.api(&child).get(&child.name).await?, made);
        world.api(&child).delete(&child.name, &DeleteParams::default()).await?;
    }
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    Ok(())
}

#[tokio::test]
async fn what_an_earlier_version_made_is_taken_over_and_nothing_else() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "earlier").await?;
    let other = api.namespace("earlier-other").await?;
    let first = world.operator();
    world.create("edge", json!({"contour": {"watchNamespaces": [world.namespace, other]}})).await?;
    world.settled(&first, "edge").await?;
    first.stop().await?;

    // It recorded no UID and no image, and told of whatever had its labels as of its own.
    let bare = json!({"metadata": {"annotations": {OWNER_UID: null}}});
    let mut elsewhere = Vec::new();
    for (child, object) in world.children("edge").await? {
        if child.namespace.as_ref() != Some(&world.namespace) {
            assert!(object.annotations().contains_key(OWNER_UID), "{child}");
            world.api(&child).patch(&child.name, &PatchParams::default(), &Patch::Merge(&bare)).await?;
            elsewhere.push(child);
        }
    }
    assert_eq!(elsewhere.len(), 3, "{elsewhere:?}");
    let theirs =
        ChildRef { kind: ChildKind::ConfigMap, namespace: Some(other.clone()), name: "theirs".to_owned() };
    let labels = json!({OWNER_NAME: "edge", OWNER_NAMESPACE: world.namespace});
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "labels": labels}});
    let map = world.api(&theirs).create(&PostParams::default(), &serde_json::from_value(map)?).await?;
    let mut inventory = serde_json::to_value(world.status("edge").await?.inventory)?;
    let told = json!({"kind": "ConfigMap", "namespace": other, "name": "theirs"});
    inventory.as_array_mut().context("a list")?.push(told);
    let status = json!({"status": {"envoyTemplate": null, "inventory": inventory}});
    world.deployments().patch_status("edge", &PatchParams::default(), &Patch::Merge(status)).await?;
    let envoy = world.child(ChildKind::DaemonSet, "envoy-edge");
    let before = world.api(&envoy).get("envoy-edge").await?;

    let mut newer = defaults();
    newer.contour_image = "example/contour:v2".to_owned();
    newer.agent_image = "example/contour:v2".to_owned();
    let _second = Operator::of(&world.client, &[&world.namespace], newer);
    eventually(SOON, || async {
        let template = world.status("edge").await?.envoy_template.context("the image is not recorded")?;
        anyhow::ensure!(template.agent_image == "example/contour:v1", "{template:?}");
        Ok(())
    })
    .await?;
    world.complete("edge").await?;
    let uid = world.deployments().get("edge").await?.uid();
    for child in &elsewhere {
        let object = world.api(child).get(&child.name).await?;
        assert_eq!(object.annotations().get(OWNER_UID), uid.as_ref(), "{child}");
    }
    let after = world.api(&envoy).get("envoy-edge").await?;
    assert_eq!(after.metadata.generation, before.metadata.generation, "Envoy was replaced");
    assert!(world.status("edge").await?.inventory.iter().all(|child| child.kind != "ConfigMap"));

    gone(&world).await?;
    assert_eq!(world.api(&theirs).get("theirs").await?, map);
    for child in &elsewhere {
        assert!(!world.exists(child).await?, "{child} is left");
    }
    Ok(())
}

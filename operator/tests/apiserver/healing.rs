//! Whatever child is deleted or edited is made what it was, at once.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::names::{APPLIED, OWNER_NAME, OWNER_NAMESPACE};
use contour_operator::status::condition;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::World;

/// Fields that make a child of every kind.
fn all_kinds(world: &World) -> Value {
    json!({"contour": {
        "autoscaling": {"minReplicas": 2, "maxReplicas": 4}, "watchNamespaces": [world.namespace],
    }})
}

/// What was applied to a child, in short.
fn applied(child: &DynamicObject) -> Option<&String> {
    child.annotations().get(APPLIED)
}

#[tokio::test]
async fn a_deleted_child_of_any_kind_comes_again() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "deleted").await?;
    let operator = world.operator();
    world.create("edge", all_kinds(&world)).await?;
    world.settled(&operator, "edge").await?;
    let children = world.children("edge").await?;
    let kinds: BTreeSet<ChildKind> = children.keys().map(|child| child.kind).collect();
    assert_eq!(kinds, ChildKind::ALL.into(), "not every kind is tried");
    for (child, before) in &children {
        world.api(child).delete(&child.name, &DeleteParams::default()).await?;
        eventually(SOON, || async {
            let now = world.api(child).get_opt(&child.name).await?.with_context(|| format!("no {child}"))?;
            anyhow::ensure!(now.uid() != before.uid(), "{child} is still the old one");
            Ok(())
        })
        .await?;
    }
    // Not at once: the Service names nodes only while Envoy is ready there, and it was deleted as well.
    eventually(SOON, || async {
        let after = world.children("edge").await?;
        anyhow::ensure!(after.keys().eq(children.keys()), "{:?}", after.keys().collect::<Vec<_>>());
        // Keys are made anew.
        for (child, now) in after.iter().filter(|(child, _)| child.kind != ChildKind::Secret) {
            let (now, before) = (applied(now), applied(&children[child]));
            anyhow::ensure!(now == before, "{child} is {now:?} after {before:?}");
        }
        Ok(())
    })
    .await?;
    world.complete("edge").await?;
    Ok(())
}

/// An edit of what matters most in a child of this kind, and where to look for it.
fn edit(kind: ChildKind) -> (Value, &'static str) {
    match kind {
        ChildKind::ServiceAccount => {
            (json!({"automountServiceAccountToken": true}), "/automountServiceAccountToken")
        }
        ChildKind::Role | ChildKind::ClusterRole => (json!({"rules": []}), "/rules"),
        ChildKind::RoleBinding | ChildKind::ClusterRoleBinding => (json!({"subjects": []}), "/subjects"),
        ChildKind::IngressClass => {
            (json!({"metadata": {"annotations": {APPLIED: "x"}}}), "/metadata/annotations")
        }
        ChildKind::ContourConfiguration => (json!({"spec": {"xdsServer": {"port": 1}}}), "/spec/xdsServer"),
        ChildKind::ConfigMap => (json!({"data": {"envoy.json": "{}"}}), "/data"),
        ChildKind::Secret => {
            (json!({"metadata": {"labels": {"app.kubernetes.io/component": "x"}}}), "/metadata/labels")
        }
        ChildKind::Service => {
            (json!({"spec": {"selector": {"app.kubernetes.io/name": "x"}}}), "/spec/selector")
        }
        ChildKind::Deployment | ChildKind::DaemonSet => (
            json!({"spec": {"template": {"spec": {"serviceAccountName": "default"}}}}),
            "/spec/template/spec/serviceAccountName",
        ),
        ChildKind::HorizontalPodAutoscaler => (json!({"spec": {"maxReplicas": 99}}), "/spec/maxReplicas"),
        ChildKind::PodDisruptionBudget => (json!({"spec": {"maxUnavailable": 2}}), "/spec/maxUnavailable"),
    }
}

#[tokio::test]
async fn an_edited_child_of_any_kind_is_what_it_was() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "edited").await?;
    let operator = world.operator();
    world.create("edge", all_kinds(&world)).await?;
    world.complete("edge").await?;
    for (child, before) in world.children("edge").await? {
        let (patch, place) = edit(child.kind);
        let before = serde_json::to_value(before)?.pointer(place).cloned();
        world.api(&child).patch(&child.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        eventually(SOON, || async {
            let now = serde_json::to_value(world.api(&child).get(&child.name).await?)?;
            let now = now.pointer(place).cloned();
            anyhow::ensure!(now == before, "{child} {place} is {now:?} after {before:?}");
            Ok(())
        })
        .await?;
    }
    assert!(operator.sum("contour_operator_writes_total") > 14);
    world.complete("edge").await?;
    Ok(())
}

#[tokio::test]
async fn a_child_without_our_labels_is_found_again() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "unlabelled").await?;
    let _operator = world.operator();
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    let bare = json!({"metadata": {"labels": {OWNER_NAME: null, OWNER_NAMESPACE: null}}});
    for child in [
        world.child(ChildKind::Service, "contour-edge"),
        world.child(ChildKind::ClusterRole, &format!("contour-{}.edge", world.namespace)),
    ] {
        let uid = world.api(&child).get(&child.name).await?.uid();
        world.api(&child).patch(&child.name, &PatchParams::default(), &Patch::Merge(&bare)).await?;
        eventually(SOON, || async {
            let now = world.api(&child).get(&child.name).await?;
            anyhow::ensure!(
                now.labels().get(OWNER_NAME).is_some_and(|name| name == "edge"),
                "{:?}",
                now.labels()
            );
            anyhow::ensure!(now.uid() == uid, "it was made anew");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn envoy_is_healed_while_contour_does_not_roll_out() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "healed").await?;
    let _operator = world.operator();
    world.create("edge", json!({})).await?;
    world.complete("edge").await?;
    world.kubelet.hold("contour-edge", json!({}));
    world
        .change("edge", json!({"contour": {"image": "example/contour:v2"}, "envoy": {"logLevel": "debug"}}))
        .await?;
    world.condition("edge", condition::PROGRESSING, true, "RollingOutContour").await?;
    let envoy: ChildRef = world.child(ChildKind::DaemonSet, "envoy-edge");
    let image = |object: &kube::api::DynamicObject| {
        object.data.pointer("/spec/template/spec/containers/0/image").cloned().unwrap_or_default()
    };
    let before = world.api(&envoy).get("envoy-edge").await?;

    world.api(&envoy).delete("envoy-edge", &DeleteParams::default()).await?;
    eventually(SOON, || async {
        let now = world.api(&envoy).get("envoy-edge").await?;
        anyhow::ensure!(now.uid() != before.uid(), "it is still the old one");
        anyhow::ensure!(image(&now) == image(&before), "{:?}", image(&now));
        Ok(())
    })
    .await
}

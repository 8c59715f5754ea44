//! Whatever child is deleted or edited is made what it was, at once.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::always_leading;
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::names::{APPLIED, OWNER_NAME, OWNER_NAMESPACE};
use contour_operator::status::{condition, find};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::lifecycle::told;
use crate::support::{Operator, World, clock};

/// Fields that make a child of every kind.
fn all_kinds(world: &World) -> Value {
    json!({"contour": {
        "autoscaling": {"minReplicas": 2, "maxReplicas": 4}, "watchNamespaces": [world.namespace],
    }, "networkPolicies": {}})
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
    let made = ChildKind::ALL.into_iter().filter(|kind| !kind.is_role());
    assert_eq!(kinds, made.collect(), "not every kind is tried");
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
        // The content of the one cannot be edited, nor that of the other without harm.
        ChildKind::ConfigMap | ChildKind::Secret => {
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
        ChildKind::NetworkPolicy => (json!({"spec": {"ingress": [{}]}}), "/spec/ingress"),
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
async fn a_binding_to_another_role_is_made_anew() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "referring").await?;
    let operator = world.operator();
    world.create("edge", json!({"contour": {"watchNamespaces": [world.namespace]}})).await?;
    world.settled(&operator, "edge").await?;
    operator.stop().await?;
    let cluster = format!("contour.namespaces.{}.edge", world.namespace);
    let bindings = [
        world.child(ChildKind::RoleBinding, "contour.own.edge"),
        world.child(ChildKind::ClusterRoleBinding, &cluster),
    ];
    let mut before = Vec::new();
    for child in &bindings {
        let mut binding = world.api(child).get(&child.name).await?;
        before.push(binding.data["roleRef"].clone());
        world.api(child).delete(&child.name, &DeleteParams::default()).await?;
        (binding.metadata.uid, binding.metadata.resource_version) = (None, None);
        binding.metadata.managed_fields = None;
        binding.data["roleRef"]["name"] = json!("view");
        world.api(child).create(&PostParams::default(), &binding).await?;
    }
    let _operator = world.operator();
    for (child, before) in bindings.iter().zip(&before) {
        eventually(SOON, || async {
            let now = world.api(child).get(&child.name).await?.data["roleRef"].clone();
            anyhow::ensure!(now == *before, "{child} refers to {now}");
            Ok(())
        })
        .await?;
    }
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
        world.child(ChildKind::ClusterRoleBinding, &format!("contour.served.{}.edge", world.namespace)),
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

#[tokio::test]
async fn who_edits_a_child_again_and_again_is_told_and_not_fought() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "contested").await?;
    let (clock, second) = clock();
    let operator = Operator::start(&world.client, &[&world.namespace], always_leading(), clock);
    world.create("edge", json!({})).await?;
    world.settled(&operator, "edge").await?;
    let service = world.child(ChildKind::Service, "contour-edge");
    let theirs = json!({"spec": {"selector": {"app.kubernetes.io/name": "theirs"}}});
    let edit = async || {
        let params = PatchParams { field_manager: Some("another-tool".to_owned()), ..PatchParams::default() };
        world.api(&service).patch(&service.name, &params, &Patch::Merge(&theirs)).await
    };
    let selects = async |name: &str| {
        let live = world.api(&service).get(&service.name).await?;
        let found = live.data["spec"]["selector"]["app.kubernetes.io/name"].clone();
        anyhow::ensure!(found == name, "it selects {found}");
        anyhow::Ok(())
    };
    let healed = || operator.sum("contour_operator_writes_total{kind=\"Service\",because=\"drifted\"}");

    // Some edits are set right at once; then it is told whose they are, and they stay.
    while condition_reason(&world).await? != "Contested" {
        anyhow::ensure!(healed() <= 5, "it is fought: healed {} times", healed());
        edit().await?;
        eventually(SOON, || async {
            let told = condition_reason(&world).await? == "Contested";
            if told { Ok(()) } else { selects("contour").await }
        })
        .await?;
    }
    let degraded = world.condition("edge", condition::DEGRADED, true, "Contested").await?;
    let expected =
        format!("{service} is edited by another-tool (spec.selector.app.kubernetes.io/name) again and again");
    assert!(degraded.message.starts_with(&expected), "{}", degraded.message);
    world.condition("edge", condition::AVAILABLE, true, "Serving").await?;
    let before = healed();
    operator.look_again(&world, "edge").await?;
    assert_eq!(healed(), before);
    selects("theirs").await?;
    told(&world, "edge", &["Contested"]).await?;

    // Half a minute later it is set right once more, and when that lasts all is well again.
    second.fetch_add(31, Ordering::SeqCst);
    world.poke("edge").await?;
    eventually(SOON, || selects("contour")).await?;
    world.condition("edge", condition::DEGRADED, true, "Contested").await?;
    second.fetch_add(90, Ordering::SeqCst);
    world.poke("edge").await?;
    world.condition("edge", condition::DEGRADED, false, "AsExpected").await?;
    world.complete("edge").await?;
    Ok(())
}

/// Why it is degraded, or that it is not.
async fn condition_reason(world: &World) -> Result<String> {
    let status = world.status("edge").await?;
    Ok(find(&status, condition::DEGRADED).context("nothing is told")?.reason.clone())
}

//! Who may ask for what: an administrator's policy, and the consent of namespaces.

use anyhow::Result;
use contour_crds::ContourPolicy;
use contour_e2e::apiserver;
use contour_operator::child::ChildKind;
use contour_operator::names::WATCHED_BY;
use contour_operator::status::condition;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::lifecycle::told;
use crate::support::{Operator, World, set_policy};

/// What any namespace may have: no network of nodes, and its own objects alone.
fn modest(world: &World) -> serde_json::Value {
    json!({"publishing": {"type": "NodePortService"}, "contour": {"watchNamespaces": [world.namespace]}})
}

#[tokio::test]
async fn what_policy_forbids_is_told_and_made_when_it_is_allowed() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "policy").await?;
    let name = format!("{}-rules", world.namespace);
    let rule = |network: bool| json!([{"name": "tenants", "namespaces": [world.namespace], "hostNetwork": network, "watchNamespaces": ["*"]}]);
    set_policy(&world.client, &name, &rule(false)).await?;
    let operator = Operator::under(&world.client, &[&world.namespace], &name);

    world.create("edge", json!({})).await?;
    let degraded = world.condition("edge", condition::DEGRADED, true, "Forbidden").await?;
    assert!(degraded.message.starts_with("spec.envoy.hostNetwork: "), "{}", degraded.message);
    assert!(
        degraded.message.contains(&format!("rule tenants of ContourPolicy {name}")),
        "{}",
        degraded.message
    );
    assert_eq!(world.children("edge").await?.len(), 0);
    told(&world, "edge", &["Forbidden"]).await?;

    // It is looked at again as soon as the policy is another.
    set_policy(&world.client, &name, &rule(true)).await?;
    world.complete("edge").await?;

    // What runs goes on when it is forbidden: nothing of it is changed.
    let before = world.still(&operator, "edge").await?;
    set_policy(&world.client, &name, &json!([{"name": "others", "namespaces": ["elsewhere"]}])).await?;
    let degraded = world.condition("edge", condition::DEGRADED, true, "Forbidden").await?;
    assert!(degraded.message.starts_with("metadata.namespace: "), "{}", degraded.message);
    let after = world.still(&operator, "edge").await?;
    let children = |versions: &std::collections::BTreeMap<String, String>| {
        versions
            .iter()
            .filter(|(name, _)| *name != "status")
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(children(&after), children(&before));

    // Without the policy the built-in one holds, which knows neither this namespace nor its use of nodes.
    let policies: Api<ContourPolicy> = Api::all(world.client.clone());
    policies.delete(&name, &DeleteParams::default()).await?;
    let told = |degraded: &str| degraded.contains("rule others of the built-in policy");
    contour_e2e::wait::eventually(contour_e2e::wait::SOON, || async {
        let degraded = world.condition("edge", condition::DEGRADED, true, "Forbidden").await?;
        anyhow::ensure!(told(&degraded.message), "{}", degraded.message);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_namespace_is_watched_when_it_consents() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "consent").await?;
    let other = api.namespace("consent-other").await?;
    // There is none of this name: the built-in policy holds.
    let operator = Operator::under(&world.client, &[&world.namespace], "none");
    world.create("edge", modest(&world)).await?;
    world.complete("edge").await?;

    world.change("edge", json!({"contour": {"watchNamespaces": [world.namespace, other]}})).await?;
    let degraded = world.condition("edge", condition::DEGRADED, true, "Forbidden").await?;
    let label = format!("{WATCHED_BY}={}", world.namespace);
    assert!(degraded.message.contains(&other) && degraded.message.contains(&label), "{}", degraded.message);

    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let consent = async |of: Option<&str>| {
        let patch = json!({"metadata": {"labels": {WATCHED_BY: of}}});
        namespaces.patch(&other, &PatchParams::default(), &Patch::Merge(patch)).await
    };
    consent(Some("somebody-else")).await?;
    operator.look_again(&world, "edge").await?;
    world.condition("edge", condition::DEGRADED, true, "Forbidden").await?;
    consent(Some(&world.namespace)).await?;
    world.complete("edge").await?;
    let binding = contour_operator::child::ChildRef {
        namespace: Some(other.clone()),
        ..world.child(ChildKind::RoleBinding, &format!("contour.served.{}.edge", world.namespace))
    };
    world.until(&binding, true).await?;
    consent(None).await?;
    world.condition("edge", condition::DEGRADED, true, "Forbidden").await?;
    Ok(())
}

#[tokio::test]
async fn who_is_forbidden_is_in_nobodys_way() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let squatter = World::new(api, "squatter").await?;
    let world = World::new(api, "rightful").await?;
    let name = format!("{}-rules", world.namespace);
    let rule = json!([{"name": "platform", "namespaces": [world.namespace], "hostNetwork": true, "watchNamespaces": ["*"]}]);
    set_policy(&world.client, &name, &rule).await?;
    let namespaces = [&*world.namespace, &*squatter.namespace];
    let _operator = Operator::under(&world.client, &namespaces, &name);
    let class = format!("class-{}", world.namespace);
    squatter.create("first", json!({"ingressClassName": class})).await?;
    squatter.condition("first", condition::DEGRADED, true, "Forbidden").await?;
    world.create("edge", json!({"ingressClassName": class})).await?;
    world.complete("edge").await?;
    Ok(())
}

//! A deletion with `--cascade=orphan` leaves what runs, and another `ContourDeployment` of the name adopts it as it is.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use anyhow::Result;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::names::{FINALIZER, OWNER_UID};
use contour_operator::status::condition;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::lifecycle::told;
use crate::support::World;

/// Deletes an object as `kubectl delete --cascade=orphan` does.
async fn delete(world: &World, name: &str) -> Result<()> {
    let params =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    world.deployments().delete(name, &params).await?;
    Ok(())
}

/// What the garbage collector, which does not run here, does at the end of it.
async fn end_orphaning(world: &World, name: &str) -> Result<()> {
    let object = world.deployments().get(name).await?;
    let left: Vec<&String> = object.finalizers().iter().filter(|held| *held != "orphan").collect();
    let patch = Patch::Merge(json!({"metadata": {"finalizers": left}}));
    world.deployments().patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// UIDs, and hashes of what is held and asked for: by these one sees that an object is the one of before and says what it said.
fn identities(children: &BTreeMap<ChildRef, DynamicObject>) -> BTreeMap<String, Value> {
    let identity = |object: &DynamicObject| {
        let mut hasher = DefaultHasher::new();
        for field in ["data", "spec", "rules", "subjects"] {
            object.data.get(field).map(Value::to_string).hash(&mut hasher);
        }
        json!([object.uid(), hasher.finish()])
    };
    children.iter().map(|(child, object)| (child.to_string(), identity(object))).collect()
}

fn belong_to_nobody(children: &BTreeMap<ChildRef, DynamicObject>) {
    for (child, object) in children {
        assert_eq!(object.owner_references(), [], "{child}");
        assert_eq!(object.annotations().get(OWNER_UID), None, "{child}");
        assert_eq!(object.metadata.deletion_timestamp, None, "{child}");
    }
}

#[tokio::test]
async fn what_runs_stays_and_is_adopted_as_it_is() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "orphan").await?;
    let other = api.namespace("orphan-other").await?;
    let operator = world.operator();
    let spec = json!({"contour": {"watchNamespaces": [world.namespace, other]}});
    let ports = world.create("edge", spec.clone()).await?.spec.envoy.ports;
    world.settled(&operator, "edge").await?;
    let before = world.children("edge").await?;

    delete(&world, "edge").await?;
    eventually(SOON, || async {
        let held = world.deployments().get("edge").await?.finalizers().to_vec();
        anyhow::ensure!(held == ["orphan"], "{held:?}");
        Ok(())
    })
    .await?;
    told(&world, "edge", &["Orphaned"]).await?;
    end_orphaning(&world, "edge").await?;
    world.gone("edge").await?;
    let left = world.children("edge").await?;
    assert_eq!(identities(&left), identities(&before));
    belong_to_nobody(&left);

    // Without being told to, nothing is done to it.
    let mut spec = spec;
    spec["envoy"] = json!({ "ports": ports });
    world.create("edge", spec).await?;
    let degraded = world.condition("edge", condition::DEGRADED, true, "NotOurs").await?;
    assert!(degraded.message.contains("spec.adopt"), "{}", degraded.message);
    operator.look_again(&world, "edge").await?;
    let kept = identities(&world.children("edge").await?);
    assert!(identities(&left).iter().all(|(child, identity)| kept.get(child) == Some(identity)), "{kept:?}");

    world.change("edge", json!({"adopt": true})).await?;
    world.settled(&operator, "edge").await?;
    let adopted = world.children("edge").await?;
    assert_eq!(identities(&adopted), identities(&before), "nothing was rolled out and no key was made");
    let uid = world.deployments().get("edge").await?.uid();
    for (child, object) in &adopted {
        let owner = object.owner_references().first().map(|owner| owner.uid.clone());
        assert_eq!(owner.or_else(|| object.annotations().get(OWNER_UID).cloned()), uid, "{child}");
    }
    // From now on it is as any other.
    world.deployments().delete("edge", &DeleteParams::default()).await?;
    world.gone("edge").await?;
    assert_eq!(world.children("edge").await?.keys().collect::<Vec<_>>(), Vec::<&ChildRef>::new());
    Ok(())
}

#[tokio::test]
async fn the_garbage_collector_may_be_first() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "orphan-late").await?;
    let operator = world.operator();
    world.create("edge", json!({"contour": {"watchNamespaces": [world.namespace]}})).await?;
    world.settled(&operator, "edge").await?;
    let before = world.children("edge").await?;
    operator.stop().await?;

    delete(&world, "edge").await?;
    let nobody = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
    for child in before.keys().filter(|child| child.namespace.is_some()) {
        world.api(child).patch(&child.name, &PatchParams::default(), &nobody).await?;
    }
    end_orphaning(&world, "edge").await?;
    assert_eq!(world.deployments().get("edge").await?.finalizers(), [FINALIZER]);

    let _operator = world.operator();
    world.gone("edge").await?;
    let left = world.children("edge").await?;
    assert_eq!(identities(&left), identities(&before));
    belong_to_nobody(&left);
    Ok(())
}

#[tokio::test]
async fn only_what_the_operator_made_is_adopted() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "orphan-not").await?;
    let _operator = world.operator();
    let account = world.child(ChildKind::ServiceAccount, "contour-edge");
    let theirs = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account.name},
    });
    world.api(&account).patch(&account.name, &PatchParams::apply("theirs"), &Patch::Apply(&theirs)).await?;
    world.create("edge", json!({"adopt": true})).await?;
    let degraded = world.condition("edge", condition::DEGRADED, true, "NotOurs").await?;
    assert!(degraded.message.contains("was not made by this operator"), "{}", degraded.message);
    assert_eq!(world.api(&account).get(&account.name).await?.owner_references(), []);
    Ok(())
}

//! What `bundle/install.yaml` allows the operator is enough for a whole life of an installation.

use std::path::Path;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::status::condition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::cannot::enforce;
use crate::lifecycle::told;
use crate::support::{Operator, World, defaults};

/// Applies what the manifest says of rights; returns who has them.
async fn grant(client: &Client) -> Result<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bundle/install.yaml");
    let mut user = None;
    for document in std::fs::read_to_string(manifest)?.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document)?;
        if object.is_null() {
            continue; // the comment at its head
        }
        let object = DynamicObject::deserialize(object).context("the manifest is made of objects")?;
        let types = object.types.clone().context("an object has a type")?;
        let name = object.name_any();
        match types.kind.as_str() {
            "ServiceAccount" => {
                let namespace = object.namespace().context("an account has a namespace")?;
                user = Some(format!("system:serviceaccount:{namespace}:{name}"));
            }
            "ClusterRole" | "ClusterRoleBinding" => {
                let resource = ApiResource::from_gvk(&types.try_into()?);
                let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
                api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;
            }
            _ => {}
        }
    }
    user.context("the manifest has no account")
}

#[tokio::test]
async fn the_rights_of_the_manifest_are_enough() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "rights").await?;
    let other = api.namespace("rights-other").await?;
    let user = grant(&world.client).await?;
    let client = api.client_as(&user).await?;
    let operator = Operator::of(&client, &[&world.namespace], defaults());
    let everything = json!({
        "contour": {
            "autoscaling": {"maxReplicas": 3}, "watchNamespaces": [world.namespace, other],
        },
    });
    // That Envoy's pods cannot be made is told in Events, which are read then.
    enforce(&world, json!("baseline")).await?;
    world.create("edge", everything).await?;
    world.condition("edge", condition::DEGRADED, true, "FailedCreate").await?;
    enforce(&world, json!(null)).await?;
    world.kubelet.release("envoy-edge").await?;
    world.complete("edge").await?;
    told(&world, "edge", &["FailedCreate", "Recovered"]).await?;
    // To the whole cluster, from two namespaces, and from one kind to the other.
    world
        .change(
            "edge",
            json!({"contour": {"watchNamespaces": null}, "envoy": {"workload": "Deployment"}, "publishing": {"type": "NodePortService"}}),
        )
        .await?;
    world.complete("edge").await?;
    world.deployments().delete("edge", &DeleteParams::default()).await?;
    eventually(SOON, || async {
        let left = world.deployments().get_opt("edge").await?;
        anyhow::ensure!(left.is_none(), "{:?}", left.and_then(|left| left.status));
        Ok(())
    })
    .await?;
    assert_eq!(world.children("edge").await?.keys().collect::<Vec<_>>(), Vec::<&_>::new());
    assert_eq!(operator.sum("contour_operator_errors_total{category=\"Forbidden\"}"), 0);
    Ok(())
}

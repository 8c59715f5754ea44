//! The default class of a cluster, of which there should be one.

use anyhow::Result;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::child::ChildKind;
use contour_operator::status::{condition, find};
use k8s_openapi::api::networking::v1::IngressClass;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::support::World;

const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

#[tokio::test]
async fn a_default_class_of_others_is_told_beside_the_own_one() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "default-class").await?;
    let foreign = format!("{}-foreign", world.namespace);
    let classes: Api<IngressClass> = Api::all(world.client.clone());
    let class = json!({
        "metadata": {"name": foreign, "annotations": {DEFAULT: "true"}}, "spec": {"controller": "example.com/other"},
    });
    classes.create(&PostParams::default(), &serde_json::from_value(class)?).await?;

    let operator = world.operator();
    world.create("edge", json!({"defaultIngressClass": true})).await?;
    world.settled(&operator, "edge").await?;
    let own = format!("{}-edge", world.namespace);
    let found = world.api(&world.child(ChildKind::IngressClass, &own)).get(&own).await?;
    assert_eq!(found.metadata.annotations.unwrap_or_default()[DEFAULT], "true");
    let warned = async |of: &str| -> Result<bool> {
        let status = world.status("edge").await?;
        let available = find(&status, condition::AVAILABLE).into_iter();
        Ok(available
            .flat_map(|one| &one.warnings)
            .any(|warning| warning.reason == "DefaultClass" && warning.message.contains(of)))
    };
    assert!(warned(&foreign).await?, "nothing is told of {foreign}");

    classes.delete(&foreign, &DeleteParams::default()).await?;
    world.change("edge", json!({"defaultIngressClass": null})).await?;
    eventually(SOON, || async {
        let found = world.api(&world.child(ChildKind::IngressClass, &own)).get(&own).await?;
        let annotations = found.metadata.annotations.unwrap_or_default();
        anyhow::ensure!(!annotations.contains_key(DEFAULT), "it is the default still");
        anyhow::ensure!(!warned("").await?, "it is told still");
        Ok(())
    })
    .await
}

//! Nothing is written for nothing, and what belongs to others stays.

use anyhow::Result;
use contour_e2e::apiserver;
use contour_operator::child::ChildKind;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::World;

#[tokio::test]
async fn what_is_as_it_should_be_is_not_written() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "noop").await?;
    let first = world.operator();
    // As much as possible, since each field could be one that the API server stores in another form.
    let spec = json!({
        "contour": {
            "autoscaling": {"minReplicas": 2, "maxReplicas": 4, "targetCPU": 70},
            "resources": {"requests": {"cpu": "1000m", "memory": "0.5Gi"}, "limits": {"memory": "1024Mi"}},
            "watchNamespaces": [world.namespace],
        },
        "envoy": {
            "resources": {"requests": {"cpu": "0.5"}},
            "placement": {"nodeSelector": {"edge": "yes"}, "tolerations": [{"operator": "Exists"}]},
        },
        "publishing": {"annotations": {"a": "b"}},
    });
    world.create("edge", spec).await?;
    let before = world.settled(&first, "edge").await?;
    let written = first.changes();
    let secrets = first.sum("contour_operator_writes_total{kind=\"Secret\"");
    assert_eq!(secrets, 3, "keys were made more than once");
    first.look_again(&world, "edge").await?;
    assert_eq!(world.versions("edge").await?, before);
    assert_eq!(first.changes(), written, "requests were made that changed nothing");
    first.stop().await?;

    let second = world.operator();
    second.look_again(&world, "edge").await?;
    assert_eq!(world.versions("edge").await?, before);
    assert_eq!(second.changes(), 0, "requests were made that changed nothing");
    Ok(())
}

#[tokio::test]
async fn the_number_of_pods_stays_when_an_autoscaler_takes_over() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "replicas").await?;
    let _operator = world.operator();
    world.create("edge", json!({"contour": {"replicas": 3}})).await?;
    world.complete("edge").await?;
    let contour = world.child(ChildKind::Deployment, "contour-edge");
    let replicas =
        async || anyhow::Ok(world.api(&contour).get(&contour.name).await?.data["spec"]["replicas"].clone());
    let before = world.api(&contour).get(&contour.name).await?;
    assert_eq!(replicas().await?, 3);

    let scaler = world.child(ChildKind::HorizontalPodAutoscaler, "contour-edge");
    world.change("edge", json!({"contour": {"replicas": null, "autoscaling": {"maxReplicas": 9}}})).await?;
    world.until(&scaler, true).await?;
    world.complete("edge").await?;
    assert_eq!(replicas().await?, 3);
    assert_ne!(
        world.api(&contour).get(&contour.name).await?.metadata.resource_version,
        before.metadata.resource_version
    );

    let seven = json!({"spec": {"replicas": 7}});
    world.api(&contour).patch(&contour.name, &PatchParams::default(), &Patch::Merge(seven)).await?;
    world.change("edge", json!({"contour": {"logLevel": "debug"}})).await?;
    world.complete("edge").await?;
    assert_eq!(replicas().await?, 7);
    world.change("edge", json!({"contour": {"autoscaling": null}})).await?;
    world.until(&scaler, false).await?;
    world.complete("edge").await?;
    assert_eq!(replicas().await?, 2);
    Ok(())
}

#[tokio::test]
async fn fields_of_others_are_left_alone() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "foreign").await?;
    let operator = world.operator();
    let spec = json!({
        "contour": {"autoscaling": {"minReplicas": 2, "maxReplicas": 9}},
        "publishing": {"type": "NodePortService"},
    });
    world.create("edge", spec).await?;
    world.complete("edge").await?;
    let (contour, envoy, service) = (
        world.child(ChildKind::Deployment, "contour-edge"),
        world.child(ChildKind::DaemonSet, "envoy-edge"),
        world.child(ChildKind::Service, "envoy-edge"),
    );
    let restarted = json!({"spec": {"template": {"metadata": {"annotations": {
        "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z",
    }}}}});
    let foreign = [
        (&contour, json!({"spec": {"replicas": 5}})),
        (&envoy, restarted),
        (
            &service,
            json!({"metadata": {
                "annotations": {"cloud.example.com/id": "7"}, "finalizers": ["cloud.example.com/cleanup"],
            }}),
        ),
    ];
    for (child, patch) in &foreign {
        world.api(child).patch(&child.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    let ports = world.api(&service).get("envoy-edge").await?.data["spec"]["ports"].clone();
    assert!(ports[0]["nodePort"].as_i64().is_some_and(|port| port >= 30_000), "{ports}");

    // A change of ours to each of them, by which all of it would be lost if it were ours.
    world
        .change(
            "edge",
            json!({
                "contour": {"logLevel": "debug"}, "envoy": {"logLevel": "debug"},
                "publishing": {"annotations": {"our": "own"}},
            }),
        )
        .await?;
    world.complete("edge").await?;
    operator.look_again(&world, "edge").await?;
    for (child, patch) in &foreign {
        let live = serde_json::to_value(world.api(child).get(&child.name).await?)?;
        contains(&live, patch, &child.to_string());
    }
    assert_eq!(world.api(&service).get("envoy-edge").await?.data["spec"]["ports"], ports);
    let unhold = json!({"metadata": {"finalizers": null}});
    world.api(&service).patch("envoy-edge", &PatchParams::default(), &Patch::Merge(unhold)).await?;
    Ok(())
}

fn contains(live: &Value, part: &Value, place: &str) {
    match part {
        Value::Object(fields) => {
            for (name, part) in fields {
                contains(&live[name], part, &format!("{place}.{name}"));
            }
        }
        part => assert_eq!(live, part, "{place} was changed"),
    }
}

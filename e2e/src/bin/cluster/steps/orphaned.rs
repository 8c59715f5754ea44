//! An installation whose `ContourDeployment` goes and comes back, while it serves.

use anyhow::Result;
use contour_e2e::wait::eventually;
use serde_json::json;

use super::serve;
use super::upgrade::pods;
use crate::objects::CONTOUR_DEPLOYMENT;
use crate::traffic::Traffic;
use crate::world::{CHANGE, EDGE, World};

/// Deletes the object with `--cascade=orphan`, and makes it again with `spec.adopt`: not one request fails, no pod is replaced.
pub(crate) async fn adopted(world: &World) -> Result<()> {
    let (namespace, name) = EDGE;
    let traffic = Traffic::start(serve::probes(world));
    let before = (pods(&world.objects, "contour").await?, pods(&world.objects, "envoy").await?);
    let object = world.objects.get(CONTOUR_DEPLOYMENT, namespace, name).await?;
    world.objects.begin_orphaning(CONTOUR_DEPLOYMENT, namespace, name).await?;
    eventually(CHANGE, || async {
        let left = world.objects.get(CONTOUR_DEPLOYMENT, namespace, name).await;
        anyhow::ensure!(left.is_err(), "it is still there: {}", left?["metadata"]);
        Ok(())
    })
    .await?;
    let mut spec = object["spec"].clone();
    spec["adopt"] = json!(true);
    let again = json!({
        "apiVersion": CONTOUR_DEPLOYMENT.0, "kind": CONTOUR_DEPLOYMENT.1,
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    });
    world.objects.apply(&again.to_string()).await?;
    world.until_well(EDGE).await?;
    let after = (pods(&world.objects, "contour").await?, pods(&world.objects, "envoy").await?);
    anyhow::ensure!(before == after, "pods changed: {before:?} became {after:?}");
    println!("      {} requests, none failed", traffic.finish()?);
    Ok(())
}

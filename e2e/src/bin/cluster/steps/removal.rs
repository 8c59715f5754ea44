//! Nothing stays behind.

use anyhow::{Context as _, Result};
use contour_e2e::wait::eventually;

use super::install;
use super::others::OTHERS;
use crate::objects::{CONTOUR_DEPLOYMENT, Kind, NAMESPACE, PART_OF, describe};
use crate::world::{EDGE, ROLLOUT, World};

/// Every kind that the operator makes, and what those make in turn.
const KINDS: [Kind; 18] = [
    ("v1", "ConfigMap"),
    ("v1", "Pod"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "ControllerRevision"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("networking.k8s.io/v1", "IngressClass"),
    ("policy/v1", "PodDisruptionBudget"),
    ("projectcontour.io/v1alpha1", "ContourConfiguration"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
];

/// Deletes all `ContourDeployment`s: every child goes, and nobody listens on the ports.
pub(crate) async fn deployments(world: &World) -> Result<()> {
    let all = [EDGE, (OTHERS, "internal"), (OTHERS, "rotating")];
    for (namespace, name) in all {
        world.objects.begin_delete(CONTOUR_DEPLOYMENT, namespace, name).await?;
    }
    eventually(ROLLOUT, || async {
        let mut left = Vec::new();
        for kind in [&KINDS[..], &[CONTOUR_DEPLOYMENT]].concat() {
            let labels = match kind {
                CONTOUR_DEPLOYMENT => "",
                _ => "operator.projectcontour.io/contourdeployment-name",
            };
            left.extend(world.objects.list(kind, labels).await?.iter().map(describe));
        }
        for (namespace, name) in all {
            let lease = format!("leader-elect-{name}");
            if world.objects.get(("coordination.k8s.io/v1", "Lease"), namespace, &lease).await.is_ok() {
                left.push(format!("Lease {namespace}/{lease}"));
            }
        }
        anyhow::ensure!(left.is_empty(), "left: {}", left.join(", "));
        Ok(())
    })
    .await
    .context("deleting the ContourDeployments leaves something behind")?;
    for node in &world.nodes {
        for port in [80, 443, 8080, 8002] {
            node.http(port, "www.example.com").until_refused().await?;
        }
    }
    Ok(())
}

/// Deletes what the manifests made, the operator with its definitions last.
pub(crate) async fn operator(world: &World) -> Result<()> {
    for namespace in world.objects.list(NAMESPACE, &format!("{}={}", PART_OF.0, PART_OF.1)).await? {
        let name = namespace.metadata.name.unwrap_or_default();
        if name != "contour-operator" {
            world.objects.begin_delete(NAMESPACE, "", &name).await?;
        }
    }
    world.objects.delete(&install::manifest(world)?, ROLLOUT).await
}

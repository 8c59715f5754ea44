//! The operator by its manifest, and the example's `ContourDeployment`.

use anyhow::{Context as _, Result};
use contour_e2e::repository_root;
use contour_e2e::wait::eventually;
use serde_json::Value;

use crate::objects::{CONTOUR_DEPLOYMENT, DAEMON_SET, DEPLOYMENT, Kind, NAMESPACE, PART_OF};
use crate::world::{EDGE, ROLLOUT, World};

/// Kinds of children that belong to no namespace.
const BEYOND: [Kind; 3] = [
    ("networking.k8s.io/v1", "IngressClass"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
];

/// What every child has.
const OWNED: &str = "operator.projectcontour.io/contourdeployment-name";

/// Where the operator runs.
const OPERATOR: (&str, &str) = ("contour-operator", "contour-operator");

/// Removes what an earlier run left behind, and refuses a cluster that others use.
pub(crate) async fn clean_cluster(world: &World) -> Result<()> {
    let mine = format!("{}={}", PART_OF.0, PART_OF.1);
    let all = world.objects.list(CONTOUR_DEPLOYMENT, "").await?;
    let left = world.objects.list(CONTOUR_DEPLOYMENT, &mine).await?;
    anyhow::ensure!(
        all.len() == left.len(),
        "the cluster has ContourDeployments that are not of these tests, which need ports 80 and 443 of every node"
    );
    for object in left {
        let (namespace, name) = (object.metadata.namespace.as_deref(), object.metadata.name.as_deref());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        // The operator that would do what its finalizer is for may be what failed; the namespaces go anyway.
        let unfinished = serde_json::json!({"metadata": {"finalizers": null}});
        world.objects.begin_delete(CONTOUR_DEPLOYMENT, namespace, name).await?;
        let _ = world.objects.merge(CONTOUR_DEPLOYMENT, namespace, name, &unfinished).await;
    }
    // Nor does it remove then what no owner reference reaches.
    for kind in BEYOND {
        for object in world.objects.list(kind, OWNED).await? {
            world.objects.begin_delete(kind, "", object.metadata.name.as_deref().unwrap_or_default()).await?;
        }
    }
    let namespaces = world.objects.list(NAMESPACE, &mine).await?;
    for namespace in &namespaces {
        world
            .objects
            .begin_delete(NAMESPACE, "", namespace.metadata.name.as_deref().unwrap_or_default())
            .await?;
    }
    eventually(ROLLOUT, || async {
        let left = world.objects.list(NAMESPACE, &mine).await?;
        anyhow::ensure!(left.is_empty(), "{} namespaces of an earlier run are still there", left.len());
        Ok(())
    })
    .await
}

/// Applies `bundle/install.yaml`; the operator becomes available.
pub(crate) async fn operator(world: &World) -> Result<()> {
    world.objects.apply(&manifest(world)?).await?;
    eventually(ROLLOUT, || async {
        let deployment = world.objects.get(DEPLOYMENT, OPERATOR.0, OPERATOR.1).await?;
        let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
        anyhow::ensure!(status["availableReplicas"] == *wanted, "its status is {status}");
        Ok(())
    })
    .await
    .context("the operator is not available")
}

/// Applies `examples/contourdeployment.yaml`; everything that it reports is well.
pub(crate) async fn deployment(world: &World) -> Result<()> {
    let path = repository_root().join("examples/contourdeployment.yaml");
    let example = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    world.objects.apply(&example).await?;
    let object = world.until_well(EDGE).await?;
    let nodes = world.nodes.len();
    for (component, pods) in [("contour", "2/2".to_owned()), ("envoy", format!("{nodes}/{nodes}"))] {
        let status = &object["status"][component];
        anyhow::ensure!(status["pods"] == pods, "the status of {component} is {status}");
        anyhow::ensure!(
            status["version"] == status["desiredVersion"],
            "the status of {component} is {status}"
        );
    }
    until_addresses(world, &world.addresses()).await?;
    least_rights(world).await
}

/// Envoy opens ports 80 and 443 of the node with one capability, and without a changed kernel setting.
async fn least_rights(world: &World) -> Result<()> {
    let daemon_set = world.objects.get(DAEMON_SET, EDGE.0, "envoy-edge").await?;
    let pod = &daemon_set["spec"]["template"]["spec"];
    anyhow::ensure!(pod["hostNetwork"] == true, "Envoy is not on the network of its node");
    anyhow::ensure!(pod["securityContext"]["sysctls"].is_null(), "Envoy's pods change kernel settings");
    let containers =
        [&pod["initContainers"], &pod["containers"]].map(|list| list.as_array().cloned().unwrap_or_default());
    for container in containers.concat() {
        let (name, context) = (&container["name"], &container["securityContext"]);
        let added = context["capabilities"]["add"].as_array().cloned().unwrap_or_default();
        let allowed = added.is_empty() || (*name == "envoy" && added == ["NET_BIND_SERVICE"]);
        let rest = context["readOnlyRootFilesystem"] == true
            && context["allowPrivilegeEscalation"] == false
            && context["capabilities"]["drop"] == serde_json::json!(["ALL"]);
        anyhow::ensure!(allowed && rest, "the container {name} may do more than it needs: {context}");
    }
    Ok(())
}

/// Waits until the example's `ContourDeployment` reports exactly these addresses.
pub(crate) async fn until_addresses(world: &World, addresses: &[String]) -> Result<()> {
    eventually(ROLLOUT, || async {
        let object = world.objects.get(CONTOUR_DEPLOYMENT, EDGE.0, EDGE.1).await?;
        let mut reported: Vec<&str> = object["status"]["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        reported.sort_unstable();
        anyhow::ensure!(reported == addresses, "its addresses are {reported:?} and not {addresses:?}");
        Ok(())
    })
    .await
}

/// The manifest with this run's images.
pub(crate) fn manifest(world: &World) -> Result<String> {
    let manifest = read_manifest()?;
    let defaults = default_images(&manifest)?;
    Ok(manifest.replace(&defaults.0, &world.images.operator).replace(&defaults.1, &world.images.envoy))
}

/// The manifest as it is in the repository.
pub(crate) fn read_manifest() -> Result<String> {
    let path = repository_root().join("bundle/install.yaml");
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The images that the manifest names: of the operator, and of Envoy.
pub(crate) fn default_images(manifest: &str) -> Result<(String, String)> {
    let after = |mark: &str| {
        let line = manifest.lines().find_map(|line| line.trim().strip_prefix(mark));
        line.map(str::to_owned).with_context(|| format!("bundle/install.yaml has no line with `{mark}`"))
    };
    Ok((after("image: ")?, after("- --envoy-image=")?))
}

//! `contour-operator diff` tells what the operator would change, and changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use contour_e2e::apiserver::{self, ApiServer};
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::names::{OWNER_NAME, OWNER_NAMESPACE};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{World, merge, ports};

/// A kubeconfig of somebody who may read all that the documentation names, and write nothing.
async fn reader(api: &ApiServer, world: &World, dir: &Path) -> Result<String> {
    let name = format!("diff-reader-{}", world.namespace);
    let reads = |groups: &[&str], resources: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": ["get", "list"]});
    let rules = json!([
        reads(&["operator.projectcontour.io"], &["contourdeployments", "contourpolicies"]),
        reads(&["projectcontour.io"], &["contourconfigurations"]),
        reads(&[""], &["namespaces", "pods", "serviceaccounts", "configmaps", "secrets", "services"]),
        reads(&["apps"], &["deployments", "daemonsets", "replicasets"]),
        reads(
            &["rbac.authorization.k8s.io"],
            &["roles", "rolebindings", "clusterroles", "clusterrolebindings"]
        ),
        reads(&["networking.k8s.io"], &["ingressclasses", "networkpolicies"]),
        reads(&["autoscaling"], &["horizontalpodautoscalers"]),
        reads(&["policy"], &["poddisruptionbudgets"]),
    ]);
    let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules}))?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    }))?;
    Api::all(world.client.clone()).create(&PostParams::default(), &role).await?;
    Api::all(world.client.clone()).create(&PostParams::default(), &binding).await?;
    let mut config: Value = serde_saphyr::from_str(&std::fs::read_to_string(api.kubeconfig())?)?;
    let users = config["users"].as_array_mut().context("a kubeconfig has users")?;
    for user in users {
        user["user"]["as"] = json!(name);
    }
    let path = dir.join("kubeconfig");
    std::fs::write(&path, serde_saphyr::to_string(&config)?)?;
    Ok(format!("--kubeconfig={}", path.display()))
}

/// Runs it, with the settings of the operator of these tests.
fn diff(kubeconfig: &str, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let settings = ["--contour-image=example/contour:v1", "--envoy-image=example/envoy:v1", "--policy=open"];
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_contour-operator"))
        .arg("diff")
        .arg(kubeconfig)
        .args(settings)
        .args(arguments)
        .output()?;
    let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    assert!(!stdout.contains("BEGIN") && !stderr.contains("BEGIN"), "a Secret was printed");
    Ok((status.code(), stdout, stderr))
}

/// The versions of these objects.
async fn versions(world: &World, children: &[ChildRef]) -> Result<BTreeMap<String, Option<String>>> {
    let mut versions = BTreeMap::new();
    for child in children {
        let object = world.api(child).get_opt(&child.name).await?;
        versions.insert(child.to_string(), object.and_then(|object| object.resource_version()));
    }
    Ok(versions)
}

/// Deletes, edits and relabels; returns what is to be told of it.
async fn disturb(world: &World) -> Result<String> {
    let namespace = &world.namespace;
    let merge = async |child: &ChildRef, patch: Value| {
        world.api(child).patch(&child.name, &PatchParams::default(), &Patch::Merge(patch)).await
    };
    let delete =
        async |child: &ChildRef| world.api(child).delete(&child.name, &DeleteParams::default()).await;
    let unlabelled = json!({"metadata": {"labels": {OWNER_NAME: null, OWNER_NAMESPACE: null}}});
    merge(&world.child(ChildKind::ServiceAccount, "envoy-edge"), unlabelled).await?;
    delete(&world.child(ChildKind::RoleBinding, "contour.own.edge")).await?;
    delete(&world.child(ChildKind::Secret, "envoycert-edge")).await?;
    let children = world.children("edge").await?.into_keys();
    let map = children.into_iter().find(|child| child.kind == ChildKind::ConfigMap).context("a bootstrap")?;
    delete(&map).await?;
    let theirs = DynamicObject::new(&map.name, &map.kind.resource()).data(json!({"data": {"a": "b"}}));
    world.api(&map).create(&PostParams::default(), &theirs).await?;
    let label = json!({"metadata": {"labels": {"app.kubernetes.io/component": "mine"}}});
    merge(&world.child(ChildKind::DaemonSet, "envoy-edge"), label).await?;
    let port = json!({"spec": {"selector": {"app.kubernetes.io/name": "mine"}}});
    merge(&world.child(ChildKind::Service, "contour-edge"), port).await?;
    Ok(format!(
        "\
ServiceAccount {namespace}/envoy-edge: edited (metadata.labels.{OWNER_NAME})
RoleBinding {namespace}/contour.own.edge: missing
Service {namespace}/contour-edge: edited (spec.selector.app.kubernetes.io/name)
Secret {namespace}/envoycert-edge: missing
{map}: not ours: was not made by this operator: it has no controller reference
DaemonSet {namespace}/envoy-edge: edited (metadata.labels.app.kubernetes.io/component)
"
    ))
}

#[tokio::test]
async fn what_the_operator_would_change_is_told_and_nothing_is_written() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let (world, dir) = (World::new(api, "diff").await?, tempfile::tempdir()?);
    let kubeconfig = reader(api, &world, dir.path()).await?;
    let operator = world.operator();
    world.create("edge", json!({"contour": {"watchNamespaces": [world.namespace]}})).await?;
    world.settled(&operator, "edge").await?;
    operator.stop().await?;
    let installed = ["-n", &world.namespace, "edge"];
    let children: Vec<ChildRef> = world.children("edge").await?.into_keys().collect();
    let before = versions(&world, &children).await?;
    assert_eq!(diff(&kubeconfig, &installed)?, (Some(0), String::new(), String::new()));

    // What a file would change.
    let mut wanted = serde_json::to_value(world.deployments().get("edge").await?)?;
    wanted["spec"]["envoy"]["workload"] = json!("Deployment");
    let file = dir.path().join("edge.yaml");
    std::fs::write(&file, serde_saphyr::to_string(&wanted)?)?;
    let (code, told, errors) = diff(&kubeconfig, &[&file.display().to_string()])?;
    let expected = format!(
        "Deployment {0}/envoy-edge: missing\nPodDisruptionBudget {0}/envoy-edge: missing\nDaemonSet {0}/envoy-edge: would be deleted\n",
        world.namespace
    );
    assert_eq!((code, told, errors), (Some(1), expected, String::new()));
    wanted["spec"]["contour"]["extraArgs"] = json!(["--nonsense"]);
    std::fs::write(&file, serde_saphyr::to_string(&wanted)?)?;
    let (code, told, _) = diff(&kubeconfig, &[&file.display().to_string()])?;
    assert!(code == Some(1) && told.contains("edge: refused: spec.contour.extraArgs"), "{code:?} {told}");
    assert_eq!(versions(&world, &children).await?, before);

    let expected = disturb(&world).await?;
    let before = versions(&world, &children).await?;
    let (code, told, errors) = diff(&kubeconfig, &installed)?;
    assert_eq!((code, told, errors), (Some(1), expected.clone(), String::new()));
    let (_, json, _) = diff(&kubeconfig, &["-n", &world.namespace, "-o", "json"])?;
    let json: Value = serde_json::from_str(&json)?;
    let differences = json["contourDeployments"][0]["differences"].as_array().context("differences")?;
    assert_eq!(differences.len(), expected.lines().count());
    assert_eq!(versions(&world, &children).await?, before);
    let (code, _, errors) = diff(&kubeconfig, &["-n", &world.namespace, "nobody"])?;
    assert!(code == Some(2) && errors.contains("there is no ContourDeployment"), "{code:?} {errors}");

    // Its finalizer holds it.
    world.deployments().delete("edge", &DeleteParams::default()).await?;
    let (code, told, _) = diff(&kubeconfig, &installed)?;
    assert_eq!(code, Some(1));
    assert!(told.lines().all(|line| line.ends_with(": would be deleted")), "{told}");
    let everywhere = format!("ClusterRoleBinding contour.namespaces.{}.edge: ", world.namespace);
    assert!(told.contains(&everywhere) && told.contains("/contour-ca-edge: "), "{told}");
    Ok(())
}

/// A `ContourDeployment` that is in no cluster, with these fields.
fn file(world: &World, dir: &Path, spec: Value) -> Result<String> {
    let mut whole =
        json!({"ingressClassName": format!("{}-new", world.namespace), "envoy": {"ports": ports()}});
    merge(&mut whole, spec);
    let document = json!({
        "apiVersion": "operator.projectcontour.io/v1alpha1", "kind": "ContourDeployment",
        "metadata": {"name": "new", "namespace": world.namespace}, "spec": whole,
    });
    let path = dir.join("new.yaml");
    std::fs::write(&path, serde_saphyr::to_string(&document)?)?;
    Ok(path.display().to_string())
}

#[tokio::test]
async fn of_what_is_not_there_all_is_missing() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let (world, dir) = (World::new(api, "diff-new").await?, tempfile::tempdir()?);
    let kubeconfig = reader(api, &world, dir.path()).await?;
    let path = file(&world, dir.path(), json!({}))?;
    let (code, told, errors) = diff(&kubeconfig, &[&path])?;
    assert_eq!((code, errors), (Some(1), String::new()));
    assert!(told.lines().all(|line| line.ends_with(": missing")), "{told}");
    assert_eq!(told.lines().count(), 13 + 3, "{told}");

    let own = json!({"certificates": {"secretRefs": {"contour": "mine", "envoy": "other"}}});
    let path = file(&world, dir.path(), own)?;
    let (code, told, _) = diff(&kubeconfig, &[&path])?;
    let refused =
        format!("ContourDeployment {}/new: refused: spec.certificates.secretRefs.", world.namespace);
    assert_eq!((code, told.lines().count()), (Some(1), 2), "{told}");
    assert!(told.lines().all(|line| line.starts_with(&refused)), "{told}");
    Ok(())
}

#[tokio::test]
async fn an_api_server_takes_what_is_rendered() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let (world, dir) = (World::new(api, "render").await?, tempfile::tempdir()?);
    let spec = json!({
        "publishing": {"type": "NodePortService", "annotations": {"a.example/b": "yes"}},
        "contour": {"watchNamespaces": [world.namespace], "autoscaling": {"maxReplicas": 3}},
    });
    let path = file(&world, dir.path(), spec)?;
    let output = Command::new(env!("CARGO_BIN_EXE_contour-operator")).args(["render", &path]).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout)?)?;
    let params = PatchParams { dry_run: true, ..PatchParams::apply("test") };
    for object in &objects {
        let kind = object.types.as_ref().and_then(|types| ChildKind::from_name(&types.kind));
        let child = world.child(kind.context("a kind of child")?, &object.name_any());
        let taken = world.api(&child).patch(&child.name, &params, &Patch::Apply(object)).await;
        taken.with_context(|| child.to_string())?;
    }
    assert_eq!(objects.len(), 14);
    Ok(())
}

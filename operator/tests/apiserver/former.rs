//! The roles that earlier versions made for each installation are followed by bindings to fixed ones, without a gap.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use contour_crds::{ContourDeployment, all_crds};
use contour_e2e::apiserver::{self, ApiServer};
use contour_operator::build::FixedRole;
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::names::{APPLIED, OWNER_NAME, OWNER_NAMESPACE, OWNER_UID};
use contour_operator::status::condition;
use hyper::Request;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tower::util::MapRequestLayer;

use crate::independent::envoy_is_healed;
use crate::rights::grant;
use crate::support::{Operator, World, defaults, set_roles};

/// Makes the roles and bindings that an earlier version made for an installation that watches these namespaces, and records them as it did.
pub(crate) async fn make(
    world: &World,
    deployment: &ContourDeployment,
    watched: &[&str],
) -> Result<Vec<ChildRef>> {
    let (name, own) = (deployment.name_any(), world.namespace.as_str());
    let resources = format!("contour-resources-{own}.{name}");
    let mut places = vec![(None, format!("contour-{own}.{name}")), (Some(own), format!("contour-{name}"))];
    places.extend(watched.iter().map(|namespace| (Some(*namespace), resources.clone())));
    let group = "rbac.authorization.k8s.io";
    let mut made = Vec::new();
    for (namespace, object) in places {
        let kinds = match namespace {
            Some(_) => [ChildKind::Role, ChildKind::RoleBinding],
            None => [ChildKind::ClusterRole, ChildKind::ClusterRoleBinding],
        };
        for kind in kinds {
            let resource = kind.resource();
            let mut metadata = json!({
                "name": object, "labels": {OWNER_NAME: name, OWNER_NAMESPACE: own},
                "annotations": {APPLIED: "before"},
            });
            if namespace == Some(own) {
                metadata["ownerReferences"] = json!([deployment.controller_owner_ref(&())]);
            } else {
                metadata["annotations"][OWNER_UID] = json!(deployment.uid());
            }
            let mut role =
                json!({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata});
            if kind.is_role() {
                role["rules"] = json!([{"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}]);
            } else {
                role["roleRef"] = json!({"apiGroup": group, "kind": kinds[0].to_string(), "name": object});
                role["subjects"] =
                    json!([{"kind": "ServiceAccount", "name": format!("contour-{name}"), "namespace": own}]);
            }
            let child = ChildRef { kind, namespace: namespace.map(str::to_owned), name: object.clone() };
            world.api(&child).create(&PostParams::default(), &serde_json::from_value(role)?).await?;
            made.push(child);
        }
    }
    let beyond = made.iter().filter(|child| child.namespace.as_deref() != Some(own));
    let inventory: Vec<_> = beyond
        .map(|child| {
            let mut told = json!({"kind": child.kind.to_string(), "name": child.name});
            if let Some(namespace) = &child.namespace {
                told["namespace"] = json!(namespace);
            }
            told
        })
        .collect();
    let status = Patch::Merge(json!({"status": {"inventory": inventory}}));
    world.deployments().patch_status(&name, &PatchParams::default(), &status).await?;
    Ok(made)
}

/// Method and path of each request.
type Requests = Arc<Mutex<Vec<String>>>;

/// A client with the rights of `user`, and the requests that it made so far.
async fn noted(api: &ApiServer, user: &str) -> Result<(Client, Requests)> {
    let requests = Requests::default();
    let noting = Arc::clone(&requests);
    let note = move |request: Request<Body>| {
        let line = format!("{} {}", request.method(), request.uri().path());
        noting.lock().expect("nobody panics with it").push(line);
        request
    };
    let config = api.config_as(user).await?;
    Ok((ClientBuilder::try_from(config)?.with_layer(&MapRequestLayer::new(note)).build(), requests))
}

/// Fails unless each of the former came to its end after all bindings of the same place were made.
fn followed_in_order(requests: &[String], former: &[ChildRef], bindings: &[ChildRef]) -> Result<()> {
    let first = |method: &str, child: &ChildRef| {
        let place = child.namespace.as_deref().map(|namespace| format!("/namespaces/{namespace}/"));
        let is_it = |line: &&String| {
            line.starts_with(method)
                && line.ends_with(&format!("/{}", child.name))
                && place.as_ref().is_none_or(|place| line.contains(place))
        };
        requests.iter().position(|line| is_it(&line)).with_context(|| format!("no {method} of {child}"))
    };
    for child in former {
        for binding in bindings.iter().filter(|binding| binding.namespace == child.namespace) {
            assert!(first("PATCH", binding)? < first("DELETE", child)?, "{binding} came after {child} went");
        }
    }
    Ok(())
}

#[tokio::test]
async fn rights_of_earlier_versions_are_followed_without_a_gap() -> Result<()> {
    if apiserver::is_left_out() {
        return Ok(());
    }
    // The roles belong to the whole cluster.
    let api = ApiServer::start().await?;
    api.install_crds(&all_crds()).await?;
    let world = World::new(&api, "former").await?;
    let other = api.namespace("former-other").await?;
    let (user, _) = grant(&world.client).await?;
    let first = world.operator();
    let watched = [world.namespace.as_str(), other.as_str()];
    world.create("edge", json!({"contour": {"watchNamespaces": watched}})).await?;
    world.settled(&first, "edge").await?;
    first.stop().await?;

    // As an earlier version left it, on a cluster whose manifest is of then.
    let bindings: Vec<ChildRef> =
        world.children("edge").await?.into_keys().filter(|child| child.kind.is_binding()).collect();
    assert_eq!(bindings.len(), 4, "{bindings:?}");
    for binding in &bindings {
        world.api(binding).delete(&binding.name, &DeleteParams::default()).await?;
    }
    let deployment = world.deployments().get("edge").await?;
    let former = make(&world, &deployment, &watched).await?;
    let contour = world.child(ChildKind::Deployment, "contour-edge");
    let before = world.api(&contour).get(&contour.name).await?.metadata.generation;
    let roles: Api<ClusterRole> = Api::all(world.client.clone());
    for role in FixedRole::ALL {
        roles.delete(role.name(), &DeleteParams::default()).await?;
    }

    let (client, requests) = noted(&api, &user).await?;
    let second = Operator::of(&client, &[&world.namespace], defaults());
    let degraded = world.condition("edge", condition::DEGRADED, true, "RoleMissing").await?;
    for part in FixedRole::ALL.map(FixedRole::name).into_iter().chain(["bundle/install.yaml"]) {
        assert!(degraded.message.contains(part), "{part} is not in {}", degraded.message);
    }
    world.condition("edge", condition::AVAILABLE, true, "Serving").await?;
    envoy_is_healed(&world).await?;
    second.look_again(&world, "edge").await?;
    for child in &former {
        assert!(world.exists(child).await?, "{child} was taken back, and nothing given for it");
    }

    set_roles(&world.client).await?;
    for child in &former {
        world.until(child, false).await?;
    }
    world.complete("edge").await?;
    for binding in &bindings {
        assert!(world.exists(binding).await?, "{binding} is missing");
    }
    let requests = requests.lock().expect("nobody panics with it").clone();
    followed_in_order(&requests, &former, &bindings)?;
    assert_eq!(world.api(&contour).get(&contour.name).await?.metadata.generation, before, "Contour restarts");
    Ok(())
}

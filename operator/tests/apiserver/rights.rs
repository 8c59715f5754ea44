//! What `bundle/install.yaml` allows the operator is enough for a whole life of an installation, and no more than it uses.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver::{self, ApiServer};
use contour_e2e::wait::SOON;
use contour_k8s::{Election, LeaseSettings};
use contour_operator::names::OPERATED_BY;
use contour_operator::status::condition;
use hyper::{Method, Request};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::client::{Body, ClientBuilder};
use kube::{Client, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

use crate::cannot::enforce;
use crate::former;
use crate::lifecycle::told;
use crate::support::{Operator, World, defaults};

/// A right: API group, resource, verb.
type Right = (String, String, String);

/// Where it was used, if in one namespace, and which.
type Used = (Option<String>, Right);

/// The rights of a `ClusterRole`, or of a `Role` in a namespace.
pub(crate) type Given = Vec<(Option<String>, BTreeSet<Right>)>;

/// The rights that no request of the operator shows: the API server asks for them on other occasions.
const UNSEEN: [(&str, &str, &str); 1] = [
    // Owner references that block the deletion of their owner, where OwnerReferencesPermissionEnforcement is on, as on OpenShift.
    ("operator.projectcontour.io", "contourdeployments/finalizers", "update"),
];

/// The rights that rules give.
fn rights(rules: &Value) -> BTreeSet<Right> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let all = rule[field].as_array().into_iter().flatten();
        all.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    // What is for names is a right for each.
                    let names = texts(rule, "resourceNames").into_iter().map(|name| format!("{verb} {name}"));
                    let verbs: Vec<String> = names.collect();
                    let verbs = if verbs.is_empty() { vec![verb] } else { verbs };
                    rights.extend(verbs.into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
                }
            }
        }
    }
    rights
}

/// The rights that a request needs: one that applies may have to create.
fn needed(method: &Method, path: &str, query: &str) -> Vec<Used> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match &parts[..] {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return Vec::new(),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, inner @ ..] if !inner.is_empty() => (Some((*namespace).to_owned()), inner),
        rest => (None, rest),
    };
    let (resource, named) = match rest {
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, sub] => (format!("{resource}/{sub}"), true),
        _ => return Vec::new(),
    };
    let verbs: &[&str] = match method.as_str() {
        "GET" if query.contains("watch=true") => &["watch"],
        "GET" => [&["list"], &["get"]][usize::from(named)],
        "POST" => &["create"],
        "PUT" => &["update"],
        "PATCH" if query.contains("fieldManager") && query.contains("force=true") => &["patch", "create"],
        "PATCH" => &["patch"],
        "DELETE" => &["delete"],
        _ => &[],
    };
    let right = |verb: &&str| (group.to_owned(), resource.clone(), (*verb).to_owned());
    verbs.iter().map(|verb| (namespace.clone(), right(verb))).collect()
}

/// A client with the rights of `user`, and those that its requests have needed so far.
async fn recorded(api: &ApiServer, user: &str) -> Result<(Client, Arc<Mutex<BTreeSet<Used>>>)> {
    let config = api.config_as(user).await?;
    let made: Arc<Mutex<BTreeSet<Used>>> = Arc::default();
    let noting = Arc::clone(&made);
    let note = move |request: Request<Body>| {
        let uri = request.uri();
        let rights = needed(request.method(), uri.path(), uri.query().unwrap_or_default());
        noting.lock().expect("nobody panics with it").extend(rights);
        request
    };
    let client = ClientBuilder::try_from(config)?.with_layer(&MapRequestLayer::new(note)).build();
    Ok((client, made))
}

/// Leads as the operator does, and gives the lease back.
async fn lead(client: &Client, namespace: &str) -> Result<()> {
    let settings = LeaseSettings {
        namespace: namespace.to_owned(),
        name: "contour-operator".to_owned(),
        identity: "operator_1".to_owned(),
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_millis(100),
    };
    let (election, mut leading) = Election::new(client.clone(), settings, contour_k8s::Metrics::default())?;
    let token = CancellationToken::new();
    let running = tokio::spawn(election.run(token.clone()));
    tokio::time::timeout(SOON, leading.wait_for(|leads| *leads)).await??;
    token.cancel();
    Ok(running.await?)
}

/// Applies what the manifest says of rights; returns who has them, and which they are.
pub(crate) async fn grant(client: &Client) -> Result<(String, Given)> {
    let mut given = Given::new();
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
            "Namespace" | "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding" => {
                // The others are for Contour.
                if name == "contour-operator" && types.kind.ends_with("Role") {
                    given.push((object.namespace(), rights(&object.data["rules"])));
                }
                let resource = ApiResource::from_gvk(&types.try_into()?);
                let api: Api<DynamicObject> = match object.namespace() {
                    Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
                    None => Api::all_with(client.clone(), &resource),
                };
                api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;
            }
            _ => {}
        }
    }
    Ok((user.context("the manifest has no account")?, given))
}

#[tokio::test]
async fn the_rights_of_the_manifest_are_enough_and_all_are_used() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "rights").await?;
    let other = api.namespace("rights-other").await?;
    let (user, given) = grant(&world.client).await?;
    let (client, made) = recorded(api, &user).await?;
    lead(&client, "contour-operator").await?;
    let everything = json!({
        "networkPolicies": {},
        "contour": {
            "autoscaling": {"maxReplicas": 3}, "watchNamespaces": [world.namespace, other],
        },
    });
    // That Envoy's pods cannot be made is told in Events, which are read then.
    enforce(&world, json!("baseline")).await?;
    let deployment = world.create("edge", everything).await?;
    // Another operator had it.
    let noted = Patch::Merge(json!({"metadata": {"annotations": {OPERATED_BY: format!("{other}/gone")}}}));
    world.deployments().patch("edge", &PatchParams::default(), &noted).await?;
    let former = former::make(&world, &deployment, &[world.namespace.as_str(), other.as_str()]).await?;
    let operator = Operator::of(&client, &[&world.namespace], defaults());
    world.condition("edge", condition::DEGRADED, true, "FailedCreate").await?;
    enforce(&world, json!(null)).await?;
    world.kubelet.release("envoy-edge").await?;
    world.complete("edge").await?;
    told(&world, "edge", &["FailedCreate", "Recovered"]).await?;
    for child in &former {
        world.until(child, false).await?;
    }
    let mut bound = bound(&world).await?;
    // To the whole cluster, from two namespaces, and from one kind to the other.
    world
        .change(
            "edge",
            json!({"contour": {"watchNamespaces": null}, "networkPolicies": null, "envoy": {"workload": "Deployment"}, "publishing": {"type": "NodePortService"}}),
        )
        .await?;
    world.complete("edge").await?;
    bound.extend(self::bound(&world).await?);
    world.deployments().delete("edge", &DeleteParams::default()).await?;
    world.gone("edge").await?;
    assert_eq!(world.children("edge").await?.keys().collect::<Vec<_>>(), Vec::<&_>::new());
    assert_eq!(operator.sum("contour_operator_errors_total{category=\"Forbidden\"}"), 0);
    let unseen =
        UNSEEN.map(|(group, resource, verb)| (group.to_owned(), resource.to_owned(), verb.to_owned()));
    let made = made.lock().expect("nobody panics with it").clone();
    let idle = idle(&given, made, &bound.into_iter().chain(unseen).collect());
    assert!(idle.is_empty(), "the operator does not use: {idle:?}");
    Ok(())
}

/// What the operator needs for the bindings that it made.
async fn bound(world: &World) -> Result<BTreeSet<Right>> {
    let children = world.children("edge").await?;
    let bindings = children.iter().filter(|(child, _)| child.kind.is_binding());
    let right = |name: &str| {
        ("rbac.authorization.k8s.io".to_owned(), "clusterroles".to_owned(), format!("bind {name}"))
    };
    Ok(bindings.filter_map(|(_, object)| object.data["roleRef"]["name"].as_str().map(right)).collect())
}

/// The rights that nothing used. What a Role gives in a namespace is not needed of a ClusterRole as well.
fn idle(given: &Given, mut made: BTreeSet<Used>, known: &BTreeSet<Right>) -> Vec<Used> {
    let mut idle = Vec::new();
    for (namespace, rights) in given.iter().filter(|(namespace, _)| namespace.is_some()) {
        for right in rights {
            if !made.remove(&(namespace.clone(), right.clone())) && !known.contains(right) {
                idle.push((namespace.clone(), right.clone()));
            }
        }
    }
    let used: BTreeSet<&Right> = made.iter().map(|(_, right)| right).chain(known).collect();
    for (_, rights) in given.iter().filter(|(namespace, _)| namespace.is_none()) {
        idle.extend(rights.iter().filter(|right| !used.contains(right)).map(|right| (None, right.clone())));
    }
    idle
}

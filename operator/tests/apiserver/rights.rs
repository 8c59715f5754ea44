//! What `bundle/install.yaml` allows the operator is enough for a whole life of an installation, and no more than it uses or passes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver::{self, ApiServer};
use contour_e2e::wait::SOON;
use contour_k8s::{Election, LeaseSettings};
use contour_operator::child::ChildKind;
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
use crate::lifecycle::told;
use crate::support::{Operator, World, defaults};

/// A right: API group, resource, verb.
type Right = (String, String, String);

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
                let right = |verb| (group.clone(), resource.clone(), verb);
                rights.extend(texts(rule, "verbs").into_iter().map(right));
            }
        }
    }
    rights
}

/// The rights that a request needs: one that applies may have to create.
fn needed(method: &Method, path: &str, query: &str) -> Vec<Right> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match &parts[..] {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return Vec::new(),
    };
    let rest = match rest {
        ["namespaces", _, inner @ ..] if !inner.is_empty() => inner,
        rest => rest,
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
    verbs.iter().map(|verb| (group.to_owned(), resource.clone(), (*verb).to_owned())).collect()
}

/// A client with the rights of `user`, and those that its requests have needed so far.
async fn recorded(api: &ApiServer, user: &str) -> Result<(Client, Arc<Mutex<BTreeSet<Right>>>)> {
    let config = api.config_as(user).await?;
    let made: Arc<Mutex<BTreeSet<Right>>> = Arc::default();
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
async fn grant(client: &Client) -> Result<(String, BTreeSet<Right>)> {
    let mut given = BTreeSet::new();
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
                given.extend(rights(&object.data["rules"]));
                let resource = ApiResource::from_gvk(&types.try_into()?);
                let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
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
    lead(&client, &world.namespace).await?;
    let operator = Operator::of(&client, &[&world.namespace], defaults());
    let everything = json!({
        "networkPolicies": {},
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
    let mut passed_on = BTreeSet::new();
    // To the whole cluster, from two namespaces, and from one kind to the other.
    world
        .change(
            "edge",
            json!({"contour": {"watchNamespaces": null}, "networkPolicies": null, "envoy": {"workload": "Deployment"}, "publishing": {"type": "NodePortService"}}),
        )
        .await?;
    world.complete("edge").await?;
    for (child, object) in world.children("edge").await? {
        if matches!(child.kind, ChildKind::Role | ChildKind::ClusterRole) {
            passed_on.extend(rights(&object.data["rules"]));
        }
    }
    world.deployments().delete("edge", &DeleteParams::default()).await?;
    world.gone("edge").await?;
    assert_eq!(world.children("edge").await?.keys().collect::<Vec<_>>(), Vec::<&_>::new());
    assert_eq!(operator.sum("contour_operator_errors_total{category=\"Forbidden\"}"), 0);
    let unseen =
        UNSEEN.map(|(group, resource, verb)| (group.to_owned(), resource.to_owned(), verb.to_owned()));
    let made = made.lock().expect("nobody panics with it").clone();
    let known: BTreeSet<Right> = made.into_iter().chain(passed_on).chain(unseen).collect();
    let idle: Vec<&Right> = given.difference(&known).collect();
    assert!(idle.is_empty(), "the operator neither uses nor passes on: {idle:?}");
    Ok(())
}

//! The rights that Contour's stock manifests give are enough, and those that the operator's manifest has for it; missing ones are waited for.

use std::sync::Arc;

use anyhow::Result;
use contour_crds::contour_configuration::ContourConfiguration;
use contour_crds::{HTTPProxy, all_crds};
use contour_e2e::apiserver::{self, ApiServer};
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::{
    ADDRESS_GRACE, ADDRESSES, AddressSource, Election, LeaseSettings, StatusWriter, api_health, configuration,
};
use contour_objects::{Kind, NamespacedName};
use k8s_openapi::api::core::v1::{Event, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Measured, Watching, create, object, proxy, valid};

const USER: &str = "system:serviceaccount:projectcontour:contour";

/// The rules of Contour 1.33's stock roles that concern what this crate does.
async fn grant(client: &Client, namespace: &str) -> Result<()> {
    let read = ["get", "list", "watch"];
    let role = json!({"metadata": {"name": "contour"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps", "namespaces", "secrets", "services"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": read},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"], "verbs": ["create", "get", "update"]},
        {"apiGroups": ["projectcontour.io"], "resources": ["contourconfigurations", "httpproxies", "tlscertificatedelegations"], "verbs": read},
        {"apiGroups": ["projectcontour.io"], "resources": ["httpproxies/status"], "verbs": ["create", "get", "update"]},
    ]});
    Api::<ClusterRole>::all(client.clone()).create(&PostParams::default(), &object(role)).await?;
    let subject = json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER}]);
    let reference = |kind| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "contour"});
    let binding =
        json!({"metadata": {"name": "contour"}, "roleRef": reference("ClusterRole"), "subjects": subject});
    Api::<ClusterRoleBinding>::all(client.clone()).create(&PostParams::default(), &object(binding)).await?;

    let write = ["create", "get", "update"];
    let role = json!({"metadata": {"name": "contour"}, "rules": [
        {"apiGroups": [""], "resources": ["events"], "verbs": write},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": write},
    ]});
    create::<Role>(client, namespace, role).await?;
    let binding = json!({"metadata": {"name": "contour"}, "roleRef": reference("Role"), "subjects": subject});
    create::<RoleBinding>(client, namespace, binding).await?;
    Ok(())
}

/// The operator's manifest.
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundle/operator.yaml");

/// Gives what the operator would: the roles of its manifest, by these bindings.
async fn grant_fixed(client: &Client, namespace: &str, everywhere: bool) -> Result<()> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(MANIFEST)?)?;
    let is_fixed = |document: &&Value| {
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        document["kind"] == "ClusterRole" && name.starts_with("contour-operator-contour")
    };
    for role in documents.iter().filter(is_fixed) {
        Api::<ClusterRole>::all(client.clone()).create(&PostParams::default(), &object(role.clone())).await?;
    }
    let binding = |name: &str, role: &str| {
        json!({
            "metadata": {"name": name},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        })
    };
    create::<RoleBinding>(client, namespace, binding("own", "contour-operator-contour-own-namespace"))
        .await?;
    let namespaces = object(binding("namespaces", "contour-operator-contour-namespaces"));
    let bindings = Api::<ClusterRoleBinding>::all(client.clone());
    bindings.create(&PostParams::default(), &namespaces).await?;
    let served = binding("served", "contour-operator-contour");
    if everywhere {
        bindings.create(&PostParams::default(), &object(served)).await?;
    } else {
        create::<RoleBinding>(client, namespace, served).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_stock_roles_are_enough_and_are_waited_for() -> Result<()> {
    enough(async |client, namespace| grant(client, namespace).await, false).await
}

#[tokio::test]
async fn what_the_operator_gives_for_the_whole_cluster_is_enough() -> Result<()> {
    enough(async |client, namespace| grant_fixed(client, namespace, true).await, false).await
}

#[tokio::test]
async fn what_the_operator_gives_for_namespaces_is_enough() -> Result<()> {
    enough(async |client, namespace| grant_fixed(client, namespace, false).await, true).await
}

/// Does all that Contour does at an API server, `restricted` to one namespace or not, once these rights are given.
async fn enough(grant: impl AsyncFn(&Client, &str) -> Result<()>, restricted: bool) -> Result<()> {
    if apiserver::require().await.is_none() {
        return Ok(());
    }
    let api = ApiServer::start().await?;
    api.install_crds(&all_crds()).await?;
    let (admin, ours) = (api.client().await?, api.client_as(USER).await?);
    let namespace = api.namespace("contour").await?;
    let proxies: Api<HTTPProxy> = Api::namespaced(admin.clone(), &namespace);
    proxies.create(&PostParams::default(), &proxy("site")).await?;
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "site"}, "spec": {"defaultBackend": backend}});
    create::<Ingress>(&admin, &namespace, ingress).await?;
    let service = json!({
        "metadata": {"name": "envoy", "annotations": {ADDRESSES: "192.0.2.1"}},
        "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
    });
    create::<Service>(&admin, &namespace, service).await?;
    create::<ContourConfiguration>(&admin, &namespace, json!({"metadata": {"name": "main"}, "spec": {}}))
        .await?;

    let measured = Measured::new();
    let watched = [namespace.as_str()];
    let watched = if restricted { &watched[..] } else { &[] };
    let mut watching = Watching::start(ours.clone(), watched, &measured.metrics);
    eventually(SOON, || async {
        for kind in Kind::ALL {
            let series = format!("contour_watch_errors_total{{kind=\"{kind}\",reason=\"forbidden\"}}");
            anyhow::ensure!(measured.value(&series) > 0, "{kind} is not forbidden");
        }
        Ok(())
    })
    .await?;
    grant(&admin, &namespace).await?;
    watching.synced_with(&[(Kind::HttpProxy, "site")]).await?;
    api_health(ours.clone()).await?;
    configuration(&ours, &NamespacedName::new(namespace.as_str(), "main")).await?;

    let settings = LeaseSettings::new(&namespace, "pod_1");
    let (election, leading) = Election::new(ours.clone(), settings, measured.metrics.clone())?;
    let token = CancellationToken::new();
    let _stop = token.clone().drop_guard();
    tokio::spawn(election.run(token.clone()));
    let source = AddressSource {
        client: ours.clone(),
        service: NamespacedName::new(namespace.as_str(), "envoy"),
        statuses: Arc::clone(&watching.statuses),
        metrics: measured.metrics.clone(),
        grace: ADDRESS_GRACE,
    };
    tokio::spawn(source.run(token.clone()));
    let statuses = Arc::clone(&watching.statuses);
    tokio::spawn(StatusWriter::new(ours, statuses, leading, measured.metrics.clone()).run(token));
    watching.statuses.offer([valid(&namespace, "site")]);
    let ingresses: Api<Ingress> = Api::namespaced(admin.clone(), &namespace);
    eventually(SOON, || async {
        let status = proxies.get("site").await?.status.and_then(|s| s.current_status);
        anyhow::ensure!(status.as_deref() == Some("valid"), "{status:?}");
        let ingress = serde_json::to_value(ingresses.get("site").await?.status)?;
        anyhow::ensure!(ingress["loadBalancer"]["ingress"] == json!([{"ip": "192.0.2.1"}]), "{ingress}");
        let events = Api::<Event>::namespaced(admin.clone(), &namespace).list(&ListParams::default()).await?;
        anyhow::ensure!(
            events.iter().any(|e| e.message.as_deref() == Some("pod_1 became leader")),
            "no Event"
        );
        Ok(())
    })
    .await
}

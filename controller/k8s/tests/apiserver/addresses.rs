//! Where Envoys are reached, in the statuses of what they serve.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contour_crds::contour_configuration::ContourConfiguration;
use contour_crds::{HTTPProxy, all_crds};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::{
    ADDRESSES, AddressSource, Metrics, StatusWriter, Statuses, always_leading, configuration, parse_addresses,
};
use contour_objects::{Kind, NamespacedName};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Measured, Watching, create, proxy, valid};

/// An Ingress of this class, with things that are not ours.
fn ingress(name: &str, class: Option<&str>) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"team": "web"}, "annotations": {"example.com/note": "kept"}},
        "spec": {"ingressClassName": class, "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
    })
}

/// A running writer that leads, until the guard is dropped.
fn write(client: &Client, statuses: &Arc<Statuses>, metrics: &Metrics) -> DropGuard {
    let token = CancellationToken::new();
    let writer = StatusWriter::new(client.clone(), Arc::clone(statuses), always_leading(), metrics.clone());
    tokio::spawn(writer.run(token.clone()));
    token.drop_guard()
}

/// Follows Service `envoy`, until the guard is dropped.
fn follow(client: &Client, namespace: &str, statuses: &Arc<Statuses>, metrics: &Metrics) -> DropGuard {
    let source = AddressSource {
        client: client.clone(),
        service: NamespacedName::new(namespace, "envoy"),
        statuses: Arc::clone(statuses),
        metrics: metrics.clone(),
        grace: Duration::from_millis(300),
    };
    let token = CancellationToken::new();
    tokio::spawn(source.run(token.clone()));
    token.drop_guard()
}

/// The objects of a test's namespace.
struct Objects {
    proxies: Api<HTTPProxy>,
    ingresses: Api<Ingress>,
    services: Api<Service>,
}

impl Objects {
    fn of(client: &Client, namespace: &str) -> Self {
        Self {
            proxies: Api::namespaced(client.clone(), namespace),
            ingresses: Api::namespaced(client.clone(), namespace),
            services: Api::namespaced(client.clone(), namespace),
        }
    }

    async fn ingress(&self, name: &str) -> Result<Value> {
        Ok(named(&serde_json::to_value(self.ingresses.get(name).await?)?))
    }

    async fn proxy(&self, name: &str) -> Result<Value> {
        Ok(named(&serde_json::to_value(self.proxies.get(name).await?)?))
    }

    /// Waits until the Ingress and the HTTPProxy name these addresses.
    async fn until(&self, ingress: &str, proxy: &str, addresses: &Value) -> Result<()> {
        eventually(SOON, || async {
            let (ingress, proxy) = (self.ingress(ingress).await?, self.proxy(proxy).await?);
            ensure!(ingress == *addresses && proxy == *addresses, "{ingress} and {proxy}");
            Ok(())
        })
        .await
    }
}

/// The addresses in a status.
fn named(object: &Value) -> Value {
    object.pointer("/status/loadBalancer/ingress").cloned().unwrap_or(json!([]))
}

async fn merge<T: Clone + DeserializeOwned + std::fmt::Debug>(
    api: &Api<T>,
    name: &str,
    patch: Value,
) -> Result<()> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn merge_status<T: Clone + DeserializeOwned + std::fmt::Debug>(
    api: &Api<T>,
    name: &str,
    ingress: Value,
) -> Result<()> {
    let patch = json!({"status": {"loadBalancer": {"ingress": ingress}}});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

#[tokio::test]
async fn statuses_name_the_addresses_of_the_service() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("addresses").await?;
    let objects = Objects::of(&client, &namespace);
    let made = create::<Ingress>(&client, &namespace, ingress("ours", Some("contour"))).await?;
    let theirs = create::<Ingress>(&client, &namespace, ingress("theirs", Some("nginx"))).await?;
    for name in ["site", "elsewhere"] {
        objects.proxies.create(&PostParams::default(), &proxy(name)).await?;
    }
    let measured = Measured::new();
    let mut watching = Watching::start(client.clone(), &[&namespace], &measured.metrics);
    let known = [(Kind::Ingress, "ours"), (Kind::Ingress, "theirs"), (Kind::HttpProxy, "site")];
    watching.synced_with(&known).await?;
    let statuses = Arc::clone(&watching.statuses);
    let _writer = write(&client, &statuses, &measured.metrics);
    let _source = follow(&client, &namespace, &statuses, &measured.metrics);

    // The Service may come later than all else, and its addresses later still.
    let service =
        json!({"metadata": {"name": "envoy"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    create::<Service>(&client, &namespace, service).await?;
    let balancer = json!([{"ip": "192.0.2.1", "ipMode": "VIP"}, {"hostname": "lb.example.com"}]);
    merge_status(&objects.services, "envoy", balancer.clone()).await?;
    let plain = json!([{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]);
    eventually(SOON, || async {
        let ingress = objects.ingress("ours").await?;
        ensure!(ingress == plain, "{ingress}");
        Ok(())
    })
    .await?;
    let now = objects.ingresses.get("ours").await?;
    assert_eq!(
        (now.labels(), now.annotations()),
        (made.labels(), made.annotations()),
        "what is not ours stays"
    );
    assert_eq!((&now.spec, now.metadata.generation), (&made.spec, made.metadata.generation));

    // One write tells both that it is valid and where it is reached.
    assert_eq!(measured.updates(""), 0);
    statuses.offer([valid(&namespace, "site")]);
    eventually(SOON, || async {
        ensure!(
            objects
                .proxies
                .get("site")
                .await?
                .status
                .is_some_and(|s| s.current_status.as_deref() == Some("valid"))
        );
        Ok(())
    })
    .await?;
    assert_eq!(objects.proxy("site").await?, balancer);
    assert_eq!((measured.updates(""), measured.updates("noop")), (1, 0));

    // The annotation goes first; what changes nothing is not written.
    merge(&objects.services, "envoy", json!({"metadata": {"labels": {"changes": "nothing"}}})).await?;
    merge(&objects.services, "envoy", json!({"metadata": {"annotations": {ADDRESSES: "2001:db8::1"}}}))
        .await?;
    let annotated = json!([{"ip": "2001:db8::1"}]);
    objects.until("ours", "site", &annotated).await?;
    assert_eq!((measured.updates(""), measured.updates("noop")), (2, 0));

    // Nobody's business but its owner's, from first to last.
    assert_eq!(objects.ingresses.get("theirs").await?.resource_version(), theirs.resource_version());
    assert_eq!(objects.proxy("elsewhere").await?, json!([]), "nobody said that it is ours");

    // Without the Service there is nothing to reach.
    objects.services.delete("envoy", &DeleteParams::default()).await?;
    objects.until("ours", "site", &json!([])).await?;
    let site = objects.proxies.get("site").await?;
    assert_eq!(site.status.and_then(|s| s.current_status).as_deref(), Some("valid"));
    Ok(())
}

#[tokio::test]
async fn addresses_of_others_are_neither_fought_over_nor_lost() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("contested").await?;
    let objects = Objects::of(&client, &namespace);
    let foreign = json!([{"ip": "198.51.100.7"}]);
    for name in ["contested", "quiet", "deleted"] {
        create::<Ingress>(&client, &namespace, ingress(name, None)).await?;
    }
    merge_status(&objects.ingresses, "contested", foreign.clone()).await?;
    objects.proxies.create(&PostParams::default(), &proxy("site")).await?;
    let measured = Measured::new();
    let mut watching = Watching::start(client.clone(), &[&namespace], &measured.metrics);
    let ingresses = ["contested", "quiet", "deleted"].map(|name| (Kind::Ingress, name));
    watching.synced_with(&[&ingresses[..], &[(Kind::HttpProxy, "site")]].concat()).await?;
    let statuses = Arc::clone(&watching.statuses);
    let _writer = write(&client, &statuses, &measured.metrics);
    let following = tokio::spawn(async move { while watching.next().await.is_ok() {} });
    let updates =
        |outcome: &str| measured.value(&format!("contour_status_update{outcome}_total{{kind=\"Ingress\"}}"));

    // No address was ever told: what statuses say stays, by whomever it is.
    statuses.point_to(&[]);
    statuses.offer([valid(&namespace, "site")]);
    eventually(SOON, || async {
        ensure!(measured.updates("success") == 1);
        Ok(())
    })
    .await?;
    assert_eq!((objects.ingress("contested").await?, updates("")), (foreign.clone(), 0));

    let ours = json!([{"ip": "192.0.2.1"}]);
    statuses.point_to(&parse_addresses("192.0.2.1")?);
    objects.until("contested", "site", &ours).await?;
    objects.until("quiet", "site", &ours).await?;

    // Somebody takes one over: a loop of two writers helps nobody.
    merge_status(&objects.ingresses, "contested", foreign.clone()).await?;
    let version = objects.ingresses.get("contested").await?.resource_version();
    objects.ingresses.delete("deleted", &DeleteParams::default()).await?;
    create::<Ingress>(&client, &namespace, ingress("later", None)).await?;
    objects.until("later", "site", &ours).await?;
    assert_eq!(objects.ingresses.get("contested").await?.resource_version(), version);

    // What is no longer ours is not taken away with ours.
    statuses.point_to(&[]);
    objects.until("quiet", "site", &json!([])).await?;
    objects.until("later", "site", &json!([])).await?;
    assert_eq!(objects.ingress("contested").await?, foreign);

    // An edit of the object, or a new address, sets it right.
    statuses.point_to(&parse_addresses("192.0.2.1")?);
    objects.until("contested", "site", &ours).await?;
    merge_status(&objects.ingresses, "contested", foreign).await?;
    merge(
        &objects.ingresses,
        "contested",
        json!({"spec": {"defaultBackend": {"service": {"port": {"number": 81}}}}}),
    )
    .await?;
    objects.until("contested", "site", &ours).await?;
    assert_eq!(updates("_failed"), 0);
    following.abort();
    Ok(())
}

#[tokio::test]
async fn a_configuration_may_come_a_moment_later() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("configuration").await?;
    let name = NamespacedName::new(namespace.as_str(), "main");
    let reading = tokio::spawn({
        let client = client.clone();
        async move { configuration(&client, &name).await }
    });
    let spec = json!({"metadata": {"name": "main"}, "spec": {"envoy": {"network": {"adminPort": 0}}}});
    create::<ContourConfiguration>(&client, &namespace, spec).await?;
    let spec = tokio::time::timeout(SOON, reading).await???;
    let network = spec.envoy.context("an envoy")?.network.context("a network")?;
    assert_eq!(network.admin_port, Some(0));
    Ok(())
}

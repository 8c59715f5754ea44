//! An application, published by an HTTPProxy and by an Ingress.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use contour_e2e::wait::eventually;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use serde_json::Value;

use crate::objects::{HTTP_PROXY, INGRESS};
use crate::traffic::Probe;
use crate::world::{CHANGE, ROLLOUT, World};

/// Where the application and its routes are.
pub(crate) const APPS: &str = "e2e-apps";

/// The hosts of the class `contour`: one of an HTTPProxy, one of an Ingress.
pub(crate) const HOSTS: [&str; 2] = ["www.example.com", "shop.example.com"];

/// Both hosts, over both ports of all nodes: what has to be answered at any time.
pub(crate) fn probes(world: &World) -> Vec<Probe> {
    world.nodes.iter().flat_map(|node| probes_of(world, node)).collect()
}

/// Both hosts, over both ports of one node.
pub(crate) fn probes_of(world: &World, node: &crate::world::Place) -> Vec<Probe> {
    HOSTS.iter().flat_map(|host| [node.http(80, host), world.https(node, 443, host)]).collect()
}

/// Applies the application and its routes.
pub(crate) async fn application(world: &World) -> Result<()> {
    let apps = include_str!("../manifests/apps.yaml").replace("ECHO_IMAGE", &world.images.echo);
    world.objects.apply(&apps).await?;
    certificate(world).await
}

/// The application is there: 200 on ports 80 and 443 of every node.
pub(crate) async fn traffic(world: &World) -> Result<()> {
    application(world).await?;
    for probe in probes(world) {
        probe.until_answered().await?;
    }
    Ok(())
}

/// The certificate of the hosts, as a Secret.
async fn certificate(world: &World) -> Result<()> {
    let leaf = world.ca.leaf(&HOSTS)?;
    let data = [("tls.crt", leaf.cert_pem), ("tls.key", leaf.key_pem)];
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some("example-com".to_owned()),
            namespace: Some(APPS.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.map(|(key, pem)| (key.to_owned(), ByteString(pem.into_bytes()))).into()),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(world.objects.client(), APPS);
    secrets.patch("example-com", &PatchParams::apply("contour-e2e").force(), &Patch::Apply(&secret)).await?;
    Ok(())
}

/// Both routes report that they are valid, and the addresses of all nodes.
pub(crate) async fn statuses(world: &World) -> Result<()> {
    eventually(CHANGE, || async {
        let proxy = world.objects.get(HTTP_PROXY, APPS, "www").await?;
        anyhow::ensure!(
            proxy["status"]["currentStatus"] == "valid",
            "the HTTPProxy's status is {}",
            proxy["status"]
        );
        Ok(())
    })
    .await?;
    until_addresses(world, &world.addresses()).await
}

/// Waits until the statuses of both routes have exactly these addresses.
pub(crate) async fn until_addresses(world: &World, addresses: &[String]) -> Result<()> {
    let expected: BTreeSet<&str> = addresses.iter().map(String::as_str).collect();
    for (kind, name) in [(HTTP_PROXY, "www"), (INGRESS, "shop")] {
        eventually(ROLLOUT, || async {
            let object = world.objects.get(kind, APPS, name).await?;
            let ingress = &object["status"]["loadBalancer"]["ingress"];
            let reported: BTreeSet<&str> =
                ingress.as_array().into_iter().flatten().filter_map(|entry| entry["ip"].as_str()).collect();
            anyhow::ensure!(reported == expected, "its addresses are {reported:?} and not {expected:?}");
            Ok(())
        })
        .await
        .with_context(|| format!("{} {name}", kind.1))?;
    }
    Ok(())
}

/// The generation and the whole status of a route: what nobody but the controller of its class may change.
pub(crate) async fn route_state(world: &World) -> Result<Value> {
    let proxy = world.objects.get(HTTP_PROXY, APPS, "www").await?;
    Ok(serde_json::json!([proxy["metadata"]["generation"], proxy["status"]]))
}

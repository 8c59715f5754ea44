//! Connections that died without a sign, and definitions that went away and came back.

use std::time::Duration;

use anyhow::Result;
use contour_crds::{HTTPProxy, all_crds};
use contour_e2e::apiserver::{self, ApiServer};
use contour_e2e::relay::Relay;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::{ClientSource, HungRequests, connect};
use contour_objects::{Event, Kind, Object};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::support::{Measured, Watching, create, kind_of, proxy};

/// Half a minute, and as much again for a machine with other things to do.
const BLIND: Duration = Duration::from_mins(1);

#[tokio::test]
async fn dead_connections_are_noticed_and_nothing_is_listed_again() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let direct = api.client().await?;
    let namespace = api.namespace("dead").await?;
    let relay = Relay::to(api).await?;
    let client = connect(&ClientSource::Kubeconfig(relay.kubeconfig()), &HungRequests::default()).await?;
    let measured = Measured::new();
    let mut watching = Watching::start(client.clone(), &[&namespace], &measured.metrics);
    watching.synced_with(&[]).await?;
    // Connections wait to be used again: they will be as dead as those of the watches.
    let version = || client.apiserver_version();
    for answered in futures::future::join_all([version(), version(), version(), version()]).await {
        answered?;
    }

    relay.silence();
    let service = json!({"metadata": {"name": "meanwhile"}, "spec": {"ports": [{"port": 80}]}});
    create::<Service>(&direct, &namespace, service).await?;
    Api::<HTTPProxy>::namespaced(direct, &namespace).create(&PostParams::default(), &proxy("site")).await?;
    let mut told = Vec::new();
    while told.len() < 2 {
        let event = watching.next_within(BLIND).await?;
        assert!(matches!(event, Event::Apply(Object::Service(_) | Object::HttpProxy(_))), "{event:?}");
        told.push(kind_of(&event));
    }
    assert!(told.contains(&Kind::Service) && told.contains(&Kind::HttpProxy), "{told:?}");
    client.apiserver_version().await?;
    for kind in Kind::ALL {
        let lists = measured.value(&format!("contour_watch_lists_total{{kind=\"{}\"}}", kind.as_str()));
        assert_eq!(lists, 1, "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn a_definition_that_comes_back_is_taken_up() -> Result<()> {
    if apiserver::require().await.is_none() {
        return Ok(());
    }
    let api = ApiServer::start().await?;
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("defined").await?;
    let proxies: Api<HTTPProxy> = Api::namespaced(client.clone(), &namespace);
    proxies.create(&PostParams::default(), &proxy("before")).await?;
    let measured = Measured::new();
    let mut watching = Watching::start(client.clone(), &[&namespace], &measured.metrics);
    watching.synced_with(&[(Kind::HttpProxy, "before")]).await?;

    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.delete("httpproxies.projectcontour.io", &DeleteParams::default()).await?;
    watching.until(Kind::HttpProxy, &[]).await?;
    // As long as it takes pauses that grow to be long.
    eventually(2 * SOON, || async {
        let missing = "contour_watch_errors_total{kind=\"HTTPProxy\",reason=\"not_installed\"}";
        let asked = measured.value(missing);
        anyhow::ensure!(asked >= 6, "asked for it {asked} times");
        Ok(())
    })
    .await?;
    api.install_crds(&all_crds()).await?;
    eventually(SOON, || async { Ok(proxies.create(&PostParams::default(), &proxy("after")).await?) }).await?;
    watching.until(Kind::HttpProxy, &["after"]).await?;
    Ok(())
}

//! Watches tell what exists, atomically.

use std::sync::Arc;

use anyhow::Result;
use contour_crds::{HTTPProxy, all_crds};
use contour_e2e::apiserver::{self, ApiServer};
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::{Sources, SourcesError, StatusWriter};
use contour_objects::{Event, Kind, Object, Scope};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{Line, Measured, Watching, create, names, object, proxy};

fn service(name: &str) -> serde_json::Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
}

#[tokio::test]
async fn a_list_is_one_event_and_changes_follow() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let (ours, other) = (api.namespace("watched").await?, api.namespace("other").await?);
    let proxies: Api<HTTPProxy> = Api::namespaced(client.clone(), &ours);
    proxies.create(&PostParams::default(), &proxy("site")).await?;
    for name in ["one", "two"] {
        create::<Service>(&client, &ours, service(name)).await?;
    }
    create::<Service>(&client, &other, service("elsewhere")).await?;

    let mut watching = Watching::start(client.clone(), &[&ours], &Measured::new().metrics);
    assert_eq!(watching.scopes.len(), Kind::ALL.len());
    watching
        .synced_with(&[(Kind::HttpProxy, "site"), (Kind::Service, "one"), (Kind::Service, "two")])
        .await?;
    assert_eq!(watching.known(Kind::HttpProxy), ["site"]);
    assert_eq!(watching.known(Kind::Service), ["one", "two"]);
    assert_eq!(watching.known(Kind::Namespace), [ours.as_str()]);
    assert!(watching.known(Kind::Ingress).is_empty() && watching.known(Kind::Secret).is_empty());

    create::<Service>(&client, &other, service("elsewhere-too")).await?;
    create::<Service>(&client, &ours, service("three")).await?;
    let Event::Apply(Object::Service(made)) = watching.next().await? else { panic!("a Service was made") };
    assert_eq!(&*made.name.name, "three");
    proxies.delete("site", &DeleteParams::default()).await?;
    let Event::Delete(gone) = watching.next().await? else { panic!("an HTTPProxy was deleted") };
    assert_eq!(gone.to_string(), format!("HTTPProxy {ours}/site"));
    watching.stop().await?;
    Ok(())
}

#[tokio::test]
async fn without_namespaces_everything_is_watched() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("anywhere").await?;
    create::<Service>(&client, &namespace, service("somewhere")).await?;
    let mut watching = Watching::start(client, &[], &Measured::new().metrics);
    // Other tests make objects at the same time.
    assert_eq!(watching.scopes.len(), Kind::ALL.len());
    assert!(watching.scopes.iter().all(|scope| scope.namespace.is_none()));
    watching.synced_with(&[(Kind::Service, "somewhere"), (Kind::Namespace, &namespace)]).await?;
    Ok(())
}

#[tokio::test]
async fn secrets_of_no_use_are_never_sent() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("secrets").await?;
    let secret = |name: &str, type_: &str| json!({"metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "x"}}, "type": type_});
    let useless = ["helm.sh/release.v1", "kubernetes.io/service-account-token"];
    for (n, type_) in useless.into_iter().enumerate() {
        create::<Secret>(&client, &namespace, secret(&format!("before-{n}"), type_)).await?;
    }
    create::<Secret>(&client, &namespace, secret("certificate", "Opaque")).await?;

    let mut watching = Watching::start(client.clone(), &[&namespace], &Measured::new().metrics);
    watching.synced_with(&[(Kind::Secret, "certificate")]).await?;
    assert_eq!(watching.known(Kind::Secret), ["certificate"]);
    for (n, type_) in useless.into_iter().enumerate() {
        create::<Secret>(&client, &namespace, secret(&format!("after-{n}"), type_)).await?;
    }
    create::<Secret>(&client, &namespace, secret("another", "Opaque")).await?;
    let Event::Apply(next) = watching.next().await? else { panic!("a Secret was made") };
    assert_eq!(names(&[next]), ["another"]);
    Ok(())
}

#[tokio::test]
async fn a_short_interruption_loses_nothing() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let direct = api.client().await?;
    let namespace = api.namespace("interrupted").await?;
    let line = Line::to(api).await?;
    let measured = Measured::new();
    let mut watching = Watching::start(line.client(api).await?, &[&namespace], &measured.metrics);
    watching.synced_with(&[]).await?;
    line.cut();
    create::<Service>(&direct, &namespace, service("meanwhile")).await?;
    line.mend();
    let Event::Apply(next) = watching.next().await? else { panic!("the watch goes on where it ended") };
    assert_eq!(names(&[next]), ["meanwhile"]);
    assert_eq!(measured.value("contour_watch_lists_total{kind=\"Service\"}"), 1);
    Ok(())
}

#[tokio::test]
async fn after_a_long_interruption_one_event_tells_what_is_left() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let direct = api.client().await?;
    let namespace = api.namespace("expired").await?;
    // Not Services: the server's memory of built-in kinds reaches back to its start.
    let proxies: Api<HTTPProxy> = Api::namespaced(direct, &namespace);
    for name in ["goes", "stays"] {
        proxies.create(&PostParams::default(), &proxy(name)).await?;
    }
    let line = Line::to(api).await?;
    let measured = Measured::new();
    let mut watching = Watching::start(line.client(api).await?, &[&namespace], &measured.metrics);
    watching.synced_with(&[(Kind::HttpProxy, "goes"), (Kind::HttpProxy, "stays")]).await?;

    line.cut();
    proxies.delete("goes", &DeleteParams::default()).await?;
    proxies.create(&PostParams::default(), &proxy("comes")).await?;
    line.forget();
    line.mend();

    let Event::Replace(scope, _) = watching.next_of(Kind::HttpProxy).await? else {
        panic!("what happened meanwhile is told at once")
    };
    assert_eq!(scope, Scope { kind: Kind::HttpProxy, namespace: Some(namespace.as_str().into()) });
    watching.until(Kind::HttpProxy, &["comes", "stays"]).await?;
    assert_eq!(measured.value("contour_watch_errors_total{kind=\"HTTPProxy\",reason=\"expired\"}"), 1);
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_stream_lists_is_asked_for_pages() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let namespace = api.namespace("pages").await?;
    create::<Service>(&api.client().await?, &namespace, service("listed")).await?;
    let line = Line::to(api).await?;
    line.reject_streams();
    let measured = Measured::new();
    let mut watching = Watching::start(line.client(api).await?, &[&namespace], &measured.metrics);
    watching.synced_with(&[(Kind::Service, "listed")]).await?;
    assert_eq!(measured.value("contour_watch_errors_total{kind=\"Service\",reason=\"refused\"}"), 1);
    create::<Service>(&api.client().await?, &namespace, service("watched")).await?;
    let Event::Apply(next) = watching.next().await? else { panic!("a Service was made") };
    assert_eq!(names(&[next]), ["watched"]);
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_is_told_to_be_gone() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let mut watching = Watching::start(api.client().await?, &["absent"], &Measured::new().metrics);
    let Event::Delete(gone) = watching.next_of(Kind::Namespace).await? else { panic!("it does not exist") };
    assert_eq!(gone.to_string(), "Namespace absent");
    let Event::Replace(_, none) = watching.next_of(Kind::Namespace).await? else {
        panic!("the list is complete")
    };
    assert!(none.is_empty());
    Ok(())
}

#[tokio::test]
async fn watching_for_nobody_is_an_error() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let sources = Sources {
        client: api.client().await?,
        watch_namespaces: ["absent".to_owned()].into(),
        settings: contour_graph::Settings::default(),
        statuses: Arc::default(),
        metrics: Measured::new().metrics,
    };
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let ended = timeout(SOON, sources.run(sender, CancellationToken::new())).await?;
    assert!(matches!(ended, Err(SourcesError::Closed)), "{ended:?}");
    Ok(())
}

/// The definition of HTTPProxy as a careless administrator could leave it: with any specification allowed.
fn lax_crds()
-> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> {
    let mut crds = all_crds();
    for crd in crds.iter_mut().filter(|crd| crd.spec.names.kind == "HTTPProxy") {
        for version in &mut crd.spec.versions {
            let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
            let properties =
                schema.and_then(|schema| schema.properties.as_mut()).expect("a structural schema");
            let anything = JSONSchemaProps {
                x_kubernetes_preserve_unknown_fields: Some(true),
                ..JSONSchemaProps::default()
            };
            properties.insert("spec".to_owned(), anything);
        }
    }
    crds
}

#[tokio::test]
async fn a_missing_crd_is_waited_for_and_an_unreadable_object_harms_only_itself() -> Result<()> {
    if apiserver::require().await.is_none() {
        return Ok(());
    }
    let api = ApiServer::start().await?;
    let client = api.client().await?;
    let namespace = api.namespace("lax").await?;
    let measured = Measured::new();
    let mut watching = Watching::start(client.clone(), &[&namespace], &measured.metrics);
    eventually(SOON, || async {
        let missing = "contour_watch_errors_total{kind=\"HTTPProxy\",reason=\"not_installed\"}";
        anyhow::ensure!(measured.value(missing) > 0);
        Ok(())
    })
    .await?;

    api.install_crds(&lax_crds()).await?;
    let kind = ApiResource::erase::<HTTPProxy>(&());
    let proxies: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind);
    let odd = |name: &str, routes: serde_json::Value| -> DynamicObject {
        object(json!({
            "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy",
            "metadata": {"name": name}, "spec": {"routes": routes},
        }))
    };
    // The first answers of a new CRD may come from a time before it was served everywhere.
    eventually(SOON, || async {
        Ok(proxies.create(&PostParams::default(), &odd("bad", json!("many"))).await?)
    })
    .await?;
    proxies.create(&PostParams::default(), &odd("good", json!([]))).await?;
    loop {
        match watching.next_of(Kind::HttpProxy).await? {
            Event::Replace(_, objects) if names(&objects) == ["good"] => break,
            Event::Replace(_, objects) => assert_eq!(names(&objects), Vec::<String>::new()),
            Event::Delete(bad) => assert_eq!(&*bad.name.name, "bad"),
            Event::Apply(good) => {
                assert_eq!(names(&[good]), ["good"]);
                break;
            }
        }
    }
    assert!(measured.value("contour_unreadable_objects_total{kind=\"HTTPProxy\"}") > 0);

    let token = CancellationToken::new();
    let _stop = token.clone().drop_guard();
    let statuses = Arc::clone(&watching.statuses);
    let leading = contour_k8s::always_leading();
    tokio::spawn(StatusWriter::new(client, statuses, leading, measured.metrics.clone()).run(token));
    let status = eventually(SOON, || async {
        let bad = proxies.get("bad").await?;
        anyhow::ensure!(bad.data["status"]["currentStatus"] == "invalid", "{}", bad.data["status"]);
        Ok(bad.data["status"].clone())
    })
    .await?;
    let error = &status["conditions"][0]["errors"][0];
    assert_eq!(error["reason"], "ObjectNotReadable");
    assert!(error["message"].as_str().unwrap().contains("\"many\""), "{error}");
    Ok(())
}

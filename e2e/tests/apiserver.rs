//! The shared kube-apiserver.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;
use contour_e2e::apiserver;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{from_value, json};

fn widgets() -> CustomResourceDefinition {
    from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.e2e.example"},
        "spec": {"group": "e2e.example", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer", "minimum": 1}}}}}}}]},
    }))
    .expect("the definition above is well-formed")
}

#[tokio::test]
async fn tests_have_namespaces_of_their_own() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let (one, two) = (api.namespace("parts").await?, api.namespace("parts").await?);
    assert!(one.starts_with("parts-") && two.starts_with("parts-") && one != two);
    let client = api.client().await?;
    assert_eq!(Api::<Namespace>::all(client.clone()).get(&one).await?.metadata.name, Some(one.clone()));
    let version = client.apiserver_version().await?;
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "36"), "{version:?}");
    Ok(())
}

#[tokio::test]
async fn a_definition_is_enforced_as_soon_as_it_is_installed() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&[widgets()]).await?;
    api.install_crds(&[widgets()]).await?;
    let namespace = api.namespace("widgets").await?;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("e2e.example", "v1", "Widget"));
    let widgets: Api<DynamicObject> = Api::namespaced_with(api.client().await?, &namespace, &kind);
    let create = async |size: i32| {
        let widget = DynamicObject::new(&format!("w{size}"), &kind).data(json!({"spec": {"size": size}}));
        widgets.create(&PostParams::default(), &widget).await
    };
    assert_eq!(create(1).await?.data["spec"]["size"], 1);
    assert!(create(0).await.unwrap_err().to_string().contains("greater than or equal to 1"));
    Ok(())
}

#[tokio::test]
async fn users_have_no_rights_until_they_get_some() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let namespace = api.namespace("rights").await?;
    let nobody = api.client_as("system:serviceaccount:rights:nobody").await?;
    let error = Api::<ConfigMap>::namespaced(nobody, &namespace).get("any").await.unwrap_err();
    assert!(error.to_string().contains("cannot get resource \"configmaps\""), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_kubeconfig_is_for_its_owner_only() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let mode = std::fs::metadata(api.kubeconfig())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::read_to_string(api.kubeconfig())?.contains(api.address()));
    Ok(())
}

//! Objects as users see them: JSON from YAML, of whatever kinds the cluster serves.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_e2e::wait::{SOON, eventually};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PropagationPolicy,
};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// Label of everything that a run makes, so that the next one can tell what it may remove.
pub(crate) const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "contour-e2e");

/// An `apiVersion` and a `kind`.
pub(crate) type Kind = (&'static str, &'static str);

pub(crate) const CONTOUR_DEPLOYMENT: Kind = ("operator.projectcontour.io/v1alpha1", "ContourDeployment");
pub(crate) const HTTP_PROXY: Kind = ("projectcontour.io/v1", "HTTPProxy");
pub(crate) const INGRESS: Kind = ("networking.k8s.io/v1", "Ingress");
pub(crate) const DEPLOYMENT: Kind = ("apps/v1", "Deployment");
pub(crate) const DAEMON_SET: Kind = ("apps/v1", "DaemonSet");
pub(crate) const CONFIG_MAP: Kind = ("v1", "ConfigMap");
pub(crate) const SERVICE: Kind = ("v1", "Service");
pub(crate) const POD: Kind = ("v1", "Pod");
pub(crate) const NAMESPACE: Kind = ("v1", "Namespace");

/// The cluster's objects.
pub(crate) struct Objects {
    client: Client,
    kinds: Mutex<HashMap<GroupVersionKind, (ApiResource, Scope)>>,
}

impl Objects {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, kinds: Mutex::default() }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Applies every document of a manifest, in order, and labels each with [`PART_OF`].
    pub(crate) async fn apply(&self, manifest: &str) -> Result<()> {
        for mut object in documents(manifest)? {
            object.labels_mut().insert(PART_OF.0.to_owned(), PART_OF.1.to_owned());
            let what = describe(&object);
            let api = self.api_of(&object).await?;
            let apply = PatchParams::apply("contour-e2e").force();
            api.patch(&object.name_any(), &apply, &Patch::Apply(&object))
                .await
                .with_context(|| format!("the cluster refuses {what}"))?;
        }
        Ok(())
    }

    /// Deletes every document of a manifest, in reverse order; returns when all are gone.
    pub(crate) async fn delete(&self, manifest: &str, within: Duration) -> Result<()> {
        let mut deleted = Vec::new();
        for object in documents(manifest)?.into_iter().rev() {
            let api = self.api_of(&object).await?;
            absent_is_fine(api.delete(&object.name_any(), &DeleteParams::background()).await)?;
            deleted.push((api, object));
        }
        for (api, object) in deleted {
            eventually(within, || async {
                let left = api.get_opt(&object.name_any()).await?;
                anyhow::ensure!(left.is_none(), "{} is still there: {}", describe(&object), json!(left));
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// One object, as JSON.
    pub(crate) async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Value> {
        let (resource, scope) = self.kind(&gvk(kind)?).await?;
        let object = self
            .api(&resource, &scope, Some(namespace))
            .get(name)
            .await
            .with_context(|| format!("no {} {namespace}/{name}", kind.1))?;
        Ok(serde_json::to_value(object)?)
    }

    /// Merges a change into one object.
    pub(crate) async fn merge(&self, kind: Kind, namespace: &str, name: &str, change: &Value) -> Result<()> {
        let (resource, scope) = self.kind(&gvk(kind)?).await?;
        let api = self.api(&resource, &scope, Some(namespace));
        api.patch(name, &PatchParams::default(), &Patch::Merge(change))
            .await
            .with_context(|| format!("cannot change {} {namespace}/{name}", kind.1))?;
        Ok(())
    }

    /// Asks for an object's deletion, and does not wait for it.
    pub(crate) async fn begin_delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<()> {
        self.ask_to_delete(kind, namespace, name, &DeleteParams::background()).await
    }

    /// Asks for an object's deletion that leaves what belongs to it, as `kubectl delete --cascade=orphan` does.
    pub(crate) async fn begin_orphaning(&self, kind: Kind, namespace: &str, name: &str) -> Result<()> {
        let orphan = Some(PropagationPolicy::Orphan);
        let params = DeleteParams { propagation_policy: orphan, ..DeleteParams::default() };
        self.ask_to_delete(kind, namespace, name, &params).await
    }

    async fn ask_to_delete(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        params: &DeleteParams,
    ) -> Result<()> {
        let (resource, scope) = self.kind(&gvk(kind)?).await?;
        let api = self.api(&resource, &scope, Some(namespace));
        absent_is_fine(api.delete(name, params).await)
    }

    /// The objects of a kind in all namespaces that have these labels; none of a kind that the cluster does not know.
    pub(crate) async fn list(&self, kind: Kind, labels: &str) -> Result<Vec<DynamicObject>> {
        let Ok((resource, _)) = discovery::pinned_kind(&self.client, &gvk(kind)?).await else {
            return Ok(Vec::new());
        };
        let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        Ok(all.list(&ListParams::default().labels(labels)).await?.items)
    }

    async fn api_of(&self, object: &DynamicObject) -> Result<Api<DynamicObject>> {
        let types = object.types.as_ref().context("every document has apiVersion and kind")?;
        let (resource, scope) = self.kind(&GroupVersionKind::try_from(types)?).await?;
        Ok(self.api(&resource, &scope, object.metadata.namespace.as_deref()))
    }

    fn api(&self, resource: &ApiResource, scope: &Scope, namespace: Option<&str>) -> Api<DynamicObject> {
        match (scope, namespace) {
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(self.client.clone(), namespace, resource)
            }
            _ => Api::all_with(self.client.clone(), resource),
        }
    }

    /// What the cluster says of a kind, once it serves it: a definition that was just applied takes a moment.
    async fn kind(&self, kind: &GroupVersionKind) -> Result<(ApiResource, Scope)> {
        if let Some(known) = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(kind) {
            return Ok(known.clone());
        }
        let (resource, capabilities) =
            eventually(SOON, || async { Ok(discovery::pinned_kind(&self.client, kind).await?) })
                .await
                .with_context(|| format!("the cluster does not serve {kind:?}"))?;
        let found = (resource, capabilities.scope);
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.clone(), found.clone());
        Ok(found)
    }
}

/// The documents of a manifest.
fn documents(manifest: &str) -> Result<Vec<DynamicObject>> {
    // As kubectl reads them: modes of files are written as 0644.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    Ok(serde_saphyr::from_multiple_with_options(manifest, options)?)
}

fn gvk((api_version, kind): Kind) -> Result<GroupVersionKind> {
    let types = kube::core::TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() };
    Ok(GroupVersionKind::try_from(types)?)
}

fn absent_is_fine<T>(outcome: kube::Result<T>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kind and name, for messages.
pub(crate) fn describe(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    match &object.metadata.namespace {
        Some(namespace) => format!("{kind} {namespace}/{}", object.name_any()),
        None => format!("{kind} {}", object.name_any()),
    }
}

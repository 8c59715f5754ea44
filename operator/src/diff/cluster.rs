//! What `diff` reads. Of the operator's Secrets only the metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use contour_certs::Party;
use contour_crds::{ContourDeployment, ContourPolicy};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::certificates::examine;
use crate::child::{ChildKind, ChildRef};
use crate::live::Live;
use crate::names::{Names, WATCHED_BY};
use crate::observe::reference;
use crate::ownership::Owner;
use crate::pod::Pod;
use crate::problem::Problem;

/// What was found of one `ContourDeployment`.
pub(super) struct Found {
    /// Objects with the labels of children in its namespace, and those that have the names of children.
    pub(super) objects: BTreeMap<ChildRef, Arc<DynamicObject>>,
    replica_sets: Vec<Arc<ReplicaSet>>,
    pods: Vec<Arc<Pod>>,
}

impl Found {
    /// What of it is ours.
    pub(super) fn live(&self, owner: &Owner) -> Live {
        let objects = self.objects.iter().map(|(child, object)| (child.kind, Arc::clone(object)));
        Live::of(owner, objects, self.replica_sets.iter().cloned(), self.pods.iter().cloned())
    }
}

/// A cluster, to be read.
pub(super) struct Cluster {
    client: Client,
}

impl Cluster {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The policy of this name, if there is one.
    pub(super) async fn policy(&self, name: &str) -> Result<Option<ContourPolicy>> {
        let api: Api<ContourPolicy> = Api::all(self.client.clone());
        read(api.get_opt(name).await).with_context(|| format!("ContourPolicy {name} cannot be read"))
    }

    /// The namespaces that consent to be watched.
    pub(super) async fn consenting(&self) -> Result<Vec<Namespace>> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = read(api.list(&ListParams::default().labels(WATCHED_BY)).await);
        Ok(found.context("namespaces cannot be listed")?.items)
    }

    /// All `ContourDeployment`s.
    pub(super) async fn deployments(&self) -> Result<Vec<ContourDeployment>> {
        let api: Api<ContourDeployment> = Api::all(self.client.clone());
        let found = match api.list(&ListParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(anyhow!(
                    "the cluster does not know ContourDeployments; install the definitions: contour-operator crds | kubectl apply \
                     --server-side -f -"
                ));
            }
            found => read(found),
        };
        Ok(found.context("ContourDeployments cannot be listed")?.items)
    }

    /// What is wrong with the user's own Secrets, as the operator says it.
    pub(super) async fn own_secrets(
        &self,
        deployment: &ContourDeployment,
        now: Timestamp,
    ) -> Result<Vec<Problem>> {
        let Some(own) = &deployment.spec.certificates.secret_refs else { return Ok(Vec::new()) };
        let api: Api<Secret> =
            Api::namespaced(self.client.clone(), &deployment.namespace().unwrap_or_default());
        let mut found = Vec::new();
        for name in [&own.contour, &own.envoy] {
            let secret = read(api.get_opt(name).await);
            found.push(secret.with_context(|| format!("Secret {name} cannot be read"))?);
        }
        let [contour, envoy] = &found[..] else { return Ok(Vec::new()) };
        let sides = [
            (Party::Contour, own.contour.as_str(), contour.as_ref()),
            (Party::Envoy, own.envoy.as_str(), envoy.as_ref()),
        ];
        Ok(examine(sides, now).problems)
    }

    /// What has the labels of a child, or of a pod of one, in the namespace of its owner.
    pub(super) async fn labelled(&self, names: &Names) -> Result<Found> {
        let namespace = names.namespace.as_str();
        let labels = ListParams::default().labels(&names.owner_selector());
        let mut objects = BTreeMap::new();
        for kind in ChildKind::ALL.into_iter().filter(|kind| kind.namespaced()) {
            let api = self.api(kind, Some(namespace));
            let found = if kind == ChildKind::Secret {
                read(api.list_metadata(&labels).await)
                    .map(|list| list.items.into_iter().map(without_content).collect())
            } else {
                read(api.list(&labels).await).map(|list| list.items)
            };
            let found = found
                .with_context(|| format!("{} in {namespace} cannot be listed", kind.resource().plural))?;
            let entry = |object: DynamicObject| (reference(kind, &object), Arc::new(object));
            objects.extend(found.into_iter().map(entry));
        }
        let replica_sets = self.list(namespace, &labels).await?;
        let pods = self.list(namespace, &labels).await?;
        Ok(Found { objects, replica_sets, pods })
    }

    async fn list<K>(&self, namespace: &str, labels: &ListParams) -> Result<Vec<Arc<K>>>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let found = read(api.list(labels).await);
        let found = found.with_context(|| format!("{}s in {namespace} cannot be listed", K::kind(&())))?;
        Ok(found.items.into_iter().map(Arc::new).collect())
    }

    /// Looks for an object of the name of a child, unless it is known.
    pub(super) async fn find(&self, child: &ChildRef, found: &mut Found) -> Result<()> {
        if found.objects.contains_key(child) {
            return Ok(());
        }
        let api = self.api(child.kind, child.namespace.as_deref());
        let object = if child.kind == ChildKind::Secret {
            read(api.get_metadata_opt(&child.name).await)?.map(without_content)
        } else {
            read(api.get_opt(&child.name).await)?
        };
        found.objects.extend(object.map(|object| (child.clone(), Arc::new(object))));
        Ok(())
    }

    fn api(&self, kind: ChildKind, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind.resource()),
            None => Api::all_with(self.client.clone(), &kind.resource()),
        }
    }
}

/// A Secret, of which nothing but its metadata came.
fn without_content(secret: PartialObjectMeta<DynamicObject>) -> DynamicObject {
    let mut object = DynamicObject::new(&secret.name_any(), &ChildKind::Secret.resource());
    object.metadata = secret.metadata;
    object
}

/// What the API server answered, in its own words.
fn read<T>(answer: kube::Result<T>) -> Result<T> {
    answer.map_err(|error| match error {
        kube::Error::Api(status) => anyhow!("{}", status.message),
        error => error.into(),
    })
}

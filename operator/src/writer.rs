//! Requests that change children: apply and delete. Only the leader makes them.

use std::sync::Arc;

use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::DynamicObject;
use serde_json::json;
use thiserror::Error;
use tokio::sync::watch;

use crate::adoption::taken_fields;
use crate::apply::{Difference, difference, stamped};
use crate::child::{Child, ChildKind, ChildRef};
use crate::metrics::Metrics;
use crate::names::FIELD_MANAGER;
use crate::ownership::Owner;
use crate::reconcile::taken_back;

/// The field manager that says the number of pods from when it is left to an autoscaler until that one says it.
const REPLICAS_MANAGER: &str = "contour-operator-replicas";

/// Why a child could not be changed.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Another process leads now.
    #[error("this process no longer leads: the one that does goes on")]
    NotLeading,
    /// There is such an object, and it is not ours.
    #[error(
        "{child} exists and {owner}; delete or rename it, or create the ContourDeployment under another name"
    )]
    Foreign {
        /// Which object.
        child: ChildRef,
        /// Whose it is, as in "belongs to ...".
        owner: String,
    },
    /// The API server does not take the child, and would not take it the next time either.
    #[error("the API server refuses {child}{}", way_out(source))]
    Refused {
        /// Which object.
        child: ChildRef,
        /// What the server says.
        source: Box<kube::Error>,
    },
    /// The request failed.
    #[error("{child} cannot be {verb}{}", undefined(child, source))]
    Failed {
        /// Which object.
        child: ChildRef,
        /// "read", "applied", "changed" or "deleted".
        verb: &'static str,
        /// What happened.
        source: Box<kube::Error>,
    },
}

fn way_out(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if is_ending(status) => {
            ": its namespace is being deleted, and nothing can be made there; if it is one that Contour watches, take it out of \
             spec.contour.watchNamespaces, or make it again once it is gone"
        }
        kube::Error::Api(status) if is_about_immutable(status) => {
            ": a field cannot be changed in place; set it back, or delete the object, and it is made anew"
        }
        kube::Error::Api(status) if status.code == 403 => {
            ": give the operator's service account every right of bundle/install.yaml"
        }
        _ => "",
    }
}

/// The way out where the definition of one of our own kinds is missing.
fn undefined(child: &ChildRef, error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.code == 404 && child.kind == ChildKind::ContourConfiguration => {
            " (if its definition is missing: contour-operator crds | kubectl apply --server-side -f -)"
        }
        _ => "",
    }
}

/// The ways in which the API server says that a field cannot change.
fn is_about_immutable(status: &kube::core::Status) -> bool {
    ["immutable", "may not change once set"].iter().any(|words| status.message.contains(words))
}

impl WriteError {
    fn of(child: ChildRef, verb: &'static str, error: kube::Error) -> Self {
        let source = Box::new(error);
        match &*source {
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => {
                Self::Refused { child, source }
            }
            _ => Self::Failed { child, verb, source },
        }
    }

    /// One word for metrics and conditions.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotLeading => "NotLeading",
            Self::Foreign { .. } => "NotOurs",
            Self::Refused { source, .. } | Self::Failed { source, .. } => category(source),
        }
    }
}

/// One word for an error of the client.
pub fn category(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => "Unauthorized",
            403 if is_ending(status) => "NamespaceTerminating",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            400 | 422 => "Invalid",
            _ => "ServerError",
        },
        _ => "Unreachable",
    }
}

/// Whether something cannot be made because its namespace is being deleted, which the API server forbids as it does what nobody has a right to.
fn is_ending(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// A child after it was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// As the API server has it.
    pub live: Arc<DynamicObject>,
    /// Why it was written; `None`: it was not.
    pub written: Option<Difference>,
}

/// Makes requests, for as long as this process leads.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    leading: watch::Receiver<bool>,
    metrics: Metrics,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("leading", &*self.leading.borrow()).finish_non_exhaustive()
    }
}

impl Writer {
    /// Makes requests with this client while `leading` is true.
    pub fn new(client: Client, leading: watch::Receiver<bool>, metrics: Metrics) -> Self {
        Self { client, leading, metrics }
    }

    /// Whether this process leads.
    pub fn leads(&self) -> bool {
        *self.leading.borrow()
    }

    /// A way to objects of this kind, in this namespace if they have one.
    pub fn api(&self, kind: ChildKind, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind.resource()),
            None => Api::all_with(self.client.clone(), &kind.resource()),
        }
    }

    /// Makes a child what it should be, if it is not. `live` is the child as it was last seen; one that was not seen is looked for,
    /// since nothing of others may be overwritten.
    ///
    /// `Ok(None)`: the object is someone else's and may be, which is so for an `IngressClass` only.
    pub async fn apply(
        &self,
        child: &Child,
        live: Option<Arc<DynamicObject>>,
        owner: &Owner,
    ) -> Result<Option<Applied>, WriteError> {
        let mut wanted = stamped(child);
        let reference = child.reference();
        let live = match live {
            Some(live) => Some(live),
            None => self.look_for(&reference).await?,
        };
        if let Some(owner) = live.as_deref().and_then(|live| owner.foreign(&reference, &live.metadata)) {
            if child.kind == ChildKind::IngressClass {
                return Ok(None);
            }
            return Err(WriteError::Foreign { child: reference, owner });
        }
        let found = difference(child.kind, &wanted, live.as_deref());
        if let Some(live) = live {
            // What is being deleted comes again once it is gone.
            if found.is_none() || live.metadata.deletion_timestamp.is_some() {
                return Ok(Some(Applied { live, written: None }));
            }
            if let Some(patch) = taken_back(&live, &wanted) {
                self.change(&reference, &live, patch).await?;
            }
            self.hand_over_replicas(&reference, &live, &wanted).await?;
            if child.kind.is_binding() && live.data["roleRef"] != wanted.data["roleRef"] {
                // What a binding refers to cannot be changed in place.
                self.delete(&reference, &live).await?;
            } else {
                // Not over another object that took its place.
                wanted.metadata.uid.clone_from(&live.metadata.uid);
            }
            if child.kind == ChildKind::Secret {
                // Nor over a later one: whoever led before, and wakes up, would put an authority back that was followed by another.
                wanted.metadata.resource_version.clone_from(&live.metadata.resource_version);
            }
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let mut live = self.patch(&reference, &params, &wanted).await?;
        live.metadata.managed_fields = None;
        self.metrics.wrote(child.kind, found.as_ref());
        match &found {
            Some(Difference::Drifted(path)) => tracing::info!(child = %reference, path, "healed"),
            other => tracing::info!(child = %reference, because = ?other, "applied"),
        }
        Ok(Some(Applied { live: Arc::new(live), written: found }))
    }

    /// Makes us the one who says all that an object's `spec` says, if it was made by others.
    pub async fn take_fields(&self, reference: &ChildRef, live: &DynamicObject) -> Result<(), WriteError> {
        match taken_fields(live, &reference.kind.resource().api_version) {
            Some(patch) => self.change(reference, live, patch).await,
            None => Ok(()),
        }
    }

    /// A child as the API server has it now, if it is this owner's: for what must not be decided on a cache that may be a moment old.
    pub async fn read(
        &self,
        reference: &ChildRef,
        owner: &Owner,
    ) -> Result<Option<Arc<DynamicObject>>, WriteError> {
        let found = self.look_for(reference).await?;
        Ok(found.filter(|live| owner.foreign(reference, &live.metadata).is_none()))
    }

    async fn look_for(&self, reference: &ChildRef) -> Result<Option<Arc<DynamicObject>>, WriteError> {
        let api = self.api(reference.kind, reference.namespace.as_deref());
        match api.get_opt(&reference.name).await {
            Ok(found) => Ok(found.map(Arc::new)),
            Err(error) => Err(WriteError::of(reference.clone(), "read", error)),
        }
    }

    /// Keeps the number of pods when it is not ours to say any more. What nobody says is set back to one, until the autoscaler says it.
    async fn hand_over_replicas(
        &self,
        reference: &ChildRef,
        live: &DynamicObject,
        wanted: &DynamicObject,
    ) -> Result<(), WriteError> {
        let said = |object: &DynamicObject| object.data.pointer("/spec/replicas").cloned();
        let (ChildKind::Deployment, Some(replicas), None) = (reference.kind, said(live), said(wanted)) else {
            return Ok(());
        };
        let mut kept = DynamicObject::new(&reference.name, &reference.kind.resource());
        kept.metadata.namespace.clone_from(&reference.namespace);
        // Nothing is made anew by this.
        kept.metadata.uid.clone_from(&live.metadata.uid);
        kept.data = json!({ "spec": { "replicas": replicas } });
        let params = PatchParams::apply(REPLICAS_MANAGER).force();
        self.patch(reference, &params, &kept).await.map(drop)
    }

    async fn patch(
        &self,
        reference: &ChildRef,
        params: &PatchParams,
        wanted: &DynamicObject,
    ) -> Result<DynamicObject, WriteError> {
        if !self.leads() {
            return Err(WriteError::NotLeading);
        }
        let api = self.api(reference.kind, reference.namespace.as_deref());
        api.patch(&reference.name, params, &Patch::Apply(wanted))
            .await
            .map_err(|error| WriteError::of(reference.clone(), "applied", error))
    }

    /// Changes fields of an object that is not applied as a whole, unless somebody else did meanwhile.
    pub async fn change(
        &self,
        reference: &ChildRef,
        live: &DynamicObject,
        mut patch: serde_json::Value,
    ) -> Result<(), WriteError> {
        if !self.leads() {
            return Err(WriteError::NotLeading);
        }
        patch["metadata"]["uid"] = json!(live.metadata.uid);
        patch["metadata"]["resourceVersion"] = json!(live.metadata.resource_version);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.api(reference.kind, reference.namespace.as_deref());
        match api.patch(&reference.name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => {
                tracing::info!(child = %reference, "changed");
                Ok(())
            }
            Err(error) => Err(WriteError::of(reference.clone(), "changed", error)),
        }
    }

    /// Deletes an object, unless another one took its place. What depends on it goes later.
    pub async fn delete(&self, reference: &ChildRef, live: &DynamicObject) -> Result<(), WriteError> {
        if !self.leads() {
            return Err(WriteError::NotLeading);
        }
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: live.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let api = self.api(reference.kind, reference.namespace.as_deref());
        match api.delete(&reference.name, &params).await {
            Ok(_) => {
                tracing::info!(child = %reference, "deleted");
                self.metrics.deleted(reference.kind);
                Ok(())
            }
            // Gone, or another object: nothing of ours is left to delete.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(WriteError::of(reference.clone(), "deleted", error)),
        }
    }
}

/// Who else wrote to a child last, if the API server says: the field manager's name. A cache does not know.
pub fn last_other(live: &DynamicObject) -> Option<&str> {
    let entries = live.metadata.managed_fields.iter().flatten();
    let others = entries
        .filter(|entry| entry.subresource.is_none() && entry.manager.as_deref() != Some(FIELD_MANAGER));
    others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?.manager.as_deref()
}

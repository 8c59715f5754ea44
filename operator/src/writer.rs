//! Requests that change children: apply and delete. Only the leader makes them.

use std::sync::Arc;

use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::DynamicObject;
use kube::{Client, ResourceExt as _};
use thiserror::Error;
use tokio::sync::watch;

use crate::apply::{Difference, difference, stamped};
use crate::child::{Child, ChildKind, ChildRef};
use crate::metrics::Metrics;
use crate::names::{FIELD_MANAGER, OWNER_NAME, OWNER_NAMESPACE};

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
    #[error("{child} cannot be {verb}")]
    Failed {
        /// Which object.
        child: ChildRef,
        /// "read", "applied" or "deleted".
        verb: &'static str,
        /// What happened.
        source: Box<kube::Error>,
    },
}

fn way_out(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.message.contains("immutable") => {
            ": a field cannot be changed in place; delete the object, and it is made anew"
        }
        kube::Error::Api(status) if status.code == 403 => {
            ": give the operator's service account every right of bundle/install.yaml"
        }
        _ => "",
    }
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
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            400 | 422 => "Invalid",
            _ => "ServerError",
        },
        _ => "Unreachable",
    }
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
    /// `Ok(None)`: the object is someone else's and may be, which is so for IngressClasses only.
    pub async fn apply(
        &self,
        child: &Child,
        live: Option<Arc<DynamicObject>>,
    ) -> Result<Option<Applied>, WriteError> {
        let wanted = stamped(child);
        let reference = child.reference();
        let live = match live {
            Some(live) => Some(live),
            None => self.look_for(&reference, &wanted).await?,
        };
        if let Some(owner) = live.as_deref().and_then(|live| foreign(live, &wanted)) {
            if child.kind == ChildKind::IngressClass {
                return Ok(None);
            }
            return Err(WriteError::Foreign { child: reference, owner });
        }
        let found = difference(child.kind, &wanted, live.as_deref());
        let live = match (found, live) {
            (None, Some(live)) => return Ok(Some(Applied { live, written: None })),
            // It comes again once it is gone.
            (_, Some(live)) if live.metadata.deletion_timestamp.is_some() => {
                return Ok(Some(Applied { live, written: None }));
            }
            (found, _) => (self.write(&reference, &wanted).await?, found),
        };
        let (live, found) = live;
        self.metrics.wrote(child.kind, found.as_ref());
        match &found {
            Some(Difference::Drifted(path)) => tracing::info!(child = %reference, path, "healed"),
            other => tracing::info!(child = %reference, because = ?other, "applied"),
        }
        Ok(Some(Applied { live: Arc::new(live), written: found }))
    }

    async fn look_for(
        &self,
        reference: &ChildRef,
        wanted: &DynamicObject,
    ) -> Result<Option<Arc<DynamicObject>>, WriteError> {
        let api = self.api(reference.kind, reference.namespace.as_deref());
        match api.get_opt(&wanted.name_any()).await {
            Ok(found) => Ok(found.map(Arc::new)),
            Err(error) => Err(WriteError::of(reference.clone(), "read", error)),
        }
    }

    async fn write(&self, reference: &ChildRef, wanted: &DynamicObject) -> Result<DynamicObject, WriteError> {
        if !self.leads() {
            return Err(WriteError::NotLeading);
        }
        let api = self.api(reference.kind, reference.namespace.as_deref());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let mut written = api
            .patch(&wanted.name_any(), &params, &Patch::Apply(wanted))
            .await
            .map_err(|error| WriteError::of(reference.clone(), "applied", error))?;
        written.metadata.managed_fields = None;
        Ok(written)
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

/// Whose an object is, if it is not that of the `ContourDeployment` whose child is wanted.
///
/// Labels tell. Where someone took them off, it is still ours if we applied it.
fn foreign(live: &DynamicObject, wanted: &DynamicObject) -> Option<String> {
    let label = |object: &DynamicObject, key: &str| object.labels().get(key).cloned();
    let owner = |object: &DynamicObject| (label(object, OWNER_NAMESPACE), label(object, OWNER_NAME));
    match owner(live) {
        found if found == owner(wanted) => None,
        (None, None) => {
            let managers = live.metadata.managed_fields.as_deref().unwrap_or_default();
            let ours = managers.iter().any(|entry| {
                entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply")
            });
            (!ours).then(|| "was not made by this operator".to_owned())
        }
        (namespace, name) => Some(format!(
            "belongs to ContourDeployment {}/{}",
            namespace.unwrap_or_default(),
            name.unwrap_or_default()
        )),
    }
}

//! Writes the statuses of HTTPProxies and Ingresses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use contour_crds::HTTPProxy;
use contour_objects::{Kind, ObjectRef};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams, TypeMeta};
use kube::core::Resource;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::innermost;
use crate::decode::{Wire, decode, resource};
use crate::merge::Status;
use crate::metrics::{DurationLabels, KindLabel, Metrics};
use crate::statuses::{Job, Outcome, Recorded, Statuses};

/// Writes in flight at a time.
const CONCURRENT: usize = 32;
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How often a conflict is answered at once, with the object as it is then.
const CONFLICTS: usize = 5;

/// Makes the API server's statuses those that were offered, while leading.
///
/// A status is written with `update` of the subresource, the only verb that Contour's stock role gives, at the resource version that it was
/// merged from: what others wrote meanwhile is never lost. What the API server already holds is not written.
pub struct StatusWriter {
    client: Client,
    statuses: Arc<Statuses>,
    leading: watch::Receiver<bool>,
    metrics: Metrics,
    /// Why writes fail, as last told.
    told: Option<String>,
}

impl StatusWriter {
    /// Writes what is offered to `statuses` while `leading` holds.
    pub fn new(
        client: Client,
        statuses: Arc<Statuses>,
        leading: watch::Receiver<bool>,
        metrics: Metrics,
    ) -> Self {
        Self { client, statuses, leading, metrics, told: None }
    }

    /// Writes until the token is cancelled. What fails is tried again with growing pauses.
    pub async fn run(mut self, token: CancellationToken) {
        let leading = *self.leading.borrow_and_update();
        self.statuses.lead(leading);
        let mut writes = FuturesUnordered::new();
        let mut pauses = FuturesUnordered::new();
        loop {
            while writes.len() < CONCURRENT {
                let Some(job) = self.statuses.take() else { break };
                writes.push(Write::new(&self.client, &self.metrics, job).run());
            }
            self.tell_pending();
            tokio::select! {
                () = token.cancelled() => return,
                () = self.statuses.offered() => {}
                leading = changed(&mut self.leading) => self.statuses.lead(leading),
                Some((name, result)) = writes.next() => {
                    let outcome = self.judge(&name, result);
                    if let Some(pause) = self.statuses.finish(&name, outcome) {
                        pauses.push(async move { sleep(pause).await; name });
                    }
                }
                Some(name) = pauses.next() => self.statuses.retry(&name),
            }
        }
    }

    /// What the end of a write means. A cause is told once, not for each object that it concerns.
    fn judge(&mut self, name: &ObjectRef, result: Result<Option<Recorded>, Refusal>) -> Outcome {
        match result {
            Ok(written) => {
                if self.told.take().is_some() {
                    tracing::info!("statuses can be written again");
                }
                Outcome::Settled(written)
            }
            Err(Refusal::Gone) => Outcome::Gone,
            Err(refusal) => {
                let cause = refusal.to_string();
                if self.told.as_ref() == Some(&cause) {
                    tracing::debug!("status of {name} cannot be written either");
                } else {
                    tracing::warn!("status of {name} cannot be written, trying again later: {cause}");
                    self.told = Some(cause);
                }
                Outcome::Failed
            }
        }
    }

    fn tell_pending(&self) {
        for kind in [Kind::HttpProxy, Kind::Ingress] {
            let pending = i64::try_from(self.statuses.pending(kind)).unwrap_or(i64::MAX);
            self.metrics.pending.get_or_create(&kind.into()).set(pending);
        }
    }
}

/// The next value; never, if nobody is left to change it.
async fn changed(leading: &mut watch::Receiver<bool>) -> bool {
    match leading.changed().await {
        Ok(()) => *leading.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}

/// Why a write did not work.
enum Refusal {
    Conflict,
    Gone,
    Failed(String),
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.is_not_found() => Self::Gone,
            kube::Error::Api(status) if status.is_conflict() => Self::Conflict,
            _ => Self::Failed(innermost(&error)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => write!(f, "the object changed {CONFLICTS} times meanwhile"),
            Self::Gone => f.write_str("the object does not exist"),
            Self::Failed(cause) => f.write_str(cause),
        }
    }
}

/// The write of one status.
struct Write {
    api: Api<Wire>,
    metrics: Metrics,
    label: KindLabel,
    job: Job,
}

/// The object that a status is written into.
struct Held {
    recorded: Recorded,
    /// The whole object; `None` where only its status was kept.
    object: Option<Wire>,
}

impl Write {
    fn new(client: &Client, metrics: &Metrics, job: Job) -> Self {
        let kind = job.name.kind;
        let api = Api::namespaced_with(client.clone(), &job.name.name.namespace, &resource(kind));
        Self { api, metrics: metrics.clone(), label: kind.into(), job }
    }

    async fn run(self) -> (ObjectRef, Result<Option<Recorded>, Refusal>) {
        let started = Instant::now();
        self.metrics.updates.get_or_create(&self.label).inc();
        let result = self.settle().await;
        // An object that was deleted meanwhile is no failure of ours.
        let error = !matches!(result, Ok(_) | Err(Refusal::Gone));
        let counter = if error { &self.metrics.updates_failed } else { &self.metrics.updates_succeeded };
        counter.get_or_create(&self.label).inc();
        let labels = DurationLabels::new(self.job.name.kind, error);
        self.metrics.duration.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
        (self.job.name, result)
    }

    /// Writes the status over what the server holds, unless that says the same.
    async fn settle(&self) -> Result<Option<Recorded>, Refusal> {
        let mut held = Held { recorded: Recorded::clone(&self.job.recorded), object: None };
        for _ in 0..CONFLICTS {
            // Conditions hold whole seconds.
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let Some(status) = self.job.over(&held.recorded.status, &now) else {
                self.metrics.noops.get_or_create(&self.label).inc();
                return Ok(Some(held.recorded));
            };
            let Some(body) = self.body(&held, &status) else {
                held = self.get().await?;
                continue;
            };
            match self.put(&body).await {
                Ok(written) => return Ok(Some(written)),
                Err(Refusal::Conflict) => {
                    self.metrics.conflicts.get_or_create(&self.label).inc();
                    held = self.get().await?;
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::Conflict)
    }

    /// What is sent; `None` if the whole object is needed for that.
    fn body(&self, held: &Held, status: &Status) -> Option<Value> {
        match status {
            // The server takes nothing but the status: no more is sent than it needs to find it.
            Status::Proxy(status) => {
                let metadata = ObjectMeta {
                    name: Some(self.job.name.name.name.to_string()),
                    namespace: Some(self.job.name.name.namespace.to_string()),
                    resource_version: Some(held.recorded.resource_version.clone()),
                    ..ObjectMeta::default()
                };
                let TypeMeta { api_version, kind } = TypeMeta::resource::<HTTPProxy>();
                Some(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "status": status}))
            }
            // The server takes labels and annotations as well: without those that are there, they would be gone.
            Status::Ingress(status) => Some(held.object.clone()?.with_status(json!(status))),
        }
    }

    async fn put(&self, body: &Value) -> Result<Recorded, Refusal> {
        let params = PostParams::default();
        let put = self.api.replace_subresource("status", &self.job.name.name.name, &params, body);
        self.recorded(answer(timeout(REQUEST_LIMIT, put).await)?)
    }

    async fn get(&self) -> Result<Held, Refusal> {
        let wire = answer(timeout(REQUEST_LIMIT, self.api.get(&self.job.name.name.name)).await)?;
        Ok(Held { recorded: self.recorded(wire.clone())?, object: Some(wire) })
    }

    /// What an answer of the server says of the status.
    fn recorded(&self, wire: Wire) -> Result<Recorded, Refusal> {
        debug_assert_eq!(wire.meta().name.as_deref(), Some(&*self.job.name.name.name));
        let recorded = decode(self.job.name.kind, wire).recorded;
        recorded.ok_or_else(|| Refusal::Failed(String::from("its status is not ours")))
    }
}

fn answer(answer: Result<Result<Wire, kube::Error>, tokio::time::error::Elapsed>) -> Result<Wire, Refusal> {
    Ok(answer.map_err(|_| Refusal::Failed(format!("no answer within {REQUEST_LIMIT:?}")))??)
}

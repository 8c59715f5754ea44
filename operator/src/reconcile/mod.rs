//! One look at a `ContourDeployment`: compare what should be with what is, make the next step, tell how it is.
//!
//! Everything that was learned or went wrong is a [`Report`]; the status is made of it, whatever happened. Only then an error is
//! returned, so that it is tried again later.

pub mod addresses;
mod adopt;
mod certificates;
pub mod claim;
mod contest;
mod deadlines;
mod default_class;
mod envoy;
mod finalize;
mod judge;
pub mod publishing;
mod refusal;
pub mod rollout;
mod room;
mod steps;
mod workloads;

pub(crate) use addresses::published_nodes;
pub(crate) use certificates::still_mounted;
pub(crate) use room::taken_back;
pub(crate) use workloads::unrecorded_template;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contour_crds::contour_deployment::ChildReference;
use contour_crds::{ContourDeployment, ContourDeploymentStatus, PolicyRule};
use jiff::Timestamp;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource as _, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;

use crate::certificates::ask::Asker;
use crate::child::ChildRef;
use crate::defaults::Defaults;
use crate::events::{Teller, notices, strangers};
use crate::live::Stranger;
use crate::metrics::Metrics;
use crate::names::FIELD_MANAGER;
use crate::observe::{Caches, Trigger};
use crate::policy::Policy;
use crate::problem::Problem;
use crate::status::{Report, status};
use crate::writer::{WriteError, Writer, category};
use addresses::Addresses;
use claim::{Other, claim};
use contest::Contests;
use deadlines::Deadlines;
use rollout::Because;

/// When to look again though nothing happened: watches may miss what is not theirs, such as a Secret of the user.
const REGULAR: Duration = Duration::from_mins(5);

/// When to look again while something is waited for that may come without an event.
const SOON: Duration = Duration::from_secs(15);

/// When to look again at what another operator has.
const OTHERS: Duration = Duration::from_secs(30);

/// When to look again at what changed under our hands, unless its event comes first.
const MOMENT: Duration = Duration::from_secs(1);

/// First and longest pause after an error.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));

/// Why a look ended early.
#[derive(Debug, Error)]
pub enum Error {
    /// A child could not be changed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The `ContourDeployment` could not be written.
    #[error("the {what} of the ContourDeployment cannot be written")]
    Own {
        /// "status", "finalizer" or "operator".
        what: &'static str,
        /// What happened.
        source: Box<kube::Error>,
    },
    /// What is needed to decide could not be read.
    #[error("{what} cannot be read")]
    Read {
        /// What.
        what: String,
        /// What happened.
        source: Box<kube::Error>,
    },
    /// Certificates could not be made.
    #[error("the certificates cannot be made: {0}")]
    Certificates(String),
    /// What Contour is to be given is not there.
    #[error(
        "the cluster has no ClusterRole {}, so that Contour cannot be given its rights; those that it has it keeps; apply the \
         bundle/install.yaml that belongs to this version of the operator",
        .0.join(" and ")
    )]
    RolesMissing(Vec<&'static str>),
    /// Several things went wrong, each of which stopped something else.
    #[error("several errors")]
    Several(Vec<Error>),
}

impl Error {
    /// One word for metrics and conditions.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Write(error) => error.category(),
            Self::Own { source, .. } | Self::Read { source, .. } => category(source),
            Self::Certificates(_) => "Certificates",
            Self::RolesMissing(_) => "RoleMissing",
            Self::Several(all) => all.first().map_or("Unknown", Self::category),
        }
    }

    /// What went wrong, one by one.
    fn each(&self) -> &[Self] {
        match self {
            Self::Several(all) => all,
            one => std::slice::from_ref(one),
        }
    }

    /// One error of all; `None`: nothing went wrong.
    fn of(mut all: Vec<Self>) -> Option<Self> {
        if all.len() > 1 { Some(Self::Several(all)) } else { all.pop() }
    }

    fn because(&self) -> Because {
        if let Self::Several(all) = self {
            let told: Vec<String> = all.iter().map(|error| error.because().message).collect();
            return Because::new(self.category(), few(&told, "; "));
        }
        let mut message = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            if let Some(answer) = answer(error) {
                return Because::new(self.category(), format!("{message}: {answer}"));
            }
            let told = error.to_string();
            // Some errors repeat the one they stem from.
            if !message.contains(&told) {
                message = format!("{message}: {told}");
            }
            source = error.source();
        }
        Because::new(self.category(), message)
    }

    /// Nothing went wrong: somebody else goes on, or we do when the cache knows what changed meanwhile.
    fn is_outdated(&self) -> bool {
        match self {
            Self::Write(WriteError::NotLeading) => true,
            // Another object is there than the one that was looked at.
            Self::Write(error @ WriteError::Failed { .. }) => error.category() == "Conflict",
            Self::Own { source, .. } => category(source) == "Conflict",
            _ => false,
        }
    }
}

/// The objects of a kind that have these labels in a namespace, as the API server has them now. `what` is what they are called in an error.
async fn list<K>(
    context: &Context,
    namespace: &str,
    labels: &ListParams,
    what: &str,
) -> Result<Vec<Arc<K>>, Error>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    let found = api.list(labels).await.map_err(|error| unread(what, error))?;
    Ok(found.items.into_iter().map(Arc::new).collect())
}

fn unread(what: &str, error: kube::Error) -> Error {
    Error::Read { what: what.to_owned(), source: Box::new(error) }
}

/// How many things are told by name.
const TOLD: usize = 8;

/// The first of these, and how many more there are.
fn few(all: &[String], between: &str) -> String {
    match all.len().checked_sub(TOLD) {
        Some(more) if more > 0 => format!("{} and {more} more", all[..TOLD].join(between)),
        _ => all.join(between),
    }
}

/// What the API server answered, where it did. kube's own words repeat all fields of the answer.
fn answer<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    let boxed = error.downcast_ref::<Box<kube::Error>>().map(|error| &**error);
    match boxed.or_else(|| error.downcast_ref::<kube::Error>()) {
        Some(kube::Error::Api(status)) => Some(&status.message),
        _ => None,
    }
}

/// Tells the time. The one of the machine, but for tests that let certificates age.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What every look needs.
pub struct Context {
    /// For requests about `ContourDeployment`s, and reads.
    pub client: Client,
    /// What is there.
    pub caches: Caches,
    /// Changes children.
    pub writer: Writer,
    /// Writes Events.
    pub teller: Teller,
    /// Asks pods which certificates they work with.
    pub asker: Asker,
    /// What Prometheus sees.
    pub metrics: Metrics,
    /// The operator's settings.
    pub defaults: Defaults,
    /// Where to look for `ContourDeployment`s; empty: everywhere.
    pub watch_namespaces: BTreeSet<String>,
    /// What this operator is called: namespace and name of its Lease. `None`: it has none, and leaves no name.
    pub operator: Option<String>,
    /// The name of the `ContourPolicy` to obey.
    pub policy: String,
    /// The rules that hold while there is none.
    pub built_in: Vec<PolicyRule>,
    /// Tells the time.
    pub clock: Clock,
    /// What is remembered of each `ContourDeployment` from look to look; it may be lost.
    pub memory: Mutex<HashMap<Trigger, Memory>>,
}

/// What is remembered from look to look.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Looks that failed in a row.
    failures: u32,
    /// The error that was told last.
    told: Option<String>,
    /// The status written last, and the version of the object that came of it: the cache may be behind.
    written: Option<(u64, ContourDeploymentStatus)>,
    /// Who keeps changing children.
    contests: Contests,
    /// When something last came of what is rolled out.
    deadlines: Deadlines,
    /// Which addresses of nodes are published.
    addresses: Addresses,
    /// When the last look asked to look again.
    again: Option<Duration>,
    /// The UIDs of its pods. When they end, what proves that they are its own may be gone before them.
    pods: BTreeSet<String>,
    /// Another operator that has it.
    other: Option<Other>,
    /// Which objects with our labels that are not ours were told.
    strangers: BTreeSet<String>,
}

impl Context {
    /// Everything that a `ContourDeployment` asks for and may not have, as policy is now.
    fn forbids(&self, deployment: &ContourDeployment) -> Vec<Problem> {
        let policy = self.caches.policy();
        let policy = Policy {
            name: &self.policy,
            exists: policy.is_some(),
            rules: policy.as_ref().map_or(&self.built_in, |policy| &policy.spec.rules),
        };
        let namespace = deployment.namespace().unwrap_or_default();
        let consents = |watched: &str| self.caches.consents(watched, &namespace);
        policy.forbids(deployment, &self.defaults, &consents)
    }

    /// How many pods a `ContourDeployment` had when it was last looked at.
    pub(crate) fn pods_of(&self, deployment: &Trigger) -> usize {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get(deployment).map_or(0, |memory| memory.pods.len())
    }

    fn remember<T>(&self, deployment: &ContourDeployment, change: impl FnOnce(&mut Memory) -> T) -> T {
        // A panic in one look leaves nothing half done here.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        change(memory.entry(ObjectRef::from_obj(deployment)).or_default())
    }

    fn forget(&self, deployment: &ContourDeployment, last: &ContourDeploymentStatus) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(&ObjectRef::from_obj(deployment));
        self.asker.forget(&ObjectRef::from_obj(deployment));
        let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
        self.metrics.forget(&namespace, &name, last);
    }
}

/// How a look ended.
struct Look {
    report: Report,
    /// What went wrong.
    errors: Vec<Error>,
    /// When to look again at the latest.
    again: Duration,
    /// What has our labels and is not ours.
    strangers: Vec<Stranger>,
}

/// Looks at one `ContourDeployment`.
pub async fn reconcile(deployment: Arc<ContourDeployment>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = deployment.namespace().unwrap_or_default();
    let elsewhere = !context.watch_namespaces.is_empty() && !context.watch_namespaces.contains(&namespace);
    if elsewhere || !context.writer.leads() {
        return Ok(Action::await_change());
    }
    context.caches.filled().await;
    let started = Instant::now();
    let Some(deployment) = claim(deployment, &context).await? else { return Ok(Action::requeue(OTHERS)) };
    let before = known_status(&deployment, &context);
    let look = if deployment.metadata.deletion_timestamp.is_none() {
        steps::look(&deployment, &before, &context).await
    } else if let Some(look) = finalize::finalize(&deployment, &before, &context).await {
        look
    } else {
        context.metrics.looked("deleted", started.elapsed());
        context.forget(&deployment, &before);
        return Ok(Action::await_change());
    };
    let outcome = look.report.outcome();
    context.metrics.looked(outcome, started.elapsed());
    tracing::debug!(%namespace, name = deployment.name_any(), outcome, took = ?started.elapsed(), "looked");
    finish(&deployment, &context, &before, look).await
}

/// Tells the status, and decides when to look again.
async fn finish(
    deployment: &ContourDeployment,
    context: &Context,
    before: &ContourDeploymentStatus,
    look: Look,
) -> Result<Action, Error> {
    let Look { mut report, errors, again, strangers } = look;
    tell_strangers(deployment, context, &strangers).await;
    let (outdated, errors): (Vec<_>, Vec<_>) = errors.into_iter().partition(Error::is_outdated);
    let error = Error::of(errors);
    if error.is_none() && !outdated.is_empty() {
        return Ok(Action::requeue(MOMENT));
    }
    report.error = error.as_ref().map(Error::because);
    let told = tell(deployment, context, before, &report).await;
    if let Some(error) = error {
        context.remember(deployment, |memory| memory.again = Some(again));
        return Err(error);
    }
    told?;
    context.remember(deployment, |memory| {
        memory.failures = 0;
        memory.told = None;
    });
    Ok(Action::requeue(again))
}

/// What was told last, as far as this process or its cache knows.
fn known_status(deployment: &ContourDeployment, context: &Context) -> ContourDeploymentStatus {
    let seen: u64 = deployment.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0);
    let newer = context.remember(deployment, |memory| {
        memory.written.clone().filter(|(version, _)| *version > seen).map(|(_, status)| status)
    });
    newer.or_else(|| deployment.status.clone()).unwrap_or_default()
}

/// Writes the status, if it is another one, and tells what changed.
async fn tell(
    deployment: &ContourDeployment,
    context: &Context,
    before: &ContourDeploymentStatus,
    report: &Report,
) -> Result<(), Error> {
    let generation = deployment.metadata.generation.unwrap_or(0);
    let next = status(before, generation, report, (context.clock)());
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    context.metrics.tell(&namespace, &name, Some(before), &next);
    if next == *before || !context.writer.leads() {
        return Ok(());
    }
    let api: Api<ContourDeployment> = Api::namespaced(context.client.clone(), &namespace);
    let body = json!({
        "apiVersion": ContourDeployment::api_version(&()),
        "kind": ContourDeployment::kind(&()),
        "metadata": { "name": name, "uid": deployment.uid() },
        "status": next,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(&body)).await {
        Ok(written) => {
            let version = written.resource_version().and_then(|version| version.parse().ok());
            context.remember(deployment, |memory| {
                memory.written = version.map(|version| (version, next.clone()));
            });
        }
        // It was deleted, or another object took its name: there is nobody to tell.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
        Err(error) => return Err(Error::Own { what: "status", source: Box::new(error) }),
    }
    for notice in notices(before, &next) {
        tracing::info!(%namespace, name, reason = notice.reason, "{}", notice.note);
    }
    context.teller.tell(&deployment.object_ref(&()), notices(before, &next)).await;
    Ok(())
}

/// Names what only says that it is a child, each once.
async fn tell_strangers(deployment: &ContourDeployment, context: &Context, found: &[Stranger]) {
    let notices = context.remember(deployment, |memory| strangers(found, &mut memory.strangers));
    for notice in &notices {
        let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
        tracing::warn!(%namespace, name, reason = notice.reason, "{}", notice.note);
    }
    context.teller.tell(&deployment.object_ref(&()), notices).await;
}

/// When to try again after an error, which is told with its causes, once while it stays the same.
pub fn on_error(deployment: &ContourDeployment, error: &Error, context: &Context) -> Action {
    error.each().iter().for_each(|error| context.metrics.failed(error.category()));
    let text = error.because().message;
    let (failures, new, again) = context.remember(deployment, |memory| {
        memory.failures = memory.failures.saturating_add(1);
        let new = memory.told.replace(text.clone()) != Some(text.clone());
        (memory.failures, new, memory.again.take())
    });
    // What does not depend on it goes on in its time.
    let pause = backoff(failures).min(again.unwrap_or(REGULAR));
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    if new {
        tracing::error!(%namespace, name, category = error.category(), retry = ?pause, "{text}");
    } else {
        tracing::debug!(%namespace, name, failures, retry = ?pause, "{text}");
    }
    Action::requeue(pause)
}

/// The pause after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    let (first, longest) = BACKOFF;
    first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(longest)
}

/// The children that no owner reference reaches, for the status.
fn without_owner<'a>(
    children: impl IntoIterator<Item = &'a ChildRef>,
    namespace: &str,
) -> Vec<ChildReference> {
    let beyond = |child: &&ChildRef| child.namespace.as_deref() != Some(namespace);
    let told = |child: &ChildRef| ChildReference {
        kind: child.kind.to_string(),
        namespace: child.namespace.clone(),
        name: child.name.clone(),
    };
    children.into_iter().filter(beyond).map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let pauses: Vec<_> = [1, 2, 3, 8, 40, u32::MAX].map(|n| backoff(n).as_millis()).into();
        assert_eq!(pauses, [500, 1_000, 2_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn an_error_is_told_with_its_causes_once() {
        let status = kube::core::Status::failure("namespaces \"x\" not found", "NotFound").with_code(404);
        let child = ChildRef {
            kind: crate::child::ChildKind::Role,
            namespace: Some("x".to_owned()),
            name: "r".to_owned(),
        };
        let source = Box::new(kube::Error::Api(status.boxed()));
        let error = Error::from(WriteError::Failed { child, verb: "applied", source });
        let because = error.because();
        assert_eq!(because.reason, "NotFound");
        assert_eq!(because.message, "Role x/r cannot be applied: namespaces \"x\" not found");
        let all = Error::of(vec![error, Error::Certificates("why".to_owned())]).unwrap();
        let because = all.because();
        assert_eq!((because.reason.as_str(), all.each().len()), ("NotFound", 2));
        assert!(because.message.ends_with("not found; the certificates cannot be made: why"), "{because:?}");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        assert_eq!(few(&names, ", "), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!(few(&names[..8], ", "), "0, 1, 2, 3, 4, 5, 6, 7");
    }
}

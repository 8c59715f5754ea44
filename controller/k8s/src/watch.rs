//! Watches: one function for every kind.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use contour_graph::Settings;
use contour_graph::status::{Issue, ProxyStatus};
use contour_objects::{Event, Kind, NamespacedName, Object, ObjectRef, Scope};
use futures::StreamExt;
use kube::runtime::watcher::{self, InitialListStrategy, watcher};
use kube::{Api, Client};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::decode::{Observed, Wire, decode, reference, resource};
use crate::hung::WATCH_SECONDS;
use crate::merge::Status;
use crate::metrics::{ErrorLabels, Metrics};
use crate::statuses::{Claim, Seen, Statuses};
use crate::trouble::{Cause, Trouble};
use crate::watcher::{Pauses, cannot_resume};

/// Secrets that can hold no certificate for Contour and are often large or many: never sent to us.
const SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token";

/// Why watching ended although nobody asked it to.
#[derive(Debug, Error)]
pub enum SourcesError {
    /// Nobody takes the events any more.
    #[error("the receiver of object events is gone: this is a defect, please report it")]
    Closed,
    /// A watch panicked.
    #[error("a watch panicked: this is a defect, please report it")]
    Panicked(#[from] JoinError),
}

/// What to watch, and who is told.
#[derive(Clone)]
pub struct Sources {
    /// The client.
    pub client: Client,
    /// `--watch-namespaces`: objects of these namespaces only; empty: of all.
    pub watch_namespaces: BTreeSet<String>,
    /// Says which Ingresses are ours.
    pub settings: Settings,
    /// Learns the recorded status of each HTTPProxy and Ingress before the event about it is sent.
    pub statuses: Arc<Statuses>,
    /// Counts errors and lists.
    pub metrics: Metrics,
}

impl Sources {
    /// The scopes that are watched. The store is complete once each was the subject of a first [`Event::Replace`].
    pub fn scopes(&self) -> Vec<Scope> {
        let places: Vec<Option<Arc<str>>> = if self.watch_namespaces.is_empty() {
            vec![None]
        } else {
            self.watch_namespaces.iter().map(|n| Some(n.as_str().into())).collect()
        };
        let scopes = Kind::ALL.iter().flat_map(|&kind| {
            places.iter().map(move |namespace| Scope { kind, namespace: namespace.clone() })
        });
        scopes.collect()
    }

    /// Watches until the token is cancelled. Each complete list is one [`Event::Replace`]; changes after it are `Apply` and `Delete`.
    ///
    /// A watch that fails is taken up again with growing pauses, for ever. An object that cannot be understood is logged, counted, and does
    /// not exist for the receiver; if it is an HTTPProxy, its status says why. Fails only by defects.
    pub async fn run(
        self,
        events: mpsc::Sender<Event>,
        token: CancellationToken,
    ) -> Result<(), SourcesError> {
        let mut watches = JoinSet::new();
        for scope in self.scopes() {
            let watch = Watch::new(&self, scope, events.clone());
            watches.spawn(token.clone().run_until_cancelled_owned(watch.run()));
        }
        drop(events);
        while let Some(ended) = watches.join_next().await {
            match ended? {
                None => {}
                // While everything ends, the receiver may be the first to go.
                Some(Closed) if token.is_cancelled() => {}
                Some(Closed) => return Err(SourcesError::Closed),
            }
        }
        Ok(())
    }
}

/// Nobody receives events any more.
struct Closed;

/// Whether to go on with a stream.
enum Next {
    Poll,
    Reopen,
}

/// A list that is being received.
#[derive(Default)]
struct Listing {
    objects: Vec<Object>,
    seen: Vec<Seen>,
    /// Whether an error came in between.
    failed: bool,
}

/// The watch of one scope.
struct Watch {
    scope: Scope,
    client: Client,
    events: mpsc::Sender<Event>,
    settings: Settings,
    statuses: Arc<Statuses>,
    metrics: Metrics,
    strategy: InitialListStrategy,
    listing: Option<Listing>,
    /// What was last told to be wrong.
    told: Option<Cause>,
    /// Since the last thing that arrived.
    pauses: Pauses,
}

impl Watch {
    fn new(sources: &Sources, scope: Scope, events: mpsc::Sender<Event>) -> Self {
        Self {
            scope,
            client: sources.client.clone(),
            events,
            settings: sources.settings.clone(),
            statuses: Arc::clone(&sources.statuses),
            metrics: sources.metrics.clone(),
            strategy: InitialListStrategy::StreamingList,
            listing: None,
            told: None,
            pauses: Pauses::default(),
        }
    }

    /// Watches until nobody listens.
    async fn run(mut self) -> Closed {
        loop {
            self.listing = None;
            let mut stream = pin!(watcher(self.api(), self.config()));
            while let Some(item) = stream.next().await {
                match self.take(item).await {
                    Ok(Next::Poll) => {}
                    Ok(Next::Reopen) => break,
                    Err(closed) => return closed,
                }
            }
        }
    }

    fn api(&self) -> Api<Wire> {
        let resource = resource(self.scope.kind);
        match &self.scope.namespace {
            Some(namespace) if self.scope.kind != Kind::Namespace => {
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
            _ => Api::all_with(self.client.clone(), &resource),
        }
    }

    fn config(&self) -> watcher::Config {
        let fields = match (self.scope.kind, &self.scope.namespace) {
            (Kind::Secret, _) => Some(SECRETS.to_owned()),
            (Kind::Namespace, Some(only)) => Some(format!("metadata.name={only}")),
            _ => None,
        };
        watcher::Config {
            field_selector: fields,
            timeout: Some(WATCH_SECONDS),
            initial_list_strategy: self.strategy.clone(),
            ..watcher::Config::default()
        }
    }

    async fn take(&mut self, item: watcher::Result<watcher::Event<Wire>>) -> Result<Next, Closed> {
        match item {
            Ok(watcher::Event::Init) => {
                // A streamed list that ended before its end, without an error: an old server that does not know the request, or more objects than
                // there is time for. Take pages from now on, which take what time they need.
                let ended = self.listing.replace(Listing::default()).is_some_and(|listing| !listing.failed);
                if ended && self.strategy == InitialListStrategy::StreamingList {
                    return Ok(self.take_pages());
                }
                return Ok(Next::Poll);
            }
            Ok(watcher::Event::InitApply(wire)) => {
                self.list_item(wire);
                return Ok(Next::Poll);
            }
            Ok(watcher::Event::InitDone) => self.listed().await?,
            Ok(watcher::Event::Apply(wire)) => self.applied(wire).await?,
            Ok(watcher::Event::Delete(wire)) => self.deleted(reference(self.scope.kind, &wire)).await?,
            Err(error) => return Ok(self.failed(&error).await),
        }
        self.works();
        Ok(Next::Poll)
    }

    fn list_item(&mut self, wire: Wire) {
        let (_, object, seen) = self.read(wire);
        let listing = self.listing.get_or_insert_default();
        listing.objects.extend(object);
        listing.seen.extend(seen);
    }

    async fn listed(&mut self) -> Result<(), Closed> {
        let Listing { objects, seen, .. } = self.listing.take().unwrap_or_default();
        self.metrics.lists.get_or_create(&self.scope.kind.into()).inc();
        if Status::is_written(self.scope.kind) {
            self.statuses.replace(self.scope.kind, self.scope.namespace.as_deref(), seen);
        }
        // Namespaces have none, so a scope of one of them does not cover it: say that it is gone.
        if let (Kind::Namespace, Some(only), true) =
            (self.scope.kind, &self.scope.namespace, objects.is_empty())
        {
            let name = NamespacedName::new("", Arc::clone(only));
            self.send(Event::Delete(ObjectRef::new(Kind::Namespace, name))).await?;
        }
        tracing::debug!(kind = %self.scope.kind, namespace = self.scope.namespace.as_deref(), objects = objects.len(), "listed");
        self.send(Event::Replace(self.scope.clone(), objects)).await
    }

    async fn applied(&mut self, wire: Wire) -> Result<(), Closed> {
        let (reference, object, seen) = self.read(wire);
        if let Some(seen) = seen {
            self.statuses.record(seen);
        }
        self.send(object.map_or(Event::Delete(reference), Event::Apply)).await
    }

    async fn deleted(&mut self, reference: ObjectRef) -> Result<(), Closed> {
        self.statuses.forget(&reference);
        self.send(Event::Delete(reference)).await
    }

    /// The object that the store keeps, if any, and what is noted of its status. Tells about an object that does not fit its type.
    fn read(&self, wire: Wire) -> (ObjectRef, Option<Object>, Option<Seen>) {
        let Observed { reference, object, recorded } = decode(self.scope.kind, wire);
        let (object, cause) = match object {
            Ok(object) => (object, None),
            Err(cause) => {
                (None, Some(format!("cannot be read and is ignored until it is corrected: {cause}")))
            }
        };
        if let Some(cause) = &cause {
            self.metrics.unreadable.get_or_create(&reference.kind.into()).inc();
            tracing::warn!("{reference} {cause}");
        }
        let seen = recorded.map(|recorded| {
            let claim = match (&object, cause) {
                (Some(Object::Ingress(ingress)), _) if self.settings.serves(ingress.class.as_deref()) => {
                    Claim::Ours
                }
                _ if reference.kind == Kind::Ingress => Claim::Theirs,
                (_, Some(cause)) => Claim::Unreadable(ProxyStatus {
                    object: reference.name.clone(),
                    generation: recorded.generation,
                    errors: vec![Issue::new(
                        "SpecError",
                        "ObjectNotReadable",
                        format!("This object {cause}"),
                    )],
                    warnings: Vec::new(),
                    holds: None,
                }),
                (_, None) => Claim::Engine,
            };
            Seen { name: reference.clone(), recorded, claim }
        });
        (reference, object, seen)
    }

    /// Takes pages instead of a stream from now on, at once.
    fn take_pages(&mut self) -> Next {
        tracing::debug!(kind = %self.scope.kind, "the API server does not stream this list to its end: taking pages");
        self.strategy = InitialListStrategy::ListWatch;
        Next::Reopen
    }

    /// Counts, tells, and pauses.
    async fn failed(&mut self, error: &watcher::Error) -> Next {
        let trouble = Trouble::new(&self.scope, error);
        let labels = ErrorLabels::new(self.scope.kind, trouble.cause.as_str());
        self.metrics.watch_errors.get_or_create(&labels).inc();
        if let Some(listing) = &mut self.listing {
            listing.failed = true;
        }
        if self.strategy == InitialListStrategy::StreamingList && trouble.rejects_streaming() {
            return self.take_pages();
        }
        if trouble.cause == Cause::Expired {
            tracing::debug!("{trouble}");
        } else if self.told != Some(trouble.cause) {
            tracing::warn!("{trouble} (trying again until it works)");
            self.told = Some(trouble.cause);
        }
        sleep(self.pauses.after(error)).await;
        if cannot_resume(error) { Next::Reopen } else { Next::Poll }
    }

    /// Something arrived.
    fn works(&mut self) {
        self.pauses.reset();
        if self.told.take().is_some() {
            tracing::info!(kind = %self.scope.kind, namespace = self.scope.namespace.as_deref(), "the watch works again");
        }
    }

    async fn send(&self, event: Event) -> Result<(), Closed> {
        self.events.send(event).await.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use hyper::{Request, Response};
    use kube::client::Body;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_list_that_ends_early_is_taken_in_pages_and_one_that_fails_is_streamed_again() {
        let nobody = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
        let sources = Sources {
            client: Client::new(nobody, "default"),
            watch_namespaces: BTreeSet::new(),
            settings: Settings::default(),
            statuses: Arc::new(Statuses::new()),
            metrics: Metrics::default(),
        };
        let (events, _events) = mpsc::channel(1);
        let mut watch = Watch::new(&sources, Scope { kind: Kind::Service, namespace: None }, events);
        for (item, strategy) in [
            (Ok(watcher::Event::Init), InitialListStrategy::StreamingList),
            (Err(watcher::Error::NoResourceVersion), InitialListStrategy::StreamingList),
            (Ok(watcher::Event::Init), InitialListStrategy::StreamingList),
            // The trouble before does not count.
            (Ok(watcher::Event::Init), InitialListStrategy::ListWatch),
        ] {
            assert!(watch.take(item).await.is_ok());
            assert_eq!(watch.strategy, strategy);
        }
    }
}

//! The controller: watches, queue, looks, for as long as the process lives. Only while it leads, something comes of it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use contour_crds::ContourDeployment;
use futures::{FutureExt as _, StreamExt as _, stream};
use kube::Client;
use kube::runtime::applier;
use kube::runtime::controller::{Config, Error as ControllerError, ReconcileRequest};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tokio_util::sync::CancellationToken;

use crate::certificates::ask::{Asker, LIMIT};
use crate::defaults::Defaults;
use crate::events::Teller;
use crate::metrics::Metrics;
use crate::observe::{Caches, Trigger, Watches};
use crate::pace;
use crate::policy::built_in;
use crate::reconcile::{Clock, Context, on_error, reconcile};
use crate::writer::Writer;

/// Changes waiting for the queue, which takes them at once and keeps one per `ContourDeployment`.
const TRIGGERS: usize = 256;

/// Looks at the same time. Each is bound by the API server, not by us.
const CONCURRENCY: u16 = 4;

/// What a controller is made of.
pub struct Settings {
    /// For all requests.
    pub client: Client,
    /// Whether this process leads.
    pub leading: watch::Receiver<bool>,
    /// Who writes Events: the name of this process.
    pub identity: String,
    /// What children get unless a `ContourDeployment` says otherwise.
    pub defaults: Defaults,
    /// Where to look for `ContourDeployment`s; empty: everywhere.
    pub watch_namespaces: BTreeSet<String>,
    /// Namespace and name of the Lease, joined by a slash, by which other operators know this one; `None`: it has none.
    pub operator: Option<String>,
    /// The name of the `ContourPolicy` to obey.
    pub policy: String,
    /// The namespace that the operator runs in.
    pub namespace: String,
    /// What Prometheus sees.
    pub metrics: Metrics,
    /// Tells the time.
    pub clock: Clock,
}

/// A controller, to be run.
pub struct Controller {
    context: Arc<Context>,
    watches: Watches,
    triggers: mpsc::Receiver<Trigger>,
    leading: watch::Receiver<bool>,
}

impl Controller {
    /// Makes no request yet.
    pub fn new(settings: Settings) -> Self {
        let Settings {
            client,
            leading,
            identity,
            defaults,
            watch_namespaces,
            operator,
            policy,
            namespace,
            metrics,
            clock,
        } = settings;
        let (sender, triggers) = mpsc::channel(TRIGGERS);
        let (caches, watches) = Caches::new(&client, &policy, &sender, &metrics);
        let context = Context {
            caches,
            writer: Writer::new(client.clone(), leading.clone(), metrics.clone()),
            asker: Asker::new(LIMIT, sender.clone()),
            teller: Teller::new(client.clone(), identity),
            client,
            metrics,
            defaults,
            watch_namespaces,
            operator,
            policy,
            built_in: built_in(&namespace),
            clock,
            memory: std::sync::Mutex::default(),
        };
        Self { context: Arc::new(context), watches, triggers, leading }
    }

    /// The caches that it looks at.
    pub fn caches(&self) -> Caches {
        self.context.caches.clone()
    }

    /// Runs until the token is cancelled; looks under way are ended first.
    ///
    /// This is what `kube::runtime::Controller` does, put together from the same parts: its own watches know one way to react to an
    /// error, which is to hold up every queue, so that one missing definition would keep everything from being healed.
    pub async fn run(self, token: CancellationToken) {
        let Self { context, watches, triggers, leading } = self;
        let deployments = context.caches.deployments.clone();
        let everyone = deployments.clone();
        // Whoever becomes leader looks at everyone.
        let promoted = WatchStream::new(leading)
            .inspect({
                let metrics = context.metrics.clone();
                move |leads| metrics.leads(*leads)
            })
            .filter(|leads| std::future::ready(*leads))
            .flat_map(move |_| {
                let all = everyone.state();
                stream::iter(all.into_iter().map(|deployment| ObjectRef::from_obj(&*deployment)))
            });
        let paced = {
            let context = Arc::clone(&context);
            pace::paced(stream::select(ReceiverStream::new(triggers), promoted), move |trigger| {
                pace::pause(context.pods_of(trigger))
            })
        };
        let queue = paced
            .map(|trigger| Ok::<_, Infallible>(ReconcileRequest::<ContourDeployment>::from(trigger)))
            .take_until(token.clone().cancelled_owned());
        let looks = applier(
            |deployment, context| reconcile(deployment, context).boxed(),
            |deployment, error, context| on_error(&deployment, error, &context),
            Arc::clone(&context),
            deployments,
            queue,
            Config::default().concurrency(CONCURRENCY),
        );
        let looks = looks.for_each(|look| {
            // A child whose owner is gone: nobody's, or another operator's. Everything else was told by `on_error`.
            if let Err(ControllerError::ObjectNotFound(owner)) = &look {
                tracing::debug!(%owner, "a child of a ContourDeployment that does not exist changed");
            }
            std::future::ready(())
        });
        let mut looks = std::pin::pin!(looks);
        tokio::select! {
            () = watches.run(token.clone()) => {}
            () = &mut looks => return,
        }
        // Watches end before they are told to only if one panicked. Its cache will never be true again, so nothing may go on from it.
        if token.is_cancelled() {
            looks.await;
        }
    }
}

//! When kube-apiserver delivers the victim's changes to a watch: what it takes until then is not the installation's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use contour_crds::HTTPProxy;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Resource, ResourceExt as _};
use tokio::task::JoinSet;

use crate::victim;

/// The first event of each object since it was expected, as a watch of the victim's namespace received it.
#[derive(Clone, Default)]
pub(crate) struct Notices(Arc<Mutex<HashMap<String, Instant>>>);

impl Notices {
    /// Watches until the returned tasks are dropped.
    pub(crate) fn watch(client: &kube::Client) -> (Self, JoinSet<()>) {
        let (notices, mut tasks) = (Self::default(), JoinSet::new());
        let proxies: Api<PartialObjectMeta<HTTPProxy>> = Api::namespaced(client.clone(), victim::NAMESPACE);
        let slices: Api<PartialObjectMeta<EndpointSlice>> =
            Api::namespaced(client.clone(), victim::NAMESPACE);
        tasks.spawn(notices.clone().follow(watcher(proxies, Config::default())));
        tasks.spawn(notices.clone().follow(watcher(slices, Config::default())));
        (notices, tasks)
    }

    /// Forgets an object, which is about to change.
    pub(crate) fn expect(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// When the watch received it.
    pub(crate) fn of(&self, name: &str) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    async fn follow<K: Resource + Send>(
        self,
        events: impl Stream<Item = Result<Event<K>, kube::runtime::watcher::Error>> + Send,
    ) {
        let mut events = std::pin::pin!(events.default_backoff());
        while let Some(event) = events.next().await {
            if let Ok(Event::Apply(object) | Event::Delete(object)) = event {
                let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                // The first counts: what follows is the status.
                seen.entry(object.name_any()).or_insert_with(Instant::now);
            }
        }
    }
}

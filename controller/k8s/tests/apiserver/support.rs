//! What these tests share.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_crds::HTTPProxy;
use contour_e2e::apiserver::ApiServer;
use contour_e2e::wait::SOON;
use contour_graph::status::ProxyStatus;
use contour_k8s::{Metrics, Sources, Statuses};
use contour_objects::{Event, Kind, NamespacedName, Object, ObjectRef, Scope};
use kube::api::PostParams;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::util::MapRequestLayer;

/// An object from its JSON.
pub(crate) fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the test's own object has its type's shape")
}

/// A root HTTPProxy.
pub(crate) fn proxy(name: &str) -> HTTPProxy {
    object(json!({
        "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"name": name},
        "spec": {
            "virtualhost": {"fqdn": format!("{name}.example.com")},
            "routes": [{"services": [{"name": "web", "port": 80}]}],
        },
    }))
}

/// Creates the object in the namespace.
pub(crate) async fn create<T>(client: &Client, namespace: &str, value: Value) -> Result<T>
where
    T: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + DeserializeOwned
        + serde::Serialize
        + Clone
        + std::fmt::Debug,
{
    Ok(Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &object(value)).await?)
}

/// The status of a valid HTTPProxy.
pub(crate) fn valid(namespace: &str, name: &str) -> ProxyStatus {
    let object = NamespacedName::new(namespace, name);
    ProxyStatus { object, generation: 1, errors: Vec::new(), warnings: Vec::new(), holds: None }
}

/// Metrics, and what Prometheus would see of them.
pub(crate) struct Measured {
    pub(crate) metrics: Metrics,
    registry: Registry,
}

impl Measured {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        Self { metrics: Metrics::register(&mut registry), registry }
    }

    /// The value of a series, as in `contour_leader` or `x_total{kind="HTTPProxy"}`; 0 if there is none.
    pub(crate) fn value(&self, series: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("counters and gauges are whole numbers"))
    }

    /// A `contour_status_update_*_total` of HTTPProxies; `""` for all updates.
    pub(crate) fn updates(&self, outcome: &str) -> u64 {
        let infix = if outcome.is_empty() { String::new() } else { format!("_{outcome}") };
        self.value(&format!("contour_status_update{infix}_total{{kind=\"HTTPProxy\"}}"))
    }
}

/// Running watches, and what they told.
///
/// The first list may be from a moment ago: the API server streams it out of its watch cache, and what the cache had not heard of by then follows
/// as a change. So tests do not ask what was in a list, but wait for what they need to be known.
pub(crate) struct Watching {
    pub(crate) statuses: Arc<Statuses>,
    pub(crate) scopes: Vec<Scope>,
    listed: BTreeSet<Scope>,
    known: BTreeSet<ObjectRef>,
    events: mpsc::Receiver<Event>,
    task: tokio::task::JoinHandle<Result<(), contour_k8s::SourcesError>>,
    token: CancellationToken,
    _stop: DropGuard,
}

impl Watching {
    /// Watches these namespaces; none: all.
    pub(crate) fn start(client: Client, namespaces: &[&str], metrics: &Metrics) -> Self {
        let statuses = Arc::new(Statuses::new());
        let watch_namespaces: BTreeSet<String> = namespaces.iter().map(|&n| n.to_owned()).collect();
        let sources = Sources {
            client,
            watch_namespaces,
            settings: contour_graph::Settings::default(),
            statuses: Arc::clone(&statuses),
            metrics: metrics.clone(),
        };
        let scopes = sources.scopes();
        let token = CancellationToken::new();
        let (sender, events) = mpsc::channel(8);
        let task = tokio::spawn(sources.run(sender, token.clone()));
        let (listed, known) = (BTreeSet::new(), BTreeSet::new());
        Self { statuses, scopes, listed, known, events, task, _stop: token.clone().drop_guard(), token }
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        self.next_within(SOON).await
    }

    /// The next event, which may take as long.
    pub(crate) async fn next_within(&mut self, limit: Duration) -> Result<Event> {
        let next = timeout(limit, self.events.recv()).await.context("no event came")?;
        let event = next.context("the watches ended")?;
        match &event {
            Event::Apply(object) => {
                self.known.insert(object.reference());
            }
            Event::Delete(reference) => {
                self.known.remove(reference);
            }
            Event::Replace(scope, objects) => {
                anyhow::ensure!(self.scopes.contains(scope), "{scope:?} was not announced");
                self.listed.insert(scope.clone());
                self.known.retain(|reference| !covers(scope, reference));
                self.known.extend(objects.iter().map(Object::reference));
            }
        }
        Ok(event)
    }

    /// The next event about this kind.
    pub(crate) async fn next_of(&mut self, kind: Kind) -> Result<Event> {
        loop {
            let event = self.next().await?;
            if kind_of(&event) == kind {
                return Ok(event);
            }
        }
    }

    /// Waits until every scope was listed and these objects are known, and with them the watched namespaces: nothing that was there before is
    /// told later than that.
    pub(crate) async fn synced_with(&mut self, objects: &[(Kind, &str)]) -> Result<()> {
        let namespaces: Vec<_> = self.scopes.iter().filter_map(|scope| scope.namespace.clone()).collect();
        let namespaces = namespaces.iter().map(|name| (Kind::Namespace, &**name));
        let awaited: BTreeSet<(Kind, &str)> = objects.iter().copied().chain(namespaces).collect();
        loop {
            let known: BTreeSet<_> = self.known.iter().map(|known| (known.kind, &*known.name.name)).collect();
            let missing: Vec<_> = awaited.difference(&known).collect();
            if missing.is_empty() && self.listed.len() == self.scopes.len() {
                return Ok(());
            }
            let missing =
                format!("listed {} of {}, missing {missing:?}", self.listed.len(), self.scopes.len());
            self.next().await.context(missing)?;
        }
    }

    /// Waits until these and no other objects of the kind are known.
    pub(crate) async fn until(&mut self, kind: Kind, names: &[&str]) -> Result<()> {
        while self.known(kind) != names {
            let other = format!("{kind}: {:?} instead of {names:?}", self.known(kind));
            self.next().await.context(other)?;
        }
        Ok(())
    }

    /// The names of the known objects of this kind, in order.
    pub(crate) fn known(&self, kind: Kind) -> Vec<&str> {
        let of_kind = self.known.iter().filter(|known| known.kind == kind);
        let mut names: Vec<_> = of_kind.map(|known| &*known.name.name).collect();
        names.sort_unstable();
        names
    }

    /// Ends the watches.
    pub(crate) async fn stop(self) -> Result<Arc<Statuses>> {
        self.token.cancel();
        timeout(SOON, self.task).await.context("the watches do not end")???;
        Ok(self.statuses)
    }
}

/// Whether a list of this scope says whether the object exists.
fn covers(scope: &Scope, reference: &ObjectRef) -> bool {
    let place = if scope.kind == Kind::Namespace { &reference.name.name } else { &reference.name.namespace };
    scope.kind == reference.kind && scope.namespace.as_ref().is_none_or(|namespace| namespace == place)
}

pub(crate) fn kind_of(event: &Event) -> Kind {
    match event {
        Event::Apply(object) => object.reference().kind,
        Event::Delete(reference) => reference.kind,
        Event::Replace(scope, _) => scope.kind,
    }
}

/// The names of these objects, in order.
pub(crate) fn names(objects: &[Object]) -> Vec<String> {
    let mut names: Vec<_> = objects.iter().map(|object| object.reference().name.name.to_string()).collect();
    names.sort();
    names
}

/// A way to the API server that can be cut.
pub(crate) struct Line {
    address: SocketAddr,
    target: SocketAddr,
    open: Arc<Mutex<Option<JoinSet<()>>>>,
    /// Watches go on from long ago.
    forgetful: Arc<AtomicBool>,
    /// Lists cannot be streamed.
    dated: Arc<AtomicBool>,
    _accepting: tokio_util::task::AbortOnDropHandle<()>,
}

impl Line {
    pub(crate) async fn to(api: &ApiServer) -> Result<Self> {
        let target = api.address().trim_start_matches("https://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let open = Arc::new(Mutex::new(Some(JoinSet::new())));
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&open)));
        let accepting = tokio_util::task::AbortOnDropHandle::new(accepting);
        Ok(Self {
            address,
            target,
            open,
            forgetful: Arc::default(),
            dated: Arc::default(),
            _accepting: accepting,
        })
    }

    /// A client that takes this way.
    pub(crate) async fn client(&self, api: &ApiServer) -> Result<Client> {
        // Also sets up what every client here needs.
        drop(api.client().await?);
        let kubeconfig = Kubeconfig::read_from(api.kubeconfig())?;
        let mut config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        anyhow::ensure!(config.cluster_url.to_string().contains(&self.target.to_string()));
        config.cluster_url = format!("https://{}", self.address).parse()?;
        let (forgetful, dated) = (Arc::clone(&self.forgetful), Arc::clone(&self.dated));
        let layer = MapRequestLayer::new(move |mut request: hyper::Request<Body>| {
            let (forgetful, dated) = (forgetful.load(Ordering::SeqCst), dated.load(Ordering::SeqCst));
            *request.uri_mut() = rewrite(request.uri(), |name, version| match name {
                "resourceVersion" if forgetful && version != "0" => Some("1".to_owned()),
                // Without this the server rejects what it would reject if it did not stream lists, with the same code.
                "resourceVersionMatch" if dated => None,
                _ => Some(version.to_owned()),
            });
            request
        });
        Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
    }

    /// Breaks all connections and takes no new ones.
    pub(crate) fn cut(&self) {
        *self.open.lock().expect("nobody panics with it") = None;
    }

    /// Takes connections again.
    pub(crate) fn mend(&self) {
        *self.open.lock().expect("nobody panics with it") = Some(JoinSet::new());
    }

    /// Makes watches go on from a resource version that is from before the CRDs were installed, as after days without contact.
    pub(crate) fn forget(&self) {
        self.forgetful.store(true, Ordering::SeqCst);
    }

    /// Makes the server reject lists that are part of a watch.
    pub(crate) fn reject_streams(&self) {
        self.dated.store(true, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, open: Arc<Mutex<Option<JoinSet<()>>>>) {
    while let Ok((mut near, _)) = listener.accept().await {
        if let Some(connections) = open.lock().expect("nobody panics with it").as_mut() {
            connections.spawn(async move {
                if let Ok(mut far) = TcpStream::connect(target).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    }
}

/// The same request with other parameters.
fn rewrite(uri: &hyper::Uri, change: impl Fn(&str, &str) -> Option<String>) -> hyper::Uri {
    let Some(query) = uri.query().filter(|query| !query.is_empty()) else { return uri.clone() };
    let changed: Vec<_> = query
        .split('&')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some(format!("{name}={}", change(name, value)?))
        })
        .collect();
    let text = uri.to_string().replace(query, &changed.join("&"));
    text.parse().expect("parameters were only replaced or left out")
}

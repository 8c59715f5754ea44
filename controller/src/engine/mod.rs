//! The engine: events in; resources to the xDS cache and news to the owners of objects out.
//!
//! One task owns the store, the graph and the assembly; it has a thread of its own, since it computes and nobody should wait for that. It takes
//! all events that are waiting as one batch, so that a burst costs one build, and builds in slices, so that a change of one namespace waits for
//! one slice of another's and not for all. It never waits for anybody downstream: streams read the cache at their own pace, and a [`Sink`]
//! must not block.

mod metrics;
mod rejections;
mod shortened;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, RwLock, TryLockError};
use std::time::{Duration, Instant};

use contour_envoy::{Assembly, Owner};
use contour_graph::model::VirtualHost;
use contour_graph::status::ProxyStatus;
use contour_graph::{Graph, IngressNote};
use contour_objects::{Changes, Event, Kind, NamespacedName, Scope, Store};
use contour_resource::Transaction;
use contour_runtime::ReadinessHandle;
use contour_xds::{Cache, Fact, Facts, Piece};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use metrics::EngineMetrics;
use rejections::{Affected, Rejections, names};
use shortened::Shortages;

/// The most events taken in one batch. More only wait for the next.
const BATCH: usize = 4096;

/// The work of one slice, in the unit of the graph's budgets: a few hundred hosts, some milliseconds.
const SLICE: u64 = 32 << 20;

/// The longest text that a look at all hosts gives, in bytes.
const LONGEST_LOOK: usize = 64 << 20;

/// How long a start may be silent about what it waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The shortest time between two looks at what Envoys say: a thousand of them do not say it in the same moment, and are to be told as one.
const PACE: Duration = Duration::from_secs(1);

/// The most objects named in a log line.
const MOST_NAMED: usize = 10;

/// What a step of the engine has to tell, after the configuration it describes was published.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// HTTPProxies with a new status.
    pub statuses: Vec<ProxyStatus>,
    /// HTTPProxies that are gone or of another class.
    pub gone: Vec<NamespacedName>,
    /// Hosts that were built again, with what they serve now.
    pub hosts: Vec<(Arc<str>, Option<Arc<VirtualHost>>)>,
    /// What Ingresses of these hosts have to tell.
    pub notes: Vec<IngressNote>,
    /// Hosts that were not built again, and of which these are all the notes now.
    pub noted: Vec<Arc<str>>,
    /// Hosts of which Ingresses have nothing to tell any more.
    pub quiet: Vec<Arc<str>>,
}

impl News {
    fn is_empty(&self) -> bool {
        let told = self.hosts.is_empty() && self.notes.is_empty() && self.noted.is_empty();
        told && self.statuses.is_empty() && self.gone.is_empty() && self.quiet.is_empty()
    }
}

/// Where news goes: the API server's statuses, or files and a terminal.
pub trait Sink: Send + Sync {
    /// Takes news. Must not block.
    fn tell(&self, news: News);
}

/// What the engine is made of; see the module.
pub struct Engine {
    store: Arc<RwLock<Store>>,
    graph: Graph,
    assembly: Assembly,
    cache: Cache,
    sink: Arc<dyn Sink>,
    awaiting: BTreeSet<Scope>,
    pending: Changes,
    rejections: Rejections,
    shortages: Shortages,
    /// What the last build of a host had to say about its Ingresses.
    notes: BTreeMap<Arc<str>, Vec<IngressNote>>,
    metrics: EngineMetrics,
    ready: Option<ReadinessHandle>,
}

/// A look into the engine from outside, for debug pages.
#[derive(Clone)]
pub struct Inspector {
    store: Arc<RwLock<Store>>,
    settings: contour_graph::Settings,
    looking: Arc<Mutex<()>>,
}

impl Inspector {
    /// Every host and what it serves, built for this call, as text. One look at a time.
    pub fn hosts(&self) -> String {
        let looking = self.looking.try_lock();
        if matches!(looking, Err(TryLockError::WouldBlock)) {
            return "another look at the hosts is under way: try again later\n".to_owned();
        }
        // Only pointers are copied: the engine must not wait for the build.
        let store = self.store.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let mut graph = Graph::new(self.settings.clone());
        graph.take_in(&store, &everything(&store));
        let mut length = 0;
        let mut hosts: BTreeMap<Arc<str>, String> = BTreeMap::new();
        while !graph.is_settled() && length < LONGEST_LOOK {
            for (fqdn, host) in graph.build_some(&store, SLICE).hosts {
                let text = host.map(|host| host.to_string()).unwrap_or_default();
                length += text.len();
                hosts.insert(fqdn, text);
            }
        }
        let rest = if graph.is_settled() { "" } else { "... and more hosts\n" };
        hosts.into_values().chain([rest.to_owned()]).collect()
    }
}

/// All objects that name hosts, as one change: what a build from scratch starts with.
pub fn everything(store: &Store) -> Changes {
    use contour_objects::ObjectRef;
    let proxies = store.proxies().map(|p| ObjectRef::new(Kind::HttpProxy, p.name.clone()));
    let ingresses = store.ingresses().map(|i| ObjectRef::new(Kind::Ingress, i.name.clone()));
    Changes { objects: proxies.chain(ingresses).collect(), ..Changes::default() }
}

/// What the engine needs from its surroundings.
pub struct Wiring {
    /// Settings of the graph.
    pub graph: contour_graph::Settings,
    /// Settings of the translation.
    pub envoy: contour_envoy::Settings,
    /// Where resources are published.
    pub cache: Cache,
    /// Where news goes.
    pub sink: Arc<dyn Sink>,
    /// Scopes that must have been listed before anything is published.
    pub scopes: Vec<Scope>,
    /// Released with the first complete snapshot.
    pub ready: ReadinessHandle,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub fn new(wiring: Wiring, registry: &mut Registry) -> (Self, Inspector) {
        let store = Arc::new(RwLock::new(Store::default()));
        let inspector =
            Inspector { store: Arc::clone(&store), settings: wiring.graph.clone(), looking: Arc::default() };
        let engine = Self {
            store,
            graph: Graph::new(wiring.graph),
            assembly: Assembly::new(wiring.envoy),
            cache: wiring.cache,
            sink: wiring.sink,
            awaiting: wiring.scopes.into_iter().collect(),
            pending: Changes::default(),
            rejections: Rejections::default(),
            shortages: Shortages::default(),
            notes: BTreeMap::new(),
            metrics: EngineMetrics::register(registry),
            ready: Some(wiring.ready),
        };
        (engine, inspector)
    }

    /// Runs until `token` is cancelled or every source is gone.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>, facts: Facts, token: CancellationToken) {
        let mut batch = Vec::new();
        let started = Instant::now();
        let mut heard = None;
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                count = events.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return self.publish_some(u64::MAX);
                    }
                    self.take_in(batch.drain(..));
                    self.publish_some(SLICE);
                }
                () = tokio::task::yield_now(), if !self.is_settled() => self.publish_some(SLICE),
                facts = paced(&facts, heard) => {
                    self.heard(&facts);
                    heard = Some(tokio::time::Instant::now());
                }
                () = tokio::time::sleep(PATIENCE), if self.ready.is_some() => self.complain(started),
            }
        }
    }

    /// Takes in a batch of events and publishes all that they change.
    pub fn step(&mut self, events: impl IntoIterator<Item = Event>) {
        self.take_in(events);
        self.publish_some(u64::MAX);
    }

    fn take_in(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut store = self.store.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for event in events {
            self.metrics.event(&event);
            if let Event::Replace(scope, _) = &event {
                self.awaiting.remove(scope);
            }
            store.apply(event, &mut self.pending);
        }
    }

    /// Whether everything that was taken in is published.
    fn is_settled(&self) -> bool {
        self.graph.is_settled() && self.assembly.is_settled()
    }

    /// Publishes what changed, up to so much work; the first time, everything.
    fn publish_some(&mut self, most: u64) {
        let nothing = self.pending.is_empty() && self.is_settled() && self.ready.is_none();
        if !self.awaiting.is_empty() || nothing {
            return;
        }
        let changes = std::mem::take(&mut self.pending);
        let most = if self.ready.is_some() { u64::MAX } else { most };
        self.publish(&changes, most);
    }

    fn publish(&mut self, changes: &Changes, most: u64) {
        let started = Instant::now();
        let store = Arc::clone(&self.store);
        let store = store.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let first = self.ready.take();
        let mut transaction = if first.is_some() { self.assembly.initial() } else { Transaction::default() };
        self.graph.take_in(&store, changes);
        let update = self.graph.build_some(&store, most);
        let built = Instant::now();
        extend(&mut transaction, self.assembly.hosts(&store, update.hosts.iter().cloned()));
        self.assembly.note_endpoints(&changes.endpoints);
        extend(&mut transaction, self.assembly.some_endpoints(&store, most));
        let published = self.cache.commit(transaction);
        self.metrics.updated(built.elapsed());
        if let Some(ready) = first {
            self.cache.open();
            ready.release();
            info!(hosts = self.graph.hosts().count(), "the first complete configuration is published");
        }
        if published {
            debug!(hosts = update.hosts.len(), services = changes.endpoints.len(), "published");
        }
        self.metrics.built(started.elapsed(), update.hosts.len());
        self.metrics.counted(&store);
        log_notes(update.new_notes.iter().filter_map(|&at| update.notes.get(at)));
        let mut news = News {
            statuses: update.statuses,
            gone: update.gone,
            hosts: update.hosts,
            notes: update.notes,
            noted: Vec::new(),
            quiet: update.quiet,
        };
        let mut affected = Affected::default();
        self.shorten(&mut affected);
        self.note(&mut news);
        for status in &mut news.statuses {
            affected.proxies.remove(&status.object);
            self.add_to(status);
        }
        for (host, _) in &news.hosts {
            affected.hosts.remove(host);
        }
        self.metrics.proxies(&store, &news.statuses, &news.gone);
        drop(store);
        self.tell(news);
        self.tell_again(affected);
    }

    /// Takes in what Envoys say, all that is waiting as one batch.
    fn heard(&mut self, facts: &[Fact]) {
        let mut affected = Affected::default();
        for fact in facts {
            let Piece { kind, resource, part } = &fact.piece;
            let owners = self.assembly.owners(*kind, resource, part);
            for refusal in &fact.new {
                let (owners, node) = (objects(&owners), names(refusal));
                let (kind, message) = (kind.short(), &refusal.message);
                warn!(%node, kind, %resource, %part, owners, %message, "Envoy rejected configuration; its last good version stays");
            }
            if fact.refusals.is_empty() {
                info!(kind = kind.short(), %resource, %part, "Envoy accepts again");
            }
            self.rejections.set(fact, &owners, &mut affected);
        }
        self.tell_again(affected);
    }

    /// Takes in which Services have more endpoints than are used.
    fn shorten(&mut self, affected: &mut Affected) {
        let mut new: usize = 0;
        for one in self.assembly.shortened() {
            if !self.shortages.set(&one, affected) {
                continue;
            }
            new += 1;
            if new <= MOST_LINES {
                warn!(objects = objects(&one.owners), "{}", one.message.as_deref().unwrap_or_default());
            }
        }
        if new > MOST_LINES {
            warn!("{} more Services have more endpoints than are used", new - MOST_LINES);
        }
    }

    /// Adds what is not the graph's to a status.
    fn add_to(&self, status: &mut ProxyStatus) {
        self.rejections.add_to(status);
        self.shortages.add_to(status);
    }

    /// Tells of objects that were not built again what else is true of them now.
    fn tell_again(&mut self, affected: Affected) {
        let statuses = affected.proxies.iter().filter_map(|name| self.graph.status(name)).cloned();
        let statuses: Vec<ProxyStatus> = statuses
            .map(|mut status| {
                self.add_to(&mut status);
                status
            })
            .collect();
        {
            let store = self.store.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.metrics.proxies(&store, &statuses, &[]);
        }
        let hosts: Vec<Arc<str>> = affected.hosts.into_iter().collect();
        let built = hosts.iter().flat_map(|host| self.notes.get(host).into_iter().flatten().cloned());
        let notes = built.chain(hosts.iter().flat_map(|host| self.other_notes(host))).collect();
        self.tell(News { statuses, notes, noted: hosts, ..News::default() });
    }

    /// What there is to tell of a host's Ingresses that builds do not know.
    fn other_notes(&self, host: &Arc<str>) -> impl Iterator<Item = IngressNote> {
        self.rejections.notes(host).chain(self.shortages.notes(host))
    }

    /// Remembers what builds had to say about their hosts' Ingresses, and adds what Envoys say.
    fn note(&mut self, news: &mut News) {
        let mut hosts: BTreeSet<Arc<str>> = news.hosts.iter().map(|(host, _)| Arc::clone(host)).collect();
        hosts.extend(news.notes.iter().map(|note| Arc::clone(&note.host)).chain(news.quiet.iter().cloned()));
        for host in &hosts {
            self.notes.remove(host);
        }
        for note in &news.notes {
            self.notes.entry(Arc::clone(&note.host)).or_default().push(note.clone());
        }
        news.notes.extend(hosts.iter().flat_map(|host| self.other_notes(host)));
    }

    fn tell(&self, news: News) {
        if !news.is_empty() {
            self.sink.tell(news);
        }
    }

    fn complain(&self, started: Instant) {
        let waiting: Vec<String> = self
            .awaiting
            .iter()
            .map(|scope| match &scope.namespace {
                Some(namespace) => format!("{} in {namespace}", scope.kind),
                None => scope.kind.to_string(),
            })
            .collect();
        let seconds = started.elapsed().as_secs();
        warn!(
            waiting = waiting.join(", "),
            seconds, "nothing is published before every kind was listed once"
        );
    }
}

/// What Envoys say, not sooner than a while after what was heard last.
async fn paced(facts: &Facts, heard: Option<tokio::time::Instant>) -> Vec<Fact> {
    if let Some(heard) = heard {
        tokio::time::sleep_until(heard + PACE).await;
    }
    facts.changed().await
}

/// The objects behind a piece, as text.
fn objects(owners: &[Owner]) -> String {
    let origins: BTreeSet<_> = owners.iter().flat_map(|owner| &owner.origins).collect();
    let named = origins.iter().take(MOST_NAMED).map(|origin| format!("{} {}", origin.kind, origin.object));
    let named = named.collect::<Vec<_>>().join(", ");
    match origins.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The most lines about one Ingress and one change.
const MOST_LINES: usize = 8;

/// Logs what Ingresses have to tell that they did not tell before.
fn log_notes<'a>(notes: impl Iterator<Item = &'a IngressNote>) {
    let mut counts: BTreeMap<&NamespacedName, usize> = BTreeMap::new();
    for note in notes {
        let count = counts.entry(&note.ingress).or_default();
        *count += 1;
        if *count <= MOST_LINES {
            warn!(ingress = %note.ingress, host = %note.host, "{}", note.message);
        }
    }
    for (ingress, count) in counts.into_iter().filter(|(_, count)| *count > MOST_LINES) {
        warn!(%ingress, "there is more to tell about it, {} lines", count - MOST_LINES);
    }
}

fn extend(transaction: &mut Transaction, more: Transaction) {
    transaction.set.extend(more.set);
    transaction.remove.extend(more.remove);
}

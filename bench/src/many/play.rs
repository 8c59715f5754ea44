//! One played Envoy as a state machine: responses and time in, requests out.
//!
//! The order is Envoy's. It begins with the runtime layer, then Clusters, then all endpoints these refer to in one request; Listeners come when its
//! clusters are initialized, then the tables these refer to. What does not come within 15 s is not waited for (`initial_fetch_timeout`). Later its
//! answer to Clusters waits until new ones are warm.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use contour_resource::ResourceType;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use prost::Message as _;

use super::requests::{Learned, Plan, acknowledge, greeting, nobody, services_of, subscribe};
use super::scan::Summary;

use ResourceType::{Cluster, Endpoints, Listener, Route, Runtime};

/// Envoy's default `initial_fetch_timeout`.
const FETCH: Duration = Duration::from_secs(15);

/// Up to what size a response is decoded, once an Envoy has started: those about a change, but for tables.
const SMALL: usize = 64 * 1024;

/// What is told of a played Envoy while it plays. Everything is about its present connection but what is counted.
#[derive(Debug, Default)]
pub struct Seat {
    /// Resources it has accepted, by type.
    pub(super) accepted: [AtomicU32; ResourceType::ALL.len()],
    /// How many there will be when it has everything.
    pub(super) due: [AtomicU32; ResourceType::ALL.len()],
    /// Whether the server has dealt with all it asked for.
    pub(super) heard: AtomicBool,
    /// Resources it was sent, over all connections.
    pub(super) resources: AtomicU64,
    /// Bytes of responses, over all connections.
    pub(super) bytes: AtomicU64,
    /// It was given Listeners or Routes before it had accepted the clusters and endpoints these need.
    pub(super) early: AtomicBool,
    /// It did not wait any longer for something at its start.
    pub(super) impatient: AtomicBool,
    /// Connections that ended without its doing.
    pub(super) broken: AtomicU32,
    /// Why the last of them ended.
    pub(super) error: Mutex<Option<String>>,
}

impl Seat {
    /// It has and has accepted everything.
    pub(super) fn is_complete(&self) -> bool {
        self.heard.load(Relaxed) && ResourceType::ALL.into_iter().all(|kind| self.has(kind))
    }

    fn has(&self, kind: ResourceType) -> bool {
        let of = |counts: &[AtomicU32]| counts[kind as usize].load(Relaxed);
        of(&self.accepted) >= of(&self.due)
    }

    /// More is to come, this many of each of these types.
    pub(super) fn expect(&self, more: &[(ResourceType, u32)]) {
        for (kind, more) in more {
            let accepted = self.accepted[*kind as usize].load(Relaxed);
            self.due[*kind as usize].store(accepted + more, Relaxed);
        }
    }
}

/// What an Envoy has when it connects.
#[derive(Clone, Debug)]
pub enum Start {
    /// Nothing, and it decodes everything, so that the others need not.
    Learning(Arc<Mutex<Learned>>),
    /// Nothing.
    Cold(Arc<Plan>),
    /// Everything.
    Known(Arc<Plan>),
    /// Nothing, and it asks for everything at once, as an Envoy does whose connection broke before it was answered.
    Hasty(Arc<Plan>),
}

/// What it waits for at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Runtime,
    Clusters,
    Endpoints,
    Listeners,
    Started,
}

/// A played Envoy on one connection.
pub(super) struct Play {
    seat: Arc<Seat>,
    start: Start,
    step: Step,
    /// When it waits no longer for what the step is about.
    pub(super) deadline: Option<Instant>,
    /// The answer to Clusters that are not warm yet, how many these are, and how many endpoints they wait for.
    warming: Option<(Bytes, u32, u32)>,
    /// Whether it has asked for what all Clusters, and all Listeners, refer to.
    asked: [bool; 2],
    unheard: Vec<ResourceType>,
    out: Vec<Bytes>,
}

impl Play {
    /// Begins on a new connection. Its first requests are in [`Self::requests`].
    pub(super) fn new(node: &str, seat: Arc<Seat>, start: Start) -> Self {
        seat.accepted.iter().for_each(|count| count.store(0, Relaxed));
        let due = match &start {
            Start::Cold(plan) | Start::Hasty(plan) => plan.counts,
            Start::Learning(_) | Start::Known(_) => [0; ResourceType::ALL.len()],
        };
        seat.due.iter().zip(due).for_each(|(count, due)| count.store(due, Relaxed));
        seat.heard.store(!matches!(start, Start::Known(_)), Relaxed);
        let (step, deadline) = (Step::Started, None);
        let (asked, unheard, out) = ([false; 2], Vec::new(), Vec::new());
        let mut play = Self { seat, start, step, deadline, warming: None, asked, unheard, out };
        if let Start::Known(plan) = &play.start {
            play.out.push(greeting(node, plan.layer.as_deref()));
            play.out.extend(plan.again.iter().cloned());
            play.unheard = vec![Endpoints, Route];
            play.out.extend(play.unheard.iter().map(|kind| nobody(*kind)));
        } else if let Start::Hasty(plan) = &play.start {
            play.out.push(greeting(node, None));
            play.out.extend([subscribe(Cluster, Vec::new()), plan.endpoints.clone()]);
            play.out.extend([subscribe(Listener, Vec::new()), plan.tables.clone()]);
        } else {
            play.out.push(greeting(node, None));
            play.wait_for(Step::Runtime);
        }
        play
    }

    /// What it has to say since it was last asked.
    pub(super) fn requests(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.out)
    }

    /// Up to what size it wants to see a whole response.
    pub(super) fn keep(&self) -> usize {
        match (&self.start, self.step) {
            (Start::Learning(_), _) => usize::MAX,
            (_, Step::Started) => SMALL,
            _ => 0,
        }
    }

    /// Takes in a response.
    pub(super) fn receive(&mut self, summary: Summary, whole: Option<&[u8]>) -> Result<()> {
        let kind = ResourceType::from_url(&summary.type_url)
            .context("a response of a type that was not asked for")?;
        self.seat.bytes.fetch_add(summary.bytes, Relaxed);
        self.seat.resources.fetch_add(summary.resources.into(), Relaxed);
        let before_clusters = !self.seat.has(Cluster) || !self.seat.has(Endpoints);
        if matches!(kind, Listener | Route) && summary.resources > 0 && before_clusters {
            self.seat.early.store(true, Relaxed);
        }
        if summary.removed > 0 {
            self.unheard.retain(|other| *other != kind);
            self.seat.heard.store(self.unheard.is_empty(), Relaxed);
        }
        let answer = acknowledge(kind, summary.nonce);
        let referred = self.referred(kind, whole)?;
        if kind == Cluster && self.step == Step::Started && !referred.is_empty() {
            let wanted = u32::try_from(referred.len()).unwrap_or(u32::MAX);
            self.warming = Some((answer, summary.resources, wanted));
            self.out.push(subscribe(Endpoints, referred));
            return Ok(());
        }
        self.out.push(answer);
        self.accept(kind, summary.resources);
        if kind == Endpoints {
            self.warm(summary.resources);
        }
        if !referred.is_empty() {
            let of = if kind == Cluster { Endpoints } else { Route };
            self.out.push(subscribe(of, referred));
        }
        self.go_on(kind);
        Ok(())
    }

    fn accept(&self, kind: ResourceType, resources: u32) {
        self.seat.accepted[kind as usize].fetch_add(resources, Relaxed);
    }

    /// Endpoints have come, for which new clusters may have waited.
    fn warm(&mut self, endpoints: u32) {
        let Some((answer, clusters, wanted)) = self.warming.take() else { return };
        if wanted > endpoints {
            self.warming = Some((answer, clusters, wanted - endpoints));
            return;
        }
        self.out.push(answer);
        self.accept(Cluster, clusters);
    }

    /// The names that a response refers to, where it is decoded, and that were not asked for before.
    fn referred(&mut self, kind: ResourceType, whole: Option<&[u8]>) -> Result<Vec<String>> {
        let Some(whole) = whole else { return Ok(Vec::new()) };
        match &self.start {
            Start::Learning(learned) => {
                let response = DeltaDiscoveryResponse::decode(whole)?;
                learned.lock().unwrap_or_else(PoisonError::into_inner).take(kind, &response)
            }
            Start::Cold(plan) | Start::Known(plan) | Start::Hasty(plan) if kind == Cluster => {
                let mut names = services_of(&DeltaDiscoveryResponse::decode(whole)?)?;
                names.retain(|name| !plan.services.contains(name));
                Ok(names)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Asks for what a type refers to, and takes the next step of the start, if all of the type has come.
    fn go_on(&mut self, kind: ResourceType) {
        let whole = match &self.start {
            Start::Learning(learned) if kind == Endpoints => {
                learned.lock().unwrap_or_else(PoisonError::into_inner).is_whole()
            }
            Start::Learning(_) => true,
            Start::Cold(_) | Start::Known(_) | Start::Hasty(_) => self.seat.has(kind),
        };
        if !whole {
            return;
        }
        if let Start::Cold(plan) = &self.start
            && let Some(request) =
                [(Cluster, &plan.endpoints), (Listener, &plan.tables)].into_iter().find(|r| r.0 == kind)
            && !std::mem::replace(&mut self.asked[usize::from(kind == Listener)], true)
        {
            self.out.push(request.1.clone());
        }
        let step = match kind {
            Runtime => Step::Runtime,
            Cluster => Step::Clusters,
            Endpoints => Step::Endpoints,
            Listener => Step::Listeners,
            _ => return,
        };
        if self.step == step {
            self.next();
        }
    }

    /// Does without what it waits for. Without Clusters it knows of no endpoints to wait for.
    pub(super) fn lose_patience(&mut self) {
        self.seat.impatient.store(true, Relaxed);
        if self.step == Step::Clusters {
            self.step = Step::Endpoints;
        }
        self.next();
    }

    fn next(&mut self) {
        let (step, request) = match self.step {
            Step::Runtime => (Step::Clusters, Some(Cluster)),
            Step::Clusters => (Step::Endpoints, None),
            Step::Endpoints => (Step::Listeners, Some(Listener)),
            Step::Listeners | Step::Started => (Step::Started, None),
        };
        self.out.extend(request.map(|kind| subscribe(kind, Vec::new())));
        self.wait_for(step);
    }

    fn wait_for(&mut self, step: Step) {
        self.step = step;
        self.deadline = (step != Step::Started).then(|| Instant::now() + FETCH);
    }
}

//! Requests for the victim's hosts that never cease, over every Envoy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use contour_e2e::client::{Connection, Request};
use contour_e2e::wait::eventually;
use std::sync::{Mutex, PoisonError};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::victim::{PATHS, Victim, accept};
use crate::world::{PATIENCE, World};

/// Hosts of each kind that are asked for.
const SAMPLE: usize = 24;

/// The least time between two requests over a connection that stays open.
const KEPT: Duration = Duration::from_millis(10);

/// The least time between two requests over a connection each.
const FRESH: Duration = Duration::from_millis(25);

/// The first failures are kept as they are.
const REMEMBERED: usize = 8;

/// Requests that go on until this is dropped.
pub(crate) struct Traffic {
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

struct Seen {
    started: Instant,
    requests: AtomicU64,
    failures: AtomicU64,
    first: Mutex<Vec<String>>,
}

/// What was counted so far.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Counted {
    /// Requests that ended.
    pub(crate) requests: u64,
    /// Those of them that ended in another way than with the victim's own answer.
    pub(crate) failed: u64,
    /// The first of those, with the time since the traffic began.
    pub(crate) first: Vec<String>,
}

impl Traffic {
    /// Begins.
    pub(crate) fn start(world: &World, victim: &Victim) -> Self {
        let seen = Arc::new(Seen {
            started: Instant::now(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            first: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for proxy in world.proxies() {
            let of = |(host, tls): &(String, bool), path: &str| victim.request(proxy, host, path, *tls);
            let sample = victim.sample(SAMPLE);
            let all: Vec<Request> =
                PATHS.iter().flat_map(|path| sample.iter().map(move |one| of(one, path))).collect();
            let plain = sample.iter().filter(|(_, tls)| !tls);
            let plain = plain.enumerate().map(|(k, one)| of(one, PATHS[k % PATHS.len()])).collect();
            tasks.spawn(fresh(all, proxy.name.clone(), Arc::clone(&seen)));
            tasks.spawn(kept(plain, proxy.name.clone(), Arc::clone(&seen)));
        }
        Self { seen, _tasks: tasks }
    }

    /// Waits until so many requests have ended.
    pub(crate) async fn until(&self, requests: u64) -> Result<()> {
        eventually(PATIENCE, || async {
            let ended = self.seen.requests.load(Ordering::SeqCst);
            ensure!(ended >= requests, "{ended} requests");
            Ok(())
        })
        .await
    }

    /// What was counted so far.
    pub(crate) fn counted(&self) -> Counted {
        Counted {
            requests: self.seen.requests.load(Ordering::SeqCst),
            failed: self.seen.failures.load(Ordering::SeqCst),
            first: self.seen.first.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Seen {
    fn note(&self, way: &str, request: &Request, outcome: Result<()>) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let Err(error) = outcome else { return };
        self.failures.fetch_add(1, Ordering::SeqCst);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.len() < REMEMBERED {
            let at = self.started.elapsed().as_secs_f64();
            first.push(format!("{way}, {at:.1} s: {} {error:#}", request.target()));
        }
    }
}

/// Every request over a connection of its own, as new clients come.
async fn fresh(requests: Vec<Request>, proxy: String, seen: Arc<Seen>) {
    let mut pace = pace(FRESH);
    for request in requests.iter().cycle() {
        pace.tick().await;
        let outcome = request.send().await.and_then(|answer| accept(&answer));
        seen.note(&format!("{proxy}, new connection"), request, outcome);
    }
}

/// All requests over one connection, which Envoy may end between two of them only, and with notice.
async fn kept(requests: Vec<Request>, proxy: String, seen: Arc<Seen>) {
    let mut pace = pace(KEPT);
    let mut open: Option<Connection> = None;
    for request in requests.iter().cycle() {
        pace.tick().await;
        let outcome = async {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => request.connect().await?,
            };
            let answer = connection.send(request).await?;
            if answer.header("connection") != Some("close") {
                open = Some(connection);
            }
            accept(&answer)
        };
        let outcome = outcome.await;
        seen.note(&format!("{proxy}, kept connection"), request, outcome);
    }
}

fn pace(interval: Duration) -> tokio::time::Interval {
    let mut pace = tokio::time::interval(interval);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

//! What is watched all the while: memory, health, the lease, and whether everything still runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use tokio::task::AbortHandle;

use crate::world::{World, controller};

/// Pause between two looks at memory.
const MEMORY: Duration = Duration::from_millis(100);

/// Pause between two probes; a kubelet's are ten seconds apart.
const PROBE: Duration = Duration::from_millis(250);

/// The most that was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Seen {
    /// Resident bytes of the controller, at the peak.
    pub(crate) controller: u64,
    /// Resident bytes of the larger Envoy, at the peak.
    pub(crate) envoy: u64,
    /// The longest answer of `/healthz`, in milliseconds.
    pub(crate) healthz: f64,
    /// Answers of `/healthz` other than 200, or none.
    pub(crate) unhealthy: usize,
    /// Times that the controller was seen without its lease.
    pub(crate) without_lease: usize,
}

/// Watches until it is dropped.
pub(crate) struct Observer {
    seen: Arc<Mutex<Seen>>,
    tasks: [AbortHandle; 2],
}

impl Observer {
    /// Begins.
    pub(crate) fn start(world: &Arc<World>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let memory = tokio::spawn(memory(Arc::clone(world), Arc::clone(&seen)));
        let health = tokio::spawn(health(Arc::clone(world), Arc::clone(&seen)));
        Self { seen, tasks: [memory.abort_handle(), health.abort_handle()] }
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn note(seen: &Mutex<Seen>, note: impl FnOnce(&mut Seen)) {
    note(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn memory(world: Arc<World>, seen: Arc<Mutex<Seen>>) {
    loop {
        let controller = resident(world.contour().await.pid());
        let envoys = world.proxies().iter().filter_map(|proxy| proxy.envoy.resident_bytes().ok());
        let envoy = envoys.max().unwrap_or_default();
        note(&seen, |seen| {
            seen.controller = seen.controller.max(controller);
            seen.envoy = seen.envoy.max(envoy);
        });
        tokio::time::sleep(MEMORY).await;
    }
}

/// Resident bytes of a process; 0 while it does not run.
fn resident(pid: i32) -> u64 {
    let pages =
        || std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse::<u64>().ok();
    pages().unwrap_or_default() * 4096
}

async fn health(world: Arc<World>, seen: Arc<Mutex<Seen>>) {
    loop {
        let started = Instant::now();
        let answer = controller("/healthz").send().await;
        let took = started.elapsed().as_secs_f64() * 1e3;
        let leads = leads(&world).await;
        // A controller that is restarted need not answer, and takes the lease again when it can.
        if !world.is_restarting() {
            note(&seen, |seen| {
                seen.healthz = seen.healthz.max(took);
                seen.unhealthy += usize::from(!answer.is_ok_and(|answer| answer.status == 200));
                seen.without_lease += usize::from(leads.is_ok_and(|leads| !leads));
            });
        }
        tokio::time::sleep(PROBE).await;
    }
}

async fn leads(world: &World) -> Result<bool> {
    Ok(world.metric("contour_leader").await? > 0.5)
}

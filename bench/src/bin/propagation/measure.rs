//! The figures, each from samples taken one after another.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use contour_crds::HTTPProxy;
use contour_e2e::client::{Answer, Connection, Request};
use contour_e2e::wait::eventually;
use kube::api::ListParams;
use tokio::sync::watch;

use crate::world::World;

/// Pause between two polls of the answer: the resolution of the times.
const POLL: Duration = Duration::from_micros(500);

/// The longest a change may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// Statuses written at once.
const STATUSES: usize = 500;

/// Sorted samples, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// The sample below which this share of all lies.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let at = (self.0.len().saturating_sub(1) as f64 * share).round() as usize;
        self.0.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// Everything measured at one size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// From creating an HTTPProxy to the first 200.
    pub(crate) add: Times,
    /// The same while ten other changes a second go on.
    pub(crate) add_under_load: Times,
    /// From deleting an HTTPProxy to the first 404 (TLS: to the first refused handshake).
    pub(crate) remove: Times,
    /// From changing an EndpointSlice to the first answer from the new address.
    pub(crate) endpoint: Times,
    /// Of the time to add, until the API server has answered the write.
    pub(crate) add_write: Times,
    /// Of the time of an endpoint, until the API server has answered the write.
    pub(crate) endpoint_write: Times,
    /// Time on a processor for each host added and removed again, in milliseconds: the controller, and Envoy's main thread.
    pub(crate) work_per_add: (f64, f64),
    /// Bytes of xDS responses per added host.
    pub(crate) bytes_per_add: f64,
    /// Resources sent per endpoint change.
    pub(crate) resources_per_endpoint: f64,
    /// Bytes of xDS responses per endpoint change.
    pub(crate) bytes_per_endpoint: f64,
    /// Answers 503 seen between 404 and 200 or between 200 and 404.
    pub(crate) unavailable: usize,
    /// From one Service's deletion to the last of 500 statuses that depend on it, in milliseconds.
    pub(crate) statuses: f64,
    /// Adding a host while those statuses are written.
    pub(crate) add_under_statuses: f64,
    /// Resident memory of the controller, in bytes.
    pub(crate) controller_memory: u64,
    /// Resident memory of Envoy, in bytes.
    pub(crate) envoy_memory: u64,
    /// Resources sent to a connected Envoy by a controller that restarted with nothing changed.
    pub(crate) restart_resources: f64,
    /// Bytes of those responses; with TLS hosts removed before, the names of their emptied tables.
    pub(crate) restart_bytes: f64,
}

/// How long an added host took, in milliseconds.
struct Added {
    /// Until the API server had answered the write.
    write: f64,
    /// Until the first 200.
    whole: f64,
}

impl Figures {
    /// Measures an installation of any size. It has as many hosts afterwards as before.
    pub(crate) async fn measure(world: &mut World, samples: usize) -> Result<Self> {
        let mut figures = Self::default();
        (figures.controller_memory, figures.envoy_memory) = world.memory()?;
        figures.adds(world, samples).await.context("adding and removing hosts")?;
        figures.endpoints(world, samples).await.context("changing endpoints")?;
        figures.under_load(world, samples).await.context("adding hosts under load")?;
        figures.statuses(world).await.context("writing statuses")?;
        world.settle().await?;
        world.restart().await?;
        world.settle().await?;
        figures.restart_resources = world.metric("contour_xds_resources_sent_total").await?;
        figures.restart_bytes = world.metric("contour_xds_bytes_sent_total").await?;
        Ok(figures)
    }

    async fn adds(&mut self, world: &World, samples: usize) -> Result<()> {
        let (mut added, mut written, mut removed, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
        let (controller, envoy) = world.work()?;
        for i in 0..samples {
            let name = format!("probe-{}-{i}", world.hosts);
            world.prepare(&name).await?;
            let before = world.metric("contour_xds_bytes_sent_total").await?;
            let added_in = self.add(world, &name).await?;
            added.push(added_in.whole);
            written.push(added_in.write);
            bytes += world.metric("contour_xds_bytes_sent_total").await? - before;
            removed.push(self.remove(world, &name).await?);
        }
        #[allow(clippy::cast_precision_loss)]
        let count = samples as f64;
        let (controller_now, envoy_now) = world.work()?;
        let each = |then: Duration, now: Duration| now.saturating_sub(then).as_secs_f64() * 1000.0 / count;
        self.work_per_add = (each(controller, controller_now), each(envoy, envoy_now));
        (self.add, self.add_write) = (Times::new(added), Times::new(written));
        (self.remove, self.bytes_per_add) = (Times::new(removed), bytes / count);
        Ok(())
    }

    /// Creates an HTTPProxy and times the first 200.
    async fn add(&mut self, world: &World, name: &str) -> Result<Added> {
        let request = world.request(name);
        let mut probe = Probe::new(request, world.tls);
        let started = Instant::now();
        world.create::<HTTPProxy>(world.proxy(name)).await?;
        let write = milliseconds(started);
        self.unavailable += probe.until(200).await?;
        Ok(Added { write, whole: milliseconds(started) })
    }

    async fn remove(&mut self, world: &World, name: &str) -> Result<f64> {
        let request = world.request(name);
        let mut probe = Probe::new(request, world.tls);
        let started = Instant::now();
        world.delete(name).await?;
        self.unavailable += probe.until(404).await?;
        Ok(milliseconds(started))
    }

    async fn endpoints(&mut self, world: &World, samples: usize) -> Result<()> {
        let name = format!("host-{}", world.hosts / 2);
        let request = world.request(&name);
        let mut connection = world.connect(&request).await?;
        let (mut times, mut writes, mut bytes, mut resources) = (Vec::new(), Vec::new(), 0.0, 0.0);
        for i in 0..samples {
            let wanted = world.instance((i + 1) % 2).to_owned();
            let before = world.metric("contour_xds_bytes_sent_total").await?;
            let sent = world.metric("contour_xds_resources_sent_total").await?;
            let started = Instant::now();
            world.point(&name, (i + 1) % 2).await?;
            writes.push(milliseconds(started));
            loop {
                let answer = connection.send(&request).await?;
                if answer.status == 200 && answer.text().contains(&wanted) {
                    break;
                }
                ensure!(started.elapsed() < DEADLINE, "the new endpoint is never used");
                pause().await?;
            }
            times.push(milliseconds(started));
            bytes += world.metric("contour_xds_bytes_sent_total").await? - before;
            resources += world.metric("contour_xds_resources_sent_total").await? - sent;
        }
        #[allow(clippy::cast_precision_loss)]
        let count = samples as f64;
        (self.endpoint, self.endpoint_write) = (Times::new(times), Times::new(writes));
        (self.bytes_per_endpoint, self.resources_per_endpoint) = (bytes / count, resources / count);
        Ok(())
    }

    /// Adds hosts while ten other HTTPProxies a second are edited.
    async fn under_load(&mut self, world: &World, samples: usize) -> Result<()> {
        let (stop, mut stopped) = watch::channel(false);
        let load = async {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            for variant in 0_usize.. {
                tokio::select! {
                    _ = tick.tick() => {}
                    _ = stopped.changed() => break,
                }
                world
                    .edit(&format!("host-{}", variant % world.hosts), variant / world.hosts + variant)
                    .await?;
            }
            anyhow::Ok(())
        };
        let measured = async {
            let mut times = Vec::new();
            for i in 0..samples {
                let name = format!("loaded-{}-{i}", world.hosts);
                world.prepare(&name).await?;
                times.push(self.add(world, &name).await?.whole);
                self.remove(world, &name).await?;
            }
            stop.send_replace(true);
            anyhow::Ok(times)
        };
        let (loaded, times) = tokio::join!(load, measured);
        loaded?;
        self.add_under_load = Times::new(times?);
        Ok(())
    }

    /// Makes 500 statuses change by one write, and adds a host meanwhile.
    async fn statuses(&mut self, world: &World) -> Result<()> {
        let shared = format!("shared-{}", world.hosts);
        world.prepare(&shared).await?;
        let names: Vec<String> = (0..STATUSES).map(|i| format!("status-{}-{i}", world.hosts)).collect();
        for name in &names {
            let mut proxy = world.proxy(name);
            proxy["metadata"]["labels"] = serde_json::json!({"bench": shared});
            proxy["spec"]["routes"][0]["services"][0]["name"] = serde_json::json!(shared);
            if world.tls {
                proxy["spec"]["virtualhost"]["tls"]["secretName"] = serde_json::json!(shared);
            }
            world.create::<HTTPProxy>(proxy).await?;
        }
        all_have(world, &shared, "valid").await?;
        let probe = format!("meanwhile-{}", world.hosts);
        world.prepare(&probe).await?;
        world.settle().await?;
        let started = Instant::now();
        world.delete_service(&shared).await?;
        let written = async {
            all_have(world, &shared, "invalid").await?;
            anyhow::Ok(milliseconds(started))
        };
        let (written, added) = tokio::join!(written, self.add(world, &probe));
        (self.statuses, self.add_under_statuses) = (written?, added?.whole);
        for name in &names {
            world.delete(name).await?;
        }
        world.delete(&probe).await
    }
}

async fn all_have(world: &World, label: &str, status: &str) -> Result<()> {
    let labelled = ListParams::default().labels(&format!("bench={label}"));
    eventually(DEADLINE, || async {
        let listed = world.proxies().list(&labelled).await?;
        let has =
            |p: &&HTTPProxy| p.status.as_ref().and_then(|s| s.current_status.as_deref()) == Some(status);
        let done = listed.items.iter().filter(has).count();
        ensure!(done == STATUSES, "{done} of {STATUSES} are {status}");
        Ok(())
    })
    .await
}

/// Waits for [`POLL`]. The timer of tokio has a resolution of a millisecond, more than some of what is measured.
async fn pause() -> Result<()> {
    Ok(tokio::task::spawn_blocking(|| std::thread::sleep(POLL)).await?)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Asks for one host again and again. Without TLS over one connection; with TLS every time anew, because the certificate is what changes.
struct Probe {
    request: Request,
    connection: Option<Connection>,
    tls: bool,
}

impl Probe {
    fn new(request: Request, tls: bool) -> Self {
        Self { request, connection: None, tls }
    }

    /// Polls until the host answers with this status; how often it answered 503 before. A refused handshake counts as 404.
    async fn until(&mut self, status: u16) -> Result<usize> {
        let started = Instant::now();
        let mut unavailable = 0;
        loop {
            let seen = self.ask().await.map_or(404, |answer| answer.status);
            if seen == status {
                return Ok(unavailable);
            }
            unavailable += usize::from(seen == 503);
            ensure!(started.elapsed() < DEADLINE, "the host answers {seen}, never {status}");
            pause().await?;
        }
    }

    async fn ask(&mut self) -> Result<Answer> {
        if self.tls {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.connection = Some(self.request.connect().await?);
        }
        let connection = self.connection.as_mut().context("it was opened above")?;
        let answer = connection.send(&self.request).await;
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }
}

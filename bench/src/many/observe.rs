//! What the controller's process does meanwhile: health, lease, processor time, memory.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Pause between two probes.
const PROBE: Duration = Duration::from_millis(50);

/// Pause between two looks at the lease.
const LEASE: Duration = Duration::from_millis(500);

/// The longest that an answer is waited for.
const LIMIT: Duration = Duration::from_mins(1);

/// Clock ticks a second in `/proc`; the same on every Linux that Rust runs on.
const TICKS: u64 = 100;

/// What was seen in some time.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Times of answers of `/healthz`, in milliseconds, ascending.
    times: Vec<f64>,
    /// Answers other than 200, or none.
    pub unhealthy: usize,
    /// Looks at which the controller had no lease.
    pub without_lease: usize,
}

impl Health {
    /// The longest time, in milliseconds.
    pub fn worst(&self) -> f64 {
        self.times.last().copied().unwrap_or_default()
    }

    /// The time that 99 of 100 answers kept, in milliseconds.
    pub fn p99(&self) -> f64 {
        let at = (self.times.len() * 99).div_ceil(100).saturating_sub(1);
        self.times.get(at).copied().unwrap_or_default()
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Health>,
    /// When a probe began that has not been answered.
    waiting: Mutex<Option<Instant>>,
    /// Nothing is expected of the controller.
    away: AtomicBool,
    stop: AtomicBool,
}

/// Probes the controller until it is dropped. Its threads are not those of the played Envoys, which may be busy.
pub struct Observer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Observer {
    /// Begins to probe the controller with this address of its health and metrics endpoints.
    pub(super) fn start(address: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let of = |run: fn(&Shared, SocketAddr)| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || run(&shared, address))
        };
        Self { threads: vec![of(probe), of(look)], shared }
    }

    /// Forgets what was seen.
    pub fn begin(&self) {
        *lock(&self.shared.seen) = Health::default();
    }

    /// What was seen since.
    pub fn seen(&self) -> Health {
        let mut seen = lock(&self.shared.seen).clone();
        if !self.shared.away.load(Relaxed) {
            seen.times.extend(lock(&self.shared.waiting).map(|since| since.elapsed().as_secs_f64() * 1e3));
        }
        seen.times.sort_by(f64::total_cmp);
        seen
    }

    /// Says that the controller is away, or back.
    pub(super) fn away(&self, away: bool) {
        self.shared.away.store(away, Relaxed);
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn probe(shared: &Shared, address: SocketAddr) {
    while !shared.stop.load(Relaxed) {
        let started = Instant::now();
        *lock(&shared.waiting) = Some(started);
        let answer = get(address, "/healthz");
        *lock(&shared.waiting) = None;
        if !shared.away.load(Relaxed) {
            let mut seen = lock(&shared.seen);
            seen.times.push(started.elapsed().as_secs_f64() * 1e3);
            seen.unhealthy += usize::from(!answer.is_ok_and(|text| text.starts_with("HTTP/1.1 200 ")));
        }
        std::thread::sleep(PROBE.saturating_sub(started.elapsed()));
    }
}

fn look(shared: &Shared, address: SocketAddr) {
    while !shared.stop.load(Relaxed) {
        let leads = get(address, "/metrics").ok().and_then(|text| metric(&text, "contour_leader"));
        if !shared.away.load(Relaxed) && leads.is_some_and(|leads| leads < 0.5) {
            lock(&shared.seen).without_lease += 1;
        }
        std::thread::sleep(LEASE);
    }
}

/// The sum of a metric over all its labels.
pub(super) fn metric(text: &str, name: &str) -> Option<f64> {
    let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values: Vec<f64> =
        text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// A request on a connection of its own, as a kubelet's. The answer with its head.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// How long a process has run on a processor, threads that ended included.
pub fn processor_time(pid: i32) -> Result<Duration> {
    let text = read(pid, "stat")?;
    // The name before may hold anything.
    let fields = text.rsplit_once(')').context("stat has a name")?.1;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// Resident bytes of a process, now and at the peak since [`forget_peak`].
pub fn memory(pid: i32) -> Result<(u64, u64)> {
    let text = read(pid, "status")?;
    let of = |name: &str| -> Option<u64> {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    Ok((of("VmRSS").context("no VmRSS")?, of("VmHWM").context("no VmHWM")?))
}

/// Lets the peak of a process begin anew.
pub fn forget_peak(pid: i32) -> Result<()> {
    let path = PathBuf::from(format!("/proc/{pid}/clear_refs"));
    std::fs::write(&path, "5").with_context(|| format!("cannot write {}", path.display()))
}

/// Open files of a process.
pub fn open_files(pid: i32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn read(pid: i32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

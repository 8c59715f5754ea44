//! A child process that does not outlive the test that started it.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a child may take to end after SIGTERM before it gets SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// A running child with its output in a file. Dropping it ends that child, and no other process.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Mutex<Child>,
    pid: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and error going to the file `log`.
    ///
    /// On Linux the kernel kills the child when this process ends in whatever way, so that an aborted test
    /// leaves nothing behind.
    pub fn spawn(name: &'static str, mut command: Command, log: PathBuf) -> Result<Self> {
        let output =
            File::create(&log).with_context(|| format!("cannot create the log file {}", log.display()))?;
        let program = PathBuf::from(command.get_program());
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        end_with_parent(&mut command);
        let child = spawn_on_lasting_thread(command)
            .with_context(|| format!("cannot start {name} from {}", program.display()))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("a process id fits in i32")?);
        Ok(Self { name, child: Mutex::new(child), pid, log })
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// How long all its threads have run on a processor, from `/proc` (Linux); those that ended are not counted.
    pub fn processor_time(&self) -> Result<Duration> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid()));
        let threads =
            std::fs::read_dir(&tasks).with_context(|| format!("cannot list {}", tasks.display()))?;
        threads.map(|thread| run_time(&thread?.path())).sum()
    }

    /// How long its main thread has run on a processor, from `/proc` (Linux).
    pub fn main_thread_time(&self) -> Result<Duration> {
        run_time(&PathBuf::from(format!("/proc/{0}/task/{0}", self.pid())))
    }

    /// Where the child's output goes.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Everything the child has written so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// How the child ended, or `None` while it runs.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten()
    }

    /// An error with the end of the log if the child has ended, for probes that wait for it to become ready.
    pub fn ensure_running(&self) -> Result<()> {
        let Some(status) = self.exited() else { return Ok(()) };
        anyhow::bail!("{} ended early ({status}); the end of its log:\n{}", self.name, self.log_tail())
    }

    /// The last lines of the log, for the message of a test that fails.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Sends a signal to the child if it still runs.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match self.exited() {
            None => kill(self.pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name)),
            Some(_) => Ok(()),
        }
    }

    /// Asks the child to end, then makes it end; returns when it is gone.
    fn stop(&self) {
        let _ = self.signal(Signal::SIGTERM);
        let asked = Instant::now();
        while self.exited().is_none() {
            if asked.elapsed() > GRACE {
                let _ = self.signal(Signal::SIGKILL);
                let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the command on one thread that lives as long as this process.
///
/// The parent-death signal is tied to the *thread* that started the child, and every test has a thread of its
/// own: a part that tests share would die with the test that happened to start it.
fn spawn_on_lasting_thread(command: Command) -> Result<Child> {
    type Job = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();

    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in queue {
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).expect("the spawning thread lives as long as the process");
    Ok(answer.recv().expect("the spawning thread answers every job")?)
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the only way to set a parent-death signal is between fork and exec")]
fn end_with_parent(command: &mut Command) {
    let parent = Pid::this();
    // SAFETY: the closure runs in the forked child and makes two system calls, both async-signal-safe; it
    // neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have ended before the line above took effect.
            if Pid::parent() == parent { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut Command) {}

/// The time on a processor of a thread's directory in `/proc`: the first number of `schedstat`, in nanoseconds.
fn run_time(thread: &Path) -> Result<Duration> {
    let text = std::fs::read_to_string(thread.join("schedstat"))
        .with_context(|| format!("no schedstat in {}", thread.display()))?;
    let nanoseconds = text.split(' ').next().context("schedstat is not empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::{SOON, eventually};

    fn shell(script: &str, dir: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn("sh", command, dir.join("log")).unwrap()
    }

    #[test]
    fn dropping_ends_the_child() {
        let dir = tempfile::tempdir().unwrap();
        let process = shell("exec sleep 600", dir.path());
        let pid = Pid::from_raw(process.pid());
        assert_eq!(kill(pid, None), Ok(()), "it runs before the drop");
        drop(process);
        assert_eq!(kill(pid, None), Err(nix::errno::Errno::ESRCH), "it is gone and reaped after the drop");
    }

    #[test]
    fn the_child_survives_the_thread_that_asked_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let process = std::thread::spawn(move || shell("exec sleep 600", &path)).join().unwrap();
        assert_eq!(process.exited(), None);
        process.ensure_running().unwrap();
    }

    #[tokio::test]
    async fn an_early_end_shows_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let process = shell("echo out; echo the disk is full >&2; exit 7", dir.path());
        let error = eventually(SOON, || async {
            anyhow::ensure!(process.exited().is_some(), "still running");
            Ok(process.ensure_running().unwrap_err().to_string())
        });
        let error = error.await.unwrap();
        assert!(error.contains("exit status: 7") && error.ends_with("out\nthe disk is full"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            Process::spawn("etcd", Command::new("/nowhere/etcd"), dir.path().join("log")).unwrap_err();
        assert_eq!(error.to_string(), "cannot start etcd from /nowhere/etcd");
    }
}

//! Two-signal shutdown, seen from outside: this program starts itself as the process that is signalled.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use contour_runtime::Shutdown;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const CHILD: &str = "CONTOUR_RUNTIME_SIGNALLED";

fn main() {
    if env::var_os(CHILD).is_some() {
        signalled();
        return;
    }
    for (first, second, code) in [
        (Signal::SIGTERM, None, 0),
        (Signal::SIGINT, None, 0),
        (Signal::SIGTERM, Some(Signal::SIGTERM), 143),
        (Signal::SIGTERM, Some(Signal::SIGINT), 130),
    ] {
        let (mut child, mut lines) = start(second.is_some());
        assert_eq!(line(&mut lines), "waiting");
        send(&child, first);
        assert_eq!(line(&mut lines), "stopping", "after {first}");
        if let Some(second) = second {
            send(&child, second);
        }
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "after {first} and {second:?}");
        println!("{first} then {second:?}: exit code {code}");
    }
}

/// Waits for the first signal; then ends, or never does.
fn signalled() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().unwrap();
        println!("waiting");
        shutdown.token().cancelled().await;
        println!("stopping");
        if env::var(CHILD).unwrap() == "stuck" {
            std::future::pending::<()>().await;
        }
    });
}

fn start(stuck: bool) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env(CHILD, if stuck { "stuck" } else { "obedient" }).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn line(lines: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

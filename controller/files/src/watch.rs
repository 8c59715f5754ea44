//! Reading a directory again whenever it changes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use contour_objects::Event;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::directory::{Directory, Report};

/// Editors write in several steps: a change is read once nothing happened for this long.
const QUIET: Duration = Duration::from_millis(50);
/// How long a stream of changes can hold off reading.
const PATIENCE: Duration = Duration::from_millis(500);
/// The directory is read anyway after this time: links to elsewhere and network file systems report no changes.
const SAFETY: Duration = Duration::from_secs(10);
/// How often it is read if the system reports no changes at all.
const POLL: Duration = Duration::from_secs(1);

/// Reads the directory at once and after each change, sends what changed to `events`, and the whole report to `reports` where it
/// differs. Ends when `stop` is cancelled, or when nobody receives the events any more.
pub async fn watch(
    mut directory: Directory,
    events: mpsc::Sender<Event>,
    reports: watch::Sender<Report>,
    stop: CancellationToken,
) {
    let (signal, mut signals) = mpsc::channel(1);
    // The watch begins before the first reading, so that no change falls in between.
    let mut observed = directory.identity();
    let mut watcher = observe(&directory, signal.clone());
    loop {
        let scanned = tokio::task::spawn_blocking(move || {
            let report = directory.scan();
            let changes = directory.events();
            (directory, report, changes)
        });
        let Ok((back, report, changes)) = scanned.await else { return };
        directory = back;
        let pause = directory.due().map_or(SAFETY, |due| due.saturating_duration_since(Instant::now()));
        for event in changes {
            if events.send(event).await.is_err() {
                return;
            }
        }
        reports.send_if_modified(|last| {
            let differs = *last != report;
            *last = report;
            differs
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = settled(&mut signals) => {}
            () = tokio::time::sleep(pause.min(if watcher.is_some() { SAFETY } else { POLL })) => {}
        }
        // The directory itself may have been replaced, or the path to it changed its meaning.
        if directory.identity() != observed {
            observed = directory.identity();
            watcher = observe(&directory, signal.clone());
        }
    }
}

/// Waits for a change, and until the changes pause.
async fn settled(signals: &mut mpsc::Receiver<()>) {
    if signals.recv().await.is_none() {
        return std::future::pending().await;
    }
    let quiet = async { while tokio::time::timeout(QUIET, signals.recv()).await.is_ok() {} };
    // Either way it is time to read.
    let _ = tokio::time::timeout(PATIENCE, quiet).await;
}

/// Signals changes below the directory, or `None` where the system cannot tell.
fn observe(directory: &Directory, signal: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let ours: Vec<PathBuf> = directory
        .state()
        .into_iter()
        .flat_map(|s| [Some(s.to_owned()), s.canonicalize().ok()])
        .flatten()
        .collect();
    let told = move |event: notify::Result<notify::Event>| {
        let relevant = match event {
            Ok(event) => {
                changes(event.kind)
                    && !event.paths.iter().all(|path| ours.iter().any(|own| path.starts_with(own)))
            }
            // Events were lost.
            Err(_) => true,
        };
        if relevant {
            // A signal that is already waiting says the same.
            let _ = signal.try_send(());
        }
    };
    let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
        watcher.watch(directory.root(), RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(
            |error| tracing::warn!(%error, "changes are found by reading the directory every second"),
        )
        .ok()
}

/// Whether an event may mean new content. Reading a file is an event too, and must not lead to reading it again.
fn changes(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

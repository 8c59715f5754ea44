//! Two files in a directory that both containers share and that outlives them, though not the pod.

use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

/// The ready file, and the one that tells that Envoy was made unready.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    ready: PathBuf,
    draining: PathBuf,
}

impl Marks {
    pub(super) fn new(ready: &Path) -> Self {
        let mut draining = ready.as_os_str().to_owned();
        draining.push(".draining");
        Self { ready: ready.to_owned(), draining: draining.into() }
    }

    /// Says that Envoy may be ended.
    pub(super) fn write_ready(&self) -> io::Result<()> {
        std::fs::write(&self.ready, b"")
    }

    /// Whether somebody said so.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.exists()
    }

    /// Takes back that Envoy may be ended: a file of an earlier shutdown would end the next one at once.
    pub(super) fn clear_ready(&self) {
        remove(&self.ready, "the next shutdown would not wait for connections");
    }

    /// Notes that Envoy is made unready, for a manager that is restarted.
    pub(super) fn note_draining(&self) {
        if let Err(error) = std::fs::write(&self.draining, b"") {
            let path = self.draining.display();
            warn!(%path, %error, "cannot note that Envoy is drained: if it lives on, it stays so");
        }
    }

    /// Whether Envoy was made unready and not ended since.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.exists()
    }

    /// Takes the note back.
    pub(super) fn clear_draining(&self) {
        remove(&self.draining, "Envoy will be told to be ready again once more");
    }
}

fn remove(path: &Path, otherwise: &str) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "cannot remove a file: {otherwise}");
        }
        _ => {}
    }
}

//! Two-signal shutdown: the first SIGINT or SIGTERM asks everything to end, the second ends the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Listens for signals for as long as the process lives.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// Takes over SIGINT and SIGTERM. The first of either cancels [`Self::token`]; the next one exits at once with
    /// 130 (SIGINT) or 143 (SIGTERM), as a shell reports a process that was killed by it.
    ///
    /// Must be called within a tokio runtime. Fails if the operating system refuses the handlers.
    pub fn on_signals() -> io::Result<Self> {
        let token = CancellationToken::new();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        tokio::spawn(listen(interrupt, terminate, token.clone()));
        Ok(Self { token })
    }

    /// Cancelled when the process is to end. Its owner may also cancel it.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

async fn listen(mut interrupt: Signal, mut terminate: Signal, token: CancellationToken) {
    let name = received(&mut interrupt, &mut terminate).await.0;
    tracing::info!("{name}: shutting down; a second signal ends the process at once");
    token.cancel();
    let (name, code) = received(&mut interrupt, &mut terminate).await;
    tracing::warn!("{name} again: exiting at once");
    #[expect(clippy::exit, reason = "the second signal means: now, whatever is still running")]
    std::process::exit(code);
}

/// The next signal: its name and the exit code that stands for it.
async fn received(interrupt: &mut Signal, terminate: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = interrupt.recv() => ("SIGINT", 130),
        _ = terminate.recv() => ("SIGTERM", 143),
    }
}

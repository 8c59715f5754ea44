//! A way to a kube-apiserver on which connections can die without a sign.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::io::InspectReader;

use crate::apiserver::ApiServer;

/// Connections to a kube-apiserver go through it, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    kubeconfig: NamedTempFile,
    silenced: watch::Sender<()>,
    received: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// A way to this server, on loopback.
    pub async fn to(api: &ApiServer) -> Result<Self> {
        let target: SocketAddr = api.address().trim_start_matches("https://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = format!("https://{}", listener.local_addr()?);
        let kubeconfig = NamedTempFile::new()?;
        let text = std::fs::read_to_string(api.kubeconfig())?;
        anyhow::ensure!(text.contains(api.address()), "the kubeconfig does not name {}", api.address());
        std::fs::write(kubeconfig.path(), text.replace(api.address(), &own)).context("a kubeconfig")?;
        let silenced = watch::Sender::new(());
        let received = Arc::<AtomicU64>::default();
        let accepting = tokio::spawn(accept(listener, target, silenced.clone(), Arc::clone(&received)));
        Ok(Self { kubeconfig, silenced, received, accepting })
    }

    /// A kubeconfig file of the administrator that goes this way.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.path().to_owned()
    }

    /// How many bytes the server has sent this way, as TLS has them.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// From now on nothing comes through on any connection of the moment, and none is closed; new ones work.
    pub fn silence(&self) {
        self.silenced.send_replace(());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // And with it every connection.
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    silenced: watch::Sender<()>,
    received: Arc<AtomicU64>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        connections.spawn(carry(near, target, silenced.subscribe(), Arc::clone(&received)));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(
    mut near: TcpStream,
    target: SocketAddr,
    mut silenced: watch::Receiver<()>,
    received: Arc<AtomicU64>,
) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let count = |bytes: &[u8]| {
        received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    };
    let mut far = InspectReader::new(far, count);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        // Open on both sides, until everything ends.
        _ = silenced.changed() => std::future::pending().await,
    }
}

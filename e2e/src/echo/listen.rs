//! Accepting connections until dropped.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// An open port. Dropping it closes the port and ends every connection that came in on it.
#[derive(Debug)]
pub(super) struct Listening {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    task: AbortHandle,
}

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

impl Listening {
    pub(super) fn new<F, Fut>(listener: TcpListener, serve: F) -> Result<Self>
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let accepted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    incoming = listener.accept() => match incoming {
                        Ok((stream, _)) => {
                            counter.fetch_add(1, Ordering::Relaxed);
                            let _ = stream.set_nodelay(true);
                            connections.spawn(serve(stream));
                        }
                        // Out of descriptors, most likely: let connections end before the next try.
                        Err(_) => { connections.join_next().await; }
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, accepted, task: task.abort_handle() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Its set of connections goes with the task.
        self.task.abort();
    }
}

//! The gRPC server: sockets, TLS, and one task per stream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use socket2::Socket;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::facts::Facts;
use crate::listen::{accept, address, bind, listen};
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::recall::Recall;
use crate::service::Discovery;
use crate::tls::{Certificates, Reloading, TlsError, TlsFiles};

/// How long an ended stream's connection may take to close before it is left to the end of the process.
const DRAIN: Duration = Duration::from_secs(2);
/// HTTP/2 receive windows: a reconnecting Envoy lists every resource it has, about a megabyte for 10,000.
const WINDOW: u32 = 4 * 1024 * 1024;

/// Why the server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen for xDS on {addr}: choose another address or port, or stop what holds it")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The TLS files cannot be used.
    #[error("cannot serve xDS over TLS")]
    Tls(#[from] TlsError),
    /// HTTP/2 could not be served.
    #[error("the xDS server failed")]
    Serve(#[from] tonic::transport::Error),
}

/// An xDS server that holds its port and, once [`serve`](Self::serve) runs, answers from its cache.
pub struct Server {
    socket: Socket,
    addr: SocketAddr,
    tls: Option<Arc<Reloading>>,
    cache: Cache,
    facts: Facts,
    nodes: Nodes,
    metrics: Metrics,
}

impl Server {
    /// Takes the port and loads the TLS files; without files the server speaks plaintext.
    ///
    /// The port refuses connections until [`serve`](Self::serve): the stock manifests take an open port for readiness.
    ///
    /// `::` accepts IPv4 too; port 0 takes a free one. Metrics named `contour_xds_*` are added to `registry`, whose
    /// own prefix should be empty.
    pub fn bind(
        addr: SocketAddr,
        tls: Option<TlsFiles>,
        cache: Cache,
        registry: &mut Registry,
    ) -> Result<Self, ServerError> {
        let tls = tls.map(Reloading::new).transpose()?.map(Arc::new);
        let failed = |source| ServerError::Bind { addr, source };
        let socket = bind(addr).map_err(failed)?;
        let addr = address(&socket).map_err(failed)?;
        let facts = Facts::default();
        let metrics = Metrics::new(registry, &facts);
        Ok(Self { socket, addr, tls, cache, facts, nodes: Nodes::default(), metrics })
    }

    /// The address that is taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// What the Envoys hold against what they are sent, for whoever tells the owners of the objects behind it.
    pub fn facts(&self) -> Facts {
        self.facts.clone()
    }

    /// Which certificates are in use, for whoever rotates them; `None` without TLS.
    pub fn certificates(&self) -> Option<Certificates> {
        self.tls.clone().map(Certificates)
    }

    /// The connected streams, for a debug page.
    pub fn nodes(&self) -> Nodes {
        self.nodes.clone()
    }

    /// Listens and serves until `shutdown`, then frees the port at once and ends all streams.
    ///
    /// Connections are accepted from now on; streams are answered once the cache is open.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let failed = |source| ServerError::Bind { addr: self.addr, source };
        let listener = listen(self.socket).map_err(failed)?;
        let (ready, connections) = mpsc::channel(64);
        // A server that fails stops accepting, too.
        let stop = shutdown.child_token();
        let _stopped = stop.clone().drop_guard();
        let accepting = tokio::spawn(accept(listener, self.tls, ready, stop.clone()));
        let service = Discovery {
            cache: self.cache,
            facts: self.facts,
            nodes: self.nodes,
            metrics: self.metrics,
            recall: Recall::numbering_from(first_variant()),
            stop: stop.clone(),
        };
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_mins(1)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .max_concurrent_streams(1 << 20)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .serve_with_incoming_shutdown(service, ReceiverStream::new(connections), stop.cancelled());
        let drained = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let outcome = tokio::select! {
            outcome = serving => outcome,
            () = drained => Ok(()),
        };
        stop.cancel();
        // Once this returns the port is free. The accept loop only ends by being told to.
        let _ = accepting.await;
        Ok(outcome?)
    }
}

/// Another number for every process, as far as one matters: the milliseconds of the time it starts at.
fn first_variant() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_millis() & u128::from(u32::MAX)).unwrap_or_default()
}

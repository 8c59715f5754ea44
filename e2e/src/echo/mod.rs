//! Upstreams that answer with what they received, so that a test sees what the proxy made of a request.

mod answer;
mod listen;
mod tcp;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use anyhow::Result;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

use crate::certs::Leaf;
use listen::Listening;

pub(crate) use answer::{WEBSOCKET_KEY, websocket_accept};
pub use tcp::TcpEcho;

/// What an [`Echo`] received, as its answer tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The name that the server was started with.
    pub service: String,
    /// The name and the port: tells endpoints of one service apart.
    pub instance: String,
    /// The request method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `:authority` or the `host` header.
    pub host: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// Request headers by lower-case name; values of one name are joined with `, `.
    pub headers: BTreeMap<String, String>,
    /// The request body, with anything that is not UTF-8 replaced.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// Facts of the TLS connection, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ReceivedTls>,
}

/// What an [`Echo`] knows of the TLS connection that a request came in on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedTls {
    /// The server name that the client asked for.
    pub sni: Option<String>,
    /// The negotiated application protocol.
    pub alpn: Option<String>,
    /// The DER of the client's certificate, in base64.
    pub client_certificate: Option<String>,
}

/// An HTTP server (HTTP/1.1 and HTTP/2 on one port, in the clear or over TLS) that answers every request with a
/// [`Received`] as JSON.
///
/// A request can ask for more: path `/status/503` or header `x-echo-status: 503` sets the status; path `/delay/250`
/// or header `x-echo-delay: 250` waits that many milliseconds (a minute at most); each `x-echo-header: name: value`
/// adds a response header. A gRPC request gets its own message back with `grpc-status: 0`, an `Upgrade: websocket`
/// gets a tunnel that sends back every byte.
///
/// Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Echo {
    listening: Listening,
    state: Arc<State>,
}

/// What the connections of one server share.
#[derive(Debug)]
struct State {
    service: String,
    instance: String,
    requests: AtomicU64,
    /// The status of every answer, 0 for what the request asks for.
    forced_status: AtomicU16,
}

impl Echo {
    /// Listens on a free loopback port, in the clear.
    pub async fn start(service: &str) -> Result<Self> {
        Self::listen(service, SocketAddr::from(([127, 0, 0, 1], 0)), None).await
    }

    /// Listens on a free loopback port with TLS; with `client_ca` (PEM) it insists on a client certificate.
    pub async fn start_tls(service: &str, leaf: &Leaf, client_ca: Option<&str>) -> Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(crate::tls::server(leaf, client_ca)?));
        Self::listen(service, SocketAddr::from(([127, 0, 0, 1], 0)), Some(acceptor)).await
    }

    /// Listens on this address, for example to come back where a server was before.
    pub async fn start_at(service: &str, address: SocketAddr) -> Result<Self> {
        Self::listen(service, address, None).await
    }

    async fn listen(service: &str, address: SocketAddr, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = listen::bind(address).await?;
        let state = Arc::new(State {
            service: service.to_owned(),
            instance: format!("{service}-{}", listener.local_addr()?.port()),
            requests: AtomicU64::new(0),
            forced_status: AtomicU16::new(0),
        });
        let shared = Arc::clone(&state);
        let listening =
            Listening::new(listener, move |stream| serve(stream, tls.clone(), Arc::clone(&shared)))?;
        Ok(Self { listening, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// The `instance` of its answers.
    pub fn instance(&self) -> &str {
        &self.state.instance
    }

    /// Requests received so far.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.listening.accepted()
    }

    /// From now on every answer has this status; `None` returns to what requests ask for.
    pub fn force_status(&self, status: Option<hyper::StatusCode>) {
        self.state.forced_status.store(status.map_or(0, |status| status.as_u16()), Ordering::Relaxed);
    }
}

/// Serves one connection to its end. How it ends is the client's business.
async fn serve(stream: tokio::net::TcpStream, tls: Option<TlsAcceptor>, state: Arc<State>) {
    match tls {
        None => serve_http(stream, None, state).await,
        Some(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let (_, session) = stream.get_ref();
            let facts = ReceivedTls {
                sni: session.server_name().map(str::to_owned),
                alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
                client_certificate: session.peer_certificates().and_then(|chain| chain.first()).map(
                    |certificate| {
                        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, certificate)
                    },
                ),
            };
            serve_http(stream, Some(facts), state).await;
        }
    }
}

async fn serve_http<S>(stream: S, tls: Option<ReceivedTls>, state: Arc<State>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer::answer(Arc::clone(&state), tls.clone(), request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

//! Traffic with full control over where a request goes, which server name TLS asks for, and which host HTTP asks for.

mod connection;
mod watcher;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hyper::{HeaderMap, Method, Version};
use serde::de::DeserializeOwned;

use crate::certs::{Leaf, TestCa};
use crate::echo::Received;
use crate::tls::Trust;
use crate::wait::{SOON, eventually};

pub use connection::Connection;
pub use watcher::{Outcome, Run, Watcher};

/// How long one exchange may take.
const EXCHANGE: Duration = Duration::from_secs(20);

/// A GET for `path` of `host` (with a port where that matters), sent to `to`: HTTP/1.1 in the clear until told
/// otherwise.
pub fn get(to: SocketAddr, host: &str, path: &str) -> Request {
    Request {
        to,
        host: host.to_owned(),
        path: path.to_owned(),
        method: Method::GET,
        headers: Vec::new(),
        body: Bytes::new(),
        http2: false,
        tls: None,
        proxy_protocol: None,
    }
}

/// A request that can be sent any number of times.
#[derive(Clone, Debug)]
pub struct Request {
    to: SocketAddr,
    host: String,
    path: String,
    method: Method,
    headers: Vec<(String, String)>,
    body: Bytes,
    http2: bool,
    tls: Option<Tls>,
    proxy_protocol: Option<SocketAddr>,
}

impl Request {
    /// With this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Over HTTP/2: by ALPN with TLS, by prior knowledge in the clear.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Over TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Behind a PROXY protocol header (version 1) that names `source` as the client.
    #[must_use]
    pub fn proxy_protocol(mut self, source: SocketAddr) -> Self {
        self.proxy_protocol = Some(source);
        self
    }

    /// Method, host and path, for a message.
    pub fn target(&self) -> String {
        format!("{} {}{}", self.method, self.host, self.path)
    }

    /// Opens a connection, for several requests over one connection; its TLS and protocol are this request's.
    pub async fn connect(&self) -> Result<Connection> {
        within_exchange(Connection::open(self)).await.with_context(|| format!("connecting to {}", self.to))
    }

    /// Sends the request over a connection of its own.
    pub async fn send(&self) -> Result<Answer> {
        self.connect().await?.send(self).await
    }

    /// Sends the request over and over until `accept` finds nothing wrong with the answer, and returns that answer.
    pub async fn until(&self, accept: impl Fn(&Answer) -> Result<()>) -> Result<Answer> {
        eventually(SOON, || async {
            let answer = self.send().await?;
            accept(&answer).map(|()| answer)
        })
        .await
        .with_context(|| format!("{} {} of {} at {}", self.method, self.path, self.host, self.to))
    }

    /// Sends the request over and over until its answer has this status.
    pub async fn until_status(&self, status: u16) -> Result<Answer> {
        self.until(|answer| {
            anyhow::ensure!(answer.status == status, "status {} and not {status}", answer.status);
            Ok(())
        })
        .await
    }

    /// Upgrades to a WebSocket, sends the bytes through and returns as many bytes as come back.
    pub async fn websocket(&self, payload: &[u8]) -> Result<Vec<u8>> {
        within_exchange(connection::websocket(self, payload)).await.context("upgrading to a WebSocket")
    }
}

/// How a client does TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    trust: Trust,
    sni: Sni,
    identity: Option<Leaf>,
    only: Option<&'static rustls::SupportedProtocolVersion>,
}

impl Tls {
    /// Accepts what `ca` signed for the name that is asked for.
    pub fn trusting(ca: &TestCa) -> Self {
        Self::new(Trust::Authority(ca.pem().to_owned()))
    }

    /// Accepts every certificate; look at [`Answer::peer_certificate`] for which it was.
    pub fn trusting_anyone() -> Self {
        Self::new(Trust::Anyone)
    }

    fn new(trust: Trust) -> Self {
        Self { trust, sni: Sni::Host, identity: None, only: None }
    }

    /// Asks for this server name and not for the request's host.
    #[must_use]
    pub fn sni(mut self, name: &str) -> Self {
        self.sni = Sni::Name(name.to_owned());
        self
    }

    /// Asks for no server name.
    #[must_use]
    pub fn without_sni(mut self) -> Self {
        self.sni = Sni::Absent;
        self
    }

    /// Presents this certificate when asked for one.
    #[must_use]
    pub fn identity(mut self, leaf: &Leaf) -> Self {
        self.identity = Some(leaf.clone());
        self
    }

    /// Offers this version only: `&rustls::version::TLS12` or `&rustls::version::TLS13`.
    #[must_use]
    pub fn only(mut self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        self.only = Some(version);
        self
    }
}

/// The server name that a client asks for.
#[derive(Clone, Debug)]
enum Sni {
    /// The request's host.
    Host,
    /// This one.
    Name(String),
    /// None at all.
    Absent,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The protocol of the answer.
    pub version: Version,
    /// Response headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Trailers, as gRPC has them.
    pub trailers: HeaderMap,
    /// The DER of the server's certificate, over TLS.
    pub peer_certificate: Option<Vec<u8>>,
}

impl Answer {
    /// The value of a response header, if there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("status {}, body {}", self.status, self.text()))
    }

    /// What the [`Echo`](crate::echo::Echo) behind the proxy received.
    pub fn received(&self) -> Result<Received> {
        self.json()
    }

    /// Whether the server presented this certificate.
    pub fn came_with(&self, leaf: &Leaf) -> Result<bool> {
        let expected = crate::tls::certificates(&leaf.cert_pem)?;
        Ok(self.peer_certificate.as_deref() == expected.first().map(AsRef::as_ref))
    }
}

/// Sends bytes over TCP (over TLS with `tls`, which then needs a server name), ends its side, and returns all that
/// comes back until the other side ends too.
pub async fn tcp_exchange(to: SocketAddr, tls: Option<&Tls>, payload: &[u8]) -> Result<Vec<u8>> {
    within_exchange(connection::tcp_exchange(to, tls, payload))
        .await
        .with_context(|| format!("exchange with {to}"))
}

async fn within_exchange<T>(exchange: impl Future<Output = Result<T>>) -> Result<T> {
    // Boxed, since a TLS handshake is too large a future to pass around by value.
    tokio::time::timeout(EXCHANGE, Box::pin(exchange))
        .await
        .with_context(|| format!("not done after {EXCHANGE:?}"))?
}

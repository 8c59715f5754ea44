//! One connection, in the clear or over TLS, speaking HTTP/1.1 or HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Answer, Request, Sni, Tls, within_exchange};
use crate::echo::{WEBSOCKET_KEY, websocket_accept};

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    driver: AbortHandle,
    peer_certificate: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(super) async fn open(request: &Request) -> Result<Self> {
        let mut stream = TcpStream::connect(request.to).await?;
        stream.set_nodelay(true)?;
        if let Some(source) = request.proxy_protocol {
            stream.write_all(proxy_header(source, request.to).as_bytes()).await?;
        }
        let Some(tls) = &request.tls else { return Self::over(stream, request.http2, None).await };
        let alpn: &[u8] = if request.http2 { b"h2" } else { b"http/1.1" };
        let stream = handshake(stream, tls, Some(&request.host), Some(alpn)).await?;
        let (_, session) = stream.get_ref();
        let agreed = session.alpn_protocol();
        anyhow::ensure!(
            agreed == Some(alpn) || (agreed.is_none() && !request.http2),
            "the server chose {:?} where {:?} was offered",
            agreed.map(String::from_utf8_lossy),
            String::from_utf8_lossy(alpn),
        );
        let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec());
        Self::over(stream, request.http2, certificate).await
    }

    async fn over<S>(stream: S, http2: bool, peer_certificate: Option<Vec<u8>>) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let (sender, driver) = if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            (Sender::Http2(sender), tokio::spawn(async { drop(connection.await) }))
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            (Sender::Http1(sender), tokio::spawn(async { drop(connection.with_upgrades().await) }))
        };
        Ok(Self { sender, driver: driver.abort_handle(), peer_certificate })
    }

    /// Sends a request over this connection, whatever address and TLS the request itself names.
    pub async fn send(&mut self, request: &Request) -> Result<Answer> {
        within_exchange(self.exchange(request))
            .await
            .with_context(|| format!("{} {}", request.host, request.path))
    }

    async fn exchange(&mut self, request: &Request) -> Result<Answer> {
        let secure = self.peer_certificate.is_some();
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(message(request, None)?).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                let scheme = if secure { "https" } else { "http" };
                sender.send_request(message(request, Some(scheme))?).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("the answer breaks off")?;
        Ok(Answer {
            status: head.status.as_u16(),
            version: head.version,
            headers: head.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
            peer_certificate: self.peer_certificate.clone(),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A PROXY protocol header, version 1, section 2.1 of its specification.
fn proxy_header(source: SocketAddr, destination: SocketAddr) -> String {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
}

/// The HTTP message; HTTP/2 states scheme and authority in the URI, HTTP/1.1 the host in a header.
fn message(request: &Request, scheme: Option<&str>) -> Result<hyper::Request<Full<Bytes>>> {
    let mut builder = hyper::Request::builder().method(&request.method);
    builder = match scheme {
        Some(scheme) => builder.uri(format!("{scheme}://{}{}", request.host, request.path)),
        None => builder.uri(&request.path).header(HOST, &request.host),
    };
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(request.body.clone())).context("not a request that HTTP can express")
}

async fn handshake(
    stream: TcpStream,
    tls: &Tls,
    host: Option<&str>,
    alpn: Option<&[u8]>,
) -> Result<TlsStream<TcpStream>> {
    let versions = tls.only.map_or_else(|| rustls::ALL_VERSIONS.to_vec(), |only| vec![only]);
    let mut config = crate::tls::client(&tls.trust, tls.identity.as_ref(), &versions)?;
    config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
    let host = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _port)| name).to_owned());
    let name = match &tls.sni {
        Sni::Name(name) => Some(name.clone()),
        Sni::Absent => None,
        Sni::Host => {
            Some(host.context("TLS without HTTP needs a server name: Tls::sni or Tls::without_sni")?)
        }
    };
    config.enable_sni = name.is_some();
    // Without a name the address stands in: it is never sent, and only Tls::trusting_anyone accepts its certificate.
    let name = name.unwrap_or_else(|| "127.0.0.1".to_owned());
    let name = ServerName::try_from(name.clone()).with_context(|| format!("{name} is not a server name"))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.context("TLS handshake")
}

pub(super) async fn websocket(request: &Request, payload: &[u8]) -> Result<Vec<u8>> {
    anyhow::ensure!(!request.http2, "an upgrade is an affair of HTTP/1.1");
    let mut connection = Connection::open(request).await?;
    let Sender::Http1(sender) = &mut connection.sender else { unreachable!("HTTP/1.1, as checked above") };
    let mut message = message(request, None)?;
    let headers = message.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    headers.insert("sec-websocket-key", HeaderValue::from_static(WEBSOCKET_KEY));
    let response = sender.send_request(message).await?;
    anyhow::ensure!(
        response.status() == hyper::StatusCode::SWITCHING_PROTOCOLS,
        "status {}",
        response.status()
    );
    let accept = response.headers().get("sec-websocket-accept").and_then(|value| value.to_str().ok());
    anyhow::ensure!(
        accept == Some(websocket_accept(WEBSOCKET_KEY).as_str()),
        "sec-websocket-accept is {accept:?}"
    );
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await?);
    stream.write_all(payload).await?;
    stream.flush().await?;
    let mut returned = vec![0; payload.len()];
    stream.read_exact(&mut returned).await?;
    Ok(returned)
}

pub(super) async fn tcp_exchange(to: SocketAddr, tls: Option<&Tls>, payload: &[u8]) -> Result<Vec<u8>> {
    let stream = TcpStream::connect(to).await?;
    match tls {
        None => exchange_bytes(stream, payload).await,
        Some(tls) => exchange_bytes(handshake(stream, tls, None, None).await?, payload).await,
    }
}

async fn exchange_bytes<S>(mut stream: S, payload: &[u8]) -> Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(payload).await?;
    stream.shutdown().await?;
    let mut returned = Vec::new();
    stream.read_to_end(&mut returned).await?;
    Ok(returned)
}

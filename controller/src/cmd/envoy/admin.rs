//! Envoy's administration, on its Unix domain socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::connections;

/// How long Envoy may take for one answer: its main thread may be busy with a large configuration.
const LIMIT: Duration = Duration::from_secs(5);

/// The largest answer that is read: a few lines for each listener and worker are expected.
const LARGEST: usize = 16 << 20;

/// Why Envoy did not do as it was asked.
#[derive(Debug, Error)]
pub(super) enum AdminError {
    /// Nobody listens on the socket: there is no Envoy (any more, or yet).
    #[error("no Envoy listens on {path}")]
    Gone {
        /// The socket.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It may not be asked.
    #[error(
        "cannot connect to {path}; both containers must run as the same user, or name the socket with --admin-address"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It takes too long.
    #[error("Envoy did not answer within {LIMIT:?}")]
    Silent,
    /// The exchange broke off.
    #[error("Envoy's answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answered something else than 200.
    #[error("Envoy answered {0}")]
    Refused(StatusCode),
}

/// An Envoy, asked by its administration socket. Every question has a time limit.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    socket: PathBuf,
}

impl Admin {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Makes Envoy unready, and HTTP connections end after their next response.
    pub(super) async fn fail_health_check(&self) -> Result<(), AdminError> {
        self.ask(Method::POST, "/healthcheck/fail").await.map(drop)
    }

    /// Takes [`Self::fail_health_check`] back.
    pub(super) async fn restore_health_check(&self) -> Result<(), AdminError> {
        self.ask(Method::POST, "/healthcheck/ok").await.map(drop)
    }

    /// How many connections clients have open.
    pub(super) async fn open_connections(&self) -> Result<u64, AdminError> {
        Ok(connections::open(&self.ask(Method::GET, connections::QUERY).await?))
    }

    async fn ask(&self, method: Method, path: &str) -> Result<String, AdminError> {
        timeout(LIMIT, self.exchange(method, path)).await.unwrap_or(Err(AdminError::Silent))
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<String, AdminError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.unreachable(source))?;
        let broken = |error: hyper::Error| AdminError::Broken(error.into());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = Request::builder().method(method).uri(path).header(header::HOST, "envoy");
        let request = request.body(Empty::<Bytes>::new()).expect("methods and paths are constants and valid");
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            let body = body.map_err(AdminError::Broken)?.to_bytes();
            if status != StatusCode::OK {
                return Err(AdminError::Refused(status));
            }
            Ok(String::from_utf8_lossy(&body).into_owned())
        };
        // The connection does its work for as long as the answer is awaited, and is closed with it.
        let served = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            answer = answer => answer,
            never = served => never,
        }
    }

    fn unreachable(&self, source: io::Error) -> AdminError {
        let path = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AdminError::Gone { path, source },
            _ => AdminError::Connect { path, source },
        }
    }
}

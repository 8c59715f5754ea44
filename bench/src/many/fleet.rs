//! Many played Envoys, each with a connection of its own.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use contour_resource::ResourceType;
use h2::RecvStream;
use hyper::Request;
use rustls::client::Resumption;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::play::{Play, Seat, Start};
use super::scan::Messages;
use super::slow::{Pace, Paced};

/// Envoy's windows of HTTP/2.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 24 << 20;

/// Pause before an Envoy whose connection broke connects again.
const AGAIN: Duration = Duration::from_millis(500);

/// How often it is looked whether all have everything: the resolution of the times.
const LOOK: Duration = Duration::from_millis(2);

/// Where the server is, and who the Envoys are.
#[derive(Clone)]
pub struct Access {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Access {
    /// With the certificates that `contour certgen --pem` wrote to `directory`.
    pub(super) fn new(address: SocketAddr, directory: &Path) -> Result<Self> {
        let certificates = |name: &str| -> Result<Vec<CertificateDer<'static>>> {
            Ok(CertificateDer::pem_file_iter(directory.join(name))?.collect::<Result<_, _>>()?)
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("cacert.pem")? {
            roots.add(certificate)?;
        }
        let key = PrivateKeyDer::from_pem_file(directory.join("envoykey.pem"))?;
        let mut provider = default_provider();
        // What Envoy's TLS library prefers.
        provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates("envoycert.pem")?, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // The Envoys would share what is one's own.
        config.resumption = Resumption::disabled();
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)) })
    }
}

/// Played Envoys. They leave when it is dropped.
pub struct Fleet {
    seats: Vec<Arc<Seat>>,
    tasks: Vec<AbortHandle>,
}

/// How long a fleet took, from the moment it is counted from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Until half of it was done.
    pub median: Duration,
    /// Until all of it was done.
    pub last: Duration,
}

/// What a fleet has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Resources.
    pub resources: u64,
    /// Bytes of responses.
    pub bytes: u64,
}

/// What should not happen to a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Envoys that were given routes before they had accepted the clusters and endpoints of these.
    pub early: usize,
    /// Envoys that did not wait any longer for something at their start.
    pub impatient: usize,
    /// Connections that broke.
    pub broken: u32,
}

impl Fleet {
    /// Connects `count` of them at once.
    pub fn connect(access: &Access, count: usize, start: &Start, pace: Pace) -> Self {
        let seats: Vec<Arc<Seat>> = (0..count).map(|_| Arc::default()).collect();
        let play = |(i, seat): (usize, &Arc<Seat>)| {
            let task = stay(access.clone(), format!("played-{i}"), Arc::clone(seat), start.clone(), pace);
            // It must not look complete before it has begun.
            seat.due[0].store(u32::MAX, Relaxed);
            tokio::spawn(task).abort_handle()
        };
        let tasks = seats.iter().enumerate().map(play).collect();
        Self { seats, tasks }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether it is a fleet without Envoys.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// More is to come, this many of each of these types.
    pub fn expect(&self, more: &[(ResourceType, u32)]) {
        self.seats.iter().for_each(|seat| seat.expect(more));
    }

    /// Waits until all have, and have accepted, everything.
    pub async fn until_complete(&self, since: Instant, within: Duration) -> Result<Times> {
        let mut times = Times::default();
        loop {
            let complete = self.seats.iter().filter(|seat| seat.is_complete()).count();
            let now = since.elapsed();
            if complete * 2 >= self.len() && times.median.is_zero() {
                times.median = now;
            }
            if complete == self.len() {
                return Ok(Times { last: now, ..times });
            }
            if now > within {
                let why = self.error().unwrap_or_else(|| "no connection broke".to_owned());
                bail!("after {within:?} {complete} of {} have everything; {why}", self.len());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Why a connection broke.
    fn error(&self) -> Option<String> {
        self.seats.iter().find_map(|seat| seat.error.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// What all of them together have been told so far.
    pub fn told(&self) -> Told {
        let sum = |of: fn(&Seat) -> u64| self.seats.iter().map(|seat| of(seat)).sum();
        Told {
            resources: sum(|seat| seat.resources.load(Relaxed)),
            bytes: sum(|seat| seat.bytes.load(Relaxed)),
        }
    }

    /// What has happened to them, since this was last asked.
    pub fn faults(&self) -> Faults {
        let of = |flag: fn(&Seat) -> &AtomicBool| {
            self.seats.iter().filter(|seat| flag(seat).swap(false, Relaxed)).count()
        };
        Faults {
            early: of(|seat| &seat.early),
            impatient: of(|seat| &seat.impatient),
            broken: self.seats.iter().map(|seat| seat.broken.swap(0, Relaxed)).sum(),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Plays an Envoy for ever: it connects again when it has to.
async fn stay(access: Access, node: String, seat: Arc<Seat>, start: Start, pace: Pace) {
    loop {
        let play = Play::new(&node, Arc::clone(&seat), start.clone());
        if let Err(error) = connected(&access, play, pace).await {
            seat.broken.fetch_add(1, Relaxed);
            *seat.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{node}: {error:#}"));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Plays an Envoy until its connection ends.
async fn connected(access: &Access, play: Play, pace: Pace) -> Result<()> {
    let tcp = TcpStream::connect(access.address).await?;
    tcp.set_nodelay(true)?;
    let tls =
        access.tls.connect(ServerName::try_from("contour")?, tcp).await.context("in the TLS handshake")?;
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake::<_, Bytes>(Paced::new(tls, pace))
        .await?;
    let mut client = client.ready().await?;
    let request = Request::post(
        "https://contour/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    )
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(())?;
    let (response, requests) = client.send_request(request, false)?;
    tokio::select! {
        ended = connection => ended?,
        ended = converse(play, response, requests) => ended?,
    }
    bail!("the server has ended the connection")
}

async fn converse(
    mut play: Play,
    response: h2::client::ResponseFuture,
    mut requests: h2::SendStream<Bytes>,
) -> Result<()> {
    let mut response = std::pin::pin!(response);
    let mut body: Option<RecvStream> = None;
    let mut messages = Messages::default();
    loop {
        for request in play.requests() {
            requests.send_data(request, false)?;
        }
        let deadline = play.deadline;
        let patience = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        let read = async {
            match &mut body {
                None => anyhow::Ok(Read::Begun(response.as_mut().await?)),
                Some(body) => Ok(Read::Data(poll_fn(|context| body.poll_data(context)).await)),
            }
        };
        let data = tokio::select! {
            read = read => match read? {
                Read::Begun(response) => {
                    ensure!(response.status() == 200, "status {}", response.status());
                    body = Some(response.into_body());
                    continue;
                }
                Read::Data(data) => data.context("the server has ended the stream")??,
            },
            () = patience => {
                play.lose_patience();
                continue;
            }
        };
        if let Some(body) = &mut body {
            body.flow_control().release_capacity(data.len())?;
        }
        let mut rest = &data[..];
        while !rest.is_empty() {
            if let Some((summary, whole)) = messages.next(&mut rest, play.keep()) {
                play.receive(summary, whole.as_deref())?;
            }
        }
    }
}

enum Read {
    Begun(hyper::Response<RecvStream>),
    Data(Option<Result<Bytes, h2::Error>>),
}

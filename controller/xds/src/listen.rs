//! The listening socket and the connections that come in on it.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use crate::tls::Reloading;

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// What to wait after accepting failed (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Handshakes that may be under way: when there are more, the one that takes longest is given up. An honest one takes
/// milliseconds, so that whoever opens connections and says nothing keeps nobody out.
const MOST_HANDSHAKES: usize = 1024;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Takes the port without listening on it, so that a restarted server gets it at once and `::` also takes IPv4.
///
/// Until [`listen`] connections are refused: whoever probes the port learns that there is nothing to be had yet.
pub(crate) fn bind(addr: SocketAddr) -> io::Result<Socket> {
    let socket = match Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)) {
        // A host without IPv6: `::` means everything, and everything is IPv4 there.
        Err(_) if addr.is_ipv6() && addr.ip().is_unspecified() => {
            return bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())));
        }
        socket => socket?,
    };
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// The address a socket is bound to.
pub(crate) fn address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::other("the socket has no IP address"))
}

/// Begins to take connections. Fails if another process listens on the port by now.
pub(crate) fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until told to stop, each handshake on its own, and hands over what is ready for HTTP/2.
///
/// The socket is closed when this returns.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<Arc<Reloading>>,
    ready: mpsc::Sender<io::Result<Connection>>,
    stop: CancellationToken,
) {
    let mut handshakes = Handshakes::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept xDS connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        handshakes.begin(tokio::spawn(greet(stream, peer, tls.clone(), ready.clone(), stop.clone())));
    }
}

/// The handshakes under way, the oldest first.
#[derive(Default)]
struct Handshakes(VecDeque<JoinHandle<()>>);

impl Handshakes {
    /// Counts a handshake in. It goes on by itself, until it is the oldest of too many.
    fn begin(&mut self, handshake: JoinHandle<()>) {
        self.0.push_back(handshake);
        if self.0.len() <= MOST_HANDSHAKES {
            return;
        }
        self.0.retain(|handshake| !handshake.is_finished());
        if self.0.len() > MOST_HANDSHAKES
            && let Some(oldest) = self.0.pop_front()
        {
            debug!("too many xDS clients have not finished their TLS handshakes: the oldest is given up");
            oldest.abort();
        }
    }
}

async fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Reloading>>,
    ready: mpsc::Sender<io::Result<Connection>>,
    stop: CancellationToken,
) {
    if let Err(error) = tune(&stream) {
        debug!(%peer, %error, "cannot set socket options");
    }
    let Some(tls) = tls else {
        let _ = ready.send(Ok(Connection::Plain(peer, stream))).await;
        return;
    };
    let handshake = TlsAcceptor::from(tls.current()).accept(stream);
    tokio::select! {
        () = stop.cancelled() => {}
        done = tokio::time::timeout(HANDSHAKE_DEADLINE, handshake) => match done {
            Ok(Ok(stream)) => {
                let _ = ready.send(Ok(Connection::Tls(peer, Box::new(stream)))).await;
            }
            // A probe that only looks whether the port is open.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => debug!(%peer, "connection closed unused"),
            Ok(Err(error)) => warn!(%peer, %error, "xDS client refused in the TLS handshake"),
            Err(_) => warn!(%peer, "xDS client did not finish its TLS handshake in time"),
        },
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(5));
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// A client's connection, ready for HTTP/2.
pub(crate) enum Connection {
    /// Without TLS (`--insecure`).
    Plain(SocketAddr, TcpStream),
    /// With a verified client certificate.
    Tls(SocketAddr, Box<TlsStream<TcpStream>>),
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        match self {
            Self::Plain(peer, _) | Self::Tls(peer, _) => Peer(*peer),
        }
    }
}

/// Calls a method on whichever stream this is.
macro_rules! on_stream {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Connection::Plain(_, stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Connection::Tls(_, stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn of_too_many_handshakes_the_oldest_is_given_up() {
        let mut handshakes = Handshakes::default();
        let mut ends = Vec::new();
        let mut begin = |done: bool| {
            let (end, ended) = oneshot::channel::<()>();
            handshakes.begin(tokio::spawn(async move {
                let _end = end;
                if !done {
                    std::future::pending::<()>().await;
                }
            }));
            ends.push(ended);
        };
        // Those that are done count no longer.
        for at in 0..MOST_HANDSHAKES + 100 {
            begin((10..110).contains(&at));
            tokio::task::yield_now().await;
        }
        begin(false);
        tokio::task::yield_now().await;
        assert!((&mut ends[0]).await.is_err(), "the oldest is given up");
        assert!(ends[1].try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty));
    }
}

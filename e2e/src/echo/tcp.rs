//! A TCP upstream.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::listen::{self, Listening};

/// Answers the first bytes of a connection with its name and a line feed, and every byte with itself.
#[derive(Debug)]
pub struct TcpEcho {
    listening: Listening,
}

impl TcpEcho {
    /// Listens on a free loopback port.
    pub async fn start(name: &str) -> Result<Self> {
        let name: Arc<str> = name.into();
        let listener = listen::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let listening = Listening::new(listener, move |stream| serve(stream, Arc::clone(&name)))?;
        Ok(Self { listening })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.listening.accepted()
    }
}

async fn serve(stream: TcpStream, name: Arc<str>) {
    let _ = repeat(stream, format!("{name}\n").as_bytes()).await;
}

/// Sends back what comes in, after `greeting` as soon as something came in.
pub(super) async fn repeat<S>(mut stream: S, greeting: &[u8]) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = [0; 4096];
    let mut greeting = Some(greeting);
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
        if let Some(greeting) = greeting.take() {
            stream.write_all(greeting).await?;
        }
        stream.write_all(&buffer[..read]).await?;
        stream.flush().await?;
    }
}

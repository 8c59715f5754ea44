//! `echo`: upstreams to try a configuration with. Each answers with what it received, as JSON.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::Parser;
use contour_e2e::echo::Echo;
use tokio::signal::unix::{SignalKind, signal};

/// HTTP upstreams that answer with what they received.
#[derive(Debug, Parser)]
#[command(name = "echo")]
struct Arguments {
    /// Where to listen and the name to answer with; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT=NAME", required = true, value_parser = listener)]
    listen: Vec<(SocketAddr, String)>,
}

fn listener(text: &str) -> Result<(SocketAddr, String), String> {
    let (address, name) =
        text.split_once('=').ok_or("expected ADDRESS:PORT=NAME, for example 127.0.0.1:9001=echo")?;
    let address = address.parse().map_err(|_| format!("{address} is not an address and a port"))?;
    Ok((address, name.to_owned()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut servers = Vec::new();
    for (address, name) in arguments.listen {
        let server = Echo::start_at(&name, address).await.with_context(|| format!("upstream {name}"))?;
        println!("{name} listens on {}", server.address());
        servers.push(server);
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

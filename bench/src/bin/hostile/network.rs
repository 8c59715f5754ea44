//! Addresses, and networks of their own for the Envoys: all of them listen on the same ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context as _, Result, ensure};
use contour_e2e::process::Process;
use contour_e2e::wait::{SOON, eventually};
use tokio::net::{TcpSocket, UdpSocket};

/// The address that `hack/netns.py` adds, of everything but the Envoys: loopback is nothing that an EndpointSlice may name.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The attacker's upstream.
pub(crate) const EVIL_PORT: u16 = 7001;

/// Where somebody listens who never answers.
pub(crate) const HOLE_PORT: u16 = 7002;

/// The name server of the Envoys, which never answers either.
pub(crate) const DNS_PORT: u16 = 7053;

/// An address of this network.
pub(crate) fn here(port: u16) -> SocketAddr {
    SocketAddr::from((HERE, port))
}

/// A network in which one Envoy lives, one link away from ours.
pub(crate) struct Network {
    /// Holds the network open.
    holder: Process,
    /// The Envoy's address.
    pub(crate) address: IpAddr,
}

impl Network {
    /// Makes a network.
    pub(crate) async fn new(directory: &Path) -> Result<Self> {
        // The kernel takes networks down in its own time: no number is used again.
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let log = directory.join(format!("network-{number}.log"));
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "infinity"]);
        let holder = Process::spawn("unshare", command, log)?;
        let pid = holder.pid().to_string();
        eventually(SOON, || async {
            holder.ensure_running()?;
            let program = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
            ensure!(program.trim() == "sleep", "{program}");
            Ok(())
        })
        .await?;
        let (ours, theirs) = (format!("hostile{number}"), format!("10.77.{number}.2"));
        run("ip", &["link", "add", &ours, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
        run("ip", &["address", "add", &format!("10.77.{number}.1/24"), "dev", &ours])?;
        run("ip", &["link", "set", &ours, "up"])?;
        let network = Self { holder, address: theirs.parse()? };
        for arguments in [
            vec!["address", "add", &format!("{theirs}/24"), "dev", "eth0"],
            vec!["link", "set", "lo", "up"],
            vec!["link", "set", "eth0", "up"],
            vec!["route", "add", "default", "via", &format!("10.77.{number}.1")],
        ] {
            let inside = network.enter();
            let whole = inside[1..].iter().map(String::as_str).chain(["ip"]).chain(arguments);
            run(&inside[0], &whole.collect::<Vec<_>>())?;
        }
        Ok(network)
    }

    /// What a command begins with to run in there.
    pub(crate) fn enter(&self) -> Vec<String> {
        ["nsenter", "--target", &self.holder.pid().to_string(), "--net"].map(str::to_owned).to_vec()
    }
}

/// Whoever never answers: a TCP port that takes connections, and a name server.
pub(crate) struct Silence {
    _tcp: tokio::net::TcpListener,
    _udp: UdpSocket,
}

impl Silence {
    /// Begins to be silent.
    pub(crate) async fn start() -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(here(HOLE_PORT))?;
        // The kernel takes the connections; nobody ever reads them.
        Ok(Self { _tcp: socket.listen(4096)?, _udp: UdpSocket::bind(here(DNS_PORT)).await? })
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {program}: it is needed, and root"))?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

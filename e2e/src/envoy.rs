//! A real Envoy, started for one test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::wait::{SOON, eventually};

/// How long Envoy may take until its admin interface answers.
const START: Duration = Duration::from_mins(1);

/// The Envoy binary: `ENVOY_BIN`, or what `make envoy` installed, or the first `envoy` on `PATH`.
pub fn binary() -> Result<PathBuf> {
    if let Some(set) = std::env::var_os("ENVOY_BIN").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(set);
        anyhow::ensure!(
            path.is_file(),
            "ENVOY_BIN={} is not a file: correct it, or unset it",
            path.display()
        );
        return Ok(path);
    }
    let installed = crate::repository_root().join(".venv/bin/envoy");
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(installed)
        .chain(std::env::split_paths(&search).map(|dir| dir.join("envoy")))
        .find(|path| path.is_file())
        .context("there is no Envoy in .venv or on PATH: run `make envoy`, or set ENVOY_BIN")
}

/// How to start an [`Envoy`].
#[derive(Debug)]
pub struct Launch {
    config: Config,
    concurrency: u32,
    args: Vec<String>,
    through: Vec<String>,
}

#[derive(Debug)]
enum Config {
    Text(String),
    File(PathBuf),
}

impl Launch {
    /// With this bootstrap, as YAML or JSON. Where it has no `admin`, a socket in Envoy's own directory is added.
    pub fn bootstrap(text: impl Into<String>) -> Self {
        Self::new(Config::Text(text.into()))
    }

    /// With this bootstrap file, for bootstraps that name files next to them.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Config::File(path.into()))
    }

    fn new(config: Config) -> Self {
        Self { config, concurrency: 1, args: Vec::new(), through: Vec::new() }
    }

    /// The number of worker threads, 1 unless told.
    #[must_use]
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// The node's id and cluster, where the bootstrap has none.
    #[must_use]
    pub fn node(self, id: &str, cluster: &str) -> Self {
        self.args(["--service-node", id, "--service-cluster", cluster])
    }

    /// More command-line arguments, for example `["--log-level", "debug"]`.
    #[must_use]
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Started by this command and its arguments, which end with becoming Envoy: `nsenter --target 1 --net`.
    #[must_use]
    pub fn through(mut self, command: Vec<String>) -> Self {
        self.through = command;
        self
    }

    /// Starts Envoy and returns as soon as its admin interface answers.
    ///
    /// It may then still wait for its first configuration: see [`Envoy::ready`].
    pub async fn start(self) -> Result<Envoy> {
        let dir = tempfile::Builder::new().prefix("contour-e2e-envoy-").tempdir()?;
        let mut command = command(&self.through)?;
        let bootstrap = match &self.config {
            Config::File(path) => {
                command.arg("--config-path").arg(path);
                std::fs::read_to_string(path).with_context(|| path.display().to_string())?
            }
            Config::Text(text) => {
                let path = dir.path().join("bootstrap.yaml");
                std::fs::write(&path, text)?;
                command.arg("--config-path").arg(path);
                text.clone()
            }
        };
        let admin = admin_address(&bootstrap)?;
        let socket = dir.path().join("admin.sock");
        if admin.is_none() {
            let pipe = serde_json::json!({"admin": {"address": {"pipe": {"path": socket}}}});
            command.arg("--config-yaml").arg(pipe.to_string());
        }
        let address_file = dir.path().join("admin.address");
        command
            .arg("--admin-address-path")
            .arg(&address_file)
            // Instances on one machine must not look for each other.
            .arg("--disable-hot-restart")
            .args(["--concurrency", &self.concurrency.to_string()])
            // A page of what the build contains would be all that a failing test shows.
            .args(["--component-log-level", "main:warning"])
            .args(&self.args)
            .current_dir(dir.path());
        let process = Process::spawn("envoy", command, dir.path().join("envoy.log"))?;
        let mut envoy = Envoy { process, admin: admin.unwrap_or(Admin::Pipe(socket)), dir };
        envoy.wait_started(&address_file).await?;
        Ok(envoy)
    }
}

/// Envoy without arguments, started by another command where there is one.
fn command(through: &[String]) -> Result<Command> {
    let Some((program, arguments)) = through.split_first() else { return Ok(Command::new(binary()?)) };
    let mut command = Command::new(program);
    command.args(arguments).arg(binary()?);
    Ok(command)
}

/// Where an Envoy's admin interface listens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Admin {
    Tcp(SocketAddr),
    Pipe(PathBuf),
}

/// The admin address that a bootstrap states, if it states one.
fn admin_address(bootstrap: &str) -> Result<Option<Admin>> {
    let parsed: Value =
        serde_saphyr::from_str(bootstrap).context("the bootstrap is neither YAML nor JSON")?;
    let address = &parsed["admin"]["address"];
    if let Some(path) = address["pipe"]["path"].as_str() {
        return Ok(Some(Admin::Pipe(PathBuf::from(path))));
    }
    let socket = &address["socket_address"];
    if socket.is_null() {
        return Ok(None);
    }
    let ip = socket["address"].as_str().and_then(|ip| ip.parse().ok());
    let port = socket["port_value"].as_u64().and_then(|port| u16::try_from(port).ok());
    let (ip, port) =
        ip.zip(port).with_context(|| format!("no admin address that a client can reach: {address}"))?;
    Ok(Some(Admin::Tcp(SocketAddr::new(ip, port))))
}

/// A running Envoy. Dropping it ends it.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: Admin,
    dir: TempDir,
}

impl Envoy {
    async fn wait_started(&mut self, address_file: &Path) -> Result<()> {
        let admin = &self.admin;
        let process = &self.process;
        let found = eventually(START, || async {
            if let Err(ended) = process.ensure_running() {
                return Ok(Err(ended)); // Final: no use in waiting for the deadline.
            }
            let admin = match admin {
                Admin::Tcp(stated) if stated.port() == 0 => {
                    Admin::Tcp(std::fs::read_to_string(address_file)?.trim().parse()?)
                }
                known => known.clone(),
            };
            request(&admin, hyper::Method::GET, "/server_info").await?;
            Ok(Ok(admin))
        });
        let found = found.await.with_context(|| format!("Envoy's log ends:\n{}", process.log_tail()))??;
        self.admin = found;
        Ok(())
    }

    /// The process, for its id and its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A directory that lives as long as this Envoy.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until Envoy calls itself live: it has its first listeners, clusters and secrets.
    pub async fn ready(&self) -> Result<()> {
        eventually(SOON, || async { self.get("/ready").await.map(drop) })
            .await
            .with_context(|| format!("Envoy is not live; its log ends:\n{}", self.process.log_tail()))
    }

    /// The body of a GET of the admin interface. Any status but 200 is an error that has the body.
    pub async fn get(&self, path: &str) -> Result<String> {
        request(&self.admin, hyper::Method::GET, path).await
    }

    /// The body of a POST to the admin interface, for what changes Envoy: `/drain_listeners`, `/logging?level=debug`.
    pub async fn post(&self, path: &str) -> Result<String> {
        request(&self.admin, hyper::Method::POST, path).await
    }

    /// Counters and gauges whose name matches the regular expression `filter`. Histograms are left out.
    pub async fn stats(&self, filter: &str) -> Result<BTreeMap<String, u64>> {
        let text = self.get(&format!("/stats?filter={}", escape(filter))).await?;
        Ok(parse_stats(&text))
    }

    /// One counter or gauge; 0 where Envoy does not have it (yet).
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let literal: String =
            name.chars().flat_map(|c| (c == '.').then_some('\\').into_iter().chain([c])).collect();
        Ok(self.stats(&format!("^{literal}$")).await?.into_values().next().unwrap_or(0))
    }

    /// The counters of rejected configuration that are not zero; empty when Envoy accepted everything.
    pub async fn rejected_updates(&self) -> Result<BTreeMap<String, u64>> {
        let mut counters = self.stats("(update_rejected|init_fetch_timeout)$").await?;
        counters.retain(|_, count| *count > 0);
        Ok(counters)
    }

    /// The configuration that Envoy holds, endpoints included.
    pub async fn config_dump(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.get("/config_dump?include_eds").await?)?)
    }

    /// The state of every cluster and endpoint, as `/clusters` tells it.
    pub async fn clusters(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.get("/clusters?format=json").await?)?)
    }

    /// Where the listener of this name listens: the way to one that was configured with port 0.
    pub async fn listener(&self, name: &str) -> Result<SocketAddr> {
        eventually(SOON, || async {
            let state: Value = serde_json::from_str(&self.get("/listeners?format=json").await?)?;
            let listeners = state["listener_statuses"].as_array().context("no listeners yet")?;
            let found = listeners.iter().find(|listener| listener["name"] == name);
            let address = &found.with_context(|| format!("no listener {name} in {state}"))?["local_address"];
            let socket = &address["socket_address"];
            let port = socket["port_value"].as_u64().and_then(|port| u16::try_from(port).ok());
            let ip: std::net::IpAddr = socket["address"].as_str().context("an address")?.parse()?;
            // One that listens on every address is reached over loopback.
            let ip = if ip.is_unspecified() { std::net::Ipv4Addr::LOCALHOST.into() } else { ip };
            Ok(SocketAddr::new(ip, port.context("a port")?))
        })
        .await
    }

    /// Bytes that Envoy's allocator has handed out.
    pub async fn allocated_bytes(&self) -> Result<u64> {
        let memory: Value = serde_json::from_str(&self.get("/memory").await?)?;
        Ok(memory["allocated"].as_str().context("/memory tells what is allocated")?.parse()?)
    }

    /// How long Envoy's main thread, which takes in configuration, has run on a processor.
    pub fn main_thread_time(&self) -> Result<Duration> {
        self.process.main_thread_time()
    }

    /// Bytes of the process that are in memory, from `/proc` (Linux).
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }
}

/// `name: value` lines; a histogram's value is not a number.
fn parse_stats(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| line.rsplit_once(": "));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// Percent-encodes what has a meaning of its own in a query.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~()*".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

async fn request(admin: &Admin, method: hyper::Method, path: &str) -> Result<String> {
    let exchange = async {
        match admin {
            Admin::Tcp(address) => send(tokio::net::TcpStream::connect(address).await?, method, path).await,
            Admin::Pipe(socket) => send(tokio::net::UnixStream::connect(socket).await?, method, path).await,
        }
    };
    exchange.await.with_context(|| format!("Envoy's admin interface, {path}"))
}

async fn send<S>(stream: S, method: hyper::Method, path: &str) -> Result<String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, "envoy-admin")
        .body(Full::<Bytes>::default())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    let body = String::from_utf8(body.into())?;
    anyhow::ensure!(status == hyper::StatusCode::OK, "status {status}: {body}");
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_admin_address_of_a_bootstrap() {
        let tcp = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9001}}}";
        assert_eq!(admin_address(tcp).unwrap(), Some(Admin::Tcp(([127, 0, 0, 1], 9001).into())));
        let pipe = r#"{"admin": {"address": {"pipe": {"path": "/admin/admin.sock"}}}}"#;
        assert_eq!(admin_address(pipe).unwrap(), Some(Admin::Pipe("/admin/admin.sock".into())));
        assert_eq!(admin_address("node: {id: a}").unwrap(), None);
        let name = "admin: {address: {socket_address: {address: localhost, port_value: 9001}}}";
        assert!(admin_address(name).unwrap_err().to_string().starts_with("no admin address"));
        assert!(admin_address("{").is_err());
    }

    #[test]
    fn stats_are_counters_and_gauges_by_name() {
        let text =
            "cluster.a:1.upstream_rq_total: 3\nserver.live: 1\nhistogram.x: P0(nan,1) P25(nan,1)\nnoise\n";
        let expected = [("cluster.a:1.upstream_rq_total".to_owned(), 3), ("server.live".to_owned(), 1)];
        assert_eq!(parse_stats(text), BTreeMap::from(expected));
    }

    #[test]
    fn a_filter_survives_the_query_string() {
        assert_eq!(escape("^a+b|c&d$"), "%5Ea%2Bb%7Cc%26d%24");
    }
}

//! The installation that the played Envoys connect to: kube-apiserver with many hosts, and a controller.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use contour_crds::HTTPProxy;
use contour_e2e::apiserver::ApiServer;
use contour_e2e::ports;
use contour_e2e::process::Process;
use contour_e2e::wait::{eventually, until_still};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use nix::sys::signal::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fleet::Access;
use super::observe::{get, metric};
use crate::NAMESPACE;

/// Requests to the API server under way at once while objects are made.
const CONCURRENT: usize = 48;

/// How long a large installation may take to come to rest.
const PATIENCE: Duration = Duration::from_mins(5);

/// Ports of the controller.
#[derive(Clone, Copy)]
struct Ports {
    xds: u16,
    http: u16,
    debug: u16,
}

/// A running installation.
pub struct World {
    // Dropped in this order.
    contour: Process,
    api: ApiServer,
    client: Client,
    command: Vec<OsString>,
    directory: TempDir,
    ports: Ports,
}

impl World {
    /// Starts everything with so many hosts; returns once the controller has nothing left to do. `command` is what runs `contour`.
    pub async fn start(command: &[OsString], hosts: usize) -> Result<Self> {
        let api = ApiServer::start().await?;
        api.install_crds(&contour_crds::all_crds()).await?;
        let client = api.client().await?;
        for name in [NAMESPACE, "projectcontour"] {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        }
        let directory = tempfile::tempdir()?;
        let output =
            contour(command)?.args(["certgen", "--pem", "certs"]).current_dir(directory.path()).output()?;
        ensure!(output.status.success(), "contour certgen: {}", String::from_utf8_lossy(&output.stderr));
        let [xds, http, debug] = ports::free();
        let (command, ports) = (command.to_vec(), Ports { xds, http, debug });
        let all = stream::iter(0..hosts).map(|i| create_host(&client, i));
        all.buffer_unordered(CONCURRENT).try_collect::<Vec<()>>().await?;
        let contour = serve(&command, &directory, &api, ports)?;
        let world = Self { contour, api, client, command, directory, ports };
        world.until_ready().await?;
        world.settle().await?;
        Ok(world)
    }

    /// How Envoys connect.
    pub fn access(&self) -> Result<Access> {
        Access::new(local(self.ports.xds), &self.directory.path().join("certs"))
    }

    /// Where health and metrics are.
    pub(super) fn http(&self) -> SocketAddr {
        local(self.ports.http)
    }

    /// The controller's process.
    pub fn pid(&self) -> i32 {
        self.contour.pid()
    }

    /// The sum of a metric of the controller over all its labels.
    pub async fn metric(&self, name: &'static str) -> Result<f64> {
        let text = self.answer("/metrics").await?;
        metric(&text, name).with_context(|| format!("there is no metric {name}"))
    }

    async fn answer(&self, path: &'static str) -> Result<String> {
        let address = self.http();
        tokio::task::spawn_blocking(move || get(address, path)).await?
    }

    async fn until_ready(&self) -> Result<()> {
        let ready = eventually(PATIENCE, || async {
            if let Err(ended) = self.contour.ensure_running() {
                return Ok(Err(ended));
            }
            let answer = self.answer("/readyz").await?;
            ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            ensure!(self.metric("contour_leader").await? > 0.5, "it does not get the lease");
            Ok(Ok(()))
        });
        ready.await.with_context(|| format!("its log ends:\n{}", self.contour.log_tail()))?
    }

    /// Waits until the controller neither writes statuses nor sends anything.
    pub async fn settle(&self) -> Result<()> {
        let work = async || {
            let text = self.answer("/metrics").await?;
            let of = |name| metric(&text, name).unwrap_or_default();
            let (done, sent) = (of("contour_status_update_total"), of("contour_xds_responses_sent_total"));
            anyhow::Ok((done, of("contour_status_update_pending"), sent))
        };
        until_still(PATIENCE, work).await
    }

    /// Waits until exactly so many streams are connected.
    pub async fn until_streams(&self, wanted: usize) -> Result<()> {
        eventually(PATIENCE, || async {
            let streams = self.metric("contour_xds_connected_streams").await?;
            let wanted = f64::from(u32::try_from(wanted)?);
            ensure!((streams - wanted).abs() < 0.5, "{streams} streams of {wanted}");
            Ok(())
        })
        .await
    }

    /// Ends the controller and starts it again. Returns once its xDS port is open, and how long that took from its start.
    pub async fn restart(&mut self) -> Result<Duration> {
        self.contour.signal(Signal::SIGTERM)?;
        eventually(PATIENCE, || async { self.contour.exited().context("the controller still runs") }).await?;
        self.contour = serve(&self.command, &self.directory, &self.api, self.ports)?;
        let started = Instant::now();
        let port = local(self.ports.xds);
        while tokio::net::TcpStream::connect(port).await.is_err() {
            self.contour.ensure_running()?;
            ensure!(started.elapsed() < PATIENCE, "its xDS port does not open");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(started.elapsed())
    }

    /// Waits until a controller that was restarted is ready and has its lease.
    pub async fn until_back(&self) -> Result<()> {
        self.until_ready().await
    }

    /// Makes everything that a further host needs but its HTTPProxy.
    pub async fn prepare(&self, host: usize) -> Result<()> {
        prepare(&self.client, host).await
    }

    /// Makes the HTTPProxy of a host.
    pub async fn add(&self, host: usize) -> Result<()> {
        create::<HTTPProxy>(&self.client, proxy(host)).await
    }

    /// Gives a host's Service another endpoint; `variant` tells which.
    pub async fn point(&self, host: usize, variant: usize) -> Result<()> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"endpoints": slice(host, variant)["endpoints"]}));
        slices.patch(&format!("host-{host}-x"), &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// The end of the controller's log, for an error.
    pub fn log_tail(&self) -> String {
        self.contour.log_tail()
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn contour(command: &[OsString]) -> Result<Command> {
    let (program, arguments) = command.split_first().context("no command that runs contour")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

fn serve(command: &[OsString], directory: &TempDir, api: &ApiServer, ports: Ports) -> Result<Process> {
    let mut command = contour(command)?;
    command
        .current_dir(directory.path())
        .env("POD_NAME", "contour-bench")
        .arg("serve")
        .arg(format!("--kubeconfig={}", api.kubeconfig().display()))
        .args(["--contour-cafile=certs/cacert.pem", "--contour-cert-file=certs/contourcert.pem"])
        .arg("--contour-key-file=certs/contourkey.pem")
        .args([format!("--xds-port={}", ports.xds), format!("--debug-http-port={}", ports.debug)])
        .args([format!("--http-port={}", ports.http), format!("--health-port={}", ports.http)]);
    Process::spawn("contour", command, directory.path().join("contour.log"))
}

async fn create_host(client: &Client, host: usize) -> Result<()> {
    prepare(client, host).await?;
    create::<HTTPProxy>(client, proxy(host)).await
}

async fn prepare(client: &Client, host: usize) -> Result<()> {
    let service = json!({
        "metadata": {"name": format!("host-{host}")},
        "spec": {"ports": [{"name": "http", "port": 80}], "clusterIP": "None"},
    });
    create::<Service>(client, service).await?;
    create::<EndpointSlice>(client, slice(host, 0)).await
}

async fn create<K>(client: &Client, object: Value) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

fn proxy(host: usize) -> Value {
    json!({
        "apiVersion": "projectcontour.io/v1",
        "kind": "HTTPProxy",
        "metadata": {"name": format!("host-{host}")},
        "spec": {
            "virtualhost": {"fqdn": format!("host-{host}.bench.example.com")},
            "routes": [{"services": [{"name": format!("host-{host}"), "port": 80}]}],
        },
    })
}

/// Nobody ever connects to the address.
fn slice(host: usize, variant: usize) -> Value {
    json!({
        "metadata": {
            "name": format!("host-{host}-x"),
            "labels": {"kubernetes.io/service-name": format!("host-{host}")},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [format!("10.{}.{}.{}", 1 + variant % 200, host / 250 % 250, 1 + host % 250)]}],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

//! The installation that is measured, with stock ports, and the objects in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use contour_crds::HTTPProxy;
use contour_e2e::apiserver::ApiServer;
use contour_e2e::certs::TestCa;
use contour_e2e::client::{self, Connection, Request, Tls};
use contour_e2e::echo::Echo;
use contour_e2e::envoy::{Envoy, Launch};
use contour_e2e::process::Process;
use contour_e2e::wait::eventually;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The address that `hack/netns.py` adds.
const UPSTREAM: &str = "10.77.0.1:0";

/// Requests to the API server under way at once while objects are made.
const CONCURRENT: usize = 48;

/// How long a large installation may take to be served.
const PATIENCE: Duration = Duration::from_mins(5);

/// The namespace of everything.
pub(crate) const NAMESPACE: &str = "bench";

/// A running installation.
pub(crate) struct World {
    // Dropped in this order.
    envoy: Envoy,
    contour: Process,
    api: ApiServer,
    echoes: [Echo; 2],
    binary: PathBuf,
    dir: TempDir,
    ca: TestCa,
    client: Client,
    /// Whether hosts have TLS.
    pub(crate) tls: bool,
    /// How many hosts there are.
    pub(crate) hosts: usize,
}

impl World {
    /// Starts API server, controller and Envoy, without any host.
    pub(crate) async fn start(binary: &Path, tls: bool) -> Result<Self> {
        let api = ApiServer::start().await?;
        api.install_crds(&contour_crds::all_crds()).await?;
        let client = api.client().await?;
        for name in [NAMESPACE, "projectcontour"] {
            let namespace = json!({"metadata": {"name": name}});
            let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
            namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
        }
        let dir = tempfile::tempdir()?;
        let binary = binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?;
        run(&binary, dir.path(), &["certgen", "--pem", "certs"])?;
        let contour = serve(&binary, dir.path(), &api)?;
        let bootstrap = dir.path().join("envoy.json");
        let admin = dir.path().join("admin.sock");
        run(
            &binary,
            dir.path(),
            &[
                "bootstrap",
                "envoy.json",
                "--admin-address",
                &admin.display().to_string(),
                "--envoy-cafile=certs/cacert.pem",
                "--envoy-cert-file=certs/envoycert.pem",
                "--envoy-key-file=certs/envoykey.pem",
            ],
        )?;
        let text = std::fs::read_to_string(&bootstrap)?;
        let text = text.replace("\"certs/", &format!("\"{}/certs/", dir.path().display()));
        std::fs::write(&bootstrap, text)?;
        let envoy = Launch::file(&bootstrap).concurrency(2).node("bench", "bench").start().await?;
        let at: SocketAddr = UPSTREAM.parse()?;
        let echoes = [Echo::start_at("one", at).await?, Echo::start_at("two", at).await?];
        let ca = TestCa::new("bench")?;
        Ok(Self { envoy, contour, api, echoes, binary, dir, ca, client, tls, hosts: 0 })
    }

    /// Adds hosts until there are `hosts`, and waits until all are served.
    pub(crate) async fn grow(&mut self, hosts: usize) -> Result<()> {
        let started = Instant::now();
        let all = stream::iter(self.hosts..hosts).map(|i| self.create_host(format!("host-{i}")));
        all.buffer_unordered(CONCURRENT).try_collect::<Vec<()>>().await?;
        self.hosts = hosts;
        let last = self.request(&format!("host-{}", hosts - 1));
        eventually(PATIENCE, || async {
            let answer = last.send().await?;
            ensure!(answer.status == 200, "status {}", answer.status);
            Ok(())
        })
        .await?;
        self.settle().await?;
        eprintln!("{hosts} hosts are served, {:.1} s after the first write", started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits until the controller has written all statuses and sent everything.
    pub(crate) async fn settle(&self) -> Result<()> {
        eventually(PATIENCE, || async {
            let before = self.metric("contour_status_update_total").await?
                + self.metric("contour_xds_responses_sent_total").await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let after = self.metric("contour_status_update_total").await?
                + self.metric("contour_xds_responses_sent_total").await?;
            ensure!((before - after).abs() < 0.5, "not settled");
            Ok(())
        })
        .await
    }

    async fn create_host(&self, name: String) -> Result<()> {
        self.prepare(&name).await?;
        self.create(self.proxy(&name)).await.map(|_: HTTPProxy| ())
    }

    /// Makes everything a host needs but its HTTPProxy.
    pub(crate) async fn prepare(&self, name: &str) -> Result<()> {
        self.create::<Service>(json!({
            "metadata": {"name": name},
            "spec": {"ports": [{"name": "http", "port": 80}], "clusterIP": "None"},
        }))
        .await?;
        self.create::<EndpointSlice>(self.slice(name, 0)).await?;
        if self.tls {
            let leaf = self.ca.leaf(&[&format!("{name}.bench.example.com")])?;
            self.create::<Secret>(json!({
                "metadata": {"name": name},
                "type": "kubernetes.io/tls",
                "stringData": {"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem},
            }))
            .await?;
        }
        Ok(())
    }

    fn slice(&self, name: &str, echo: usize) -> Value {
        let address = self.echoes[echo].address();
        json!({
            "metadata": {"name": format!("{name}-x"), "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address.ip().to_string()]}],
            "ports": [{"name": "http", "port": address.port(), "protocol": "TCP"}],
        })
    }

    /// The HTTPProxy of a host.
    pub(crate) fn proxy(&self, name: &str) -> Value {
        let mut host = json!({"fqdn": format!("{name}.bench.example.com")});
        if self.tls {
            host["tls"] = json!({"secretName": name});
        }
        json!({
            "apiVersion": "projectcontour.io/v1",
            "kind": "HTTPProxy",
            "metadata": {"name": name},
            "spec": {"virtualhost": host, "routes": [{"services": [{"name": name, "port": 80}]}]},
        })
    }

    /// Writes an object.
    pub(crate) async fn create<K>(&self, object: Value) -> Result<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), NAMESPACE);
        Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }

    /// The HTTPProxies.
    pub(crate) fn proxies(&self) -> Api<HTTPProxy> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Deletes an HTTPProxy.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        self.proxies().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Deletes a Service.
    pub(crate) async fn delete_service(&self, name: &str) -> Result<()> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), NAMESPACE);
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Edits the HTTPProxy of a host so that its configuration changes.
    pub(crate) async fn edit(&self, name: &str, variant: usize) -> Result<()> {
        let routes = json!([{"services": [{"name": name, "port": 80}], "timeoutPolicy": {"response": format!("{}s", 10 + variant % 50)}}]);
        let patch = Patch::Merge(json!({"spec": {"routes": routes}}));
        self.proxies().patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Points a host at one of the two upstreams.
    pub(crate) async fn point(&self, name: &str, echo: usize) -> Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), NAMESPACE);
        let slice = self.slice(name, echo);
        let patch = Patch::Merge(json!({"endpoints": slice["endpoints"], "ports": slice["ports"]}));
        api.patch(&format!("{name}-x"), &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// The instance name of an upstream, as its answers carry it.
    pub(crate) fn instance(&self, echo: usize) -> &str {
        self.echoes[echo].instance()
    }

    /// A request for a host, through Envoy.
    pub(crate) fn request(&self, name: &str) -> Request {
        let to = SocketAddr::from(([127, 0, 0, 1], if self.tls { 8443 } else { 8080 }));
        let request = client::get(to, &format!("{name}.bench.example.com"), "/");
        if self.tls { request.tls(Tls::trusting(&self.ca)) } else { request }
    }

    /// Opens a connection of a request.
    pub(crate) async fn connect(&self, request: &Request) -> Result<Connection> {
        request.connect().await
    }

    /// The sum of a metric of the controller, over all its labels.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let answer =
            client::get(SocketAddr::from(([127, 0, 0, 1], 8000)), "127.0.0.1", "/metrics").send().await?;
        let text = answer.text();
        let of = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        };
        Ok(text
            .lines()
            .filter(of)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>()
            + 0.0)
    }

    /// Resident memory of controller and Envoy, in bytes.
    pub(crate) fn memory(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/statm", self.contour.pid()))?;
        let pages: u64 = status.split(' ').nth(1).context("statm has a second field")?.parse()?;
        Ok((pages * 4096, self.envoy.resident_bytes()?))
    }

    /// How long the controller, and Envoy's main thread, have run on a processor.
    pub(crate) fn work(&self) -> Result<(Duration, Duration)> {
        Ok((self.contour.processor_time()?, self.envoy.main_thread_time()?))
    }

    /// Ends the controller and starts it again; returns once Envoy is connected to the new one.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.contour.signal(nix::sys::signal::Signal::SIGTERM)?;
        eventually(PATIENCE, || async { self.contour.exited().context("still running") }).await?;
        self.contour = serve(&self.binary, self.dir.path(), &self.api)?;
        eventually(PATIENCE, || async {
            let streams = self.metric("contour_xds_connected_streams").await?;
            ensure!(streams >= 1.0, "{streams} streams");
            Ok(())
        })
        .await
    }
}

fn serve(binary: &Path, dir: &Path, api: &ApiServer) -> Result<Process> {
    let mut command = Command::new(binary);
    command
        .current_dir(dir)
        .arg("serve")
        .arg(format!("--kubeconfig={}", api.kubeconfig().display()))
        .args(["--contour-cafile=certs/cacert.pem", "--contour-cert-file=certs/contourcert.pem"])
        .arg("--contour-key-file=certs/contourkey.pem");
    Process::spawn("contour", command, dir.join("contour.log"))
}

fn run(binary: &Path, dir: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new(binary).args(args).current_dir(dir).output()?;
    ensure!(output.status.success(), "contour {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

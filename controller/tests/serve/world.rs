//! A cluster, controllers and Envoys in a network namespace of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use contour_crds::HTTPProxy;
use contour_e2e::apiserver::{self, ApiServer};
use contour_e2e::client::{Request, get};
use contour_e2e::echo::Echo;
use contour_e2e::envoy::{Envoy, Launch};
use contour_e2e::process::Process;
use contour_e2e::wait::{SOON, eventually};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::objects::NAMESPACE;

/// Set where a story runs inside of its namespace.
const INSIDE: &str = "CONTOUR_TEST_OWN_NETWORK";

/// How long a story may take, on a machine with other things to do.
const STORY: Duration = Duration::from_mins(4);

/// How long a controller may take that waits for its next attempt to reach the API server, half a minute at most.
pub(crate) const NEXT_ATTEMPT: Duration = Duration::from_secs(75);

/// Where upstreams listen: an address that EndpointSlices may name.
const UPSTREAM: &str = "10.77.0.1:0";

/// Runs a story in a network namespace of its own: starts this test again in there.
pub(crate) fn in_own_network(test: &str, story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::var_os(INSIDE).is_some() {
        return runtime.block_on(async {
            tokio::time::timeout(STORY, story).await.expect("the story ends in time");
        });
    }
    if apiserver::is_left_out() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("python3");
    command
        .arg(contour_e2e::repository_root().join("hack/netns.py"))
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1");
    let process = Process::spawn("the story", command, directory.path().join("log")).unwrap();
    let ended =
        runtime.block_on(eventually(STORY + SOON, || async { process.exited().context("it goes on") }));
    assert!(ended.as_ref().is_ok_and(ExitStatus::success), "{test}: {ended:?}\n{}", process.log());
    assert!(
        process.log().contains("test result: ok. 1 passed"),
        "{test} is not in there:\n{}",
        process.log()
    );
}

/// A cluster without anything of Contour but its kinds, namespaces and certificates.
pub(crate) struct Cluster {
    /// The API server.
    pub(crate) api: ApiServer,
    /// Its administrator.
    pub(crate) client: Client,
    directory: TempDir,
}

impl Cluster {
    /// Starts the API server.
    pub(crate) async fn start() -> Self {
        let cluster = Self::without_our_kinds().await;
        cluster.api.install_crds(&contour_crds::all_crds()).await.unwrap();
        cluster
    }

    /// Starts an API server that does not know our kinds yet.
    pub(crate) async fn without_our_kinds() -> Self {
        let api = ApiServer::start().await.unwrap();
        let client = api.client().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let cluster = Self { api, client, directory };
        for name in [NAMESPACE, "projectcontour"] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            cluster.apply_in(None, namespace).await;
        }
        cluster.run(&["certgen", "--pem", "certs"]);
        cluster
    }

    /// A directory for files of the story; certificates are in `certs`.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a command of the binary to its end.
    pub(crate) fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contour"));
        let output = command.args(arguments).current_dir(self.directory()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a controller with stock ports and these flags besides.
    pub(crate) fn contour(&self, flags: &[&str]) -> Contour {
        self.contour_as("contour-a", Ports::default(), &self.api.kubeconfig(), flags)
    }

    /// Starts a controller as this pod, on these ports, with this way to the API server.
    pub(crate) fn contour_as(&self, pod: &str, ports: Ports, kubeconfig: &Path, flags: &[&str]) -> Contour {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contour"));
        command
            .current_dir(self.directory())
            .env("POD_NAME", pod)
            .arg("serve")
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["--contour-cafile=certs/cacert.pem", "--contour-cert-file=certs/contourcert.pem"])
            .arg("--contour-key-file=certs/contourkey.pem")
            .args([format!("--xds-port={}", ports.xds), format!("--debug-http-port={}", ports.debug)])
            .args([format!("--http-port={}", ports.http), format!("--health-port={}", ports.http)])
            .args(flags);
        let log = self.directory().join(format!("{pod}.log"));
        Contour { process: Process::spawn("contour", command, log).unwrap(), ports }
    }

    /// Starts an Envoy that follows the controller with this xDS port.
    pub(crate) async fn envoy(&self, name: &str, xds_port: u16) -> Envoy {
        let file = format!("{name}.json");
        let socket = self.directory().join(format!("{name}.sock"));
        self.run(&[
            "bootstrap",
            &file,
            &format!("--xds-port={xds_port}"),
            &format!("--admin-address={}", socket.display()),
            "--envoy-cafile=certs/cacert.pem",
            "--envoy-cert-file=certs/envoycert.pem",
            "--envoy-key-file=certs/envoykey.pem",
        ]);
        let path = self.directory().join(file);
        // Envoy runs in a directory of its own.
        let text = std::fs::read_to_string(&path).unwrap();
        let absolute = format!("\"{}/certs/", self.directory().display());
        let text = narrow(&text.replace("\"certs/", &absolute));
        std::fs::write(&path, text).unwrap();
        Launch::file(path).node(name, "envoy").start().await.unwrap()
    }

    /// Creates an object of [`NAMESPACE`], or makes it like this.
    pub(crate) async fn apply(&self, object: Value) {
        self.apply_in(Some(NAMESPACE), object).await;
    }

    /// Like [`Self::apply`], for a namespace, or for the whole cluster.
    pub(crate) async fn apply_in(&self, namespace: Option<&str>, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let name = object.metadata.name.clone().unwrap();
        let api = self.dynamic(namespace, &object);
        let applied = api.patch(&name, &PatchParams::apply("story").force(), &Patch::Apply(&object)).await;
        applied.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Deletes an object of [`NAMESPACE`].
    pub(crate) async fn delete(&self, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let api = self.dynamic(Some(NAMESPACE), &object);
        api.delete(object.metadata.name.as_ref().unwrap(), &DeleteParams::default()).await.unwrap();
    }

    fn dynamic(&self, namespace: Option<&str>, object: &DynamicObject) -> Api<DynamicObject> {
        let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
        let resource = ApiResource::from_gvk(&kind);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Waits until the status of an HTTPProxy, of its present generation, is one that `accept` takes.
    pub(crate) async fn until_proxy(&self, name: &str, accept: impl Fn(&Value) -> Result<()>) -> Value {
        let proxies: Api<HTTPProxy> = Api::namespaced(self.client.clone(), NAMESPACE);
        let found = eventually(SOON, || async {
            let proxy = proxies.get(name).await?;
            let status = serde_json::to_value(&proxy.status)?;
            let observed = status["conditions"][0]["observedGeneration"].as_i64();
            ensure!(observed == proxy.metadata.generation, "not of this generation: {status}");
            accept(&status).map(|()| status)
        });
        found.await.unwrap_or_else(|error| panic!("{name}: {error:#}"))
    }

    /// The present status of an HTTPProxy.
    pub(crate) async fn status(&self, name: &str) -> Value {
        let proxies: Api<HTTPProxy> = Api::namespaced(self.client.clone(), NAMESPACE);
        serde_json::to_value(proxies.get(name).await.unwrap().status).unwrap()
    }

    /// Waits until an HTTPProxy is valid.
    pub(crate) async fn until_valid(&self, name: &str) {
        self.until_proxy(name, |status| {
            ensure!(status["currentStatus"] == "valid", "{status}");
            ensure!(status["conditions"][0]["status"] == "True", "{status}");
            Ok(())
        })
        .await;
    }

    /// Waits until an HTTPProxy has an error of this type and reason, and returns its message.
    pub(crate) async fn until_error(&self, name: &str, kind: &str, reason: &str) -> String {
        let status = self.until_proxy(name, |status| error_of(status, kind, reason).map(drop)).await;
        error_of(&status, kind, reason).unwrap()
    }
}

fn error_of(status: &Value, kind: &str, reason: &str) -> Result<String> {
    ensure!(status["currentStatus"] == "invalid", "{status}");
    let errors = status["conditions"][0]["errors"].as_array().context("no errors")?;
    let found = errors.iter().find(|error| error["type"] == kind && error["reason"] == reason);
    Ok(found.with_context(|| status.to_string())?["message"].as_str().unwrap_or_default().to_owned())
}

/// Ports of a controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// xDS.
    pub(crate) xds: u16,
    /// Metrics and health.
    pub(crate) http: u16,
    /// Debug pages.
    pub(crate) debug: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { xds: 8001, http: 8000, debug: 6060 }
    }
}

/// A running controller. Dropping it ends it.
pub(crate) struct Contour {
    /// The process.
    pub(crate) process: Process,
    ports: Ports,
}

impl Contour {
    /// A request to its metrics and health endpoints.
    pub(crate) fn get(&self, path: &str) -> Request {
        get(local(self.ports.http), "localhost", path)
    }

    /// A request to its debug endpoints.
    pub(crate) fn debug(&self, path: &str) -> Request {
        get(local(self.ports.debug), "localhost", path)
    }

    /// Waits until it serves Envoys.
    pub(crate) async fn until_ready(&self) {
        let ready = eventually(NEXT_ATTEMPT, || async {
            self.process.ensure_running()?;
            let answer = self.get("/readyz").send().await?;
            ensure!(answer.status == 200, "{}", answer.text());
            ensure!(is_open(self.ports.xds).await, "xDS is not served");
            Ok(())
        });
        ready.await.unwrap_or_else(|error| panic!("{error:#}\n{}", self.process.log()));
    }

    /// The sum of a metric over all of its labels.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.get("/metrics").send().await?.text();
        let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        Ok(text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Waits until a metric is at least this.
    pub(crate) async fn until_metric(&self, name: &str, least: f64) {
        let reached = eventually(SOON, || async {
            let value = self.metric(name).await?;
            ensure!(value >= least, "{name} is {value}");
            Ok(())
        });
        reached.await.unwrap_or_else(|error| panic!("{error:#}\n{}", self.process.log_tail()));
    }

    /// Asks it to end with this signal and waits until it has, for at most `within`.
    pub(crate) async fn end(self, signal: Signal, within: Duration) -> ExitStatus {
        self.process.signal(signal).unwrap();
        let ended = eventually(within, || async { self.process.exited().context("it still runs") });
        ended.await.unwrap_or_else(|error| panic!("{error:#}\n{}", self.process.log_tail()))
    }
}

/// A loopback address.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Whether somebody listens on a port of loopback.
pub(crate) async fn is_open(port: u16) -> bool {
    tokio::net::TcpStream::connect(local(port)).await.is_ok()
}

/// An upstream that EndpointSlices may name.
pub(crate) async fn upstream(name: &str) -> Echo {
    Echo::start_at(name, UPSTREAM.parse().unwrap()).await.unwrap()
}

/// A request for a host, through the Envoy with stock ports.
pub(crate) fn http(host: &str, path: &str) -> Request {
    get(local(8080), host, path)
}

/// A kubeconfig like that of `api`, but by another port.
pub(crate) fn kubeconfig_by(cluster: &Cluster, port: u16) -> Result<PathBuf> {
    let text = std::fs::read_to_string(cluster.api.kubeconfig())?;
    let Some(address) = cluster.api.address().strip_prefix("https://") else { bail!("not https") };
    let path = cluster.directory().join("detour.kubeconfig");
    std::fs::write(&path, text.replace(address, &local(port).to_string()))?;
    Ok(path)
}

/// Lets an Envoy refuse what only it can find wrong: it takes no large regular expressions, unlike those we ship for.
fn narrow(bootstrap: &str) -> String {
    let layer = r#"{"name": "narrow", "static_layer": {"re2.max_program_size.error_level": 1500}}"#;
    let mut bootstrap: serde_json::Value = serde_json::from_str(bootstrap).unwrap();
    let layers = bootstrap["layered_runtime"]["layers"].as_array_mut().unwrap();
    layers.insert(1, serde_json::from_str(layer).unwrap());
    bootstrap.to_string()
}

//! The installation under attack: kube-apiserver, one controller, two Envoys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contour_e2e::apiserver::ApiServer;
use contour_e2e::client;
use contour_e2e::echo::Echo;
use contour_e2e::envoy::{Envoy, Launch};
use contour_e2e::process::Process;
use contour_e2e::wait::{eventually, until_still};
use contour_envoy::bootstrap::DRAIN_TIME_SECONDS;
use kube::Client;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::network::{self, DNS_PORT, EVIL_PORT, HERE, Network, Silence};

/// How long a large installation may take to be served.
pub(crate) const START: Duration = Duration::from_mins(5);

/// How long the whole may take to come to rest, and an attacker to be told.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Envoy's bound on the program of a regular expression, and one that is far below ours.
const LARGEST_PROGRAM: &str = "re2.max_program_size.error_level";
const NARROW: u32 = 1_500;

/// An Envoy and where it is.
pub(crate) struct Proxy {
    // Dropped first.
    pub(crate) envoy: Envoy,
    network: Network,
    /// `envoy-1`, `envoy-2`, …
    pub(crate) name: String,
}

impl Proxy {
    /// Where it takes requests.
    pub(crate) fn at(&self, tls: bool) -> SocketAddr {
        SocketAddr::new(self.network.address, if tls { 8443 } else { 8080 })
    }
}

/// A running installation.
pub(crate) struct World {
    // Dropped in this order.
    proxies: OnceLock<Vec<Proxy>>,
    contour: Mutex<Arc<Process>>,
    /// The API server.
    pub(crate) api: ApiServer,
    /// Its administrator.
    pub(crate) client: Client,
    /// The victim's upstreams.
    pub(crate) upstreams: [Echo; 2],
    _evil: Echo,
    _silence: Silence,
    restarting: AtomicBool,
    narrow: AtomicBool,
    binary: PathBuf,
    directory: TempDir,
}

impl World {
    /// Starts everything, without any host.
    pub(crate) async fn start(binary: &Path) -> Result<Self> {
        let binary = binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?;
        let api = ApiServer::start().await?;
        api.install_crds(&contour_crds::all_crds()).await?;
        let client = api.client().await?;
        let directory = tempfile::tempdir()?;
        // ExternalName Services are served, which gives an attacker more to try.
        std::fs::write(directory.path().join("contour.yaml"), "enableExternalNameService: true\n")?;
        run(&binary, directory.path(), &["certgen", "--pem", "certs"])?;
        let upstreams = [
            Echo::start_at("victim", network::here(0)).await?,
            Echo::start_at("victim", network::here(0)).await?,
        ];
        let world = Self {
            proxies: OnceLock::new(),
            contour: Mutex::new(Arc::new(serve(&binary, directory.path(), &api)?)),
            client,
            upstreams,
            _evil: Echo::start_at("evil", network::here(EVIL_PORT)).await?,
            _silence: Silence::start().await?,
            restarting: AtomicBool::new(false),
            narrow: AtomicBool::new(false),
            api,
            binary,
            directory,
        };
        for name in ["victim", "projectcontour"] {
            world.namespace(name).await?;
        }
        Ok(world)
    }

    /// Makes a namespace, where there is none of this name.
    pub(crate) async fn namespace(&self, name: &str) -> Result<()> {
        let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> =
            kube::Api::all(self.client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        match namespaces.create(&kube::api::PostParams::default(), &namespace).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            created => Ok(created.map(drop)?),
        }
    }

    /// Starts the two Envoys.
    pub(crate) async fn start_envoys(&self) -> Result<()> {
        self.until_ready().await?;
        let proxies = [self.envoy("envoy-1").await?, self.envoy("envoy-2").await?];
        for proxy in &proxies {
            proxy.envoy.ready().await?;
        }
        ensure!(self.proxies.set(Vec::from(proxies)).is_ok(), "they run already");
        Ok(())
    }

    /// The two Envoys.
    pub(crate) fn proxies(&self) -> &[Proxy] {
        self.proxies.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Starts an Envoy; it need not be ready.
    pub(crate) async fn envoy(&self, name: &str) -> Result<Proxy> {
        let directory = self.directory.path();
        let network = Network::new(directory).await?;
        let (file, socket) = (format!("{name}.json"), directory.join(format!("{name}.sock")));
        let gateway = format!("--xds-address={HERE}");
        let admin = format!("--admin-address={}", socket.display());
        let certificates = ["--envoy-cafile=certs/cacert.pem", "--envoy-cert-file=certs/envoycert.pem"];
        let mut arguments = vec!["bootstrap", &file, &gateway, &admin, "--envoy-key-file=certs/envoykey.pem"];
        arguments.extend(certificates);
        run(&self.binary, directory, &arguments)?;
        let path = directory.join(file);
        let text = std::fs::read_to_string(&path)?;
        // Envoy runs in a directory of its own.
        let text = text.replace("\"certs/", &format!("\"{}/certs/", directory.display()));
        let mut bootstrap: Value = serde_json::from_str(&text)?;
        bootstrap["typed_dns_resolver_config"] = resolver();
        if self.narrow.load(Ordering::SeqCst) {
            let layers =
                bootstrap["layered_runtime"]["layers"].as_array_mut().context("no runtime layers")?;
            layers.push(json!({"name": "narrow", "static_layer": {LARGEST_PROGRAM: NARROW}}));
        }
        std::fs::write(&path, bootstrap.to_string())?;
        // As in what the operator makes.
        let drain = DRAIN_TIME_SECONDS.to_string();
        let launch = Launch::file(&path).concurrency(2).node(name, "envoy").args(["--drain-time-s", &drain]);
        let launch = launch.through(network.enter());
        Ok(Proxy { envoy: launch.start().await?, network, name: name.to_owned() })
    }

    /// Lets all Envoys, also those to come, refuse large regular expressions, or take them again.
    pub(crate) async fn narrow(&self, narrow: bool) -> Result<()> {
        if self.narrow.swap(narrow, Ordering::SeqCst) == narrow {
            return Ok(());
        }
        // No value takes ours away again.
        let value = if narrow { NARROW.to_string() } else { String::new() };
        for proxy in self.proxies() {
            proxy.envoy.post(&format!("/runtime_modify?{LARGEST_PROGRAM}={value}")).await?;
        }
        Ok(())
    }

    /// The controller.
    pub(crate) async fn contour(&self) -> Arc<Process> {
        Arc::clone(&*self.contour.lock().await)
    }

    /// Whether the controller is away because it was told to restart.
    pub(crate) fn is_restarting(&self) -> bool {
        self.restarting.load(Ordering::SeqCst)
    }

    /// Ends the controller and starts it again; returns once it is ready and the Envoys are back.
    pub(crate) async fn restart_controller(&self) -> Result<()> {
        self.restarting.store(true, Ordering::SeqCst);
        let mut contour = self.contour.lock().await;
        contour.signal(Signal::SIGTERM)?;
        eventually(PATIENCE, || async { contour.exited().context("the controller still runs") }).await?;
        *contour = Arc::new(serve(&self.binary, self.directory.path(), &self.api)?);
        drop(contour);
        self.until_ready().await?;
        eventually(PATIENCE, || async {
            ensure!(self.metric("contour_leader").await? > 0.5, "it does not get the lease");
            Ok(())
        })
        .await?;
        self.restarting.store(false, Ordering::SeqCst);
        let wanted = self.proxies().len();
        eventually(PATIENCE, || async {
            let streams = self.metric("contour_xds_connected_streams").await?;
            ensure!(streams >= f64::from(u8::try_from(wanted)?), "{streams} streams of {wanted}");
            Ok(())
        })
        .await
    }

    /// Waits until the controller is ready.
    pub(crate) async fn until_ready(&self) -> Result<()> {
        let contour = self.contour().await;
        let ready = eventually(PATIENCE, || async {
            let answer = controller("/readyz").send().await?;
            ensure!(answer.status == 200, "{}", answer.text());
            Ok(())
        });
        ready.await.with_context(|| format!("its log ends:\n{}", contour.log_tail()))
    }

    /// The sum of a metric of the controller, over all its labels.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let text = controller("/metrics").send().await?.text();
        let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values = text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum::<f64>() + 0.0)
    }

    /// How many hosts the controller serves.
    pub(crate) async fn hosts(&self) -> Result<usize> {
        let page = client::get(SocketAddr::from(([127, 0, 0, 1], 6060)), "localhost", "/debug/hosts");
        Ok(page.send().await?.text().lines().count())
    }

    /// Waits until the controller neither writes statuses nor sends anything.
    pub(crate) async fn settle(&self) -> Result<()> {
        let work = async || {
            let statuses = self.metric("contour_status_update_total").await?;
            let pending = self.metric("contour_status_update_pending").await?;
            anyhow::Ok((statuses, pending, self.metric("contour_xds_responses_sent_total").await?))
        };
        until_still(PATIENCE, work).await
    }
}

/// A request to the controller's metrics and health endpoints.
pub(crate) fn controller(path: &str) -> client::Request {
    client::get(SocketAddr::from(([127, 0, 0, 1], 8000)), "localhost", path)
}

/// A name server that is there and says nothing.
fn resolver() -> Value {
    json!({
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": HERE.to_string(), "port_value": DNS_PORT}}],
        },
    })
}

fn serve(binary: &Path, directory: &Path, api: &ApiServer) -> Result<Process> {
    let mut command = Command::new(binary);
    command
        .current_dir(directory)
        .arg("serve")
        .arg(format!("--kubeconfig={}", api.kubeconfig().display()))
        .args(["--config-path=contour.yaml", "--xds-address=0.0.0.0"])
        // As the operator starts it.
        .arg("--strict-host-ownership")
        .args(["--contour-cafile=certs/cacert.pem", "--contour-cert-file=certs/contourcert.pem"])
        .arg("--contour-key-file=certs/contourkey.pem");
    Process::spawn("contour", command, directory.join("contour.log"))
}

fn run(binary: &Path, directory: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new(binary).args(arguments).current_dir(directory).output()?;
    ensure!(output.status.success(), "contour {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

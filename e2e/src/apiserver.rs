//! A real kube-apiserver on a real etcd, without any controller: what is written stays as it was written.
//!
//! There is no garbage collector, no namespace controller and no kubelet, so a deleted namespace stays in
//! `Terminating` and no pod ever runs. Tests share one server per test binary and keep to namespaces of their own.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rcgen::KeyPair;
use serde_json::json;
use sha2::Digest as _;
use tempfile::TempDir;

use crate::certs::TestCa;
use crate::ports;
use crate::process::Process;
use crate::wait::{SOON, eventually};

/// The field manager under which this crate writes.
pub const FIELD_MANAGER: &str = "contour-e2e";

/// The bearer token of the cluster administrator, who exists in these servers only.
const ADMIN_TOKEN: &str = "contour-e2e-admin";

/// How long the server may take until `/readyz` answers; about four seconds on two idle cores.
const START: Duration = Duration::from_secs(90);

/// Ports are picked free and then given to the servers, so another process may take one in between.
const PORT_ATTEMPTS: u32 = 3;

/// A running kube-apiserver with its etcd.
#[derive(Debug)]
pub struct ApiServer {
    // Dropped in this order: the server before its storage, the directory last.
    apiserver: Process,
    etcd: Process,
    address: String,
    dir: TempDir,
}

/// The server that the tests of this binary share, or `None` where they were told to do without.
///
/// A test begins with `let Some(api) = apiserver::require().await else { return };`. The answer is `None` only
/// when `CONTOUR_TEST_WITHOUT` names `kube`, which `make test` sets when its user accepted that; the test then
/// says on standard error that it is left out.
///
/// # Panics
///
/// When the server cannot be had: a test that needs it must fail, not pass unseen.
pub async fn require() -> Option<&'static ApiServer> {
    static SHARED: tokio::sync::OnceCell<ApiServer> = tokio::sync::OnceCell::const_new();

    if is_left_out() {
        return None;
    }
    match SHARED.get_or_try_init(ApiServer::start).await {
        Ok(server) => Some(server),
        Err(error) => panic!("this test needs kube-apiserver and etcd: {error:#}"),
    }
}

/// Whether tests that need these servers are left out, by the rule of [`require`]; says so on standard error.
///
/// For tests that start a server of their own.
pub fn is_left_out() -> bool {
    let left_out = left_out(std::env::var("CONTOUR_TEST_WITHOUT").ok().as_deref());
    if left_out {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Not eprintln: the test harness would hide that from whoever reads a passing run.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("left out: {test} (needs kube-apiserver and etcd)\n").as_bytes(),
        );
    }
    left_out
}

fn left_out(setting: Option<&str>) -> bool {
    setting.is_some_and(|list| list.split(',').any(|part| part.trim() == "kube"))
}

impl ApiServer {
    /// Starts a server that is not shared, for tests that stop it or change what belongs to the whole cluster.
    pub async fn start() -> Result<Self> {
        let binaries = binaries()?;
        let mut attempt = 1;
        loop {
            match Self::start_once(&binaries).await {
                Ok(server) => return Ok(server),
                Err(error)
                    if attempt < PORT_ATTEMPTS && format!("{error:#}").contains("address already in use") =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn start_once(binaries: &Path) -> Result<Self> {
        let dir = state_dir()?;
        let [client_port, peer_port, secure_port] = ports::free();
        let storage = format!("http://127.0.0.1:{client_port}");
        let etcd = start_etcd(binaries, dir.path(), &storage, peer_port)?;
        write_credentials(dir.path(), secure_port)?;
        let mut command = Command::new(binaries.join("kube-apiserver"));
        command.args(apiserver_flags(dir.path(), &storage, secure_port));
        let apiserver = Process::spawn("kube-apiserver", command, dir.path().join("kube-apiserver.log"))?;
        let address = format!("https://127.0.0.1:{secure_port}");
        let server = Self { apiserver, etcd, address, dir };
        server.wait_ready().await?;
        Ok(server)
    }

    async fn wait_ready(&self) -> Result<()> {
        let client = self.client().await?;
        eventually(START, || async {
            // Ended early is final, and its log is the reason: let that through without waiting for the deadline.
            if let Err(ended) = self.apiserver.ensure_running().and_then(|()| self.etcd.ensure_running()) {
                return Ok(Err(ended));
            }
            let request = hyper::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await.context("/readyz does not answer ok")?;
            Ok(Ok(()))
        })
        .await
        .with_context(|| {
            format!("kube-apiserver did not become ready; its log ends:\n{}", self.apiserver.log_tail())
        })?
    }

    /// The address, `https://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A kubeconfig file for the cluster administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("admin.kubeconfig")
    }

    /// A client of the cluster administrator.
    ///
    /// A client belongs to the tokio runtime that made it, and every test has its own: make one per test.
    pub async fn client(&self) -> Result<kube::Client> {
        self.connect(None).await
    }

    /// A client with the rights of `user`, for example `system:serviceaccount:projectcontour:contour`, to try what
    /// RBAC allows it.
    pub async fn client_as(&self, user: &str) -> Result<kube::Client> {
        self.connect(Some(user)).await
    }

    /// What [`Self::client_as`] is made from, for a client with layers of its own.
    pub async fn config_as(&self, user: &str) -> Result<kube::Config> {
        self.config(Some(user)).await
    }

    async fn connect(&self, user: Option<&str>) -> Result<kube::Client> {
        Ok(kube::Client::try_from(self.config(user).await?)?)
    }

    async fn config(&self, user: Option<&str>) -> Result<kube::Config> {
        // Fails only where the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        for auth in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            auth.impersonate = user.map(str::to_owned);
        }
        Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// Creates a namespace whose name begins with `prefix` and that no other test has; returns its name.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        let wanted = Namespace {
            metadata: ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let made = namespaces.create(&PostParams::default(), &wanted).await?;
        made.metadata.name.context("the server names every namespace that it creates")
    }

    /// Applies these definitions and waits until the server serves their kinds. Doing it again changes nothing.
    pub async fn install_crds(&self, definitions: &[CustomResourceDefinition]) -> Result<()> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client().await?);
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        for definition in definitions {
            let name = definition.metadata.name.as_deref().context("a CRD without a name")?;
            crds.patch(name, &apply, &Patch::Apply(definition))
                .await
                .with_context(|| format!("the server refuses the CRD {name}"))?;
        }
        for name in definitions.iter().filter_map(|definition| definition.metadata.name.as_deref()) {
            eventually(SOON, || async { ensure_established(&crds.get(name).await?) })
                .await
                .with_context(|| format!("the CRD {name} is not established"))?;
        }
        Ok(())
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        self.apiserver.log()
    }
}

fn ensure_established(crd: &CustomResourceDefinition) -> Result<()> {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let held = conditions.iter().any(|held| held.type_ == "Established" && held.status == "True");
    anyhow::ensure!(held, "its conditions are {conditions:?}");
    Ok(())
}

/// The directory with both binaries: `KUBEBUILDER_ASSETS`, or what `make kube` built last.
fn binaries() -> Result<PathBuf> {
    const WAY_OUT: &str =
        "run `make kube`, or set KUBEBUILDER_ASSETS to a directory with kube-apiserver and etcd";
    let has_both = |dir: &Path| dir.join("kube-apiserver").is_file() && dir.join("etcd").is_file();
    if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()) {
        let dir = PathBuf::from(assets);
        anyhow::ensure!(has_both(&dir), "{} lacks kube-apiserver or etcd: {WAY_OUT}", dir.display());
        return Ok(dir);
    }
    let cache = crate::cache_dir()?;
    let recipe = recipe(&crate::repository_root().join("hack/kube"))?;
    let built = std::fs::read_dir(&cache).into_iter().flatten().flatten().map(|entry| entry.path());
    built
        .filter(|dir| dir.to_string_lossy().ends_with(&recipe))
        .find(|dir| has_both(dir))
        .with_context(|| format!("{} has no build of this checkout's versions: {WAY_OUT}", cache.display()))
}

/// What `hack/kube.sh` ends the directory's name with: a digest of what determines the binaries.
fn recipe(module: &Path) -> Result<String> {
    let mut digest = sha2::Sha256::new();
    for file in ["go.mod", "go.sum"] {
        let path = module.join(file);
        digest.update(std::fs::read(&path).with_context(|| path.display().to_string())?);
    }
    let digest = digest.finalize();
    // Six bytes are the twelve digits that the script cuts.
    Ok(digest.iter().take(6).fold(String::from("-"), |text, byte| text + &format!("{byte:02x}")))
}

/// A directory that names the process it belongs to, after removing those of processes that are gone.
///
/// The shared server lives in a static, and statics are not dropped: the kernel ends the processes, and the next
/// run removes their directory.
fn state_dir() -> Result<TempDir> {
    const PREFIX: &str = "contour-e2e-kube-";
    for entry in std::fs::read_dir(std::env::temp_dir())?.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        let Some(owner) = owner.map(nix::unistd::Pid::from_raw) else { continue };
        if nix::sys::signal::kill(owner, None) == Err(nix::errno::Errno::ESRCH) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let prefix = format!("{PREFIX}{}-", std::process::id());
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?)
}

fn start_etcd(binaries: &Path, dir: &Path, client_url: &str, peer_port: u16) -> Result<Process> {
    let peer_url = format!("http://127.0.0.1:{peer_port}");
    let mut command = Command::new(binaries.join("etcd"));
    command.arg(format!("--data-dir={}", dir.join("etcd").display())).args([
        &format!("--listen-client-urls={client_url}"),
        &format!("--advertise-client-urls={client_url}"),
        &format!("--listen-peer-urls={peer_url}"),
        &format!("--initial-advertise-peer-urls={peer_url}"),
        &format!("--initial-cluster=default={peer_url}"),
        // Nothing here is worth a disk write.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]);
    Process::spawn("etcd", command, dir.join("etcd.log"))
}

/// The server's certificate, the service account keys, the administrator's token and kubeconfig.
fn write_credentials(dir: &Path, port: u16) -> Result<()> {
    let ca = TestCa::new("contour-e2e")?;
    let serving = ca.leaf(&["localhost", "127.0.0.1"])?;
    let accounts = KeyPair::generate()?;
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "e2e",
        "clusters": [{"name": "e2e", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": dir.join("ca.crt"),
        }}],
        "users": [{"name": "admin", "user": {"token": ADMIN_TOKEN}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "admin"}}],
    });
    let files = [
        ("ca.crt", ca.pem().to_owned()),
        ("serving.crt", serving.cert_pem),
        ("serving.key", serving.key_pem),
        ("accounts.key", accounts.serialize_pem()),
        ("accounts.pub", accounts.public_key_pem()),
        ("tokens.csv", format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n")),
        // JSON is YAML.
        ("admin.kubeconfig", serde_json::to_string_pretty(&kubeconfig)?),
    ];
    for (name, content) in files {
        let path = dir.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        std::io::Write::write_all(
            &mut file.with_context(|| path.display().to_string())?,
            content.as_bytes(),
        )?;
    }
    Ok(())
}

fn apiserver_flags(dir: &Path, storage: &str, port: u16) -> Vec<String> {
    let path = |name: &str| dir.join(name).display().to_string();
    vec![
        format!("--etcd-servers={storage}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", path("generated")),
        format!("--tls-cert-file={}", path("serving.crt")),
        format!("--tls-private-key-file={}", path("serving.key")),
        format!("--client-ca-file={}", path("ca.crt")),
        format!("--token-auth-file={}", path("tokens.csv")),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", path("accounts.pub")),
        format!("--service-account-signing-key-file={}", path("accounts.key")),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        // It waits for a controller that is not here to make each namespace's default account.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        // No Endpoints of the server itself: loopback would not be a valid one.
        "--endpoint-reconciler-type=none".to_owned(),
        "--profiling=false".to_owned(),
        "--etcd-compaction-interval=0".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_kube_leaves_these_tests_out() {
        for (setting, expected) in [
            (None, false),
            (Some(""), false),
            (Some("envoy"), false),
            (Some("kube"), true),
            (Some("envoy, kube"), true),
        ] {
            assert_eq!(left_out(setting), expected, "{setting:?}");
        }
    }
}

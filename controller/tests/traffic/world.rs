//! An installation without a cluster, and the objects that tests have in common.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use contour::engine::{Engine, News, Sink, Wiring};
use contour_e2e::certs::{Leaf, TestCa};
use contour_e2e::client::{Outcome, Request, Run, Tls, get};
use contour_e2e::echo::Echo;
use contour_e2e::envoy::{Envoy, Launch};
use contour_e2e::wait::{SOON, eventually};
use contour_envoy::bootstrap::{Bootstrap, XdsMode};
use contour_envoy::{INGRESS_HTTP, INGRESS_HTTPS, ListenerSettings, STATS_HEALTH, Socket};
use contour_files::Directory;
use contour_graph::status::ProxyStatus;
use contour_objects::{Event, NamespacedName};
use contour_runtime::Readiness;
use contour_xds::{Cache, Server};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running installation. Dropping it ends everything.
pub(crate) struct World {
    envoy: Envoy,
    objects: Directory,
    _root: TempDir,
    events: mpsc::Sender<Event>,
    told: Arc<Told>,
    http: SocketAddr,
    /// Signs the certificates of the hosts.
    pub(crate) ca: TestCa,
    _stop: DropGuard,
}

/// The last status of every HTTPProxy.
#[derive(Default)]
struct Told(Mutex<BTreeMap<NamespacedName, ProxyStatus>>);

impl Sink for Told {
    fn tell(&self, news: News) {
        let mut told = self.0.lock().unwrap();
        news.gone.iter().for_each(|name| drop(told.remove(name)));
        told.extend(news.statuses.into_iter().map(|status| (status.object.clone(), status)));
    }
}

/// Settings that differ between worlds.
#[derive(Default)]
pub(crate) struct Options {
    /// Serve ExternalName Services.
    pub(crate) external_names: bool,
    /// Port of the read-only administration; 0: none.
    pub(crate) admin_port: u16,
    /// What listeners do.
    pub(crate) listener: ListenerSettings,
    /// Variant of xDS.
    pub(crate) mode: XdsMode,
}

impl World {
    /// Serves these objects, among which there must be a host.
    pub(crate) async fn start(objects: &str) -> Self {
        Self::start_with(Options::default(), TestCa::new("hosts").unwrap(), objects).await
    }

    /// Serves an HTTPProxy `team/www` of this specification, and a Service `team/web` that it can lead to.
    pub(crate) async fn web(spec: &str) -> (Echo, Self) {
        let echo = Echo::start("web").await.unwrap();
        let objects = [service("team/web", &[echo.address()]), proxy("team/www", spec)];
        (echo, Self::start(&all(objects.each_ref().map(String::as_str))).await)
    }

    /// Serves these objects, some of whose certificates `ca` signed.
    pub(crate) async fn start_tls(ca: TestCa, objects: &str) -> Self {
        Self::start_with(Options::default(), ca, objects).await
    }

    /// Serves these objects in this way.
    pub(crate) async fn start_with(options: Options, ca: TestCa, objects: &str) -> Self {
        let root = tempfile::Builder::new().prefix("contour-traffic-").tempdir().unwrap();
        let any = Socket::new("127.0.0.1", 0);
        let mut registry = Registry::default();
        let cache = Cache::new();
        let xds = Server::bind(([127, 0, 0, 1], 0).into(), None, cache.clone(), &mut registry).unwrap();
        let told = Arc::new(Told::default());
        let readiness = Readiness::new();
        let wiring = Wiring {
            graph: contour_graph::Settings { external_names: options.external_names, ..Default::default() },
            envoy: contour_envoy::Settings {
                http: any.clone(),
                https: any.clone(),
                stats: any,
                admin_port: options.admin_port,
                listener: options.listener,
                ..Default::default()
            },
            cache,
            sink: Arc::clone(&told) as Arc<dyn Sink>,
            scopes: Directory::scopes(),
            ready: readiness.handle("configuration"),
        };
        let (engine, _) = Engine::new(wiring, &mut registry);
        let stop = CancellationToken::new();
        let bootstrap = Bootstrap {
            admin_socket: root.path().join("admin.sock").display().to_string(),
            xds_port: xds.local_addr().port(),
            xds_mode: options.mode,
            ..Bootstrap::default()
        };
        let (events, receiver) = mpsc::channel(64);
        tokio::spawn(engine.run(receiver, xds.facts(), stop.clone()));
        tokio::spawn(xds.serve(stop.clone()));
        let mut directory = Directory::new(root.path().join("objects"), None);
        put(&mut directory, &events, "objects.yaml", Some(objects)).await;
        // It takes no large regular expressions, unlike those we ship for: something that only Envoy finds wrong.
        let narrow =
            serde_json::json!({"name": "narrow", "static_layer": {"re2.max_program_size.error_level": 1500}});
        let mut bootstrap = serde_json::to_value(&bootstrap.render().unwrap().bootstrap).unwrap();
        bootstrap["layered_runtime"]["layers"].as_array_mut().unwrap().insert(1, narrow);
        let bootstrap = bootstrap.to_string();
        let envoy = Launch::bootstrap(bootstrap).node("traffic", "traffic").start().await.unwrap();
        let http = envoy.listener(INGRESS_HTTP).await.unwrap();
        Self { envoy, objects: directory, _root: root, events, told, http, ca, _stop: stop.drop_guard() }
    }

    /// Adds the objects of a file, or replaces them.
    pub(crate) async fn put(&mut self, file: &str, objects: &str) {
        put(&mut self.objects, &self.events, file, Some(objects)).await;
    }

    /// Removes the objects of a file.
    pub(crate) async fn remove(&mut self, file: &str) {
        put(&mut self.objects, &self.events, file, None).await;
    }

    /// A request in the clear.
    pub(crate) fn get(&self, host: &str, path: &str) -> Request {
        get(self.http, host, path)
    }

    /// A request over TLS whose server name is the host.
    pub(crate) async fn get_tls(&self, host: &str, path: &str) -> Request {
        get(self.https().await, host, path).tls(Tls::trusting(&self.ca))
    }

    /// Where TLS is served; waits until it is.
    pub(crate) async fn https(&self) -> SocketAddr {
        self.envoy.listener(INGRESS_HTTPS).await.unwrap()
    }

    /// Where probes and metrics are served.
    pub(crate) async fn stats(&self) -> SocketAddr {
        self.envoy.listener(STATS_HEALTH).await.unwrap()
    }

    /// Envoy itself.
    pub(crate) fn envoy(&self) -> &Envoy {
        &self.envoy
    }

    /// Waits until the status of an HTTPProxy has an error of this type and reason, and returns its message.
    pub(crate) async fn until_error(&self, namespace: &str, name: &str, error: (&str, &str)) -> String {
        let object = NamespacedName::new(namespace, name);
        let found = eventually(SOON, || async {
            let told = self.told.0.lock().unwrap();
            let status = told.get(&object).with_context(|| format!("no status of {object}"))?;
            let found = status.errors.iter().find(|e| (e.kind, e.reason) == error);
            Ok(found.with_context(|| format!("{:?}", status.errors))?.message.clone())
        });
        found.await.unwrap()
    }

    /// Waits until the status of an HTTPProxy has no error.
    pub(crate) async fn until_valid(&self, namespace: &str, name: &str) {
        let object = NamespacedName::new(namespace, name);
        let valid = eventually(SOON, || async {
            let told = self.told.0.lock().unwrap();
            let status = told.get(&object).with_context(|| format!("no status of {object}"))?;
            ensure!(status.errors.is_empty(), "{:?}", status.errors);
            Ok(())
        });
        valid.await.unwrap();
    }

    /// Asserts that Envoy refused nothing.
    pub(crate) async fn nothing_rejected(&self) {
        let rejected = self.envoy.rejected_updates().await.unwrap();
        assert!(rejected.is_empty(), "{rejected:?}\n{}", self.envoy.process().log_tail());
    }
}

async fn put(directory: &mut Directory, events: &mpsc::Sender<Event>, file: &str, objects: Option<&str>) {
    let path = directory.root().join(file);
    match objects {
        Some(objects) => {
            std::fs::create_dir_all(directory.root()).unwrap();
            std::fs::write(path, objects).unwrap();
        }
        None => std::fs::remove_file(path).unwrap(),
    }
    let report = directory.scan();
    assert_eq!(report.problems, [], "the objects of a test are valid");
    for event in directory.events() {
        events.send(event).await.unwrap();
    }
}

/// Objects as one file.
pub(crate) fn all<'a>(objects: impl IntoIterator<Item = &'a str>) -> String {
    objects.into_iter().collect::<Vec<_>>().join("\n---\n")
}

/// A Service `namespace/name` with port 80 on these addresses.
pub(crate) fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    annotated_service(name, endpoints, &json!({}))
}

/// A [`service`] with annotations.
pub(crate) fn annotated_service(name: &str, endpoints: &[SocketAddr], annotations: &Value) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    });
    let slices = endpoints.iter().map(|endpoint| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "namespace": namespace, "name": format!("{name}-{}", endpoint.port()),
                "labels": {"kubernetes.io/service-name": name},
            },
            "endpoints": [{"addresses": [endpoint.ip().to_string()]}],
            "ports": [{"name": "http", "port": endpoint.port(), "protocol": "TCP"}],
        })
    });
    let documents: Vec<String> =
        std::iter::once(service.clone()).chain(slices).map(|value| value.to_string()).collect();
    all(documents.iter().map(String::as_str))
}

/// A TLS Secret `namespace/name`.
pub(crate) fn tls_secret(name: &str, leaf: &Leaf) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"namespace": namespace, "name": name},
        "stringData": {"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem},
    })
    .to_string()
}

/// A CA Secret `namespace/name`.
pub(crate) fn ca_secret(name: &str, ca: &TestCa) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"namespace": namespace, "name": name},
        "stringData": {"ca.crt": ca.pem()},
    })
    .to_string()
}

/// An HTTPProxy `namespace/name` with this `spec`, in YAML's flow or block form (indented by two).
pub(crate) fn proxy(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "apiVersion: projectcontour.io/v1\nkind: HTTPProxy\n\
         metadata: {{namespace: {namespace}, name: {name}}}\nspec:\n{spec}\n"
    )
}

/// An HTTPProxy in namespace `team` that sends a host to one Service.
pub(crate) fn simple(name: &str, fqdn: &str, service: &str) -> String {
    proxy(
        &format!("team/{name}"),
        &format!(
            "  virtualhost: {{fqdn: {fqdn}}}\n  routes: [{{services: [{{name: {service}, port: 80}}]}}]"
        ),
    )
}

/// Asserts that the runs went from one outcome to another, with nothing between them.
pub(crate) fn assert_clean(runs: &[Run], allowed: &[u16]) {
    for run in runs {
        let Outcome::Status(status) = &run.outcome else { panic!("{runs:?}") };
        assert!(allowed.contains(status), "{runs:?}");
    }
}

/// Asks until the answer comes from this upstream.
pub(crate) async fn until_from(request: &Request, service: &str) {
    request
        .until(|answer| {
            ensure!(answer.status == 200, "status {}", answer.status);
            let received = answer.received()?;
            ensure!(received.service == service, "it came from {}", received.service);
            Ok(())
        })
        .await
        .unwrap();
}

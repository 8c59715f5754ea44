//! The engine with its xDS server: events go in, an Envoy or a [`Peer`](super::peer::Peer) connects.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use contour::engine::{Engine, News, Sink, Wiring};
use contour_envoy::bootstrap::Bootstrap;
use contour_envoy::{Settings, Socket};
use contour_files::Directory;
use contour_objects::Event;
use contour_runtime::Readiness;
use contour_xds::{Cache, Facts, Nodes, Server};
use prometheus_client::registry::Registry;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Collects what the engine tells the owners of objects.
#[derive(Default)]
struct Told(Mutex<Vec<News>>);

impl Sink for Told {
    fn tell(&self, news: News) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(news);
    }
}

/// A running pipeline. Dropping it ends its server.
pub(crate) struct Pipeline {
    pub(crate) cache: Cache,
    pub(crate) nodes: Nodes,
    pub(crate) facts: Facts,
    pub(crate) address: SocketAddr,
    engine: Engine,
    told: Arc<Told>,
    _stop: DropGuard,
}

/// Listeners on ports that the kernel picks, and no access log.
pub(crate) fn envoy_settings() -> Settings {
    let any_port = Socket::new("127.0.0.1", 0);
    Settings {
        http: any_port.clone(),
        https: any_port.clone(),
        stats: any_port,
        http_access_log: "/dev/null".to_owned(),
        https_access_log: "/dev/null".to_owned(),
        admin_port: 0,
        ..Settings::default()
    }
}

impl Pipeline {
    /// The bootstrap of an Envoy that follows this server; its administration socket is in `home`.
    pub(crate) fn bootstrap(&self, home: &Path) -> Bootstrap {
        Bootstrap {
            admin_socket: home.join("admin.sock").display().to_string(),
            xds_address: self.address.ip().to_string(),
            xds_port: self.address.port(),
            ..Bootstrap::default()
        }
    }

    /// Starts without objects: the first step publishes.
    pub(crate) fn start() -> Self {
        let cache = Cache::new();
        let told = Arc::new(Told::default());
        let mut registry = Registry::default();
        let wiring = Wiring {
            graph: super::settings(),
            envoy: envoy_settings(),
            cache: cache.clone(),
            sink: Arc::clone(&told) as Arc<dyn Sink>,
            scopes: Vec::new(),
            ready: Readiness::new().handle("configuration"),
        };
        let (engine, _) = Engine::new(wiring, &mut registry);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(any, None, cache.clone(), &mut registry).expect("loopback has a free port");
        let (nodes, facts, address) = (server.nodes(), server.facts(), server.local_addr());
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(stop.clone()));
        Self { cache, nodes, facts, address, engine, told, _stop: stop.drop_guard() }
    }

    /// Takes in events, and returns what there was to tell.
    pub(crate) fn step(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<News> {
        self.engine.step(events);
        std::mem::take(&mut self.told.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in a directory in place of everything there was.
    pub(crate) fn replace_by(&mut self, directory: &Path) -> Vec<News> {
        let mut directory = Directory::new(directory, None);
        directory.scan();
        self.step(directory.events())
    }
}

//! The real thing: the engine, the xDS server and an Envoy, which is given one world after another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contour_e2e::envoy::{Envoy, Launch};
use contour_e2e::wait::eventually;
use contour_graph::model::{Action, Route, SecureHost, VirtualHost};
use contour_objects::{Event, Kind, Object, Scope};
use contour_resource::{Resource, ResourceType, Transaction};
use contour_xds::{Fact, NodeStatus, Piece};
use serde_json::{Value, json};

use super::support::pipeline::Pipeline;
use super::world;

/// A world takes a fraction of a second; on a loaded machine it may take its time.
const DEADLINE: Duration = Duration::from_mins(1);

/// Something that Envoy refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refusal {
    pub(crate) resource: String,
    pub(crate) message: String,
}

/// What became of worlds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) worlds: usize,
    pub(crate) objects: usize,
    pub(crate) hosts: usize,
    pub(crate) serving: usize,
    pub(crate) proxies: BTreeMap<String, usize>,
    pub(crate) routes: BTreeMap<&'static str, usize>,
    pub(crate) resources: BTreeMap<&'static str, usize>,
    pub(crate) refusals: usize,
}

/// A pipeline with its Envoy.
pub(crate) struct Trial {
    pipeline: Pipeline,
    envoy: Envoy,
    served: BTreeMap<Arc<str>, Option<Arc<VirtualHost>>>,
    published: u64,
    refused: u64,
    pub(crate) figures: Figures,
    _home: tempfile::TempDir,
}

impl Trial {
    pub(crate) async fn start() -> Result<Self> {
        let mut pipeline = Pipeline::start();
        pipeline.step([]);
        let home = tempfile::tempdir()?;
        let files = pipeline.bootstrap(home.path()).render()?;
        let mut bootstrap: Value = serde_json::from_str(&files.bootstrap.to_string())?;
        bootstrap["typed_dns_resolver_config"] = no_names();
        let launch = Launch::bootstrap(bootstrap.to_string()).node("parity", "contour");
        // What was removed is to go away while the test looks.
        let launch =
            launch.args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2", "--log-level", "warning"]);
        let envoy = launch.start().await?;
        envoy.ready().await?;
        let (served, figures) = (BTreeMap::new(), Figures::default());
        Ok(Self { pipeline, envoy, served, published: 0, refused: 0, figures, _home: home })
    }

    /// Puts a world in place of the one before, waits until Envoy has answered to all of it, and returns what it refused.
    pub(crate) async fn publish(&mut self, values: &[Value]) -> Result<BTreeSet<Refusal>> {
        self.published += 1;
        let mut objects = world::objects(values);
        objects.extend(world::objects(&[marker(self.published)]));
        let kinds: BTreeMap<Kind, Vec<Object>> = objects.iter().fold(BTreeMap::new(), |mut kinds, object| {
            kinds.entry(object.reference().kind).or_default().push(object.clone());
            kinds
        });
        let scope = |kind| Scope { kind, namespace: None };
        let events =
            Kind::ALL.map(|kind| Event::Replace(scope(kind), kinds.get(&kind).cloned().unwrap_or_default()));
        for news in self.pipeline.step(events) {
            self.served.extend(news.hosts);
            for status in news.statuses {
                *self.figures.proxies.entry(format!("{:?}", status.state())).or_default() += 1;
                for error in &status.errors {
                    let text = error.to_string();
                    let reason = text.split(':').next().unwrap_or_default().to_owned();
                    *self.figures.proxies.entry(reason).or_default() += 1;
                }
            }
        }
        let refusals = self.settle().await?;
        self.count(&objects, refusals.len());
        Ok(refusals)
    }

    /// Publishes, beside what objects make, a Cluster that no Envoy takes.
    pub(crate) fn spoil(&self) {
        let nameless = Arc::new(Resource::whole("nameless", Vec::new()));
        let set = vec![(ResourceType::Cluster, nameless)];
        self.pipeline.cache.commit(Transaction { set, remove: Vec::new() });
    }

    async fn settle(&mut self) -> Result<BTreeSet<Refusal>> {
        let table = self.pipeline.cache.snapshot().table(ResourceType::Route).fingerprint();
        let (pipeline, envoy) = (&self.pipeline, &self.envoy);
        let settled = eventually(DEADLINE, || async {
            if let Err(ended) = envoy.process().ensure_running() {
                return Ok(Err(ended)); // Final: no use in waiting for the deadline.
            }
            let nodes = pipeline.nodes.snapshot();
            ensure_settled(nodes.last().context("Envoy is not connected")?, table).map(Ok)
        });
        let settled = settled.await.and_then(|ended| ended);
        settled
            .with_context(|| format!("{:#?}\n{}", pipeline.nodes.snapshot(), envoy.process().log_tail()))?;
        let mut refusals = BTreeSet::new();
        for Fact { piece: Piece { kind, resource, part }, refusals: said, .. } in pipeline.facts.take() {
            let resource = format!("{} {resource} [{part}]", kind.short());
            refusals.extend(
                said.into_iter()
                    .map(|said| Refusal { resource: resource.clone(), message: said.message.to_string() }),
            );
        }
        // Whatever our side makes of it, Envoy counts.
        let counted: u64 = envoy.stats("update_rejected$").await?.into_values().sum();
        if counted > self.refused && refusals.is_empty() {
            let resource = format!("{} updates, of which none was found out", counted - self.refused);
            refusals.insert(Refusal { resource, message: envoy.process().log_tail() });
        }
        self.refused = counted;
        Ok(refusals)
    }

    fn count(&mut self, objects: &[Object], refusals: usize) {
        let figures = &mut self.figures;
        figures.worlds += 1;
        figures.objects += objects.len() - 1;
        figures.refusals += refusals;
        let snapshot = self.pipeline.cache.snapshot();
        for kind in ResourceType::ALL {
            *figures.resources.entry(kind.short()).or_default() += snapshot.table(kind).len();
        }
        for fqdn in world::hosts(objects) {
            figures.hosts += 1;
            let Some(host) = self.served.get(&*fqdn).and_then(Option::as_ref) else { continue };
            figures.serving += 1;
            let secure: &[Route] = match &host.secure {
                Some(SecureHost::Http { routes, .. }) => routes,
                Some(_) => {
                    *figures.routes.entry("stream").or_default() += 1;
                    &[]
                }
                None => &[],
            };
            for route in host.plain.iter().chain(secure) {
                *figures.routes.entry(sort(&route.action)).or_default() += 1;
            }
        }
    }
}

fn sort(action: &Action) -> &'static str {
    match action {
        Action::Forward(_) => "forward",
        Action::UpgradeToHttps => "upgrade",
        Action::Redirect(_) => "redirect",
        Action::Respond { status: 503, .. } => "unresolved",
        Action::Respond { .. } => "respond",
    }
}

/// Fails unless Envoy has answered to everything up to the route table of this fingerprint, which changes with every world.
fn ensure_settled(node: &NodeStatus, routes: u64) -> Result<()> {
    // What a refused part may still refer to is not removed.
    let refused = node.types.iter().any(|of| !of.rejected.is_empty());
    for of in &node.types {
        ensure!(!of.in_flight && (of.pending == 0 || refused), "{} is not settled", of.kind.short());
    }
    let of =
        node.types.iter().find(|of| of.kind == ResourceType::Route).context("Envoy asks for no routes")?;
    ensure!(of.sent == format!("{routes:016x}"), "the last routes were not sent");
    Ok(())
}

/// A host that is another in every world: when its routes have arrived, so has everything before them.
fn marker(number: u64) -> Value {
    let route = json!({"directResponsePolicy": {"statusCode": 200, "body": number.to_string()}});
    json!({
        "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"namespace": "parity", "name": "marker"},
        "spec": {"virtualhost": {"fqdn": "marker.invalid"}, "routes": [route]},
    })
}

/// A resolver that finds nothing, at once: tests stay on loopback.
fn no_names() -> Value {
    json!({
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": 1}}],
            "query_timeout_seconds": 1,
            "query_tries": 1,
        },
    })
}

//! Contour's metrics of objects, builds and HTTPProxies (reference 7).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use contour_graph::status::{ProxyStatus, State};
use contour_objects::{Event, Kind, NamespacedName, Object, Store};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    op: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InNamespace {
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHost {
    namespace: String,
    vhost: String,
}

/// What an HTTPProxy counts as.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counted {
    host: OfHost,
    root: bool,
    state: State,
}

/// The engine's metrics.
pub(super) struct EngineMetrics {
    events: Family<Operation, Counter>,
    objects: Family<OfKind, Gauge>,
    builds: Counter,
    build_seconds: Histogram,
    update_seconds: Histogram,
    built_at: Gauge<f64, AtomicU64>,
    hosts_built: Counter,
    total: Family<InNamespace, Gauge>,
    roots: Family<InNamespace, Gauge>,
    orphaned: Family<InNamespace, Gauge>,
    valid: Family<OfHost, Gauge>,
    invalid: Family<OfHost, Gauge>,
    counted: BTreeMap<NamespacedName, Counted>,
}

/// Buckets of build times: from 50 µs, what one host costs, to 10 s.
const BUCKETS: [f64; 12] = [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 5e-2, 0.25, 1.0, 4.0, 10.0];

impl EngineMetrics {
    /// Registers the metrics under Contour's names.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            events: Family::default(),
            objects: Family::default(),
            builds: Counter::default(),
            build_seconds: Histogram::new(BUCKETS),
            update_seconds: Histogram::new(BUCKETS),
            built_at: Gauge::default(),
            hosts_built: Counter::default(),
            total: Family::default(),
            roots: Family::default(),
            orphaned: Family::default(),
            valid: Family::default(),
            invalid: Family::default(),
            counted: BTreeMap::new(),
        };
        let events = metrics.events.clone();
        registry.register("contour_eventhandler_operation", "Events taken in, by operation and kind", events);
        registry.register("contour_dag_cache_object", "Objects held, by kind", metrics.objects.clone());
        registry.register("contour_dagrebuild", "Builds published", metrics.builds.clone());
        registry.register_with_unit(
            "contour_dagrebuild",
            "Time from a batch of events to the published configuration",
            Unit::Seconds,
            metrics.build_seconds.clone(),
        );
        registry.register_with_unit(
            "contour_cachehandler_onupdate_duration",
            "Time to turn changed hosts and endpoints into resources",
            Unit::Seconds,
            metrics.update_seconds.clone(),
        );
        let built_at = metrics.built_at.clone();
        registry.register("contour_dagrebuild_timestamp", "Unix time of the last build", built_at);
        registry.register("contour_hosts_built", "Hosts built again", metrics.hosts_built.clone());
        registry.register("contour_httpproxy", "HTTPProxies", metrics.total.clone());
        registry.register("contour_httpproxy_root", "HTTPProxies that are roots", metrics.roots.clone());
        registry.register(
            "contour_httpproxy_orphaned",
            "HTTPProxies no root includes",
            metrics.orphaned.clone(),
        );
        registry.register("contour_httpproxy_valid", "Valid HTTPProxies", metrics.valid.clone());
        registry.register("contour_httpproxy_invalid", "Invalid HTTPProxies", metrics.invalid.clone());
        metrics
    }

    /// Counts an event.
    pub(super) fn event(&self, event: &Event) {
        let count = |op, kind: Kind, by: usize| {
            self.events.get_or_create(&Operation { op, kind: kind.as_str() }).inc_by(by as u64);
        };
        match event {
            Event::Apply(object) => count("update", Object::reference(object).kind, 1),
            Event::Delete(reference) => count("delete", reference.kind, 1),
            Event::Replace(scope, objects) => count("add", scope.kind, objects.len()),
        }
    }

    /// Counts a build.
    pub(super) fn built(&self, took: Duration, hosts: usize) {
        self.builds.inc();
        self.hosts_built.inc_by(hosts as u64);
        self.build_seconds.observe(took.as_secs_f64());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.built_at.set(now.unwrap_or_default().as_secs_f64());
    }

    /// Notes how long the resources of a build took.
    pub(super) fn updated(&self, took: Duration) {
        self.update_seconds.observe(took.as_secs_f64());
    }

    /// Sets the numbers of objects.
    pub(super) fn counted(&self, store: &Store) {
        for kind in Kind::ALL {
            let count = i64::try_from(store.count(kind)).unwrap_or(i64::MAX);
            self.objects.get_or_create(&OfKind { kind: kind.as_str() }).set(count);
        }
    }

    /// Follows changed HTTPProxies: each counts once in every gauge it belongs to.
    pub(super) fn proxies(&mut self, store: &Store, changed: &[ProxyStatus], gone: &[NamespacedName]) {
        for name in gone.iter().chain(changed.iter().map(|s| &s.object)).collect::<BTreeSet<_>>() {
            if let Some(old) = self.counted.remove(name) {
                self.count(&old, -1);
            }
        }
        for status in changed {
            let Some(proxy) = store.proxy(&status.object) else { continue };
            let fqdn = proxy.fqdn();
            let host = OfHost {
                namespace: status.object.namespace.to_string(),
                vhost: fqdn.as_deref().unwrap_or_default().to_owned(),
            };
            let counted = Counted { host, root: fqdn.is_some(), state: status.state() };
            self.count(&counted, 1);
            self.counted.insert(status.object.clone(), counted);
        }
    }

    fn count(&self, one: &Counted, by: i64) {
        let namespace = InNamespace { namespace: one.host.namespace.clone() };
        add(&self.total, &namespace, by);
        if one.root {
            add(&self.roots, &namespace, by);
        }
        match one.state {
            State::Valid => add(&self.valid, &one.host, by),
            State::Invalid => add(&self.invalid, &one.host, by),
            State::Orphaned => add(&self.orphaned, &namespace, by),
        }
    }
}

/// Adds to a gauge; one that comes to zero goes, so that names of hosts do not stay for ever.
fn add<L>(family: &Family<L, Gauge>, labels: &L, by: i64)
where
    L: Clone + Eq + std::hash::Hash,
{
    let before = family.get_or_create(labels).inc_by(by);
    if before + by == 0 {
        family.remove(labels);
    }
}

//! Objects for tests, and a graph of them.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use contour_crds::{HTTPProxy, HTTPProxySpec};
use contour_graph::model::VirtualHost;
use contour_graph::status::ProxyStatus;
use contour_graph::{Graph, Settings, Update};
use contour_objects::{
    Changes, Event, Ingress, Kind, NamespacedName, Object, ObjectRef, Proxy, Service, ServicePort, Store,
};
use serde_json::Value;

/// An HTTPProxy, `namespace/name`, of a spec in YAML.
pub(crate) fn proxy(name: &str, spec: &str) -> Object {
    let spec: HTTPProxySpec = serde_saphyr::from_str(spec).unwrap_or_else(|e| panic!("{spec}: {e}"));
    proxy_of(name, spec)
}

pub(crate) fn proxy_of(name: &str, spec: HTTPProxySpec) -> Object {
    let name = NamespacedName::parse(name, &"".into());
    let mut object = HTTPProxy::new(&name.name, spec);
    object.metadata.namespace = Some(name.namespace.to_string());
    Object::HttpProxy(Arc::new(Proxy::from(object)))
}

/// A Service with a port 80.
pub(crate) fn service(name: &str, external_name: Option<&str>) -> Object {
    let port = ServicePort { name: None, port: 80, tcp: true, app_protocol: None };
    Object::Service(Arc::new(Service {
        name: NamespacedName::parse(name, &"".into()),
        external_name: external_name.map(Arc::from),
        ports: vec![port],
        annotations: BTreeMap::new(),
    }))
}

/// A Service of a whole object in JSON.
pub(crate) fn service_of(object: Value) -> Object {
    let object: k8s_openapi::api::core::v1::Service = serde_json::from_value(object).expect("a Service");
    Object::Service(Arc::new(Service::from(object)))
}

/// An Ingress of a whole object in JSON.
pub(crate) fn ingress(object: Value) -> Object {
    let object: k8s_openapi::api::networking::v1::Ingress =
        serde_json::from_value(object).expect("an Ingress");
    Object::Ingress(Arc::new(Ingress::from(object)))
}

/// The first update of a graph of these objects.
pub(crate) fn build(settings: Settings, objects: Vec<Object>) -> (Graph, Update) {
    let (mut store, mut changes) = (Store::default(), Changes::default());
    for object in objects {
        store.apply(Event::Apply(object), &mut changes);
    }
    let mut graph = Graph::new(settings);
    let update = graph.update(&store, &changes);
    (graph, update)
}

/// What one HTTPProxy is told: its errors and warnings, one a line.
pub(crate) fn told(graph: &Graph, name: &str) -> Vec<String> {
    let status: &ProxyStatus = graph.status(&NamespacedName::parse(name, &"".into())).expect("a status");
    status.errors.iter().chain(&status.warnings).map(ToString::to_string).collect()
}

/// Everything that is served, as text.
pub(crate) fn served(update: &Update) -> String {
    update.hosts.iter().filter_map(|(_, host)| host.as_ref()).map(ToString::to_string).collect()
}

/// A graph that follows changes, and what its reader knows.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) graph: Graph,
    pub(crate) hosts: BTreeMap<Arc<str>, Arc<VirtualHost>>,
}

impl World {
    pub(crate) fn new(settings: Settings, objects: Vec<Object>) -> Self {
        let mut world = Self { store: Store::default(), graph: Graph::new(settings), hosts: BTreeMap::new() };
        world.put(objects);
        world
    }

    pub(crate) fn put(&mut self, objects: Vec<Object>) -> Update {
        self.apply(objects.into_iter().map(Event::Apply).collect())
    }

    pub(crate) fn delete(&mut self, name: &str) -> Update {
        self.apply(vec![Event::Delete(ObjectRef::new(
            Kind::HttpProxy,
            NamespacedName::parse(name, &"".into()),
        ))])
    }

    pub(crate) fn apply(&mut self, events: Vec<Event>) -> Update {
        let mut changes = Changes::default();
        for event in events {
            self.store.apply(event, &mut changes);
        }
        let update = self.graph.update(&self.store, &changes);
        for (fqdn, host) in update.hosts.clone() {
            match host {
                Some(host) => self.hosts.insert(fqdn, host),
                None => self.hosts.remove(&fqdn),
            };
        }
        update
    }

    pub(crate) fn routes(&self, fqdn: &str) -> usize {
        self.hosts.get(fqdn).map_or(0, |host| host.plain.len())
    }

    pub(crate) fn told(&self, name: &str) -> Vec<String> {
        told(&self.graph, name)
    }
}

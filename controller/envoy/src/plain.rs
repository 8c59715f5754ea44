//! The plain listener and its RouteConfiguration.

use std::collections::BTreeMap;
use std::sync::Arc;

use contour_resource::{Part, Resource, ResourceType, Transaction, Trial};
use prost::Message;

use crate::{Settings, listener, names, virtual_host};

/// Where virtual hosts are tried.
fn trial() -> Trial {
    let head = Part::new("", virtual_host::configuration(names::TRIAL));
    Trial { name: names::TRIAL.into(), head: Arc::new(head) }
}

/// The RouteConfiguration in which virtual hosts are tried, while none is, and the listener that has Envoy ask for it.
pub(crate) fn trial_resources() -> [(ResourceType, Arc<Resource>); 2] {
    let Trial { name, head } = trial();
    let listener = Resource::whole(Arc::clone(&name), listener::trial().encode_to_vec());
    let table = Resource::new(name, vec![head]);
    [(ResourceType::Listener, Arc::new(listener)), (ResourceType::Route, Arc::new(table))]
}

/// The virtual hosts served without TLS.
pub(crate) struct PlainHosts {
    head: Arc<Part>,
    listener: Arc<Resource>,
    trial: Arc<Trial>,
    hosts: BTreeMap<Arc<str>, Arc<Part>>,
    changed: bool,
    listening: bool,
}

impl PlainHosts {
    pub(crate) fn new(settings: &Settings) -> Self {
        let head = virtual_host::configuration(names::INGRESS_HTTP);
        let listener = listener::plain(settings).encode_to_vec();
        Self {
            head: Arc::new(Part::new("", head)),
            listener: Arc::new(Resource::whole(names::INGRESS_HTTP, listener)),
            trial: Arc::new(trial()),
            hosts: BTreeMap::new(),
            // The RouteConfiguration exists from the start, even if empty.
            changed: true,
            listening: false,
        }
    }

    /// Sets or removes the virtual host of `fqdn`.
    pub(crate) fn put(&mut self, fqdn: &Arc<str>, part: Option<Arc<Part>>) {
        if self.hosts.get(fqdn) == part.as_ref() {
            return;
        }
        self.changed = true;
        match part {
            Some(part) => self.hosts.insert(Arc::clone(fqdn), part),
            None => self.hosts.remove(fqdn),
        };
    }

    /// Adds what changed since the last call. Parts are shared with what was published before: only pointers are copied.
    pub(crate) fn publish(&mut self, out: &mut Transaction) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let parts = std::iter::once(&self.head).chain(self.hosts.values()).cloned().collect();
        let table = Resource::new(names::INGRESS_HTTP, parts).tried_as(Arc::clone(&self.trial));
        out.set.push((ResourceType::Route, Arc::new(table)));
        let listening = !self.hosts.is_empty();
        if listening == std::mem::replace(&mut self.listening, listening) {
            return;
        }
        if listening {
            out.set.push((ResourceType::Listener, Arc::clone(&self.listener)));
        } else {
            out.remove.push((ResourceType::Listener, names::INGRESS_HTTP.into()));
        }
    }
}

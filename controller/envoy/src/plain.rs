//! The plain listener and its RouteConfiguration.

use std::collections::BTreeMap;
use std::sync::Arc;

use contour_resource::{Part, Resource, ResourceType, Transaction};
use prost::Message;

use crate::{Settings, listener, names, virtual_host};

/// The virtual hosts served without TLS.
pub(crate) struct PlainHosts {
    head: Arc<Part>,
    listener: Arc<Resource>,
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
        out.set.push((ResourceType::Route, Arc::new(Resource::new(names::INGRESS_HTTP, parts))));
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

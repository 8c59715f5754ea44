//! What is worked out of a Service once, for all that refer to it: it may have thousands of ports and annotations of 256 KiB, and thousands of
//! routes on thousands of hosts may lead to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use contour_objects::{Kind, NamespacedName, ObjectRef, Service, ServicePort, Store};

use crate::annotation;
use crate::cost::ENDPOINT;
use crate::limits::MOST_ENDPOINTS;
use crate::model::{CircuitBreakers, Protocol};
use crate::service::circuit_breakers;

/// The work, in the unit of budgets, of encoding the endpoints of what is read, if it is a Service.
pub(crate) fn endpoint_work(store: &Store, read: &ObjectRef) -> u64 {
    if read.kind != Kind::Service {
        return 0;
    }
    store.slices(&read.name).fold(0, |sum: u64, slice| {
        let endpoints = slice.endpoints.len().saturating_mul(slice.ports.len()).min(MOST_ENDPOINTS);
        sum.saturating_add(ENDPOINT.saturating_mul(endpoints as u64))
    })
}

/// How a reference names a port.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PortKey<'a> {
    Number(u16),
    Name(&'a str),
}

/// A Service, and what references to it ask.
#[derive(Debug)]
pub(crate) struct KnownService {
    service: Arc<Service>,
    /// Positions of ports, by number; those of TCP first.
    by_number: Vec<(u16, bool, usize)>,
    /// The same, by name.
    by_name: Vec<(Arc<str>, bool, usize)>,
    /// What each port speaks.
    protocols: Vec<Protocol>,
    /// What its annotations limit.
    pub(crate) circuit_breakers: CircuitBreakers,
    /// What is wrong with its annotations.
    pub(crate) complaints: Vec<String>,
}

impl KnownService {
    fn new(service: &Arc<Service>) -> Self {
        let ports = || service.ports.iter().enumerate();
        let mut by_number: Vec<_> = ports().map(|(at, port)| (port.port, !port.tcp, at)).collect();
        by_number.sort_unstable();
        let named = ports().filter_map(|(at, port)| Some((Arc::clone(port.name.as_ref()?), !port.tcp, at)));
        let mut by_name: Vec<_> = named.collect();
        by_name.sort_unstable();
        Self {
            by_number,
            by_name,
            protocols: protocols(service),
            circuit_breakers: circuit_breakers(&service.annotations),
            complaints: annotation::of_service(service),
            service: Arc::clone(service),
        }
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// The position of a port. TCP and UDP may have one number: that of TCP, if there is one.
    pub(crate) fn find(&self, key: PortKey<'_>) -> Option<usize> {
        match key {
            PortKey::Number(number) => {
                let from = self.by_number.partition_point(|(of, ..)| *of < number);
                self.by_number.get(from).filter(|(of, ..)| *of == number).map(|(_, _, at)| *at)
            }
            PortKey::Name(name) => {
                let from = self.by_name.partition_point(|(of, ..)| **of < *name);
                self.by_name.get(from).filter(|(of, ..)| **of == *name).map(|(_, _, at)| *at)
            }
        }
    }

    pub(crate) fn port(&self, at: usize) -> &ServicePort {
        &self.service.ports[at]
    }

    /// The protocol that the Service asks for on a port.
    pub(crate) fn protocol(&self, at: usize) -> Protocol {
        self.protocols[at]
    }
}

/// The protocol of each port: `appProtocol` where set, else Contour's annotations, by port name before number.
fn protocols(service: &Service) -> Vec<Protocol> {
    let annotated =
        [("h2", Protocol::H2), ("h2c", Protocol::H2c), ("tls", Protocol::Tls)].map(|(key, protocol)| {
            let annotation = service.annotations.get(&format!("projectcontour.io/upstream-protocol.{key}"));
            let ports = annotation.into_iter().flat_map(|ports| ports.split(',')).map(str::trim);
            (ports.collect::<HashSet<&str>>(), protocol)
        });
    let of = |port: &ServicePort| match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c") => Protocol::H2c,
        Some("https") => Protocol::Tls,
        Some(_) => Protocol::Plain,
        None => {
            let number = port.port.to_string();
            let names = [port.name.as_deref(), Some(number.as_str())];
            let mut asked = names.into_iter().flatten().flat_map(|name| {
                annotated.iter().filter(move |(ports, _)| ports.contains(name)).map(|(_, protocol)| *protocol)
            });
            asked.next().unwrap_or(Protocol::Plain)
        }
    };
    service.ports.iter().map(of).collect()
}

/// Services that are known, for as long as they are what the store has.
#[derive(Debug, Default)]
pub(crate) struct Services(HashMap<NamespacedName, Arc<KnownService>>);

impl Services {
    /// Remembers what a build worked out.
    pub(crate) fn remember(&mut self, services: Services) {
        self.0.extend(services.0);
    }

    /// Forgets a Service: it changed, or nobody refers to it any more.
    pub(crate) fn forget(&mut self, name: &NamespacedName) {
        self.0.remove(name);
    }
}

/// Objects, and what is known of them.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) store: &'a Store,
    pub(crate) services: &'a Services,
}

impl Sources<'_> {
    /// A Service as it is now; what has to be worked out for it is added to `fresh`.
    pub(crate) fn service(&self, name: &NamespacedName, fresh: &mut Services) -> Option<Arc<KnownService>> {
        let present = self.store.service(name)?;
        for services in [&self.services.0, &fresh.0] {
            if let Some(known) = services.get(name).filter(|known| Arc::ptr_eq(&known.service, present)) {
                return Some(Arc::clone(known));
            }
        }
        let known = Arc::new(KnownService::new(present));
        fresh.0.insert(name.clone(), Arc::clone(&known));
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contour_objects::{Changes, Event, Object};

    use super::*;

    fn port(name: &str, port: u16, tcp: bool) -> ServicePort {
        ServicePort { name: Some(name.into()), port, tcp, app_protocol: None }
    }

    fn service(ports: Vec<ServicePort>, annotations: &[(&str, &str)]) -> Service {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Service {
            name: NamespacedName::new("a", "s"),
            external_name: None,
            ports,
            annotations: annotations.collect(),
        }
    }

    #[test]
    fn ports_are_found_and_that_of_tcp_first() {
        let ports = vec![port("dns", 53, false), port("dns-tcp", 53, true), port("http", 80, true)];
        let annotations = [("projectcontour.io/upstream-protocol.h2c", "80, dns-tcp")];
        let known = KnownService::new(&Arc::new(service(ports, &annotations)));
        let found = |key| known.find(key);
        assert_eq!(found(PortKey::Number(53)), Some(1));
        assert_eq!(found(PortKey::Name("dns")), Some(0));
        assert_eq!(found(PortKey::Name("http")), Some(2));
        assert_eq!((found(PortKey::Number(54)), found(PortKey::Name("x"))), (None, None));
        assert_eq!([0, 1, 2].map(|at| known.protocol(at)), [Protocol::Plain, Protocol::H2c, Protocol::H2c]);
    }

    #[test]
    fn a_service_is_worked_out_once_for_each_of_its_versions() {
        let (mut store, mut known) = (Store::default(), Services::default());
        let mut apply = |port_number: u16, known: &mut Services| {
            let object = Object::Service(Arc::new(service(vec![port("http", port_number, true)], &[])));
            store.apply(Event::Apply(object), &mut Changes::default());
            let mut read = || {
                let mut fresh = Services::default();
                let sources = Sources { store: &store, services: known };
                let name = NamespacedName::new("a", "s");
                let twice = [(); 2].map(|()| sources.service(&name, &mut fresh).expect("it is there"));
                assert!(Arc::ptr_eq(&twice[0], &twice[1]));
                let worked_out = fresh.0.len();
                known.remember(fresh);
                worked_out
            };
            (read(), read())
        };
        assert_eq!(apply(80, &mut known), (1, 0));
        assert_eq!(apply(80, &mut known), (0, 0), "nothing changed");
        assert_eq!(apply(81, &mut known), (1, 0));
        assert_eq!(BTreeMap::from_iter(known.0).len(), 1);
    }
}

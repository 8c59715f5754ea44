//! Synthetic installations for the benches: one Service, one EndpointSlice and one HTTPProxy a host.

pub mod fleet;
pub mod machine;
pub mod many;
pub mod results;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use contour::engine::{Engine, News, Sink, Wiring};
use contour_crds::httpproxy::{Route, Service as ServiceRef, Tls, VirtualHost};
use contour_crds::{HTTPProxy, HTTPProxySpec};
use contour_objects::{
    Endpoint, EndpointPort, EndpointSlice, Event, Kind, NamespacedName, Object, Proxy, Scope, Secret,
    SecretError, Service, ServicePort, TlsPair,
};
use contour_runtime::Readiness;
use contour_xds::Cache;
use prometheus_client::registry::Registry;

/// The namespace everything is in.
pub const NAMESPACE: &str = "bench";

/// A sink that forgets.
pub struct Nowhere;

impl Sink for Nowhere {
    fn tell(&self, _: News) {}
}

/// A name in the bench's namespace.
pub fn name(name: String) -> NamespacedName {
    NamespacedName::new(NAMESPACE, name)
}

/// The HTTPProxy of host number `i`; `variant` changes its only route.
pub fn proxy(i: usize, variant: usize, tls: bool) -> Object {
    let host = VirtualHost {
        fqdn: format!("host-{i}.bench.example.com"),
        tls: tls.then(|| Box::new(Tls { secret_name: Some(format!("cert-{i}")), ..Tls::default() })),
        ..VirtualHost::default()
    };
    let service = ServiceRef { name: format!("svc-{i}"), port: 80, ..ServiceRef::default() };
    let route = Route { services: vec![service], enable_websockets: variant % 2 == 1, ..Route::default() };
    let spec =
        HTTPProxySpec { virtualhost: Some(Box::new(host)), routes: vec![route], ..HTTPProxySpec::default() };
    let mut object = HTTPProxy::new(&format!("proxy-{i}"), spec);
    object.metadata.namespace = Some(NAMESPACE.to_owned());
    object.metadata.generation = Some(i64::try_from(variant).unwrap_or_default() + 1);
    Object::HttpProxy(Arc::new(Proxy::from(object)))
}

/// The Service of host number `i`.
pub fn service(i: usize) -> Object {
    let port = ServicePort { name: Some("http".into()), port: 80, tcp: true, app_protocol: None };
    Object::Service(Arc::new(Service {
        name: name(format!("svc-{i}")),
        external_name: None,
        ports: vec![port],
        annotations: BTreeMap::new(),
    }))
}

/// The EndpointSlice of host number `i`; `variant` changes its only address.
pub fn slice(i: usize, variant: u8) -> Object {
    let address = IpAddr::V4(Ipv4Addr::new(10, variant, u8::try_from(i / 250 % 250).unwrap_or(0), 1));
    Object::EndpointSlice(Arc::new(EndpointSlice {
        name: name(format!("svc-{i}-x")),
        service: name(format!("svc-{i}")),
        endpoints: vec![Endpoint { address, ready: true }],
        ports: vec![EndpointPort { name: Some("http".into()), port: 8080 }],
        left_out: None,
    }))
}

/// The Secret of host number `i`. Its content is only ever copied here, never parsed.
pub fn secret(i: usize) -> Object {
    let certificate = format!("certificate {i} {}", "x".repeat(1500)).into_bytes();
    let mut fingerprint = [0; 20];
    fingerprint[..8].copy_from_slice(&(i as u64).to_le_bytes());
    let pair = TlsPair { certificate, key: vec![b'k'; 250], elements: 90, fingerprint };
    let ca = Err(SecretError::Missing("ca.crt"));
    Object::Secret(Arc::new(Secret { name: name(format!("cert-{i}")), tls: Ok(Arc::new(pair)), ca }))
}

/// The lists of an installation with `hosts` hosts, one per kind.
pub fn installation(hosts: usize, tls: bool) -> Vec<Event> {
    let all = |make: &dyn Fn(usize) -> Object| (0..hosts).map(make).collect::<Vec<_>>();
    Kind::ALL
        .into_iter()
        .map(|kind| {
            let objects = match kind {
                Kind::HttpProxy => all(&|i| proxy(i, 0, tls)),
                Kind::Service => all(&service),
                Kind::EndpointSlice => all(&|i| slice(i, 0)),
                Kind::Secret if tls => all(&secret),
                _ => Vec::new(),
            };
            Event::Replace(Scope { kind, namespace: None }, objects)
        })
        .collect()
}

/// An engine that has seen nothing, and its cache.
pub fn engine() -> (Engine, Cache) {
    let cache = Cache::new();
    let wiring = Wiring {
        graph: contour_graph::Settings::default(),
        envoy: contour_envoy::Settings::default(),
        cache: cache.clone(),
        sink: Arc::new(Nowhere),
        scopes: Kind::ALL.into_iter().map(|kind| Scope { kind, namespace: None }).collect(),
        ready: Readiness::new().handle("bench"),
    };
    (Engine::new(wiring, &mut Registry::default()).0, cache)
}

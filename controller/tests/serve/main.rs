//! `contour serve` as a cluster runs it: a real kube-apiserver, the binary, a real Envoy over mTLS, upstreams that answer.
//!
//! EndpointSlices may not name loopback addresses, and stock ports may be taken: every story runs in a network namespace of its own, where
//! all ports are free and 10.77.0.1 is an address of the machine (`hack/netns.py`).

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod configuration;
mod hung;
mod objects;
mod rejection;
mod replicas;
mod restart;
mod start;
mod stories;
mod tenants;
mod world;

/// The test of each story; its name stays the same inside and outside of the namespace.
macro_rules! in_own_network {
    ($($module:ident::$story:ident,)*) => {$(
        #[test]
        fn $story() {
            world::in_own_network(stringify!($story), $module::$story());
        }
    )*};
}

in_own_network! {
    stories::objects_become_traffic_and_statuses,
    stories::hosts_with_tls_and_ingresses_follow_their_objects,
    stories::what_belongs_to_others_is_left_alone,
    rejection::what_envoy_rejects_is_held_back_alone,
    restart::a_restart_is_not_noticed,
    replicas::the_lease_holder_alone_writes_statuses,
    hung::dead_connections_cost_half_a_minute_and_not_the_lease,
    configuration::an_object_configures_and_statuses_say_where,
    start::kinds_may_come_later,
    tenants::a_host_stays_with_who_has_it,
    tenants::no_slice_leads_to_envoy_itself,
    start::nothing_is_served_before_everything_is_known,
}

#[test]
fn what_cannot_be_is_refused_before_anything_starts() {
    let (code, told) = start::refused(&["--contour-config-name=Main"]);
    assert!(code == Some(2) && told.contains("\"Main\" cannot be the name"), "{code:?} {told}");
    let (code, told) = start::refused(&["--contour-config-name=main", "--config-path=contour.yaml"]);
    assert!(code == Some(2) && told.contains("--config-path"), "{code:?} {told}");
    let (code, told) = start::refused(&[]);
    assert!(code == Some(2) && told.contains("--insecure"), "{code:?} {told}");

    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let (code, told) = start::refused(&["--insecure", "--health-port=0", &format!("--xds-port={port}")]);
    assert!(
        code == Some(1) && told.contains(&format!("cannot listen for xDS on 127.0.0.1:{port}")),
        "{code:?} {told}"
    );
    let (code, told) =
        start::refused(&["--insecure", "--health-address=127.0.0.1", &format!("--health-port={port}")]);
    assert!(code == Some(1) && told.contains("the port is in use"), "{code:?} {told}");

    let (code, told) = start::refused(&[
        "--health-port=0",
        "--contour-cafile=nowhere.pem",
        "--contour-cert-file=nowhere.pem",
        "--contour-key-file=nowhere.pem",
        "--xds-port=0",
    ]);
    assert!(code == Some(1) && told.contains("nowhere.pem"), "{code:?} {told}");
}

//! `contour serve` as a cluster runs it: a real kube-apiserver, the binary, a real Envoy over mTLS, upstreams that answer.
//!
//! EndpointSlices may not name loopback addresses, and stock ports may be taken: every story runs in a network namespace of its own, where
//! all ports are free and 10.77.0.1 is an address of the machine (`hack/netns.py`).

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod objects;
mod rejection;
mod replicas;
mod restart;
mod start;
mod stories;
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
    start::nothing_is_served_before_everything_is_known,
}

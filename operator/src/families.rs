//! Which IP families an installation is on, unless `spec.network.ipFamilies` says it. Pure.
//!
//! `::` takes IPv4 as well, but only where the kernel has IPv6, so it is not for all: the cluster tells. The first family of its Services is that
//! of pods and probes; that it has both, the pods of Envoy tell. A listener that is moved to another address resets connections that were not
//! accepted yet, so that what an Envoy serves on stays as it is, unless somebody asks.

use std::net::IpAddr;

use contour_crds::contour_deployment::IpFamily;
use contour_crds::{ContourDeployment, ContourDeploymentStatus};
use k8s_openapi::api::core::v1::Service;

use crate::child::{ChildKind, untyped};
use crate::live::Live;
use crate::names::Names;
use crate::pod::Pod;
use crate::reconcile::rollout::is_ready;
use crate::settings::host_network;
use IpFamily::{IPv4, IPv6};

/// Any address of IPv4.
const ANY_IPV4: &str = "0.0.0.0";

/// Any address of both.
const ANY: &str = "::";

/// The fields of a `ContourDeployment` with the families that it is on, the first one first, given the status that was told last.
pub(crate) fn resolved(
    deployment: &ContourDeployment,
    names: &Names,
    live: &Live,
    before: &ContourDeploymentStatus,
) -> Box<ContourDeployment> {
    let mut resolved = Box::new(deployment.clone());
    if resolved.spec.network.ip_families.is_empty() {
        resolved.spec.network.ip_families = of_cluster(names, live, before);
    }
    resolved
}

/// The families of the cluster, for all that is known.
fn of_cluster(names: &Names, live: &Live, before: &ContourDeploymentStatus) -> Vec<IpFamily> {
    let families =
        |name: &str| service(names, live, name).map(|service| of_service(&service)).unwrap_or_default();
    let contour = families(&names.contour);
    let first = contour.first().or(before.ip_families.first()).copied().unwrap_or(IPv4);
    let pods: Vec<Vec<IpFamily>> =
        live.envoy.iter().map(|pod| of_pod(pod)).filter(|families| !families.is_empty()).collect();
    let both = |families: &Vec<IpFamily>| families.len() == 2;
    let seen = !pods.is_empty() && pods.iter().all(both);
    let serves = match &before.envoy {
        Some(envoy) => envoy.ready > 0,
        // Others made what is taken over now.
        None => live.envoy.iter().any(|pod| is_ready(pod)),
    };
    let is_both = match first {
        // No listener is moved for IPv4.
        IPv6 => seen || (before.ip_families.len() == 2 && (pods.is_empty() || pods.iter().any(both))),
        IPv4 => listens_on_any(names, live) || (seen && !serves),
    };
    if is_both || both(&families(&names.envoy)) { vec![first, other(first)] } else { vec![first] }
}

/// Whether Envoy was told to listen on both. What a user names for HTTP and HTTPS alone says nothing of that.
fn listens_on_any(names: &Names, live: &Live) -> bool {
    let configuration = live.children.get(&names.child(ChildKind::ContourConfiguration, &names.contour));
    let address = configuration.and_then(|object| object.data.pointer("/spec/envoy/health/address"));
    address.and_then(|address| address.as_str()) == Some(ANY)
}

fn other(family: IpFamily) -> IpFamily {
    match family {
        IPv4 => IPv6,
        IPv6 => IPv4,
    }
}

/// The Service of this name, if it is there.
fn service(names: &Names, live: &Live, name: &str) -> Option<Service> {
    let object = live.children.get(&names.child(ChildKind::Service, name))?;
    serde_json::from_value(untyped(object)).ok()
}

/// The families of a Service, as the API server has filled them in.
fn of_service(service: &Service) -> Vec<IpFamily> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    families.iter().filter_map(|name| [IPv4, IPv6].into_iter().find(|one| one.as_str() == name)).collect()
}

/// The families of a pod's addresses; on the network of its node, of those of the node.
fn of_pod(pod: &Pod) -> Vec<IpFamily> {
    let addresses = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    let mut families: Vec<IpFamily> = addresses.filter_map(|one| of_address(&one.ip)).collect();
    families.sort_unstable();
    families.dedup();
    families
}

/// The family of an address.
fn of_address(text: &str) -> Option<IpFamily> {
    text.parse().ok().map(|address| match address {
        IpAddr::V4(_) => IPv4,
        IpAddr::V6(_) => IPv6,
    })
}

/// What to listen on, for these families: none tells nothing else than IPv4.
pub(crate) fn any(families: &[IpFamily]) -> &'static str {
    if families.contains(&IPv6) { ANY } else { ANY_IPV4 }
}

/// The families at whose addresses of nodes clients find Envoy, given the fields with the families that are served.
pub(crate) fn at_nodes(deployment: &ContourDeployment, names: &Names, live: &Live) -> Vec<IpFamily> {
    let families = &deployment.spec.network.ip_families;
    let listening =
        deployment.spec.envoy.listen_address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
    let listens = match listening {
        None => families.clone(),
        Some(IpAddr::V4(_)) => vec![IPv4],
        // Both are on the node, as far as it has both.
        Some(IpAddr::V6(any)) if any.is_unspecified() => vec![IPv4, IPv6],
        Some(IpAddr::V6(_)) => vec![IPv6],
    };
    // Ports of nodes are those of the Service, and of its families alone.
    let through = service(names, live, &names.envoy).filter(|_| !host_network(deployment));
    match through.map(|service| of_service(&service)) {
        Some(families) if !families.is_empty() => families,
        _ => listens,
    }
}

/// Whether an address is of these families. What is no IP address is of all.
pub(crate) fn include(families: &[IpFamily], address: &str) -> bool {
    of_address(address).is_none_or(|family| families.contains(&family))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use contour_crds::contour_deployment::ComponentStatus;
    use kube::core::DynamicObject;
    use serde_json::json;

    use super::*;

    /// An installation whose Services have these families, and whose pods of Envoy these addresses.
    fn live(contour: &[&str], envoy: &[&str], pods: &[&[&str]]) -> Live {
        let mut live = Live::default();
        for (name, families) in [("contour-edge", contour), ("envoy-edge", envoy)] {
            let object =
                json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"ipFamilies": families}});
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            let child = crate::observe::reference(ChildKind::Service, &object);
            if !families.is_empty() {
                live.children.insert(child, Arc::new(object));
            }
        }
        live.envoy = pods
            .iter()
            .map(|ips| {
                let ips: Vec<_> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
                Pod::cached(json!({"metadata": {}, "status": {"podIPs": ips}}))
            })
            .collect();
        live
    }

    fn deployment(spec: &serde_json::Value) -> (ContourDeployment, Names) {
        let deployment: ContourDeployment =
            serde_json::from_value(json!({"metadata": {"name": "edge", "namespace": "n"}, "spec": spec}))
                .unwrap();
        let names = Names::of(&deployment).unwrap();
        (deployment, names)
    }

    #[test]
    fn what_serves_when_it_is_taken_over_is_not_moved() {
        let (deployment, names) = deployment(&json!({"adopt": true}));
        for (ready, expected) in [("True", &[IPv4][..]), ("False", &[IPv4, IPv6])] {
            let mut live = live(&["IPv4"], &["IPv4"], &[]);
            live.envoy = vec![Pod::cached(json!({"metadata": {}, "status": {
                "podIPs": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "conditions": [{"type": "Ready", "status": ready}],
            }}))];
            let found = resolved(&deployment, &names, &live, &ContourDeploymentStatus::default());
            assert_eq!(found.spec.network.ip_families, expected, "ready: {ready}");
        }
    }

    #[test]
    fn the_cluster_tells_which_families_it_has() {
        const FOUR: &[&str] = &["192.0.2.1"];
        const SIX: &[&str] = &["2001:db8::1"];
        const BOTH: &[&str] = &["192.0.2.1", "2001:db8::1"];
        let (deployment, names) = deployment(&json!({}));
        // Families of Contour's Service and of Envoy's, pods of Envoy, whether Envoy listens on `::`, how many are ready, what was told.
        for (contour, envoy, pods, listens, ready, told, expected) in [
            // Nothing is known, as before the first Service is made.
            (&[][..], &[][..], &[][..], false, 0, &[][..], &[IPv4][..]),
            (&["IPv4"], &[], &[], false, 0, &[], &[IPv4]),
            (&["IPv4"], &["IPv4"], &[FOUR, FOUR], false, 2, &[IPv4], &[IPv4]),
            (&["IPv6"], &[], &[], false, 0, &[], &[IPv6]),
            (&["IPv6"], &["IPv6"], &[SIX], true, 1, &[IPv6], &[IPv6]),
            // Both: nodes have them, or the Service was asked for with them.
            (&["IPv4"], &["IPv4"], &[BOTH, BOTH], false, 0, &[IPv4], &[IPv4, IPv6]),
            (&["IPv6"], &["IPv6"], &[BOTH], true, 1, &[IPv6], &[IPv6, IPv4]),
            (&["IPv4"], &["IPv4", "IPv6"], &[FOUR], false, 1, &[IPv4], &[IPv4, IPv6]),
            // Pods without an address say nothing.
            (&["IPv4"], &["IPv4"], &[BOTH, &[]], false, 0, &[IPv4], &[IPv4, IPv6]),
            // What serves is left where it listens.
            (&["IPv4"], &["IPv4"], &[BOTH, BOTH], false, 1, &[IPv4], &[IPv4]),
            (&["IPv4"], &["IPv4"], &[BOTH, BOTH], false, 2, &[], &[IPv4]),
            (&["IPv4"], &["IPv4"], &[BOTH, BOTH], true, 1, &[IPv4], &[IPv4, IPv6]),
            // Not all nodes have both: it is not begun, and not ended for that.
            (&["IPv4"], &["IPv4"], &[BOTH, FOUR], false, 0, &[IPv4], &[IPv4]),
            (&["IPv4"], &["IPv4"], &[BOTH, FOUR], true, 2, &[IPv4, IPv6], &[IPv4, IPv6]),
            (&["IPv6"], &["IPv6"], &[BOTH, SIX], true, 2, &[IPv6, IPv4], &[IPv6, IPv4]),
            (&["IPv6"], &["IPv6"], &[SIX, SIX], true, 2, &[IPv6, IPv4], &[IPv6]),
        ] {
            let mut live = live(contour, envoy, pods);
            let address = if listens { ANY } else { ANY_IPV4 };
            let object: DynamicObject = serde_json::from_value(json!({
                "metadata": {"name": "contour-edge", "namespace": "n"},
                "spec": {"envoy": {"health": {"address": address}}},
            }))
            .unwrap();
            let child = crate::observe::reference(ChildKind::ContourConfiguration, &object);
            live.children.insert(child, Arc::new(object));
            let envoys = ComponentStatus { ready, ..ComponentStatus::default() };
            let before = ContourDeploymentStatus {
                ip_families: told.to_vec(),
                envoy: Some(envoys),
                ..ContourDeploymentStatus::default()
            };
            let found = resolved(&deployment, &names, &live, &before).spec.network.ip_families;
            assert_eq!(found, expected, "{contour:?} {envoy:?} {pods:?} {listens} {ready} {told:?}");
        }
    }

    #[test]
    fn what_is_asked_for_is_not_looked_for() {
        let (deployment, names) = deployment(&json!({"network": {"ipFamilies": ["IPv6"]}}));
        let live = live(&["IPv4"], &["IPv4"], &[&["192.0.2.1"]]);
        let before = ContourDeploymentStatus::default();
        assert_eq!(resolved(&deployment, &names, &live, &before).spec.network.ip_families, [IPv6]);
    }

    #[test]
    fn addresses_of_nodes_are_those_that_answer() {
        let node = ["192.0.2.1", "2001:db8::1", "edge.example.com"];
        let balanced = json!({"type": "NodePortService"});
        for (families, listen, publishing, service, expected) in [
            (&["IPv4"][..], None, json!({}), &["IPv4"][..], "192.0.2.1"),
            (&["IPv6"], None, json!({}), &["IPv6"], "2001:db8::1"),
            (&["IPv4", "IPv6"], None, json!({}), &["IPv4"], "192.0.2.1 2001:db8::1"),
            (&["IPv4", "IPv6"], Some("0.0.0.0"), json!({}), &["IPv4"], "192.0.2.1"),
            (&["IPv4"], Some("::"), json!({}), &["IPv4"], "192.0.2.1 2001:db8::1"),
            (&["IPv4", "IPv6"], Some("2001:db8::1"), json!({}), &["IPv4"], "2001:db8::1"),
            // kube-proxy opens a port of nodes for the families of the Service.
            (&["IPv4", "IPv6"], None, balanced.clone(), &["IPv4"], "192.0.2.1"),
            (&["IPv4", "IPv6"], None, balanced.clone(), &["IPv4", "IPv6"], "192.0.2.1 2001:db8::1"),
            (&["IPv6", "IPv4"], None, balanced, &["IPv6"], "2001:db8::1"),
        ] {
            let (deployment, names) = deployment(&json!({
                "network": {"ipFamilies": families}, "envoy": {"listenAddress": listen}, "publishing": publishing,
            }));
            let found = at_nodes(&deployment, &names, &live(&["IPv4"], service, &[]));
            let published: Vec<&str> = node.into_iter().filter(|one| include(&found, one)).collect();
            let expected = format!("{expected} edge.example.com");
            assert_eq!(published.join(" "), expected, "{families:?} {listen:?} {service:?}");
        }
    }
}

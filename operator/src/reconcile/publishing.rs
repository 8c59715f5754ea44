//! When Envoy's Service may change, so that a switch of publishing makes the new way before it takes the old one away. Pure.

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, Service};

use super::rollout::is_ready;

/// When Envoy's Service is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Before Envoy changes: it opens a way.
    BeforeEnvoy,
    /// Right after Envoy was applied: it does not exist yet.
    WithEnvoy,
    /// When Envoy has rolled out: it closes a way.
    AfterEnvoy,
}

/// How far a Service reaches.
fn reach(service: &Service) -> u8 {
    match service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) {
        Some("LoadBalancer") => 2,
        Some("NodePort") => 1,
        _ => 0,
    }
}

/// When the wanted Service is applied over the live one.
pub fn turn(live: Option<&Service>, wanted: &Service) -> Turn {
    match live {
        None => Turn::WithEnvoy,
        Some(live) if reach(live) > reach(wanted) => Turn::AfterEnvoy,
        Some(_) => Turn::BeforeEnvoy,
    }
}

/// Whether Envoy must stay on the network of its nodes for now: it is to leave it for a load balancer that has no address yet.
pub fn waits_for_load_balancer(
    live: Option<&PodTemplateSpec>,
    wanted: &PodTemplateSpec,
    service: Option<&Service>,
) -> bool {
    let on_host = |template: &PodTemplateSpec| {
        template.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
    };
    let balanced = service.filter(|service| reach(service) == 2);
    live.is_some_and(on_host)
        && !on_host(wanted)
        && balanced.is_some_and(|service| load_balancer_addresses(service).is_empty())
}

/// The addresses that a load balancer gave a Service.
fn load_balancer_addresses(service: &Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    ingress.iter().filter_map(|one| one.ip.clone().or_else(|| one.hostname.clone())).collect()
}

/// The addresses of nodes with a ready Envoy, in order.
pub fn node_addresses(pods: &[impl AsRef<Pod>]) -> Vec<String> {
    let mut addresses: Vec<String> = pods
        .iter()
        .map(AsRef::as_ref)
        .filter(|pod| is_ready(pod))
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| match status.host_ips.as_deref() {
            Some(all) if !all.is_empty() => all.iter().map(|one| one.ip.clone()).collect(),
            _ => Vec::from_iter(status.host_ip.clone()),
        })
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Where Envoy is reached: at its load balancer, at nodes, or within the cluster.
pub fn addresses(service: Option<&Service>, nodes: &[String], on_host: bool) -> Vec<String> {
    match service {
        Some(service) if reach(service) == 2 => load_balancer_addresses(service),
        Some(service) if reach(service) == 0 && !on_host => {
            let ips = service.spec.as_ref().and_then(|spec| spec.cluster_ips.clone());
            ips.unwrap_or_default().into_iter().filter(|ip| ip != "None").collect()
        }
        _ => nodes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn service(kind: &str, ingress: &Value) -> Service {
        object(json!({
            "spec": {"type": kind, "clusterIPs": ["10.0.0.7"]}, "status": {"loadBalancer": {"ingress": ingress}},
        }))
    }

    #[test]
    fn a_way_is_opened_before_and_closed_after() {
        use Turn::{AfterEnvoy, BeforeEnvoy, WithEnvoy};
        for (live, wanted, expected) in [
            (None, "ClusterIP", WithEnvoy),
            (Some("ClusterIP"), "LoadBalancer", BeforeEnvoy),
            (Some("NodePort"), "NodePort", BeforeEnvoy),
            (Some("LoadBalancer"), "NodePort", AfterEnvoy),
            (Some("NodePort"), "ClusterIP", AfterEnvoy),
        ] {
            let live = live.map(|kind| service(kind, &json!([])));
            assert_eq!(turn(live.as_ref(), &service(wanted, &json!([]))), expected, "{wanted}");
        }
    }

    #[test]
    fn nodes_are_left_when_the_load_balancer_has_an_address() {
        let on =
            |host: bool| object::<PodTemplateSpec>(json!({"spec": {"hostNetwork": host, "containers": []}}));
        let (empty, given) =
            (service("LoadBalancer", &json!([])), service("LoadBalancer", &json!([{"ip": "192.0.2.1"}])));
        let ports = service("NodePort", &json!([]));
        for (live, wanted, service, expected) in [
            (Some(true), false, Some(&empty), true),
            (Some(true), false, Some(&given), false),
            (Some(true), false, Some(&ports), false),
            (Some(true), true, Some(&empty), false),
            (Some(false), false, Some(&empty), false),
            (None, false, Some(&empty), false),
            (Some(true), false, None, false),
        ] {
            assert_eq!(waits_for_load_balancer(live.map(on).as_ref(), &on(wanted), service), expected);
        }
    }

    #[test]
    fn addresses_are_those_of_the_way_in() {
        let pod = |ready: &str, status: Value| {
            let mut status = status;
            status["conditions"] = json!([{"type": "Ready", "status": ready}]);
            Arc::new(object::<Pod>(json!({"status": status})))
        };
        let pods = [
            pod("True", json!({"hostIP": "10.1.0.2", "hostIPs": [{"ip": "10.1.0.2"}, {"ip": "fd00::2"}]})),
            pod("True", json!({"hostIP": "10.1.0.1"})),
            pod("True", json!({"hostIP": "10.1.0.1"})),
            pod("False", json!({"hostIP": "10.1.0.3"})),
        ];
        let nodes = node_addresses(&pods);
        assert_eq!(nodes, ["10.1.0.1", "10.1.0.2", "fd00::2"]);
        let balanced = service("LoadBalancer", &json!([{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]));
        assert_eq!(addresses(Some(&balanced), &nodes, false), ["192.0.2.1", "lb.example.com"]);
        assert_eq!(addresses(Some(&service("NodePort", &json!([]))), &nodes, false), nodes);
        assert_eq!(addresses(Some(&service("ClusterIP", &json!([]))), &nodes, true), nodes);
        assert_eq!(addresses(Some(&service("ClusterIP", &json!([]))), &nodes, false), ["10.0.0.7"]);
        assert_eq!(addresses(None, &nodes, true), nodes);
    }
}

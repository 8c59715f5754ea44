//! When Envoy's Service may change, so that a switch of publishing makes the new way before it takes the old one away. Pure.

use k8s_openapi::api::core::v1::{PodTemplateSpec, Service};

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

/// Where Envoy is reached: where `given` says, at its load balancer, at nodes, or within the cluster.
pub fn addresses(
    given: &[String],
    service: Option<&Service>,
    nodes: &[String],
    on_host: bool,
) -> Vec<String> {
    match service {
        _ if !given.is_empty() => given.to_vec(),
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
        let nodes = ["10.1.0.1".to_owned(), "fd00::2".to_owned()];
        let balanced = service("LoadBalancer", &json!([{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]));
        assert_eq!(addresses(&[], Some(&balanced), &nodes, false), ["192.0.2.1", "lb.example.com"]);
        assert_eq!(addresses(&[], Some(&service("NodePort", &json!([]))), &nodes, false), nodes);
        assert_eq!(addresses(&[], Some(&service("ClusterIP", &json!([]))), &nodes, true), nodes);
        assert_eq!(addresses(&[], Some(&service("ClusterIP", &json!([]))), &nodes, false), ["10.0.0.7"]);
        assert_eq!(addresses(&[], None, &nodes, true), nodes);
        let given = ["edge.example.com".to_owned()];
        assert_eq!(addresses(&given, Some(&balanced), &nodes, true), given);
    }
}

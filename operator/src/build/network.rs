//! Who reaches the pods: `NetworkPolicies`, where they are asked for. They say nothing of where pods may go to.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta::{self, Component};
use super::{Child, Inputs, contour, envoy};
use crate::names::FIELD_MANAGER;

/// The port of xDS, as the Service and the pods of the controller call it.
const XDS: &str = "xds";
/// The port of metrics, as the pods of both components call it.
const METRICS: &str = "metrics";
/// The port of the agent beside Envoy.
const SHUTDOWN: &str = "shutdown";

/// The policies. Pods on the network of nodes are not governed by any.
pub(super) fn policies(inputs: &Inputs<'_>) -> Vec<Child> {
    if inputs.deployment.spec.network_policies.is_none() {
        return Vec::new();
    }
    let mut policies = vec![Child::of(&contour_policy(inputs))];
    if !inputs.settings().host_network {
        policies.push(Child::of(&envoy_policy(inputs)));
    }
    policies
}

/// Whether anybody reaches the xDS port under this policy of the controller's: Envoys on the network of nodes do then.
pub(crate) fn is_open(policy: &NetworkPolicy) -> bool {
    let rules = policy.spec.as_ref().and_then(|spec| spec.ingress.as_deref()).unwrap_or_default();
    rules.iter().any(|rule| {
        let ports = rule.ports.as_deref().unwrap_or_default();
        rule.from.is_none() && ports.iter().any(|port| port.port == Some(named(XDS)))
    })
}

/// To xDS comes Envoy. No policy can tell pods on the network of nodes, so there it is open, and guarded by certificates alone.
fn contour_policy(inputs: &Inputs<'_>) -> NetworkPolicy {
    let envoys = NetworkPolicyPeer {
        pod_selector: Some(meta::selector(inputs, Component::Envoy)),
        ..NetworkPolicyPeer::default()
    };
    let from = (!inputs.settings().host_network).then(|| vec![envoys]);
    let mut rules = vec![rule(vec![named(XDS)], from)];
    rules.extend(metrics(inputs));
    rules.extend(others(&contour::template(inputs, "").made(), &[XDS, METRICS]));
    policy(inputs, Component::Contour, &inputs.names.contour, rules)
}

/// To what it serves comes anybody; to the agent only the kubelet, which no policy keeps from the pods of its node, and the operator.
fn envoy_policy(inputs: &Inputs<'_>) -> NetworkPolicy {
    let mut rules = others(&envoy::template(inputs, "").made(), &[METRICS, SHUTDOWN]);
    rules.extend(metrics(inputs));
    rules.push(rule(vec![named(SHUTDOWN)], Some(vec![operator(inputs)])));
    policy(inputs, Component::Envoy, &inputs.names.envoy, rules)
}

/// To metrics come those who were named, and the operator, which asks the controller for its certificates there.
fn metrics(inputs: &Inputs<'_>) -> Vec<NetworkPolicyIngressRule> {
    let asked = inputs.deployment.spec.network_policies.clone().unwrap_or_default().metrics_from;
    let from = (!asked.is_empty()).then(|| asked.into_iter().chain([operator(inputs)]).collect());
    vec![rule(vec![named(METRICS)], from)]
}

/// All other ports of a template, those of patches included, are for anybody.
fn others(template: &PodTemplateSpec, except: &[&str]) -> Vec<NetworkPolicyIngressRule> {
    let pod = template.spec.as_ref();
    let containers =
        pod.into_iter().flat_map(|pod| pod.init_containers.iter().flatten().chain(&pod.containers));
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let open: Vec<NetworkPolicyPort> = ports
        .filter(|port| !port.name.as_deref().is_some_and(|name| except.contains(&name)))
        .map(|port| NetworkPolicyPort {
            port: Some(port.name.clone().map_or(IntOrString::Int(port.container_port), IntOrString::String)),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            end_port: None,
        })
        .collect();
    if open.is_empty() {
        Vec::new()
    } else {
        vec![NetworkPolicyIngressRule { ports: Some(open), from: None }]
    }
}

/// The operator, in its own namespace: a label alone anybody could have.
fn operator(inputs: &Inputs<'_>) -> NetworkPolicyPeer {
    let selector = |key: &str, value: &str| LabelSelector {
        match_labels: Some([(key.to_owned(), value.to_owned())].into()),
        match_expressions: None,
    };
    NetworkPolicyPeer {
        namespace_selector: Some(selector("kubernetes.io/metadata.name", &inputs.defaults.namespace)),
        pod_selector: Some(selector("app.kubernetes.io/name", FIELD_MANAGER)),
        ip_block: None,
    }
}

/// By name, which each pod has its own number for.
fn named(port: &str) -> IntOrString {
    IntOrString::String(port.to_owned())
}

fn rule(ports: Vec<IntOrString>, from: Option<Vec<NetworkPolicyPeer>>) -> NetworkPolicyIngressRule {
    let tcp = |port| NetworkPolicyPort { port: Some(port), protocol: Some("TCP".to_owned()), end_port: None };
    NetworkPolicyIngressRule { from, ports: Some(ports.into_iter().map(tcp).collect()) }
}

fn policy(
    inputs: &Inputs<'_>,
    component: Component,
    name: &str,
    rules: Vec<NetworkPolicyIngressRule>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: meta::namespaced(inputs, component, name),
        spec: Some(NetworkPolicySpec {
            ingress: Some(rules),
            pod_selector: Some(meta::selector(inputs, component)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            egress: None,
        }),
    }
}

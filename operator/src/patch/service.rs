//! What a patch of Envoy's Service may not change: what other fields decide, and what clients reach Envoy by. Pure.

use serde_json::Value;

use super::Fault;
use super::pods::{containers, metadata};

/// Fields that stay, each with the reason.
const FIXED: [(&str, &str); 10] = [
    ("/spec/clusterIP", "it cannot change once there are clients"),
    ("/spec/clusterIPs", "it cannot change once there are clients"),
    ("/spec/externalIPs", "they would take the traffic of others"),
    ("/spec/externalName", "it leads to Envoy"),
    ("/spec/ipFamilyPolicy", "spec.publishing.ipFamilyPolicy decides"),
    ("/spec/loadBalancerClass", "spec.publishing.loadBalancerClass decides"),
    ("/spec/publishNotReadyAddresses", "only what is ready can serve"),
    ("/spec/selector", "it leads to Envoy"),
    ("/spec/type", "spec.publishing.type decides"),
    ("/status", "others tell it"),
];

/// The port of the agent, by which Envoy is drained.
const SHUTDOWN: &str = "shutdown";

/// What of Envoy's Service was patched and has to stay. `template` is that of Envoy's pods.
pub(crate) fn service_keeps(plain: &Value, patched: &Value, template: &Value) -> Vec<Fault> {
    let mut faults = metadata(plain, patched);
    for (pointer, why) in FIXED {
        if plain.pointer(pointer) != patched.pointer(pointer) {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            faults.push(Fault::new(path, format!("cannot be patched: {why}")));
        }
    }
    let ports = |service: &Value| service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let (old, new) = (ports(plain), ports(patched));
    for port in &old {
        if !new.iter().any(|one| without_protocol(one) == without_protocol(port)) {
            let why = "clients use it; its number on nodes is spec.publishing.nodePorts";
            faults.push(Fault::new(at(port), format!("cannot be patched but for appProtocol: {why}")));
        }
    }
    let more = new.iter().filter(|port| !old.iter().any(|one| one["name"] == port["name"]));
    let strange = more.filter(|port| !is_served(port, template));
    faults.extend(strange.map(|port| {
        Fault::new(
            at(port),
            "has to lead to a port of Envoy's pod template, other than shutdown; patch that, too",
        )
    }));
    faults.sort();
    faults.dedup();
    faults
}

fn at(port: &Value) -> String {
    format!("spec.ports[port={}]", port["port"])
}

fn without_protocol(port: &Value) -> Value {
    let mut port = port.clone();
    if let Some(fields) = port.as_object_mut() {
        fields.shift_remove("appProtocol");
    }
    port
}

/// Whether a port leads to what a container says that it listens on. On the network of nodes anything else could be a port of the node.
fn is_served(port: &Value, template: &Value) -> bool {
    let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
    let ports = containers(template).flat_map(|(_, one)| one["ports"].as_array().into_iter().flatten());
    let mut named = ports.filter(|one| one["name"] == *target || one["containerPort"] == *target).peekable();
    named.peek().is_some() && named.all(|one| one["name"] != SHUTDOWN)
}

//! The rules of `ContourDeployment`.

use std::time::Duration;

use contour_graph::parse_duration;
use serde_json::Value;

use super::Check;

/// The rules as the definition has them, each with what it means.
pub(super) const RULES: [(&str, Check); 24] = [
    (
        "!has(self.envoy) || !has(self.envoy.hostNetwork) || self.envoy.hostNetwork || (has(self.publishing) && has(self.publishing.type) && self.publishing.type != 'HostNetwork')",
        on_nodes_or_published,
    ),
    ("!has(self.replicas) || !has(self.autoscaling)", |contour| {
        !(has(contour, "/replicas") && has(contour, "/autoscaling"))
    }),
    // Of a change: a file says nothing of what was before.
    (
        "(has(self.names) ? self.names : 'Derived') == (has(oldSelf.names) ? oldSelf.names : 'Derived')",
        |_| true,
    ),
    (
        "!has(self.externalReplicas) || !self.externalReplicas || (!has(self.replicas) && !has(self.autoscaling))",
        |component| !external(component) || !(has(component, "/replicas") || has(component, "/autoscaling")),
    ),
    (
        "!has(self.externalReplicas) || !self.externalReplicas || (has(self.workload) && self.workload == 'Deployment')",
        |envoy| !external(envoy) || is(envoy, "/workload", &["Deployment"]),
    ),
    ("!has(self.autoscaling) || (has(self.workload) && self.workload == 'Deployment')", |envoy| {
        !has(envoy, "/autoscaling") || is(envoy, "/workload", &["Deployment"])
    }),
    ("self.minReplicas <= self.maxReplicas", |autoscaling| {
        autoscaling["minReplicas"].as_i64() <= autoscaling["maxReplicas"].as_i64()
    }),
    (
        "self.all(key, key.size() <= 317 && key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$'))",
        qualified_names,
    ),
    ("!has(self.replicas) || (has(self.workload) && self.workload == 'Deployment')", |envoy| {
        !has(envoy, "/replicas") || is(envoy, "/workload", &["Deployment"])
    }),
    (
        "!has(self.updateStrategy) || !has(self.updateStrategy.maxSurge) || (has(self.workload) && self.workload == 'Deployment')",
        |envoy| !has(envoy, "/updateStrategy/maxSurge") || is(envoy, "/workload", &["Deployment"]),
    ),
    (
        "self.metrics != self.admin && (!has(self.http) || (self.http != self.metrics && self.http != self.admin && (!has(self.https) || self.http != self.https))) && (!has(self.https) || (self.https != self.metrics && self.https != self.admin))",
        |ports| differ(ports, &["http", "https", "metrics", "admin"]),
    ),
    (
        "!has(self.shutdown) || (self.shutdown != self.metrics && self.shutdown != self.admin && (!has(self.http) || self.http != self.shutdown) && (!has(self.https) || self.https != self.shutdown))",
        |ports| ["http", "https", "metrics", "admin"].iter().all(|other| differ(ports, &["shutdown", other])),
    ),
    ("!has(self.gracePeriod) || duration(self.gracePeriod) <= duration('24h')", |shutdown| {
        within(shutdown, "gracePeriod", |grace| grace <= Duration::from_hours(24))
    }),
    ("!has(self.checkInterval) || duration(self.checkInterval) >= duration('1s')", |shutdown| {
        within(shutdown, "checkInterval", |interval| interval >= Duration::from_secs(1))
    }),
    (
        "duration(has(self.drainDelay) ? self.drainDelay : '0s') + duration(has(self.checkDelay) ? self.checkDelay : '0s') < duration(has(self.gracePeriod) ? self.gracePeriod : '300s')",
        delays_within_grace,
    ),
    (
        "!has(self.externalTrafficPolicy) || (has(self.type) && self.type in ['LoadBalancerService', 'NodePortService'])",
        |publishing| !has(publishing, "/externalTrafficPolicy") || is(publishing, "/type", &EXTERNAL),
    ),
    (
        "!has(self.nodePorts) || (has(self.type) && self.type in ['LoadBalancerService', 'NodePortService'])",
        |publishing| !has(publishing, "/nodePorts") || is(publishing, "/type", &EXTERNAL),
    ),
    (
        "(!has(self.loadBalancerClass) && !has(self.loadBalancerSourceRanges)) || (has(self.type) && self.type == 'LoadBalancerService')",
        |publishing| {
            let asked = has(publishing, "/loadBalancerClass") || has(publishing, "/loadBalancerSourceRanges");
            !asked || is(publishing, "/type", &["LoadBalancerService"])
        },
    ),
    ("!has(self.http) || !has(self.https) || self.http != self.https", |ports| {
        differ(ports, &["http", "https"])
    }),
    ("!has(self.lifetime) || duration(self.lifetime) >= duration('1m')", |certificates| {
        within(certificates, "lifetime", |lifetime| lifetime >= Duration::from_mins(1))
    }),
    (
        "!has(self.caLifetime) || duration(self.caLifetime) >= duration(has(self.lifetime) ? self.lifetime : '8760h')",
        outlived_by_its_authority,
    ),
    (
        "!has(self.renewBefore) || (duration(self.renewBefore) > duration('0s') && duration(self.renewBefore) < duration(has(self.lifetime) ? self.lifetime : '8760h'))",
        renewed_within_its_life,
    ),
    (
        "!has(self.secretRefs) || !(has(self.lifetime) || has(self.caLifetime) || has(self.renewBefore) || has(self.keyAlgorithm))",
        |certificates| {
            let made = ["/lifetime", "/caLifetime", "/renewBefore", "/keyAlgorithm"];
            !has(certificates, "/secretRefs") || !made.iter().any(|field| has(certificates, field))
        },
    ),
    ("self.contour != self.envoy", |secrets| differ(secrets, &["contour", "envoy"])),
];

/// What is reached from outside of the cluster.
const EXTERNAL: [&str; 2] = ["LoadBalancerService", "NodePortService"];

/// How long a certificate is valid by default.
const LIFETIME: Duration = Duration::from_hours(8760);

fn has(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).is_some()
}

fn is(value: &Value, pointer: &str, texts: &[&str]) -> bool {
    value.pointer(pointer).and_then(Value::as_str).is_some_and(|text| texts.contains(&text))
}

/// Whether the number of pods is somebody else's.
fn external(component: &Value) -> bool {
    component.get("externalReplicas") == Some(&Value::Bool(true))
}

/// True if no two of these fields, as far as they are there, are the same.
fn differ(value: &Value, fields: &[&str]) -> bool {
    let given: Vec<_> = fields.iter().filter_map(|field| value.get(field)).collect();
    (1..given.len()).all(|n| !given[..n].contains(&given[n]))
}

/// A duration, or what it is without the field. A text that is no duration is an error of CEL, and keeps no rule.
fn duration(value: &Value, field: &str, default: Duration) -> Option<Duration> {
    value.get(field).map_or(Some(default), |text| parse_duration(text.as_str()?).ok())
}

/// True without the field.
fn within(value: &Value, field: &str, check: impl Fn(Duration) -> bool) -> bool {
    value.get(field).is_none() || duration(value, field, Duration::ZERO).is_some_and(check)
}

fn on_nodes_or_published(spec: &Value) -> bool {
    let alone = spec.pointer("/envoy/hostNetwork") == Some(&Value::Bool(false));
    let type_ = spec.pointer("/publishing/type").and_then(Value::as_str).unwrap_or("HostNetwork");
    !alone || type_ != "HostNetwork"
}

fn delays_within_grace(shutdown: &Value) -> bool {
    let delay = |field| duration(shutdown, field, Duration::ZERO);
    let delays = delay("drainDelay").zip(delay("checkDelay")).map(|(drain, check)| drain + check);
    delays
        .zip(duration(shutdown, "gracePeriod", Duration::from_mins(5)))
        .is_some_and(|(delays, grace)| delays < grace)
}

fn outlived_by_its_authority(certificates: &Value) -> bool {
    let leaf = duration(certificates, "lifetime", LIFETIME);
    within(certificates, "caLifetime", |ca| leaf.is_some_and(|leaf| ca >= leaf))
}

fn renewed_within_its_life(certificates: &Value) -> bool {
    let leaf = duration(certificates, "lifetime", LIFETIME);
    within(certificates, "renewBefore", |before| !before.is_zero() && leaf.is_some_and(|leaf| before < leaf))
}

/// Keys of labels or annotations: a word, optionally after a DNS name and a slash.
fn qualified_names(map: &Value) -> bool {
    let word = |text: &str, inner: fn(u8) -> bool, ends: fn(u8) -> bool| {
        let bytes = text.as_bytes();
        bytes.iter().all(|byte| inner(*byte))
            && bytes.first().is_some_and(|byte| ends(*byte))
            && bytes.last().is_some_and(|byte| ends(*byte))
    };
    let name = |text: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        text.len() <= 63 && word(text, inner, |byte| byte.is_ascii_alphanumeric())
    };
    let label = |text: &str| {
        let ends = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        word(text, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-', ends)
    };
    let key = |key: &String| {
        key.len() <= 317
            && match key.split_once('/') {
                Some((prefix, rest)) => prefix.split('.').all(label) && name(rest),
                None => name(key),
            }
    };
    map.as_object().is_none_or(|map| map.keys().all(key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// That each rule refuses what it should is shown by `crds/fixtures/reject`; here is what it must not refuse.
    #[test]
    fn what_keeps_a_rule_keeps_it() {
        for (check, value) in [
            (on_nodes_or_published as Check, json!({})),
            (on_nodes_or_published, json!({"envoy": {"hostNetwork": true}})),
            (
                on_nodes_or_published,
                json!({"envoy": {"hostNetwork": false}, "publishing": {"type": "ClusterIPService"}}),
            ),
            (delays_within_grace, json!({})),
            (delays_within_grace, json!({"drainDelay": "299s"})),
            (delays_within_grace, json!({"drainDelay": "6m", "checkDelay": "3m", "gracePeriod": "10m"})),
            (outlived_by_its_authority, json!({"lifetime": "9000h"})),
            (outlived_by_its_authority, json!({"lifetime": "2h", "caLifetime": "2h"})),
            (renewed_within_its_life, json!({"renewBefore": "8759h"})),
            (qualified_names, json!({"a": "", "A_b.c": "", "example.com/a": "", "a-b.c/d": ""})),
        ] {
            assert!(check(&value), "{value}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_seen() {
        for (check, value) in [
            (delays_within_grace as Check, json!({"drainDelay": "x"})),
            (outlived_by_its_authority, json!({"lifetime": "x", "caLifetime": "2h"})),
            (renewed_within_its_life, json!({"renewBefore": "0s"})),
            (qualified_names, json!({"": ""})),
            (qualified_names, json!({"/a": ""})),
            (qualified_names, json!({"a/": ""})),
            (qualified_names, json!({"a/b/c": ""})),
            (qualified_names, json!({"A.b/c": ""})),
            (qualified_names, json!({"-a": ""})),
        ] {
            assert!(!check(&value), "{value}");
        }
    }
}

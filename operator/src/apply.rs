//! Server-side apply, and only where something differs.
//!
//! A child is written when it is missing, when what was applied last was something else (a hash in its annotation
//! [`APPLIED`] tells), or when it no longer contains what was applied. Fields that are not part of the child belong to others and are
//! neither compared nor written: replicas under an autoscaler, node ports, what a cloud notes.

use kube::core::DynamicObject;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::child::{Child, ChildKind, untyped};
use crate::names::APPLIED;

/// Why a child has to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It does not exist.
    Missing,
    /// What should be applied is not what was applied last.
    Changed,
    /// Somebody changed what was applied: the path of the first such field.
    Drifted(String),
}

/// A child ready to be written: with the hash of all that it says.
pub fn stamped(child: &Child) -> DynamicObject {
    let mut object = child.object.clone();
    let mut digest = Sha256::new();
    feed(&mut digest, &untyped(&object));
    let mut hash = format!("{:x}", digest.finalize());
    hash.truncate(32);
    object.metadata.annotations.get_or_insert_default().insert(APPLIED.to_owned(), hash);
    object
}

/// Why a child, [`stamped`], has to be written over what is there; `None`: it is as it should be.
pub fn difference(
    kind: ChildKind,
    stamped: &DynamicObject,
    live: Option<&DynamicObject>,
) -> Option<Difference> {
    let Some(live) = live else { return Some(Difference::Missing) };
    let hash =
        |object: &DynamicObject| object.metadata.annotations.as_ref().and_then(|a| a.get(APPLIED)).cloned();
    let lists = match kind {
        ChildKind::ContourConfiguration | ChildKind::NetworkPolicy => Lists::Atomic,
        _ => Lists::Keyed,
    };
    let mut path = Vec::new();
    let kept = lists.contain(&untyped(stamped), &untyped(live), &mut path);
    match (hash(stamped) == hash(live), kept) {
        (true, true) => None,
        // Without an annotation: someone removed it, or made the object before us.
        (false, _) if hash(live).is_some() => Some(Difference::Changed),
        _ => Some(Difference::Drifted(path.join("."))),
    }
}

/// Feeds a value so that the order of fields does not matter and no two values look the same.
fn feed(digest: &mut Sha256, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            digest.update(b"{");
            for name in names {
                digest.update(Value::from(name.as_str()).to_string());
                feed(digest, &fields[name]);
            }
            digest.update(b"}");
        }
        Value::Array(items) => {
            digest.update(b"[");
            for item in items {
                feed(digest, item);
                digest.update(b",");
            }
            digest.update(b"]");
        }
        scalar => digest.update(scalar.to_string()),
    }
}

/// How the lists of a kind are merged by the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    /// Each list has one owner, but for those of the metadata.
    Atomic,
    /// As in the types of Kubernetes: see [`merge_keys`].
    Keyed,
}

impl Lists {
    /// Whether the live value says all that is wanted. If not, `path` is left at the first field that it does not say.
    fn contain(self, wanted: &Value, live: &Value, path: &mut Vec<String>) -> bool {
        match (wanted, live) {
            (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(name, wanted)| {
                path.push(name.clone());
                let kept = match live.get(name) {
                    Some(live) => self.contain(wanted, live, path),
                    // What says nothing is not stored.
                    None => is_empty(wanted) || is_zero(name, wanted),
                };
                if kept {
                    path.pop();
                }
                kept
            }),
            (Value::Array(wanted), Value::Array(live)) => self.contain_items(wanted, live, path),
            (Value::String(wanted), Value::String(live)) if is_quantity(path) => {
                wanted == live || nano(wanted).is_some_and(|amount| nano(live) == Some(amount))
            }
            _ => wanted == live,
        }
    }

    fn contain_items(self, wanted: &[Value], live: &[Value], path: &mut Vec<String>) -> bool {
        let keys = match self {
            Self::Keyed => merge_keys(path, wanted),
            Self::Atomic if path.first().is_some_and(|name| name == "metadata") => merge_keys(path, wanted),
            Self::Atomic => &[],
        };
        if !keys.is_empty() {
            // Items of others may stand beside ours.
            return wanted.iter().all(|wanted| {
                live.iter()
                    .find(|live| keys.iter().all(|key| same_key(key, wanted, live)))
                    .is_some_and(|live| self.contain(wanted, live, path))
            });
        }
        if path.last().is_some_and(|name| name == "finalizers") {
            return wanted.iter().all(|wanted| live.contains(wanted));
        }
        wanted.len() == live.len() && wanted.iter().zip(live).all(|(w, l)| self.contain(w, l, path))
    }
}

/// What the items of a list are told apart by, where the API server merges it (`x-kubernetes-list-map-keys` of the types in use
/// here); empty where it replaces the list as a whole.
fn merge_keys(path: &[String], items: &[Value]) -> &'static [&'static str] {
    match path.last().map(String::as_str) {
        Some(
            "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" | "claims"
            | "resourceClaims",
        ) => &["name"],
        Some("ports") if items.iter().any(|item| item.get("containerPort").is_some()) => {
            &["containerPort", "protocol"]
        }
        Some("ports") => &["port", "protocol"],
        Some("volumeMounts") => &["mountPath"],
        Some("volumeDevices") => &["devicePath"],
        Some("hostAliases") => &["ip"],
        Some("topologySpreadConstraints") => &["topologyKey", "whenUnsatisfiable"],
        Some("ownerReferences") => &["uid"],
        _ => &[],
    }
}

/// Whether two items have the same value under a key. The protocol of a port is TCP unless it says otherwise.
fn same_key(key: &str, one: &Value, other: &Value) -> bool {
    let tcp = Value::from("TCP");
    let of = |item: &Value| match item.get(key) {
        None if key == "protocol" => tcp.clone(),
        value => value.cloned().unwrap_or_default(),
    };
    of(one) == of(other)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Whether a field is one that Kubernetes does not store when it has its zero value. Of others, that they are gone means that somebody took them away.
fn is_zero(name: &str, value: &Value) -> bool {
    match value {
        Value::Bool(false) => [
            "hostIPC",
            "hostNetwork",
            "hostPID",
            "publishNotReadyAddresses",
            "readOnly",
            "stdin",
            "stdinOnce",
            "tty",
        ]
        .contains(&name),
        Value::Number(number) => {
            number.as_i64() == Some(0) && ["hostPort", "initialDelaySeconds", "nodePort"].contains(&name)
        }
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Whether the value at this path is an amount, which the API server writes in its own way: `1000m` becomes `1`.
fn is_quantity(path: &[String]) -> bool {
    match path {
        [.., group, _] if group == "limits" || group == "requests" => true,
        [.., name] => ["sizeLimit", "averageValue", "divisor"].contains(&name.as_str()),
        [] => false,
    }
}

/// An amount in units of 10⁻⁹, as in `resource.Quantity` of Kubernetes; `None` if it is none.
fn nano(text: &str) -> Option<i128> {
    const UNIT: i128 = 1_000_000_000;
    let end = text.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let scale = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => UNIT,
        "k" => UNIT * 1_000,
        "M" => UNIT * 1_000_000,
        "G" => UNIT * 1_000_000_000,
        "T" => UNIT * 1_000_000_000_000,
        "P" => UNIT * 1_000_000_000_000_000,
        "E" => UNIT * 1_000_000_000_000_000_000,
        "Ki" => UNIT << 10,
        "Mi" => UNIT << 20,
        "Gi" => UNIT << 30,
        "Ti" => UNIT << 40,
        "Pi" => UNIT << 50,
        "Ei" => UNIT << 60,
        exponent => {
            UNIT.checked_mul(10_i128.checked_pow(exponent.strip_prefix(['e', 'E'])?.parse().ok()?)?)?
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits.checked_mul(scale)? / divisor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn child(value: Value) -> Child {
        let object: DynamicObject = serde_json::from_value(value).unwrap();
        let kind = ChildKind::from_name(&object.types.as_ref().unwrap().kind).unwrap();
        Child { kind, object }
    }

    fn deployment() -> Child {
        child(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "contour", "namespace": "n", "labels": {"a": "b"}},
            "spec": {
                "selector": {"matchLabels": {"app": "contour"}},
                "template": {"spec": {
                    "automountServiceAccountToken": false,
                    "nodeSelector": {},
                    "tolerations": [{"key": "edge"}],
                    "containers": [{
                        "name": "contour", "image": "i", "args": ["serve"],
                        "ports": [{"name": "xds", "containerPort": 8001}],
                        "resources": {"requests": {"cpu": "1000m", "memory": "0.5Gi"}},
                    }],
                }},
            },
        }))
    }

    /// What the API server makes of it, and others beside us.
    fn stored() -> Value {
        let mut value = serde_json::to_value(stamped(&deployment())).unwrap();
        value["metadata"]["uid"] = json!("1");
        value["metadata"]["labels"]["theirs"] = json!("x");
        value["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("3");
        value["spec"]["replicas"] = json!(5);
        let pod = &mut value["spec"]["template"]["spec"];
        pod.as_object_mut().unwrap().shift_remove("nodeSelector");
        pod["dnsPolicy"] = json!("ClusterFirst");
        pod["containers"][0]["resources"]["requests"] = json!({"cpu": "1", "memory": "512Mi"});
        pod["containers"][0]["ports"][0]["protocol"] = json!("TCP");
        let sidecar = json!({"name": "injected", "image": "x"});
        pod["containers"].as_array_mut().unwrap().insert(0, sidecar);
        value["status"] = json!({"replicas": 5});
        value
    }

    fn differs(live: Value) -> Option<Difference> {
        let live: DynamicObject = serde_json::from_value(live).unwrap();
        difference(ChildKind::Deployment, &stamped(&deployment()), Some(&live))
    }

    #[test]
    fn what_others_add_and_the_server_defaults_is_no_difference() {
        assert_eq!(differs(stored()), None);
        let mut untyped = stored();
        untyped.as_object_mut().unwrap().shift_remove("kind");
        untyped.as_object_mut().unwrap().shift_remove("apiVersion");
        assert_eq!(differs(untyped), None);
        assert_eq!(
            difference(ChildKind::Deployment, &stamped(&deployment()), None),
            Some(Difference::Missing)
        );
    }

    #[test]
    fn what_kubernetes_does_not_store_is_no_difference() {
        let mut wanted = deployment();
        let pod = &mut wanted.object.data["spec"]["template"]["spec"];
        pod["hostNetwork"] = json!(false);
        pod["containers"][0]["tty"] = json!(false);
        pod["containers"][0]["env"] = json!([{"name": "A", "value": ""}]);
        let mut live = stored();
        live["metadata"]["annotations"][APPLIED] =
            json!(stamped(&wanted).metadata.annotations.unwrap()[APPLIED]);
        live["spec"]["template"]["spec"]["containers"][1]["env"] = json!([{"name": "A"}]);
        let live: DynamicObject = serde_json::from_value(live).unwrap();
        assert_eq!(difference(ChildKind::Deployment, &stamped(&wanted), Some(&live)), None);
    }

    #[test]
    fn whatever_was_applied_and_changed_is_found() {
        let pod = "/spec/template/spec";
        for (pointer, value, path) in [
            ("/metadata/labels/a", json!("c"), "metadata.labels.a"),
            (&format!("{pod}/automountServiceAccountToken"), json!(true), "automountServiceAccountToken"),
            (&format!("{pod}/tolerations"), json!([{"key": "edge"}, {"key": "more"}]), "tolerations"),
            (&format!("{pod}/containers/1/args"), json!(["serve", "--debug"]), "containers.args"),
            (&format!("{pod}/containers/1/name"), json!("renamed"), "containers"),
            (&format!("{pod}/containers/1/ports/0/name"), json!("y"), "containers.ports.name"),
            (&format!("{pod}/containers/1/resources/requests/cpu"), json!("2"), "resources.requests.cpu"),
        ] {
            let mut live = stored();
            *live.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
            match differs(live) {
                Some(Difference::Drifted(found)) => assert!(found.ends_with(path), "{found} for {pointer}"),
                other => panic!("{pointer}: {other:?}"),
            }
        }
        let mut removed = stored();
        removed["spec"]["template"]["spec"]
            .as_object_mut()
            .unwrap()
            .shift_remove("automountServiceAccountToken");
        assert!(matches!(differs(removed), Some(Difference::Drifted(_))));
    }

    #[test]
    fn another_hash_is_a_change_and_none_is_drift() {
        let mut live = stored();
        live["metadata"]["annotations"][APPLIED] = json!("before");
        assert_eq!(differs(live), Some(Difference::Changed));
        let mut live = stored();
        live["metadata"]["annotations"].as_object_mut().unwrap().shift_remove(APPLIED);
        assert!(matches!(differs(live), Some(Difference::Drifted(_))));
    }

    #[test]
    fn lists_of_a_custom_resource_are_atomic() {
        let wanted = child(json!({
            "apiVersion": "projectcontour.io/v1alpha1", "kind": "ContourConfiguration",
            "metadata": {"name": "c"}, "spec": {"env": [{"name": "a"}]},
        }));
        let mut live = stamped(&wanted);
        live.data["spec"]["env"] = json!([{"name": "a"}, {"name": "b"}]);
        let found = difference(ChildKind::ContourConfiguration, &stamped(&wanted), Some(&live));
        assert_eq!(found, Some(Difference::Drifted("spec.env".to_owned())));
    }

    #[test]
    fn a_hash_tells_contents_apart_and_not_their_order() {
        let hash = |spec: Value| {
            let made = child(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": spec}));
            stamped(&made).metadata.annotations.unwrap()[APPLIED].clone()
        };
        assert_eq!(hash(json!({"a": "1", "b": "2"})), hash(json!({"b": "2", "a": "1"})));
        let different = [
            json!({"a": ["1", "2"]}),
            json!({"a": ["12"]}),
            json!({"a": [["1"], "2"]}),
            json!({"a": "1", "2": ""}),
            json!({"a": 1}),
            json!({"a": "1"}),
        ];
        let hashes: std::collections::BTreeSet<_> = different.iter().cloned().map(hash).collect();
        assert_eq!(hashes.len(), different.len());
    }

    #[test]
    fn amounts_are_compared_by_value() {
        for (one, other) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            ("1Gi", "1024Mi"),
            ("1e3", "1k"),
            ("2.5M", "2500k"),
            ("-1", "-1000m"),
            ("1E", "1000P"),
        ] {
            assert!(nano(one).is_some() && nano(one) == nano(other), "{one} {other}");
        }
        assert_ne!(nano("1G"), nano("1Gi"));
        for bad in ["", "x", "1x", "1e999", "--1", "1.2.3", "1e"] {
            assert_eq!(nano(bad), None, "{bad}");
        }
    }
}

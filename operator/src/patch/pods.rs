//! What a patch of a pod template may not change: what other fields decide, and what the installation cannot serve without. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Fault, below};
use crate::build::Component;
use crate::names::OWN_PREFIX;

/// Labels that the operator sets itself.
const OWN_LABELS: [&str; 5] = [
    "app",
    "app.kubernetes.io/component",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
];

/// Fields of a pod that stay, each with the reason.
const FIXED: [(&str, &str); 15] = [
    ("/spec/activeDeadlineSeconds", "a pod that serves does not end by itself"),
    ("/spec/affinity", "spec.{}.placement decides"),
    ("/spec/automountServiceAccountToken", "Contour needs its token, and Envoy has none"),
    ("/spec/dnsPolicy", "Envoy finds Contour by the DNS of the cluster"),
    ("/spec/ephemeralContainers", "they belong to a pod that runs: use kubectl debug"),
    ("/spec/hostNetwork", "spec.envoy.hostNetwork decides, and Contour is never on the network of nodes"),
    ("/spec/nodeName", "the scheduler decides"),
    ("/spec/nodeSelector", "spec.{}.placement decides"),
    ("/spec/os", "images are for Linux"),
    ("/spec/restartPolicy", "what ends is started again"),
    ("/spec/schedulingGates", "nobody would lift them"),
    ("/spec/serviceAccount", "the operator makes the account"),
    ("/spec/serviceAccountName", "the operator makes the account"),
    ("/spec/subdomain", "it would take names of a Service"),
    ("/spec/workloadRef", "the operator makes the workload"),
];

/// Fields of the operator's own containers that stay, each with the reason.
const FIXED_OF_CONTAINERS: [(&str, &str); 12] = [
    ("/args", "fields of the ContourDeployment decide"),
    ("/command", "fields of the ContourDeployment decide"),
    ("/lifecycle/preStop", "Envoy is drained, and Contour serves on, before they end"),
    ("/readinessProbe/exec", "it is ready when it can serve"),
    ("/readinessProbe/grpc", "it is ready when it can serve"),
    ("/readinessProbe/httpGet", "it is ready when it can serve"),
    ("/readinessProbe/tcpSocket", "it is ready when it can serve"),
    ("/restartPolicy", "the agent runs for as long as Envoy"),
    ("/securityContext/runAsGroup", "all of the operator's containers of a pod run as one user"),
    ("/securityContext/runAsUser", "all of the operator's containers of a pod run as one user"),
    ("/startupProbe", "Envoy starts when there is someone to drain it"),
    ("/workingDir", "fields of the ContourDeployment decide"),
];

/// Lists of the operator's own containers whose items stay, each with what these are told apart by.
const FIXED_ITEMS: [(&str, &str, &str); 3] = [
    ("env", "name", "the operator needs this variable"),
    ("ports", "containerPort", "the operator needs this port"),
    ("volumeMounts", "mountPath", "the container needs its bootstrap, certificates and socket"),
];

/// Variables that `contour` reads its flags from.
const FLAGS: &str = "CONTOUR_";

/// Whether a label or, with the operator's prefix, an annotation is the operator's to set.
pub(crate) fn is_own_label(key: &str) -> bool {
    key.starts_with(OWN_PREFIX) || OWN_LABELS.contains(&key)
}

/// The containers of a pod, those that run before others included, each with the name of its list.
pub(crate) fn containers(template: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    ["initContainers", "containers"].into_iter().flat_map(|list| {
        template["spec"][list].as_array().into_iter().flatten().map(move |container| (list, container))
    })
}

/// What of a pod template was patched and has to stay.
pub(crate) fn pod_keeps(component: Component, plain: &Value, patched: &Value) -> Vec<Fault> {
    let mut faults = metadata(plain, patched);
    for (pointer, why) in FIXED {
        let why = why.replace("{}", component.as_str());
        faults.extend(same(plain, patched, pointer).err().map(|path| Fault::new(path, stays(&why))));
    }
    faults.extend(ending(component, plain, patched));
    faults.extend(user(plain, patched));
    for (list, container) in containers(plain) {
        faults.extend(own_container(component, list, container, patched));
    }
    faults.extend(foreign_ports(plain, patched));
    faults.extend(images(patched));
    let why = "the operator's containers need this volume";
    faults.extend(items("spec", "volumes", "name", why, &plain["spec"], &patched["spec"]));
    faults.sort();
    faults.dedup();
    faults
}

fn stays(why: &str) -> String {
    format!("cannot be patched: {why}")
}

/// Whether a field is as it was; if not, its path.
fn same(plain: &Value, patched: &Value, pointer: &str) -> Result<(), String> {
    let path = || pointer.trim_start_matches('/').replace('/', ".");
    if plain.pointer(pointer) == patched.pointer(pointer) { Ok(()) } else { Err(path()) }
}

/// Labels and annotations of the operator stay, and nothing but labels and annotations is given to pods.
pub(super) fn metadata(plain: &Value, patched: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().into_iter().flat_map(serde_json::Map::keys).cloned().collect()
    };
    let (old, new) = (&plain["metadata"], &patched["metadata"]);
    for name in names(old).union(&names(new)) {
        if name != "labels" && name != "annotations" {
            if old.get(name) != new.get(name) {
                faults.push(Fault::new(below("metadata", name), stays("only labels and annotations can")));
            }
            continue;
        }
        let (old, new) = (&old[name], &new[name]);
        let own = |key: &&String| key.starts_with(OWN_PREFIX) || (name == "labels" && is_own_label(key));
        let changed = |key: &&String| old.get(key.as_str()) != new.get(key.as_str());
        let (before, after) = (names(old), names(new));
        faults.extend(before.union(&after).filter(own).filter(changed).map(|key| {
            Fault::new(below(&below("metadata", name), key), stays("it is the operator's to set"))
        }));
    }
    faults
}

/// The agent gives up in time for Envoy to end, and Contour serves on for a moment.
fn ending(component: Component, plain: &Value, patched: &Value) -> Option<Fault> {
    let path = "spec.terminationGracePeriodSeconds";
    let of = |template: &Value| template["spec"]["terminationGracePeriodSeconds"].as_i64();
    match (component, of(plain), of(patched)) {
        (_, before, after) if before == after => None,
        (Component::Envoy, ..) => Some(Fault::new(path, stays("spec.envoy.shutdown.gracePeriod decides"))),
        (Component::Contour, _, Some(10..)) => None,
        (Component::Contour, ..) => {
            Some(Fault::new(path, "has to be 10 at least, as Contour serves on before it ends"))
        }
    }
}

/// What low ports need stays.
fn user(plain: &Value, patched: &Value) -> Vec<Fault> {
    let context = |template: &Value, field: &str| template["spec"]["securityContext"][field].clone();
    let mut faults = Vec::new();
    if context(plain, "runAsUser") == 0 && context(patched, "runAsUser") != 0 {
        let why = "ports below 1024 of nodes need root; choose others in spec.envoy.ports";
        faults.push(Fault::new("spec.securityContext.runAsUser", stays(why)));
    }
    let (old, new) = (context(plain, "sysctls"), context(patched, "sysctls"));
    let kept = |sysctl| new.as_array().is_some_and(|new| new.contains(sysctl));
    if !old.as_array().into_iter().flatten().all(kept) {
        faults.push(Fault::new(
            "spec.securityContext.sysctls",
            stays("ports below 1024 need those that are there"),
        ));
    }
    faults
}

fn own_container(component: Component, list: &str, plain: &Value, patched: &Value) -> Vec<Fault> {
    let name = plain["name"].as_str().unwrap_or_default();
    let path = format!("spec.{list}[name={name}]");
    let found =
        patched["spec"][list].as_array().into_iter().flatten().find(|one| one["name"] == plain["name"]);
    let Some(new) = found else { return vec![Fault::new(path, "cannot be removed: nothing would serve")] };
    let mut faults = Vec::new();
    let field = match (component, list) {
        (Component::Contour, _) => "spec.contour.image",
        (Component::Envoy, "initContainers") => "spec.envoy.agentImage",
        (Component::Envoy, _) => "spec.envoy.image",
    };
    if new["image"] != plain["image"] {
        faults.push(Fault::new(below(&path, "image"), stays(&format!("{field} decides"))));
    }
    for (pointer, why) in FIXED_OF_CONTAINERS {
        faults.extend(
            same(plain, new, pointer).err().map(|inner| Fault::new(format!("{path}.{inner}"), stays(why))),
        );
    }
    for (list, key, why) in FIXED_ITEMS {
        faults.extend(items(&path, list, key, why, plain, new));
    }
    let capabilities = |one: &Value| one["securityContext"]["capabilities"]["add"].clone();
    let (old, more) = (capabilities(plain), capabilities(new));
    let kept = |capability| more.as_array().is_some_and(|more| more.contains(capability));
    if !old.as_array().into_iter().flatten().all(kept) {
        let path = format!("{path}.securityContext.capabilities.add");
        faults.push(Fault::new(path, stays("ports below 1024 of nodes need NET_BIND_SERVICE")));
    }
    faults.extend(hidden(&path, plain, new));
    faults.extend(flags(&path, plain, new));
    faults
}

/// Items of a list that were there stay as they are, and are not doubled.
fn items(path: &str, list: &str, key: &str, why: &str, plain: &Value, patched: &Value) -> Vec<Fault> {
    let all = |value: &Value| value[list].as_array().cloned().unwrap_or_default();
    let new = all(patched);
    let is_changed = |item: &&Value| {
        let same: Vec<_> = new.iter().filter(|one| one[key] == item[key]).collect();
        same.is_empty() || same.iter().any(|one| one != item)
    };
    let old = all(plain);
    let changed = old.iter().filter(is_changed);
    changed
        .map(|item| {
            let id = item[key].as_str().map_or_else(|| item[key].to_string(), str::to_owned);
            Fault::new(format!("{path}.{list}[{key}={id}]"), stays(why))
        })
        .collect()
}

/// Nothing is mounted over, into or around what the operator's containers read.
fn hidden(path: &str, plain: &Value, patched: &Value) -> Vec<Fault> {
    let mounts = |one: &Value| one["volumeMounts"].as_array().cloned().unwrap_or_default();
    let place =
        |mount: &Value| format!("{}/", mount["mountPath"].as_str().unwrap_or_default().trim_end_matches('/'));
    let own: Vec<String> = mounts(plain).iter().map(place).collect();
    let new = mounts(patched).into_iter().filter(|mount| !mounts(plain).contains(mount));
    let hides = |mount: &Value| {
        let place = place(mount);
        own.iter().any(|own| own.starts_with(&place) || place.starts_with(own))
    };
    new.filter(hides)
        .map(|mount| {
            let at = mount["mountPath"].as_str().unwrap_or_default();
            Fault::new(
                format!("{path}.volumeMounts[mountPath={at}]"),
                "is the place of another volume; use another path",
            )
        })
        .collect()
}

/// Flags are not given by variables either.
fn flags(path: &str, plain: &Value, patched: &Value) -> Vec<Fault> {
    let names = |one: &Value| -> Vec<String> {
        let all = one["env"].as_array().into_iter().flatten();
        all.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
    };
    let own = names(plain);
    let more = names(patched).into_iter().filter(|name| name.starts_with(FLAGS) && !own.contains(name));
    more.map(|name| {
        Fault::new(format!("{path}.env[name={name}]"), stays("fields of the ContourDeployment decide"))
    })
    .collect()
}

/// Probes and Services find ports by name, and nobody else can listen on the same.
fn foreign_ports(plain: &Value, patched: &Value) -> Vec<Fault> {
    let ports = |template: &Value| -> Vec<(String, Value)> {
        let each = |(list, one): (&str, &Value)| {
            let path = format!("spec.{list}[name={}].ports", one["name"].as_str().unwrap_or_default());
            let ports = one["ports"].as_array().cloned().unwrap_or_default();
            ports.into_iter().map(move |port| (path.clone(), port)).collect::<Vec<_>>()
        };
        containers(template).flat_map(each).collect()
    };
    let own = ports(plain);
    let taken = |port: &Value| {
        own.iter()
            .any(|(_, own)| own["name"] == port["name"] || own["containerPort"] == port["containerPort"])
    };
    let more = ports(patched).into_iter().filter(|one| !own.contains(one));
    more.filter(|(_, port)| taken(port))
        .map(|(path, port)| {
            let path = format!("{path}[containerPort={}]", port["containerPort"]);
            Fault::new(path, "has the name or the number of a port that the operator needs; use others")
        })
        .collect()
}

/// A template whose pods could not be made at all.
fn images(patched: &Value) -> Vec<Fault> {
    let without = containers(patched).filter(|(_, one)| one["image"].as_str().is_none_or(str::is_empty));
    without
        .map(|(list, one)| {
            let name = one["name"].as_str().unwrap_or_default();
            Fault::new(format!("spec.{list}[name={name}].image"), "has to be given")
        })
        .collect()
}

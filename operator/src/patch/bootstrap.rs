//! What a patch of Envoy's bootstrap may change: a list of fields, and in these not what Envoy reaches the controller by. Pure.

use serde_json::Value;

use super::{Fault, below};

/// The fields that can be patched. The others say whom Envoy obeys, where it listens and what it runs.
const OPEN: [&str; 15] = [
    "application_log_config",
    "cluster_manager",
    "deferred_stat_options",
    "enable_dispatcher_stats",
    "grpc_async_client_manager_config",
    "inline_headers",
    "layered_runtime",
    "memory_allocator_manager",
    "overload_manager",
    "static_resources",
    "stats_config",
    "stats_flush_interval",
    "stats_sinks",
    "typed_dns_resolver_config",
    "watchdogs",
];

/// Lists whose items that are there stay, each with the reason.
const FIXED: [(&str, &str); 4] = [
    ("/static_resources/clusters", "Envoy reaches the controller and its administration by it"),
    ("/layered_runtime/layers", "the controller tells Envoy settings by it"),
    ("/overload_manager/resource_monitors", "spec.envoy.overload decides"),
    ("/overload_manager/actions", "spec.envoy.overload decides"),
];

/// Extensions that run code of a user.
const CODE: [&str; 4] = ["dynamic_modules", "golang", "lua", "wasm"];

/// What of the bootstrap was patched and has to stay.
pub(crate) fn bootstrap_keeps(plain: &Value, patched: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let names = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flat_map(serde_json::Map::keys).cloned().collect()
    };
    for name in names(plain).into_iter().chain(names(patched)) {
        if plain.get(&name) != patched.get(&name) && !OPEN.contains(&name.as_str()) {
            let message = format!("cannot be patched; what can is {}", OPEN.join(", "));
            faults.push(Fault::new(name, message));
        }
    }
    for name in names(&patched["static_resources"]) {
        if name != "clusters" && name != "secrets" {
            let path = below("static_resources", &name);
            faults.push(Fault::new(path, "cannot be patched; listeners come from the controller"));
        }
    }
    for (pointer, why) in FIXED {
        let items =
            |value: &Value| value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        let (old, new) = (items(plain), items(patched));
        for item in old {
            let same: Vec<_> = new.iter().filter(|one| one["name"] == item["name"]).collect();
            if same != [&item] {
                let path = pointer.trim_start_matches('/').replace('/', ".");
                let name = item["name"].as_str().unwrap_or_default();
                faults.push(Fault::new(format!("{path}[name={name}]"), format!("cannot be patched: {why}")));
            }
        }
    }
    layers(plain, patched, &mut faults);
    code("", patched, &mut faults);
    faults.sort();
    faults.dedup();
    faults
}

/// Later layers win: those of the controller and the administration are the last ones.
fn layers(plain: &Value, patched: &Value, faults: &mut Vec<Fault>) {
    let items = |value: &Value| value["layered_runtime"]["layers"].as_array().cloned().unwrap_or_default();
    if !items(patched).ends_with(&items(plain)) {
        let message = "has to end with the layers of the controller and of the administration, which win";
        faults.push(Fault::new("layered_runtime.layers", message));
    }
}

/// Nothing runs that is not in the image.
fn code(path: &str, value: &Value, faults: &mut Vec<Fault>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                code(&below(path, name), value, faults);
            }
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| code(&super::item(path, index), value, faults));
        }
        Value::String(text) if text.contains("envoy.") => {
            let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            if words.any(|word| CODE.contains(&word)) {
                faults.push(Fault::new(path, "runs code, which only images do here"));
            }
        }
        _ => {}
    }
}

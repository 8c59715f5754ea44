//! Annotations whose values cannot be used, and what is done instead. They have no schema that would tell.

use std::collections::{BTreeMap, BTreeSet};

use contour_objects::{Ingress, Service};

use crate::duration::parse_timeout;

/// What comes before the name of an annotation of ours.
const PREFIX: &str = "projectcontour.io/";

/// What Envoy takes as a condition of retries.
const RETRY_CONDITIONS: [&str; 15] = [
    "5xx",
    "cancelled",
    "connect-failure",
    "deadline-exceeded",
    "envoy-ratelimited",
    "gateway-error",
    "http3-post-connect-failure",
    "internal",
    "refused-stream",
    "reset",
    "reset-before-request",
    "resource-exhausted",
    "retriable-4xx",
    "retriable-headers",
    "retriable-status-codes",
];

/// The limits of circuit breakers, each an annotation of a Service.
const LIMITS: [&str; 5] =
    ["max-connections", "max-pending-requests", "max-requests", "max-retries", "per-host-max-connections"];

/// The longest piece of a value that is told.
const LONGEST_SHOWN: usize = 40;

/// What is wrong with the annotations of an Ingress.
pub(crate) fn of_ingress(ingress: &Ingress) -> Vec<String> {
    let mut told = Vec::new();
    let retries = ingress.annotations.get("projectcontour.io/retry-on").is_some_and(|on| !on.is_empty());
    for (key, value) in &ingress.annotations {
        let wrong = match key.strip_prefix(PREFIX) {
            // These two have other prefixes.
            None => switch(value),
            Some("num-retries" | "per-try-timeout") if !retries => {
                Err("it has no effect without projectcontour.io/retry-on".to_owned())
            }
            Some("num-retries") => count(value),
            Some("response-timeout" | "request-timeout" | "per-try-timeout") => timeout(value),
            Some("retry-on") => conditions(value),
            Some("websocket-routes") => routes(ingress, value),
            Some("tls-minimum-protocol-version" | "tls-maximum-protocol-version") => version(value),
            Some("ingress.class" | "tls-cert-namespace") => Ok(()),
            Some(_) => Err("no Ingress has this annotation".to_owned()),
        };
        told.extend(wrong.err().map(|why| format!("annotation {key}: {why}")));
    }
    told
}

/// What is wrong with the annotations of a Service.
pub(crate) fn of_service(service: &Service) -> Vec<String> {
    let mut told = Vec::new();
    for (key, value) in &service.annotations {
        let name = key.strip_prefix(PREFIX).unwrap_or(key);
        let wrong = match name.strip_prefix("upstream-protocol.") {
            Some("h2" | "h2c" | "tls") => ports(service, value),
            _ if LIMITS.contains(&name) => match limit(value) {
                Some(_) => Ok(()),
                None => {
                    Err(format!("{} is not a number from 1 to {}; it has no effect", shown(value), u32::MAX))
                }
            },
            // Others may have annotations of their own on Services that are not only ours.
            _ => Ok(()),
        };
        told.extend(wrong.err().map(|why| format!("Service {}: annotation {key}: {why}", service.name)));
    }
    told
}

/// The limit of a circuit breaker that an annotation sets, if it does.
pub(crate) fn limit(value: &str) -> Option<u32> {
    value.trim().parse().ok().filter(|limit| *limit > 0)
}

/// The limit of this name.
pub(crate) fn limit_of(annotations: &BTreeMap<String, String>, name: &str) -> Option<u32> {
    annotations.get(&format!("{PREFIX}{name}")).and_then(|value| limit(value))
}

/// The number of retries that an annotation sets, if it does: −1 for none.
pub(crate) fn retries(value: &str) -> Option<i64> {
    value.trim().parse().ok().filter(|count| *count >= -1)
}

fn switch(value: &str) -> Result<(), String> {
    if ["true", "false", ""].contains(&value) {
        return Ok(());
    }
    Err(format!("{} is neither \"true\" nor \"false\", and has no effect", shown(value)))
}

fn count(value: &str) -> Result<(), String> {
    retries(value).map(drop).ok_or_else(|| {
        format!("{} is not a number of retries, from -1 for none; there is one retry", shown(value))
    })
}

fn timeout(value: &str) -> Result<(), String> {
    parse_timeout(Some(value)).map(drop).map_err(|why| format!("{why}; Envoy's default is used"))
}

fn conditions(value: &str) -> Result<(), String> {
    unknown(value, &RETRY_CONDITIONS.into(), "no condition that Envoy retries on")
}

fn routes(ingress: &Ingress, value: &str) -> Result<(), String> {
    let paths = ingress.spec.rules.iter().flatten().filter_map(|rule| rule.http.as_ref());
    let paths = paths.flat_map(|http| &http.paths).map(|path| path.path.as_deref().unwrap_or_default());
    let paths = paths.map(|path| if path.is_empty() { "/" } else { path });
    let default = ingress.spec.default_backend.iter().map(|_| "/");
    unknown(
        value,
        &paths.chain(default).collect(),
        "no path of this Ingress; paths are written as in its rules",
    )
}

fn version(value: &str) -> Result<(), String> {
    if ["1.2", "1.3", ""].contains(&value) {
        return Ok(());
    }
    Err(format!("{} is neither \"1.2\" nor \"1.3\", and has no effect", shown(value)))
}

fn ports(service: &Service, value: &str) -> Result<(), String> {
    let numbers: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
    let names = service.ports.iter().filter_map(|port| port.name.as_deref());
    unknown(
        value,
        &names.chain(numbers.iter().map(String::as_str)).collect(),
        "no port of the Service, by name or number",
    )
}

/// The first item of a comma list that is not known.
fn unknown(list: &str, known: &BTreeSet<&str>, what: &str) -> Result<(), String> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    match items.into_iter().find(|item| !known.contains(item)) {
        Some(item) => Err(format!("{} is {what}", shown(item))),
        None => Ok(()),
    }
}

/// A value as it is told: quoted, without control characters, and not longer than a line.
fn shown(value: &str) -> String {
    let mut shown: String = value.chars().take(LONGEST_SHOWN).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

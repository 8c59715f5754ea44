//! What makes generated HTTPProxies hang together, so that most of them serve: how often a field is set, and rules that no schema tells.

use proptest::prelude::*;
use serde_json::{Value, json};

/// How often an optional field is set.
pub(crate) fn share(place: &str) -> f64 {
    let field = place.rsplit('.').next().unwrap_or_default();
    let condition = place.contains("conditions[]");
    match field {
        "routes" | "conditions" | "services" | "delegations" => 0.9,
        "secretName" => 0.95,
        "prefix" if condition && !place.contains("queryParameter") => 0.6,
        "header" | "queryParameter" | "exact" if condition => 0.2,
        "replacePrefix" | "set" | "strategy" => 0.8,
        "virtualhost" => 1.0,
        "tls" => 0.4,
        "tcpproxy" => 0.08,
        // Not supported yet, and some of them close their host or route.
        "authPolicy"
        | "authorization"
        | "jwtProviders"
        | "jwtVerificationPolicy"
        | "rateLimitPolicy"
        | "ipAllowPolicy"
        | "ipDenyPolicy"
        | "clientValidation" => 0.004,
        "ingressClassName"
        | "passthrough"
        | "enableFallbackCertificate"
        | "mirror"
        | "cookieRewritePolicies"
        | "slowStartPolicy" => 0.03,
        "requestRedirectPolicy" | "directResponsePolicy" => 0.15,
        _ if place.matches('.').count() <= 2 => 0.12,
        _ => 0.25,
    }
}

/// Sets right, nearly always, what makes an object invalid as a whole.
pub(crate) fn mended(place: &str, value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let mend: fn(&mut Value, u8) = match place.rsplit('.').next().unwrap_or_default() {
        "spec" => whole,
        "routes[]" => one_action,
        "conditions" => one_path,
        "queryParameter" | "header" => one_question,
        "expectedStatuses[]" => a_range,
        "validation" => first_name,
        _ => return value,
    };
    let luck = 0..40_u8;
    (value, luck)
        .prop_map(move |(mut value, luck)| {
            mend(&mut value, luck);
            value
        })
        .boxed()
}

const ACTIONS: [&str; 3] = ["requestRedirectPolicy", "directResponsePolicy", "services"];

/// TLS with a certificate or passed through, and streams only over TLS.
fn whole(spec: &mut Value, luck: u8) {
    let empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    if luck > 0 && empty(&spec["routes"]) && empty(&spec["includes"]) && spec.get("tcpproxy").is_none() {
        spec["routes"] = json!([{"services": [{"name": "api", "port": 8080}]}]);
    }
    if spec["tcpproxy"].get("healthCheckPolicy").is_some() {
        on_loopback(&mut spec["tcpproxy"]);
    }
    let streams = spec.get("tcpproxy").is_some();
    if luck == 0 {
        return;
    }
    if streams {
        one_destination(&mut spec["tcpproxy"]);
    }
    let Some(host) = spec["virtualhost"].as_object_mut() else { return };
    if streams {
        host.entry("tls").or_insert_with(|| json!({"secretName": "cert"}));
    }
    let Some(tls) = host.get_mut("tls").and_then(Value::as_object_mut) else { return };
    if tls.get("passthrough") == Some(&json!(true)) {
        tls.remove("secretName");
        tls.remove("enableFallbackCertificate");
        if !streams {
            spec["tcpproxy"] = json!({"services": [{"name": "web", "port": 443}]});
        }
    } else {
        tls.entry("secretName").or_insert_with(|| "cert2".into());
    }
}

/// Services, or what another object has.
fn one_destination(stream: &mut Value) {
    let Some(fields) = stream.as_object_mut() else { return };
    let services = fields.get("services").is_some_and(|services| *services != json!([]));
    if services {
        fields.remove("include");
        fields.remove("includes");
    } else if !fields.contains_key("include") && !fields.contains_key("includes") {
        fields.insert("services".to_owned(), json!([{"name": "web", "port": 80}]));
    }
}

/// Whether a field names another object, and so is to be right more often than others.
pub(crate) fn refers(place: &str) -> bool {
    let field = place.rsplit('.').next().unwrap_or_default();
    matches!(field, "namespace" | "secretName" | "caSecret" | "port" | "healthPort")
        || (field == "name" && !place.contains("conditions") && !place.contains("Policy"))
}

/// Exactly one action; and health checks go to loopback, as all that a test sends.
fn one_action(route: &mut Value, luck: u8) {
    let Some(fields) = route.as_object_mut() else { return };
    if luck > 0 {
        let is_set = |action: &&str| fields.get(*action).is_some_and(|value| *value != json!([]));
        let chosen = ACTIONS.into_iter().find(is_set).unwrap_or("services");
        for action in ACTIONS.into_iter().filter(|action| *action != chosen) {
            fields.remove(action);
        }
        if chosen == "services" {
            fields.entry("services").or_insert_with(|| json!([{"name": "web", "port": 80}]));
        }
        if fields.get("services") == Some(&json!([])) {
            fields.insert("services".to_owned(), json!([{"name": "api", "port": 443}]));
        }
    }
    if fields.contains_key("healthCheckPolicy") {
        on_loopback(route);
    }
}

/// Lets all services be of those whose endpoints are on loopback.
pub(crate) fn on_loopback(parent: &mut Value) {
    for service in parent["services"].as_array_mut().into_iter().flatten() {
        if service["name"] != "api" {
            service["name"] = "web".into();
        }
    }
}

fn one_path(conditions: &mut Value, luck: u8) {
    let mut paths = 0;
    for condition in conditions.as_array_mut().into_iter().flatten() {
        let Some(fields) = condition.as_object_mut() else { continue };
        for field in ["prefix", "exact", "regex"] {
            paths += usize::from(fields.contains_key(field));
            if luck > 0 && paths > 1 {
                fields.remove(field);
            }
        }
    }
}

/// One question about a header or a query parameter.
fn one_question(condition: &mut Value, luck: u8) {
    let Some(fields) = condition.as_object_mut() else { return };
    if luck == 0 {
        return;
    }
    let questions =
        ["contains", "notcontains", "exact", "notexact", "prefix", "suffix", "regex", "notpresent"];
    let mut asked = questions.into_iter().filter(|question| fields.contains_key(*question));
    let chosen = asked.next();
    for question in questions.into_iter().filter(|question| Some(*question) != chosen) {
        fields.remove(question);
    }
    fields.remove("present");
    if chosen.is_none() {
        fields.insert("present".to_owned(), true.into());
    }
}

fn a_range(range: &mut Value, luck: u8) {
    let (start, end) = (range["start"].as_i64(), range["end"].as_i64());
    if luck > 0 && start >= end {
        range["start"] = 200.into();
        range["end"] = 201.into();
    }
}

/// A rule of the schema.
fn first_name(validation: &mut Value, _: u8) {
    let name = validation["subjectName"].clone();
    if let Some(names) = validation["subjectNames"].as_array_mut() {
        names[0] = name;
    }
}

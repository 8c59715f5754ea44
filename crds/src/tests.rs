//! Properties of the types that no single module can show.

use crate::httpproxy::{MatchCondition, Route, Service};
use crate::{ContourDeployment, ExtensionService, HTTPProxy, HTTPProxySpec, all_crds, schema_for};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn read<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("the object is valid")
}

fn write(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("the object can be written")
}

/// Thousands of these are held in memory: a new field that is rarely used has to be boxed.
#[test]
fn objects_stay_small() {
    assert!(size_of::<HTTPProxySpec>() <= 96, "HTTPProxySpec has {} bytes", size_of::<HTTPProxySpec>());
    assert!(size_of::<Route>() <= 256, "Route has {} bytes", size_of::<Route>());
    assert!(size_of::<Service>() <= 112, "Service has {} bytes", size_of::<Service>());
    assert!(size_of::<MatchCondition>() <= 88, "MatchCondition has {} bytes", size_of::<MatchCondition>());
}

#[test]
fn an_empty_text_is_not_given() {
    let proxy: HTTPProxy = read(json!({
        "metadata": {},
        "spec": {
            "ingressClassName": "",
            "virtualhost": { "fqdn": "a.example", "tls": { "secretName": "" } },
            "routes": [{ "conditions": [{ "prefix": "", "header": { "name": "h", "exact": "" } }] }]
        }
    }));
    assert_eq!(proxy.spec.ingress_class_name, None);
    let host = proxy.spec.virtualhost.expect("given");
    assert_eq!(host.tls.expect("given").secret_name, None);
    let condition = &proxy.spec.routes[0].conditions[0];
    assert_eq!(condition.prefix, None);
    assert_eq!(condition.header.as_ref().expect("given").exact, None);
}

#[test]
fn what_is_unset_is_not_written() {
    let minimal = json!({
        "apiVersion": "projectcontour.io/v1",
        "kind": "HTTPProxy",
        "metadata": { "name": "a" },
        "spec": {
            "virtualhost": { "fqdn": "a.example" },
            "routes": [{ "services": [{ "name": "s", "port": 80 }] }]
        }
    });
    assert_eq!(write(&read::<HTTPProxy>(minimal.clone())), minimal);
}

#[test]
fn a_missing_spec_of_an_extension_service_is_an_empty_one() {
    let service: ExtensionService = read(json!({ "metadata": { "name": "a" } }));
    assert_eq!(service.spec.services, []);
}

#[test]
fn the_spec_of_an_extension_service_is_read_and_written() {
    let given = json!({
        "apiVersion": "projectcontour.io/v1alpha1",
        "kind": "ExtensionService",
        "metadata": { "name": "a" },
        "spec": { "services": [{ "name": "s", "port": 80 }], "protocol": "h2c" }
    });
    assert_eq!(write(&read::<ExtensionService>(given.clone())), given);
}

#[test]
fn a_contour_deployment_needs_nothing() {
    let deployment: ContourDeployment = read(json!({ "metadata": { "name": "a" }, "spec": {} }));
    let ports = deployment.spec.envoy.ports;
    assert_eq!((ports.http, ports.https, ports.metrics, ports.admin), (None, None, 8002, 9001));
}

#[test]
fn defaults_of_the_schema_hold_without_an_api_server() {
    let proxy: HTTPProxy = read(json!({
        "metadata": {},
        "spec": { "routes": [{
            "retryPolicy": {}, "requestRedirectPolicy": {}, "internalRedirectPolicy": {},
            "services": [{ "name": "s", "port": 80, "slowStartPolicy": { "window": "10s" } }]
        }] }
    }));
    let route = &proxy.spec.routes[0];
    let slow_start = route.services[0].slow_start_policy.as_ref().expect("given");
    assert_eq!(route.retry_policy.as_ref().expect("given").count, 1);
    assert_eq!(route.request_redirect_policy.as_ref().expect("given").status_code, 302);
    assert_eq!((slow_start.aggression.as_str(), slow_start.min_weight_percent), ("1.0", 10));
}

/// Nothing in a schema may be beyond what Kubernetes calls structural.
#[test]
fn schemas_are_structural() {
    for crd in all_crds() {
        let kind = crd.spec.names.kind;
        assert_structural(&kind, &schema_for(&kind).expect("every kind has a schema"));
    }
}

fn assert_structural(path: &str, schema: &Value) {
    let schema = schema.as_object().unwrap_or_else(|| panic!("{path} has no schema"));
    let either = schema.get("x-kubernetes-int-or-string") == Some(&json!(true));
    assert!(either || schema.get("type").is_some_and(Value::is_string), "{path} has not one type");
    for keyword in ["$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "nullable", "const", "title"] {
        assert!(!schema.contains_key(keyword), "{path} has {keyword}");
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        assert_structural(&format!("{path}.{name}"), property);
        assert!(
            property.get("description").is_some() || name == "metadata",
            "{path}.{name} has no description"
        );
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(keyword) {
            assert_structural(&format!("{path}.{keyword}"), inner);
        }
    }
}

#[test]
fn an_unknown_kind_has_no_schema() {
    assert_eq!(schema_for("Ingress"), None);
}

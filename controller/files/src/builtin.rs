//! What the API server asks of its own kinds, as far as it matters here: the schema of the API with the bounds that its
//! validation adds, and two rules no schema can tell.

use std::net::{Ipv4Addr, Ipv6Addr};

use contour_crds::patterns::FQDN;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::schema::{Schema, Step, Violation};

/// The schema of a type of the Kubernetes API, bounded as the API server bounds it.
pub(crate) fn schema_of<T: JsonSchema>(kind: &str) -> Schema {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    for (_, path, keywords) in bounds().into_iter().filter(|(bounded, ..)| *bounded == kind) {
        let place = field_mut(&mut schema, path).and_then(Value::as_object_mut);
        let place =
            place.expect("every bound is on a field of the API, which a test checks by reading the table");
        place.extend(keywords.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
    }
    if kind == "EndpointSlice" {
        // The API server writes `endpoints: null` where there are none, and takes it.
        schema["required"] = json!(["addressType"]);
    }
    serde_json::from_value(schema).expect("the schemas of the Kubernetes API are structural")
}

/// What the API server's validation adds to the schemas: kind, field, keywords.
fn bounds() -> Vec<(&'static str, &'static str, Value)> {
    let port = json!({"minimum": 1, "maximum": 65535});
    let host = json!({"pattern": format!("^$|{FQDN}")});
    vec![
        ("Service", "spec.type", json!({"enum": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]})),
        ("Service", "spec.ports[].port", port.clone()),
        ("Service", "spec.ports[].protocol", json!({"enum": ["TCP", "UDP", "SCTP"]})),
        ("Ingress", "spec.rules[].host", host),
        ("Ingress", "spec.rules[].http.paths[].path", json!({"pattern": "^$|^/"})),
        (
            "Ingress",
            "spec.rules[].http.paths[].pathType",
            json!({"enum": ["Exact", "Prefix", "ImplementationSpecific"]}),
        ),
        ("Ingress", "spec.rules[].http.paths[].backend.service.port.number", port.clone()),
        ("Ingress", "spec.defaultBackend.service.port.number", port.clone()),
        ("EndpointSlice", "addressType", json!({"enum": ["IPv4", "IPv6", "FQDN"]})),
        ("EndpointSlice", "endpoints[].addresses", json!({"minItems": 1, "maxItems": 100})),
        ("EndpointSlice", "ports[].port", port),
    ]
}

fn field_mut<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(schema, |place, step| match step.strip_suffix("[]") {
        Some(list) => place["properties"].get_mut(list)?.get_mut("items"),
        None => place["properties"].get_mut(step),
    })
}

/// Addresses of an EndpointSlice that are not of its type. Loopback addresses are for this machine, so they are fine here,
/// though a cluster refuses them.
pub(crate) fn slice_rules(slice: &Value) -> Vec<Violation> {
    let family = slice["addressType"].as_str().unwrap_or_default();
    let fits = |address: &str| match family {
        "IPv4" => address.parse::<Ipv4Addr>().is_ok(),
        "IPv6" => address.parse::<Ipv6Addr>().is_ok(),
        _ => true,
    };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten().enumerate();
    let addresses = endpoints.flat_map(|(e, endpoint)| {
        endpoint["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .map(move |(a, address)| (e, a, address))
    });
    let wrong = addresses.filter(|(.., address)| !address.as_str().is_some_and(fits));
    let violation = |(e, a, address): (usize, usize, &Value)| Violation {
        path: vec![Step::field("endpoints"), Step::Index(e), Step::field("addresses"), Step::Index(a)],
        message: format!("{address} is not an {family} address"),
        unknown: false,
    };
    wrong.map(violation).collect()
}

/// Ports of a Service need names to be told apart, and different ones.
pub(crate) fn port_names(service: &Value) -> Vec<Violation> {
    let Some(ports) = service["spec"]["ports"].as_array().filter(|ports| ports.len() > 1) else {
        return Vec::new();
    };
    let name = |index: usize| ports[index]["name"].as_str().unwrap_or_default();
    let violation = |index, message: &str| Violation {
        path: vec![Step::field("spec"), Step::field("ports"), Step::Index(index), Step::field("name")],
        message: message.to_owned(),
        unknown: false,
    };
    let problem = |index| match name(index) {
        "" => Some(violation(index, "is required, as the Service has more than one port")),
        own if (0..index).any(|earlier| name(earlier) == own) => {
            Some(violation(index, "is the name of an earlier port"))
        }
        _ => None,
    };
    (0..ports.len()).filter_map(problem).collect()
}

//! The kinds of Kubernetes' own, by hand: their schemas say little of what the API server takes.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::{pki, texts};

/// An object of this spec.
pub(crate) fn whole(api_version: &str, kind: &str, namespace: &str, name: &str, fields: &Value) -> Value {
    let mut object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace, "name": name}});
    for (field, value) in fields.as_object().into_iter().flatten() {
        match (field.as_str(), object[field].as_object_mut(), value.as_object()) {
            ("metadata", Some(metadata), Some(more)) => metadata.extend(more.clone()),
            _ => object[field] = value.clone(),
        }
    }
    object
}

fn text(usual: &[&str], odd: Vec<String>) -> BoxedStrategy<String> {
    let usual: Vec<String> = usual.iter().map(|&text| text.to_owned()).collect();
    prop_oneof![5 => select(usual), 2 => select(odd)].boxed()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// Annotations: each now and then.
fn annotations(of: Vec<(&'static str, BoxedStrategy<String>)>) -> BoxedStrategy<Value> {
    let each = of.into_iter().map(|(key, value)| {
        weighted(0.12, value.prop_map(move |value| (key.to_owned(), Value::from(value))))
    });
    let each: Vec<_> = each.collect();
    each.prop_map(|set| Value::from(set.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

fn counts() -> BoxedStrategy<String> {
    let odd = [
        "",
        "0",
        "-1",
        "ten",
        " 7 ",
        "1.5",
        "0x10",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "99999999999999999999",
        "+1",
        "\u{661}",
    ];
    text(&["1", "10", "1000"], strings(&odd))
}

/// A Service: of the usual ports, of odd ones, or a name elsewhere.
pub(crate) fn service(namespace: &'static str, name: &'static str) -> BoxedStrategy<Value> {
    let ports_of = |key| {
        (
            key,
            text(
                &["443", "https", "80,8080"],
                strings(&["", ",", "443,", " https , 80", "0", "-1", "http\0"]),
            ),
        )
    };
    let notes = annotations(vec![
        ("projectcontour.io/max-connections", counts()),
        ("projectcontour.io/max-pending-requests", counts()),
        ("projectcontour.io/max-requests", counts()),
        ("projectcontour.io/max-retries", counts()),
        ("projectcontour.io/per-host-max-connections", counts()),
        ports_of("projectcontour.io/upstream-protocol.tls"),
        ports_of("projectcontour.io/upstream-protocol.h2"),
        ports_of("projectcontour.io/upstream-protocol.h2c"),
    ]);
    let protocol =
        select(vec!["kubernetes.io/h2c", "https", "http", "HTTPS", "kubernetes.io/ws", "example.com/x", ""]);
    let protocols = vec(weighted(0.15, protocol), 3);
    let odd_ports = proptest::sample::subsequence(vec![80_u16, 443, 8080, 1, 81, 65535], 1..=4);
    let external = text(&["upstream.example.com", "www.example.org."], texts::hosts());
    (notes, protocols, odd_ports, external, any::<bool>())
        .prop_map(move |(notes, protocols, odd_ports, external, udp)| {
            let odd = name.starts_with('s');
            let numbers = if odd { odd_ports } else { vec![80, 443, 8080] };
            let named = |(index, number): (usize, u16)| {
                let mut port = json!({"port": number});
                if numbers.len() > 1 || name.len() > 3 {
                    port["name"] = format!("p{number}").into();
                }
                if let Some(Some(protocol)) = protocols.get(index) {
                    port["appProtocol"] = (*protocol).into();
                }
                if odd && udp && index == 0 {
                    port["protocol"] = "UDP".into();
                }
                port
            };
            let ports: Vec<Value> = numbers.iter().copied().enumerate().map(named).collect();
            let mut spec = json!({"ports": ports});
            if name == "ext" {
                spec["type"] = "ExternalName".into();
                spec["externalName"] = external.into();
            }
            whole(
                "v1",
                "Service",
                namespace,
                name,
                &json!({"metadata": {"annotations": notes}, "spec": spec}),
            )
        })
        .boxed()
}

/// An EndpointSlice. Only the Services that no health check goes to have addresses beyond loopback.
pub(crate) fn slice(namespace: &'static str, name: String, service: &'static str) -> BoxedStrategy<Value> {
    let loopback4 = ["127.66.0.1", "127.66.0.2", "127.66.255.254"];
    let odd4 = ["0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.2.1", "240.0.0.1", "10.0.0.1"];
    let loopback6 = ["::1", "::ffff:127.66.0.1"];
    let odd6 = [
        "::",
        "::ffff:192.0.2.1",
        "::192.0.2.1",
        "2001:db8::1",
        "2001:DB8:0:0:0:0:0:1",
        "fe80::1",
        "ff02::1",
        "64:ff9b::192.0.2.1",
        "100::",
    ];
    let wild = service.starts_with('s');
    let pick = |near: &[&'static str], far: &[&'static str]| {
        let all: Vec<&'static str> = near.iter().chain(far.iter().filter(|_| wild)).copied().collect();
        vec(vec(select(all), 1..3), 0..5).boxed()
    };
    let families = prop_oneof![
        4 => pick(&loopback4, &odd4).prop_map(|addresses| ("IPv4", addresses)),
        2 => pick(&loopback6, &odd6).prop_map(|addresses| ("IPv6", addresses)),
        1 => vec(vec(select(vec!["a.example.com", "localhost", "1.2.3.4", "b\u{fc}cher.example", ""]), 1..3), 0..3).prop_map(|addresses| ("FQDN", addresses)),
    ];
    let flag = || weighted(0.5, any::<bool>());
    let conditions = vec(weighted(0.7, (flag(), flag(), flag())), 5);
    let port = (
        weighted(0.8, select(vec!["p80", "p443", "p8080", "", "other"])),
        weighted(0.9, select(vec![1_u16, 9, 65535, 4242])),
        weighted(0.2, select(vec!["TCP", "UDP", "SCTP"])),
    );
    (families, conditions, vec(port, 0..4))
        .prop_map(move |((family, addresses), conditions, ports)| {
            let endpoints = addresses.into_iter().zip(conditions).map(|(addresses, conditions)| match conditions {
                Some((ready, serving, terminating)) => {
                    json!({"addresses": addresses, "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
                }
                None => json!({"addresses": addresses}),
            });
            let ports = ports.into_iter().map(|(name, port, protocol)| json!({"name": name, "port": port, "protocol": protocol}));
            let fields = json!({
                "metadata": {"labels": {"kubernetes.io/service-name": service}},
                "addressType": family,
                "endpoints": endpoints.collect::<Vec<_>>(),
                "ports": ports.collect::<Vec<_>>(),
            });
            whole("discovery.k8s.io/v1", "EndpointSlice", namespace, &name, &fields)
        })
        .boxed()
}

/// A Secret with a good certificate, a certificate of an odd kind, or something else.
pub(crate) fn secret(namespace: &'static str, name: &'static str) -> BoxedStrategy<Value> {
    let content = match name {
        "odd" => select(pki::odd()).boxed(),
        "ca" => select(pki::authorities()).boxed(),
        _ => select(pki::good()).boxed(),
    };
    content
        .prop_map(move |(kind, data)| {
            let data: Map<String, Value> =
                data.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
            whole("v1", "Secret", namespace, name, &json!({"type": kind, "stringData": data}))
        })
        .boxed()
}

/// An Ingress. `own` is a host that belongs to it.
pub(crate) fn ingress(
    namespace: &'static str,
    name: String,
    own: &str,
    shared: String,
) -> BoxedStrategy<Value> {
    let port = prop_oneof![
        5 => select(vec![80_i64, 443, 8080]).prop_map(|number| json!({"number": number})),
        2 => select(vec!["p80", "p443", "p8080"]).prop_map(|name| json!({"name": name})),
        1 => select(vec![json!({"number": 1}), json!({"number": 65535}), json!({"name": ""}), json!({}), json!({"name": "missing"})]),
    ];
    let service = select(vec!["web", "api", "web", "api", "s0", "s1", "ext", "missing", ""]);
    let backend = (service, port).prop_map(|(name, port)| json!({"service": {"name": name, "port": port}}));
    let backend = prop_oneof![30 => backend, 1 => Just(json!({"resource": {"kind": "Bucket", "name": "b", "apiGroup": "x.example"}}))].boxed();
    let expression = |path: &String| path.contains(['^', '+', '*', '[', ']', '%']);
    let mut path_texts = texts::paths();
    path_texts.retain(|path| {
        (path.is_empty() || path.starts_with('/')) && (texts::with("regexes") || !expression(path))
    });
    let path = (
        weighted(0.9, text(&["/", "/a", "/a/", "/b/c"], path_texts)),
        select(vec!["Exact", "Prefix", "ImplementationSpecific"]),
        backend.clone(),
    );
    let path =
        path.prop_map(|(path, kind, backend)| json!({"path": path, "pathType": kind, "backend": backend}));
    let fqdns: Vec<String> = texts::hosts().into_iter().filter(|host| super::world::is_fqdn(host)).collect();
    let host = prop_oneof![6 => Just(own.to_owned()), 1 => Just(format!("*.{own}")), 1 => Just(shared), 1 => select(fqdns), 1 => Just(String::new())].boxed();
    let rule = (weighted(0.95, host.clone()), weighted(0.95, vec(path, 1..4)));
    let rule = rule.prop_map(|(host, paths)| match paths {
        Some(paths) => json!({"host": host, "http": {"paths": paths}}),
        None => json!({"host": host}),
    });
    let secret = text(
        &["cert", "cert2", "cert", "odd"],
        strings(&["", "missing", "odd", "ca", "a/cert", "team-1/cert2", "/"]),
    );
    let tls = (vec(host, 0..3), weighted(0.95, secret))
        .prop_map(|(hosts, secret)| json!({"hosts": hosts, "secretName": secret}));
    (ingress_annotations(), vec(rule, 1..4), vec(tls, 0..3), weighted(0.03, backend))
        .prop_map(move |(notes, rules, tls, default)| {
            let mut spec = json!({"rules": rules, "tls": tls});
            if let Some(default) = default {
                spec["defaultBackend"] = default;
            }
            whole(
                "networking.k8s.io/v1",
                "Ingress",
                namespace,
                &name,
                &json!({"metadata": {"annotations": notes}, "spec": spec}),
            )
        })
        .boxed()
}

fn ingress_annotations() -> BoxedStrategy<Value> {
    let truth = || text(&["true", "false"], strings(&["", "True", "1", "yes", "\0"]));
    let timeout = || text(&["5s", "infinity"], texts::durations());
    let version = || text(&["1.2", "1.3"], strings(&["", "1.1", "2", "auto"]));
    let retry_on =
        ["5xx,reset", "retriable-status-codes", "bogus", "", ",", "5xx,,", " 5xx", "\0", "\n", "\u{e9}", "%"];
    annotations(vec![
        ("ingress.kubernetes.io/force-ssl-redirect", truth()),
        ("kubernetes.io/ingress.allow-http", truth()),
        ("projectcontour.io/websocket-routes", text(&["/", "/a,/b/c"], texts::paths())),
        ("projectcontour.io/response-timeout", timeout()),
        ("projectcontour.io/request-timeout", timeout()),
        ("projectcontour.io/retry-on", text(&["5xx"], [strings(&retry_on), texts::plain()].concat())),
        ("projectcontour.io/num-retries", counts()),
        ("projectcontour.io/per-try-timeout", timeout()),
        (
            "projectcontour.io/tls-cert-namespace",
            text(&["a", "team-1"], strings(&["", "missing", "/", "a/b"])),
        ),
        ("projectcontour.io/tls-minimum-protocol-version", version()),
        ("projectcontour.io/tls-maximum-protocol-version", version()),
    ])
}

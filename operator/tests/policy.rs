//! What policy allows and forbids: a table of what is asked for, by whom, under which rules.

use contour_crds::{ContourDeployment, PolicyRule};
use contour_operator::defaults::Defaults;
use contour_operator::policy::{Policy, built_in};
use contour_operator::problem::Problem;
use serde_json::{Value, json};

fn defaults() -> Defaults {
    Defaults {
        contour_image: "ghcr.io/us/contour:v1".to_owned(),
        envoy_image: "docker.io/envoyproxy/envoy:v1".to_owned(),
        agent_image: "ghcr.io/us/contour:v1".to_owned(),
        version: "1.0.0".to_owned(),
        namespace: "contour-operator".to_owned(),
    }
}

/// What of this spec is forbidden in namespace `team`, where namespace `friend` consents to be watched.
fn forbidden(rules: &[PolicyRule], exists: bool, spec: &Value) -> Vec<Problem> {
    let metadata = json!({"name": "edge", "namespace": "team"});
    let deployment: ContourDeployment =
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("it is one");
    let policy = Policy { name: "default", exists, rules };
    policy.forbids(&deployment, &defaults(), &|watched| watched == "friend")
}

/// What works under any policy for the namespace.
fn modest() -> Value {
    json!({"publishing": {"type": "ClusterIPService"}, "contour": {"watchNamespaces": ["team"]}})
}

fn over(mut under: Value, more: Value) -> Value {
    fn merge(under: &mut Value, more: Value) {
        match (under, more) {
            (Value::Object(under), Value::Object(more)) => {
                more.into_iter()
                    .for_each(|(key, value)| merge(under.entry(key).or_insert(Value::Null), value));
            }
            (under, more) => *under = more,
        }
    }
    merge(&mut under, more);
    under
}

/// A rule for all namespaces, with this in it.
fn rule(more: Value) -> PolicyRule {
    serde_json::from_value(over(json!({"name": "tenants", "namespaces": ["*"]}), more)).expect("it is one")
}

/// What is asked for beside what is modest; what the rule needs for it to be allowed; the field that is forbidden without.
fn cases() -> Vec<(Value, Value, &'static str)> {
    let image = |image: &str| json!({"contour": {"image": image}});
    let volume = |kind: &str, value: Value| json!({"envoy": {"extraVolumes": [{"name": "x", kind: value}]}});
    let watch = |list: Value| json!({"contour": {"watchNamespaces": list}});
    let host = json!({"publishing": {"type": "HostNetwork"}});
    vec![
        (json!({"ingressClassName": "b"}), json!({"ingressClasses": ["a", "b"]}), "spec.ingressClassName"),
        (json!({}), json!({"ingressClasses": ["contour"]}), "spec.ingressClassName"),
        (image("ghcr.io/them/contour:v1"), json!({"images": ["ghcr.io/them/contour"]}), "spec.contour.image"),
        (image("ghcr.io/them/contour:v1"), json!({"images": ["ghcr.io/them/"]}), "spec.contour.image"),
        (
            image(
                "ghcr.io/them/contour@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ),
            json!({"images": ["*"]}),
            "spec.contour.image",
        ),
        (image("r:5000/a/b/c"), json!({"images": ["r:5000/a/"]}), "spec.contour.image"),
        (image("nginx"), json!({"images": ["docker.io/library/nginx"]}), "spec.contour.image"),
        (image("them/contour"), json!({"images": ["docker.io/them/"]}), "spec.contour.image"),
        (image("docker.io/them/contour"), json!({"images": ["them/contour"]}), "spec.contour.image"),
        (
            json!({"envoy": {"image": "a.example/envoy:v1"}}),
            json!({"images": ["a.example/envoy"]}),
            "spec.envoy.image",
        ),
        (
            json!({"envoy": {"agentImage": "a.example/agent"}}),
            json!({"images": ["a.example/"]}),
            "spec.envoy.agentImage",
        ),
        (host.clone(), json!({"hostNetwork": true}), "spec.envoy.hostNetwork"),
        (json!({"envoy": {"hostNetwork": true}}), json!({"hostNetwork": true}), "spec.envoy.hostNetwork"),
        (
            volume("hostPath", json!({"path": "/"})),
            json!({"volumes": ["hostPath"]}),
            "spec.envoy.extraVolumes[0].hostPath",
        ),
        (
            volume("nfs", json!({"server": "s", "path": "/"})),
            json!({"volumes": ["csi", "*"]}),
            "spec.envoy.extraVolumes[0].nfs",
        ),
        (watch(json!([])), json!({"watchNamespaces": ["*"]}), "spec.contour.watchNamespaces"),
        (
            watch(json!(["team", "shop"])),
            json!({"watchNamespaces": ["shop"]}),
            "spec.contour.watchNamespaces",
        ),
        (watch(json!(["shop"])), json!({"watchNamespaces": ["*"]}), "spec.contour.watchNamespaces"),
        (
            json!({"configuration": {"httpproxy": {"rootNamespaces": ["shop"]}}}),
            json!({"watchNamespaces": ["shop"]}),
            "spec.contour.watchNamespaces",
        ),
    ]
}

/// The same, for what is closed to all without a rule that opens it.
fn closed() -> Vec<(Value, Value, &'static str)> {
    vec![
        (
            json!({"defaultIngressClass": true}),
            json!({"defaultIngressClass": true}),
            "spec.defaultIngressClass",
        ),
        (
            patch(json!({"shareProcessNamespace": true})),
            json!({"patches": true}),
            "spec.envoy.podTemplatePatch",
        ),
        (
            json!({"contour": {"podTemplatePatch": {"metadata": {"labels": {"a": "b"}}}}}),
            json!({"patches": true}),
            "spec.contour.podTemplatePatch",
        ),
        (
            json!({"envoy": {"bootstrapPatch": {"stats_flush_interval": "9s"}}}),
            json!({"patches": true}),
            "spec.envoy.bootstrapPatch",
        ),
        (
            json!({"publishing": {"servicePatch": {"metadata": {"labels": {"a": "b"}}}}}),
            json!({"patches": true}),
            "spec.publishing.servicePatch",
        ),
    ]
}

fn patch(spec: Value) -> Value {
    let mut whole = json!({"envoy": {"podTemplatePatch": {}}});
    whole["envoy"]["podTemplatePatch"]["spec"] = spec;
    whole
}

/// A container that keeps to the restricted standard, with this over it.
fn sidecar(more: Value) -> Value {
    let restricted = json!({
        "name": "more", "image": "ghcr.io/us/contour:v2",
        "securityContext": {"runAsUser": 1000, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    patch(json!({"containers": [over(restricted, more)]}))
}

/// What is patched where patches are allowed; what the rule needs beside that; what is forbidden without, below the patch.
fn patches() -> Vec<(Value, Value, &'static str)> {
    vec![
        (
            sidecar(json!({"image": "nginx"})),
            json!({"images": ["nginx"]}),
            "spec.containers[name=more].image",
        ),
        (
            sidecar(json!({"ports": [{"containerPort": 7000, "hostPort": 7000}]})),
            json!({"hostNetwork": true, "hostPorts": ["7000"]}),
            "spec.containers[name=more].ports[containerPort=7000]",
        ),
        (
            over(
                json!({"envoy": {"hostNetwork": true}}),
                sidecar(json!({"ports": [{"containerPort": 7000}]})),
            ),
            json!({"hostPorts": ["1-10000"]}),
            "spec.containers[name=more].ports[containerPort=7000]",
        ),
        (
            patch(json!({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]})),
            json!({"volumes": ["hostPath"]}),
            "spec.volumes[name=x].hostPath",
        ),
    ]
}

/// The same, where what is needed is `privileged`.
fn privileged_patches() -> Vec<(Value, &'static str)> {
    let context = |more: Value| sidecar(json!({"securityContext": more}));
    let envoy = |more: Value| patch(json!({"containers": [over(json!({"name": "envoy"}), more)]}));
    vec![
        (patch(json!({"hostPID": true})), "spec.hostPID"),
        (patch(json!({"hostIPC": true})), "spec.hostIPC"),
        (
            patch(json!({"securityContext": {"runAsUser": 0, "runAsNonRoot": null}})),
            "spec.securityContext.runAsUser",
        ),
        (
            patch(json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}})),
            "spec.securityContext.seccompProfile",
        ),
        (context(json!({"privileged": true})), "spec.containers[name=more].securityContext.privileged"),
        (
            context(json!({"allowPrivilegeEscalation": null})),
            "spec.containers[name=more].securityContext.allowPrivilegeEscalation",
        ),
        (
            context(json!({"capabilities": {"drop": null}})),
            "spec.containers[name=more].securityContext.capabilities.drop",
        ),
        (
            context(json!({"capabilities": {"add": ["NET_BIND_SERVICE", "NET_RAW"]}})),
            "spec.containers[name=more].securityContext.capabilities.add",
        ),
        (context(json!({"runAsUser": 0})), "spec.containers[name=more].securityContext.runAsUser"),
        (context(json!({"procMount": "Unmasked"})), "spec.containers[name=more].securityContext.procMount"),
        (
            context(json!({"seLinuxOptions": {"type": "spc_t"}})),
            "spec.containers[name=more].securityContext.seLinuxOptions",
        ),
        (
            sidecar(json!({"livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}})),
            "spec.containers[name=more].livenessProbe",
        ),
        (
            envoy(json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}})),
            "spec.containers[name=envoy].securityContext.privileged",
        ),
        (
            envoy(json!({"securityContext": {"runAsNonRoot": false}})),
            "spec.containers[name=envoy].securityContext.runAsNonRoot",
        ),
    ]
}

/// A container beside the controller acts as it, and so reads the Secrets that it may read.
#[test]
fn a_container_beside_the_controller_needs_the_right_to_more() {
    let mut asked = sidecar(json!({}));
    let patch = asked["envoy"]["podTemplatePatch"].take();
    let spec = over(modest(), json!({"contour": {"podTemplatePatch": patch}}));
    let problems = forbidden(&[rule(json!({"patches": true}))], true, &spec);
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["spec.contour.podTemplatePatch.spec.containers[name=more]"]);
    assert_eq!(forbidden(&[rule(json!({"patches": true, "privileged": true}))], true, &spec), []);
}

#[test]
fn what_comes_of_a_patch_is_held_to_the_same_policy() {
    let privileged =
        privileged_patches().into_iter().map(|(asked, path)| (asked, json!({"privileged": true}), path));
    for (asked, needed, path) in patches().into_iter().chain(privileged) {
        let spec = over(modest(), asked.clone());
        let on_host = asked.pointer("/envoy/hostNetwork").is_some();
        let without =
            rule(json!({"patches": true, "hostNetwork": on_host, "hostPorts": ["1-6000", "8000-9999"]}));
        let problems = forbidden(std::slice::from_ref(&without), true, &spec);
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, [format!("spec.envoy.podTemplatePatch.{path}")], "{asked}");
        let with = over(
            json!({"patches": true, "hostNetwork": on_host, "hostPorts": ["1-6000", "8000-9999"]}),
            needed,
        );
        assert_eq!(forbidden(&[rule(with)], true, &spec), [], "{asked}");
    }
    let harmless = json!({"containers": [{"name": "envoy", "resources": {"limits": {"memory": "1Gi"}}}]});
    for asked in
        [patch(harmless), sidecar(json!({})), patch(json!({"volumes": [{"name": "x", "emptyDir": {}}]}))]
    {
        assert_eq!(
            forbidden(&[rule(json!({"patches": true}))], true, &over(modest(), asked.clone())),
            [],
            "{asked}"
        );
    }
}

#[test]
fn what_no_rule_allows_is_forbidden_and_named() {
    for (asked, needed, field) in cases().into_iter().chain(closed()) {
        let spec = over(modest(), asked.clone());
        let mut without = vec![rule(json!({"ingressClasses": ["z"]}))];
        if field != "spec.ingressClassName" {
            without = vec![rule(json!({}))];
        }
        let problems = forbidden(&without, true, &spec);
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, [field], "{asked}");
        assert_eq!(problems[0].reason, "Forbidden");
        let message = &problems[0].message;
        assert!(message.contains("rule tenants of ContourPolicy default does not allow"), "{message}");
        assert_eq!(forbidden(&[rule(needed)], true, &spec), [], "{asked}");
    }
}

#[test]
fn rules_add_up_and_are_for_their_namespaces() {
    let spec = over(modest(), json!({"publishing": {"type": "HostNetwork"}, "ingressClassName": "a"}));
    let others = PolicyRule { namespaces: vec!["others".to_owned()], ..rule(json!({"hostNetwork": true})) };
    assert_eq!(
        forbidden(&[rule(json!({})), others.clone()], true, &spec).len(),
        1,
        "it is for another namespace"
    );
    let mine = PolicyRule { namespaces: vec!["team".to_owned()], ..others.clone() };
    assert_eq!(forbidden(&[rule(json!({"ingressClasses": ["a"]})), mine], true, &spec), []);
    let problems = forbidden(&[others], true, &spec);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].field, "metadata.namespace");
    assert!(
        problems[0].message.contains("no rule of ContourPolicy default is for namespace team"),
        "{problems:?}"
    );
    assert_eq!(forbidden(&[], true, &modest()).len(), 1, "without a rule nobody may have anything");
}

#[test]
fn ports_of_nodes_are_those_of_a_rule_that_allows_the_network() {
    let spec = over(modest(), json!({"publishing": {"type": "HostNetwork"}}));
    let fields = |rules: &[PolicyRule]| -> Vec<String> {
        forbidden(rules, true, &spec).into_iter().map(|problem| problem.field).collect()
    };
    let network = |ports: &[&str]| rule(json!({"hostNetwork": true, "hostPorts": ports}));
    assert_eq!(fields(&[network(&["80", "443", "8002", "8090", "9001"])]), [""; 0]);
    assert_eq!(fields(&[network(&["80-443", "8002-9001"])]), [""; 0]);
    assert_eq!(fields(&[network(&["1024-65535"])]), ["spec.envoy.ports.http", "spec.envoy.ports.https"]);
    assert_eq!(fields(&[network(&["1024-65535"]), rule(json!({"hostPorts": ["80", "443"]}))]).len(), 2);
    assert_eq!(fields(&[network(&["1024-65535"]), network(&["80", "443"])]), [""; 0]);
}

#[test]
fn what_is_near_what_is_allowed_is_not() {
    let image = |image: &str| over(modest(), json!({"contour": {"image": image}}));
    for (allowed, asked) in [
        ("ghcr.io/them/", "ghcr.io/them-too/contour"),
        ("ghcr.io/them", "ghcr.io/them/contour"),
        ("ghcr.io/them/contour", "ghcr.io/them/contour-too"),
        ("ghcr.io/them/contour", "evil.example/ghcr.io/them/contour"),
        ("them/", "evil.example/them/contour"),
        ("localhost/", "docker.io/localhost/contour"),
        ("nginx", "evil/nginx"),
    ] {
        assert_eq!(forbidden(&[rule(json!({"images": [allowed]}))], true, &image(asked)).len(), 1, "{asked}");
    }
    assert_eq!(
        forbidden(&[rule(json!({}))], true, &image("ghcr.io/us/contour:v2")),
        [],
        "an image of the operator's"
    );
    let friend = over(modest(), json!({"contour": {"watchNamespaces": ["friend"]}}));
    assert_eq!(forbidden(&[rule(json!({}))], true, &friend), [], "it consents");
    let harmless = json!([
        {"name": "a", "configMap": {"name": "a"}}, {"name": "b", "secret": {"secretName": "b"}},
        {"name": "c", "emptyDir": {}}, {"name": "d", "projected": {}}, {"name": "e", "downwardAPI": {}},
    ]);
    let harmless = over(modest(), json!({"envoy": {"extraVolumes": harmless}}));
    assert_eq!(forbidden(&[rule(json!({}))], true, &harmless), []);
}

#[test]
fn without_a_policy_the_platform_may_have_what_it_needs_and_others_what_is_theirs() {
    let rules = built_in("ops");
    assert_eq!(forbidden(&rules, false, &modest()), []);
    let problems = forbidden(&rules, false, &json!({}));
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["spec.contour.watchNamespaces", "spec.envoy.hostNetwork"]);
    for problem in problems {
        assert!(problem.message.contains("rule others of the built-in policy does not allow"), "{problem}");
        assert!(problem.message.contains("by a ContourPolicy default"), "{problem}");
    }
    for namespace in ["ops", "projectcontour"] {
        let metadata = json!({"name": "edge", "namespace": namespace});
        let deployment =
            serde_json::from_value(json!({"metadata": metadata, "spec": {}})).expect("it is one");
        let policy = Policy { name: "default", exists: false, rules: &rules };
        assert_eq!(policy.forbids(&deployment, &defaults(), &|_| false), [], "{namespace}");
    }
}

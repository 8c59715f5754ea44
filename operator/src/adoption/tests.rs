//! What fits, and whose fields become ours.

use super::*;
use crate::defaults::Defaults;

fn object(kind: ChildKind, value: Value) -> (ChildRef, DynamicObject) {
    let object: DynamicObject = serde_json::from_value(value).unwrap();
    (ChildRef { kind, namespace: Some("n".to_owned()), name: object.name_any() }, object)
}

/// Envoy's workload as the stock manifests make it.
fn envoys(kind: ChildKind) -> (ChildRef, DynamicObject) {
    let port = |name: &str, number: u16| json!({"name": name, "containerPort": number});
    let ports = json!([port("http", 8080), port("https", 8443), port("metrics", 8002)]);
    let pod =
        json!({"spec": {"containers": [{"name": "shutdown-manager"}, {"name": "envoy", "ports": ports}]}});
    object(
        kind,
        json!({"metadata": {"name": "envoy"}, "spec": {"selector": {"matchLabels": {"app": "envoy"}}, "template": pod}}),
    )
}

fn service(type_: &str) -> (ChildRef, DynamicObject) {
    object(ChildKind::Service, json!({"metadata": {"name": "envoy"}, "spec": {"type": type_}}))
}

fn told(spec: Value, found: &[(ChildRef, DynamicObject)]) -> Vec<String> {
    let mut spec = spec;
    spec["names"] = json!("Stock");
    let deployment = json!({"metadata": {"name": "edge", "namespace": "n"}, "spec": spec});
    let deployment: ContourDeployment = serde_json::from_value(deployment).unwrap();
    let image = "i:v1".to_owned();
    let defaults = Defaults {
        contour_image: image.clone(),
        envoy_image: image.clone(),
        agent_image: image,
        version: "v1".to_owned(),
        namespace: "contour-operator".to_owned(),
    };
    let found: Vec<_> = found.iter().map(|(reference, object)| (reference.clone(), object)).collect();
    let settings = Settings::of(&deployment, &defaults);
    let problems = problems(&deployment, &settings, &Names::of(&deployment).unwrap(), &found);
    problems.into_iter().map(|problem| problem.field).collect()
}

#[test]
fn what_is_found_has_to_be_reached_as_before() {
    use ChildKind::{DaemonSet, Deployment};
    let balanced = json!({"publishing": {"type": "LoadBalancerService"}});
    let ported = |port: u16| json!({"publishing": {"type": "LoadBalancerService"}, "envoy": {"ports": {"http": port}}});
    let mut expressions = envoys(DaemonSet);
    expressions.1.data["spec"]["selector"] =
        json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]});
    let mut kept = envoys(DaemonSet);
    kept.1.annotations_mut().insert(ADOPTED.to_owned(), "http=8080,https=8443,metrics=8002".to_owned());
    kept.1.annotations_mut().insert(APPLIED.to_owned(), "hash".to_owned());
    let mut ours = envoys(DaemonSet);
    ours.1.annotations_mut().insert(APPLIED.to_owned(), "hash".to_owned());
    for (spec, found, fields) in [
        (balanced.clone(), vec![envoys(DaemonSet), service("LoadBalancer")], &[][..]),
        (
            json!({"publishing": {"type": "NodePortService"}}),
            vec![envoys(DaemonSet), service("NodePort")],
            &[],
        ),
        (
            json!({"publishing": {"type": "ClusterIPService"}}),
            vec![envoys(DaemonSet), service("ClusterIP")],
            &[],
        ),
        (json!({}), vec![service("LoadBalancer")], &["spec.publishing.type"]),
        (balanced.clone(), vec![service("ClusterIP")], &["spec.publishing.type"]),
        (json!({}), vec![envoys(DaemonSet)], &["spec.envoy.ports"]),
        (ported(8080), vec![envoys(DaemonSet)], &[]),
        (ported(8081), vec![envoys(DaemonSet)], &["spec.envoy.ports"]),
        (balanced.clone(), vec![envoys(Deployment)], &["spec.envoy.workload"]),
        (balanced.clone(), vec![expressions], &["spec.adopt"]),
        // As long as those pods run, and not longer.
        (ported(8080), vec![kept.clone()], &[]),
        (ported(8081), vec![kept], &["spec.envoy.ports"]),
        (ported(8081), vec![ours], &[]),
    ] {
        assert_eq!(told(spec.clone(), &found), fields, "{spec} {found:?}");
    }
}

#[test]
fn all_that_others_say_of_a_specification_becomes_ours() {
    let entry = |manager: &str, subresource: Option<&str>, fields: Value| {
        json!({
            "manager": manager, "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
            "subresource": subresource,
        })
    };
    let spec = |field: &str| json!({"f:spec": {"f:template": {field: {}}}});
    let mut both = spec("f:a");
    both["f:metadata"] = json!({"f:labels": {}});
    let fields = json!([
        entry("kubectl-client-side-apply", None, both),
        entry("kubectl-edit", None, spec("f:b")),
        entry("kube-controller-manager", None, json!({"f:spec": {"f:c": {}}})),
        entry("autoscaler", Some("scale"), json!({"f:spec": {"f:replicas": {}}})),
    ]);
    let (_, live) =
        object(ChildKind::Deployment, json!({"metadata": {"name": "contour", "managedFields": fields}}));
    let patch = taken_fields(&live, "apps/v1").unwrap();
    let entries = patch["metadata"]["managedFields"].as_array().unwrap();
    let managers: Vec<&str> = entries.iter().filter_map(|entry| entry["manager"].as_str()).collect();
    assert_eq!(
        managers,
        ["kubectl-client-side-apply", "kube-controller-manager", "autoscaler", FIELD_MANAGER]
    );
    assert_eq!(entries[0]["fieldsV1"], json!({"f:metadata": {"f:labels": {}}}));
    assert_eq!(entries[3]["fieldsV1"], json!({"f:spec": {"f:template": {"f:a": {}, "f:b": {}}}}));
    assert_eq!((&entries[3]["operation"], &entries[3]["subresource"]), (&json!("Apply"), &Value::Null));
    let (_, nobodys) = object(ChildKind::Deployment, json!({"metadata": {"name": "contour"}}));
    assert_eq!(taken_fields(&nobodys, "apps/v1"), None);
}

//! An installation of the stock manifests is taken over while it serves: Contour is replaced, and Envoy's pods stay until they may go.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use contour_certs::Certificate;
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_operator::build::BOOTSTRAP_HASH;
use contour_operator::child::ChildKind;
use contour_operator::names::ADOPTED;
use contour_operator::status::condition;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use crate::lifecycle::told;
use crate::support::{World, ports};

/// What `kubectl apply` makes of the objects that matter here, with `workload` for Envoy, which listens on these ports.
fn stock(namespace: &str, workload: &str, ports: &Value) -> Vec<Value> {
    let object = |api: &str, kind: &str, name: &str, rest: Value| {
        let mut object = json!({
            "apiVersion": api, "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "labels": {"team": "edge"}},
        });
        crate::support::merge(&mut object, rest);
        object
    };
    let volume = |secret: &str| json!({"name": secret, "secret": {"secretName": secret}});
    let mount = |name: &str| json!({"name": name, "mountPath": "/certs", "readOnly": true});
    let contour = json!({
        "containers": [{
            "name": "contour", "image": "example/stock-contour:v1", "command": ["contour"], "args": ["serve", "--incluster"],
            "ports": [{"name": "xds", "containerPort": 8001}, {"name": "debug", "containerPort": 6060}],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8000}},
            "readinessProbe": {"tcpSocket": {"port": 8001}},
            "volumeMounts": [mount("contourcert"), {"name": "contour-config", "mountPath": "/config"}],
        }],
        "serviceAccountName": "contour",
        "volumes": [volume("contourcert"), {"name": "contour-config", "configMap": {"name": "contour"}}],
    });
    let port = |name: &str| json!({"name": name, "containerPort": ports[name]});
    let envoy = json!({
        "containers": [
            {"name": "shutdown-manager", "image": "example/stock-contour:v1", "args": ["envoy", "shutdown-manager"]},
            {
                "name": "envoy", "image": "example/stock-envoy:v1", "ports": [port("http"), port("https"), port("metrics")],
                "volumeMounts": [mount("envoycert"), {"name": "envoy-config", "mountPath": "/config"}],
            },
        ],
        "initContainers": [{"name": "envoy-initconfig", "image": "example/stock-contour:v1", "args": ["bootstrap"]}],
        "serviceAccountName": "envoy",
        "volumes": [{"name": "envoy-config", "emptyDir": {}}, volume("envoycert")],
    });
    let of = |app: &str, pod: Value| {
        json!({
            "selector": {"matchLabels": {"app": app}},
            "template": {"metadata": {"labels": {"app": app}}, "spec": pod},
        })
    };
    let mut controllers = of("contour", contour);
    controllers["replicas"] = json!(2);
    let rbac = "rbac.authorization.k8s.io/v1";
    let role_ref =
        |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
    vec![
        object("v1", "ServiceAccount", "contour", json!({})),
        object("v1", "ServiceAccount", "envoy", json!({})),
        object(rbac, "Role", "contour", json!({"rules": []})),
        object(rbac, "RoleBinding", "contour", json!({"roleRef": role_ref("contour-certgen")})),
        object(
            "v1",
            "Service",
            "contour",
            json!({"spec": {"selector": {"app": "contour"}, "ports": [{"name": "xds", "port": 8001}]}}),
        ),
        object(
            "v1",
            "Service",
            "envoy",
            json!({"metadata": {"annotations": {"cloud": "tcp"}}, "spec": {
                "type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": {"app": "envoy"},
                "ports": [{"name": "http", "port": 80, "targetPort": ports["http"]}, {"name": "https", "port": 443, "targetPort": ports["https"]}],
            }}),
        ),
        object("apps/v1", "Deployment", "contour", json!({ "spec": controllers })),
        object("apps/v1", workload, "envoy", json!({ "spec": of("envoy", envoy) })),
    ]
}

/// The Secrets of `contour certgen`.
async fn certgen(world: &World) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../controller/certs/tests/stock");
    for party in ["contour", "envoy"] {
        let files =
            [("ca.crt", "cacert"), ("tls.crt", &format!("{party}cert")), ("tls.key", &format!("{party}key"))];
        let data: BTreeMap<&str, ByteString> = files
            .into_iter()
            .map(|(key, file)| Ok((key, ByteString(std::fs::read(format!("{directory}/{file}.pem"))?))))
            .collect::<std::io::Result<_>>()?;
        let secret =
            json!({"metadata": {"name": format!("{party}cert")}, "type": "kubernetes.io/tls", "data": data});
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
    }
    Ok(())
}

async fn install(world: &World, workload: &str, ports: &Value) -> Result<()> {
    certgen(world).await?;
    for object in stock(&world.namespace, workload, ports) {
        let object: DynamicObject = serde_json::from_value(object)?;
        let kind = object.types.as_ref().and_then(|types| ChildKind::from_name(&types.kind));
        let child = world.child(kind.context("its kind is that of a child")?, &object.name_any());
        let params = PostParams {
            field_manager: Some("kubectl-client-side-apply".to_owned()),
            ..PostParams::default()
        };
        world.api(&child).create(&params, &object).await?;
    }
    for (app, pods) in [("contour", 2), ("envoy", if workload == "Deployment" { 1 } else { 2 })] {
        eventually(SOON, || async {
            let found = pods_of(world, app).await?;
            anyhow::ensure!(found.len() == pods, "{found:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// UIDs and images of pods, by name.
async fn pods_of(world: &World, app: &str) -> Result<BTreeMap<String, (Option<String>, Option<String>)>> {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    let found = pods.list(&ListParams::default().labels(&format!("app={app}"))).await?;
    let image = |pod: &Pod| {
        let containers = &pod.spec.as_ref()?.containers;
        containers.iter().find(|container| container.name == app)?.image.clone()
    };
    Ok(found.into_iter().map(|pod| (pod.name_any(), (pod.uid(), image(&pod)))).collect())
}

async fn get(world: &World, kind: ChildKind, name: &str) -> Result<DynamicObject> {
    Ok(world.api(&world.child(kind, name)).get(name).await?)
}

fn names(object: &DynamicObject, list: &str) -> Vec<String> {
    let found = object.data.pointer(&format!("/spec/template/spec/{list}"));
    let items = found.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
}

/// The certificate that a Secret holds, and whom its owner trusts.
async fn held(world: &World, name: &str) -> Result<(Certificate, Vec<Certificate>)> {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let data = secrets.get(name).await?.data.unwrap_or_default();
    let text = |key: &str| String::from_utf8(data[key].0.clone());
    Ok((Certificate::parse(&text("tls.crt")?)?, Certificate::parse_all(&text("ca.crt")?)?))
}

#[tokio::test]
async fn the_envoys_of_a_stock_installation_run_on_until_they_may_go() -> Result<()> {
    taken_over("DaemonSet").await
}

#[tokio::test]
async fn the_envoys_of_a_stock_deployment_run_on_as_well() -> Result<()> {
    taken_over("Deployment").await
}

async fn taken_over(workload: &str) -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "stock").await?;
    let operator = world.operator();
    let ports = ports();
    install(&world, workload, &ports).await?;
    let kind = ChildKind::from_name(workload).context("a kind")?;
    let (contours, envoys) = (pods_of(&world, "contour").await?, pods_of(&world, "envoy").await?);
    let stock_certificate = held(&world, "contourcert").await?;
    let spec = json!({
        "names": "Stock", "publishing": {"type": "LoadBalancerService"},
        "envoy": {"ports": ports, "workload": workload, "replicas": (workload == "Deployment").then_some(1)},
    });

    world.create("edge", spec).await?;
    let refused = world.condition("edge", condition::DEGRADED, true, "NotOurs").await?;
    assert!(refused.message.contains("spec.adopt takes over"), "{}", refused.message);
    assert_eq!(pods_of(&world, "contour").await?, contours, "nothing was touched");

    world.change("edge", json!({"adopt": true})).await?;
    told(&world, "edge", &["Adopted"]).await?;
    let status = world.complete("edge").await?;
    let warnings: Vec<_> = status.conditions.iter().flat_map(|condition| &condition.warnings).collect();
    assert!(warnings.iter().any(|warning| warning.reason == "AdoptedPodsRun"), "{warnings:?}");
    assert_eq!(status.envoy.and_then(|envoy| envoy.pods), Some(format!("{0}/{0}", envoys.len())));
    assert_eq!(pods_of(&world, "envoy").await?, envoys, "Envoy's pods are those of before");
    let replaced = pods_of(&world, "contour").await?;
    assert!(
        replaced.values().all(|(_, image)| image.as_deref() == Some("example/contour:v1")),
        "{replaced:?}"
    );

    fits(&world, kind).await?;
    // A new authority is trusted beside the one of before, and nobody shows it yet.
    let (shown, trusted) = held(&world, "contourcert").await?;
    assert_eq!((&shown, trusted.len()), (&stock_certificate.0, 2));
    assert!(trusted.contains(&stock_certificate.1[0]));

    // At rest nothing is written.
    world.still(&operator, "edge").await?;
    world.change("edge", json!({"adopt": null})).await?;
    eventually(SOON, || async {
        let found = pods_of(&world, "envoy").await?;
        let ours = found.values().all(|(_, image)| image.as_deref() == Some("example/envoy:v1"));
        anyhow::ensure!(ours && found.len() == envoys.len(), "{found:?}");
        Ok(())
    })
    .await?;
    let status = world.complete("edge").await?;
    assert!(
        status.conditions.iter().all(|condition| condition.warnings.is_empty()),
        "{:?}",
        status.conditions
    );
    let envoy = get(&world, kind, "envoy").await?;
    assert_eq!(
        (envoy.annotations().get(ADOPTED), names(&envoy, "containers")),
        (None, vec!["envoy".to_owned()])
    );
    assert!(
        envoy
            .data
            .pointer(&format!("/spec/template/metadata/annotations/{}", BOOTSTRAP_HASH.replace('/', "~1")))
            .is_some()
    );
    world.still(&operator, "edge").await?;
    Ok(())
}

/// What is taken over is ours, and fits those of before.
async fn fits(world: &World, kind: ChildKind) -> Result<()> {
    // What others said of workloads is gone, so that ours stands alone; what was said of objects stays.
    let contour = get(world, ChildKind::Deployment, "contour").await?;
    assert_eq!(
        (names(&contour, "containers"), names(&contour, "volumes")),
        (vec!["contour".to_owned()], vec!["certs".to_owned()])
    );
    assert_eq!(contour.labels().get("team").map(String::as_str), Some("edge"));
    let envoy = get(world, kind, "envoy").await?;
    assert_eq!(names(&envoy, "containers"), ["envoy"]);
    assert!(envoy.annotations().contains_key(ADOPTED));
    for name in ["contour", "envoy"] {
        let service = get(world, ChildKind::Service, name).await?;
        assert_eq!(
            service.data["spec"]["selector"],
            json!({"app": name}),
            "both old and new pods are reached"
        );
    }
    let service = get(world, ChildKind::Service, "envoy").await?;
    assert_eq!(service.annotations().get("cloud").map(String::as_str), Some("tcp"));
    let binding = get(world, ChildKind::RoleBinding, "contour").await?;
    assert_eq!(binding.data["roleRef"]["name"], "contour-certgen", "it is none of ours");
    Ok(())
}

#[tokio::test]
async fn what_would_be_reached_by_nobody_is_not_adopted() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "stock-not").await?;
    let operator = world.operator();
    install(&world, "DaemonSet", &ports()).await?;
    let before = get(&world, ChildKind::DaemonSet, "envoy").await?;
    world.create("edge", json!({"names": "Stock", "adopt": true})).await?;
    let refused = world.condition("edge", condition::DEGRADED, true, "Invalid").await?;
    for field in ["spec.publishing.type: Service", "spec.envoy.ports: the pods of DaemonSet"] {
        assert!(refused.message.contains(field), "{field}: {}", refused.message);
    }
    operator.look_again(&world, "edge").await?;
    assert_eq!(get(&world, ChildKind::DaemonSet, "envoy").await?.data["spec"], before.data["spec"]);
    Ok(())
}

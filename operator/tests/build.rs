//! What a `ContourDeployment` is built into: all children of the least one, and of others what differs from that.
//!
//! `tests/build/*.yaml` are specs; the snapshots beside them are the children.

use std::collections::BTreeMap;
use std::path::Path;

use contour_crds::ContourDeployment;
use contour_crds::contour_deployment::EnvoyTemplateStatus;
use contour_operator::adoption::Adopted;
use contour_operator::build::{Inputs, Stages, build};
use contour_operator::child::{Child, ChildKind};
use contour_operator::defaults::Defaults;
use contour_operator::names::Names;
use contour_operator::validate::{COMPONENTS, validate};
use serde_json::{Value, json};

fn defaults() -> Defaults {
    Defaults {
        contour_image: "ghcr.io/example/contour:v1".to_owned(),
        envoy_image: "docker.io/envoyproxy/envoy:distroless-v1.40.0".to_owned(),
        agent_image: "ghcr.io/example/contour:v1".to_owned(),
        version: "1.0.0".to_owned(),
        namespace: "contour-operator".to_owned(),
    }
}

/// A `ContourDeployment` `site` in `edge` of this spec.
fn deployment(spec: &Value) -> ContourDeployment {
    let metadata =
        json!({ "name": "site", "namespace": "edge", "uid": "00000000-0000-0000-0000-000000000001" });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).expect("the spec is one")
}

fn read(file: &Path) -> ContourDeployment {
    let text = std::fs::read_to_string(file).expect("the case can be read");
    deployment(&serde_saphyr::from_str::<Value>(&text).expect("the case is YAML"))
}

/// The children of a deployment that nothing is wrong with.
fn built(deployment: &ContourDeployment, defaults: &Defaults) -> Stages {
    built_over(deployment, defaults, None)
}

/// The same, with a live Envoy workload of these images: agent and Envoy.
fn built_over(deployment: &ContourDeployment, defaults: &Defaults, live: Option<(&str, &str)>) -> Stages {
    assert_eq!(validate(deployment, defaults), []);
    let names = Names::of(deployment).expect("the names are right");
    let kept = live.map(|(agent, envoy)| EnvoyTemplateStatus {
        agent_image: agent.to_owned(),
        envoy_image: envoy.to_owned(),
    });
    let inputs = Inputs {
        deployment,
        names: &names,
        defaults,
        kept: kept.as_ref(),
        addresses: &["192.0.2.1".to_owned(), "192.0.2.2".to_owned()],
        adopted: &Adopted::NOTHING,
    };
    build(&inputs)
}

fn find(stages: &Stages, kind: ChildKind, name: &str) -> Value {
    let found = stages.all().find(|child| child.kind == kind && child.reference().name == name);
    json!(&found.unwrap_or_else(|| panic!("no {kind} {name}")).object)
}

fn by_reference(stages: &Stages) -> BTreeMap<String, Value> {
    let entry = |child: &Child| (child.reference().to_string(), json!(&child.object));
    stages.all().map(entry).collect()
}

#[test]
fn the_least_one() {
    let stages = built(&deployment(&json!({ "ingressClassName": "public" })), &defaults());
    for (stage, children) in [
        ("foundation", &stages.foundation),
        ("contour", &stages.contour),
        ("envoy", &stages.envoy),
        ("publishing", &stages.publishing),
    ] {
        let objects: Vec<&_> = children.iter().map(|child| &child.object).collect();
        let yaml: Vec<String> =
            objects.iter().map(|object| serde_saphyr::to_string(object).unwrap()).collect();
        insta::with_settings!({ snapshot_path => "build", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("least-{stage}"), yaml.join("---\n"));
        });
    }
}

#[test]
fn others_by_what_differs_from_the_least_one() {
    let least = by_reference(&built(&deployment(&json!({ "ingressClassName": "public" })), &defaults()));
    insta::glob!("build/*.yaml", |path| {
        let children = by_reference(&built(&read(path), &defaults()));
        let gone: Vec<&String> =
            least.keys().filter(|reference| !children.contains_key(*reference)).collect();
        let mut lines: Vec<String> = gone.iter().map(|reference| format!("no {reference}")).collect();
        for (reference, object) in &children {
            let like = |old: &&&String| {
                let old = &least[**old];
                role(old) == role(object) && old["metadata"]["namespace"] == object["metadata"]["namespace"]
            };
            let old = least.get_key_value(reference).map(|(reference, _)| reference);
            let old = old.or_else(|| gone.iter().find(like).copied());
            let mut differences = Vec::new();
            difference("", old.map_or(&Value::Null, |old| &least[old]), object, &mut differences);
            match old {
                Some(old) if old != reference => lines.push(format!("{reference} for {old}")),
                _ if differences.is_empty() => {}
                _ => lines.push(reference.clone()),
            }
            lines.extend(differences.into_iter().map(|line| format!("  {line}")));
        }
        insta::assert_snapshot!(lines.join("\n"));
    });
}

/// What a child is for, whatever its name: a Deployment of Envoy is like its DaemonSet.
fn role(object: &Value) -> (&str, &str) {
    let component = object["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    (component, if kind == "Deployment" { "DaemonSet" } else { kind })
}

/// The leaves that differ, each by its path and its new value. Labels of owners are the same for all.
fn difference(path: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    let read = |value: &Value| {
        value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok()).filter(Value::is_object)
    };
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in after {
                difference(&format!("{path}.{key}"), before.get(key).unwrap_or(&Value::Null), value, lines);
            }
            let gone = before.keys().filter(|key| !after.contains_key(*key));
            lines.extend(gone.map(|key| format!("{path}.{key} is not there")));
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (old, new)) in before.iter().zip(after).enumerate() {
                difference(&format!("{path}[{index}]"), old, new, lines);
            }
        }
        (Value::Null, Value::Object(after)) if path.len() < ".metadata.x".len() => {
            let shown =
                after.iter().filter(|(key, _)| !["labels", "ownerReferences"].contains(&key.as_str()));
            shown.for_each(|(key, value)| difference(&format!("{path}.{key}"), &Value::Null, value, lines));
        }
        // Envoy's bootstrap.
        (old, new) => match (read(old), read(new)) {
            (Some(old), Some(new)) => difference(path, &old, &new, lines),
            _ => lines.push(format!("{path} = {new}")),
        },
    }
}

/// Issue 4: "changing only Contour's version leaves the DaemonSet's template byte for byte the same".
#[test]
fn another_version_of_contour_leaves_envoy_alone() {
    let old = defaults();
    let new = Defaults {
        contour_image: "ghcr.io/example/contour:v2".to_owned(),
        agent_image: "ghcr.io/example/contour:v2".to_owned(),
        version: "2.0.0".to_owned(),
        ..old.clone()
    };
    for workload in ["DaemonSet", "Deployment"] {
        let deployment = deployment(&json!({ "envoy": { "workload": workload } }));
        let before = built(&deployment, &old);
        let live = Some((old.agent_image.as_str(), old.envoy_image.as_str()));
        let after = built_over(&deployment, &new, live);
        let bytes =
            |stages: &Stages| serde_json::to_vec(&stages.envoy.iter().map(|c| &c.object).collect::<Vec<_>>());
        assert_eq!(bytes(&before).unwrap(), bytes(&after).unwrap());
        assert_ne!(
            find(&before, ChildKind::Deployment, "contour-site"),
            find(&after, ChildKind::Deployment, "contour-site")
        );
    }
}

/// Envoy takes what comes of a patch.
#[test]
fn envoy_reads_a_patched_bootstrap() {
    let Ok(envoy) = contour_e2e::envoy::binary() else { return };
    let case = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/build/bootstrap-patched.yaml"));
    let stages = built(&read(case), &defaults());
    let map = stages.all().find(|child| child.kind == ChildKind::ConfigMap).expect("there is a bootstrap");
    let directory = tempfile::tempdir().expect("a directory");
    for (key, content) in map.object.data["data"].as_object().expect("files") {
        let path = directory.path().join(key);
        // The paths of a pod, here.
        let text = content
            .as_str()
            .expect("text")
            .replace("/config/resources/sds", &directory.path().display().to_string());
        std::fs::write(path, text).expect("a file");
    }
    let config = directory.path().join("envoy.json");
    let checked = std::process::Command::new(&envoy)
        .args(["--mode", "validate", "--service-cluster", "c", "--service-node", "n", "--config-path"])
        .arg(&config)
        .output()
        .expect("Envoy can be started");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}

/// With a component that it does not know Envoy does not start.
#[test]
fn the_components_whose_levels_can_be_set_are_those_of_envoy() {
    let Ok(envoy) = contour_e2e::envoy::binary() else { return };
    let levels = COMPONENTS.map(|component| format!("{component}:off")).join(",");
    let validate = |levels: &str| {
        let arguments = ["--mode", "validate", "--config-yaml", "{}", "--component-log-level", levels];
        std::process::Command::new(&envoy).args(arguments).output().expect("Envoy can be started")
    };
    let found = validate(&levels);
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    assert!(!validate("nosuch:off").status.success(), "Envoy takes anything");
}

#[test]
fn a_new_image_of_contour_in_the_object_leaves_envoy_alone() {
    let (old, new) =
        (json!({}), json!({ "contour": { "image": "example/contour:v9", "logLevel": "debug" } }));
    let (before, after) = (built(&deployment(&old), &defaults()), built(&deployment(&new), &defaults()));
    assert_eq!(before.envoy, after.envoy);
}

#[test]
fn the_agent_comes_along_with_a_new_envoy_and_on_demand() {
    let defaults = defaults();
    let agent = |spec: Value, live: (&str, &str)| {
        let stages = built_over(&deployment(&spec), &defaults, Some(live));
        let object = find(&stages, ChildKind::DaemonSet, "envoy-site");
        object["spec"]["template"]["spec"]["initContainers"][0]["image"].as_str().map(str::to_owned).unwrap()
    };
    let same = ("example/contour:v0", defaults.envoy_image.as_str());
    assert_eq!(agent(json!({}), same), "example/contour:v0");
    assert_eq!(agent(json!({}), ("example/contour:v0", "example/envoy:v0")), defaults.agent_image);
    assert_eq!(agent(json!({ "envoy": { "agentImage": "a:b" } }), same), "a:b");
}

#[test]
fn a_change_of_the_configuration_replaces_the_controller_only() {
    let before = built(&deployment(&json!({})), &defaults());
    let after =
        built(&deployment(&json!({ "configuration": { "enableExternalNameService": true } })), &defaults());
    let template =
        |stages: &Stages| find(stages, ChildKind::Deployment, "contour-site")["spec"]["template"].clone();
    assert_ne!(template(&before), template(&after));
    assert_eq!(before.envoy, after.envoy);
}

/// What pods are started with, `contour` can read.
#[test]
fn the_commands_are_those_of_contour() {
    insta::glob!("build/*.yaml", |path| {
        let stages = built(&read(path), &defaults());
        let templates = stages.all().filter_map(|child| child.object.data.pointer("/spec/template/spec"));
        let lists = templates.flat_map(|pod| [&pod["containers"], &pod["initContainers"]]);
        let mut found = 0;
        for container in lists.filter_map(Value::as_array).flatten() {
            // What a patch adds is not ours to start.
            if container["command"].is_null() {
                continue;
            }
            let command: Vec<String> =
                serde_json::from_value(container["command"].clone()).expect("a command is texts");
            let args: Vec<String> =
                serde_json::from_value(container["args"].clone()).expect("flags are texts");
            if command == ["contour"] {
                contour::cli::Cli::of(command.into_iter().chain(args))
                    .unwrap_or_else(|error| panic!("{error}"));
                found += 1;
            }
        }
        assert_eq!(found, 2, "the controller and the agent");
    });
}

/// Nothing that the API server would drop or take for its default: such a child would be written again and again.
#[test]
fn children_have_no_empty_fields() {
    let full = read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/build/everything.yaml")));
    for deployment in [deployment(&json!({})), full] {
        for (reference, object) in by_reference(&built(&deployment, &defaults())) {
            assert_filled(&reference, &object);
        }
    }
}

fn assert_filled(path: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            // An emptyDir without settings is one all the same.
            assert!(!fields.is_empty() || path.ends_with(".emptyDir"), "{path} is empty");
            fields.iter().for_each(|(key, value)| assert_filled(&format!("{path}.{key}"), value));
        }
        Value::Array(items) => {
            assert!(!items.is_empty(), "{path} is empty");
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| assert_filled(&format!("{path}[{index}]"), item));
        }
        Value::Null => panic!("{path} is null"),
        // The core group has no name; labels and what the user gave may be empty.
        Value::String(text) => assert!(
            !text.is_empty() || path.contains(".apiGroups[") || path.contains(".nodeSelector."),
            "{path} is empty"
        ),
        _ => {}
    }
}

/// What the controller is given where namespaces are named: nothing elsewhere, and no Secret of its own namespace unless that is one of them.
#[test]
fn restricted_namespaces_leave_no_right_elsewhere() {
    let given = |spec: &Value| -> Vec<String> {
        let stages = built(&deployment(spec), &defaults());
        let bindings = stages.all().filter(|child| child.kind.is_binding());
        let line = |child: &Child| {
            let role = child.object.data["roleRef"]["name"].as_str().unwrap();
            format!("{} to {role}", child.reference())
        };
        bindings.map(line).collect()
    };
    let own = "RoleBinding edge/contour.own.site to contour-operator-contour-own-namespace";
    let namespaces = "ClusterRoleBinding contour.namespaces.edge.site to contour-operator-contour-namespaces";
    let shop = "RoleBinding shop/contour.served.edge.site to contour-operator-contour";
    let everywhere = "ClusterRoleBinding contour.served.edge.site to contour-operator-contour";
    assert_eq!(given(&json!({})), [own, namespaces, everywhere]);
    let spec = json!({ "contour": { "watchNamespaces": ["shop"] } });
    assert_eq!(given(&spec), [own, shop, namespaces]);
}

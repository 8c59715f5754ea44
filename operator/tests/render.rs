//! `contour-operator render`: the children of a file are those that the operator builds, or nothing is printed and everything wrong is named.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use contour_crds::ContourDeployment;
use contour_operator::adoption::Adopted;
use contour_operator::build::{Inputs, build};
use contour_operator::defaults::Defaults;
use contour_operator::documents::Documents;
use contour_operator::names::Names;
use contour_operator::render::{Rendered, render};
use contour_operator::rules::Rules;
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

/// What comes of a file, under the built-in policy but for what the file says.
fn rendered(text: &str) -> Result<Rendered, Vec<String>> {
    let documents = Documents::parse(text, "edge.yaml", "default")?;
    render(&documents, &mut Rules::new(defaults(), "default", "contour-operator"))
}

/// A `ContourDeployment` of this spec, where everything is allowed.
fn document(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "operator.projectcontour.io/v1alpha1", "kind": "ContourDeployment",
        "metadata": {"name": name, "namespace": "edge"}, "spec": spec,
    })
}

fn policy(name: &str, rule: &Value) -> Value {
    json!({
        "apiVersion": "operator.projectcontour.io/v1alpha1", "kind": "ContourPolicy",
        "metadata": {"name": name}, "spec": {"rules": [rule]},
    })
}

fn open() -> Value {
    let all = json!(["*"]);
    let rule = json!({
        "name": "all", "namespaces": all, "images": all, "hostNetwork": true, "volumes": all, "watchNamespaces": all, "patches": true, "defaultIngressClass": true,
    });
    policy("default", &rule)
}

fn stream(documents: &[Value]) -> String {
    let texts: Vec<String> =
        documents.iter().map(|one| serde_saphyr::to_string(one).expect("objects are YAML")).collect();
    texts.join("---\n")
}

fn parsed(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).expect("what is printed is YAML")
}

/// The children that the operator builds of an object.
fn built(document: &Value) -> Vec<Value> {
    let deployment: ContourDeployment = serde_json::from_value(document.clone()).expect("it is one");
    let names = Names::of(&deployment).expect("the names are right");
    let status = deployment.status.as_ref();
    let stages = build(&Inputs {
        deployment: &deployment,
        names: &names,
        defaults: &defaults(),
        kept: status.and_then(|status| status.envoy_template.as_ref()),
        addresses: &[],
        adopted: &Adopted::NOTHING,
    });
    stages.all().map(|child| serde_json::to_value(&child.object).expect("objects are JSON")).collect()
}

#[test]
fn the_example_is_rendered_as_it_is_built() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/contourdeployment.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let found = rendered(&text).unwrap();
    let example = parsed(&text).into_iter().find(|one| one["kind"] == "ContourDeployment").unwrap();
    assert_eq!(parsed(&found.yaml), built(&example));
    assert_eq!(found.notes, Vec::<String>::new());
    let heading: Vec<&str> = found.yaml.lines().take_while(|line| !line.starts_with("apiVersion")).collect();
    assert_eq!(
        heading,
        [
            "---",
            "# ContourDeployment projectcontour/edge: 13 objects, in the order of the operator.",
            "# Not here: the Secrets contour-ca-edge, contourcert-edge and envoycert-edge; contour-operator makes them and their keys.",
            "# Not here: whose they are, which is told by the UID that the ContourDeployment gets in the cluster.",
            "# Not here: the addresses of nodes with a ready Envoy, on Envoy's Service.",
        ]
    );
}

#[test]
fn whatever_is_built_is_rendered() {
    insta::glob!("build/*.yaml", |path| {
        let spec: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let document = document("site", &spec);
        let found = rendered(&stream(&[open(), document.clone()])).unwrap_or_else(|all| panic!("{all:?}"));
        assert_eq!(parsed(&found.yaml), built(&document));
        let kinds: Vec<Value> = parsed(&found.yaml).into_iter().map(|one| one["kind"].clone()).collect();
        assert!(!kinds.contains(&json!("Secret")) && !found.yaml.contains("PRIVATE KEY"));
        assert_eq!(found, rendered(&stream(&[open(), document])).unwrap(), "it is the same each time");
    });
}

/// Readers of YAML 1.1, as kubectl's is, take some texts without quotes for something else.
#[test]
fn texts_stay_texts_for_kubectl() {
    let odd = ["yes", "on", "n", "null", "~", "0x1F", "1e3", "12:30", "0777", "2026-01-01", "", " a", "a: b"];
    for text in odd {
        let annotations = json!({"a.example/x": text});
        let spec = json!({"publishing": {"annotations": annotations}});
        let yaml = rendered(&stream(&[open(), document("site", &spec)])).unwrap().yaml;
        let line = yaml.lines().find(|line| line.contains("a.example/x")).unwrap();
        let written = line.split_once(": ").unwrap().1;
        assert!(written.starts_with(['"', '\'']), "{line}");
    }
}

#[test]
fn numbers_are_what_they_are_for_kubectl() {
    let spec = json!({"envoy": {"extraVolumes": [{"name": "extra", "configMap": {"name": "c", "defaultMode": "MODE"}}]}});
    let text = stream(&[open(), document("site", &spec)]);
    let modes = text.replace("defaultMode: MODE", "defaultMode: 0440");
    assert_ne!(text, modes);
    let yaml = rendered(&modes).unwrap().yaml;
    assert!(yaml.contains("defaultMode: 288\n"), "{yaml}");
}

#[test]
fn all_of_a_file_is_rendered_in_its_order_and_what_is_ignored_is_named() {
    let other =
        json!({"ports": {"http": 8080, "https": 8443, "metrics": 8003, "admin": 9002, "shutdown": 8091}});
    let (b, a) = (
        document("b", &json!({"ingressClassName": "b"})),
        document("a", &json!({"ingressClassName": "a", "envoy": other})),
    );
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [a, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}]});
    let text =
        stream(&[b.clone(), open(), policy("strict", &json!({"name": "r", "namespaces": ["x"]})), list]);
    let found = rendered(&text).unwrap();
    assert_eq!(parsed(&found.yaml), [built(&b), built(&a)].concat());
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
    assert!(found.notes[0].ends_with(", item 2: ConfigMap c is ignored"), "{:?}", found.notes);
    assert_eq!(found.notes[1], "ContourPolicy strict is ignored: --policy default is obeyed");
}

/// What `kubectl get -o yaml` writes: whose the children are is known then, and what Envoy's pods were made with.
#[test]
fn an_object_from_a_cluster_keeps_its_identity_and_its_agent() {
    let mut document = document("site", &json!({}));
    document["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000001");
    document["status"] =
        json!({"envoyTemplate": {"agentImage": "a:b", "envoyImage": defaults().envoy_image}});
    let found = rendered(&stream(&[open(), document.clone()])).unwrap();
    assert_eq!(parsed(&found.yaml), built(&document));
    assert!(found.yaml.contains("image: a:b") && found.yaml.contains("ownerReferences"), "{}", found.yaml);
}

/// What is wrong with a file, by the parts of the messages in order.
fn wrong() -> Vec<(String, Vec<[&'static str; 3]>)> {
    let ok = document("site", &json!({}));
    let unknown = document("typo", &json!({"envoi": {}}));
    let kind = document("kind", &json!({"envoy": {"workload": "StatefulSet"}}));
    let modest =
        json!({"publishing": {"type": "ClusterIPService"}, "contour": {"watchNamespaces": ["edge"]}});
    let mut image = modest.clone();
    image["envoy"] = json!({"image": "evil.example/envoy:v1", "shutdown": {"gracePeriod": "soon"}});
    let mut watching = modest.clone();
    watching["contour"]["watchNamespaces"] = json!(["edge", "shop"]);
    vec![
        (String::new(), vec![["edge.yaml", "", "there is no ContourDeployment in it"]]),
        ("a: [\n".to_owned(), vec![["edge.yaml: document 1", "", "is not valid YAML"]]),
        (
            format!("{}---\nb: c\n---\n- 1\n", stream(&[open(), ok.clone()])),
            vec![["document 3", "", "apiVersion and kind"], ["document 4", "", "apiVersion and kind"]],
        ),
        (
            stream(&[ok.clone(), unknown, kind]),
            vec![
                ["document 2", "ContourDeployment edge/typo", "spec.envoi"],
                ["document 3", "ContourDeployment edge/kind", "spec.envoy.workload"],
            ],
        ),
        (
            stream(&[open(), ok.clone(), ok.clone()]),
            vec![["document 3", "ContourDeployment edge/site", "a second time"]],
        ),
        (
            stream(std::slice::from_ref(&ok)),
            vec![
                [
                    "document 1",
                    "ContourDeployment edge/site: spec.contour.watchNamespaces",
                    "the built-in policy",
                ],
                ["document 1", "ContourDeployment edge/site: spec.envoy.hostNetwork", "the built-in policy"],
            ],
        ),
        (
            stream(&[document("site", &image)]),
            vec![["document 1", "spec.envoy.shutdown.gracePeriod", "soon"]],
        ),
        (
            stream(&[document("site", &watching)]),
            vec![["document 1", "spec.contour.watchNamespaces", "namespace shop, which did not consent"]],
        ),
        (
            stream(&[open(), ok.clone(), document("two", &json!({}))]),
            vec![["document 3", "ContourDeployment edge/two", "already served"]],
        ),
        (
            "apiVersion: operator.projectcontour.io/v1\nkind: ContourDeployment\n".to_owned(),
            vec![[
                "document 1",
                "operator.projectcontour.io/v1 is not known",
                "operator.projectcontour.io/v1alpha1",
            ]],
        ),
    ]
}

#[test]
fn what_is_wrong_is_named_with_its_document_and_nothing_is_printed() {
    for (text, expected) in wrong() {
        let errors = rendered(&text).expect_err(&text);
        for parts in &expected {
            let told = |error: &String| parts.iter().all(|part| error.contains(part));
            assert!(errors.iter().any(told), "{parts:?} is not in {errors:#?}");
        }
        assert!(errors.iter().all(|error| error.starts_with("edge.yaml: ")), "{errors:#?}");
    }
}

#[test]
fn a_namespace_of_the_file_consents() {
    let spec =
        json!({"publishing": {"type": "ClusterIPService"}, "contour": {"watchNamespaces": ["edge", "shop"]}});
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"operator.projectcontour.io/watched-by": "edge"}},
    });
    let found = rendered(&stream(&[document("site", &spec), namespace])).unwrap();
    assert_eq!(found.notes, Vec::<String>::new());
    assert!(parsed(&found.yaml).iter().any(|one| one["metadata"]["namespace"] == "shop"));
}

/// Runs the program with this on its standard input.
fn program(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_contour-operator"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // It may end before it reads.
    let _ = child.stdin.take().expect("it has one").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

#[test]
fn the_program_tells_how_it_went_by_its_exit_code() {
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/contourdeployment.yaml");
    let (example, ok) = (example.display().to_string(), stream(&[open(), document("site", &json!({}))]));
    let refused = stream(&[document("site", &json!({}))]);
    let note = format!("{ok}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n");
    for (arguments, input, code, told) in [
        (&["render", &example, "--contour-image=example/contour:v9"][..], "", 0, ""),
        (&["render", "-"], &ok, 0, ""),
        (&["render", "-"], &note, 0, "note: standard input: document 3"),
        (&["render", "-"], &refused, 1, "ContourDeployment edge/site: spec.envoy.hostNetwork: "),
        (&["render", "-", "--policy=other"], &ok, 1, "spec.envoy.hostNetwork"),
        (&["render", "/nowhere.yaml"], "", 1, "error: /nowhere.yaml: cannot be read: "),
        (&["render"], "", 2, "Usage"),
        (&["diff", "--kubeconfig=/nowhere", "-"], &ok, 2, "/nowhere"),
        (&["diff", "-o", "xml"], "", 2, "json"),
    ] {
        let output = program(arguments, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(told), "{arguments:?}: {errors}");
        assert_eq!(output.stdout.is_empty(), code != 0, "{arguments:?}");
    }
    let output = program(&["render", &example, "--contour-image=example/contour:v9"], "");
    assert!(String::from_utf8_lossy(&output.stdout).contains("image: example/contour:v9"));
}

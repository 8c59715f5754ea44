//! `contour certgen`: files, and Secrets in a real API server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use contour_certs::{Certificate, Leaf};
use contour_e2e::apiserver::{self, ApiServer};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

fn certgen(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contour"));
    // Without a usable cluster: only --kube may look for one.
    command.env_remove("CONTOUR_NAMESPACE").env("HOME", "/nonexistent").arg("certgen").args(arguments);
    command.output().unwrap()
}

fn success(arguments: &[&str]) -> String {
    let output = certgen(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn failure(arguments: &[&str]) -> String {
    let output = certgen(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Both pairs load, and are of the CA.
fn assert_set(ca: &str, contour: (&str, &str), envoy: (&str, &str)) {
    let ca = Certificate::parse(ca).unwrap();
    for (name, (certificate, key)) in [("contour", contour), ("envoy", envoy)] {
        let leaf = Leaf::load(certificate, key).unwrap();
        assert!(leaf.certificate().is_signed_by(&ca), "{name}");
        assert_eq!(leaf.certificate().common_name(), name);
        assert_eq!(leaf.certificate().not_after(), ca.not_after());
    }
}

fn pem_files(directory: &Path) -> Vec<String> {
    ["cacert.pem", "contourcert.pem", "contourkey.pem", "envoycert.pem", "envoykey.pem"]
        .map(|name| fs::read_to_string(directory.join(name)).unwrap())
        .to_vec()
}

#[test]
fn pem_files_are_a_matching_set_that_only_the_owner_reads() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("certs");
    let printed = success(&["--pem", "--namespace=edge", "--certificate-lifetime=30", out.to_str().unwrap()]);
    assert!(printed.contains("contourkey.pem created") && !printed.contains("PRIVATE"), "{printed}");
    let files = pem_files(&out);
    assert_set(&files[0], (&files[1], &files[2]), (&files[3], &files[4]));
    let certificate = Certificate::parse(&files[1]).unwrap();
    assert_eq!(certificate.dns_names()[3], "contour.edge.svc.cluster.local");
    let life = certificate.not_after().duration_since(certificate.not_before());
    assert_eq!(life.as_hours(), 31 * 24, "30 days, and one back");
    for entry in fs::read_dir(&out).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }

    let error = failure(&["--pem", out.to_str().unwrap()]);
    assert!(error.contains("cacert.pem exists; nothing was written: pass --overwrite"), "{error}");
    assert_eq!(pem_files(&out), files);

    fs::set_permissions(out.join("envoykey.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    success(&["--pem", "--overwrite", out.to_str().unwrap()]);
    let replaced = pem_files(&out);
    assert!(files.iter().all(|old| !replaced.contains(old)));
    assert_eq!(fs::metadata(out.join("envoykey.pem")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn part_of_a_set_is_never_written() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("envoykey.pem"), "mine").unwrap();
    failure(&["--pem", directory.path().to_str().unwrap()]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    assert!(failure(&[]).contains("nothing to write; pass --pem or --yaml"));
    assert!(failure(&["--yaml", "--namespace=Not_A_Name"]).contains("invalid namespace \"Not_A_Name\""));
    assert!(failure(&["--yaml", "--secrets-name-suffix=$"]).contains("correct --secrets-name-suffix"));
    assert!(failure(&["--yaml", "--secrets-format=other"]).contains("[possible values: legacy, compact]"));
    assert!(failure(&["--pem", "--certificate-lifetime=0"]).contains("--certificate-lifetime"));
    assert!(failure(&["--pem", "--certificate-lifetime=4294967295"]).contains("and the year 10000"));
    let error = failure(&["--kube"]);
    assert!(error.contains("/nonexistent/.kube/config") && error.contains("--incluster"), "{error}");
}

/// Secrets by name: type, and data as text.
type Secrets = BTreeMap<String, (String, BTreeMap<String, String>)>;

fn describe(secrets: Vec<Secret>) -> Secrets {
    let text = |data: BTreeMap<String, k8s_openapi::ByteString>| {
        data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect()
    };
    let entry = |secret: Secret| {
        assert_eq!(secret.metadata.labels.unwrap()["app"], "contour");
        (secret.metadata.name.unwrap(), (secret.type_.unwrap(), text(secret.data.unwrap())))
    };
    secrets.into_iter().map(entry).collect()
}

fn assert_legacy(secrets: &Secrets, suffix: &str) {
    let names = ["cacert", "contourcert", "envoycert"].map(|name| format!("{name}{suffix}"));
    assert_eq!(secrets.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    let [ca, contour, envoy] = names.map(|name| &secrets[&name]);
    assert_eq!((&*ca.0, &*contour.0, &*envoy.0), ("Opaque", "kubernetes.io/tls", "kubernetes.io/tls"));
    assert_eq!((ca.1.len(), contour.1.len(), envoy.1.len()), (1, 2, 2));
    let pair = |data: &BTreeMap<String, String>| (data["tls.crt"].clone(), data["tls.key"].clone());
    let (contour, envoy) = (pair(&contour.1), pair(&envoy.1));
    assert_set(&ca.1["cacert.pem"], (&contour.0, &contour.1), (&envoy.0, &envoy.1));
}

fn assert_compact(secrets: &Secrets) {
    assert_eq!(secrets.keys().collect::<Vec<_>>(), ["contourcert", "envoycert"]);
    let [contour, envoy] = ["contourcert", "envoycert"].map(|name| &secrets[name]);
    assert_eq!((&*contour.0, &*envoy.0), ("kubernetes.io/tls", "kubernetes.io/tls"));
    assert_eq!(contour.1["ca.crt"], envoy.1["ca.crt"]);
    let pair = |data: &BTreeMap<String, String>| (data["tls.crt"].clone(), data["tls.key"].clone());
    let (contour_pair, envoy_pair) = (pair(&contour.1), pair(&envoy.1));
    assert_set(&contour.1["ca.crt"], (&contour_pair.0, &contour_pair.1), (&envoy_pair.0, &envoy_pair.1));
}

#[test]
fn yaml_files_hold_the_secrets() {
    for (format, names) in [
        ("legacy", &["cacert-x.yaml", "contourcert-x.yaml", "envoycert-x.yaml"][..]),
        ("compact", &["contourcert-x.yaml", "envoycert-x.yaml"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().to_str().unwrap();
        let format = format!("--secrets-format={format}");
        success(&["--yaml", &format, "--secrets-name-suffix=-x", "--namespace=edge", out]);
        let mut found: Vec<_> = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        found.sort();
        assert_eq!(found, names);
        let secrets = names.iter().map(|name| {
            let text = fs::read_to_string(directory.path().join(name)).unwrap();
            let secret: Secret = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(secret.metadata.namespace.as_deref(), Some("edge"));
            secret
        });
        let secrets = describe(secrets.collect());
        if names.len() == 3 {
            assert_legacy(&secrets, "-x");
        }
    }
}

/// The user of the stock Job, with the rights of its Role: Secrets may be created and updated, not even read.
const JOB: &str = "system:serviceaccount:projectcontour:contour-certgen";

async fn grant_stock_role(client: &kube::Client, namespace: &str) {
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "contour-certgen"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "update"]}],
    }))
    .unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "contour-certgen"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "contour-certgen"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": JOB}],
    }))
    .unwrap();
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &role).await.unwrap();
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &binding).await.unwrap();
}

/// A kubeconfig for [`JOB`].
fn job_kubeconfig(server: &ApiServer, directory: &Path) -> PathBuf {
    let text = fs::read_to_string(server.kubeconfig()).unwrap();
    let mut kubeconfig: Value = serde_saphyr::from_str(&text).unwrap();
    kubeconfig["users"][0]["user"]["as"] = JOB.into();
    let path = directory.join("kubeconfig");
    fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_written_to_the_cluster() {
    let Some(server) = apiserver::require().await else { return };
    let client = server.client().await.unwrap();
    let namespace = server.namespace("certgen").await.unwrap();
    grant_stock_role(&client, &namespace).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = format!("--kubeconfig={}", job_kubeconfig(server, directory.path()).display());
    let namespace_flag = format!("--namespace={namespace}");
    let kube = ["--kube", &kubeconfig, &namespace_flag];
    let compact = ["--kube", &kubeconfig, &namespace_flag, "--secrets-format=compact"];
    let api = Api::<Secret>::namespaced(client, &namespace);
    let list = async || describe(api.list(&ListParams::default()).await.unwrap().items);

    let printed = success(&compact);
    assert!(printed.contains("secret/contourcert created\nsecret/envoycert created\n"), "{printed}");
    let first = list().await;
    assert_compact(&first);

    let printed = success(&compact);
    assert!(
        printed.contains("secret/contourcert already exists\nsecret/envoycert already exists\n"),
        "{printed}"
    );
    assert_eq!(list().await, first, "what exists is left alone");

    let printed = success(&[&compact[..], &["--overwrite"]].concat());
    assert!(printed.contains("secret/contourcert updated\nsecret/envoycert updated\n"), "{printed}");
    let second = list().await;
    assert_compact(&second);
    assert_ne!(first, second);

    // The legacy form adds a Secret: a new CA beside old leaves would break the connection.
    let error = failure(&kube);
    assert!(error.contains("contourcert, envoycert exist") && error.contains("pass --overwrite"), "{error}");
    assert_eq!(list().await, second, "nothing was written");
    success(&[&kube[..], &["--overwrite"]].concat());
    assert_legacy(&list().await, "");

    for name in ["cacert", "contourcert", "envoycert"] {
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    success(&[&kube[..], &["--secrets-name-suffix=-v1.2"]].concat());
    assert_legacy(&list().await, "-v1.2");

    let error = failure(&["--kube", &kubeconfig, "--namespace=other"]);
    assert!(error.contains("cannot create secret/contourcert in namespace \"other\""), "{error}");
    assert!(error.contains("is forbidden"), "{error}");
}

//! `contour bootstrap` and `contour version`, as processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn contour(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contour"));
    for variable in ["CONTOUR_NAMESPACE", "ENVOY_CAFILE", "ENVOY_CERT_FILE", "ENVOY_KEY_FILE"] {
        command.env_remove(variable);
    }
    command.args(arguments).output().unwrap()
}

/// The error of a run that must fail.
fn failure(arguments: &[&str]) -> String {
    let output = contour(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// TLS files, and the flags that name them.
fn tls(directory: &Path) -> [String; 3] {
    ["cafile", "cert-file", "key-file"].map(|name| {
        let path = directory.join(name);
        fs::write(&path, "content is Envoy's affair").unwrap();
        format!("--envoy-{name}={}", path.display())
    })
}

#[test]
fn standard_output_holds_the_bootstrap_alone() {
    let output =
        contour(&["bootstrap", "-", "--namespace=edge", "--xds-port=18001", "--dns-lookup-family=v4"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let bootstrap: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cluster = &bootstrap["static_resources"]["clusters"][0];
    assert_eq!(cluster["alt_stat_name"], "edge_contour_18001");
    assert_eq!(cluster["dns_lookup_family"], "V4_ONLY");
    assert_eq!(bootstrap["dynamic_resources"]["ads_config"]["api_type"], "DELTA_GRPC");
}

#[test]
fn the_file_is_written_in_place_and_the_resources_beside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("envoy.json");
    fs::write(&path, "x".repeat(100_000)).unwrap();
    let mut held_open = File::open(&path).unwrap();
    let [ca, certificate, key] = tls(directory.path());
    let resources = directory.path().join("deep/resources");
    let resources_flag = format!("--resources-dir={}", resources.display());
    let output = contour(&["bootstrap", path.to_str().unwrap(), &ca, &certificate, &key, &resources_flag]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");

    let mut seen = String::new();
    held_open.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, fs::read_to_string(&path).unwrap());
    let bootstrap: Value = serde_json::from_str(&seen).unwrap();
    assert!(bootstrap["static_resources"]["clusters"][0]["transport_socket"].is_object());
    assert_eq!(fs::metadata(resources.join("sds")).unwrap().permissions().mode() & 0o777, 0o777);
    for name in ["xds-tls-certificate.json", "xds-validation-context.json"] {
        let resource = fs::read_to_string(resources.join("sds").join(name)).unwrap();
        let resource: Value = serde_json::from_str(&resource).unwrap();
        assert_eq!(resource["resources"].as_array().unwrap().len(), 1, "{name}");
    }
}

#[test]
fn tls_files_must_be_there_and_hold_something() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("envoy.json");
    let path = out.to_str().unwrap();
    let [ca, certificate, key] = tls(directory.path());
    assert!(failure(&["bootstrap", path, &ca, &key]).contains("you must supply all TLS parameters"));

    fs::write(directory.path().join("cert-file"), "").unwrap();
    let error = failure(&["bootstrap", path, &ca, &certificate, &key]);
    assert!(error.contains("--envoy-cert-file") && error.contains("it is empty"), "{error}");

    fs::remove_file(directory.path().join("cert-file")).unwrap();
    let error = failure(&["bootstrap", path, &ca, &certificate, &key]);
    assert!(error.contains("cert-file\" cannot be used: No such file"), "{error}");
    assert!(!out.exists(), "nothing is written");
}

#[test]
fn wrong_values_are_named() {
    for (flag, part) in [
        ("--admin-address=127.0.0.1", "cannot be `localhost` or an IP address"),
        ("--xds-resource-version=v2", "v2"),
        ("--overload-downstream-max-conn=-1", "-1"),
        ("--overload-downstream-max-conn=9223372036854775808", "9223372036854775808"),
        ("--dns-lookup-family=v5", "v5"),
        ("--xds-port=0", "0"),
        ("--xds-address=", "the xDS address is empty"),
    ] {
        let error = failure(&["bootstrap", "-", flag]);
        assert!(error.contains(part), "{flag}: {error}");
    }
    assert!(
        failure(&["bootstrap", "/nonexistent/envoy.json"])
            .contains("cannot write \"/nonexistent/envoy.json\"")
    );
}

#[test]
fn version_is_text_for_people_and_json_for_machines() {
    let text = contour(&["version"]);
    assert!(text.status.success() && text.stdout.is_empty());
    let text = String::from_utf8(text.stderr).unwrap();
    let json = contour(&["version", "-o", "json"]);
    assert!(json.status.success() && json.stderr.is_empty());
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let version = json["version"].as_str().unwrap();
    assert!(text.contains(&format!("version: {version}\n")), "{text}");
}

//! Certificates and keys of every kind, and damaged ones: what the controller says of each, and what a real Envoy says.
//!
//! The cases are data: `controller/objects/tests/secrets`. `UPDATE_GOLDEN=1` writes `verdicts.txt` there; read what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use contour_e2e::envoy::Launch;
use contour_objects::Secret;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1;
use serde_json::{Value, json};

/// Refused though Envoy would take it, and why.
const STRICTER: [(&str, &str); 6] = [
    (
        "only blocks of type CERTIFICATE may stand there",
        "a key beside the certificate would be shown in Envoy's configuration",
    ),
    ("private keys, not one", "Envoy takes the first, whichever its owner meant"),
    ("that begins no block", "a block that Envoy overlooks, most likely damaged"),
    ("that does not end", "as above"),
    ("it must have 2048 to 8192", "a handshake with a larger key keeps a worker from everybody for long"),
    (
        "is no private key that Envoy takes",
        "the curve is written out, parameter by parameter, which nobody does",
    ),
];

fn directory() -> PathBuf {
    contour_e2e::repository_root().join("controller/objects/tests/secrets")
}

/// The files of each case, by case.
fn cases() -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            for line in std::fs::read_to_string(&path)?.lines() {
                let mut files: BTreeMap<String, String> = serde_json::from_str(line)?;
                let case = files.remove("case").context("a case has a name")?;
                found.insert(case, files);
            }
        }
    }
    Ok(found)
}

/// What the controller makes of a case: the files it would send, or why it sends none.
fn judged(files: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let bytes = |text: &String| ByteString(text.clone().into_bytes());
    let data = files.iter().map(|(key, text)| (key.clone(), bytes(text))).collect();
    let secret = Secret::from(v1::Secret { data: Some(data), ..v1::Secret::default() });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let sent = if files.contains_key("ca.crt") {
        secret.ca.map(|ca| vec![("ca.crt", text(&ca.pem))])
    } else {
        secret.tls.map(|pair| vec![("tls.crt", text(&pair.certificate)), ("tls.key", text(&pair.key))])
    };
    let sent = sent.map_err(|error| error.to_string())?;
    Ok(sent.into_iter().map(|(key, text)| (key.to_owned(), text)).collect())
}

/// Which of these a real Envoy takes, certificates as those of listeners, authorities as those of clusters; and what it shows of its configuration.
async fn taken(cases: &BTreeMap<String, BTreeMap<String, String>>) -> Result<(BTreeSet<String>, String)> {
    const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
    let inline = |text: &str| json!({"inline_string": text});
    let socket = |kind: &str, context: Value| {
        let context = json!({"@type": format!("{TLS}.{kind}"), "common_tls_context": context});
        json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
    };
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for (name, files) in cases {
        if let Some(ca) = files.get("ca.crt") {
            let context = json!({"validation_context": {"trusted_ca": inline(ca)}});
            clusters.push(json!({
                "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": name, "type": "STATIC",
                "transport_socket": socket("UpstreamTlsContext", context),
            }));
            continue;
        }
        let pair =
            json!({"certificate_chain": inline(&files["tls.crt"]), "private_key": inline(&files["tls.key"])});
        let chain = json!({
            "filters": [],
            "transport_socket": socket("DownstreamTlsContext", json!({"tls_certificates": [pair]})),
        });
        listeners.push(json!({
            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": name, "bind_to_port": false,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1 + listeners.len()}},
            "filter_chains": [chain],
        }));
    }
    let dir = tempfile::tempdir()?;
    let source = |name: &str, resources: Vec<Value>| -> Result<Value> {
        let path = dir.path().join(name);
        std::fs::write(&path, json!({"resources": resources}).to_string())?;
        Ok(json!({"path_config_source": {"path": path}, "resource_api_version": "V3"}))
    };
    let bootstrap = json!({
        "node": {"id": "test", "cluster": "test"},
        "dynamic_resources": {"lds_config": source("lds.json", listeners)?, "cds_config": source("cds.json", clusters)?},
    });
    // Each refusal is a line of the log, which is of no interest here.
    let envoy = Launch::bootstrap(bootstrap.to_string()).args(["--log-level", "critical"]).start().await?;
    envoy.ready().await?;
    let listeners: Value = serde_json::from_str(&envoy.get("/listeners?format=json").await?)?;
    let clusters = envoy.clusters().await?;
    let names = [&listeners["listener_statuses"], &clusters["cluster_statuses"]];
    let names = names.into_iter().filter_map(Value::as_array).flatten();
    let names = names.filter_map(|status| status["name"].as_str().map(str::to_owned)).collect();
    Ok((names, envoy.config_dump().await?.to_string()))
}

#[tokio::test]
async fn the_controller_takes_what_envoy_takes() -> Result<()> {
    let cases = cases()?;
    assert!(cases.len() > 700, "{} cases", cases.len());
    let (envoy, _) = taken(&cases).await?;
    let judged: BTreeMap<_, _> = cases.iter().map(|(name, files)| (name.clone(), judged(files))).collect();
    let sent: BTreeMap<_, _> =
        judged.iter().filter_map(|(name, sent)| Some((name.clone(), sent.clone().ok()?))).collect();
    let (accepted, shown) = taken(&sent).await?;
    for (name, key) in sent.iter().filter_map(|(name, files)| Some((name, files.get("tls.key")?))) {
        let line = key.lines().nth(1).context("a key has a line")?;
        assert!(!shown.contains(line), "{name}: its key is in Envoy's configuration dump");
    }

    let mut verdicts = String::new();
    let mut wrong = Vec::new();
    for (name, judged) in &judged {
        let takes = envoy.contains(name);
        let told = judged.as_ref().err().map_or("", String::as_str);
        writeln!(verdicts, "{name}\t{}\t{told}", if takes { "takes" } else { "refuses" })?;
        if judged.is_ok() && !accepted.contains(name) {
            wrong.push(format!("{name}: passed on though Envoy refuses it"));
        }
        if judged.is_err() && takes && !STRICTER.iter().any(|(why, _)| told.contains(why)) {
            wrong.push(format!("{name}: refused though Envoy takes it: {told}"));
        }
    }
    let path = directory().join("verdicts.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &verdicts)?;
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_same(&path, &verdicts)
}

fn assert_same(path: &Path, verdicts: &str) -> Result<()> {
    let known = std::fs::read_to_string(path)?;
    let known: BTreeSet<&str> = known.lines().collect();
    let found: BTreeSet<&str> = verdicts.lines().collect();
    let changed: Vec<_> = known.symmetric_difference(&found).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    Ok(())
}

//! `tls-secret`: a certificate of a throw-away authority as a Secret's YAML, for configurations to try out.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use contour_e2e::certs::TestCa;
use serde_json::json;

/// Writes a Secret with a new certificate and key, and the authority to trust for it.
#[derive(Debug, Parser)]
#[command(name = "tls-secret")]
struct Arguments {
    /// Namespace and name of the Secret.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    secret: String,
    /// DNS name that the certificate is for; may be repeated.
    #[arg(long, value_name = "NAME", required = true)]
    host: Vec<String>,
    /// Where to write the authority's certificate.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Where to write the Secret; for the owner's eyes only, as it holds the key.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (namespace, name) = arguments.secret.split_once('/').context("--secret is NAMESPACE/NAME")?;
    let hosts: Vec<&str> = arguments.host.iter().map(String::as_str).collect();
    let ca = TestCa::new("contour example CA")?;
    let leaf = ca.leaf(&hosts)?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem},
    });
    write(&arguments.ca, ca.pem(), 0o644)?;
    // JSON is YAML.
    write(&arguments.out, &serde_json::to_string_pretty(&secret)?, 0o600)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    let mut file = opened.with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{text}").with_context(|| format!("cannot write {}", path.display()))
}

//! Where Contour's definitions are: in its Go module.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::Command;

/// The release whose API is the contract.
const MODULE: &str = "github.com/projectcontour/contour@v1.33.8";

/// The file with the definitions, within the module.
const FILE: &str = "examples/contour/01-crds.yaml";

/// What `go mod download -json` tells of a module.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Download {
    dir: Option<PathBuf>,
    error: Option<String>,
}

/// Has Go download the module, unless it is there already, and returns the path of the definitions.
pub(super) fn locate() -> Result<PathBuf> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", MODULE])
        .output()
        .context("cannot run `go`, which downloads Contour's definitions")?;
    let download: Download = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("`go mod download {MODULE}` failed: {}", String::from_utf8_lossy(&output.stderr).trim())
    })?;
    if let Some(error) = download.error {
        bail!("`go mod download {MODULE}` failed: {error}");
    }
    let dir = download.dir.context("`go mod download` names no directory")?;
    Ok(dir.join(FILE))
}

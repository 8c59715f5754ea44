//! Where Contour's definitions are: in its Go module.

use anyhow::{Context, Result, bail};
use contour_crds::CONTOUR_RELEASE;
use serde::Deserialize;
use std::path::PathBuf;
use std::process::Command;

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
    let module = format!("github.com/projectcontour/contour@v{CONTOUR_RELEASE}");
    let output = Command::new("go")
        .args(["mod", "download", "-json", &module])
        .output()
        .context("cannot run `go`, which downloads Contour's definitions")?;
    let download: Download = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("`go mod download {module}` failed: {}", String::from_utf8_lossy(&output.stderr).trim())
    })?;
    if let Some(error) = download.error {
        bail!("`go mod download {module}` failed: {error}");
    }
    let dir = download.dir.context("`go mod download` names no directory")?;
    Ok(dir.join(FILE))
}

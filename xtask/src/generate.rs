//! Generated files: the custom resource definitions as YAML.

use anyhow::{Context, Result};
use contour_crds::all_crds;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HEADER: &str =
    "# Generated from the Rust types in crds/ by `cargo run -p contour-xtask -- generate`. Do not edit.\n";

/// Writes the files that differ, and removes those that are not generated any more.
pub(crate) fn write() -> Result<ExitCode> {
    let directory = directory();
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let wanted = wanted()?;
    for name in stale(&directory, &wanted)? {
        let path = directory.join(&name);
        match wanted.get(&name) {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        }
        .with_context(|| format!("cannot update {}", path.display()))?;
        println!("updated {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails if a file is not as it would be written, and names every such file.
pub(crate) fn check() -> Result<ExitCode> {
    let directory = directory();
    let stale = stale(&directory, &wanted()?)?;
    for name in &stale {
        eprintln!("stale: {}", directory.join(name).display());
    }
    if stale.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("run `cargo run -p contour-xtask -- generate` and commit the result");
    Ok(ExitCode::FAILURE)
}

fn directory() -> PathBuf {
    crate::repository_root().join("bundle/crds")
}

/// The text of every generated file, by file name.
fn wanted() -> Result<BTreeMap<String, String>> {
    all_crds()
        .iter()
        .map(|crd| {
            let name = crd.metadata.name.as_deref().unwrap_or(&crd.spec.names.plural);
            // Through a JSON value: it keeps the order of fields and has no absent ones.
            let value = serde_json::to_value(crd).with_context(|| format!("cannot serialise {name}"))?;
            let yaml =
                serde_saphyr::to_string(&value).with_context(|| format!("cannot write {name} as YAML"))?;
            Ok((format!("{name}.yaml"), format!("{HEADER}{yaml}")))
        })
        .collect()
}

/// The names of the files that are missing, differ, or are not generated.
fn stale(directory: &Path, wanted: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let present = present(directory)?;
    let differing =
        wanted.iter().filter(|(name, text)| present.get(*name) != Some(*text)).map(|(name, _)| name);
    let left_over = present.keys().filter(|name| !wanted.contains_key(*name));
    Ok(differing.chain(left_over).cloned().collect())
}

/// The text of every YAML file of the directory, by file name; none if there is no directory yet.
fn present(directory: &Path) -> Result<BTreeMap<String, String>> {
    let mut present = BTreeMap::new();
    if !directory.exists() {
        return Ok(present);
    }
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", directory.display()))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            present.insert(name.to_owned(), text);
        }
    }
    Ok(present)
}

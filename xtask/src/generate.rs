//! Generated files: the custom resource definitions as YAML, and the manifest that installs them with the operator.

use anyhow::{Context, Result};
use contour_crds::all_crds;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const CRD_HEADER: &str =
    "# Generated from the Rust types in crds/ by `cargo run -p contour-xtask -- generate`. Do not edit.\n";
const INSTALL_HEADER: &str = "\
# Installs contour-operator: kubectl apply --server-side -f install.yaml
# Generated from the Rust types in crds/ and from bundle/operator.yaml by `cargo run -p contour-xtask -- generate`. Do not edit.
";

/// The directory in which every YAML file is generated.
const CRDS: &str = "bundle/crds";
/// The one manifest that installs everything.
const INSTALL: &str = "bundle/install.yaml";
/// The part of it that people write.
const OPERATOR: &str = "bundle/operator.yaml";

/// Generated files by their paths from the root of the repository.
type Files = BTreeMap<PathBuf, String>;

/// Writes the files that differ, and removes those that are not generated any more.
pub(crate) fn write() -> Result<ExitCode> {
    let root = crate::repository_root();
    fs::create_dir_all(root.join(CRDS)).with_context(|| format!("cannot create {CRDS}"))?;
    let wanted = wanted(&root)?;
    for path in stale(&root, &wanted)? {
        match wanted.get(&path) {
            Some(text) => fs::write(root.join(&path), text),
            None => fs::remove_file(root.join(&path)),
        }
        .with_context(|| format!("cannot update {}", path.display()))?;
        println!("updated {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails if a file is not as it would be written, and names every such file.
pub(crate) fn check() -> Result<ExitCode> {
    let root = crate::repository_root();
    let stale = stale(&root, &wanted(&root)?)?;
    for path in &stale {
        eprintln!("stale: {}", path.display());
    }
    if stale.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("run `cargo run -p contour-xtask -- generate` and commit the result");
    Ok(ExitCode::FAILURE)
}

/// The text of every generated file.
fn wanted(root: &Path) -> Result<Files> {
    let definitions = definitions()?;
    let operator =
        fs::read_to_string(root.join(OPERATOR)).with_context(|| format!("cannot read {OPERATOR}"))?;
    let mut files: Files = definitions
        .iter()
        .map(|(name, yaml)| (Path::new(CRDS).join(format!("{name}.yaml")), format!("{CRD_HEADER}{yaml}")))
        .collect();
    files.insert(PathBuf::from(INSTALL), install(&definitions, &operator));
    Ok(files)
}

/// The YAML of every definition, by its name.
fn definitions() -> Result<BTreeMap<String, String>> {
    all_crds()
        .iter()
        .map(|crd| {
            let name = crd.metadata.name.as_deref().unwrap_or(&crd.spec.names.plural);
            // Through a JSON value: it keeps the order of fields and has no absent ones.
            let value = serde_json::to_value(crd).with_context(|| format!("cannot serialise {name}"))?;
            let yaml =
                serde_saphyr::to_string(&value).with_context(|| format!("cannot write {name} as YAML"))?;
            Ok((name.to_owned(), yaml))
        })
        .collect()
}

/// One manifest of all definitions and of the operator, without what tells people how to edit the latter.
fn install(definitions: &BTreeMap<String, String>, operator: &str) -> String {
    let operator = operator.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    let written_after = operator.find("apiVersion:").unwrap_or_default();
    let mut manifest = INSTALL_HEADER.to_owned();
    for document in definitions.values().map(String::as_str).chain([&operator[written_after..]]) {
        manifest += "---\n";
        manifest += document.trim_end();
        manifest += "\n";
    }
    manifest
}

/// The paths of the files that are missing, differ, or are not generated.
fn stale(root: &Path, wanted: &Files) -> Result<Vec<PathBuf>> {
    let differing = wanted
        .iter()
        .filter(|(path, text)| fs::read_to_string(root.join(path)).ok().as_ref() != Some(text))
        .map(|(path, _)| path.clone());
    let left_over = definition_files(root)?.into_iter().filter(|path| !wanted.contains_key(path));
    Ok(differing.chain(left_over).collect())
}

/// The YAML files in the directory of definitions; none if there is no directory yet.
fn definition_files(root: &Path) -> Result<Vec<PathBuf>> {
    let directory = root.join(CRDS);
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot list {CRDS}"))? {
        let path = entry.with_context(|| format!("cannot list {CRDS}"))?.path();
        let Some(name) = path.file_name() else { continue };
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(Path::new(CRDS).join(name));
        }
    }
    Ok(files)
}

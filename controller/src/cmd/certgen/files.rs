//! The certificates as files.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Secret;

use super::Certificates;

/// Name and content of a file.
type Document = (String, String);

/// One PEM file per certificate and key.
pub(super) fn pem(certificates: &Certificates) -> Vec<Document> {
    let Certificates { ca, contour, envoy } = certificates;
    let documents = [
        ("cacert.pem", ca.pem()),
        ("contourcert.pem", contour.chain()),
        ("contourkey.pem", contour.key().pem()),
        ("envoycert.pem", envoy.chain()),
        ("envoykey.pem", envoy.key().pem()),
    ];
    documents.into_iter().map(|(name, content)| (name.to_owned(), content.to_owned())).collect()
}

/// One YAML file per Secret, called as the Secret is.
pub(super) fn yaml(secrets: &[Secret]) -> anyhow::Result<Vec<Document>> {
    let document = |secret: &Secret| {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let content =
            serde_saphyr::to_string(secret).with_context(|| format!("Secret {name} makes no YAML"))?;
        Ok((format!("{name}.yaml"), content))
    };
    secrets.iter().map(document).collect()
}

/// Writes all files (0600), or none if one of them exists and `overwrite` is false: part of a set is of no use.
pub(super) fn write(directory: &Path, documents: &[Document], overwrite: bool) -> anyhow::Result<()> {
    if documents.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let mut there = documents.iter().filter(|(name, _)| directory.join(name).symlink_metadata().is_ok());
    if let Some((name, _)) = there.next()
        && !overwrite
    {
        let path = directory.join(name);
        bail!("{} exists; nothing was written: pass --overwrite, or another directory", path.display());
    }
    for (name, content) in documents {
        let path = directory.join(name);
        let written = contour_disk::replace_private(&path, content.as_bytes());
        written.with_context(|| format!("cannot write {}", path.display()))?;
        println!("{} created", path.display());
    }
    Ok(())
}

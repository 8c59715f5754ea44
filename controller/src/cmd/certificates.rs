//! `/certificates`: which certificates a process works with now, for whoever rotates them. Public parts only.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use contour_certs::{Certificate, CertificateError, Credentials};
use contour_xds::Certificates;

/// Files as the kubelet mounts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// Certificates of the authorities that are trusted.
    pub(crate) ca: PathBuf,
    /// The certificate that is shown.
    pub(crate) certificate: PathBuf,
}

impl CertificateFiles {
    /// Reads the files as they are now.
    pub(crate) fn read(&self) -> anyhow::Result<Credentials> {
        let read = |path: &PathBuf| {
            let found = Certificate::parse_all(&std::fs::read_to_string(path)?)?;
            ensure!(!found.is_empty(), CertificateError::Missing);
            Ok(found)
        };
        let read = |path| read(path).with_context(|| format!("cannot use {}", path.display()));
        credentials(&read(&self.ca)?, &read(&self.certificate)?)
    }
}

/// What the xDS server shows and trusts from the next connection on.
pub(crate) fn loaded(certificates: &Certificates) -> anyhow::Result<Credentials> {
    let loaded = certificates.current();
    let parse =
        |ders: Vec<Vec<u8>>| ders.into_iter().map(Certificate::from_der).collect::<Result<Vec<_>, _>>();
    credentials(&parse(loaded.authorities)?, &parse(loaded.chain)?)
}

fn credentials(authorities: &[Certificate], chain: &[Certificate]) -> anyhow::Result<Credentials> {
    let leaf = chain.first().context("there is no certificate to show")?;
    Ok(Credentials::of(authorities, leaf))
}

/// Serves what `read` finds: 404 without certificates, 503 where they cannot be used.
pub(crate) fn router<F>(read: F) -> Router
where
    F: Fn() -> Option<anyhow::Result<Credentials>> + Clone + Send + Sync + 'static,
{
    let answer = async move || {
        let read = read.clone();
        // Files are read: not for a thread that serves others.
        let found = tokio::task::spawn_blocking(read).await.unwrap_or_else(|panic| Some(Err(panic.into())));
        respond(found)
    };
    Router::new().route("/certificates", get(answer))
}

fn respond(found: Option<anyhow::Result<Credentials>>) -> Response {
    match found {
        None => (StatusCode::NOT_FOUND, "no certificates are in use\n").into_response(),
        Some(Ok(credentials)) => Json(credentials).into_response(),
        Some(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response(),
    }
}

//! Mutual TLS from files that may change while the server runs.
//!
//! Files are looked at when a client connects: their times and sizes are compared with those of the last load, and a
//! change leads to a new configuration for this and later handshakes. Streams that are open keep what they began with.
//! Files that cannot be used leave the last good configuration in place and a warning in the log.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

/// The PEM files the server's TLS is made of (flags `--contour-cafile`, `--contour-cert-file`, `--contour-key-file`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that client certificates must chain to.
    pub ca: PathBuf,
    /// The server's certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
}

/// Why TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {path}: check that the file exists and this process may read it")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no usable {what}: expected PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why, where there is more to say.
        #[source]
        source: Option<rustls_pki_types::pem::Error>,
    },
    /// An authority's certificate is not one.
    #[error("{path} holds a certificate that cannot be a trust anchor")]
    Anchor {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The authorities cannot be used to verify clients.
    #[error("cannot verify clients by the certificates in {path}")]
    Verifier {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// Certificate and key do not go together.
    #[error("certificate {cert} and key {key} cannot be used together: write both before either is used")]
    Pair {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// What tells one state of a file from another without reading it.
type Stamp = (u64, i64, i64, u64);

struct Loaded {
    stamps: [Option<Stamp>; 3],
    config: Arc<ServerConfig>,
}

/// The configuration for the next handshake.
pub(crate) struct Reloading {
    files: TlsFiles,
    loaded: Mutex<Loaded>,
}

impl Reloading {
    /// Loads the files, which must be good now.
    pub(crate) fn new(files: TlsFiles) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let config = load(&files)?;
        Ok(Self { files, loaded: Mutex::new(Loaded { stamps, config }) })
    }

    /// The configuration as the files are now, or as they last were when they were good.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        if now != loaded.stamps {
            // Noted even when loading fails: each state of the files is tried, and warned about, once.
            loaded.stamps = now;
            match load(&self.files) {
                Ok(config) => {
                    loaded.config = config;
                    info!(cert = %self.files.cert.display(), "xDS certificates reloaded");
                }
                Err(error) => warn!(
                    error = &error as &dyn std::error::Error,
                    "xDS certificates changed but cannot be used: the last good ones stay"
                ),
            }
        }
        Arc::clone(&loaded.config)
    }
}

fn stamps(files: &TlsFiles) -> [Option<Stamp>; 3] {
    let stamp = |m: Metadata| (m.ino(), m.mtime(), m.mtime_nsec(), m.size());
    [&files.ca, &files.cert, &files.key].map(|path| std::fs::metadata(path).ok().map(stamp))
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|source| TlsError::Anchor { path: files.ca.clone(), source })?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|source| TlsError::Verifier { path: files.ca.clone(), source })?;
    let pair = |source| TlsError::Pair { cert: files.cert.clone(), key: files.key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(pair)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&files.cert)?, key(&files.key)?)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "certificate";
    let found = CertificateDer::pem_reader_iter(open(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { path: path.to_owned(), what, source: Some(source) })?;
    if found.is_empty() {
        return Err(TlsError::Pem { path: path.to_owned(), what, source: None });
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_reader(open(path)?).map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        what: "private key",
        source: Some(source),
    })
}

fn open(path: &Path) -> Result<File, TlsError> {
    File::open(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

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

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tracing::{info, warn};

use crate::client_name::NamedClient;

/// The PEM files the server's TLS is made of, and whom it serves (flags `--contour-cafile`, `--contour-cert-file`, `--contour-key-file`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that client certificates must chain to.
    pub ca: PathBuf,
    /// The server's certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
    /// The DNS name that a client's certificate must have (flag `--envoy-client-name`); `None`: any client of the authorities is served.
    pub client_name: Option<String>,
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
    #[error("{path} holds no usable {what}: {problem}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why. Not the parser's own words: it quotes what it reads, which may be a key.
        problem: &'static str,
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
    /// The name that clients should have is none.
    #[error("{name:?} cannot be a client's name: give a DNS name of its certificate, like envoy")]
    ClientName {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: rustls_pki_types::InvalidDnsNameError,
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
    usable: Usable,
}

/// A configuration, and what it was made of.
#[derive(Clone)]
struct Usable {
    config: Arc<ServerConfig>,
    certificates: LoadedCertificates,
}

/// The certificates that are in use, in DER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedCertificates {
    /// Of the authorities that clients' certificates must chain to.
    pub authorities: Vec<Vec<u8>>,
    /// Of the server: the leaf, then its chain.
    pub chain: Vec<Vec<u8>>,
}

/// Tells which certificates a server uses.
#[derive(Clone)]
pub struct Certificates(pub(crate) Arc<Reloading>);

impl Certificates {
    /// Those of the next handshake. Looks at the files, as a handshake does.
    pub fn current(&self) -> LoadedCertificates {
        self.0.usable().certificates
    }
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
        let usable = load(&files)?;
        Ok(Self { files, loaded: Mutex::new(Loaded { stamps, usable }) })
    }

    /// The configuration as the files are now, or as they last were when they were good.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.usable().config
    }

    fn usable(&self) -> Usable {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        if now != loaded.stamps {
            // Noted even when loading fails: each state of the files is tried, and warned about, once.
            loaded.stamps = now;
            match load(&self.files) {
                Ok(usable) => {
                    loaded.usable = usable;
                    info!(cert = %self.files.cert.display(), "xDS certificates reloaded");
                }
                Err(error) => warn!(
                    error = &error as &dyn std::error::Error,
                    "xDS certificates changed but cannot be used: the last good ones stay"
                ),
            }
        }
        loaded.usable.clone()
    }
}

fn stamps(files: &TlsFiles) -> [Option<Stamp>; 3] {
    let stamp = |m: Metadata| (m.ino(), m.mtime(), m.mtime_nsec(), m.size());
    [&files.ca, &files.cert, &files.key].map(|path| std::fs::metadata(path).ok().map(stamp))
}

fn load(files: &TlsFiles) -> Result<Usable, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (authorities, chain) = (certificates(&files.ca)?, certificates(&files.cert)?);
    let der = |certificates: &[CertificateDer<'_>]| certificates.iter().map(|one| one.to_vec()).collect();
    let certificates = LoadedCertificates { authorities: der(&authorities), chain: der(&chain) };
    let verifier = verifier(files, authorities, &provider)?;
    let pair = |source| TlsError::Pair { cert: files.cert.clone(), key: files.key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(pair)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key(&files.key)?)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Usable { config: Arc::new(config), certificates })
}

/// Checks that clients have a certificate of the authorities for clients (extended key usage `clientAuth`, where it has any), and the
/// right name.
fn verifier(
    files: &TlsFiles,
    authorities: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate).map_err(|source| TlsError::Anchor { path: files.ca.clone(), source })?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|source| TlsError::Verifier { path: files.ca.clone(), source })?;
    let Some(name) = &files.client_name else { return Ok(verifier) };
    let invalid = |source| TlsError::ClientName { name: name.clone(), source };
    let name = ServerName::try_from(name.as_str()).map_err(invalid)?.to_owned();
    Ok(Arc::new(NamedClient { verifier, name }))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "certificate";
    let found = CertificateDer::pem_reader_iter(open(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem { path: path.to_owned(), what, problem: problem(&error) })?;
    if found.is_empty() {
        return Err(TlsError::Pem { path: path.to_owned(), what, problem: problem(&Error::NoItemsFound) });
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_reader(open(path)?).map_err(|error| TlsError::Pem {
        path: path.to_owned(),
        what: "private key",
        problem: problem(&error),
    })
}

fn problem(error: &Error) -> &'static str {
    match error {
        Error::MissingSectionEnd { .. } => "a PEM block does not end",
        Error::IllegalSectionStart { .. } => "a PEM block begins with a line that is damaged",
        Error::Base64Decode(_) => "a PEM block is not valid base64",
        Error::Io(_) => "it cannot be read to its end",
        _ => "expected PEM",
    }
}

fn open(path: &Path) -> Result<File, TlsError> {
    File::open(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

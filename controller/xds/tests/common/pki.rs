//! An authority for tests, and the files and client settings it makes.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use contour_xds::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        // Its name must differ from those of its leaves, or they count as signed by themselves.
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        self.issue_for(name, &[])
    }

    /// A leaf for these usages, or for any.
    fn issue_for(&self, name: &str, usages: &[ExtendedKeyUsagePurpose]) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = usages.to_vec();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The settings of a client that has a certificate of this name and these usages.
    pub(crate) fn client_as(&self, name: &str, usages: &[ExtendedKeyUsagePurpose]) -> Arc<ClientConfig> {
        self.client_with(Some(self.issue_for(name, usages)), &[&rustls::version::TLS13])
    }

    /// Writes a server's files, each as a whole.
    pub(crate) fn write(&self, dir: &Path) -> TlsFiles {
        let (certificate, key) = self.issue("contour");
        let files = files(dir);
        replace(&files.ca, &self.pem);
        replace(&files.cert, &certificate.pem());
        replace(&files.key, &key.serialize_pem());
        files
    }

    /// Writes an Envoy's certificate and key beside the server's files.
    pub(crate) fn write_client(&self, dir: &Path) {
        let (certificate, key) = self.issue("envoy");
        replace(&dir.join("envoy.crt"), &certificate.pem());
        replace(&dir.join("envoy.key"), &key.serialize_pem());
    }

    /// The settings of a client that trusts this authority, with a certificate of `own` if there is one.
    pub(crate) fn client(
        &self,
        own: Option<&Self>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        self.client_with(own.map(|authority| authority.issue("envoy")), versions)
    }

    fn client_with(
        &self,
        own: Option<(rcgen::Certificate, KeyPair)>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

/// Where a server's files are in a directory.
pub(crate) fn files(dir: &Path) -> TlsFiles {
    TlsFiles {
        ca: dir.join("ca.crt"),
        cert: dir.join("tls.crt"),
        key: dir.join("tls.key"),
        client_name: None,
    }
}

/// Replaces a file as Kubernetes does: a new one in the old one's place.
pub(crate) fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}

pub(crate) async fn connect(addr: SocketAddr, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("contour").unwrap();
    TlsConnector::from(config).connect(name, TcpStream::connect(addr).await?).await
}

/// Connects and exchanges the first HTTP/2 frames: in TLS 1.3 a refused client only learns of it when it reads.
pub(crate) async fn greet(addr: SocketAddr, config: Arc<ClientConfig>) -> io::Result<()> {
    let mut stream = connect(addr, config).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await?;
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await?;
    assert_eq!(frame[3], 4, "the server's first frame is its settings");
    Ok(())
}

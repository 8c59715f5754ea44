//! rustls configurations from PEM, for the echo servers and the client.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::certs::Leaf;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates in a PEM text.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().context("not a PEM certificate")
}

fn identity(leaf: &Leaf) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).context("not a PEM private key")?;
    Ok((certificates(&leaf.cert_pem)?, key))
}

fn roots(pem: &str) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate)?;
    }
    Ok(store)
}

/// A server that speaks h2 and HTTP/1.1; with `client_ca`, one that insists on a client certificate of it.
pub(crate) fn server(leaf: &Leaf, client_ca: Option<&str>) -> Result<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider()).build()?,
        ),
    };
    let (chain, key) = identity(leaf)?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Which server certificates a client accepts.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// Those that this authority (PEM) signed for the name that the client asks for.
    Authority(String),
    /// Every one whose key the server proves to hold.
    Anyone,
}

/// A client without ALPN.
pub(crate) fn client(
    trust: &Trust,
    leaf: Option<&Leaf>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let builder = match trust {
        Trust::Authority(pem) => builder.with_root_certificates(roots(pem)?),
        Trust::Anyone => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider())))
        }
    };
    match leaf {
        None => Ok(builder.with_no_client_auth()),
        Some(leaf) => {
            let (chain, key) = identity(leaf)?;
            Ok(builder.with_client_auth_cert(chain, key)?)
        }
    }
}

/// Accepts any certificate, and still checks that the server holds its key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

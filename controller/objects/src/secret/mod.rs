//! Secrets, checked once when they are read.
//!
//! What Envoy would refuse is refused here, and what it takes is taken: it answers a bad certificate for everybody's. The rules were found by
//! trying them on it; docs/envoy-accepts.md lists them, and a test of `contour-envoy` compares verdicts for each of `tests/secrets`.
//! Texts of errors hold nothing of what a Secret holds, since a key may stand where a certificate is expected.

mod der;
mod key;
mod pem;
mod x509;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1;
use sha1::{Digest, Sha1};

use self::pem::Block;
use self::x509::{Certificate, Names};
use crate::name::{NamespacedName, name_of};
use crate::redact::redacted;

/// A Secret of type `kubernetes.io/tls` or `Opaque`: what Contour can use of it, and why it cannot use the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Namespace and name.
    pub name: NamespacedName,
    /// `tls.crt` with `tls.key`.
    pub tls: Result<Arc<TlsPair>, SecretError>,
    /// `ca.crt`.
    pub ca: Result<Arc<CaBundle>, SecretError>,
}

/// A certificate chain and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsPair {
    /// The chain: the CERTIFICATE blocks of the Secret, and nothing else that stands there.
    pub certificate: Vec<u8>,
    /// The key: its block of the Secret, and nothing else that stands there.
    pub key: Vec<u8>,
    /// Of how many elements its certificates consist, in ASN.1: a TLS library holds many of them each by itself.
    pub elements: usize,
    /// SHA-1 of the Secret's `tls.crt`; names the SDS resource, as Contour does.
    pub fingerprint: [u8; 20],
}

impl fmt::Debug for TlsPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsPair({:02x?})", &self.fingerprint[..5])
    }
}

/// CA certificates in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct CaBundle {
    /// The CERTIFICATE blocks of the Secret, at least one, and nothing else that stands there.
    pub pem: Vec<u8>,
    /// Of how many elements they consist, in ASN.1.
    pub elements: usize,
}

impl fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaBundle({} bytes)", self.pem.len())
    }
}

/// Why a Secret cannot be used. The texts reach the status of the objects that refer to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The Secret's type is neither of the two.
    #[error("it has type \"{0}\"; only kubernetes.io/tls and Opaque can be used")]
    Type(String),
    /// A key is missing or empty.
    #[error("it has no \"{0}\"")]
    Missing(&'static str),
    /// A value holds no usable PEM block.
    #[error("its \"{key}\" {problem}")]
    Invalid {
        /// Key within the Secret.
        key: &'static str,
        /// What is wrong with the value.
        problem: String,
    },
    /// Certificate and key do not belong together.
    #[error("its \"tls.key\" is not the key of the certificate in \"tls.crt\"")]
    Mismatch,
}

impl From<v1::Secret> for Secret {
    fn from(object: v1::Secret) -> Self {
        let name = name_of(&object.metadata);
        let kind = object.type_.unwrap_or_else(|| "Opaque".to_owned());
        if kind != "kubernetes.io/tls" && kind != "Opaque" {
            // Also the type is text of the user.
            let error = SecretError::Type(redacted(&kind));
            return Self { name, tls: Err(error.clone()), ca: Err(error) };
        }
        let mut data = object.data.unwrap_or_default();
        for (key, text) in object.string_data.unwrap_or_default() {
            data.insert(key, k8s_openapi::ByteString(text.into_bytes()));
        }
        let mut take = |key: &'static str| {
            data.remove(key).map(|v| v.0).filter(|v| !v.is_empty()).ok_or(SecretError::Missing(key))
        };
        let (certificate, key, ca) = (take("tls.crt"), take("tls.key"), take("ca.crt"));
        Self {
            name,
            tls: certificate.and_then(|text| pair(&text, &key?)),
            ca: ca.and_then(|text| bundle(&text)),
        }
    }
}

fn invalid(key: &'static str, problem: impl Into<String>) -> SecretError {
    SecretError::Invalid { key, problem: problem.into() }
}

/// The certificates of a file in which nothing else may stand.
fn certificates(key: &'static str, text: &[u8]) -> Result<Vec<Block>, SecretError> {
    let blocks =
        pem::blocks(text).map_err(|problem| invalid(key, format!("is not valid PEM: it {problem}")))?;
    if let Some(block) = blocks.iter().find(|block| block.encrypted) {
        return Err(invalid(key, format!("has {} that is encrypted", pem::shown(&block.label))));
    }
    if let Some(other) = blocks.iter().find(|block| block.label != b"CERTIFICATE") {
        let other = pem::shown(&other.label);
        return Err(invalid(key, format!("holds {other}; only blocks of type CERTIFICATE may stand there")));
    }
    if blocks.is_empty() {
        return Err(invalid(key, "holds no CERTIFICATE block"));
    }
    Ok(blocks)
}

/// What stands in the blocks of a file.
struct Chain<'a> {
    certificates: Vec<Certificate<'a>>,
    /// Just that, written anew.
    pem: Vec<u8>,
    elements: usize,
}

fn read<'a>(key: &'static str, blocks: &'a [Block]) -> Result<Chain<'a>, SecretError> {
    let certificates: Option<Vec<_>> = blocks.iter().map(|block| Certificate::read(&block.der)).collect();
    let certificates =
        certificates.ok_or_else(|| invalid(key, "holds a CERTIFICATE block that is no X.509 certificate"))?;
    let (mut pem, mut elements) = (Vec::new(), 0);
    for certificate in &certificates {
        pem::write("CERTIFICATE", certificate.der, &mut pem);
        elements += der::elements(certificate.der);
    }
    Ok(Chain { certificates, pem, elements })
}

fn pair(text: &[u8], key: &[u8]) -> Result<Arc<TlsPair>, SecretError> {
    let blocks = certificates("tls.crt", text)?;
    let Chain { certificates, pem: certificate, elements } = read("tls.crt", &blocks)?;
    let public = leaf(&certificates[0])
        .map_err(|problem| invalid("tls.crt", format!("has a first certificate {problem}")))?;
    let keys =
        pem::blocks(key).map_err(|problem| invalid("tls.key", format!("is not valid PEM: it {problem}")))?;
    let keys: Vec<_> = keys.into_iter().filter(|block| block.label.ends_with(b"PRIVATE KEY")).collect();
    let [block] = <[_; 1]>::try_from(keys)
        .map_err(|keys| invalid("tls.key", format!("holds {} private keys, not one", keys.len())))?;
    if block.encrypted || block.label == b"ENCRYPTED PRIVATE KEY" {
        return Err(invalid("tls.key", "is encrypted; Envoy needs it without a password"));
    }
    let private = key::private(&block.label, &block.der).ok_or_else(|| {
        invalid(
            "tls.key",
            "is no private key that Envoy takes: RSA, ECDSA on P-256, P-384 or P-521, or Ed25519",
        )
    })?;
    if private.public != public {
        return Err(SecretError::Mismatch);
    }
    let mut key = Vec::new();
    pem::write(&String::from_utf8_lossy(&block.label), private.der, &mut key);
    Ok(Arc::new(TlsPair { certificate, key, elements, fingerprint: Sha1::digest(text).into() }))
}

/// The public key of a certificate that is to be shown; or why it cannot be.
fn leaf(certificate: &Certificate<'_>) -> Result<key::Public, String> {
    match certificate.names() {
        Names::Some => {}
        Names::Nobody => return Err("with neither common name nor subject alternative name".to_owned()),
        Names::EmptyCommonName => {
            return Err("with an empty common name, which Envoy does not take".to_owned());
        }
    }
    let public = key::public(certificate.public_key)?;
    if matches!(public, key::Public::Ec(..)) && !certificate.may_sign() {
        return Err(
            "whose key usage does not allow digital signatures, which is what TLS needs it for".to_owned()
        );
    }
    if certificate.must_staple() {
        return Err(
            "that promises an OCSP response with each handshake (must staple), which cannot be given"
                .to_owned(),
        );
    }
    Ok(public)
}

fn bundle(text: &[u8]) -> Result<Arc<CaBundle>, SecretError> {
    let blocks = certificates("ca.crt", text)?;
    let Chain { pem, elements, .. } = read("ca.crt", &blocks)?;
    Ok(Arc::new(CaBundle { pem, elements }))
}

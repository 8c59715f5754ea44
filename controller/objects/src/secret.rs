//! Secrets, checked once when they are read.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha1::{Digest, Sha1};
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::name::{NamespacedName, name_of};

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
    /// The chain, as in the Secret.
    pub certificate: Vec<u8>,
    /// The key, as in the Secret.
    pub key: Vec<u8>,
    /// SHA-1 of `certificate`; names the SDS resource, as Contour does.
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
    /// At least one certificate.
    pub pem: Vec<u8>,
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
            let error = SecretError::Type(kind);
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
        Self { name, tls: certificate.and_then(|c| pair(c, key?)), ca: ca.and_then(bundle) }
    }
}

fn invalid(key: &'static str, problem: impl Into<String>) -> SecretError {
    SecretError::Invalid { key, problem: problem.into() }
}

fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SecretError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Err(error) => Err(invalid(key, format!("is not valid PEM: {error}"))),
        Ok(chain) if chain.is_empty() => Err(invalid(key, "holds no CERTIFICATE block")),
        // Envoy would refuse it together with everything that refers to it.
        Ok(chain) if chain.iter().any(|der| X509Certificate::from_der(der).is_err()) => {
            Err(invalid(key, "holds a CERTIFICATE block that is no X.509 certificate"))
        }
        Ok(chain) => Ok(chain),
    }
}

fn pair(certificate: Vec<u8>, key: Vec<u8>) -> Result<Arc<TlsPair>, SecretError> {
    let chain = certificates("tls.crt", &certificate)?;
    if !names_somebody(&chain[0]) {
        return Err(invalid(
            "tls.crt",
            "has a first certificate with neither common name nor subject alternative name",
        ));
    }
    let keys: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(&key).collect();
    let keys = keys.map_err(|_| invalid("tls.key", "is not valid PEM"))?;
    let [private] = <[_; 1]>::try_from(keys)
        .map_err(|keys| invalid("tls.key", format!("holds {} private keys, not one", keys.len())))?;
    match public_key(&private) {
        Some(public) if !has_key(&chain[0], &public) => return Err(SecretError::Mismatch),
        None if !is_key(&private) => return Err(invalid("tls.key", "is no private key")),
        _ => {}
    }
    let fingerprint = Sha1::digest(&certificate).into();
    Ok(Arc::new(TlsPair { certificate, key, fingerprint }))
}

fn bundle(pem: Vec<u8>) -> Result<Arc<CaBundle>, SecretError> {
    certificates("ca.crt", &pem)?;
    Ok(Arc::new(CaBundle { pem }))
}

fn names_somebody(der: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let mut common_names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let common_name = common_names.any(|name| !name.trim().is_empty());
    let alternative = certificate.subject_alternative_name().ok().flatten().is_some_and(|san| {
        san.value
            .general_names
            .iter()
            .any(|n| matches!(n, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
    });
    common_name || alternative
}

/// The public half of a key, in DER; `None` for keys that ring does not know (P-521, odd RSA), which cannot be compared.
fn public_key(key: &PrivateKeyDer<'_>) -> Option<Vec<u8>> {
    Some(any_supported_type(key).ok()?.public_key()?.to_vec())
}

fn has_key(der: &CertificateDer<'_>, public: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.public_key().raw == public)
}

/// Whether a key has the outer structure of its kind: a sequence with the version and what follows it.
fn is_key(key: &PrivateKeyDer<'_>) -> bool {
    let next: &[Tag] = match key {
        // RFC 5208: algorithm, key.
        PrivateKeyDer::Pkcs8(_) => &[Tag::Integer, Tag::Sequence, Tag::OctetString],
        // RFC 8017: modulus, public exponent, private exponent.
        PrivateKeyDer::Pkcs1(_) => &[Tag::Integer, Tag::Integer, Tag::Integer, Tag::Integer],
        // RFC 5915: key.
        _ => &[Tag::Integer, Tag::OctetString],
    };
    let Ok((_, outer)) = Any::from_der(key.secret_der()) else { return false };
    let mut rest = outer.data;
    outer.header.tag() == Tag::Sequence
        && next.iter().all(|tag| {
            let Ok((after, field)) = Any::from_der(rest) else { return false };
            rest = after;
            field.header.tag() == *tag
        })
}

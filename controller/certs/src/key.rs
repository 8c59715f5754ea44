//! Private keys and their algorithms.

use std::fmt::{self, Display};
use std::str::FromStr;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

use crate::IssueError;

/// What kind of key to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256: small, fast, understood by every Envoy.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA with 2048 bits, as the stock tool makes. Existing keys work; ours cannot be made, see
    /// [`IssueError::RsaGeneration`].
    Rsa2048,
}

/// A name that is no [`KeyAlgorithm`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("unknown key algorithm {0:?}; use ecdsa-p256 or ecdsa-p384")]
pub struct UnknownKeyAlgorithm(String);

impl FromStr for KeyAlgorithm {
    type Err = UnknownKeyAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::EcdsaP256, Self::EcdsaP384, Self::Rsa2048]
            .into_iter()
            .find(|algorithm| algorithm.to_string() == text)
            .ok_or_else(|| UnknownKeyAlgorithm(text.to_owned()))
    }
}

impl Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
        })
    }
}

/// A private key as PEM: PKCS #8, where we made it. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(String);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl PrivateKey {
    /// A new key.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<(Self, KeyPair), IssueError> {
        let signature = match algorithm {
            KeyAlgorithm::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
            KeyAlgorithm::Rsa2048 => return Err(IssueError::RsaGeneration),
        };
        let pair = KeyPair::generate_for(signature).map_err(IssueError::Sign)?;
        Ok((Self(pair.serialize_pem()), pair))
    }

    /// Reads a key that is only to be handed on, in any form that TLS libraries read (PKCS #8, PKCS #1 or SEC 1), and checks that it belongs to the
    /// certificate with `public_key` (DER, `SubjectPublicKeyInfo`). The stock tool writes PKCS #1.
    pub(crate) fn of_leaf(pem: &str, public_key: &[u8]) -> Result<Self, IssueError> {
        // Reasons may quote the key.
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| IssueError::Key)?;
        let key = any_supported_type(&key).map_err(|_| IssueError::Key)?;
        if key.public_key().ok_or(IssueError::Key)?.as_ref() != public_key {
            return Err(IssueError::KeyMismatch);
        }
        Ok(Self(pem.to_owned()))
    }

    /// Reads a key that is to sign, which has to be PKCS #8, and checks that it belongs to the certificate with `public_key` (DER, `SubjectPublicKeyInfo`).
    pub(crate) fn parse(pem: &str, public_key: &[u8]) -> Result<(Self, KeyPair), IssueError> {
        let pair = KeyPair::from_pem(pem).map_err(|_| IssueError::Key)?; // Its reason may quote the key.
        if pair.subject_public_key_info() != public_key {
            return Err(IssueError::KeyMismatch);
        }
        Ok((Self(pem.to_owned()), pair))
    }

    /// The secret itself, to be written to a file with mode 0600 or into a Secret, and nowhere else.
    pub fn pem(&self) -> &str {
        &self.0
    }
}

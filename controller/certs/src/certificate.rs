//! What can be read from a certificate.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use crate::BACKDATE;

/// Why text is not a certificate.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CertificateError {
    /// No PEM block of type CERTIFICATE in it.
    #[error("no certificate found; PEM text with a CERTIFICATE block is expected")]
    Missing,
    /// A PEM block that is cut off or is not base64.
    #[error(
        "not valid PEM: a block is cut off or damaged; replace it with PEM text that has CERTIFICATE blocks only"
    )]
    Pem,
    /// The PEM block holds no X.509 certificate.
    #[error("not an X.509 certificate: {0}; replace it")]
    Der(String),
}

/// A certificate, with what rotation and people ask about it. Public: holds no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    pem: String,
    public_key: Vec<u8>,
    common_name: String,
    dns_names: Vec<String>,
    authority: bool,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { common_name, not_before, not_after, .. } = self;
        write!(f, "Certificate({common_name:?}, {not_before} to {not_after})")
    }
}

impl Certificate {
    /// The first certificate of PEM text: the leaf of a chain.
    pub fn parse(pem: &str) -> Result<Self, CertificateError> {
        Self::parse_all(pem)?.into_iter().next().ok_or(CertificateError::Missing)
    }

    /// All certificates of PEM text, in order; other blocks are skipped. Fails if one of them is damaged.
    pub fn parse_all(pem: &str) -> Result<Vec<Self>, CertificateError> {
        Self::blocks(pem).collect()
    }

    /// The certificates of PEM text that are whole. For a trust bundle: each stands for itself.
    pub fn parse_valid(pem: &str) -> Vec<Self> {
        Self::blocks(pem).filter_map(Result::ok).collect()
    }

    fn blocks(pem: &str) -> impl Iterator<Item = Result<Self, CertificateError>> {
        Pem::iter_from_buffer(pem.as_bytes()).filter_map(|block| match block {
            Ok(block) if block.label == "CERTIFICATE" => Some(Self::from_der(block.contents)),
            Ok(_) => None,
            // Not in the parser's words: what it reads may be a key.
            Err(_) => Some(Err(CertificateError::Pem)),
        })
    }

    /// A certificate in DER. Fails if it is none; what follows it is ignored.
    pub fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        let unreadable = |error: &dyn fmt::Display| CertificateError::Der(error.to_string());
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| unreadable(&error))?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|error| unreadable(&error));
        let common_name = parsed.subject().iter_common_name().next();
        Ok(Self {
            pem: encode(&der),
            public_key: parsed.public_key().raw.to_vec(),
            common_name: common_name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned(),
            dns_names: dns_names(&parsed),
            authority: parsed.is_ca(),
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            der,
        })
    }

    /// PEM text of this certificate alone.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// This certificate alone, in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the certificate (its DER) in lower-case hexadecimal: its fingerprint, by which `openssl x509 -fingerprint -sha256`
    /// knows it, too.
    pub fn sha256(&self) -> String {
        format!("{:x}", Sha256::digest(&self.der))
    }

    /// Common name of the subject; empty if it has none.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// DNS names of the subject alternative name extension, in order.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// Whether it may sign others (basic constraints).
    pub fn is_authority(&self) -> bool {
        self.authority
    }

    /// `SubjectPublicKeyInfo`, DER.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Start of validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// End of validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether `now` is within its validity.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// When it was issued, as far as can be told: ours start [`BACKDATE`] before they are issued.
    pub fn issued_at(&self) -> Timestamp {
        let backdated = seconds(BACKDATE);
        let life = self.not_after.duration_since(self.not_before);
        if life > backdated { later(self.not_before, backdated) } else { self.not_before }
    }

    /// When to replace it: after two thirds of its life.
    pub fn renewal_at(&self) -> Timestamp {
        let issued = self.issued_at();
        later(issued, self.not_after.duration_since(issued) * 2 / 3)
    }

    /// Whether two thirds of its life are over.
    pub fn renewal_due(&self, now: Timestamp) -> bool {
        now >= self.renewal_at()
    }

    /// Whether `authority` signed it: its name as the issuer, and its key made the signature. Says nothing about time.
    pub fn is_signed_by(&self, authority: &Self) -> bool {
        let Ok((_, own)) = X509Certificate::from_der(&self.der) else { return false };
        let Ok((_, signer)) = X509Certificate::from_der(&authority.der) else { return false };
        authority.authority
            && own.issuer().as_raw() == signer.subject().as_raw()
            && own.verify_signature(Some(signer.public_key())).is_ok()
    }
}

fn dns_names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

fn encode(der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), config)
}

/// Lifetimes are far below what a signed duration holds.
pub(crate) fn seconds(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// `start + duration`, or the end of time.
pub(crate) fn later(start: Timestamp, duration: SignedDuration) -> Timestamp {
    start.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

//! Secrets that the user provides: read, judged, never written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contour_certs::{Certificate, Party};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::{CERTIFICATE, KEY, TRUST, text};
use crate::problem::Problem;

/// What can be told of the user's own certificates.
#[derive(Debug, Default)]
pub struct Own {
    /// The certificates that are shown, by side.
    pub certificates: BTreeMap<&'static str, Certificate>,
    /// Why they cannot be used.
    pub problems: Vec<Problem>,
}

/// One of the two Secrets, as far as it can be used.
struct Side {
    leaf: Certificate,
    chain: Vec<Certificate>,
    trusted: Vec<Certificate>,
}

/// Judges both Secrets, each given by its name and what is there.
pub fn examine(sides: [(Party, &str, Option<&Secret>); 2], now: Timestamp) -> Own {
    let mut own = Own::default();
    let [contour, envoy] = sides.map(|(party, name, secret)| {
        let side = side(party, name, secret, now);
        match side {
            Ok(side) => {
                own.certificates.insert(party.name(), side.leaf.clone());
                Some(side)
            }
            Err(message) => {
                own.problems.push(problem(party, message));
                None
            }
        }
    });
    if let (Some(contour), Some(envoy)) = (contour, envoy) {
        for (shows, side, trusts) in [(Party::Contour, &contour, &envoy), (Party::Envoy, &envoy, &contour)] {
            let other = if shows == Party::Contour { sides[1].1 } else { sides[0].1 };
            if !trusts.accepts(side, now) {
                own.problems.push(problem(
                    shows,
                    format!(
                        "no valid certificate in {TRUST} of Secret {other} signed {CERTIFICATE} of this one, so the other side would \
                         refuse it; put the certificate of its authority there"
                    ),
                ));
            } else if shows == Party::Envoy
                && let Err(error) = trusts.accepts_client(side, now)
            {
                own.problems.push(problem(
                    shows,
                    format!(
                        "the controller would refuse {CERTIFICATE} of this Secret with {TRUST} of Secret {other}: {error}; issue it for \
                         clients (extended key usage), with all certificates up to that authority"
                    ),
                ));
            }
        }
    }
    own
}

impl Side {
    /// Whether what the other side shows is trusted here. Of a chain only the end is looked at: what is between is for the peers to verify.
    fn accepts(&self, other: &Self, now: Timestamp) -> bool {
        let trusted =
            |link: &Certificate| self.trusted.iter().any(|ca| ca.is_valid_at(now) && link.is_signed_by(ca));
        other.chain.iter().any(trusted)
    }

    /// Verifies a client just as the controller does.
    fn accepts_client(&self, other: &Self, now: Timestamp) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.trusted.iter().map(der));
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        let chain: Vec<_> = other.chain.iter().skip(1).map(der).collect();
        let since_1970 = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
        let now = UnixTime::since_unix_epoch(since_1970);
        verifier.verify_client_cert(&der(&other.leaf), &chain, now).map(drop)
    }
}

fn der(certificate: &Certificate) -> CertificateDer<'_> {
    CertificateDer::from_slice(certificate.der())
}

fn problem(party: Party, message: String) -> Problem {
    Problem {
        field: format!("spec.certificates.secretRefs.{}", party.name()),
        reason: "CertificateNotUsable",
        message,
    }
}

fn side(party: Party, name: &str, secret: Option<&Secret>, now: Timestamp) -> Result<Side, String> {
    let Some(secret) = secret else {
        return Err(format!(
            "there is no Secret {name} in this namespace; create it, or leave secretRefs out"
        ));
    };
    let value = |key| {
        text(secret, key)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| format!("Secret {name} has no text under the key {key}; add it"))
    };
    let (trust, certificate, key) = (value(TRUST)?, value(CERTIFICATE)?, value(KEY)?);
    let unusable = |error: &dyn std::fmt::Display| {
        format!("{CERTIFICATE} and {KEY} of Secret {name} cannot be used: {error}")
    };
    let chain = Certificate::parse_all(certificate).map_err(|error| unusable(&error))?;
    let leaf = chain.first().ok_or_else(|| unusable(&"there is no certificate in it"))?.clone();
    check_pair(&chain, key).map_err(|error| unusable(&error))?;
    let trusted = Certificate::parse_all(trust)
        .map_err(|error| format!("{TRUST} of Secret {name} cannot be used: {error}"))?;
    if !leaf.is_valid_at(now) {
        let (from, to) = (leaf.not_before(), leaf.not_after());
        return Err(format!("{CERTIFICATE} of Secret {name} is valid from {from} to {to}; replace it"));
    }
    if !leaf.dns_names().iter().any(|known| known == party.name()) {
        return Err(format!(
            "{CERTIFICATE} of Secret {name} is not for the DNS name {}, by which the other side knows it; issue it for that name as well",
            party.name()
        ));
    }
    Ok(Side { leaf, chain, trusted })
}

/// Checks that a key belongs to a certificate. It may be in any form that TLS libraries take: PKCS #8, PKCS #1 and SEC 1.
fn check_pair(chain: &[Certificate], key: &str) -> Result<(), String> {
    let key =
        PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| "the key is not a private key in PEM")?;
    let key = ring::sign::any_supported_type(&key)
        .map_err(|_| "the key is of no kind that the controller can use; use RSA with 2048 bits or more, or ECDSA on P-256 or P-384")?;
    let chain = chain.iter().map(|certificate| der(certificate).into_owned()).collect();
    CertifiedKey::new(chain, key)
        .keys_match()
        .map_err(|_| "the key does not belong to the certificate".to_owned())
}

//! Secrets that the user provides: read, judged, never written.

use std::collections::BTreeMap;

use contour_certs::{Certificate, Leaf, Party};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

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
    leaf: Leaf,
    trusted: Vec<Certificate>,
}

/// Judges both Secrets, each given by its name and what is there.
pub fn examine(sides: [(Party, &str, Option<&Secret>); 2], now: Timestamp) -> Own {
    let mut own = Own::default();
    let [contour, envoy] = sides.map(|(party, name, secret)| {
        let side = side(party, name, secret, now);
        match side {
            Ok(side) => {
                own.certificates.insert(party.name(), side.leaf.certificate().clone());
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
            if !trusts.accepts(&side.leaf, now) {
                let other = if shows == Party::Contour { sides[1].1 } else { sides[0].1 };
                own.problems.push(problem(
                    shows,
                    format!(
                        "no valid certificate in {TRUST} of Secret {other} signed {CERTIFICATE} of this one, so the other side would \
                         refuse it; put the certificate of its authority there"
                    ),
                ));
            }
        }
    }
    own
}

impl Side {
    /// Whether a leaf is trusted here. Of a chain only the end is looked at: what is between is for the peers to verify.
    fn accepts(&self, leaf: &Leaf, now: Timestamp) -> bool {
        let chain = Certificate::parse_valid(leaf.chain());
        chain.iter().any(|link| self.trusted.iter().any(|ca| ca.is_valid_at(now) && link.is_signed_by(ca)))
    }
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
    let leaf = Leaf::load(certificate, key)
        .map_err(|error| format!("{CERTIFICATE} and {KEY} of Secret {name} cannot be used: {error}"))?;
    let trusted = Certificate::parse_all(trust)
        .map_err(|error| format!("{TRUST} of Secret {name} cannot be used: {error}"))?;
    if !leaf.certificate().is_valid_at(now) {
        let (from, to) = (leaf.certificate().not_before(), leaf.certificate().not_after());
        return Err(format!("{CERTIFICATE} of Secret {name} is valid from {from} to {to}; replace it"));
    }
    if !leaf.certificate().dns_names().iter().any(|known| known == party.name()) {
        return Err(format!(
            "{CERTIFICATE} of Secret {name} is not for the DNS name {}, by which the other side knows it; issue it for that name as well",
            party.name()
        ));
    }
    Ok(Side { leaf, trusted })
}

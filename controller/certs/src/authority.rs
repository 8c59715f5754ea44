//! The certificate authority, and the leaves it issues.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use thiserror::Error;

use crate::certificate::{later, seconds};
use crate::{Certificate, CertificateError, KeyAlgorithm, PrivateKey};

/// How long before its issue a certificate starts to be valid: clocks of nodes differ.
pub const BACKDATE: Duration = Duration::from_hours(24);

/// Common name of the CA, by which people know it from the stock tool.
const AUTHORITY_NAME: &str = "Project Contour";

/// `id-at-serialNumber` of X.520: tells our CAs apart by name, so that a bundle of two is never ambiguous.
const DN_SERIAL_NUMBER: [u64; 4] = [2, 5, 4, 5];

/// Why a certificate cannot be issued or used.
#[derive(Debug, Error)]
pub enum IssueError {
    /// RSA was asked for.
    #[error(
        "an RSA key cannot be generated: the cryptography library in use (ring) only signs with existing ones; \
         use ecdsa-p256, or bring your own RSA certificates"
    )]
    RsaGeneration,
    /// Zero, or beyond the year 9999.
    #[error(
        "a certificate cannot be valid for {days} days from {now}; choose 1 day or more, between 1970 and the year 10000"
    )]
    Lifetime {
        /// Days asked for.
        days: u64,
        /// Time of issue.
        now: Timestamp,
    },
    /// A leaf never outlives its CA.
    #[error("the CA expired at {not_after}; create a new one")]
    AuthorityExpired {
        /// End of its validity.
        not_after: Timestamp,
    },
    /// A name that no certificate can hold.
    #[error("{name:?} cannot be a name in a certificate; use a DNS name or an IP address")]
    Name {
        /// The name asked for.
        name: String,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key cannot be read.
    #[error(
        "the key is not a private key in PEM that can be used; convert it with `openssl pkcs8 -topk8 -nocrypt`"
    )]
    Key,
    /// Certificate and key are of different pairs.
    #[error("the key does not belong to the certificate; replace both together")]
    KeyMismatch,
    /// The certificate may not sign others.
    #[error("the certificate is not a CA (basicConstraints CA:TRUE is missing); replace it with one that is")]
    NotAuthority,
    /// The cryptography library failed.
    #[error("signing failed: {0}; this is not a matter of configuration, please report it")]
    Sign(rcgen::Error),
}

/// Who a leaf of ours stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The controller: serves xDS, and is a client of it as `contour cli`.
    Contour,
    /// Envoy: a client of xDS.
    Envoy,
}

impl Party {
    /// Both, in the order in which they are handled.
    pub const ALL: [Self; 2] = [Self::Contour, Self::Envoy];

    /// Its name: Service, common name, directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contour => "contour",
            Self::Envoy => "envoy",
        }
    }
}

/// What a leaf may be used for (extended key usage).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// `serverAuth`
    Server,
    /// `clientAuth`
    Client,
    /// Both.
    ServerAndClient,
}

/// A leaf to be issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRequest {
    /// Common name of the subject.
    pub common_name: String,
    /// Subject alternative names: DNS names, or IP addresses as text.
    pub names: Vec<String>,
    /// Extended key usage.
    pub usage: Usage,
}

impl LeafRequest {
    /// The leaf of one side of the xDS connection, named as the stock tool names it: `svc`, `svc.ns`, `svc.ns.svc`,
    /// `svc.ns.svc.<cluster domain>`.
    pub fn for_party(party: Party, namespace: &str, cluster_domain: &str) -> Self {
        let service = party.name();
        let names = vec![
            service.to_owned(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.{cluster_domain}"),
        ];
        let usage = match party {
            Party::Contour => Usage::ServerAndClient,
            Party::Envoy => Usage::Client,
        };
        Self { common_name: service.to_owned(), names, usage }
    }
}

/// A certificate and its key, issued by an [`Authority`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    certificate: Certificate,
    key: PrivateKey,
    /// PEM text of the leaf and of the chain that may follow it; no other block of what was loaded.
    chain: String,
}

impl Leaf {
    /// Reads a leaf (maybe followed by its chain) and its key. Fails if they do not belong together.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, IssueError> {
        let certificate = Certificate::parse(certificate_pem)?;
        let key = PrivateKey::of_leaf(key_pem, certificate.public_key())?;
        let chain = Certificate::parse_valid(certificate_pem).iter().map(Certificate::pem).collect();
        Ok(Self { certificate, key, chain })
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// PEM text of the certificate, and of its chain if it was loaded with one.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// Its key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// A CA with its key: can issue leaves.
pub struct Authority {
    certificate: Certificate,
    key: PrivateKey,
    pair: KeyPair,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new CA, valid for `lifetime` from `now` (and a day back). Fails for lifetimes that no certificate can have.
    pub fn create(now: Timestamp, lifetime: Duration, algorithm: KeyAlgorithm) -> Result<Self, IssueError> {
        let mut params = CertificateParams::default();
        set_validity(&mut params, now, expiry(now, lifetime)?);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, AUTHORITY_NAME);
        let serial = now.as_nanosecond().to_string();
        params.distinguished_name.push(DnType::CustomDnType(DN_SERIAL_NUMBER.to_vec()), serial);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let (key, pair) = PrivateKey::generate(algorithm)?;
        let certificate = params.self_signed(&pair).map_err(IssueError::Sign)?;
        Ok(Self { certificate: Certificate::parse(&certificate.pem())?, key, pair })
    }

    /// Reads a CA. Fails if it may not sign or the key is not its own. Its validity is for the caller to judge.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, IssueError> {
        let certificate = Certificate::parse(certificate_pem)?;
        let (key, pair) = PrivateKey::parse(key_pem, certificate.public_key())?;
        if !certificate.is_authority() {
            return Err(IssueError::NotAuthority);
        }
        Ok(Self { certificate, key, pair })
    }

    /// The certificate that others trust.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key: must stay where leaves are issued.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Issues a leaf, valid for `lifetime` from `now` (and a day back), but never longer than the CA itself.
    pub fn issue(
        &self,
        request: &LeafRequest,
        now: Timestamp,
        lifetime: Duration,
        algorithm: KeyAlgorithm,
    ) -> Result<Leaf, IssueError> {
        let not_after = self.certificate.not_after();
        if now >= not_after {
            return Err(IssueError::AuthorityExpired { not_after });
        }
        let mut params = leaf_params(request)?;
        set_validity(&mut params, now, expiry(now, lifetime)?.min(not_after));
        let (key, pair) = PrivateKey::generate(algorithm)?;
        let issuer =
            Issuer::from_ca_cert_pem(self.certificate.pem(), &self.pair).map_err(IssueError::Sign)?;
        let chain = params.signed_by(&pair, &issuer).map_err(IssueError::Sign)?.pem();
        Ok(Leaf { certificate: Certificate::parse(&chain)?, key, chain })
    }
}

fn leaf_params(request: &LeafRequest) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    for name in &request.names {
        let one = CertificateParams::new([name.clone()])
            .map_err(|source| IssueError::Name { name: name.clone(), source })?;
        params.subject_alt_names.extend(one.subject_alt_names);
    }
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, request.common_name.as_str());
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match request.usage {
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::ServerAndClient => {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
    };
    Ok(params)
}

/// End of a validity that starts `now`. What a timestamp can hold ends with the year 9999, as X.509 does
/// (RFC 5280 4.1.2.5).
fn expiry(now: Timestamp, lifetime: Duration) -> Result<Timestamp, IssueError> {
    let end = SignedDuration::try_from(lifetime).ok().and_then(|lifetime| now.checked_add(lifetime).ok());
    let past_1970 = now.as_second() >= seconds(BACKDATE).as_secs();
    end.filter(|_| lifetime.as_secs() > 0 && past_1970)
        .ok_or(IssueError::Lifetime { days: lifetime.as_secs() / (24 * 60 * 60), now })
}

/// Both ends are checked by [`expiry`]: not before 1970, not after 9999, which the calendar of rcgen holds.
fn set_validity(params: &mut CertificateParams, now: Timestamp, not_after: Timestamp) {
    let at = |time: Timestamp| {
        let since_1970 = Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default());
        rcgen::date_time_ymd(1970, 1, 1) + since_1970
    };
    params.not_before = at(later(now, SignedDuration::ZERO - seconds(BACKDATE)));
    params.not_after = at(not_after);
}

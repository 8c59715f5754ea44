//! Certificates for tests: a throw-away authority and what it signs, as PEM.

use std::fmt;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
    date_time_ymd,
};

/// A certificate authority that lives as long as the test.
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, both as PEM. The `Debug` output has no key.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate alone, without its issuer.
    pub cert_pem: String,
    /// The private key, as PKCS#8.
    pub key_pem: String,
    serial: u64,
}

impl TestCa {
    /// A new authority whose subject is `common_name`.
    pub fn new(common_name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these DNS names and IP addresses, valid now, for servers and clients alike.
    /// The first name is the subject's common name.
    pub fn leaf(&self, names: &[&str]) -> Result<Leaf> {
        self.sign(params(names)?)
    }

    /// Like [`TestCa::leaf`], but its validity ended in 2001.
    pub fn expired_leaf(&self, names: &[&str]) -> Result<Leaf> {
        let mut params = params(names)?;
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(params)
    }

    /// A client certificate with this common name and no other name.
    pub fn client(&self, common_name: &str) -> Result<Leaf> {
        let mut params = params(&[])?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        self.sign(params)
    }

    /// A revocation list of this authority that names `revoked`.
    pub fn revocation_list(&self, revoked: &[&Leaf]) -> Result<String> {
        let revoked_certs = revoked.iter().map(|leaf| RevokedCertParams {
            serial_number: SerialNumber::from(leaf.serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2124, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer)?.pem().context("a signed revocation list has a PEM form")
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Leaf> {
        // The key's own hash would do for a serial number; a counter is shorter to read in a failing test.
        static SERIAL: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        // Strict verifiers (Python since 3.13) want to be told the issuer's key.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { cert_pem: certificate.pem(), key_pem: key.serialize_pem(), serial })
    }
}

fn params(names: &[&str]) -> Result<CertificateParams> {
    let owned: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params =
        CertificateParams::new(owned).with_context(|| format!("no certificate for {names:?}"))?;
    if let Some(first) = names.first() {
        params.distinguished_name.push(DnType::CommonName, *first);
    }
    Ok(params)
}

impl fmt::Debug for TestCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCa").field("pem", &self.pem).finish_non_exhaustive()
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_never_prints_its_key() {
        let leaf = TestCa::new("ca").unwrap().leaf(&["a.example", "127.0.0.1"]).unwrap();
        assert!(leaf.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(!format!("{leaf:?}").contains("PRIVATE KEY"));
    }

    #[test]
    fn a_name_that_no_certificate_can_hold_is_an_error() {
        let error = TestCa::new("ca").unwrap().leaf(&["ä.example"]).unwrap_err();
        assert_eq!(error.to_string(), "no certificate for [\"ä.example\"]");
    }
}

//! Contents of Secrets, made once.

use std::sync::LazyLock;

use contour_e2e::certs::TestCa;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};

use super::texts;

/// Type and data of a Secret.
pub(crate) type Content = (&'static str, Vec<(&'static str, String)>);

struct Pki {
    authority: String,
    certificate: String,
    key: String,
    other_key: String,
    expired: (String, String),
    p384: (String, String),
    ed25519: (String, String),
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let ca = TestCa::new("parity").expect("an authority");
    let leaf = ca.leaf(&["www.example.com", "*.example.com"]).expect("a certificate");
    let expired = ca.expired_leaf(&["www.example.com"]).expect("a certificate");
    Pki {
        authority: ca.pem().to_owned(),
        certificate: leaf.cert_pem,
        key: leaf.key_pem,
        other_key: ca.leaf(&["other.example.com"]).expect("a certificate").key_pem,
        expired: (expired.cert_pem, expired.key_pem),
        p384: self_signed(&PKCS_ECDSA_P384_SHA384),
        ed25519: self_signed(&PKCS_ED25519),
    }
});

fn self_signed(algorithm: &'static SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let mut params = CertificateParams::new(vec!["www.example.com".to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, "www.example.com");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

fn pair(certificate: impl Into<String>, key: impl Into<String>) -> Content {
    ("kubernetes.io/tls", vec![("tls.crt", certificate.into()), ("tls.key", key.into())])
}

/// What any server takes.
pub(crate) fn good() -> Vec<Content> {
    let pki = &*PKI;
    vec![
        pair(&pki.certificate, &pki.key),
        pair(&pki.p384.0, &pki.p384.1),
        pair(format!("{}{}", pki.certificate, pki.authority), &pki.key),
        pair(&pki.expired.0, &pki.expired.1),
    ]
}

/// Authorities, one or several.
pub(crate) fn authorities() -> Vec<Content> {
    let pki = &*PKI;
    let several = pki.authority.repeat(2) + &pki.p384.0;
    let mut all =
        vec![("Opaque", vec![("ca.crt", pki.authority.clone())]), ("Opaque", vec![("ca.crt", several)])];
    if texts::with("certificates") {
        all.push(("Opaque", vec![("ca.crt", format!("{}{}", pki.authority, pki.key))]));
        all.push(("Opaque", vec![("ca.crt", pki.ed25519.0.clone())]));
    }
    all
}

/// What is refused, or taken in spite of its look.
pub(crate) fn odd() -> Vec<Content> {
    let pki = &*PKI;
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let mut all = vec![
        pair("", ""),
        pair(&pki.certificate, &pki.other_key),
        pair(&pki.key, &pki.certificate),
        pair(cut(&pki.certificate), &pki.key),
        pair(&pki.certificate, cut(&pki.key)),
        pair("\0", "\u{e9}"),
        ("Opaque", vec![("tls.crt", pki.certificate.clone())]),
        ("example.com/other", vec![("tls.crt", pki.certificate.clone()), ("tls.key", pki.key.clone())]),
    ];
    if texts::with("certificates") {
        all.extend([
            pair(&pki.ed25519.0, &pki.ed25519.1),
            pair(pki.certificate.replace('\n', "\r\n"), &pki.key),
            pair(format!("text before\n{}text behind", pki.certificate), &pki.key),
            pair(format!("{}{}", pki.certificate, pki.key), &pki.key),
            pair(format!("{}{}", pki.key, pki.certificate), &pki.key),
            pair(format!("{}{}", pki.certificate, pki.p384.0), &pki.key),
            pair(pki.certificate.repeat(2), &pki.key),
            pair(pki.certificate.repeat(50), &pki.key),
            pair(
                pki.certificate.replace("-----BEGIN CERTIFICATE", "-----BEGIN TRUSTED CERTIFICATE"),
                &pki.key,
            ),
            pair(&pki.certificate, format!("{}{}", pki.certificate, pki.key)),
        ]);
    }
    all
}

//! Secrets as they come: which can be used, and what is said about the others.

use std::collections::BTreeMap;

use contour_objects::{Secret, SecretError};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1;

const EC: &str = include_str!("keys/ec.crt");
const EC_KEY: &str = include_str!("keys/ec.key");
const EC_SEC1_KEY: &str = include_str!("keys/ec-sec1.key");
const RSA: &str = include_str!("keys/rsa.crt");
const RSA_KEY: &str = include_str!("keys/rsa.key");
const RSA_PKCS1_KEY: &str = include_str!("keys/rsa-pkcs1.key");
const P521: &str = include_str!("keys/p521.crt");
const P521_KEY: &str = include_str!("keys/p521.key");
const NAMELESS: &str = include_str!("keys/nameless.crt");
const GARBAGE: &str = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";

fn secret(kind: Option<&str>, data: &[(&str, &str)]) -> Secret {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let data: BTreeMap<_, _> = data.iter().map(|(key, text)| ((*key).to_owned(), bytes(text))).collect();
    let mut object = v1::Secret { type_: kind.map(str::to_owned), data: Some(data), ..v1::Secret::default() };
    object.metadata.name = Some("cert".to_owned());
    object.metadata.namespace = Some("team".to_owned());
    Secret::from(object)
}

fn pair(certificate: &str, key: &str) -> Result<(), String> {
    let read = secret(Some("kubernetes.io/tls"), &[("tls.crt", certificate), ("tls.key", key)]);
    read.tls.map(drop).map_err(|error| error.to_string())
}

fn ca(pem: &str) -> Result<(), String> {
    secret(None, &[("ca.crt", pem)]).ca.map(drop).map_err(|error| error.to_string())
}

#[test]
fn every_kind_of_key_can_be_used() {
    for (certificate, key) in [
        (EC, EC_KEY),
        (EC, EC_SEC1_KEY), // With an EC PARAMETERS block before it.
        (RSA, RSA_KEY),
        (RSA, RSA_PKCS1_KEY),
        (P521, P521_KEY), // Nothing here can compare it with its certificate; Envoy can.
    ] {
        assert_eq!(pair(certificate, key), Ok(()));
    }
}

#[test]
fn a_chain_and_text_around_it_are_kept_as_they_are() {
    let chain = format!("leaf\n{EC}issuer\n{RSA}that was all\n");
    let read = secret(Some("Opaque"), &[("tls.crt", &chain), ("tls.key", EC_KEY)]).tls.unwrap();
    assert_eq!(read.certificate, chain.as_bytes());
    assert_eq!(pair(&format!("{RSA}{EC}"), EC_KEY), Err(mismatch()), "the first certificate counts");
}

fn mismatch() -> String {
    SecretError::Mismatch.to_string()
}

#[test]
fn the_fingerprint_is_that_of_the_certificate() {
    let read = |key| secret(None, &[("tls.crt", EC), ("tls.key", key)]).tls.unwrap();
    assert_eq!(read(EC_KEY).fingerprint, read(EC_SEC1_KEY).fingerprint);
    let other = secret(None, &[("tls.crt", RSA), ("tls.key", RSA_KEY)]).tls.unwrap();
    assert_ne!(read(EC_KEY).fingerprint, other.fingerprint);
}

#[test]
fn what_is_wrong_with_a_pair_is_told() {
    let two = format!("{EC_KEY}{RSA_KEY}");
    let no_key = "-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n";
    let sec1 = no_key.replace("PRIVATE", "EC PRIVATE");
    let pkcs1 = no_key.replace("PRIVATE", "RSA PRIVATE");
    for (certificate, key, expected) in [
        ("", EC_KEY, "it has no \"tls.crt\""),
        (EC, "", "it has no \"tls.key\""),
        ("no PEM", EC_KEY, "its \"tls.crt\" holds no CERTIFICATE block"),
        (EC_KEY, EC_KEY, "its \"tls.crt\" holds no CERTIFICATE block"),
        (GARBAGE, EC_KEY, "its \"tls.crt\" holds a CERTIFICATE block that is no X.509 certificate"),
        (
            NAMELESS,
            EC_KEY,
            "its \"tls.crt\" has a first certificate with neither common name nor subject alternative name",
        ),
        (EC, "no PEM", "its \"tls.key\" holds 0 private keys, not one"),
        (EC, EC, "its \"tls.key\" holds 0 private keys, not one"),
        (EC, &two, "its \"tls.key\" holds 2 private keys, not one"),
        (EC, no_key, "its \"tls.key\" is no private key"),
        (EC, &sec1, "its \"tls.key\" is no private key"),
        (EC, &pkcs1, "its \"tls.key\" is no private key"),
        (
            EC,
            "-----BEGIN PRIVATE KEY-----\n%\n-----END PRIVATE KEY-----\n",
            "its \"tls.key\" is not valid PEM",
        ),
        (EC, RSA_KEY, "its \"tls.key\" is not the key of the certificate in \"tls.crt\""),
    ] {
        assert_eq!(pair(certificate, key), Err(expected.to_owned()));
    }
    let broken = "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n";
    let told = pair(broken, EC_KEY).unwrap_err();
    assert!(told.starts_with("its \"tls.crt\" is not valid PEM"), "{told}");
}

#[test]
fn what_is_wrong_with_a_ca_is_told() {
    assert_eq!(ca(&format!("{EC}{RSA}")), Ok(()));
    assert_eq!(ca(""), Err("it has no \"ca.crt\"".to_owned()));
    assert_eq!(ca("no PEM"), Err("its \"ca.crt\" holds no CERTIFICATE block".to_owned()));
    let told = "its \"ca.crt\" holds a CERTIFICATE block that is no X.509 certificate".to_owned();
    assert_eq!(ca(&format!("{EC}{GARBAGE}")), Err(told));
}

#[test]
fn parts_of_a_secret_are_judged_apart() {
    let read = secret(Some("kubernetes.io/tls"), &[("tls.crt", EC), ("tls.key", EC_KEY), ("ca.crt", "")]);
    assert!(read.tls.is_ok());
    assert_eq!(read.ca, Err(SecretError::Missing("ca.crt")));
}

#[test]
fn other_types_cannot_be_used() {
    let read = secret(Some("example.com/other"), &[("tls.crt", EC), ("tls.key", EC_KEY), ("ca.crt", EC)]);
    assert_eq!(read.tls, Err(SecretError::Type("example.com/other".to_owned())));
    assert_eq!(read.ca, Err(SecretError::Type("example.com/other".to_owned())));
}

#[test]
fn keys_are_never_shown() {
    let read = secret(None, &[("tls.crt", EC), ("tls.key", EC_KEY)]);
    let shown = format!("{read:?}");
    assert!(shown.contains("TlsPair("), "{shown}");
    let inside = EC_KEY.lines().nth(2).unwrap();
    assert!(!shown.contains(inside) && !shown.contains("PRIVATE"), "{shown}");
}

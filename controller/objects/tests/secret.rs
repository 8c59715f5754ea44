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

const NO_KEY: &str =
    "its \"tls.key\" is no private key that Envoy takes: RSA, ECDSA on P-256, P-384 or P-521, or Ed25519";

fn other_block(key: &str, label: &str) -> String {
    format!("its \"{key}\" holds a block of type {label}; only blocks of type CERTIFICATE may stand there")
}

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
        (P521, P521_KEY),
    ] {
        assert_eq!(pair(certificate, key), Ok(()));
    }
}

#[test]
fn only_blocks_are_passed_on() {
    let chain = format!("Bag Attributes\r\n{EC}issuer\n{RSA}that was all\n");
    let key = format!("text\n{EC_SEC1_KEY}{EC}more\n");
    let read = secret(Some("Opaque"), &[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", &chain)]);
    let pair = read.tls.unwrap();
    assert_eq!(pair.certificate, format!("{EC}{RSA}").as_bytes());
    assert_eq!(read.ca.unwrap().pem, format!("{EC}{RSA}").as_bytes());
    let sent = String::from_utf8(pair.key.clone()).unwrap();
    assert!(
        sent.starts_with("-----BEGIN EC PRIVATE KEY-----\n") && EC_SEC1_KEY.ends_with(&sent),
        "its block alone"
    );
    assert_eq!(self::pair(&format!("{RSA}{EC}"), EC_KEY), Err(mismatch()), "the first certificate counts");
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
        (EC_KEY, EC_KEY, &other_block("tls.crt", "PRIVATE KEY")),
        (&format!("{EC}{EC_KEY}"), EC_KEY, &other_block("tls.crt", "PRIVATE KEY")),
        (GARBAGE, EC_KEY, "its \"tls.crt\" holds a CERTIFICATE block that is no X.509 certificate"),
        (
            NAMELESS,
            EC_KEY,
            "its \"tls.crt\" has a first certificate with neither common name nor subject alternative name",
        ),
        (EC, "no PEM", "its \"tls.key\" holds 0 private keys, not one"),
        (EC, EC, "its \"tls.key\" holds 0 private keys, not one"),
        (EC, &two, "its \"tls.key\" holds 2 private keys, not one"),
        (EC, no_key, NO_KEY),
        (EC, &sec1, NO_KEY),
        (EC, &pkcs1, NO_KEY),
        (
            EC,
            "-----BEGIN PRIVATE KEY-----\n%\n-----END PRIVATE KEY-----\n",
            "its \"tls.key\" is not valid PEM: it has a block of type PRIVATE KEY that is not valid base64",
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
    let list = GARBAGE.replace("CERTIFICATE", "X509 CRL");
    assert_eq!(ca(&format!("{EC}{list}")), Err(other_block("ca.crt", "X509 CRL")));
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

#[test]
fn the_type_of_a_block_is_shown_only_if_it_cannot_be_a_key() {
    for (label, shown) in [
        ("RSA PRIVATE KEY", "a block of type RSA PRIVATE KEY"),
        ("X509 CRL", "a block of type X509 CRL"),
        ("", "a block of an unknown type"),
        ("certificate", "a block of an unknown type"),
        ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "a block of an unknown type"),
        ("ABCDEFGHIJKLM", "a block of an unknown type"),
    ] {
        let told = pair(&format!("{EC}{}", GARBAGE.replace("CERTIFICATE", label)), EC_KEY).unwrap_err();
        assert!(told.starts_with(&format!("its \"tls.crt\" holds {shown};")), "{told}");
    }
}

/// What a real Envoy says of these, and that it agrees, is held by a test of `contour-envoy`.
#[test]
fn each_case_is_judged_as_written_down() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/secrets");
    let verdicts = std::fs::read_to_string(directory.join("verdicts.txt")).unwrap();
    let verdicts: BTreeMap<&str, &str> = verdicts
        .lines()
        .map(|line| {
            let mut columns = line.split('\t');
            (columns.next().unwrap(), columns.nth(1).unwrap())
        })
        .collect();
    let mut judged = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let files: BTreeMap<String, String> = serde_json::from_str(line).unwrap();
            let data: Vec<_> = files.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
            let read = secret(None, &data);
            let outcome = if files.contains_key("ca.crt") { read.ca.map(drop) } else { read.tls.map(drop) };
            let told = outcome.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(told, verdicts[files["case"].as_str()], "{}", files["case"]);
            judged += 1;
        }
    }
    assert_eq!(judged, verdicts.len());
}

/// What a certificate costs is told by how many things stand in it, not by its length alone.
#[test]
fn the_elements_of_certificates_are_counted() {
    let read = |pem: &str, key: &str| secret(None, &[("tls.crt", pem), ("tls.key", key), ("ca.crt", pem)]);
    let one = read(EC, EC_KEY);
    let (pair, bundle) = (one.tls.expect("usable"), one.ca.expect("usable"));
    assert!((30..100).contains(&pair.elements), "{}", pair.elements);
    assert_eq!(pair.elements, bundle.elements);
    let both = read(&format!("{EC}{RSA}"), EC_KEY);
    let rsa = read(RSA, RSA_KEY).tls.expect("usable");
    assert_eq!(both.tls.expect("usable").elements, pair.elements + rsa.elements);
}

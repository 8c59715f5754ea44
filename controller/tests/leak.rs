//! Keys that are broken, or not where they belong: nothing that is told, sent or logged of them holds any of their octets.

#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    reason = "a step that fails fails the test, and speed is of no interest"
)]

mod support;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use contour_certs::{Authority, Certificate, Leaf};
use contour_e2e::certs::TestCa;
use contour_e2e::leak::Needle;
use contour_xds::{Cache, Server, TlsFiles};
use prometheus_client::registry::Registry;
use support::Built;

const RSA: &str = include_str!("../objects/tests/keys/rsa.key");
const RSA_PKCS1: &str = include_str!("../objects/tests/keys/rsa-pkcs1.key");
const EC_SEC1: &str = include_str!("../objects/tests/keys/ec-sec1.key");
const EC: &str = include_str!("../objects/tests/keys/ec.key");
const CERTIFICATE: &str = include_str!("../objects/tests/keys/ec.crt");

/// How a key is damaged on its way into a file.
fn damaged(key: &str) -> Vec<(&'static str, String)> {
    let lines: Vec<&str> = key.trim_end().lines().collect();
    let (head, body, foot) = (lines[0], &lines[1..lines.len() - 1], lines[lines.len() - 1]);
    let join = |lines: &[&str]| lines.join("\n") + "\n";
    let twice = base64(key.as_bytes());
    let literal = [&[head], body, &["\\n", foot]].concat().join("\\n");
    vec![
        ("whole", key.to_owned()),
        ("line ends written out", key.replace('\n', "\\n")),
        ("line ends written out, and a real one", literal + "\n"),
        ("line ends gone", lines.concat()),
        ("line ends are blanks", lines.join(" ")),
        ("no header", join(&lines[1..])),
        ("no footer", join(&lines[..lines.len() - 1])),
        ("body alone", join(body)),
        ("header in the middle of a line", format!("key: {key}")),
        ("header without dashes", key.replacen("-----\n", "\n", 1)),
        ("header runs into the body", key.replacen("-----\n", "-----", 1)),
        ("footer of another", key.replace(foot, "-----END CERTIFICATE-----")),
        ("header of a certificate", key.replace(head, "-----BEGIN CERTIFICATE-----")),
        (
            "certificate's labels",
            key.replace(head, "-----BEGIN CERTIFICATE-----").replace(foot, "-----END CERTIFICATE-----"),
        ),
        ("body as the label", format!("-----BEGIN {}-----\n{}-----END X-----\n", body[0], join(body))),
        ("base64 damaged", key.replacen(body[0], &format!("*{}", &body[0][1..]), 1)),
        ("base64 cut", key.replacen(body[0], &body[0][1..], 1)),
        ("base64 twice", twice),
        ("headers inside", key.replacen(body[0], &format!("Key: {}\n\n{}", body[0], body[0]), 1)),
        ("indented", key.replace('\n', "\n    ")),
    ]
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |n, &b| n << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { digit.into() } else { '=' });
        }
    }
    out
}

/// Every key, damaged in every way.
fn keys() -> Vec<(String, String, Needle)> {
    let kinds = [("PKCS #8", EC), ("PKCS #8, RSA", RSA), ("PKCS #1", RSA_PKCS1), ("SEC 1", EC_SEC1)];
    let each = |(kind, key): (&str, &'static str)| {
        let kind = kind.to_owned();
        // The parameters before a key of SEC 1 are no secret.
        let start = key.rfind("-----BEGIN").unwrap();
        damaged(&key[start..]).into_iter().map(move |(how, text)| {
            (format!("{kind}, {how}"), text, Needle::new(&key[start..]).without(CERTIFICATE))
        })
    };
    kinds.into_iter().flat_map(each).collect()
}

/// What a chain of errors says, and what a log with `Debug` would show.
fn told(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut cause) = (String::new(), Some(error));
    while let Some(error) = cause {
        writeln!(text, "{error}\n{error:?}").unwrap();
        cause = error.source();
    }
    text
}

/// A host, and the Secret that it names.
fn objects(secret: &str) -> String {
    format!(
        "apiVersion: projectcontour.io/v1\nkind: HTTPProxy\nmetadata: {{name: site, namespace: team}}\n\
         spec:\n  virtualhost: {{fqdn: site.example.com, tls: {{secretName: cert}}}}\n\
         \x20 routes: [{{services: [{{name: web, port: 443, protocol: tls, validation: {{caSecret: cert, subjectName: a}}}}]}}]\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: old, namespace: team}}\n\
         spec: {{tls: [{{hosts: [old.example.com], secretName: cert}}], rules: [{{host: old.example.com, http: {{paths: \
         [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 443}}}}}}}}]}}}}]}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: team}}\nspec: {{ports: [{{port: 443}}]}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata:\n  name: cert\n  namespace: team\n{secret}"
    )
}

/// Everything that is told or sent of a directory with this file.
fn all_of(root: &Path, text: &str) -> (String, Vec<u8>) {
    std::fs::write(root.join("in.yaml"), text).unwrap();
    let built = Built::from_directory(root);
    let mut told = format!("{:?}\n{:?}\n{:?}\n", built.hosts, built.statuses, built.transaction);
    for problem in &built.problems {
        writeln!(told, "{problem}").unwrap();
    }
    for note in &built.notes {
        writeln!(told, "{}", note.message).unwrap();
    }
    for error in built.statuses.iter().flat_map(|status| status.errors.iter().chain(&status.warnings)) {
        writeln!(told, "{error}").unwrap();
    }
    let sent = built.resources().into_iter().flat_map(|(_, resource)| resource.body().to_vec()).collect();
    (told, sent)
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[test]
fn a_secret_from_files_never_shows() {
    let root = tempfile::tempdir().unwrap();
    let certificate = quoted(CERTIFICATE);
    for (what, key, needle) in keys() {
        let (text, encoded) = (quoted(&key), quoted(&base64(key.as_bytes())));
        let beside = quoted(&format!("{CERTIFICATE}{key}"));
        let unquoted = key.replace('\n', "\n  ");
        for (place, secret) in [
            (
                "the certificate's",
                format!("stringData: {{tls.crt: {text}, tls.key: {text}, ca.crt: {text}}}\n"),
            ),
            (
                "beside the certificate",
                format!("stringData: {{tls.crt: {beside}, tls.key: {certificate}, ca.crt: {beside}}}\n"),
            ),
            ("in data", format!("data: {{tls.crt: {encoded}, tls.key: {encoded}, ca.crt: {encoded}}}\n")),
            ("in data, not encoded", format!("data: {{tls.crt: {certificate}, tls.key: {text}}}\n")),
            ("under another name", format!("stringData: {{key.pem: {text}, tls.crt: {certificate}}}\n")),
            ("as a name", format!("stringData: {{{text}: a}}\n")),
            ("as a list", format!("data: {{tls.key: [{text}]}}\n")),
            ("as an object", format!("data: {{tls.key: {{{text}: {text}}}}}\n")),
            ("as data", format!("data: {text}\n")),
            ("as the type", format!("type: {text}\n")),
            ("as a field", format!("{text}: {text}\n")),
            ("as a name of metadata", format!("  {text}: 1\n")),
            ("as a label", format!("  labels: {{{text}: 1, a: [{text}]}}\n")),
            ("without quotes", format!("stringData:\n  tls.key: {unquoted}\n")),
            ("without indentation", format!("stringData:\n  tls.key: |\n{key}\n")),
            ("as an alias", format!("stringData:\n  tls.key: *{}\n", key.lines().nth(1).unwrap_or_default())),
            ("as an escape", format!("stringData: {{tls.key: \"\\q{}\"}}\n", key.replace('\n', "\\n"))),
            ("twice", format!("stringData: {{{text}: a, {text}: b}}\n")),
        ] {
            let (told, sent) = all_of(root.path(), &objects(&secret));
            needle.assert_hidden_in(&format!("a message ({what}; {place})"), told);
            needle.assert_hidden_in(&format!("a resource ({what}; {place})"), sent);
        }
    }
}

/// The one place where a key belongs, so that the test above is known to look where keys are.
#[test]
fn a_good_key_is_sent_and_not_shown() {
    let root = tempfile::tempdir().unwrap();
    let secret = format!(
        "stringData: {{tls.crt: {}, tls.key: {}, ca.crt: {}}}\n",
        quoted(CERTIFICATE),
        quoted(EC),
        quoted(CERTIFICATE)
    );
    let (told, sent) = all_of(root.path(), &objects(&secret));
    let needle = Needle::new(EC);
    needle.assert_hidden_in("a message", told);
    assert!(needle.found_in(&sent).is_some());
}

#[test]
fn files_of_the_xds_server_never_show() {
    let dir = tempfile::tempdir().unwrap();
    let ca = TestCa::new("ca").unwrap();
    let leaf = ca.leaf(&["contour"]).unwrap();
    let paths = ["ca.crt", "tls.crt", "tls.key"].map(|name| dir.path().join(name));
    let [ca_path, cert, key_path] = paths.clone();
    let files = TlsFiles { ca: ca_path, cert, key: key_path, client_name: None };
    let good = [ca.pem(), &leaf.cert_pem, &leaf.key_pem];
    for (what, key, needle) in keys() {
        for place in 0..3 {
            for (index, path) in paths.iter().enumerate() {
                std::fs::write(path, if index == place { &key } else { good[index] }).unwrap();
            }
            let bound =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                    Server::bind(
                        ([127, 0, 0, 1], 0).into(),
                        Some(files.clone()),
                        Cache::new(),
                        &mut Registry::default(),
                    )
                    .map(drop)
                });
            let told = bound.map_or_else(|error| told(&error), |()| String::new());
            needle.assert_hidden_in(&format!("an error of the server ({what}; file {place})"), told);
        }
    }
}

#[test]
fn certificates_and_keys_that_cannot_be_loaded_never_show() {
    for (what, key, needle) in keys() {
        let beside = format!("{CERTIFICATE}{key}");
        let mut text = String::new();
        for (certificate, key) in [(&*key, &*key), (CERTIFICATE, &key), (&beside, EC), (&beside, &key)] {
            match Leaf::load(certificate, key) {
                Ok(leaf) => text += &format!("{leaf:?} {}", leaf.chain()),
                Err(error) => text += &self::told(&error),
            }
            match Authority::load(certificate, key) {
                Ok(authority) => text += &format!("{authority:?} {}", authority.certificate().pem()),
                Err(error) => text += &self::told(&error),
            }
            if let Err(error) = Certificate::parse_all(certificate) {
                text += &self::told(&error);
            }
        }
        needle.assert_hidden_in(&format!("an error about certificates ({what})"), text);
    }
}

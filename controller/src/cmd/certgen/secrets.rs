//! The certificates as Secrets.

use std::collections::BTreeMap;

use anyhow::ensure;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

use super::{Certificates, SecretsFormat};

/// Types of Secrets.
const TLS: &str = "kubernetes.io/tls";
const OPAQUE: &str = "Opaque";

/// The Secrets of a set of certificates, in the order in which they are written.
pub(super) fn secrets(
    certificates: &Certificates,
    format: SecretsFormat,
    namespace: &str,
    suffix: &str,
) -> Vec<Secret> {
    let Certificates { ca, contour, envoy } = certificates;
    let secret = |name: &str, kind: &str, data: &[(&str, &str)]| Secret {
        metadata: ObjectMeta {
            name: Some(format!("{name}{suffix}")),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(String::from("app"), String::from("contour"))])),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        data: Some(
            data.iter().map(|(key, pem)| ((*key).to_owned(), ByteString(pem.as_bytes().to_vec()))).collect(),
        ),
        ..Secret::default()
    };
    let leaves = [("contourcert", contour), ("envoycert", envoy)];
    let leaves =
        leaves.map(|(name, leaf)| (name, [("tls.crt", leaf.chain()), ("tls.key", leaf.key().pem())]));
    match format {
        SecretsFormat::Compact => leaves
            .into_iter()
            .map(|(name, [certificate, key])| secret(name, TLS, &[("ca.crt", ca.pem()), certificate, key]))
            .collect(),
        SecretsFormat::Legacy => leaves
            .into_iter()
            .map(|(name, data)| secret(name, TLS, &data))
            .chain([secret("cacert", OPAQUE, &[("cacert.pem", ca.pem())])])
            .collect(),
    }
}

/// Checks the namespace (a DNS label, RFC 1123) and the names that `suffix` makes (DNS subdomains).
pub(super) fn check_names(namespace: &str, suffix: &str) -> anyhow::Result<()> {
    let name = format!("contourcert{suffix}");
    ensure!(
        is_label(namespace),
        "invalid namespace {namespace:?}: 1 to 63 lower-case letters, digits and `-` are needed, with a letter or digit \
         at both ends"
    );
    ensure!(
        name.len() <= 253 && name.split('.').all(is_label_of_any_length),
        "invalid Secret name {name:?}: at most 253 lower-case letters, digits, `-` and `.` are allowed, with a letter or \
         digit at both ends; correct --secrets-name-suffix"
    );
    Ok(())
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_label_of_any_length(text)
}

fn is_label_of_any_length(text: &str) -> bool {
    let end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (text.as_bytes().first(), text.as_bytes().last()) else { return false };
    end(first) && end(last) && text.bytes().all(|byte| end(&byte) || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kubernetes_refuses_are_refused_here() {
        for (namespace, suffix) in [("projectcontour", ""), ("a", "-v1.33.8"), ("0-9", ".x")] {
            check_names(namespace, suffix).unwrap();
        }
        for namespace in ["", "a.b", "Upper", "-a", "a-", "invalid!", &"a".repeat(64)] {
            let error = check_names(namespace, "").unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid namespace {namespace:?}")), "{error}");
        }
        for suffix in ["-", ".", "..a", "_a", "$", &"a".repeat(243)] {
            let error = check_names("a", suffix).unwrap_err().to_string();
            assert!(error.starts_with("invalid Secret name \"contourcert"), "{error}");
        }
    }
}

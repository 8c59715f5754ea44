//! The Secrets with certificates: what is held, as children.

use std::collections::BTreeMap;

use contour_certs::{Authority, Held, Party};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::Inputs;
use super::meta::{self, Component};
use crate::child::Child;

/// Key of a Secret: the certificates of the authorities to trust.
pub(crate) const TRUST: &str = "ca.crt";

/// Key of a Secret: the certificate to show; that of the authority in its own Secret.
pub(crate) const CERTIFICATE: &str = "tls.crt";

/// Key of a Secret: the key of the certificate.
pub(crate) const KEY: &str = "tls.key";

/// Keys of the authority's Secret: the authority before, as long as not every pod trusts the present one.
pub(crate) const FORMER: [&str; 2] = ["former.crt", "former.key"];

/// The Secret of the authority, which no pod mounts, and one for each side. All tell the same authorities to trust.
pub(crate) fn secrets(inputs: &Inputs<'_>, held: &Held) -> Vec<Child> {
    let names = inputs.names;
    let trust = held.trust_bundle();
    let authority = held.authority.as_ref().map(|authority: &Authority| {
        let pair = |authority: &Authority| {
            [authority.certificate().pem().to_owned(), authority.key().pem().to_owned()]
        };
        let [certificate, key] = pair(authority);
        let mut content = vec![(TRUST, trust.clone()), (CERTIFICATE, certificate), (KEY, key)];
        content
            .extend(held.former.as_ref().map(pair).into_iter().flat_map(|pair| FORMER.into_iter().zip(pair)));
        secret(inputs, Component::Contour, &names.ca_secret, content)
    });
    let leaf = |party, component, name| {
        let leaf = held.leaf(party)?;
        let content = [(TRUST, trust.as_str()), (CERTIFICATE, leaf.chain()), (KEY, leaf.key().pem())];
        Some(secret(inputs, component, name, content.map(|(key, text)| (key, text.to_owned()))))
    };
    let leaves = [
        leaf(Party::Contour, Component::Contour, &names.contour_secret),
        leaf(Party::Envoy, Component::Envoy, &names.envoy_secret),
    ];
    // Who gets a leaf of a new authority finds it trusted: the authority first.
    authority.into_iter().chain(leaves.into_iter().flatten()).collect()
}

fn secret(
    inputs: &Inputs<'_>,
    component: Component,
    name: &str,
    content: impl IntoIterator<Item = (&'static str, String)>,
) -> Child {
    let data: BTreeMap<_, _> =
        content.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect();
    Child::of(&Secret {
        metadata: meta::namespaced(inputs, component, name),
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data),
        ..Secret::default()
    })
}

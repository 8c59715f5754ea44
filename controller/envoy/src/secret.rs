//! Certificates for SDS.

use std::sync::Arc;

use bytes::Bytes;
use contour_resource::{Part, Resource};
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use prost::Message;

use crate::host::Certificate;
use crate::proto::inline_bytes;

/// The resource of a certificate and its key.
pub(crate) fn resource(name: &Arc<str>, certificate: &Certificate) -> Resource {
    let Certificate { namespace, pair } = certificate;
    let certificate = tls::TlsCertificate {
        certificate_chain: Some(inline_bytes(&pair.certificate)),
        private_key: Some(inline_bytes(&pair.key)),
        ..Default::default()
    };
    let secret =
        tls::Secret { name: name.to_string(), r#type: Some(tls::secret::Type::TlsCertificate(certificate)) };
    let part = Part::new("", secret.encode_to_vec()).of_origin(Some(namespace));
    Resource::new(Arc::clone(name), vec![Arc::new(part)]).varying(vary)
}

/// The same certificate with other white space behind it. Envoy compares a Secret with the last it was sent, refused or not, and
/// looks at nothing that is equal (`SdsApi::onConfigUpdate`).
fn vary(encoded: &[u8], number: u32) -> Bytes {
    let Ok(mut secret) = tls::Secret::decode(encoded) else { return encoded.to_vec().into() };
    if let Some(tls::secret::Type::TlsCertificate(certificate)) = &mut secret.r#type
        && let Some(chain) = &mut certificate.certificate_chain
        && let Some(Specifier::InlineBytes(pem)) = &mut chain.specifier
    {
        let bits = (0..u32::BITS - number.leading_zeros()).map(|bit| number >> bit & 1);
        pem.extend(bits.map(|bit| if bit == 0 { b' ' } else { b'\n' }));
    }
    secret.encode_to_vec().into()
}

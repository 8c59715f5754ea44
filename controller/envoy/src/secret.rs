//! Certificates for SDS.

use std::sync::Arc;

use contour_objects::TlsPair;
use contour_resource::Resource;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use prost::Message;

use crate::proto::inline_bytes;

/// The resource of a certificate and its key.
pub(crate) fn resource(name: &Arc<str>, pair: &TlsPair) -> Resource {
    let certificate = tls::TlsCertificate {
        certificate_chain: Some(inline_bytes(&pair.certificate)),
        private_key: Some(inline_bytes(&pair.key)),
        ..Default::default()
    };
    let secret =
        tls::Secret { name: name.to_string(), r#type: Some(tls::secret::Type::TlsCertificate(certificate)) };
    Resource::whole(Arc::clone(name), secret.encode_to_vec())
}

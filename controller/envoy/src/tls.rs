//! TLS parameters of both sides.

use contour_graph::model::TlsVersion;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use tls::tls_parameters::TlsProtocol;

/// Versions, cipher suites and curves.
pub(crate) fn parameters(
    minimum: TlsVersion,
    maximum: TlsVersion,
    ciphers: &[String],
    curves: &[String],
) -> tls::TlsParameters {
    tls::TlsParameters {
        tls_minimum_protocol_version: version(minimum).into(),
        // Envoy refuses an empty range.
        tls_maximum_protocol_version: version(maximum.max(minimum)).into(),
        cipher_suites: ciphers.to_vec(),
        ecdh_curves: curves.to_vec(),
        ..Default::default()
    }
}

fn version(version: TlsVersion) -> TlsProtocol {
    match version {
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    }
}

//! How a virtual host is served over TLS.

use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The TLS of a virtual host. Exactly one of `secretName` and `passthrough` must be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The Secret with the certificate and its key, as `name` or `namespace/name`. Another namespace has to
    /// delegate it by a `TLSCertificateDelegation`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub secret_name: Option<String>,
    /// The lowest TLS version: `1.2` or `1.3`. Anything else means the default, `1.2`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub minimum_protocol_version: Option<String>,
    /// The highest TLS version: `1.2` or `1.3`. Anything else means the default, `1.3`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub maximum_protocol_version: Option<String>,
    /// Hands the TLS session on to the backend of `tcpproxy` without ending it.
    #[serde(default, skip_serializing_if = "unset")]
    pub passthrough: bool,
    /// How the certificates of clients are verified.
    #[serde(default, skip_serializing_if = "unset")]
    pub client_validation: Option<Box<DownstreamValidation>>,
    /// Serves the routes of the host also to clients that send no server name, with the fallback
    /// certificate of the configuration.
    #[serde(default, skip_serializing_if = "unset")]
    pub enable_fallback_certificate: bool,
}

/// How the certificates of clients are verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DownstreamValidation {
    /// The Secret whose `ca.crt` signs the certificates of clients, as `name` or `namespace/name`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub ca_secret: Option<String>,
    /// Asks clients for a certificate without verifying it.
    #[serde(default, skip_serializing_if = "unset")]
    pub skip_client_cert_validation: bool,
    /// Passes the client's certificate to the backend in the header `x-forwarded-client-cert`.
    #[serde(default, skip_serializing_if = "unset")]
    pub forward_client_certificate: Option<Box<ClientCertificateDetails>>,
    /// The Secret whose `crl.pem` lists revoked certificates, as `name` or `namespace/name`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub crl_secret: Option<String>,
    /// Looks up only the client's own certificate in the revocation list, not those that signed it.
    #[serde(default, skip_serializing_if = "unset")]
    pub crl_only_verify_leaf_cert: bool,
    /// Lets clients without a certificate pass.
    #[serde(default, skip_serializing_if = "unset")]
    pub optional_client_certificate: bool,
}

/// What of the client's certificate is passed to the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "the API has one flag per detail")]
pub struct ClientCertificateDetails {
    /// The subject.
    #[serde(default, skip_serializing_if = "unset")]
    pub subject: bool,
    /// The whole certificate, as URL-encoded PEM.
    #[serde(default, skip_serializing_if = "unset")]
    pub cert: bool,
    /// The whole chain, as URL-encoded PEM.
    #[serde(default, skip_serializing_if = "unset")]
    pub chain: bool,
    /// The DNS names.
    #[serde(default, skip_serializing_if = "unset")]
    pub dns: bool,
    /// The URI.
    #[serde(default, skip_serializing_if = "unset")]
    pub uri: bool,
}

//! Addresses that something is served on, and the names of other objects.

use crate::serde_rules::{PlainInteger, non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The namespace and the name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct NamespacedName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// Where Envoy gets its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct XdsServerConfig {
    /// The address to listen on; `0.0.0.0` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub address: Option<String>,
    /// The port to listen on; 8001 by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "PlainInteger")]
    pub port: i64,
    /// The certificates of the connection.
    #[serde(default, skip_serializing_if = "unset")]
    pub tls: Option<XdsTls>,
}

/// The certificates of the connection between Envoy and the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct XdsTls {
    /// The file of the certificate authority, in PEM; `/certs/ca.crt` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub ca_file: Option<String>,
    /// The file of the controller's certificate, in PEM; `/certs/tls.crt` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub cert_file: Option<String>,
    /// The file of the controller's key, in PEM; `/certs/tls.key` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub key_file: Option<String>,
    /// Serves without TLS; `false` by default.
    #[serde(default, skip_serializing_if = "unset")]
    pub insecure: Option<bool>,
}

/// Where the debug endpoints are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DebugConfig {
    /// The address to listen on; `127.0.0.1` by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub address: Option<String>,
    /// The port to listen on; 6060 by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "PlainInteger")]
    pub port: i64,
}

/// Where health is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthConfig {
    /// The address to listen on.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub address: Option<String>,
    /// The port to listen on.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "PlainInteger")]
    pub port: i64,
}

/// Where metrics are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsConfig {
    /// The address to listen on.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1, max = 253))]
    pub address: Option<String>,
    /// The port to listen on.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(with = "PlainInteger")]
    pub port: i64,
    /// Serves metrics over TLS. They may not share their address with health then.
    #[serde(default, skip_serializing_if = "unset")]
    pub tls: Option<MetricsTls>,
}

/// The certificates that metrics are served with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricsTls {
    /// The file of the authority that signs the certificates of clients, in PEM. Without it clients need no
    /// certificate.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub ca_file: Option<String>,
    /// The file of the certificate, in PEM.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub cert_file: Option<String>,
    /// The file of the key, in PEM.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub key_file: Option<String>,
}

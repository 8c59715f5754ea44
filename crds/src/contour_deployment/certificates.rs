//! The certificates between Envoy and the controller.

use crate::patterns::{GO_DURATION, HOST_NAME};
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The certificates between Envoy and the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.lifetime) || duration(self.lifetime) >= duration('1m')",
    "message": "lifetime must be at least 1m"
}, {
    "rule": "!has(self.caLifetime) || duration(self.caLifetime) >= duration(has(self.lifetime) ? self.lifetime : '8760h')",
    "message": "caLifetime must not be less than lifetime, which is 8760h by default"
}, {
    "rule": "!has(self.renewBefore) || (duration(self.renewBefore) > duration('0s') && duration(self.renewBefore) < duration(has(self.lifetime) ? self.lifetime : '8760h'))",
    "message": "renewBefore must be more than nothing and less than lifetime, which is 8760h by default"
}, {
    "rule": "!has(self.secretRefs) || !(has(self.lifetime) || has(self.caLifetime) || has(self.renewBefore) || has(self.keyAlgorithm))",
    "message": "secretRefs excludes the other fields: whoever makes those Secrets decides"
}]))]
pub struct CertificateSettings {
    /// How long a certificate is valid, as a Go duration; a year (`8760h`) by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 2, max = 32), regex(pattern = GO_DURATION))]
    pub lifetime: Option<String>,
    /// How long the certificate authority is valid, as a Go duration; ten years (`87600h`) by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 2, max = 32), regex(pattern = GO_DURATION))]
    pub ca_lifetime: Option<String>,
    /// How long before its end a certificate is replaced, as a Go duration; a third of its lifetime by default.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 2, max = 32), regex(pattern = GO_DURATION))]
    pub renew_before: Option<String>,
    /// The kind of new keys; `ecdsa-p256` by default. Keys that are there stay until their certificate ends.
    #[serde(default, skip_serializing_if = "unset")]
    pub key_algorithm: Option<CertificateKeyAlgorithm>,
    /// Secrets of your own, such as cert-manager makes, in place of those of the operator.
    #[serde(default, skip_serializing_if = "unset")]
    pub secret_refs: Option<CertificateSecrets>,
}

/// Secrets of your own, in the namespace of the object. Each has the keys `ca.crt`, `tls.crt` and `tls.key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.contour != self.envoy",
    "message": "contour and envoy must be two Secrets: whoever holds the first can act as the controller"
}]))]
pub struct CertificateSecrets {
    /// The name of the Secret of the controller. Its certificate is for the DNS name `contour`.
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST_NAME))]
    pub contour: String,
    /// The name of the Secret of Envoy. Its certificate is for the DNS name `envoy`.
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST_NAME))]
    pub envoy: String,
}

/// The kind of a key.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum CertificateKeyAlgorithm {
    /// ECDSA on P-256.
    #[default]
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// ECDSA on P-384.
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
}

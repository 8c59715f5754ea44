//! Verification of JSON Web Tokens.

use super::UpstreamValidation;
use crate::patterns::DURATION;
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An issuer of JSON Web Tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwtProvider {
    /// The name that routes refer to; unique within the virtual host.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Routes that name no provider use this one. At most one provider may be the default.
    #[serde(default, skip_serializing_if = "unset")]
    pub default: bool,
    /// The value that the claim `iss` must have. Any, if not given.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub issuer: Option<String>,
    /// The values one of which the claim `aud` must contain. Any, if none is given.
    #[serde(default, skip_serializing_if = "unset")]
    pub audiences: Vec<String>,
    /// Where the keys that sign tokens are fetched from.
    #[serde(rename = "remoteJWKS")]
    pub remote_jwks: Box<RemoteJwks>,
    /// Passes the token to the backend. It is removed otherwise.
    #[serde(default, skip_serializing_if = "unset")]
    #[serde(rename = "forwardJWT")]
    pub forward_jwt: bool,
}

/// Where a set of keys is fetched from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteJwks {
    /// The address of the keys, `http` or `https`.
    #[schemars(length(min = 1))]
    pub uri: String,
    /// How the certificate of the server is verified. Without it the certificate is not verified.
    #[serde(default, skip_serializing_if = "unset")]
    pub validation: Option<Box<UpstreamValidation>>,
    /// How long to wait for the response, as a Go duration; one second if not given.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(regex(pattern = DURATION))]
    pub timeout: Option<String>,
    /// How long the keys are kept, as a Go duration; 5 minutes if not given.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(regex(pattern = DURATION))]
    pub cache_duration: Option<String>,
    /// Which addresses of the server's name are used; that of the configuration if not given.
    #[serde(default, skip_serializing_if = "unset")]
    pub dns_lookup_family: Option<DnsLookupFamily>,
}

/// Which addresses of a DNS name are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DnsLookupFamily {
    /// IPv6, or IPv4 if there is none.
    Auto,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which token the requests of a route must carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JwtVerificationPolicy {
    /// The name of the provider that must have issued the token. Excludes `disabled`.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub require: Option<String>,
    /// Requires no token, not even of the default provider.
    #[serde(default, skip_serializing_if = "unset")]
    pub disabled: bool,
}

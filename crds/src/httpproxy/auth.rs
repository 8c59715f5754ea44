//! External authorization.

use crate::patterns::TIMEOUT;
use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The external service that is asked whether a request may pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationServer {
    /// The `ExtensionService` that is asked.
    #[serde(default, skip_serializing_if = "unset")]
    pub extension_ref: ExtensionServiceReference,
    /// What holds for routes that do not say otherwise.
    #[serde(default, skip_serializing_if = "unset")]
    pub auth_policy: Option<AuthorizationPolicy>,
    /// How long to wait for the answer, as a Go duration or `infinity`; that of the `ExtensionService` if not
    /// given.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(regex(pattern = TIMEOUT))]
    pub response_timeout: Option<String>,
    /// Lets requests pass when the service does not answer.
    #[serde(default, skip_serializing_if = "unset")]
    pub fail_open: bool,
    /// Sends the body of requests to the service as well.
    #[serde(default, skip_serializing_if = "unset")]
    pub with_request_body: Option<AuthorizationServerBufferSettings>,
}

/// Names an `ExtensionService`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionServiceReference {
    /// The API version; `projectcontour.io/v1alpha1` if not given, and the only one there is.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub api_version: Option<String>,
    /// The namespace; that of the referring object if not given.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub namespace: Option<String>,
    /// The name.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[schemars(length(min = 1))]
    pub name: Option<String>,
}

/// Whether authorization is asked for, and with which facts besides the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorizationPolicy {
    /// Lets requests pass without asking.
    #[serde(default, skip_serializing_if = "unset")]
    pub disabled: bool,
    /// Keys and values that are sent along. Those of a route win over those of the virtual host.
    #[serde(default, skip_serializing_if = "unset")]
    pub context: BTreeMap<String, String>,
}

/// How much of the body of a request is sent along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationServerBufferSettings {
    /// How many bytes at most.
    #[serde(default = "AuthorizationServerBufferSettings::default_max_request_bytes")]
    #[schemars(range(min = 1))]
    pub max_request_bytes: i32,
    /// Sends the first part of a longer body. Requests with a longer body are refused otherwise.
    #[serde(default, skip_serializing_if = "unset")]
    pub allow_partial_message: bool,
    /// Sends the body as raw bytes. It is sent as UTF-8 text otherwise.
    #[serde(default, skip_serializing_if = "unset")]
    pub pack_as_bytes: bool,
}

impl AuthorizationServerBufferSettings {
    fn default_max_request_bytes() -> i32 {
        1024
    }
}

impl Default for AuthorizationServerBufferSettings {
    fn default() -> Self {
        Self {
            max_request_bytes: Self::default_max_request_bytes(),
            allow_partial_message: false,
            pack_as_bytes: false,
        }
    }
}

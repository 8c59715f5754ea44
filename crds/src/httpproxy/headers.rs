//! Changes to headers and cookies.

use crate::patterns::{COOKIE_NAME, COOKIE_PATH, HOST_NAME};
use crate::serde_rules::unset;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sets and removes headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeadersPolicy {
    /// The headers that get a value, in place of any they have. `Host` is allowed for requests only.
    #[serde(default, skip_serializing_if = "unset")]
    pub set: Vec<HeaderValue>,
    /// The names of headers that are removed.
    #[serde(default, skip_serializing_if = "unset")]
    pub remove: Vec<String>,
}

/// A header and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct HeaderValue {
    /// The header's name; case does not matter.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The value. Some variables between percent signs are replaced, such as `%CONTOUR_NAMESPACE%` and
    /// `%DOWNSTREAM_REMOTE_ADDRESS%`.
    #[schemars(length(min = 1))]
    pub value: String,
}

/// Changes attributes of a cookie that a response sets. At least one attribute must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CookieRewritePolicy {
    /// The cookie's name.
    #[schemars(length(min = 1, max = 4096), regex(pattern = COOKIE_NAME))]
    pub name: String,
    /// Changes the attribute `Path`.
    #[serde(default, skip_serializing_if = "unset")]
    pub path_rewrite: Option<CookiePathRewrite>,
    /// Changes the attribute `Domain`.
    #[serde(default, skip_serializing_if = "unset")]
    pub domain_rewrite: Option<CookieDomainRewrite>,
    /// Sets or removes the attribute `Secure`.
    #[serde(default, skip_serializing_if = "unset")]
    pub secure: Option<bool>,
    /// Changes the attribute `SameSite`.
    #[serde(default, skip_serializing_if = "unset")]
    pub same_site: Option<SameSite>,
}

/// The new path of a cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CookiePathRewrite {
    /// The path.
    #[schemars(length(min = 1, max = 4096), regex(pattern = COOKIE_PATH))]
    pub value: String,
}

/// The new domain of a cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CookieDomainRewrite {
    /// The domain.
    #[schemars(length(min = 1, max = 4096), regex(pattern = HOST_NAME))]
    pub value: String,
}

/// Whether a browser sends a cookie along with requests that another site caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SameSite {
    /// Never.
    Strict,
    /// Only when the user follows a link.
    Lax,
    /// Always.
    None,
}

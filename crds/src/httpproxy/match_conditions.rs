//! Which requests a route or an include is for.

use crate::serde_rules::{non_empty, unset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One condition on a request. All conditions of a list must hold. At most one of `prefix`, `exact` and
/// `regex` may be given in a list; an include takes `prefix` only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchCondition {
    /// The path starts with this text, which must start with a slash. The prefixes along a chain of includes
    /// are put together.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub prefix: Option<String>,
    /// The path is this text, which must start with a slash.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub exact: Option<String>,
    /// The path matches this regular expression (RE2) from its start to its end. It must start with a slash.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub regex: Option<String>,
    /// A condition on a header.
    #[serde(default, skip_serializing_if = "unset")]
    pub header: Option<Box<HeaderMatchCondition>>,
    /// A condition on a query parameter.
    #[serde(default, skip_serializing_if = "unset")]
    pub query_parameter: Option<Box<QueryParameterMatchCondition>>,
}

/// A condition on a header. One of the kinds of match must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the API has one flag per kind of match")]
pub struct HeaderMatchCondition {
    /// The header's name; case does not matter.
    pub name: String,
    /// The header is there, with any value. `false` means the same as leaving it out.
    #[serde(default, skip_serializing_if = "unset")]
    pub present: bool,
    /// The header is not there. `false` means the same as leaving it out.
    #[serde(default, skip_serializing_if = "unset")]
    #[serde(rename = "notpresent")]
    pub not_present: bool,
    /// The value contains this text.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub contains: Option<String>,
    /// The value does not contain this text.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[serde(rename = "notcontains")]
    pub not_contains: Option<String>,
    /// Ignores case. Has no effect on `regex`.
    #[serde(default, skip_serializing_if = "unset")]
    pub ignore_case: bool,
    /// The value is this text.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub exact: Option<String>,
    /// The value is not this text.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    #[serde(rename = "notexact")]
    pub not_exact: Option<String>,
    /// The value matches this regular expression (RE2).
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub regex: Option<String>,
    /// Takes a missing header for an empty one, so that the negative matches hold for it.
    #[serde(default, skip_serializing_if = "unset")]
    pub treat_missing_as_empty: bool,
}

/// A condition on a query parameter. Exactly one kind of match must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueryParameterMatchCondition {
    /// The parameter's name; case matters.
    pub name: String,
    /// The value is this text.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub exact: Option<String>,
    /// The value starts with this text.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub prefix: Option<String>,
    /// The value ends with this text.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub suffix: Option<String>,
    /// The value matches this regular expression (RE2).
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub regex: Option<String>,
    /// The value contains this text.
    #[serde(default, deserialize_with = "non_empty", skip_serializing_if = "unset")]
    pub contains: Option<String>,
    /// Ignores case. Has no effect on `regex`.
    #[serde(default, skip_serializing_if = "unset")]
    pub ignore_case: bool,
    /// The parameter is there, with any value. `false` means the same as leaving it out.
    #[serde(default, skip_serializing_if = "unset")]
    pub present: bool,
}

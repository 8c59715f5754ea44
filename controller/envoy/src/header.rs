//! Changes to headers.

use contour_graph::limits::MOST_HEADERS as MOST;
use contour_graph::model::{HeaderPolicy, HostRewrite};
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};

use crate::proto::is_header_value;

/// Headers to overwrite or add, by name. What Envoy would refuse (`Host`, pseudo-headers, line breaks) is left out: one bad
/// header must not cost the whole RouteConfiguration.
pub(crate) fn to_add(policy: &HeaderPolicy) -> Vec<HeaderValueOption> {
    let usable = policy.set.iter().filter(|(name, value)| is_changeable(name) && is_header_value(value));
    usable
        .take(MOST)
        .map(|(name, value)| option(name, value, HeaderAppendAction::OverwriteIfExistsOrAdd))
        .collect()
}

/// Headers to remove, without what Envoy would refuse.
pub(crate) fn to_remove(policy: &HeaderPolicy) -> Vec<String> {
    policy.remove.iter().filter(|name| is_changeable(name)).take(MOST).cloned().collect()
}

/// The fixed value of Host, if there is one Envoy takes.
pub(crate) fn host_literal(policy: &HeaderPolicy) -> Option<&str> {
    match &policy.host {
        Some(HostRewrite::Literal(host)) if !host.is_empty() && is_header_value(host) => Some(host),
        _ => None,
    }
}

/// The header whose value becomes Host, if there is one Envoy takes.
pub(crate) fn host_from_header(policy: &HeaderPolicy) -> Option<&str> {
    match &policy.host {
        Some(HostRewrite::FromHeader(name)) if !name.is_empty() && is_header_value(name) => Some(name),
        _ => None,
    }
}

/// Whether the policy changes anything a route cannot say for a single cluster.
pub(crate) fn is_empty(policy: &HeaderPolicy) -> bool {
    policy.set.is_empty() && policy.remove.is_empty() && policy.host.is_none()
}

/// One change.
pub(crate) fn option(name: &str, value: &str, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), ..Default::default() }),
        append_action: action.into(),
        ..Default::default()
    }
}

fn is_changeable(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(':') && !name.eq_ignore_ascii_case("host") && is_header_value(name)
}

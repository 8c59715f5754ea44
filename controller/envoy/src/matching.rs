//! Conditions of routes as Envoy writes them.

use contour_graph::model::{HeaderMatch, HeaderValue, PathMatch, QueryMatch, QueryValue, RouteMatch};
use contour_graph::re2;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use route::header_matcher::HeaderMatchSpecifier;
use route::query_parameter_matcher::QueryParameterMatchSpecifier;
use route::route_match::PathSpecifier;

use crate::proto::{regex, string_matcher};

/// A route's conditions. `host` is the host the route belongs to: under a wildcard it only takes hosts of one more label.
pub(crate) fn route_match(matches: &RouteMatch, host: &str) -> route::RouteMatch {
    let one_label = host.strip_prefix('*').filter(|suffix| suffix.starts_with('.')).map(one_label);
    route::RouteMatch {
        path_specifier: Some(path(&matches.path)),
        headers: one_label.into_iter().chain(matches.headers.iter().map(header)).collect(),
        query_parameters: matches.query.iter().map(query).collect(),
        ..Default::default()
    }
}

/// `:authority` has exactly one label before `suffix` (`.example.com`), in whatever case; a port is tolerated.
fn one_label(suffix: &str) -> route::HeaderMatcher {
    let quoted = suffix.replace('.', "\\.");
    let expression = regex(format!("(?i)^[a-z0-9]([-a-z0-9]*[a-z0-9])?{quoted}(:[0-9]+)?"));
    route::HeaderMatcher {
        name: ":authority".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(string_matcher(
            MatchPattern::SafeRegex(expression),
            false,
        ))),
        ..Default::default()
    }
}

/// `:authority` names this port.
pub(crate) fn port(port: u16) -> route::HeaderMatcher {
    route::HeaderMatcher {
        name: ":authority".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(string_matcher(
            MatchPattern::Suffix(format!(":{port}")),
            false,
        ))),
        ..Default::default()
    }
}

fn path(path: &PathMatch) -> PathSpecifier {
    match path {
        PathMatch::Exact(text) => PathSpecifier::Path(text.clone()),
        PathMatch::Regex(text) => PathSpecifier::SafeRegex(regex(re2::anchored(text))),
        PathMatch::Prefix(text) => PathSpecifier::Prefix(text.clone()),
        PathMatch::Segments(text) => segments(text),
    }
}

/// Envoy refuses `/`, a trailing slash and `?` or `#` here. The first matches everything as a plain prefix; a path never has the last two,
/// and a prefix with them matches nothing in either form.
fn segments(text: &str) -> PathSpecifier {
    let text = text.trim_end_matches('/');
    if text.len() < 2 || text.contains(['?', '#']) {
        return PathSpecifier::Prefix(if text.is_empty() { "/".to_owned() } else { text.to_owned() });
    }
    PathSpecifier::PathSeparatedPrefix(text.to_owned())
}

fn header(header: &HeaderMatch) -> route::HeaderMatcher {
    let string =
        |pattern, ignore_case| HeaderMatchSpecifier::StringMatch(string_matcher(pattern, ignore_case));
    let specifier = match &header.value {
        HeaderValue::Exact(text) => string(MatchPattern::Exact(text.clone()), header.ignore_case),
        HeaderValue::Regex(text) => string(pattern(text), false),
        // Every value contains the empty text; Envoy refuses to be asked.
        HeaderValue::Contains(text) if text.is_empty() => HeaderMatchSpecifier::PresentMatch(true),
        HeaderValue::Contains(text) => string(MatchPattern::Contains(text.clone()), header.ignore_case),
        HeaderValue::Present => HeaderMatchSpecifier::PresentMatch(true),
    };
    route::HeaderMatcher {
        name: header.name.clone(),
        invert_match: header.invert,
        treat_missing_header_as_empty: header.invert && header.missing_is_empty,
        header_match_specifier: Some(specifier),
    }
}

fn query(query: &QueryMatch) -> route::QueryParameterMatcher {
    let string =
        |pattern| QueryParameterMatchSpecifier::StringMatch(string_matcher(pattern, query.ignore_case));
    let specifier = match &query.value {
        QueryValue::Exact(text) => string(MatchPattern::Exact(text.clone())),
        QueryValue::Regex(text) => {
            QueryParameterMatchSpecifier::StringMatch(string_matcher(pattern(text), false))
        }
        QueryValue::Prefix(text) | QueryValue::Suffix(text) | QueryValue::Contains(text)
            if text.is_empty() =>
        {
            QueryParameterMatchSpecifier::PresentMatch(true)
        }
        QueryValue::Prefix(text) => string(MatchPattern::Prefix(text.clone())),
        QueryValue::Suffix(text) => string(MatchPattern::Suffix(text.clone())),
        QueryValue::Contains(text) => string(MatchPattern::Contains(text.clone())),
        QueryValue::Present => QueryParameterMatchSpecifier::PresentMatch(true),
    };
    route::QueryParameterMatcher {
        name: query.name.clone(),
        query_parameter_match_specifier: Some(specifier),
    }
}

/// Envoy refuses an empty expression; it matches what equals the empty text.
fn pattern(expression: &str) -> MatchPattern {
    if expression.is_empty() {
        return MatchPattern::Exact(String::new());
    }
    MatchPattern::SafeRegex(regex(expression))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("/foo", PathSpecifier::PathSeparatedPrefix("/foo".to_owned()))]
    #[case::trailing_slash("/foo/", PathSpecifier::PathSeparatedPrefix("/foo".to_owned()))]
    #[case::root("/", PathSpecifier::Prefix("/".to_owned()))]
    #[case::query("/a?b", PathSpecifier::Prefix("/a?b".to_owned()))]
    fn segments_are_what_envoy_takes(#[case] text: &str, #[case] expected: PathSpecifier) {
        assert_eq!(path(&PathMatch::Segments(text.to_owned())), expected);
    }

    #[test]
    fn a_wildcard_takes_one_label() {
        let matches = RouteMatch { path: PathMatch::Prefix("/".to_owned()), headers: vec![], query: vec![] };
        let written = route_match(&matches, "*.example.com");
        assert_eq!(written.headers.len(), 1);
        assert_eq!(written.headers[0].name, ":authority");
        let Some(HeaderMatchSpecifier::StringMatch(string)) = &written.headers[0].header_match_specifier
        else {
            panic!("a string match");
        };
        let Some(MatchPattern::SafeRegex(regex)) = &string.match_pattern else { panic!("a regex") };
        assert_eq!(regex.regex, r"(?i)^[a-z0-9]([-a-z0-9]*[a-z0-9])?\.example\.com(:[0-9]+)?");
        assert!(route_match(&matches, "*").headers.is_empty());
        assert!(route_match(&matches, "www.example.com").headers.is_empty());
    }
}

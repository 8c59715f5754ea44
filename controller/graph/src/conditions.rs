//! Match conditions: checked, merged along the include chain, and turned into a [`RouteMatch`] (reference 1.8).

use std::collections::BTreeSet;

use contour_crds::httpproxy::{HeaderMatchCondition, MatchCondition, QueryParameterMatchCondition};
use regex::Regex;

use crate::model::{HeaderMatch, HeaderValue, PathMatch, QueryMatch, QueryValue, RouteMatch};

/// Checks the path conditions of one list. With `include`, only `prefix` is allowed.
pub(crate) fn check_paths(conditions: &[MatchCondition], include: bool) -> Result<(), String> {
    let mut paths = 0;
    for condition in conditions {
        for (field, value) in path_fields(condition) {
            paths += 1;
            if include && field != "prefix" {
                return Err(format!("condition \"{field}\" cannot be used in includes, only \"prefix\" can"));
            }
            if !value.starts_with('/') {
                return Err(format!("{field} condition \"{value}\" must start with \"/\""));
            }
            if field == "regex" {
                check_regex(value)?;
            }
            if value.chars().any(char::is_control) {
                return Err(format!("{field} condition {value:?} has control characters"));
            }
        }
    }
    if paths > 1 {
        return Err("more than one prefix, exact or regex condition; use one at most".to_owned());
    }
    Ok(())
}

fn path_fields(condition: &MatchCondition) -> impl Iterator<Item = (&'static str, &str)> {
    [("prefix", &condition.prefix), ("exact", &condition.exact), ("regex", &condition.regex)]
        .into_iter()
        .filter_map(|(field, value)| Some((field, value.as_deref().filter(|v| !v.is_empty())?)))
}

/// Checks that a text is a regular expression Envoy's RE2 takes.
pub(crate) fn check_regex(text: &str) -> Result<(), String> {
    Regex::new(text).map(|_| ()).map_err(|e| {
        let cause = e.to_string();
        format!(
            "regular expression \"{text}\" does not compile: {}",
            cause.lines().last().unwrap_or_default()
        )
    })
}

/// Checks the header conditions of a whole include chain.
pub(crate) fn check_headers<'c>(conditions: impl Iterator<Item = &'c MatchCondition>) -> Result<(), String> {
    let mut seen: BTreeSet<(String, &str, String)> = BTreeSet::new();
    for header in conditions.filter_map(|c| c.header.as_deref()) {
        let name = header.name.to_ascii_lowercase();
        if !crate::headers::is_token(&name) {
            return Err(format!("\"{}\" is not a header name", header.name));
        }
        if let Some(regex) = &header.regex {
            check_regex(regex)?;
        }
        for (field, opposite, value) in header_fields(header) {
            if field == "exact" && seen.iter().any(|(n, f, v)| *n == name && *f == field && *v != value) {
                return Err(format!(
                    "header \"{name}\" cannot equal two values: more than one exact condition"
                ));
            }
            if seen.contains(&(name.clone(), opposite, value.clone())) {
                return Err(format!("header \"{name}\" has both {opposite} and {field} for the same value"));
            }
            seen.insert((name.clone(), field, value));
        }
    }
    Ok(())
}

/// The conditions set in a header condition: field, the field that contradicts it, value.
fn header_fields(header: &HeaderMatchCondition) -> Vec<(&'static str, &'static str, String)> {
    let text = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
    let mut fields = Vec::new();
    if header.present {
        fields.push(("present", "notpresent", String::new()));
    }
    if header.not_present {
        fields.push(("notpresent", "present", String::new()));
    }
    for (field, opposite, value) in [
        ("exact", "notexact", &header.exact),
        ("notexact", "exact", &header.not_exact),
        ("contains", "notcontains", &header.contains),
        ("notcontains", "contains", &header.not_contains),
    ] {
        fields.extend(text(value).map(|v| (field, opposite, v)));
    }
    fields
}

/// Checks the query parameter conditions of a whole include chain.
pub(crate) fn check_query<'c>(conditions: impl Iterator<Item = &'c MatchCondition>) -> Result<(), String> {
    let mut exact: BTreeSet<String> = BTreeSet::new();
    for query in conditions.filter_map(|c| c.query_parameter.as_deref()) {
        let values = query_values(query);
        let [value] = values.as_slice() else {
            return Err(format!(
                "query parameter \"{}\" needs exactly one of exact, prefix, suffix, regex, contains and present; it has {}",
                query.name,
                values.len()
            ));
        };
        if let QueryValue::Regex(regex) = value {
            check_regex(regex)?;
        }
        let repeated =
            matches!(value, QueryValue::Exact(_)) && !exact.insert(query.name.to_ascii_lowercase());
        if repeated {
            return Err(format!("query parameter \"{}\" has more than one exact condition", query.name));
        }
    }
    Ok(())
}

fn query_values(query: &QueryParameterMatchCondition) -> Vec<QueryValue> {
    let text = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
    let mut values: Vec<QueryValue> = Vec::new();
    values.extend(text(&query.exact).map(QueryValue::Exact));
    values.extend(text(&query.prefix).map(QueryValue::Prefix));
    values.extend(text(&query.suffix).map(QueryValue::Suffix));
    values.extend(text(&query.regex).map(QueryValue::Regex));
    values.extend(text(&query.contains).map(QueryValue::Contains));
    values.extend(query.present.then_some(QueryValue::Present));
    values
}

/// Merges the checked conditions of a chain, root first.
pub(crate) fn merge<'c>(conditions: impl Iterator<Item = &'c MatchCondition> + Clone) -> RouteMatch {
    let headers: BTreeSet<HeaderMatch> =
        conditions.clone().filter_map(|c| c.header.as_deref()).flat_map(header_matches).collect();
    let query: BTreeSet<QueryMatch> =
        conditions.clone().filter_map(|c| c.query_parameter.as_deref()).flat_map(query_matches).collect();
    RouteMatch {
        path: merge_paths(conditions),
        headers: headers.into_iter().collect(),
        query: query.into_iter().collect(),
    }
}

/// Concatenates the path conditions root to leaf. The last one decides between exact, regex and prefix; literal prefixes before
/// a regex are escaped, so that they match themselves.
fn merge_paths<'c>(conditions: impl Iterator<Item = &'c MatchCondition>) -> PathMatch {
    let mut literal = String::new();
    let mut kind = "prefix";
    let mut pattern = String::new();
    for (field, value) in conditions.flat_map(path_fields) {
        kind = field;
        if field == "regex" {
            pattern = format!("{}{value}", regex::escape(literal.trim_end_matches('/')));
        } else {
            literal.push_str(value);
            literal = collapse(&literal);
        }
    }
    match kind {
        "regex" => PathMatch::Regex(pattern),
        "exact" => PathMatch::Exact(literal),
        _ if literal.is_empty() => PathMatch::Prefix("/".to_owned()),
        _ => PathMatch::Prefix(literal),
    }
}

/// Replaces runs of slashes by one.
fn collapse(path: &str) -> String {
    let mut collapsed = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !collapsed.ends_with('/') {
            collapsed.push(c);
        }
    }
    collapsed
}

fn header_matches(header: &HeaderMatchCondition) -> Vec<HeaderMatch> {
    let make = |value: HeaderValue, invert: bool| HeaderMatch {
        name: header.name.to_ascii_lowercase(),
        ignore_case: header.ignore_case && matches!(value, HeaderValue::Exact(_) | HeaderValue::Contains(_)),
        missing_is_empty: header.treat_missing_as_empty && invert && value != HeaderValue::Present,
        value,
        invert,
    };
    let mut matches: Vec<HeaderMatch> = header_fields(header)
        .into_iter()
        .map(|(field, _, value)| match field {
            "present" => make(HeaderValue::Present, false),
            "notpresent" => make(HeaderValue::Present, true),
            "exact" => make(HeaderValue::Exact(value), false),
            "notexact" => make(HeaderValue::Exact(value), true),
            "contains" => make(HeaderValue::Contains(value), false),
            _ => make(HeaderValue::Contains(value), true),
        })
        .collect();
    if let Some(regex) = header.regex.as_ref().filter(|r| !r.is_empty()) {
        matches.push(make(HeaderValue::Regex(regex.clone()), false));
    }
    matches
}

fn query_matches(query: &QueryParameterMatchCondition) -> Vec<QueryMatch> {
    query_values(query)
        .into_iter()
        .map(|value| QueryMatch {
            name: query.name.clone(),
            ignore_case: query.ignore_case && !matches!(value, QueryValue::Regex(_) | QueryValue::Present),
            value,
        })
        .collect()
}

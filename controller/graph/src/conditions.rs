//! Match conditions: checked, merged along the include chain, and turned into a [`RouteMatch`] (reference 1.8).

use std::collections::BTreeSet;

use contour_crds::httpproxy::{HeaderMatchCondition, MatchCondition, QueryParameterMatchCondition};

use crate::limits::{
    LONGEST_CONDITION, LONGEST_HEADER_NAME, LONGEST_PATH, LONGEST_QUERY_NAME, check_length, excerpt,
};
use crate::model::{HeaderMatch, HeaderValue, PathMatch, QueryMatch, QueryValue, RouteMatch};
use crate::re2;

/// Checks the path conditions of one list. With `include`, only `prefix` is allowed.
pub(crate) fn check_paths(conditions: &[MatchCondition], include: bool) -> Result<(), String> {
    let mut paths = 0;
    for condition in conditions {
        for (field, value) in path_fields(condition) {
            paths += 1;
            if include && field != "prefix" {
                return Err(format!("condition \"{field}\" cannot be used in includes, only \"prefix\" can"));
            }
            if field != "regex" {
                check_length(&format!("{field} condition"), value, LONGEST_PATH)?;
            }
            if !value.starts_with('/') {
                return Err(format!("{field} condition \"{}\" must start with \"/\"", excerpt(value)));
            }
            if field == "regex" {
                re2::check(value).map_err(|e| e.to_string())?;
            }
            if value.chars().any(char::is_control) {
                return Err(format!("{field} condition \"{}\" has control characters", excerpt(value)));
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

/// Checks the header conditions of a whole include chain.
pub(crate) fn check_headers<'c>(conditions: impl Iterator<Item = &'c MatchCondition>) -> Result<(), String> {
    let mut exact: BTreeSet<String> = BTreeSet::new();
    let mut seen: BTreeSet<(String, HeaderField, String, bool)> = BTreeSet::new();
    for header in conditions.filter_map(|c| c.header.as_deref()) {
        let name = header.name.to_ascii_lowercase();
        // Pseudo headers such as `:authority` may be matched, too.
        if name.is_empty() || name.contains(['\0', '\r', '\n']) {
            return Err(format!("\"{}\" is not a header name", excerpt(&header.name)));
        }
        check_length("the name of a header", &name, LONGEST_HEADER_NAME)?;
        let Some((field, value)) = header_fields(header).into_iter().next() else { continue };
        if field != HeaderField::Regex {
            check_length(
                &format!("the {} condition on header \"{name}\"", field.as_str()),
                &value,
                LONGEST_CONDITION,
            )?;
        }
        if field == HeaderField::Regex {
            re2::check(&value).map_err(|e| e.to_string())?;
        }
        if field == HeaderField::Exact && !exact.insert(name.clone()) {
            return Err(format!("header \"{name}\" has more than one exact condition"));
        }
        let ignore_case = header.ignore_case && !value.is_empty();
        if let Some(opposite) = field.opposite() {
            // An `exact: a` that ignores case and a strict `notexact: a` do not contradict: "A" meets both.
            let clash = |ignored| seen.contains(&(name.clone(), opposite, value.clone(), ignored));
            let strict = clash(false) && (field.negative() || !ignore_case);
            let loose = clash(true) && (!field.negative() || ignore_case);
            if strict || loose {
                let (one, other) = (opposite.as_str(), field.as_str());
                return Err(format!("header \"{name}\" has both {one} and {other} for the same value"));
            }
        }
        seen.insert((name, field, value, ignore_case));
    }
    Ok(())
}

/// The kinds of header condition, in the order in which Contour looks for them: the first one set counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HeaderField {
    Present,
    NotPresent,
    Contains,
    NotContains,
    Exact,
    NotExact,
    Regex,
}

impl HeaderField {
    fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::NotPresent => "notpresent",
            Self::Contains => "contains",
            Self::NotContains => "notcontains",
            Self::Exact => "exact",
            Self::NotExact => "notexact",
            Self::Regex => "regex",
        }
    }

    fn opposite(self) -> Option<Self> {
        match self {
            Self::Present => Some(Self::NotPresent),
            Self::NotPresent => Some(Self::Present),
            Self::Contains => Some(Self::NotContains),
            Self::NotContains => Some(Self::Contains),
            Self::Exact => Some(Self::NotExact),
            Self::NotExact => Some(Self::Exact),
            Self::Regex => None,
        }
    }

    fn negative(self) -> bool {
        matches!(self, Self::NotPresent | Self::NotContains | Self::NotExact)
    }
}

/// The kinds set in a header condition, with their values. Only the first counts.
fn header_fields(header: &HeaderMatchCondition) -> Vec<(HeaderField, String)> {
    let mut fields = Vec::new();
    if header.present {
        fields.push((HeaderField::Present, String::new()));
    }
    if header.not_present {
        fields.push((HeaderField::NotPresent, String::new()));
    }
    let texts = [
        (HeaderField::Contains, &header.contains),
        (HeaderField::NotContains, &header.not_contains),
        (HeaderField::Exact, &header.exact),
        (HeaderField::NotExact, &header.not_exact),
        (HeaderField::Regex, &header.regex),
    ];
    fields.extend(
        texts
            .into_iter()
            .filter_map(|(field, value)| Some((field, value.clone().filter(|v| !v.is_empty())?))),
    );
    fields
}

/// What is ignored in header conditions that ask for more than one thing.
pub(crate) fn ignored_header_fields(conditions: &[MatchCondition]) -> Vec<String> {
    let headers = conditions.iter().filter_map(|c| c.header.as_deref());
    headers
        .filter_map(|header| {
            let fields = header_fields(header);
            let (first, rest) = fields.split_first().filter(|(_, rest)| !rest.is_empty())?;
            let rest: Vec<&str> = rest.iter().map(|(field, _)| field.as_str()).collect();
            Some(format!(
                "header condition on \"{}\" has {} besides {}, which is ignored; use one condition for each",
                header.name,
                rest.join(", "),
                first.0.as_str()
            ))
        })
        .collect()
}

/// Checks the query parameter conditions of a whole include chain.
pub(crate) fn check_query<'c>(conditions: impl Iterator<Item = &'c MatchCondition>) -> Result<(), String> {
    let mut exact: BTreeSet<String> = BTreeSet::new();
    for query in conditions.filter_map(|c| c.query_parameter.as_deref()) {
        if query.name.is_empty() || query.name.len() > LONGEST_QUERY_NAME {
            return Err(format!(
                "query parameter names must have 1 to {LONGEST_QUERY_NAME} bytes; one has {}",
                query.name.len()
            ));
        }
        let values = query_values(query);
        let [value] = values.as_slice() else {
            return Err(format!(
                "query parameter \"{}\" needs exactly one of exact, prefix, suffix, regex, contains and present; it has {}",
                query.name,
                values.len()
            ));
        };
        match value {
            QueryValue::Regex(regex) => drop(re2::check(regex).map_err(|e| e.to_string())?),
            QueryValue::Exact(text)
            | QueryValue::Prefix(text)
            | QueryValue::Suffix(text)
            | QueryValue::Contains(text) => {
                let what = format!("the condition on query parameter \"{}\"", excerpt(&query.name));
                check_length(&what, text, LONGEST_CONDITION)?;
            }
            QueryValue::Present => {}
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

/// Checks what the path conditions of a chain become together, as it is sent.
pub(crate) fn check_merged(path: &PathMatch) -> Result<(), String> {
    match path {
        // Each piece is one; the whole may still not be.
        PathMatch::Regex(regex) => re2::check_path(regex).map(drop).map_err(|refused| refused.to_string()),
        PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::Segments(text) => {
            check_length("the path, with the prefixes of its includes,", text, LONGEST_PATH)
        }
    }
}

/// Merges the checked conditions of a chain, root first.
pub(crate) fn merge<'c>(conditions: impl Iterator<Item = &'c MatchCondition> + Clone) -> RouteMatch {
    let headers: BTreeSet<HeaderMatch> =
        conditions.clone().filter_map(|c| c.header.as_deref()).filter_map(header_match).collect();
    let query: BTreeSet<QueryMatch> =
        conditions.clone().filter_map(|c| c.query_parameter.as_deref()).flat_map(query_matches).collect();
    RouteMatch {
        path: merge_paths(conditions),
        headers: headers.into_iter().collect(),
        query: query.into_iter().collect(),
    }
}

/// Concatenates the path conditions root to leaf. The last one decides between exact, regex and prefix. Literal prefixes before a regex
/// are escaped, so that they match themselves, and the regex is put in a group, so that its alternatives stay below them.
fn merge_paths<'c>(conditions: impl Iterator<Item = &'c MatchCondition>) -> PathMatch {
    let mut literal = String::new();
    let mut regex = None;
    let mut exact = false;
    for (field, value) in conditions.flat_map(path_fields) {
        exact = field == "exact";
        if field == "regex" {
            let prefix = quote(literal.trim_end_matches('/'));
            regex = Some(if prefix.is_empty() { value.to_owned() } else { format!("{prefix}(?:{value})") });
        } else {
            push_collapsed(&mut literal, value);
        }
    }
    match regex {
        Some(regex) => PathMatch::Regex(collapse(&regex)),
        None if literal.is_empty() => PathMatch::Prefix("/".to_owned()),
        None if exact => PathMatch::Exact(literal),
        None => PathMatch::Prefix(literal),
    }
}

/// Escapes what has a meaning in RE2.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// Replaces runs of slashes by one.
fn collapse(path: &str) -> String {
    let mut collapsed = String::with_capacity(path.len());
    push_collapsed(&mut collapsed, path);
    collapsed
}

/// Goes on with a path that has no runs of slashes, so that it has none after that.
fn push_collapsed(path: &mut String, more: &str) {
    path.reserve(more.len());
    for c in more.chars() {
        if c != '/' || !path.ends_with('/') {
            path.push(c);
        }
    }
}

fn header_match(header: &HeaderMatchCondition) -> Option<HeaderMatch> {
    let (field, value) = header_fields(header).into_iter().next()?;
    let value = match field {
        HeaderField::Present | HeaderField::NotPresent => HeaderValue::Present,
        HeaderField::Contains | HeaderField::NotContains => HeaderValue::Contains(value),
        HeaderField::Exact | HeaderField::NotExact => HeaderValue::Exact(value),
        HeaderField::Regex => HeaderValue::Regex(value),
    };
    let invert = field.negative();
    Some(HeaderMatch {
        name: header.name.to_ascii_lowercase(),
        ignore_case: header.ignore_case && matches!(value, HeaderValue::Exact(_) | HeaderValue::Contains(_)),
        missing_is_empty: header.treat_missing_as_empty && invert && value != HeaderValue::Present,
        value,
        invert,
    })
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

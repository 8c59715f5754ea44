//! The order of routes: Envoy takes the first that matches, so the more specific comes first (reference 6.7).

use std::cmp::Ordering;

use contour_graph::model::{HeaderMatch, PathMatch, RouteMatch};

/// Compares two matches; less comes first. A total order: only equal matches compare equal.
pub(crate) fn compare(a: &RouteMatch, b: &RouteMatch) -> Ordering {
    by_path(&a.path, &b.path)
        .then_with(|| has_method(b).cmp(&has_method(a)))
        .then_with(|| conditions(b).count().cmp(&conditions(a).count()))
        .then_with(|| b.query.len().cmp(&a.query.len()))
        .then_with(|| conditions(a).cmp(conditions(b)))
        .then_with(|| a.query.cmp(&b.query))
        .then_with(|| a.headers.cmp(&b.headers))
}

/// Exact before regex before prefix; longer before shorter; whole segments before strings.
fn by_path(a: &PathMatch, b: &PathMatch) -> Ordering {
    let key = |path: &PathMatch| match path {
        PathMatch::Exact(_) => (0, 0, 0),
        PathMatch::Regex(text) => (1, text.len(), 0),
        PathMatch::Segments(text) => (2, text.len(), 0),
        PathMatch::Prefix(text) => (2, text.len(), 1),
    };
    let (kind_a, length_a, form_a) = key(a);
    let (kind_b, length_b, form_b) = key(b);
    kind_a
        .cmp(&kind_b)
        .then(length_b.cmp(&length_a))
        .then_with(|| text(b).cmp(text(a)))
        .then(form_a.cmp(&form_b))
}

fn text(path: &PathMatch) -> &str {
    match path {
        PathMatch::Exact(text)
        | PathMatch::Regex(text)
        | PathMatch::Prefix(text)
        | PathMatch::Segments(text) => text,
    }
}

fn is_method(header: &HeaderMatch) -> bool {
    header.name == ":method"
}

fn has_method(matches: &RouteMatch) -> bool {
    matches.headers.iter().any(is_method)
}

/// The header conditions other than the method's.
fn conditions(matches: &RouteMatch) -> impl Iterator<Item = &HeaderMatch> {
    matches.headers.iter().filter(|h| !is_method(h))
}

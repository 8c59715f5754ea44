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

#[cfg(test)]
mod tests {
    use contour_graph::model::{HeaderValue, QueryMatch, QueryValue};
    use proptest::prelude::*;

    use super::*;

    fn header(name: &str, value: HeaderValue) -> HeaderMatch {
        HeaderMatch {
            name: name.to_owned(),
            value,
            invert: false,
            ignore_case: false,
            missing_is_empty: false,
        }
    }

    fn query(name: &str, value: QueryValue) -> QueryMatch {
        QueryMatch { name: name.to_owned(), value, ignore_case: false }
    }

    fn matches(path: PathMatch, headers: Vec<HeaderMatch>, query: Vec<QueryMatch>) -> RouteMatch {
        RouteMatch { path, headers, query }
    }

    /// The reference's rules, most significant first, as one list in the order Envoy is to see it.
    #[test]
    fn the_order_of_the_reference() {
        let path = |path: PathMatch| matches(path, vec![], vec![]);
        let on_root = |headers, query| matches(PathMatch::Prefix("/".to_owned()), headers, query);
        let method = || header(":method", HeaderValue::Exact("GET".to_owned()));
        let exact = |name: &str| header(name, HeaderValue::Exact("v".to_owned()));
        let any = |name: &str| header(name, HeaderValue::Present);
        let expected = vec![
            path(PathMatch::Exact("/b".to_owned())),
            path(PathMatch::Exact("/a/long".to_owned())),
            path(PathMatch::Regex("/long.*".to_owned())),
            path(PathMatch::Regex("/b.*".to_owned())),
            path(PathMatch::Regex("/a.*".to_owned())),
            path(PathMatch::Prefix("/long".to_owned())),
            path(PathMatch::Prefix("/b".to_owned())),
            path(PathMatch::Segments("/a".to_owned())),
            path(PathMatch::Prefix("/a".to_owned())),
            on_root(vec![method()], vec![]),
            on_root(vec![any("a"), any("b")], vec![]),
            on_root(vec![exact("a")], vec![query("q", QueryValue::Present)]),
            on_root(vec![exact("a")], vec![]),
            on_root(vec![header("a", HeaderValue::Regex("v".to_owned()))], vec![]),
            on_root(vec![header("a", HeaderValue::Contains("v".to_owned()))], vec![]),
            on_root(vec![any("a")], vec![]),
            on_root(vec![HeaderMatch { invert: true, ..any("a") }], vec![]),
            on_root(vec![exact("b")], vec![]),
            on_root(vec![], vec![query("q", QueryValue::Exact("v".to_owned()))]),
            on_root(
                vec![],
                vec![QueryMatch { ignore_case: true, ..query("q", QueryValue::Exact("v".to_owned())) }],
            ),
            on_root(vec![], vec![query("q", QueryValue::Regex("v".to_owned()))]),
            on_root(vec![], vec![query("q", QueryValue::Prefix("v".to_owned()))]),
            on_root(vec![], vec![query("q", QueryValue::Suffix("v".to_owned()))]),
            on_root(vec![], vec![query("q", QueryValue::Contains("v".to_owned()))]),
            on_root(vec![], vec![query("q", QueryValue::Present)]),
            on_root(vec![], vec![]),
        ];
        let mut sorted = expected.clone();
        sorted.reverse();
        sorted.sort_by(compare);
        assert_eq!(sorted, expected);
    }

    fn any_match() -> impl Strategy<Value = RouteMatch> {
        let text = || prop::sample::select(vec!["/", "/a", "/b", "/ab"]).prop_map(str::to_owned);
        let path = prop_oneof![
            text().prop_map(PathMatch::Exact),
            text().prop_map(PathMatch::Regex),
            text().prop_map(PathMatch::Prefix),
            text().prop_map(PathMatch::Segments),
        ];
        let value = prop_oneof![
            text().prop_map(HeaderValue::Exact),
            text().prop_map(HeaderValue::Contains),
            Just(HeaderValue::Present),
        ];
        let name = prop::sample::select(vec![":method", "a", "b"]);
        let header = (name, value, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(name, value, invert, ignore_case, missing_is_empty)| HeaderMatch {
                invert,
                ignore_case,
                missing_is_empty,
                ..header(name, value)
            },
        );
        let value = prop_oneof![text().prop_map(QueryValue::Exact), Just(QueryValue::Present)];
        let query = (prop::sample::select(vec!["p", "q"]), value, any::<bool>())
            .prop_map(|(name, value, ignore_case)| QueryMatch { ignore_case, ..query(name, value) });
        (path, prop::collection::btree_set(header, 0..3), prop::collection::btree_set(query, 0..3)).prop_map(
            |(path, headers, query)| {
                matches(path, headers.into_iter().collect(), query.into_iter().collect())
            },
        )
    }

    proptest! {
        #[test]
        fn it_is_a_total_order(a in any_match(), b in any_match(), c in any_match()) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }

        #[test]
        fn where_routes_were_written_does_not_matter(
            routes in prop::collection::vec(any_match(), 0..8).prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle())),
        ) {
            let (mut one, mut other) = routes;
            one.sort_by(compare);
            other.sort_by(compare);
            prop_assert_eq!(one, other);
        }
    }
}

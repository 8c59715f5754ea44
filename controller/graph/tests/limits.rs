//! What a tenant writes is bounded in length, and what frames messages is nobody's to change. The error is at the object, names the limit,
//! and does not repeat the text.

mod support;

use contour_graph::Settings;
use contour_graph::limits::{
    LONGEST_BODY, LONGEST_CONDITION, LONGEST_HEADER_NAME, LONGEST_HEADER_VALUE, LONGEST_HOST, LONGEST_PATH,
    LONGEST_QUERY_NAME, LONGEST_REGEX, MOST_HEADERS,
};
use rstest::rstest;
use support::{build, proxy, service, told};

/// What is told about an HTTPProxy with these routes, JSON.
fn told_of(routes: &str) -> Vec<String> {
    let spec = format!("{{virtualhost: {{fqdn: a.example.com}}, routes: [{routes}]}}");
    let objects = vec![service("a/web", None), proxy("a/www", &spec)];
    let (graph, _) = build(Settings::default(), objects);
    told(&graph, "a/www")
}

/// A route with a service, which these fields are added to.
fn route(fields: &str) -> String {
    format!("{{services: [{{name: web, port: 80}}], {fields}}}")
}

#[rstest]
#[case::prefix(route("conditions: [{prefix: TEXT}]"), "/", LONGEST_PATH)]
#[case::exact(route("conditions: [{exact: TEXT}]"), "/", LONGEST_PATH)]
// One for the anchor that is sent before it.
#[case::regex(route("conditions: [{regex: TEXT}]"), "/", LONGEST_REGEX - 1)]
#[case::header_name(route("conditions: [{header: {name: TEXT, present: true}}]"), "a", LONGEST_HEADER_NAME)]
#[case::header_value(route("conditions: [{header: {name: a, exact: TEXT}}]"), "a", LONGEST_CONDITION)]
#[case::header_regex(route("conditions: [{header: {name: a, regex: TEXT}}]"), "a", LONGEST_REGEX)]
#[case::query_name(
    route("conditions: [{queryParameter: {name: TEXT, present: true}}]"),
    "a",
    LONGEST_QUERY_NAME
)]
#[case::query_value(route("conditions: [{queryParameter: {name: a, suffix: TEXT}}]"), "a", LONGEST_CONDITION)]
#[case::set_name(route("requestHeadersPolicy: {set: [{name: TEXT, value: a}]}"), "a", LONGEST_HEADER_NAME)]
#[case::set_value(route("responseHeadersPolicy: {set: [{name: a, value: TEXT}]}"), "a", LONGEST_HEADER_VALUE)]
#[case::removed(route("requestHeadersPolicy: {remove: [TEXT]}"), "a", LONGEST_HEADER_NAME)]
#[case::host(route("requestHeadersPolicy: {set: [{name: Host, value: TEXT}]}"), "a", LONGEST_HOST)]
#[case::replacement(route("pathRewritePolicy: {replacePrefix: [{replacement: TEXT}]}"), "/", LONGEST_PATH)]
#[case::health_path(route("healthCheckPolicy: {path: TEXT}"), "/", LONGEST_PATH)]
#[case::health_host(route("healthCheckPolicy: {path: /, host: TEXT}"), "a", LONGEST_HOST)]
#[case::redirect_host("{requestRedirectPolicy: {hostname: TEXT}}".to_owned(), "a", LONGEST_HOST)]
#[case::redirect_path("{requestRedirectPolicy: {path: TEXT}}".to_owned(), "/", LONGEST_PATH)]
#[case::redirect_prefix("{requestRedirectPolicy: {prefix: TEXT}}".to_owned(), "/", LONGEST_PATH)]
#[case::body("{directResponsePolicy: {statusCode: 200, body: TEXT}}".to_owned(), "a", LONGEST_BODY)]
fn a_text_may_be_as_long_as_its_limit(#[case] route: String, #[case] start: &str, #[case] most: usize) {
    let with = |length: usize| told_of(&route.replace("TEXT", &format!("{start}{}", "b".repeat(length - 1))));
    assert_eq!(with(most), Vec::<String>::new());
    for length in [most + 1, 500_000] {
        let told = with(length);
        assert!(!told.is_empty() && told.iter().all(|line| line.len() < 500), "{length}: {told:?}");
    }
}

#[test]
fn a_value_is_counted_as_it_is_sent() {
    let with = |value: &str| {
        let policy = format!("requestHeadersPolicy: {{set: [{{name: a, value: \"{value}\"}}]}}");
        told_of(&route(&policy))
    };
    assert_eq!(with(&"%".repeat(LONGEST_HEADER_VALUE / 2)), Vec::<String>::new());
    assert_eq!(
        with(&"%".repeat(LONGEST_HEADER_VALUE / 2 + 1)),
        [
            "RouteError/RequestHeadersPolicyInvalid: the value of header \"a\" has 16386 bytes; 16384 are allowed on request headers"
        ]
    );
}

#[test]
fn no_policy_has_more_headers_than_envoy_takes() {
    let with = |number: usize| {
        let names: Vec<String> = (0..number).map(|n| format!("x-{n}")).collect();
        told_of(&route(&format!("requestHeadersPolicy: {{remove: [{}]}}", names.join(", "))))
    };
    assert_eq!(with(MOST_HEADERS), Vec::<String>::new());
    assert!(with(MOST_HEADERS + 1)[0].contains("remove has 1001 headers; 1000 are allowed"));
}

#[test]
fn prefixes_along_a_chain_count_together() {
    let long = format!("/{}", "b".repeat(LONGEST_PATH / 2));
    let include = |name: &str, host: &str| {
        format!("{{{host} includes: [{{name: {name}, conditions: [{{prefix: {long}}}]}}]}}")
    };
    let objects = vec![
        service("a/web", None),
        proxy("a/root", &include("middle", "virtualhost: {fqdn: a.example.com},")),
        proxy("a/middle", &include("leaf", "")),
        proxy("a/leaf", "{routes: [{services: [{name: web, port: 80}]}]}"),
    ];
    let (graph, update) = build(Settings::default(), objects);
    let told = told(&graph, "a/middle");
    assert_eq!(
        told,
        [
            "IncludeError/PathMatchConditionsNotValid: include: the path, with the prefixes of its includes, has 4098 bytes; 4096 are allowed"
        ]
    );
    assert!(support::served(&update).len() < 3 * LONGEST_PATH);
}

const FRAMING: [&str; 14] = [
    "Content-Length",
    "content-length",
    "TRANSFER-ENCODING",
    "Connection",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Upgrade",
    "Keep-Alive",
    "HTTP2-Settings",
    "Proxy-Authenticate",
    "proxy-authorization",
    "' content-length'",
    "\"content-length\\t\"",
];

#[rstest]
#[case(route("requestHeadersPolicy: {set: [{name: NAME, value: '1'}]}"))]
#[case(route("responseHeadersPolicy: {set: [{name: NAME, value: '1'}]}"))]
#[case(route("requestHeadersPolicy: {remove: [NAME]}"))]
#[case(route("responseHeadersPolicy: {remove: [NAME]}"))]
#[case("{services: [{name: web, port: 80, requestHeadersPolicy: {set: [{name: NAME, value: '1'}]}}]}".to_owned())]
#[case("{services: [{name: web, port: 80, responseHeadersPolicy: {set: [{name: NAME, value: '1'}]}}]}".to_owned())]
#[case("{services: [{name: web, port: 80, requestHeadersPolicy: {remove: [NAME]}}]}".to_owned())]
#[case("{services: [{name: web, port: 80, responseHeadersPolicy: {remove: [NAME]}}]}".to_owned())]
#[case("{directResponsePolicy: {statusCode: 200}, responseHeadersPolicy: {set: [{name: NAME, value: '1'}]}}".to_owned())]
#[case("{requestRedirectPolicy: {path: /a}, responseHeadersPolicy: {remove: [NAME]}}".to_owned())]
fn headers_that_frame_messages_are_not_changed(#[case] route: String) {
    for name in FRAMING {
        let told = told_of(&route.replace("NAME", name));
        assert!(
            told.len() == 1 && told[0].contains("HeaderPolicyInvalid")
                || told[0].contains("HeadersPolicyInvalid"),
            "{name}: {told:?}"
        );
    }
    assert_eq!(told_of(&route.replace("NAME", "Proxy")), Vec::<String>::new());
}

#[test]
fn pseudo_headers_and_hosts_are_not_set() {
    for policy in ["request", "response"] {
        for name in ["':path'", "':status'", "':authority'", "''"] {
            let told =
                told_of(&route(&format!("{policy}HeadersPolicy: {{set: [{{name: {name}, value: a}}]}}")));
            assert!(told[0].contains("is not a header name"), "{told:?}");
        }
    }
}

/// What is not quoted here is that a piece which only fits in the group it is put in is refused, too.
#[test]
fn a_regex_is_whole_in_itself() {
    let told = told_of(&route("conditions: [{regex: '/a)(?:b'}]"));
    assert_eq!(
        told,
        [
            "RouteError/PathMatchConditionsNotValid: route: regular expression \"/a)(?:b\" does not compile: unexpected ) \")\" at byte 2"
        ]
    );
}

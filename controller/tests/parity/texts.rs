//! Texts and numbers by the place they stand in: usual ones, and odd ones at which something ends or means something else.

use std::sync::LazyLock;

/// Classes of odd texts that are left out unless `PARITY_WITHOUT` says otherwise: none.
const LEFT_OUT: &str = "";

/// Whether odd values of a class are made.
pub(crate) fn with(class: &str) -> bool {
    static LEFT: LazyLock<String> =
        LazyLock::new(|| std::env::var("PARITY_WITHOUT").unwrap_or_else(|_| LEFT_OUT.to_owned()));
    !LEFT.split(',').any(|left| left == class)
}

/// Usual numbers of a place; those at the bounds of its type come on top.
pub(crate) fn numbers(place: &str) -> Vec<i64> {
    match place.rsplit('.').next().unwrap_or_default() {
        "port" if place.contains("services") => vec![80, 443, 8080],
        "healthPort" => vec![80, 8080],
        "port" => vec![80, 8443],
        "statusCode" => vec![200, 204, 302, 404],
        "start" => vec![100, 200, 400],
        "end" => vec![201, 300, 600],
        "retriableStatusCodes[]" => vec![409, 503],
        "responseStatusCode" => vec![429],
        _ => vec![0, 1, 2, 3, 10, 60],
    }
}

/// Usual and odd texts of a place.
pub(crate) fn of(place: &str) -> (Vec<String>, Vec<String>) {
    let field = place.rsplit('.').next().unwrap_or_default();
    let outer = place.rsplit('.').nth(1).unwrap_or_default();
    let named = |usual: &[&str], odd: Vec<String>| (owned(usual), odd);
    match (outer, field) {
        ("services[]", "name") => {
            named(&["web", "api", "web", "s0", "s1", "ext", &"s".repeat(63)], references())
        }
        ("includes[]" | "include" | "includes", "name") => named(&["c0", "c1", "c2"], references()),
        (_, "namespace") => named(&super::world::NAMESPACES[..3], owned(&["", "missing", "A/b"])),
        (_, "caSecret") => named(&["ca"], [references(), owned(&["cert", "team-1/ca", "a/ca"])].concat()),
        (_, "secretName" | "crlSecret") => named(
            &["cert", "cert2", "cert", "cert2", "cert", "cert2", "odd"],
            [references(), owned(&["ca", "odd", "team-1/cert", "a/cert2"])].concat(),
        ),
        (_, "subjectName" | "subjectNames[]") => named(&["example.com"], [hosts(), plain()].concat()),
        (_, "minimumProtocolVersion") => named(&["1.2"], owned(&["", "1.1", "1.3", "auto", "TLSv1_2", "9"])),
        (_, "maximumProtocolVersion") => named(&["1.3"], owned(&["", "1.1", "1.2", "auto", "TLSv1_2", "9"])),
        (_, "ingressClassName") => named(&["contour"], owned(&["", "nginx", "Contour"])),
        (_, "strategy") => named(
            &["RoundRobin", "WeightedLeastRequest", "Random", "Cookie", "RequestHash"],
            owned(&["", "roundrobin", "Maglev", "\0"]),
        ),
        ("queryParameter", "name") | (_, "parameterName") => {
            named(&["a", "page"], [plain(), long(1024)].concat())
        }
        (_, "regex") => {
            (owned(&["/a.*", "/[a-z]+", "/(a|b)"]), if with("regexes") { regexes() } else { Vec::new() })
        }
        ("header" | "headers[]" | "set[]", "name") | (_, "headerName" | "remove[]") => header_names(),
        ("set[]" | "header" | "headers[]", _) => header_values(),
        ("queryParameter", _) => named(&["1", "ab"], plain()),
        (_, "prefix" | "exact" | "path" | "replacement") => named(&["/", "/a", "/a/", "/b/c"], paths()),
        (_, "hostname" | "fqdn") => named(&["www.example.com"], hosts()),
        (_, "host") => named(
            &["check.example.com"],
            [hosts(), if with("headers") { plain() } else { Vec::new() }].concat(),
        ),
        (_, "body") => named(&["", "gone"], [plain(), long(4096), long(70_000)].concat()),
        (_, "aggression") => named(&["1.0"], owned(&["0", ".0", "99999999999999999999.9", "0.0000001"])),
        _ => (Vec::new(), [durations(), plain(), hosts(), paths()].concat()),
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn long(length: usize) -> Vec<String> {
    [length - 1, length, length + 1].map(|n| "a".repeat(n)).into()
}

fn references() -> Vec<String> {
    owned(&["", "missing", "/", "a/", "/a", "a/b/c", "Web", "web ", "\u{e9}", "\0"])
}

/// Texts for places that take any.
pub(crate) fn plain() -> Vec<String> {
    let texts = [
        "",
        " ",
        "*",
        "%",
        "%%",
        "\"",
        "\\",
        "\0",
        "\r\n",
        "\t",
        "\u{7f}",
        "\u{80}",
        "\u{e9}",
        "\u{1f600}",
        "a\u{301}",
        "\u{feff}",
        "{}",
        "${x}",
    ];
    [owned(&texts), long(256), long(16_384)].concat()
}

/// Durations as Go writes them, up to and beyond what 64 bits of nanoseconds hold.
pub(crate) fn durations() -> Vec<String> {
    owned(&[
        "1s",
        "5m",
        "infinity",
        "infinite",
        "1.5h",
        "100ms",
        "0s",
        "0",
        "0h0m0s",
        "1ns",
        "0.5ns",
        "1us",
        "1\u{b5}s",
        "999us",
        "0.0000001s",
        "",
        "h",
        ".s",
        ".h.m",
        "1h1h1h",
        "9999999h",
        "2562047h47m16.854775807s",
        "2562047h47m16.854775808s",
        "2562048h",
        "99999999999999999999s",
        "9223372036854775807ns",
        "9223372036854775808ns",
        "1.00000000000000000001s",
        "-1s",
        "+1s",
        "1d",
        "1",
        "1 s",
        "infinityy",
    ])
}

/// Paths and prefixes.
pub(crate) fn paths() -> Vec<String> {
    let texts = [
        "",
        "//",
        "/a//b",
        "/a?b=c",
        "/?",
        "/a#b",
        "/#",
        "/%zz",
        "/%",
        "/%2f",
        "/%00",
        "/\0",
        "/\n",
        "/\t",
        "/\u{7f}",
        "/\u{e9}",
        "/\u{1f600}",
        "/ ",
        "/a b",
        "a",
        "*",
        "/*",
        "/{a}",
        "/{a=**}",
        "/{",
        "/..",
        "/../x",
        "/./",
        "/;a",
        "/\\",
        "/a/?",
        "/a//",
        "/:",
        "/$",
        "/^a",
        "/a.",
    ];
    let long = [1_000, 16_383, 16_384, 40_000].map(|n| format!("/{}", "a".repeat(n)));
    [owned(&texts), long.into()].concat()
}

/// Names of hosts, and what looks like one.
pub(crate) fn hosts() -> Vec<String> {
    let texts = [
        "a",
        "0",
        "1.2.3.4",
        "0.0.0.0",
        "127.0.0.1",
        "256.1.1.1",
        "1.2.3.4.5",
        "localhost",
        "a--b.example",
        "xn--bcher-kva.example",
        "example.com.",
        "*.example.com",
        "*",
        "*.com",
        "a.*.example",
        "-a.example",
        "a-.example",
        "A.example",
        "misdirected",
        "a..b",
        ".a",
        "a_b.example",
        "::1",
        "[::1]",
        "[2001:db8::1]",
        "a:80",
        "b\u{fc}cher.example",
        "",
        " ",
    ];
    let label = |n: usize| "a".repeat(n);
    let long = [
        format!("{}.example", label(63)),
        format!("{}.example", label(64)),
        format!("{}.{}", vec![label(63); 3].join("."), label(61)),
        format!("{}.{}", vec![label(63); 3].join("."), label(62)),
        vec!["a"; 127].join("."),
        vec!["a"; 128].join("."),
    ];
    [owned(&texts), long.into()].concat()
}

fn regexes() -> Vec<String> {
    [
        owned(&[
            "",
            "/a++",
            "/a**",
            "/(",
            "/[[:foo:]]",
            "/(?P<a.b>x)",
            "/(a{500}){500}",
            r"/[\w-.]+",
            r"/[a-z\d-_]+",
            r"/\p{Lu}",
            r"/\x{e9}",
            r"/\C",
            "/(?i)a",
            "/a{1001}",
            "/(?=a)",
            r"/\1",
            "/\u{e9}",
            "/\0",
            "^/a$",
            "/a$",
            "(?:/a)",
            "/x{,5}",
            "/x{2,1}",
            r"/\Q[\E",
            r"\z",
            "/[]a]",
            "/[^]a]",
            "/(?s-m:.)",
        ]),
        [1_000, 10_000].map(|n| format!("/{}", "(a|b)".repeat(n))).into(),
    ]
    .concat()
}

fn header_names() -> (Vec<String>, Vec<String>) {
    let odd = [
        "",
        " ",
        "x a",
        "x:a",
        ":authority",
        ":path",
        ":method",
        ":status",
        "host",
        "Host",
        "HOST",
        "content-length",
        "transfer-encoding",
        "connection",
        "x-envoy-original-path",
        "cookie",
        "x\0",
        "x\n",
        "x\t",
        "x\u{7f}",
        "\u{e9}",
        "x(",
        "\"x\"",
    ];
    let odd = if with("headers") { [owned(&odd), long(16_384)].concat() } else { Vec::new() };
    (owned(&["x-a", "X-B", "x-c", "x-d", "x-e", "x-f", "x-g", "x-h"]), odd)
}

fn header_values() -> (Vec<String>, Vec<String>) {
    let odd = [
        "%",
        "%%",
        "%REQ(",
        "%REQ()%",
        "%REQ(X-A)%",
        "%REQ(X-A):10%",
        "%REQ(a):99999999999999999999%",
        "%REQ(:PATH?X)%",
        "%START_TIME%",
        "%HOSTNAME%",
        "%DYNAMIC_METADATA(a)%",
        "%CONTOUR_NAMESPACE%",
        "%UPSTREAM_METADATA([\"a\"])%",
        "%TLS_JA3_FINGERPRINT%",
        "%UNKNOWN%",
        "100%",
        "%100",
    ];
    let odd = if with("headers") { [owned(&odd), plain()].concat() } else { Vec::new() };
    (owned(&["1", "abc"]), odd)
}

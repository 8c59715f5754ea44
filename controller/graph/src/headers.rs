//! Header policies: names checked, values turned into Envoy format strings (reference 1.4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use contour_crds::httpproxy::HeadersPolicy;
use regex::Regex;

use crate::limits::{
    LONGEST_HEADER_NAME, LONGEST_HEADER_VALUE, LONGEST_HOST, MOST_HEADERS, check_length, excerpt,
};
use crate::model::{HeaderPolicy, HostRewrite};

/// Headers that frame a message or belong to one connection. Who changes them can make a peer see two messages where there is one, so no
/// policy may, in neither direction; nor those that begin with `proxy-`.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header, in whatever case, frames messages or belongs to one connection, so that no policy may change it.
pub fn is_framing_header(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    FRAMING.contains(&name.as_str()) || name.starts_with("proxy-")
}

/// Envoy operators that pass into header values; every other `%` is literal.
const OPERATORS: [&str; 24] = [
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "HOSTNAME",
    "PROTOCOL",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "UPSTREAM_REMOTE_ADDRESS",
];

/// A whole `REQ` operator or a TLS fingerprint, from its `%` to its `%`.
static REQUEST_HEADER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^%(?:REQ\(:?[0-9A-Za-z_-]+(?:\?:?[0-9A-Za-z_-]+)?\)(?::([0-9]+))?|TLS_JA[34]_FINGERPRINT)%")
        .expect("the pattern is constant")
});

/// `%REQ(Name)%` alone, as a Host rewrite may be.
static HOST_FROM_HEADER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^%REQ\(([A-Za-z0-9-]+)\)%$").expect("the pattern is constant"));

/// Where a policy stands, which decides what it may do with Host and what its variables mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'p> {
    /// `requestHeadersPolicy` of a route.
    RouteRequest {
        /// Namespace of the HTTPProxy.
        namespace: &'p str,
    },
    /// `responseHeadersPolicy` of a route.
    RouteResponse {
        /// Namespace of the HTTPProxy.
        namespace: &'p str,
    },
    /// `requestHeadersPolicy` of a service.
    ServiceRequest {
        /// Namespace of the HTTPProxy.
        namespace: &'p str,
        /// The Service.
        service: &'p str,
        /// Its port.
        port: u16,
    },
    /// `responseHeadersPolicy` of a service.
    ServiceResponse {
        /// Namespace of the HTTPProxy.
        namespace: &'p str,
        /// The Service.
        service: &'p str,
        /// Its port.
        port: u16,
    },
}

impl Place<'_> {
    fn is_request(self) -> bool {
        matches!(self, Self::RouteRequest { .. } | Self::ServiceRequest { .. })
    }

    /// The value of one of Contour's own variables here.
    fn variable(self, name: &str) -> Option<String> {
        let (namespace, service) = match self {
            Self::RouteRequest { namespace } | Self::RouteResponse { namespace } => (namespace, None),
            Self::ServiceRequest { namespace, service, port }
            | Self::ServiceResponse { namespace, service, port } => (namespace, Some((service, port))),
        };
        match name {
            "CONTOUR_NAMESPACE" => Some(namespace.to_owned()),
            "CONTOUR_SERVICE_NAME" => service.map(|(name, _)| name.to_owned()),
            "CONTOUR_SERVICE_PORT" => service.map(|(_, port)| port.to_string()),
            _ => None,
        }
    }
}

/// Whether a text is an HTTP token (RFC 9110 section 5.6.2): the alphabet of header names.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Turns a policy of an HTTPProxy into the model's. The error names the entry.
pub(crate) fn policy(policy: Option<&HeadersPolicy>, place: Place<'_>) -> Result<HeaderPolicy, String> {
    let Some(policy) = policy else { return Ok(HeaderPolicy::default()) };
    for (what, number) in [("set", policy.set.len()), ("remove", policy.remove.len())] {
        if number > MOST_HEADERS {
            return Err(format!("{what} has {number} headers; {MOST_HEADERS} are allowed"));
        }
    }
    let mut set = BTreeMap::new();
    let mut host = None;
    let mut names = BTreeSet::new();
    for entry in &policy.set {
        let name = check_name(&entry.name)?;
        if !names.insert(name.clone()) {
            return Err(format!("duplicate header addition: \"{}\"", entry.name));
        }
        check_length(&format!("the value of header \"{}\"", entry.name), &entry.value, LONGEST_HEADER_VALUE)?;
        if entry.value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(format!("header \"{}\" has a value with control characters", entry.name));
        }
        if name == "host" {
            host = Some(host_rewrite(&entry.value, place)?);
        } else {
            let value =
                escape(&entry.value, place).map_err(|why| format!("header \"{}\": {why}", entry.name))?;
            // Longer now: every `%` that is no operator was doubled.
            check_length(&format!("the value of header \"{}\"", entry.name), &value, LONGEST_HEADER_VALUE)?;
            set.insert(entry.name.clone(), value);
        }
    }
    let mut remove = BTreeSet::new();
    for name in &policy.remove {
        let lower = check_name(name)?;
        if lower == "host" {
            return Err("\"Host\" cannot be removed".to_owned());
        }
        if !remove.insert(lower) {
            return Err(format!("duplicate header removal: \"{name}\""));
        }
    }
    Ok(HeaderPolicy { set, remove: remove.into_iter().collect(), host })
}

fn check_name(name: &str) -> Result<String, String> {
    check_length("the name of a header", name, LONGEST_HEADER_NAME)?;
    if !is_token(name) {
        return Err(format!("\"{}\" is not a header name", excerpt(name)));
    }
    if is_framing_header(name) {
        return Err(format!(
            "header \"{name}\" frames messages or belongs to a connection: no policy can change it"
        ));
    }
    Ok(name.to_ascii_lowercase())
}

/// Whether a text is a host, with or without a port, that requests can be sent or redirected to.
pub(crate) fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_HOST
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]".contains(&b))
}

fn host_rewrite(value: &str, place: Place<'_>) -> Result<HostRewrite, String> {
    if !place.is_request() {
        return Err("rewriting \"Host\" is not supported".to_owned());
    }
    if let Some(found) = HOST_FROM_HEADER.captures(value) {
        return Ok(HostRewrite::FromHeader(found[1].to_owned()));
    }
    if !is_host(value) {
        return Err(format!("\"{}\" is not a host that \"Host\" can be rewritten to", excerpt(value)));
    }
    Ok(HostRewrite::Literal(value.to_owned()))
}

/// Doubles every `%` that does not belong to an allowed operator, and puts Contour's variables in.
fn escape(value: &str, place: Place<'_>) -> Result<String, String> {
    let mut escaped = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        escaped.push_str(&rest[..at]);
        rest = &rest[at..];
        let (text, length) = operator(rest, place)?;
        escaped.push_str(&text);
        rest = &rest[length..];
    }
    escaped.push_str(rest);
    Ok(escaped)
}

/// What a `%` at the start of `text` becomes, and how much of `text` that used up.
fn operator(text: &str, place: Place<'_>) -> Result<(String, usize), String> {
    if let Some(found) = REQUEST_HEADER.captures(text) {
        let whole = &found[0];
        if found.get(1).is_some_and(|length| length.as_str().parse::<u64>().is_err()) {
            return Err(format!("\"{}\" asks for a length that is no number Envoy can read", excerpt(whole)));
        }
        return Ok((whole.to_owned(), whole.len()));
    }
    if let Some(end) = text[1..].find('%') {
        let (name, length) = (&text[1..=end], end + 2);
        if OPERATORS.contains(&name) {
            return Ok((text[..length].to_owned(), length));
        }
        if let Some(value) = place.variable(name) {
            return Ok((value, length));
        }
    }
    Ok(("%%".to_owned(), 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SERVICE: Place<'static> = Place::ServiceRequest { namespace: "team", service: "web", port: 80 };

    #[rstest]
    #[case("plain", "plain")]
    #[case("100%", "100%%")]
    #[case("%PROTOCOL%", "%PROTOCOL%")]
    #[case("%START_TIME%", "%%START_TIME%%")]
    #[case("%REQ(X-Id?:path):12%", "%REQ(X-Id?:path):12%")]
    #[case("%REQ(bad name)%", "%%REQ(bad name)%%")]
    #[case("%REQ(é)%", "%%REQ(é)%%")]
    #[case("%REQ(a):٣%", "%%REQ(a):٣%%")]
    #[case("%REQ(a%REQ(b)%)%", "%%REQ(a%REQ(b)%)%%")]
    #[case("50% of %HOSTNAME%", "50%% of %HOSTNAME%")]
    #[case("%CONTOUR_NAMESPACE%.%CONTOUR_SERVICE_NAME%:%CONTOUR_SERVICE_PORT%", "team.web:80")]
    #[case("%%", "%%%%")]
    fn only_allowed_operators_survive(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(escape(value, SERVICE).unwrap(), expected);
    }

    #[rstest]
    #[case("%REQ(a):18446744073709551615%", true)]
    #[case("%REQ(a):18446744073709551616%", false)]
    #[case("%REQ(a):99999999999999999999999999999%", false)]
    fn a_length_is_a_number(#[case] value: &str, #[case] good: bool) {
        assert_eq!(escape(value, SERVICE).is_ok(), good);
    }

    #[rstest]
    #[case("Content-Length")]
    #[case(" transfer-ENCODING\t")]
    #[case("Proxy-Anything")]
    fn framing_headers_are_known_in_any_case(#[case] name: &str) {
        assert!(is_framing_header(name));
        assert!(!is_framing_header("Proxy") && !is_framing_header("Content-Type"));
    }

    #[test]
    fn service_variables_have_no_meaning_on_a_route() {
        let route = Place::RouteRequest { namespace: "team" };
        assert_eq!(escape("%CONTOUR_SERVICE_NAME%", route).unwrap(), "%%CONTOUR_SERVICE_NAME%%");
    }
}

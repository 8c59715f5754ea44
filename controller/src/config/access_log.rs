//! Access log formats: which of Envoy's operators may stand in them (reference 6.9).

/// Operators without arguments.
const SIMPLE: &str = "BYTES_RECEIVED BYTES_SENT CONNECTION_ID CONNECTION_TERMINATION_DETAILS \
    DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_PORT \
    DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS \
    DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN \
    DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CERT_V_END DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_PEER_FINGERPRINT_1 \
    DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT \
    DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_PORT \
    DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION DOWNSTREAM_WIRE_BYTES_RECEIVED \
    DOWNSTREAM_WIRE_BYTES_SENT DURATION FILTER_CHAIN_NAME GRPC_STATUS GRPC_STATUS_NUMBER HOSTNAME LOCAL_REPLY_BODY \
    PROTOCOL REQUESTED_SERVER_NAME REQUEST_DURATION REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE \
    RESPONSE_CODE_DETAILS RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES \
    RESPONSE_TX_DURATION ROUTE_NAME START_TIME TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT UPSTREAM_CLUSTER \
    UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST \
    UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_LOCAL_PORT UPSTREAM_PEER_CERT \
    UPSTREAM_PEER_CERT_V_END UPSTREAM_PEER_CERT_V_START UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT UPSTREAM_PROTOCOL \
    UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT \
    UPSTREAM_TLS_CIPHER UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_TRANSPORT_FAILURE_REASON \
    UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME";

/// Operators that make no sense without arguments.
const WITH_ARGUMENTS: [&str; 7] =
    ["ENVIRONMENT", "METADATA", "REQ", "REQ_WITHOUT_QUERY", "RESP", "TRAILER", "UPSTREAM_FILTER_STATE"];

/// Operators of [`SIMPLE`] that Envoy takes arguments for, as does every one that ends in `_WITHOUT_PORT`. Contour lets all of them
/// have some; Envoy then refuses the whole listener.
const MAYBE_ARGUMENTS: [&str; 7] = [
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "GRPC_STATUS",
    "RESPONSE_CODE_DETAILS",
    "START_TIME",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
];

/// What `%METADATA(KIND:...)%` can be of.
const METADATA: [&str; 7] =
    ["CLUSTER", "DYNAMIC", "LISTENER", "LISTENER_FILTER_CHAIN", "ROUTE", "UPSTREAM_HOST", "VIRTUAL_HOST"];

/// Forms of `%GRPC_STATUS(FORM)%`.
const GRPC_STATUS: [&str; 3] = ["CAMEL_STRING", "NUMBER", "SNAKE_STRING"];

/// Names of JSON fields that stand for an operator of another name.
const ALIASES: [&str; 16] = [
    "@timestamp",
    "ts",
    "authority",
    "method",
    "path",
    "request_id",
    "uber_trace_id",
    "upstream_service_time",
    "user_agent",
    "x_forwarded_for",
    "x_trace_id",
    "tls_ja3_fingerprint",
    "tls_ja4_fingerprint",
    "contour_config_kind",
    "contour_config_namespace",
    "contour_config_name",
];

/// Checks a text format: known operators, arguments where they are needed, a newline at the end.
pub(super) fn check_format(format: &str) -> Result<(), String> {
    check_operators(format)?;
    if format.is_empty() || format.ends_with('\n') {
        Ok(())
    } else {
        Err(String::from("does not end in a newline, so that all requests would land in one line"))
    }
}

/// Checks a field of a JSON format: an alias, a simple operator in lower case, or `name=format`.
pub(super) fn check_field(field: &str) -> Result<(), String> {
    match field.split_once('=') {
        Some((_, "")) => Err(format!("\"{field}\" has no value after \"=\"")),
        Some((_, format)) => check_operators(format),
        None if ALIASES.contains(&field) || is_simple(&field.to_ascii_uppercase()) => Ok(()),
        None => Err(format!("\"{field}\" is not the name of a field")),
    }
}

fn is_simple(operator: &str) -> bool {
    SIMPLE.split_ascii_whitespace().any(|known| known == operator)
}

/// Checks every `%OPERATOR(arguments):length%` of a format.
fn check_operators(format: &str) -> Result<(), String> {
    let mut rest = format;
    while let Some((_, from)) = rest.split_once('%') {
        rest = check_operator(from)?;
    }
    Ok(())
}

/// Checks the operator that `text` starts with, the `%` before it taken off; returns what follows it.
fn check_operator(text: &str) -> Result<&str, String> {
    let end = text.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(text.len());
    let (operator, rest) = text.split_at(end);
    let (arguments, rest) = match rest.strip_prefix('(') {
        Some(inner) => {
            let (arguments, rest) =
                inner.split_once(')').ok_or_else(|| format!("%{operator}( has no closing parenthesis"))?;
            (Some(arguments), rest)
        }
        None => (None, rest),
    };
    let uncut = match rest.strip_prefix(':') {
        Some(length) if arguments.is_some() && length.starts_with(|c: char| c.is_ascii_digit()) => {
            length.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => rest,
    };
    let cut = uncut.len() < rest.len();
    let Some(rest) = uncut.strip_prefix('%') else {
        return Err(format!("%{operator} is not a whole operator; one looks like %PROTOCOL% or %REQ(HOST)%"));
    };
    if !is_simple(operator) && !WITH_ARGUMENTS.contains(&operator) {
        Err(format!("%{operator}% is not an operator that may be logged"))
    } else if operator == "START_TIME" && cut {
        Err(String::from("%START_TIME% cannot be cut to a length"))
    } else {
        check_arguments(operator, arguments).map(|()| rest)
    }
}

/// Checks what stands between the parentheses of a known operator, as far as Envoy would.
fn check_arguments(operator: &str, arguments: Option<&str>) -> Result<(), String> {
    let needed = WITH_ARGUMENTS.contains(&operator);
    let taken = needed || MAYBE_ARGUMENTS.contains(&operator) || operator.ends_with("_WITHOUT_PORT");
    let wrong = |why: &str| Err(format!("%{operator}({})%: {why}", arguments.unwrap_or_default()));
    match (operator, arguments) {
        (_, None | Some("")) if needed => {
            Err(format!("%{operator}% needs arguments, such as %{operator}(NAME)%"))
        }
        (_, Some(_)) if !taken => wrong("this operator takes no arguments"),
        (_, Some("")) => wrong("nothing stands between the parentheses"),
        (_, Some(text)) if text.contains(|c: char| c.is_control()) => wrong("a control character"),
        ("METADATA", Some(text)) if !METADATA.contains(&text.split(':').next().unwrap_or_default()) => {
            wrong(&format!("it starts with one of {}", METADATA.join(", ")))
        }
        ("GRPC_STATUS", Some(text)) if !GRPC_STATUS.contains(&text) => {
            wrong(&format!("the argument is one of {}", GRPC_STATUS.join(", ")))
        }
        ("REQ" | "REQ_WITHOUT_QUERY" | "RESP" | "TRAILER", Some(text)) if !are_headers(text) => {
            wrong("the argument is a header, or two with ? between them")
        }
        _ => Ok(()),
    }
}

/// A header's name, or two names with `?` between them.
fn are_headers(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_:.!#$&'*+^`|~".contains(c);
    text.split('?').count() <= 2 && text.split('?').all(|name| name.chars().all(good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_envoy_takes() {
        for format in [
            "",
            "plain\n",
            "%PROTOCOL%\n",
            "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):10%\" %DURATION%\n",
            "%START_TIME(%s.%3f)% %TRAILER(x):1%\n",
            "%METADATA(ROUTE:envoy.access_loggers.file:io.projectcontour.kind)%\n",
            "%REQ_WITHOUT_QUERY(:PATH)% %GRPC_STATUS(CAMEL_STRING)%\n",
            "%DOWNSTREAM_PEER_CERT_V_START(%Y)% %UPSTREAM_FILTER_STATE(a:PLAIN)% %ENVIRONMENT(HOME):5%\n",
        ] {
            assert_eq!(check_format(format), Ok(()), "{format:?}");
        }
    }

    #[test]
    fn formats_that_are_refused() {
        for format in [
            "no newline",
            "%\n",
            "%%\n",
            "100%\n",
            "%REQ%\n",
            "%REQ()%\n",
            "%REQ(x\n",
            "%REQ(x)\n",
            "%REQ(x):%\n",
            "%REQ(x):a%\n",
            "%lower%\n",
            "%NONSENSE%\n",
            "%START_TIME(%s):3%\n",
            "%DYNAMIC_METADATA(a:b)%\n",
            "%FILTER_STATE(a)%\n",
            // Contour lets these through to Envoy, which then refuses the listener.
            "%START_TIME()%\n",
            "%PROTOCOL(x)%\n",
            "%UPSTREAM_FILTER_STATE%\n",
            "%REQ(a?b?c)%\n",
            "%REQ(a b)%\n",
            "%METADATA(ROUT:a:b)%\n",
            "%GRPC_STATUS(LOUD)%\n",
        ] {
            assert!(check_format(format).is_err(), "{format:?}");
        }
    }

    #[test]
    fn json_fields() {
        for field in
            ["@timestamp", "duration", "grpc_status", "contour_config_kind", "host=%REQ(HOST)%", "a=b"]
        {
            assert_eq!(check_field(field), Ok(()), "{field}");
        }
        for field in ["one", "", "a=", "a=%NO%", "req"] {
            assert!(check_field(field).is_err(), "{field}");
        }
    }
}

//! Checks of single values, the same for flags and keys.

use std::net::IpAddr;
use std::time::Duration;

use contour_graph::model::{Timeout, TlsVersion};
use contour_graph::{is_framing_header, parse_duration, parse_timeout};

use super::error::{ConfigError, Place};
use super::file::{HeadersPolicy, Reference};

/// Cipher suites that Envoy may be told to offer with TLS 1.2.
const CIPHERS: [&str; 14] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
];

/// Curves for the key exchange.
const CURVES: [&str; 6] = ["X25519", "P-256", "P-384", "P-521", "X25519MLKEM768", "MLKEM1024"];

/// The text, unless it is absent or empty: Go's zero value means unset.
pub(super) fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// A value out of a fixed set, or the default where unset.
pub(super) fn choice<T: Copy + Default>(
    key: &str,
    text: Option<&String>,
    choices: &[(&str, T)],
) -> Result<T, ConfigError> {
    let Some(text) = given(text) else { return Ok(T::default()) };
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        ConfigError::key(
            key,
            format!("\"{text}\" is not one of its values"),
            format!("use {}", names.join(", ")),
        )
    })
}

/// A timeout of the file.
pub(super) fn timeout(key: &str, text: Option<&String>) -> Result<Timeout, ConfigError> {
    parse_timeout(text.map(String::as_str))
        .map_err(|problem| ConfigError::key(key, problem, "write a duration, or \"infinity\" for none"))
}

/// A duration of the file that cannot be infinite; `None` where unset or zero.
pub(super) fn duration(key: &str, text: Option<&String>) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = given(text) else { return Ok(None) };
    parse_duration(text)
        .map(|duration| Some(duration).filter(|duration| !duration.is_zero()))
        .map_err(|problem| ConfigError::key(key, problem, "write a duration; this one cannot be infinite"))
}

/// A limit that, where set, is at least 1.
pub(super) fn at_least_one(key: &str, value: Option<u32>) -> Result<Option<u32>, ConfigError> {
    match value {
        Some(0) => Err(ConfigError::key(key, "0 is below the minimum of 1", "delete it to have no limit")),
        value => Ok(value),
    }
}

/// A byte of the IP header; 0: unset.
pub(super) fn octet(key: &str, value: Option<i64>) -> Result<u8, ConfigError> {
    let value = value.unwrap_or_default();
    u8::try_from(value).map_err(|_| {
        ConfigError::key(
            key,
            format!("{value} is outside 0 to 255"),
            "use a value in that range, 0 for unset",
        )
    })
}

/// A port of the file; `None` where absent.
pub(super) fn port(key: &str, value: Option<i64>) -> Result<Option<u16>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    u16::try_from(value)
        .map(Some)
        .map_err(|_| ConfigError::key(key, format!("{value} is not a port"), "use a number from 1 to 65535"))
}

/// An address that Envoy listens on: it resolves no names there.
pub(super) fn ip_address(place: Place, address: &str) -> Result<String, ConfigError> {
    match address.parse::<IpAddr>() {
        Ok(_) => Ok(address.to_owned()),
        Err(_) => Err(ConfigError::at(
            place,
            format!("\"{address}\" is not an IP address"),
            "use e.g. 0.0.0.0, or :: for IPv6 and IPv4",
        )),
    }
}

/// An address that this process listens on.
pub(super) fn host_or_ip(place: Place, host: &str) -> Result<String, ConfigError> {
    let name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.chars().all(name)) {
        Ok(host.to_owned())
    } else {
        Err(ConfigError::at(
            place,
            format!("\"{host}\" is neither an IP address nor a host name"),
            "use e.g. 127.0.0.1, 0.0.0.0, or :: for IPv6 and IPv4, and write the port apart",
        ))
    }
}

/// A name of labels as Kubernetes takes them: a namespace (no dots) or an object.
pub(super) fn object_name(place: Place, name: &str, dots: bool) -> Result<String, ConfigError> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good_label = |label: &str| {
        label.starts_with(inner) && label.ends_with(inner) && label.chars().all(|c| inner(c) || c == '-')
    };
    let (what, longest) = if dots { ("name of an object", 253) } else { ("name of a namespace", 63) };
    let good = if dots { name.split('.').all(good_label) } else { good_label(name) };
    if good && name.len() <= longest {
        Ok(name.to_owned())
    } else {
        Err(ConfigError::at(
            place,
            format!("\"{name}\" cannot be the {what}"),
            "use lower case letters, digits and inner dashes",
        ))
    }
}

/// The lowest and highest TLS version where nothing is set.
pub(super) const ALL_TLS_VERSIONS: (TlsVersion, TlsVersion) = (TlsVersion::V1_2, TlsVersion::V1_3);

/// The lowest and highest TLS version below `section`.
pub(super) fn tls_versions(
    section: &str,
    minimum: Option<&String>,
    maximum: Option<&String>,
) -> Result<(TlsVersion, TlsVersion), Vec<ConfigError>> {
    let read = |key: &str, text: Option<&String>, unset: TlsVersion| match given(text) {
        None => Ok(unset),
        Some("1.2") => Ok(TlsVersion::V1_2),
        Some("1.3") => Ok(TlsVersion::V1_3),
        Some(other) => Err(ConfigError::key(
            format!("{section}.{key}"),
            format!("\"{other}\" is not a TLS version in use"),
            "use \"1.2\" or \"1.3\"",
        )),
    };
    let minimum = read("minimum-protocol-version", minimum, TlsVersion::V1_2);
    let maximum = read("maximum-protocol-version", maximum, TlsVersion::V1_3);
    match (minimum, maximum) {
        (Ok(TlsVersion::V1_3), Ok(TlsVersion::V1_2)) => Err(vec![ConfigError::key(
            format!("{section}.minimum-protocol-version"),
            "1.3 is above the maximum of 1.2",
            format!("lower it, or raise {section}.maximum-protocol-version"),
        )]),
        (Ok(minimum), Ok(maximum)) => Ok((minimum, maximum)),
        (minimum, maximum) => Err([minimum.err(), maximum.err()].into_iter().flatten().collect()),
    }
}

/// Cipher suites, each once, in order; Contour's where unset. `[a|b]` is a group of equal preference.
pub(super) fn ciphers(key: &str, suites: Option<&Vec<String>>) -> Result<Vec<String>, ConfigError> {
    let known = |suite: &str| match suite.strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
        Some(group) => group.split('|').all(|suite| CIPHERS.contains(&suite)),
        None => CIPHERS.contains(&suite),
    };
    let suites = names(key, "a cipher suite that Envoy has", suites, known, &CIPHERS)?;
    if suites.is_empty() {
        return Ok(contour_envoy::DEFAULT_CIPHERS.iter().map(|&suite| suite.to_owned()).collect());
    }
    Ok(suites)
}

/// Curves, each once, in order; none where unset.
pub(super) fn curves(key: &str, curves: Option<&Vec<String>>) -> Result<Vec<String>, ConfigError> {
    names(key, "a curve that Envoy has", curves, |curve| CURVES.contains(&curve), &CURVES)
}

/// A list of known names without repetitions.
fn names(
    key: &str,
    kind: &str,
    list: Option<&Vec<String>>,
    known: impl Fn(&str) -> bool,
    all: &[&str],
) -> Result<Vec<String>, ConfigError> {
    let mut names: Vec<String> = Vec::new();
    let mut wrong = Vec::new();
    for name in list.into_iter().flatten() {
        if !known(name) {
            wrong.push(format!("\"{name}\""));
        } else if !names.contains(name) {
            names.push(name.clone());
        }
    }
    if wrong.is_empty() {
        return Ok(names);
    }
    Err(ConfigError::key(
        key,
        format!("{} is not {kind}", wrong.join(", ")),
        format!("use {}", all.join(", ")),
    ))
}

/// Whether an object is referred to; half a reference is an error.
pub(super) fn reference(key: &str, reference: Option<&Reference>) -> Result<bool, ConfigError> {
    let set = |part: Option<&String>| part.is_some_and(|part| !part.trim().is_empty());
    let Some(Reference { name, namespace }) = reference else { return Ok(false) };
    match (set(namespace.as_ref()), set(name.as_ref())) {
        (false, false) => Ok(false),
        (true, true) => Ok(true),
        (false, true) => Err(ConfigError::key(key, "the namespace is missing", "write namespace and name")),
        (true, false) => Err(ConfigError::key(key, "the name is missing", "write namespace and name")),
    }
}

/// Whether the policy does anything; a name that is no header's is an error.
pub(super) fn headers(key: &str, policy: Option<&HeadersPolicy>) -> Result<bool, Vec<ConfigError>> {
    let Some(policy) = policy else { return Ok(false) };
    let set = policy.set.iter().flatten().map(|(name, _)| ("set", name));
    let remove = policy.remove.iter().flatten().map(|name| ("remove", name));
    let all: Vec<(&str, &String)> = set.chain(remove).collect();
    let good = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let wrong: Vec<ConfigError> = all
        .iter()
        .filter(|(_, name)| !good(name))
        .map(|(part, name)| {
            ConfigError::key(
                format!("{key}.{part}"),
                format!("\"{name}\" cannot be the name of a header"),
                "use letters, digits and dashes",
            )
        })
        .chain(all.iter().filter(|(_, name)| is_framing_header(name)).map(|(part, name)| {
            ConfigError::key(
                format!("{key}.{part}"),
                format!("\"{name}\" frames messages or belongs to a connection"),
                "delete it; no policy can change it",
            )
        }))
        .collect();
    if wrong.is_empty() { Ok(!all.is_empty()) } else { Err(wrong) }
}

//! Flags and keys of features that are still to come: taken at their defaults, refused elsewhere, never ignored.

use super::checks::{given, headers, reference};
use super::error::{ConfigError, Findings, Place};
use super::file::{ConfigFile, CustomTag, MetricsServer, Policy, Tls, Tracing};
use crate::cli::ServeArgs;

/// Everything that is set and not served yet, or that no version could serve.
pub(super) fn refuse(args: &ServeArgs, file: &ConfigFile) -> Result<(), Vec<ConfigError>> {
    let mut findings = Findings::default();
    findings.take(access_log(args, file));
    findings.take(certificates(&file.tls.clone().unwrap_or_default()));
    findings.take(policy(&file.policy.clone().unwrap_or_default()));
    findings.take(external_services(file));
    let metrics = file.metrics.clone().unwrap_or_default();
    findings.take(metrics_tls("metrics.contour", metrics.contour.as_ref()));
    findings.take(metrics_tls("metrics.envoy", metrics.envoy.as_ref()));
    findings.take(metrics_listener(args, metrics.envoy.as_ref()));
    findings.conclude(())
}

/// The refusal of a key that is set.
fn unless_unset(set: bool, key: &str, feature: &'static str, way_out: &str) -> Result<(), ConfigError> {
    refusal(set, Place::Key(key.to_owned()), feature, way_out)
}

fn refusal(set: bool, place: Place, feature: &'static str, way_out: &str) -> Result<(), ConfigError> {
    if set { Err(ConfigError::Unsupported { place, feature, way_out: way_out.to_owned() }) } else { Ok(()) }
}

fn access_log(args: &ServeArgs, file: &ConfigFile) -> Result<(), Vec<ConfigError>> {
    let mut findings = Findings::default();
    let way_out = "use \"envoy\", the text format";
    findings.take(refusal(
        given(args.envoy.accesslog_format.as_ref()) == Some("json"),
        Place::Flag("--accesslog-format"),
        "the JSON access log",
        way_out,
    ));
    if args.envoy.accesslog_format.is_none() {
        let json = given(file.accesslog_format.as_ref()) == Some("json");
        findings.take(unless_unset(json, "accesslog-format", "the JSON access log", way_out));
    }
    findings.conclude(())
}

fn certificates(tls: &Tls) -> Result<(), Vec<ConfigError>> {
    let mut findings = Findings::default();
    let fallback = "tls.fallback-certificate";
    let set = findings.take(reference(fallback, tls.fallback_certificate.as_ref()));
    let way_out = "delete it; clients without SNI are not served";
    findings.take(unless_unset(set, fallback, "a certificate for clients without SNI", way_out));
    let client = "tls.envoy-client-certificate";
    let set = findings.take(reference(client, tls.envoy_client_certificate.as_ref()));
    let way_out = "delete it; Envoy then shows no certificate to servers";
    findings.take(unless_unset(set, client, "a client certificate for upstream connections", way_out));
    let fingerprint = tls.fingerprint.unwrap_or_default();
    for (set, key) in [(fingerprint.ja3, "tls.fingerprint.ja3"), (fingerprint.ja4, "tls.fingerprint.ja4")] {
        let set = set.unwrap_or_default();
        findings.take(unless_unset(
            set,
            key,
            "fingerprinting of TLS clients",
            "delete it, or set it to false",
        ));
    }
    findings.conclude(())
}

fn policy(policy: &Policy) -> Result<(), Vec<ConfigError>> {
    let mut findings = Findings::default();
    let feature = "a header policy for all routes";
    let way_out = "delete it, and set the headers in the HTTPProxies";
    for (key, headers_policy) in [
        ("policy.request-headers", &policy.request_headers),
        ("policy.response-headers", &policy.response_headers),
    ] {
        let set = findings.take(headers(key, headers_policy.as_ref()));
        findings.take(unless_unset(set, key, feature, way_out));
    }
    let set = policy.apply_to_ingress.unwrap_or_default();
    findings.take(unless_unset(set, "policy.applyToIngress", feature, way_out));
    findings.conclude(())
}

/// Sections that name another service. As in Contour, a section without a service is inert.
fn external_services(file: &ConfigFile) -> Result<(), Vec<ConfigError>> {
    let mut findings = Findings::default();
    if let Some(gateway) = &file.gateway {
        let set = findings.take(match reference("gateway.gatewayRef", gateway.gateway_ref.as_ref()) {
            Ok(false) => Err(ConfigError::key(
                "gateway.gatewayRef",
                "namespace and name are missing",
                "write both, or delete the section",
            )),
            other => other,
        });
        let way_out = "delete the section and use HTTPProxy or Ingress";
        findings.take(unless_unset(set, "gateway", "the Gateway API", way_out));
    }
    let rate_limits = file.rate_limit_service.as_ref().and_then(|s| given(s.extension_service.as_ref()));
    findings.take(unless_unset(
        rate_limits.is_some(),
        "rateLimitService",
        "global rate limiting",
        "delete the section, and limit locally or elsewhere",
    ));
    let authorization = file.global_ext_auth.as_ref().and_then(|s| given(s.extension_service.as_ref()));
    findings.take(unless_unset(
        authorization.is_some(),
        "globalExtAuth",
        "external authorization for all hosts",
        "delete the section only if no host relies on it; else keep those hosts on Contour",
    ));
    if let Some(tracing) = &file.tracing {
        let valid = check_tracing(tracing);
        let set = valid.is_ok();
        findings.take(valid);
        findings.take(unless_unset(set, "tracing", "tracing", "delete the section"));
    }
    let health = file.om_enforced_health_listener.is_some();
    let way_out = "delete the section; /ready on the stats port answers";
    let feature = "a health listener under the overload manager";
    findings.take(unless_unset(health, "omEnforcedHealthListener", feature, way_out));
    findings.conclude(())
}

/// What Contour asks of the section.
fn check_tracing(tracing: &Tracing) -> Result<(), Vec<ConfigError>> {
    let mut findings = Findings::default();
    if given(tracing.extension_service.as_ref()).is_none() {
        let way_out = "write \"namespace/name\" of an ExtensionService";
        findings.take::<()>(Err(ConfigError::key("tracing.extensionService", "it is missing", way_out)));
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, tag) in tracing.custom_tags.iter().flatten().enumerate() {
        let name = given(tag.tag_name.as_ref()).unwrap_or_default();
        findings.take(check_tag(index, tag, names.contains(&name)));
        names.push(name);
    }
    findings.conclude(())
}

fn check_tag(index: usize, tag: &CustomTag, repeated: bool) -> Result<(), ConfigError> {
    let key = |part: &str| format!("tracing.customTags[{index}]{part}");
    let literal = given(tag.literal.as_ref()).is_some();
    let header = given(tag.request_header_name.as_ref()).is_some();
    if given(tag.tag_name.as_ref()).is_none() {
        Err(ConfigError::key(key(".tagName"), "it is missing", "write a name"))
    } else if repeated {
        Err(ConfigError::key(key(".tagName"), "another tag has this name", "choose another"))
    } else if literal == header {
        Err(ConfigError::key(
            key(""),
            "a tag takes its value from one place",
            "write literal or requestHeaderName, not both",
        ))
    } else {
        Ok(())
    }
}

fn metrics_tls(section: &str, server: Option<&MetricsServer>) -> Result<(), ConfigError> {
    let Some(server) = server else { return Ok(()) };
    let certificate = given(server.server_certificate_path.as_ref()).is_some();
    let key = given(server.server_key_path.as_ref()).is_some();
    let ca = given(server.ca_certificate_path.as_ref()).is_some();
    if certificate != key {
        return Err(ConfigError::key(
            section,
            "server-certificate-path and server-key-path belong together",
            "write both or neither",
        ));
    }
    if ca && !certificate {
        return Err(ConfigError::key(
            format!("{section}.ca-certificate-path"),
            "clients can only be verified over TLS",
            "write server-certificate-path and server-key-path as well, or delete it",
        ));
    }
    unless_unset(certificate, section, "metrics over TLS", "delete the paths; metrics are served in plain")
}

/// Envoy's metrics are served with its health, on one listener.
fn metrics_listener(args: &ServeArgs, server: Option<&MetricsServer>) -> Result<(), ConfigError> {
    let Some(server) = server else { return Ok(()) };
    let address = given(server.address.as_ref()).is_some_and(|address| address != args.envoy.stats_address);
    let port = server.port.is_some_and(|port| port > 0 && port != i64::from(args.envoy.stats_port));
    unless_unset(
        address || port,
        "metrics.envoy",
        "a listener for Envoy's metrics apart from its health",
        "give metrics.envoy the same address and port as --stats-address and --stats-port",
    )
}

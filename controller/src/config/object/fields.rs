//! The names that settings have in a ContourConfiguration, by those that they have as flags and keys (reference 2.3).

use super::super::error::{ConfigError, Place};

/// Flags and keys, and the fields that stand for them. What is below a key is below its field by the same name.
const FIELDS: [(&str, &str); 87] = [
    ("--xds-address", "spec.xdsServer.address"),
    ("--xds-port", "spec.xdsServer.port"),
    ("--contour-cafile", "spec.xdsServer.tls.caFile"),
    ("--contour-cert-file", "spec.xdsServer.tls.certFile"),
    ("--contour-key-file", "spec.xdsServer.tls.keyFile"),
    ("--insecure", "spec.xdsServer.tls.insecure"),
    ("--ingress-class-name", "spec.ingress.classNames"),
    ("--ingress-status-address", "spec.ingress.statusAddress"),
    ("ingress-status-address", "spec.ingress.statusAddress"),
    ("--debug-http-address", "spec.debug.address"),
    ("--debug-http-port", "spec.debug.port"),
    ("--health-address", "spec.health.address"),
    ("--health-port", "spec.health.port"),
    ("--http-address", "spec.metrics.address"),
    ("--http-port", "spec.metrics.port"),
    ("metrics.contour", "spec.metrics.tls"),
    ("metrics.contour.ca-certificate-path", "spec.metrics.tls.caFile"),
    ("--use-proxy-protocol", "spec.envoy.listener.useProxyProtocol"),
    ("compression.algorithm", "spec.envoy.listener.compression.algorithm"),
    ("disableAllowChunkedLength", "spec.envoy.listener.disableAllowChunkedLength"),
    ("disableMergeSlashes", "spec.envoy.listener.disableMergeSlashes"),
    ("serverHeaderTransformation", "spec.envoy.listener.serverHeaderTransformation"),
    ("listener.connection-balancer", "spec.envoy.listener.connectionBalancer"),
    ("listener.max-requests-per-connection", "spec.envoy.listener.maxRequestsPerConnection"),
    ("listener.per-connection-buffer-limit-bytes", "spec.envoy.listener.per-connection-buffer-limit-bytes"),
    ("listener.socket-options.tos", "spec.envoy.listener.socketOptions.tos"),
    ("listener.socket-options.traffic-class", "spec.envoy.listener.socketOptions.trafficClass"),
    ("listener.max-requests-per-io-cycle", "spec.envoy.listener.maxRequestsPerIOCycle"),
    ("listener.http2-max-concurrent-streams", "spec.envoy.listener.httpMaxConcurrentStreams"),
    ("listener.max-connections-per-listener", "spec.envoy.listener.maxConnectionsPerListener"),
    ("tls.minimum-protocol-version", "spec.envoy.listener.tls.minimumProtocolVersion"),
    ("tls.maximum-protocol-version", "spec.envoy.listener.tls.maximumProtocolVersion"),
    ("tls.cipher-suites", "spec.envoy.listener.tls.cipherSuites"),
    ("--envoy-service-name", "spec.envoy.service.name"),
    ("--envoy-service-namespace", "spec.envoy.service.namespace"),
    ("--envoy-service-http-address", "spec.envoy.http.address"),
    ("--envoy-service-http-port", "spec.envoy.http.port"),
    ("--envoy-http-access-log", "spec.envoy.http.accessLog"),
    ("--envoy-service-https-address", "spec.envoy.https.address"),
    ("--envoy-service-https-port", "spec.envoy.https.port"),
    ("--envoy-https-access-log", "spec.envoy.https.accessLog"),
    ("--stats-address", "spec.envoy.health.address"),
    ("--stats-port", "spec.envoy.health.port"),
    ("metrics.envoy", "spec.envoy.metrics"),
    ("metrics.envoy.ca-certificate-path", "spec.envoy.metrics.tls.caFile"),
    ("omEnforcedHealthListener", "spec.envoy.omEnforcedHealth"),
    ("tls.envoy-client-certificate", "spec.envoy.clientCertificate"),
    ("--accesslog-format", "spec.envoy.logging.accessLogFormat"),
    ("accesslog-format", "spec.envoy.logging.accessLogFormat"),
    ("accesslog-format-string", "spec.envoy.logging.accessLogFormatString"),
    ("accesslog-level", "spec.envoy.logging.accessLogLevel"),
    ("json-fields", "spec.envoy.logging.accessLogJSONFields"),
    ("default-http-versions", "spec.envoy.defaultHTTPVersions"),
    ("timeouts.request-timeout", "spec.envoy.timeouts.requestTimeout"),
    ("timeouts.connection-idle-timeout", "spec.envoy.timeouts.connectionIdleTimeout"),
    ("timeouts.stream-idle-timeout", "spec.envoy.timeouts.streamIdleTimeout"),
    ("timeouts.max-connection-duration", "spec.envoy.timeouts.maxConnectionDuration"),
    ("timeouts.delayed-close-timeout", "spec.envoy.timeouts.delayedCloseTimeout"),
    ("timeouts.connection-shutdown-grace-period", "spec.envoy.timeouts.connectionShutdownGracePeriod"),
    ("timeouts.connect-timeout", "spec.envoy.timeouts.connectTimeout"),
    ("cluster.dns-lookup-family", "spec.envoy.cluster.dnsLookupFamily"),
    ("cluster.max-requests-per-connection", "spec.envoy.cluster.maxRequestsPerConnection"),
    ("cluster.per-connection-buffer-limit-bytes", "spec.envoy.cluster.per-connection-buffer-limit-bytes"),
    ("cluster.circuit-breakers", "spec.envoy.cluster.circuitBreakers"),
    ("cluster.upstream-tls", "spec.envoy.cluster.upstreamTLS"),
    (
        "cluster.upstream-tls.minimum-protocol-version",
        "spec.envoy.cluster.upstreamTLS.minimumProtocolVersion",
    ),
    (
        "cluster.upstream-tls.maximum-protocol-version",
        "spec.envoy.cluster.upstreamTLS.maximumProtocolVersion",
    ),
    ("cluster.upstream-tls.cipher-suites", "spec.envoy.cluster.upstreamTLS.cipherSuites"),
    ("network.num-trusted-hops", "spec.envoy.network.numTrustedHops"),
    ("network.admin-port", "spec.envoy.network.adminPort"),
    ("network.strip-trailing-host-dot", "spec.envoy.network.stripTrailingHostDot"),
    ("gateway", "spec.gateway"),
    ("gateway.gatewayRef", "spec.gateway.gatewayRef"),
    ("disablePermitInsecure", "spec.httpproxy.disablePermitInsecure"),
    ("--root-namespaces", "spec.httpproxy.rootNamespaces"),
    ("tls.fallback-certificate", "spec.httpproxy.fallbackCertificate"),
    ("enableExternalNameService", "spec.enableExternalNameService"),
    ("globalExtAuth", "spec.globalExtAuth"),
    ("rateLimitService", "spec.rateLimitService"),
    ("policy.request-headers", "spec.policy.requestHeaders"),
    ("policy.response-headers", "spec.policy.responseHeaders"),
    ("policy.applyToIngress", "spec.policy.applyToIngress"),
    ("tracing", "spec.tracing"),
    ("featureFlags", "spec.featureFlags"),
    // These stand in texts only.
    ("server-certificate-path", "certFile"),
    ("server-key-path", "keyFile"),
    ("ca-certificate-path", "caFile"),
];

/// The field of a flag or key, or of what it is below.
pub(super) fn field_of(name: &str) -> Option<String> {
    let below =
        |known: &str| name.strip_prefix(known).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let known = FIELDS.iter().filter_map(|(known, field)| Some((known, field, below(known)?)));
    known.max_by_key(|(known, ..)| known.len()).map(|(_, field, rest)| format!("{field}{rest}"))
}

/// The same problem in the words of the object.
pub(super) fn told_of_object(error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Invalid { place, problem, way_out } => ConfigError::Invalid {
            place: moved(place),
            problem: reworded(&problem),
            way_out: reworded(&way_out),
        },
        ConfigError::Unsupported { place, feature, way_out } => {
            ConfigError::Unsupported { place: moved(place), feature, way_out: reworded(&way_out) }
        }
        parse @ ConfigError::Parse { .. } => parse,
    }
}

fn moved(place: Place) -> Place {
    let field = match &place {
        Place::Flag(flag) => field_of(flag),
        Place::Key(key) => field_of(key),
        Place::Field(_) => None,
    };
    field.map_or(place, Place::Field)
}

/// The text with the names of fields in the place of flags and keys. A word that could be plain English is left alone.
fn reworded(text: &str) -> String {
    let word = |piece: &str| {
        let name = piece.trim_end_matches([' ', ',', ';', ':']);
        let is_name = name.contains(['-', '.']);
        match FIELDS.iter().find(|(known, _)| is_name && *known == name) {
            Some((_, field)) => format!("{field}{}", &piece[name.len()..]),
            None => piece.to_owned(),
        }
    };
    text.split_inclusive(' ').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_listed_once() {
        let mut names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIELDS.len());
    }

    #[test]
    fn what_is_below_a_key_is_below_its_field() {
        for (name, field) in [
            ("tls.cipher-suites", Some("spec.envoy.listener.tls.cipherSuites")),
            ("json-fields[3]", Some("spec.envoy.logging.accessLogJSONFields[3]")),
            ("tracing.customTags[0].tagName", Some("spec.tracing.customTags[0].tagName")),
            ("metrics.contour", Some("spec.metrics.tls")),
            ("--watch-namespaces", None),
            ("tracings", None),
        ] {
            assert_eq!(field_of(name).as_deref(), field, "{name}");
        }
    }

    #[test]
    fn texts_name_fields_and_stay_prose() {
        assert_eq!(
            reworded("lower it, or raise tls.maximum-protocol-version; see tracing, gateway"),
            "lower it, or raise spec.envoy.listener.tls.maximumProtocolVersion; see tracing, gateway"
        );
    }
}

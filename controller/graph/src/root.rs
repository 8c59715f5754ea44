//! A root HTTPProxy: its virtual host, TLS, and what it serves on which listener (reference 1.2, 1.3, 1.11).

use std::sync::Arc;

use contour_crds::httpproxy::{Tls, VirtualHost};
use contour_objects::{Kind, NamespacedName, ObjectRef, Proxy};

use crate::budget::Bill;
use crate::build::{Build, Reported, SecretProblem};
use crate::host::{HostParts, SecurePart};
use crate::model::{Action, Route, Termination, TlsVersion};
use crate::{cost, include, tcp, unsupported};

/// What a root asks of TLS.
enum RootTls {
    None,
    Terminate(Termination),
    Passthrough,
}

/// Adds what a root serves to its host. Problems are reported on the objects that have them.
pub(crate) fn add(b: &mut Build<'_>, proxy: &Arc<Proxy>, parts: &mut HostParts) {
    b.ledger.pays(&proxy.name.namespace);
    let proxy = &b.proxy_version(proxy);
    b.reach(&proxy.name);
    // What is wrong was reported: the root does not serve.
    let _: Result<(), Reported> = try_add(b, proxy, parts);
}

fn try_add(b: &mut Build<'_>, proxy: &Proxy, parts: &mut HostParts) -> Result<(), Reported> {
    let Some(host) = proxy.spec.virtualhost.as_deref() else { return Ok(()) };
    check_root(b, proxy, host)?;
    unsupported::virtual_host(b, &proxy.name, host)?;
    let tls = host.tls.as_deref().map_or(Ok(RootTls::None), |tls| root_tls(b, proxy, tls))?;
    let tcp = match (proxy.spec.tcpproxy.as_deref(), &tls) {
        (None, _) => None,
        (Some(_), RootTls::None) => {
            let message = "tcpproxy requires tls.secretName or tls.passthrough: only TLS sessions can be told apart by host";
            return Err(b.error(&proxy.name, "TCPProxyError", "TLSMustBeConfigured", message));
        }
        (Some(spec), _) => Some(tcp::resolve(b, proxy, spec)?),
    };
    let enforce = !matches!(tls, RootTls::None);
    let (amount, kind) = match &tls {
        RootTls::None => (cost::HOST, "RouteError"),
        RootTls::Terminate(tls) => (cost::HOST + cost::TLS + cost::pair(&tls.pair), "TLSError"),
        RootTls::Passthrough => (cost::HOST + cost::TLS, "TLSError"),
    };
    let writer = ObjectRef::new(Kind::HttpProxy, proxy.name.clone());
    b.charge(&Bill { writer, includer: None }, amount, kind)?;
    let mut secure = Vec::new();
    for built in include::routes(b, proxy) {
        let mut plain = built.route.clone();
        if enforce && !built.permit_insecure {
            plain.action = Action::UpgradeToHttps;
        }
        parts.set_plain(plain);
        secure.push(built.route);
    }
    if let Some(part) = secure_part(b, proxy, tls, tcp, secure) {
        parts.set_secure(part);
    }
    Ok(())
}

fn secure_part(
    b: &mut Build<'_>,
    proxy: &Proxy,
    tls: RootTls,
    tcp: Option<crate::model::TcpProxy>,
    routes: Vec<Route>,
) -> Option<SecurePart> {
    match (tls, tcp) {
        (RootTls::None, _) => None,
        (RootTls::Terminate(tls), Some(proxy)) => Some(SecurePart::Tcp { tls, proxy }),
        (RootTls::Terminate(tls), None) => Some(SecurePart::Http { tls, routes }),
        (RootTls::Passthrough, Some(proxy)) => Some(SecurePart::Passthrough { proxy }),
        (RootTls::Passthrough, None) => {
            let message = "spec.virtualhost.tls.passthrough has no effect without spec.tcpproxy";
            b.warn(&proxy.name, "SpecError", "IgnoredField", message);
            None
        }
    }
}

fn check_root(b: &mut Build<'_>, proxy: &Proxy, host: &VirtualHost) -> Result<(), Reported> {
    let name = &proxy.name;
    if host.fqdn.is_empty() {
        return Err(b.error(
            name,
            "VirtualHostError",
            "FQDNNotSpecified",
            "Spec.VirtualHost.Fqdn must be specified",
        ));
    }
    if !is_fqdn(&host.fqdn) {
        let message = format!(
            "Spec.VirtualHost.Fqdn \"{}\" is not a DNS name, with at most one leading \"*.\"",
            host.fqdn
        );
        return Err(b.error(name, "VirtualHostError", "FQDNNotSpecified", message));
    }
    if !b.settings.root_allowed(&name.namespace) {
        let message = "root HTTPProxy cannot be defined in this namespace";
        return Err(b.error(name, "RootNamespaceError", "RootProxyNotAllowedInNamespace", message));
    }
    let spec = &proxy.spec;
    if spec.routes.is_empty() && spec.includes.is_empty() && spec.tcpproxy.is_none() {
        let message = "HTTPProxy.Spec must have at least one Route, Include, or a TCPProxy";
        return Err(b.error(name, "SpecError", "NothingDefined", message));
    }
    Ok(())
}

/// Whether a text is a DNS name, with at most one leading wildcard label. The schema says the same; files and old objects may not.
pub(crate) fn is_fqdn(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.len() <= 253 && name.split('.').all(label)
}

fn root_tls(b: &mut Build<'_>, proxy: &Proxy, tls: &Tls) -> Result<RootTls, Reported> {
    let error = |b: &mut Build<'_>, reason, message: &str| b.error(&proxy.name, "TLSError", reason, message);
    if tls.passthrough && tls.enable_fallback_certificate {
        let message = "Spec.VirtualHost.TLS: both Passthrough and enableFallbackCertificate were specified";
        // Passthrough has no use for that certificate: the host is served nevertheless, as by Contour.
        error(b, "TLSIncompatibleFeatures", message);
    }
    match (tls.secret_name.as_ref().filter(|name| !name.trim().is_empty()), tls.passthrough) {
        (Some(_), true) => {
            let message = "Spec.VirtualHost.TLS: both Passthrough and SecretName were specified";
            Err(error(b, "TLSConfigNotValid", message))
        }
        (None, false) => {
            let message = "Spec.VirtualHost.TLS: neither Passthrough nor SecretName were specified";
            Err(error(b, "TLSConfigNotValid", message))
        }
        (None, true) => Ok(RootTls::Passthrough),
        (Some(secret), false) => termination(b, proxy, tls, secret).map(RootTls::Terminate),
    }
}

fn termination(b: &mut Build<'_>, proxy: &Proxy, tls: &Tls, secret: &str) -> Result<Termination, Reported> {
    let secret = NamespacedName::parse(secret, &proxy.name.namespace);
    let pair = b.tls_pair(&secret, &proxy.name.namespace).map_err(|problem| match problem {
        SecretProblem::NotDelegated => {
            let message = format!(
                "Spec.VirtualHost.TLS Secret \"{secret}\" certificate delegation not permitted: \
                 namespace {} needs a TLSCertificateDelegation in namespace {} for it",
                proxy.name.namespace, secret.namespace
            );
            b.error(&proxy.name, "TLSError", "DelegationNotPermitted", message)
        }
        SecretProblem::Unusable(why) => {
            let message = format!("Spec.VirtualHost.TLS.SecretName is invalid: {why}");
            b.error(&proxy.name, "TLSError", "SecretNotValid", message)
        }
    })?;
    let minimum =
        version(tls.minimum_protocol_version.as_deref(), TlsVersion::V1_2).max(b.settings.tls_minimum);
    let maximum =
        version(tls.maximum_protocol_version.as_deref(), TlsVersion::V1_3).min(b.settings.tls_maximum);
    if maximum < minimum {
        let message = "Spec.VirtualHost.TLS: the minimum protocol version is higher than the maximum protocol version, \
                       taking the installation's limits into account";
        return Err(b.error(&proxy.name, "TLSError", "TLSConfigNotValid", message));
    }
    Ok(Termination { secret, pair, minimum, maximum })
}

/// Reads a TLS version; any other text means the default, as in Contour.
pub(crate) fn version(text: Option<&str>, default: TlsVersion) -> TlsVersion {
    match text {
        Some("1.2") => TlsVersion::V1_2,
        Some("1.3") => TlsVersion::V1_3,
        _ => default,
    }
}

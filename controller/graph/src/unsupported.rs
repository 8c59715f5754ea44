//! Fields of HTTPProxy that do not work yet.
//!
//! A field that protects fails closed: its host or route does not serve. Any other is told as a warning. Each entry goes away with the
//! feature's arrival.

use contour_crds::httpproxy::{RateLimitPolicy, Route, Service, VirtualHost};
use contour_objects::NamespacedName;

use crate::build::{Build, Reported};

/// Reason of errors on fields that protect and do not work yet.
const NOT_SUPPORTED: &str = "FeatureNotSupported";

/// Reports the fields of a virtual host that do not work yet. An error means that the host must not be served.
pub(crate) fn virtual_host(
    b: &mut Build<'_>,
    proxy: &NamespacedName,
    host: &VirtualHost,
) -> Result<(), Reported> {
    let client_validation = host.tls.as_ref().is_some_and(|tls| tls.client_validation.is_some());
    let protecting = [
        ("JWTVerificationError", "virtualhost.jwtProviders", !host.jwt_providers.is_empty()),
        ("AuthError", "virtualhost.authorization", host.authorization.is_some()),
        ("IPFilterError", "virtualhost.ipAllowPolicy", !host.ip_allow_policy.is_empty()),
        ("IPFilterError", "virtualhost.ipDenyPolicy", !host.ip_deny_policy.is_empty()),
        ("TLSError", "virtualhost.tls.clientValidation", client_validation),
        ("VirtualHostError", "virtualhost.rateLimitPolicy", limits(host.rate_limit_policy.as_deref())),
    ];
    let mut result = Ok(());
    for (kind, field, set) in protecting {
        if set {
            let message =
                format!("spec.{field} is not supported yet; the host is not served without its protection");
            result = Err(b.error(proxy, kind, NOT_SUPPORTED, message));
        }
    }
    ignored(b, proxy, "virtualhost.corsPolicy", host.cors_policy.is_some());
    let fallback = host.tls.as_ref().is_some_and(|tls| tls.enable_fallback_certificate);
    ignored(b, proxy, "virtualhost.tls.enableFallbackCertificate", fallback);
    result
}

/// Reports the fields of a route that do not work yet. An error means that the route must not be served.
pub(crate) fn route(b: &mut Build<'_>, proxy: &NamespacedName, route: &Route) -> Result<(), Reported> {
    let jwt = route.jwt_verification_policy.as_ref().is_some_and(|p| p.require.is_some());
    let protecting = [
        ("IPFilterError", "ipAllowPolicy", !route.ip_allow_policy.is_empty()),
        ("IPFilterError", "ipDenyPolicy", !route.ip_deny_policy.is_empty()),
        ("RouteError", "rateLimitPolicy", limits(route.rate_limit_policy.as_deref())),
        ("JWTVerificationError", "jwtVerificationPolicy.require", jwt),
    ];
    let mut result = Ok(());
    for (kind, field, set) in protecting {
        if set {
            let message = format!(
                "routes.{field} is not supported yet; the route is not served without its protection"
            );
            result = Err(b.error(proxy, kind, NOT_SUPPORTED, message));
        }
    }
    ignored(b, proxy, "routes.authPolicy", route.auth_policy.is_some());
    ignored(b, proxy, "routes.cookieRewritePolicies", !route.cookie_rewrite_policies.is_empty());
    ignored(b, proxy, "routes.internalRedirectPolicy", route.internal_redirect_policy.is_some());
    result
}

/// Warns about the fields of a service that do not work yet.
pub(crate) fn service(b: &mut Build<'_>, proxy: &NamespacedName, service: &Service) {
    ignored(b, proxy, "services.mirror", service.mirror);
    ignored(b, proxy, "services.slowStartPolicy", service.slow_start_policy.is_some());
    ignored(b, proxy, "services.cookieRewritePolicies", !service.cookie_rewrite_policies.is_empty());
}

/// Whether a policy limits anything: one that only opts out of a limit protects nothing.
fn limits(policy: Option<&RateLimitPolicy>) -> bool {
    policy.is_some_and(|p| p.local.is_some() || p.global.as_ref().is_some_and(|g| !g.descriptors.is_empty()))
}

fn ignored(b: &mut Build<'_>, proxy: &NamespacedName, field: &str, set: bool) {
    if set {
        let message = format!("spec.{field} is not supported yet and has no effect");
        b.warn(proxy, "SpecError", "IgnoredField", message);
    }
}

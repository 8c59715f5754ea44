//! References to Services, resolved into clusters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use contour_crds::httpproxy::{Service as ServiceRef, UpstreamProtocol, UpstreamValidation as ValidationRef};
use contour_objects::{NamespacedName, Proxy, Service, ServicePort, is_ambiguous, is_local_name};

use crate::annotation;
use crate::build::{Build, Reported, SecretProblem};
use crate::known::{KnownService, PortKey};
use crate::model::{
    CircuitBreakers, Cluster, Discovery, EndpointsOf, HealthCheck, HealthPort, HostRewrite, LoadBalancer,
    Protocol, Timeout, UpstreamValidation,
};

/// Longest timeout of a health check.
const LONGEST_CHECK: Duration = Duration::from_secs(5);
/// The same, of addresses that are found by name.
const LONGEST_NAMED_CHECK: Duration = Duration::from_secs(3);

/// What a route decides for all its clusters.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterPolicy {
    pub(crate) load_balancer: LoadBalancer,
    pub(crate) health_check: Option<HealthCheck>,
    pub(crate) idle_connection_timeout: Timeout,
}

/// Finds a Service port: the Service, and where the port stands in it. The error says what is missing.
pub(crate) fn resolve(
    b: &mut Build<'_>,
    name: &NamespacedName,
    port: Option<PortKey<'_>>,
    wanted: &str,
) -> Result<(Arc<KnownService>, usize), String> {
    let known = b.service(name).ok_or_else(|| format!("Service \"{name}\" not found"))?;
    if let Some(target) = &known.service().external_name {
        external_name(target, b.settings.external_names)
            .map_err(|why| format!("Service \"{name}\" is of type ExternalName: {why}"))?;
    }
    let found = port.and_then(|port| known.find(port));
    let found = found.ok_or_else(|| format!("port \"{wanted}\" on Service \"{name}\" not matched"))?;
    if !known.port(found).tcp {
        return Err(format!("port \"{wanted}\" on Service \"{name}\" is not a TCP port"));
    }
    Ok((known, found))
}

/// Whether an ExternalName may be served: never this machine, whatever it is called (GHSA-5ph6-qq5x-7jwc).
fn external_name(target: &str, enabled: bool) -> Result<(), String> {
    if !enabled {
        return Err("such Services are not enabled (enableExternalNameService)".to_owned());
    }
    if is_local_name(target) {
        return Err(format!("\"{target}\" points to this machine or its link, which is not allowed"));
    }
    let name = target.trim_end_matches('.');
    let plausible = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if name.is_empty() || !name.chars().all(plausible) {
        return Err(format!("\"{target}\" is not a host name"));
    }
    if is_ambiguous(name) {
        return Err(format!(
            "\"{target}\" is neither a host name nor an IP address, though some read it as one"
        ));
    }
    Ok(())
}

/// Resolves a service of an HTTPProxy. `Ok(None)`: it could not be resolved, which was reported, and the route stays without it.
pub(crate) fn cluster(
    b: &mut Build<'_>,
    proxy: &Proxy,
    reference: &ServiceRef,
    policy: &ClusterPolicy,
    host: Option<&HostRewrite>,
    unresolved: (&'static str, &'static str),
) -> Result<Option<Cluster>, Reported> {
    if reference.port == 0 {
        let message = format!("service \"{}\": port must be in the range 1-65535", reference.name);
        return Err(b.error(&proxy.name, "ServiceError", "ServicePortInvalid", message));
    }
    let name = NamespacedName::new(Arc::clone(&proxy.name.namespace), reference.name.as_str());
    let wanted = reference.port.to_string();
    let found = resolve(b, &name, Some(PortKey::Number(reference.port)), &wanted)
        .and_then(|(known, at)| health_port(&known, reference, policy).map(|health| (known, at, health)));
    let (known, at, health_port) = match found {
        Ok(found) => found,
        Err(why) => {
            let (kind, field) = unresolved;
            let message = format!("{field} unresolved service reference: {why}");
            b.error(&proxy.name, kind, "ServiceUnresolvedReference", message);
            return Ok(None);
        }
    };
    for message in &known.complaints {
        b.warn(&proxy.name, "ServiceError", "AnnotationNotValid", message.as_str());
    }
    let (service, port) = (known.service(), known.port(at));
    if let Some(message) = b.left_out(service) {
        b.warn(&proxy.name, "ServiceError", "EndpointNotAllowed", message);
    }
    let protocol = reference.protocol.map_or_else(|| known.protocol(at), given_protocol);
    let validation = validation(b, proxy, reference, protocol)?;
    let sni = match host {
        Some(HostRewrite::Literal(host)) => Some(host.clone()),
        _ => service.external_name.as_deref().map(str::to_owned),
    };
    Ok(Some(Cluster {
        discovery: discovery(service, port, health_port),
        service: name,
        port: port.port,
        protocol,
        validation,
        sni: sni.filter(|_| protocol.is_tls()),
        load_balancer: policy.load_balancer,
        health_check: bounded_check(b, proxy, policy, service),
        idle_connection_timeout: policy.idle_connection_timeout,
        circuit_breakers: known.circuit_breakers,
    }))
}

/// The health check with a timeout that others can wait for: Envoy finishes its start, and answers the next change of clusters, only when every
/// endpoint of every new cluster has answered its first check or has let its time pass.
fn bounded_check(
    b: &mut Build<'_>,
    proxy: &Proxy,
    policy: &ClusterPolicy,
    service: &Service,
) -> Option<HealthCheck> {
    let mut check = policy.health_check.clone()?;
    // A name has to be resolved before.
    let most = if service.external_name.is_some() { LONGEST_NAMED_CHECK } else { LONGEST_CHECK };
    if check.timeout > most {
        let message = format!(
            "healthCheckPolicy.timeoutSeconds: {} is reduced to {}, because other changes wait for a new cluster's first check",
            check.timeout.as_secs(),
            most.as_secs()
        );
        b.warn(&proxy.name, "SpecError", "HealthCheckTimeoutReduced", message);
        check.timeout = most;
    }
    Some(check)
}

fn health_port(
    known: &KnownService,
    reference: &ServiceRef,
    policy: &ClusterPolicy,
) -> Result<Option<HealthPort>, String> {
    let number = match reference.health_port {
        Some(number) if number > 0 && number != reference.port && policy.health_check.is_some() => number,
        _ => return Ok(None),
    };
    let port = known.find(PortKey::Number(number)).map(|at| known.port(at)).filter(|port| port.tcp);
    let port = port.ok_or_else(|| {
        format!("healthPort \"{number}\" on Service \"{}\" not matched", known.service().name)
    })?;
    Ok(Some(HealthPort { number, name: port.name.clone() }))
}

/// Where the addresses of a Service port come from.
pub(crate) fn discovery(service: &Service, port: &ServicePort, health_port: Option<HealthPort>) -> Discovery {
    match &service.external_name {
        Some(hostname) => Discovery::Dns { hostname: hostname.to_string(), port: port.port },
        None => Discovery::Slices(EndpointsOf {
            service: service.name.clone(),
            port_name: port.name.clone(),
            health_port,
        }),
    }
}

fn given_protocol(protocol: UpstreamProtocol) -> Protocol {
    match protocol {
        UpstreamProtocol::H2 => Protocol::H2,
        UpstreamProtocol::H2c => Protocol::H2c,
        UpstreamProtocol::Tls => Protocol::Tls,
    }
}

/// The circuit breakers in a Service's annotations; what is not a positive number is not set.
pub(crate) fn circuit_breakers(annotations: &BTreeMap<String, String>) -> CircuitBreakers {
    let number = |name: &str| annotation::limit_of(annotations, name);
    CircuitBreakers {
        max_connections: number("max-connections"),
        max_pending_requests: number("max-pending-requests"),
        max_requests: number("max-requests"),
        max_retries: number("max-retries"),
        per_host_max_connections: number("per-host-max-connections"),
    }
}

fn validation(
    b: &mut Build<'_>,
    proxy: &Proxy,
    reference: &ServiceRef,
    protocol: Protocol,
) -> Result<Option<UpstreamValidation>, Reported> {
    let Some(policy) = reference.validation.as_deref() else { return Ok(None) };
    if !protocol.is_tls() {
        let message =
            format!("services \"{}\": validation has no effect without protocol tls or h2", reference.name);
        b.warn(&proxy.name, "SpecError", "IgnoredField", message);
        return Ok(None);
    }
    let invalid = |b: &mut Build<'_>, why: String| {
        let message = format!(
            "Service [{}:{}] TLS upstream validation policy error: {why}",
            reference.name, reference.port
        );
        b.error(&proxy.name, "ServiceError", "TLSUpstreamValidation", message)
    };
    let subject_names = subject_names(policy).map_err(|why| invalid(b, why))?;
    let secret = NamespacedName::parse(&policy.ca_secret, &proxy.name.namespace);
    match b.ca(&secret, &proxy.name.namespace) {
        Ok(ca) => Ok(Some(UpstreamValidation { secret, ca, subject_names })),
        Err(SecretProblem::NotDelegated) => {
            let message = format!(
                "services.validation.caSecret: Secret \"{secret}\" is not configured for certificate delegation"
            );
            Err(b.error(&proxy.name, "TLSError", "CACertificateNotDelegated", message))
        }
        Err(SecretProblem::Unusable(why)) => Err(invalid(b, why)),
    }
}

/// The names to verify: the list, whose first entry repeats the single name, or the single name.
fn subject_names(policy: &ValidationRef) -> Result<Vec<String>, String> {
    let single = &policy.subject_name;
    match policy.subject_names.first() {
        _ if single.is_empty() => Err("no subject name is given".to_owned()),
        Some(first) if first != single => Err(format!(
            "the first entry of subjectNames (\"{first}\") does not match subjectName (\"{single}\")"
        )),
        Some(_) => {
            let mut seen = BTreeSet::new();
            let named = policy.subject_names.iter().filter(|name| !name.is_empty());
            Ok(named.filter(|name| seen.insert(*name)).cloned().collect())
        }
        None => Ok(vec![single.clone()]),
    }
}

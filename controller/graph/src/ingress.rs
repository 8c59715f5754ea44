//! Ingress v1 (reference 3).

use std::collections::{BTreeMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use contour_objects::{Ingress, Kind, NamespacedName, ObjectRef};
use k8s_openapi::api::networking::v1::{HTTPIngressPath, IngressBackend, IngressRule, IngressTLS};

use crate::budget::Bill;
use crate::build::{Build, MOST_ISSUES, Reported, SecretProblem};
use crate::cost::{self, cost};
use crate::duration::parse_timeout;
use crate::host::HostParts;
use crate::known::PortKey;
use crate::limits::{LONGEST_CONDITION, LONGEST_PATH, check_length, excerpt};
use crate::model::{
    Action, Cluster, Forward, HeaderPolicy, LoadBalancer, Origin, PathMatch, Retry, Route, RouteMatch,
    Termination, Timeout, TlsVersion, WeightedCluster,
};
use crate::root::version;
use crate::{annotation, policy, re2, service};

/// Characters that make an implementation-specific path a regular expression, as Contour decides it.
const REGEX_CHARACTERS: [char; 6] = ['^', '+', '*', '[', ']', '%'];

/// The host name of rules without one.
const ANY_HOST: &str = "*";

/// An Ingress, and where in it each host stands: one with thousands of hosts is not searched for each of them.
#[derive(Clone, Debug)]
pub(crate) struct Indexed {
    ingress: Arc<Ingress>,
    index: Arc<Index>,
}

/// What all hosts of an Ingress ask of it.
#[derive(Debug)]
struct Index {
    hosts: BTreeMap<Arc<str>, Places>,
    /// The paths that its annotation lets websockets through for.
    websockets: HashSet<String>,
    /// What is wrong with it, whichever the host.
    complaints: Vec<String>,
}

/// Where a host stands in an Ingress.
#[derive(Debug, Default)]
struct Places {
    rules: Vec<usize>,
    tls: Vec<usize>,
}

impl Deref for Indexed {
    type Target = Ingress;

    fn deref(&self) -> &Ingress {
        &self.ingress
    }
}

impl Indexed {
    pub(crate) fn new(ingress: &Arc<Ingress>) -> Self {
        let mut hosts: BTreeMap<Arc<str>, Places> = BTreeMap::new();
        if ingress.spec.default_backend.is_some() {
            hosts.entry(ANY_HOST.into()).or_default();
        }
        for (at, rule) in ingress.spec.rules.iter().flatten().enumerate() {
            hosts.entry(host_name(rule.host.as_deref())).or_default().rules.push(at);
        }
        for (at, tls) in ingress.spec.tls.iter().flatten().enumerate() {
            for host in tls.hosts.iter().flatten().filter(|host| !host.is_empty()) {
                let places = hosts.entry(host_name(Some(host))).or_default();
                if places.tls.last() != Some(&at) {
                    places.tls.push(at);
                }
            }
        }
        let websockets = ingress.annotations.get("projectcontour.io/websocket-routes");
        let websockets = websockets.into_iter().flat_map(|paths| paths.split(','));
        let complaints = annotation::of_ingress(ingress).into_iter().chain(unused_certificates(ingress));
        let index = Index {
            hosts,
            websockets: websockets.map(|path| path.trim().to_owned()).collect(),
            complaints: complaints.take(MOST_ISSUES).collect(),
        };
        Self { ingress: Arc::clone(ingress), index: Arc::new(index) }
    }

    /// Whether this is the same version.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ingress, &other.ingress)
    }

    /// The host names it contributes to, in order: `*` for its default backend and for rules without a host; and those it only has a
    /// certificate for, since other Ingresses may route them.
    pub(crate) fn hosts(&self) -> Vec<Arc<str>> {
        self.index.hosts.keys().cloned().collect()
    }

    fn rules(&self, fqdn: &Arc<str>) -> impl Iterator<Item = &IngressRule> {
        let places = self.index.hosts.get(fqdn).into_iter().flat_map(|places| &places.rules);
        places.filter_map(|at| self.spec.rules.as_ref()?.get(*at))
    }

    fn tls(&self, fqdn: &Arc<str>) -> impl Iterator<Item = &IngressTLS> {
        let places = self.index.hosts.get(fqdn).into_iter().flat_map(|places| &places.tls);
        places.filter_map(|at| self.spec.tls.as_ref()?.get(*at))
    }

    /// Whether it has, or wants, a certificate for a host.
    fn certifies(&self, fqdn: &Arc<str>) -> bool {
        **fqdn != *ANY_HOST && self.index.hosts.get(fqdn).is_some_and(|places| !places.tls.is_empty())
    }
}

fn host_name(host: Option<&str>) -> Arc<str> {
    host.filter(|h| !h.is_empty()).unwrap_or(ANY_HOST).to_ascii_lowercase().into()
}

/// Adds what an Ingress serves for one host. An Ingress has no conditions: problems become notes.
pub(crate) fn add(b: &mut Build<'_>, ingress: &Indexed, fqdn: &Arc<str>, parts: &mut HostParts) {
    if **fqdn != *ANY_HOST && !crate::root::is_fqdn(fqdn) {
        return b.note(&ingress.name, format!("spec.rules.host \"{fqdn}\" is not a DNS name"));
    }
    for message in &ingress.index.complaints {
        b.note(&ingress.name, message.as_str());
    }
    let bill = Bill { writer: ObjectRef::new(Kind::Ingress, ingress.name.clone()), includer: None };
    let before = b.mark(&bill);
    let Ok(routes) = routes(b, ingress, fqdn, &bill) else { return b.refund(&bill, before) };
    if **fqdn == *ANY_HOST {
        // There is no TLS without a name to select the certificate by.
        return parts.add_ingress(plain(ingress, routes), None, Vec::new());
    }
    let tls = termination(b, ingress, fqdn);
    let shown = tls.as_ref().map_or(0, |tls| cost::pair(&tls.pair));
    if b.charge(&bill, shown, "TLSError").is_err() {
        return b.refund(&bill, before);
    }
    parts.add_ingress(plain(ingress, routes.clone()), tls, routes);
}

/// The routes of an Ingress for one host: all, or an error if they exceed a budget.
fn routes(
    b: &mut Build<'_>,
    ingress: &Indexed,
    fqdn: &Arc<str>,
    bill: &Bill,
) -> Result<Vec<Route>, Reported> {
    let mut routes: BTreeMap<RouteMatch, Route> = BTreeMap::new();
    let certified = ingress.certifies(fqdn);
    b.charge(bill, cost::HOST, "RouteError")?;
    if certified {
        b.charge(bill, cost::TLS, "TLSError")?;
    }
    if **fqdn == *ANY_HOST
        && let Some(backend) = &ingress.spec.default_backend
    {
        let path = PathMatch::Prefix("/".to_owned());
        insert(&mut routes, route(b, ingress, "/", path, backend));
    }
    for path in ingress.rules(fqdn).filter_map(|r| r.http.as_ref()).flat_map(|http| &http.paths) {
        let text = path.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
        b.work(bill, cost::text(text))?;
        match path_match(path) {
            Ok(matches) => {
                let route = route(b, ingress, text, matches, &path.backend);
                if let Some(route) = &route {
                    b.charge(bill, cost(route) * if certified { 2 } else { 1 }, "RouteError")?;
                }
                insert(&mut routes, route);
            }
            Err(why) => b.note(&ingress.name, format!("spec.rules of host \"{fqdn}\": {why}")),
        }
    }
    Ok(routes.into_values().collect())
}

fn insert(routes: &mut BTreeMap<RouteMatch, Route>, route: Option<Route>) {
    if let Some(route) = route {
        routes.insert(route.matches.clone(), route);
    }
}

/// What the plain listener serves: the routes, redirects to HTTPS, or nothing.
fn plain(ingress: &Ingress, mut routes: Vec<Route>) -> Vec<Route> {
    let is = |key: &str, value: &str| ingress.annotations.get(key).is_some_and(|v| v == value);
    if is("ingress.kubernetes.io/force-ssl-redirect", "true") {
        for route in &mut routes {
            route.action = Action::UpgradeToHttps;
        }
        return routes;
    }
    if is("kubernetes.io/ingress.allow-http", "false") {
        return Vec::new();
    }
    routes
}

fn path_match(path: &HTTPIngressPath) -> Result<PathMatch, String> {
    let text = path.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    check_length("a path", text, LONGEST_PATH)?;
    if !text.starts_with('/') && !text.contains(REGEX_CHARACTERS) {
        return Err(format!("path \"{}\" must start with \"/\"", excerpt(text)));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("path \"{}\" has control characters", excerpt(text)));
    }
    match path.path_type.as_str() {
        "Exact" => Ok(PathMatch::Exact(text.to_owned())),
        "Prefix" => match text.trim_end_matches('/') {
            "" => Ok(PathMatch::Prefix("/".to_owned())),
            segments => Ok(PathMatch::Segments(segments.to_owned())),
        },
        _ if text.contains(REGEX_CHARACTERS) => {
            let text = text.trim_start_matches('^');
            re2::check_path(text).map_err(|refused| refused.to_string())?;
            Ok(PathMatch::Regex(text.to_owned()))
        }
        _ => Ok(PathMatch::Prefix(text.to_owned())),
    }
}

/// A route, or `None` with a note where its backend does not resolve: requests then get a 404, as in Contour.
fn route(
    b: &mut Build<'_>,
    ingress: &Indexed,
    text: &str,
    path: PathMatch,
    backend: &IngressBackend,
) -> Option<Route> {
    let cluster = match cluster(b, ingress, backend) {
        Ok(cluster) => cluster,
        Err(why) => {
            b.note(&ingress.name, format!("path \"{}\" is not served: {why}", excerpt(text)));
            return None;
        }
    };
    let annotated = |key: &str| ingress.annotations.get(&format!("projectcontour.io/{key}"));
    let timeout = annotated("response-timeout").or_else(|| annotated("request-timeout"));
    let forward = Forward {
        clusters: vec![WeightedCluster {
            cluster: b.share(cluster),
            weight: 0,
            request_headers: HeaderPolicy::default(),
            response_headers: HeaderPolicy::default(),
        }],
        websockets: ingress.index.websockets.contains(text),
        response_timeout: annotated_timeout(timeout),
        idle_timeout: Timeout::Default,
        retry: retry(b, ingress),
        rewrite: None,
        hash: Vec::new(),
        request_headers: HeaderPolicy::default(),
        response_headers: HeaderPolicy::default(),
    };
    Some(Route {
        matches: RouteMatch { path, headers: Vec::new(), query: Vec::new() },
        action: Action::Forward(Box::new(forward)),
        origin: Origin { kind: "Ingress", object: ingress.name.clone() },
    })
}

/// A timeout by annotation. One that cannot be read was told, and leaves Envoy's default.
fn annotated_timeout(value: Option<&String>) -> Timeout {
    parse_timeout(value.map(String::as_str)).unwrap_or_default()
}

fn retry(b: &mut Build<'_>, ingress: &Ingress) -> Option<Retry> {
    let annotated = |key: &str| ingress.annotations.get(&format!("projectcontour.io/{key}"));
    let on = annotated("retry-on").filter(|on| !on.is_empty())?;
    if on.len() > LONGEST_CONDITION || on.chars().any(char::is_control) {
        let why = "is too long or has control characters";
        b.note(&ingress.name, format!("annotation projectcontour.io/retry-on {why}; nothing is tried again"));
        return None;
    }
    let count = annotated("num-retries").and_then(|count| annotation::retries(count)).unwrap_or(0);
    Some(Retry {
        on: on.clone(),
        count: policy::retries(count),
        per_try_timeout: annotated_timeout(annotated("per-try-timeout")),
        status_codes: Vec::new(),
    })
}

/// Entries of `tls` that certify nothing.
fn unused_certificates(ingress: &Ingress) -> impl Iterator<Item = String> {
    let entries = ingress.spec.tls.iter().flatten().enumerate();
    let unused = entries.filter(|(_, tls)| tls.hosts.iter().flatten().all(String::is_empty));
    unused.map(|(at, tls)| {
        let secret = tls.secret_name.as_deref().unwrap_or_default();
        format!("spec.tls[{at}] names no hosts: its Secret \"{secret}\" is not used")
    })
}

fn cluster(b: &mut Build<'_>, ingress: &Ingress, backend: &IngressBackend) -> Result<Cluster, String> {
    let Some(reference) = &backend.service else {
        return Err("its backend is not a Service; only Services are supported".to_owned());
    };
    let name = NamespacedName::new(Arc::clone(&ingress.name.namespace), reference.name.as_str());
    let port = reference.port.as_ref().ok_or_else(|| format!("backend Service \"{name}\" has no port"))?;
    let wanted = port.name.clone().or(port.number.map(|n| n.to_string())).unwrap_or_default();
    let key = match (&port.name, port.number) {
        (Some(name), _) => Some(PortKey::Name(name)),
        (None, number) => number.and_then(|number| u16::try_from(number).ok()).map(PortKey::Number),
    };
    let (known, at) = service::resolve(b, &name, key, &wanted)?;
    let left_out = b.left_out(known.service());
    for message in known.complaints.iter().map(String::as_str).chain(left_out.as_deref()) {
        b.note(&ingress.name, message);
    }
    let (service, port, protocol) = (known.service(), known.port(at), known.protocol(at));
    let sni = service.external_name.as_deref().map(str::to_owned).filter(|_| protocol.is_tls());
    Ok(Cluster {
        service: name,
        port: port.port,
        discovery: service::discovery(service, port, None),
        protocol,
        validation: None,
        sni,
        load_balancer: LoadBalancer::RoundRobin,
        health_check: None,
        idle_connection_timeout: Timeout::Default,
        circuit_breakers: known.circuit_breakers,
    })
}

/// The certificate for a host that the Ingress lists under `tls`: of the last Secret that can be used.
fn termination(b: &mut Build<'_>, ingress: &Indexed, fqdn: &Arc<str>) -> Option<Termination> {
    let mut found = None;
    for tls in ingress.tls(fqdn) {
        match certificate(b, ingress, tls.secret_name.as_deref().unwrap_or_default()) {
            Ok(termination) => found = Some(termination),
            Err(why) => b.note(&ingress.name, format!("tls for host \"{fqdn}\" is ignored: {why}")),
        }
    }
    found
}

fn certificate(b: &mut Build<'_>, ingress: &Ingress, secret: &str) -> Result<Termination, String> {
    let annotation = |key: &str| ingress.annotations.get(&format!("projectcontour.io/{key}"));
    if secret.is_empty() {
        return Err("it names no Secret".to_owned());
    }
    let home = annotation("tls-cert-namespace")
        .filter(|namespace| !namespace.is_empty())
        .map_or_else(|| Arc::clone(&ingress.name.namespace), |n| n.as_str().into());
    let secret = NamespacedName::parse(secret, &home);
    let namespace = &ingress.name.namespace;
    let pair = b.tls_pair(&secret, namespace).map_err(|problem| match problem {
        SecretProblem::NotDelegated => format!(
            "Secret \"{secret}\" is not delegated to namespace {namespace} by a TLSCertificateDelegation"
        ),
        SecretProblem::Unusable(why) => why,
    })?;
    let limit = |key: &str, default| version(annotation(key).map(String::as_str), default);
    let minimum = limit("tls-minimum-protocol-version", TlsVersion::V1_2).max(b.settings.tls_minimum);
    let maximum = limit("tls-maximum-protocol-version", TlsVersion::V1_3).min(b.settings.tls_maximum);
    if maximum < minimum {
        return Err("the minimum protocol version is higher than the maximum".to_owned());
    }
    Ok(Termination { secret, pair, minimum, maximum })
}

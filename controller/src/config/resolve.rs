//! Flags, environment and file to [`Settings`]: defaults, then the file, then the environment, then flags; but where metrics are
//! served, the file beats the flags, as in Contour (reference 2.3).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use contour_graph::{Budgets, HostOwnership};
use contour_k8s::parse_addresses;
use contour_objects::NamespacedName;
use contour_runtime::{AdminAddresses, Listen};

use super::checks::{ALL_TLS_VERSIONS, given, host_or_ip, object_name, port, tls_versions};
use super::error::{ConfigError, Findings, Place};
use super::file::ConfigFile;
use super::settings::{KubernetesSettings, LeaderElectionSettings, Settings, XdsSettings, XdsTls};
use super::{envoy, later};
use crate::cli::{LeaderElectionFlags, ObjectFlags, ServeArgs, XdsFlags};

/// What the process' environment decides, apart from the variables that stand for a flag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `HOME`: where the default kubeconfig is.
    pub home: PathBuf,
    /// `CONTOUR_NAMESPACE`: our own namespace, `projectcontour` if unset or empty.
    pub contour_namespace: Option<String>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self {
            home: std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default(),
            contour_namespace: std::env::var("CONTOUR_NAMESPACE").ok(),
        }
    }

    fn namespace(&self) -> &str {
        given(self.contour_namespace.as_ref()).unwrap_or("projectcontour")
    }
}

/// The settings that flags, file and environment make together, or everything that is wrong with them.
pub fn resolve(args: &ServeArgs, file: &ConfigFile, env: &Environment) -> Result<Settings, Vec<ConfigError>> {
    let mut findings = Findings::default();
    findings.take(later::refuse(args, file));
    let settings = Settings {
        debug: args.base.debug.or(file.debug).unwrap_or_default(),
        kubernetes_debug: level(args.base.kubernetes_debug),
        xds: findings.take(xds(&args.xds)),
        admin: findings.take(admin(args, file)),
        kubernetes: findings.take(kubernetes(args, file, env)),
        leader_election: findings.take(leader_election(&args.leader_election, env)),
        graph: findings.take(graph(args, file)),
        envoy: findings.take(envoy::settings(args, file)),
    };
    findings.take(namespaces(&settings));
    findings.conclude(settings)
}

/// `--kubernetes-debug`; more than all is all.
pub fn level(kubernetes_debug: u32) -> u8 {
    u8::try_from(kubernetes_debug).unwrap_or(u8::MAX)
}

fn xds(flags: &XdsFlags) -> Result<XdsSettings, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let host = findings.take(host_or_ip(Place::Flag("--xds-address"), &flags.xds_address));
    let tls = findings.take(xds_tls(flags));
    findings.conclude(XdsSettings { listen: Listen::new(host, flags.xds_port), tls })
}

/// `None` with `--insecure`, whatever the files; else all three files.
fn xds_tls(flags: &XdsFlags) -> Result<Option<XdsTls>, ConfigError> {
    if flags.insecure.unwrap_or_default() {
        return Ok(None);
    }
    let files = [
        ("--contour-cafile", given(flags.contour_cafile.as_ref())),
        ("--contour-cert-file", given(flags.contour_cert_file.as_ref())),
        ("--contour-key-file", given(flags.contour_key_file.as_ref())),
    ];
    if let [(_, Some(ca)), (_, Some(certificate)), (_, Some(key))] = files {
        let client_name = given(flags.envoy_client_name.as_ref()).map(str::to_owned);
        return Ok(Some(XdsTls {
            ca: ca.into(),
            certificate: certificate.into(),
            key: key.into(),
            client_name,
        }));
    }
    let (missing, present): (Vec<_>, Vec<_>) = files.into_iter().partition(|(_, file)| file.is_none());
    let missing: Vec<&str> = missing.into_iter().map(|(flag, _)| flag).collect();
    let way_out = format!("add {}, or --insecure to serve xDS without TLS", missing.join(", "));
    Err(match present.first() {
        Some((flag, _)) => ConfigError::flag(flag, "TLS needs all three files", way_out),
        None => ConfigError::flag("--contour-cafile", "xDS has no TLS files to be served with", way_out),
    })
}

fn admin(args: &ServeArgs, file: &ConfigFile) -> Result<AdminAddresses, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let flags = &args.admin;
    let metrics = file.metrics.clone().unwrap_or_default().contour.unwrap_or_default();
    let (place, address) = match given(metrics.address.as_ref()) {
        Some(address) => (Place::Key(String::from("metrics.contour.address")), address),
        None => (Place::Flag("--http-address"), flags.http_address.as_str()),
    };
    let metrics_host = findings.take(host_or_ip(place, address));
    let metrics_port = findings.take(port("metrics.contour.port", metrics.port)).filter(|port| *port > 0);
    let health_host = findings.take(host_or_ip(Place::Flag("--health-address"), &flags.health_address));
    let debug_host =
        findings.take(host_or_ip(Place::Flag("--debug-http-address"), &flags.debug_http_address));
    findings.conclude(AdminAddresses {
        metrics: Listen::new(metrics_host, metrics_port.unwrap_or(flags.http_port)),
        health: Listen::new(health_host, flags.health_port),
        debug: Some(Listen::new(debug_host, flags.debug_http_port)),
    })
}

fn kubernetes(
    args: &ServeArgs,
    file: &ConfigFile,
    env: &Environment,
) -> Result<KubernetesSettings, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let flags = &args.kubernetes;
    let (place, namespace) = pick(
        ("--envoy-service-namespace", args.status.envoy_service_namespace.as_ref()),
        ("envoy-service-namespace", file.envoy_service_namespace.as_ref()),
        env.namespace(),
    );
    let envoy_service_namespace = findings.take(object_name(place, namespace, false));
    let (place, name) = pick(
        ("--envoy-service-name", args.status.envoy_service_name.as_ref()),
        ("envoy-service-name", file.envoy_service_name.as_ref()),
        "envoy",
    );
    let envoy_service_name = findings.take(object_name(place, name, true));
    let (place, addresses) = pick(
        ("--ingress-status-address", args.status.ingress_status_address.as_ref()),
        ("ingress-status-address", file.ingress_status_address.as_ref()),
        "",
    );
    let status_addresses = findings.take(parse_addresses(addresses).map_err(|problem| {
        ConfigError::at(place, problem.to_string(), "write IP addresses and host names, separated by commas")
    }));
    let watch = findings.take(namespace_list("--watch-namespaces", flags.watch_namespaces.as_ref()));
    findings.conclude(KubernetesSettings {
        kubeconfig: kubeconfig(args, file, env),
        watch_namespaces: watch,
        envoy_service_namespace,
        envoy_service_name,
        status_addresses,
    })
}

/// Where the kubeconfig is; `None`: the pod's service account is used.
pub fn kubeconfig(args: &ServeArgs, file: &ConfigFile, env: &Environment) -> Option<PathBuf> {
    let flags = &args.kubernetes;
    let in_cluster = flags.incluster.or(file.incluster).unwrap_or_default();
    let given = flags.kubeconfig.as_ref().or(file.kubeconfig.as_ref());
    let path = given.map_or_else(|| env.home.join(".kube/config"), PathBuf::from);
    (!in_cluster && path != Path::new("")).then_some(path)
}

/// The ContourConfiguration of `--contour-config-name`, in our own namespace; `None` if there is none to read.
pub(super) fn object_of(args: &ServeArgs, env: &Environment) -> Result<Option<NamespacedName>, ConfigError> {
    let Some(name) = given(args.base.contour_config_name.as_ref()) else { return Ok(None) };
    let name = object_name(Place::Flag("--contour-config-name"), name, true)?;
    Ok(Some(NamespacedName::new(env.namespace(), name)))
}

/// The flag's text, else the file's, else the default, each if not empty; and where it comes from.
fn pick<'a>(
    flag: (&'static str, Option<&'a String>),
    key: (&str, Option<&'a String>),
    default: &'a str,
) -> (Place, &'a str) {
    if let Some(text) = given(flag.1) {
        return (Place::Flag(flag.0), text);
    }
    match given(key.1) {
        Some(text) => (Place::Key(key.0.to_owned()), text),
        None => (Place::Flag(flag.0), default),
    }
}

/// A comma list, without blanks and empty items.
fn comma_list(list: Option<&String>) -> impl Iterator<Item = &str> {
    list.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

fn namespace_list(flag: &'static str, list: Option<&String>) -> Result<BTreeSet<String>, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let names =
        comma_list(list).map(|name| findings.take(object_name(Place::Flag(flag), name, false))).collect();
    findings.conclude(names)
}

fn leader_election(
    flags: &LeaderElectionFlags,
    env: &Environment,
) -> Result<Option<LeaderElectionSettings>, Vec<ConfigError>> {
    if flags.disable_leader_election.unwrap_or_default() {
        return Ok(None);
    }
    let mut findings = Findings::default();
    let (lease, renew, retry) = (
        flags.leader_election_lease_duration,
        flags.leader_election_renew_deadline,
        flags.leader_election_retry_period,
    );
    let ordered = |longer: bool, flag, problem: &str| {
        let way_out = "keep lease duration > renew deadline > retry period > 0, e.g. 15s, 10s and 2s";
        if longer { Ok(()) } else { Err(ConfigError::flag(flag, problem, way_out)) }
    };
    findings.take(ordered(
        lease > renew,
        "--leader-election-lease-duration",
        "it is not above the renew deadline",
    ));
    findings.take(ordered(
        renew > retry,
        "--leader-election-renew-deadline",
        "it is not above the retry period",
    ));
    findings.take(ordered(!retry.is_zero(), "--leader-election-retry-period", "it is zero"));
    let place = Place::Flag("--leader-election-resource-namespace");
    let namespace = given(flags.leader_election_resource_namespace.as_ref()).unwrap_or(env.namespace());
    let namespace = findings.take(object_name(place, namespace, false));
    let place = Place::Flag("--leader-election-resource-name");
    let name = findings.take(object_name(place, &flags.leader_election_resource_name, true));
    let settings = LeaderElectionSettings {
        lease_duration: lease,
        renew_deadline: renew,
        retry_period: retry,
        namespace,
        name,
    };
    findings.conclude(Some(settings))
}

fn graph(args: &ServeArgs, file: &ConfigFile) -> Result<contour_graph::Settings, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let tls = file.tls.clone().unwrap_or_default();
    let versions =
        tls_versions("tls", tls.minimum_protocol_version.as_ref(), tls.maximum_protocol_version.as_ref());
    let (tls_minimum, tls_maximum) = findings.take_or(versions, ALL_TLS_VERSIONS);
    let roots = namespace_list("--root-namespaces", args.objects.root_namespaces.as_ref());
    let settings = contour_graph::Settings {
        classes: comma_list(args.objects.ingress_class_name.as_ref()).map(str::to_owned).collect(),
        root_namespaces: findings.take(roots),
        ownership: findings.take(ownership(&args.objects)),
        disable_permit_insecure: file.disable_permit_insecure.unwrap_or_default(),
        external_names: file.enable_external_name_service.unwrap_or_default(),
        tls_minimum,
        tls_maximum,
        budgets: Budgets { namespace: args.objects.namespace_memory << 20, ..Budgets::default() },
    };
    findings.conclude(settings)
}

/// Who has a host name that several namespaces write.
fn ownership(flags: &ObjectFlags) -> Result<HostOwnership, ConfigError> {
    let strict = flags.strict_host_ownership.unwrap_or_default();
    match (strict, flags.share_httpproxy_hosts.unwrap_or_default()) {
        (true, true) => Err(ConfigError::flag(
            "--share-httpproxy-hosts",
            "with --strict-host-ownership no host is shared",
            "leave one of the two out",
        )),
        (true, false) => Ok(HostOwnership::Strict),
        (false, true) => Ok(HostOwnership::Shared),
        (false, false) => Ok(HostOwnership::Proxies),
    }
}

/// A root namespace that is not watched has no proxies: surely a mistake.
fn namespaces(settings: &Settings) -> Result<(), ConfigError> {
    let watched = &settings.kubernetes.watch_namespaces;
    let unwatched: Vec<&str> =
        settings.graph.root_namespaces.difference(watched).map(String::as_str).collect();
    if watched.is_empty() || unwatched.is_empty() {
        return Ok(());
    }
    let names = unwatched.join(",");
    Err(ConfigError::flag(
        "--root-namespaces",
        format!("outside the watched namespaces: {names}"),
        format!("add {names} to --watch-namespaces, or remove it here"),
    ))
}

//! What flags and the ContourDeployment come to. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use contour_certs::Policy;
use contour_crds::contour_deployment::EnvoyLogLevel;
use contour_envoy::{PublicPorts, Socket};
use contour_files::Deployment;
use contour_graph::parse_duration;

use super::args::StandaloneArgs;

/// Everything an installation on one machine is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of YAML files.
    pub directory: PathBuf,
    /// Where certificates, statuses and logs are kept.
    pub state: PathBuf,
    /// The Envoy to run; `None`: to be searched for.
    pub envoy: Option<PathBuf>,
    /// The address Envoy listens on.
    pub address: IpAddr,
    /// Port for HTTP.
    pub http: u16,
    /// Port for HTTPS.
    pub https: u16,
    /// Port for Envoy's health and metrics.
    pub stats: u16,
    /// Port on loopback for the readable part of Envoy's admin interface; 0: none.
    pub admin: u16,
    /// Port on loopback for xDS; 0: any.
    pub xds: u16,
    /// Port on loopback for the controller's own endpoints; 0: any.
    pub controller: u16,
    /// Class served; `None`: `contour` and objects without a class.
    pub class: Option<String>,
    /// Envoy's worker threads; `None`: one per processor.
    pub concurrency: Option<u16>,
    /// `--log-level` of Envoy.
    pub log_level: EnvoyLogLevel,
    /// Where Envoy logs requests.
    pub access_log: Option<String>,
    /// How the certificates between Envoy and the controller are made.
    pub certificates: Policy,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value of the ContourDeployment.
    #[error("{place}: ContourDeployment: {field}: {problem}")]
    Value {
        /// File and line.
        place: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// One port for two purposes.
    #[error("port {0} has two purposes: HTTP, HTTPS, metrics and admin each need their own")]
    Ports(u16),
}

impl Settings {
    /// Flags over the ContourDeployment over defaults.
    ///
    /// # Errors
    /// If a value of the ContourDeployment passed its schema and is still none, or two ports are the same.
    pub fn resolve(args: &StandaloneArgs, deployment: Option<&Deployment>) -> Result<Self, SettingsError> {
        let spec = deployment.map(|deployment| deployment.object.spec.clone()).unwrap_or_default();
        let wrong = |field, problem| SettingsError::Value {
            place: deployment.map(|d| format!("{}:{}", d.file.display(), d.line)).unwrap_or_default(),
            field,
            problem,
        };
        let listen = spec.envoy.listen_address.as_deref().map(str::parse::<IpAddr>).transpose();
        let listen =
            listen.map_err(|_| wrong("spec.envoy.listenAddress", "is not an IP address".to_owned()))?;
        let mut certificates = Policy::default();
        if let Some(text) = &spec.certificates.lifetime {
            let lifetime = parse_duration(text);
            certificates.leaf_lifetime = lifetime.map_err(|e| wrong("spec.certificates.lifetime", e))?;
        }
        let authority = spec.certificates.ca_lifetime.as_deref().unwrap_or("87600h");
        certificates.ca_lifetime =
            parse_duration(authority).map_err(|e| wrong("spec.certificates.caLifetime", e))?;
        let ports = spec.envoy.ports;
        let settings = Self {
            directory: args.directory.clone(),
            state: args.state(),
            envoy: args.envoy.clone(),
            address: args.listen_address.or(listen).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            http: args.http_port.or(ports.http).unwrap_or(8080),
            https: args.https_port.or(ports.https).unwrap_or(8443),
            stats: args.stats_port.unwrap_or(ports.metrics),
            admin: args.admin_port.unwrap_or(ports.admin),
            xds: args.xds_port,
            controller: args.controller_port,
            class: spec.ingress_class_name,
            concurrency: spec.envoy.concurrency,
            log_level: spec.envoy.log_level.unwrap_or_default(),
            access_log: spec.envoy.access_log,
            certificates,
        };
        settings.distinct_ports()?;
        Ok(settings)
    }

    fn distinct_ports(&self) -> Result<(), SettingsError> {
        let ports: Vec<u16> = self.envoy_ports().iter().map(|(_, address)| address.port()).collect();
        let repeated = (1..ports.len()).find(|&n| ports[..n].contains(&ports[n]));
        repeated.map_or(Ok(()), |n| Err(SettingsError::Ports(ports[n])))
    }

    /// What Envoy will listen on, and the flag that moves it.
    pub fn envoy_ports(&self) -> Vec<(&'static str, SocketAddr)> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut ports = vec![
            ("--http-port", SocketAddr::new(self.address, self.http)),
            ("--https-port", SocketAddr::new(self.address, self.https)),
            ("--stats-port", SocketAddr::new(self.address, self.stats)),
        ];
        if self.admin != 0 {
            ports.push(("--admin-port", SocketAddr::new(loopback, self.admin)));
        }
        ports
    }

    /// The settings of the graph.
    pub fn graph(&self) -> contour_graph::Settings {
        contour_graph::Settings { classes: self.class.iter().cloned().collect(), ..Default::default() }
    }

    /// The settings of the translation.
    pub fn translation(&self) -> contour_envoy::Settings {
        let address = self.address.to_string();
        let defaults = contour_envoy::Settings::default();
        contour_envoy::Settings {
            http: Socket::new(&address, self.http),
            https: Socket::new(&address, self.https),
            stats: Socket::new(&address, self.stats),
            admin_port: self.admin,
            public_ports: Some(PublicPorts { http: self.http, https: self.https }),
            http_access_log: self.access_log.clone().unwrap_or(defaults.http_access_log),
            https_access_log: self.access_log.clone().unwrap_or(defaults.https_access_log),
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;
    use contour_crds::{ContourDeployment, ContourDeploymentSpec};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: StandaloneArgs,
    }

    fn resolve(flags: &str, spec: &str) -> Result<Settings, SettingsError> {
        let args = Cli::parse_from(std::iter::once("x").chain(flags.split(' '))).args;
        let spec: ContourDeploymentSpec = serde_saphyr::from_str(spec).unwrap();
        let object = Arc::new(ContourDeployment::new("contour", spec));
        Settings::resolve(&args, Some(&Deployment { file: "settings.yaml".into(), line: 3, object }))
    }

    #[test]
    fn flags_beat_the_object_and_the_object_beats_defaults() {
        let settings = resolve(
            "dir --http-port 1080 --admin-port 0",
            "{ingressClassName: inner, envoy: {listenAddress: 127.0.0.1, ports: {http: 80, https: 1443}, concurrency: 2}, certificates: {lifetime: 2h}}",
        );
        let settings = settings.unwrap();
        let ports: Vec<_> = settings.envoy_ports().iter().map(|(_, address)| address.to_string()).collect();
        assert_eq!(ports, ["127.0.0.1:1080", "127.0.0.1:1443", "127.0.0.1:8002"]);
        assert_eq!(settings.state, PathBuf::from("dir/.contour"));
        assert_eq!(settings.graph().classes, ["inner"]);
        assert_eq!(settings.certificates.leaf_lifetime.as_secs(), 7200);
        assert_eq!(settings.certificates.ca_lifetime.as_secs(), 87600 * 3600);
        assert_eq!(settings.concurrency, Some(2));
        assert_eq!(settings.translation().admin_port, 0);
    }

    #[test]
    fn impossible_settings_are_named() {
        let address = resolve("dir", "{envoy: {listenAddress: 1.2.3}}").unwrap_err();
        assert_eq!(
            address.to_string(),
            "settings.yaml:3: ContourDeployment: spec.envoy.listenAddress: is not an IP address"
        );
        let ports = resolve("dir --http-port 8443", "{}").unwrap_err();
        assert_eq!(
            ports.to_string(),
            "port 8443 has two purposes: HTTP, HTTPS, metrics and admin each need their own"
        );
    }
}

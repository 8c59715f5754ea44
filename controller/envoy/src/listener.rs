//! Listeners and the filter chains of TLS hosts.

use std::time::Duration;

use contour_graph::model::{TcpProxy, Termination};
use contour_resource::Part;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use pb::listener::ConnectionBalanceConfig;
use pb::listener::connection_balance_config::{BalanceType, ExactBalance};
use prost::{Message, Name};
use tcp::tcp_proxy::weighted_cluster::ClusterWeight;
use tcp::tcp_proxy::{ClusterSpecifier, WeightedCluster};

use crate::proto::{address, ads, any, boolean, duration, tls_socket, uint32};
use crate::route::{Clusters, names_and_weights};
use crate::tls::parameters;
use crate::{HttpVersions, Settings, Socket, accesslog, hcm, names, socket};

/// Idle time of proxied TCP connections, longer than the two hours after which Linux sends its first keep-alive.
const TCP_IDLE: Duration = Duration::from_secs(9001);

/// The listener for plain HTTP.
pub(crate) fn plain(settings: &Settings) -> pb::Listener {
    let manager = hcm::Template::new(names::INGRESS_HTTP, &settings.http_access_log, settings);
    let chain =
        pb::FilterChain { filters: vec![manager.with_routes(names::INGRESS_HTTP)], ..Default::default() };
    pb::Listener { filter_chains: vec![chain], ..ingress(names::INGRESS_HTTP, &settings.http, settings) }
}

/// The listener for TLS without its filter chains.
pub(crate) fn secure(settings: &Settings) -> pb::Listener {
    let mut listener = ingress(names::INGRESS_HTTPS, &settings.https, settings);
    listener.listener_filters.push(filter("envoy.filters.listener.tls_inspector", &TlsInspector::default()));
    listener
}

/// The address of listeners that take no connections: nobody else's, as Envoy wants it to be unique.
const NOWHERE: &str = "127.255.255.254";

/// The listener that has Envoy ask for the RouteConfiguration in which virtual hosts are tried. It listens nowhere.
pub(crate) fn trial() -> pb::Listener {
    let chain =
        pb::FilterChain { filters: vec![hcm::routes_only(names::TRIAL, names::TRIAL)], ..Default::default() };
    pb::Listener {
        name: names::TRIAL.to_owned(),
        address: Some(address(NOWHERE, 1)),
        bind_to_port: Some(boolean(false)),
        filter_chains: vec![chain],
        ..Default::default()
    }
}

/// The listener in which filter chains of TLS hosts are tried, without them.
pub(crate) fn trial_secure(settings: &Settings) -> pb::Listener {
    pb::Listener {
        name: names::TRIAL_HTTPS.to_owned(),
        address: Some(address(NOWHERE, 2)),
        bind_to_port: Some(boolean(false)),
        ..secure(settings)
    }
}

fn ingress(name: &str, socket: &Socket, settings: &Settings) -> pb::Listener {
    let options = &settings.listener;
    let proxy_protocol = options
        .proxy_protocol
        .then(|| filter("envoy.filters.listener.proxy_protocol", &ProxyProtocol::default()));
    let balance = options.exact_connection_balance.then_some(ConnectionBalanceConfig {
        balance_type: Some(BalanceType::ExactBalance(ExactBalance {})),
    });
    pb::Listener {
        name: name.to_owned(),
        address: Some(address(&socket.address, socket.port)),
        per_connection_buffer_limit_bytes: options.buffer_limit_bytes.map(uint32),
        listener_filters: proxy_protocol.into_iter().collect(),
        socket_options: socket::options(options.tos, options.traffic_class),
        connection_balance_config: balance,
        max_connections_to_accept_per_socket_event: options.max_accepts_per_socket_event.map(uint32),
        ..Default::default()
    }
}

fn filter<M: Message + Name>(name: &str, config: &M) -> pb::ListenerFilter {
    pb::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(pb::listener_filter::ConfigType::TypedConfig(any(config))),
        ..Default::default()
    }
}

/// Builds the filter chains of TLS hosts.
pub(crate) struct Chains {
    manager: hcm::Template,
    settings: Settings,
}

impl Chains {
    pub(crate) fn new(settings: &Settings) -> Self {
        let manager = hcm::Template::new(names::INGRESS_HTTPS, &settings.https_access_log, settings);
        Self { manager, settings: settings.clone() }
    }

    /// Terminates TLS and routes HTTP by the host's own RouteConfiguration.
    pub(crate) fn http(&self, fqdn: &str, tls: &Termination) -> Part {
        let filter = self.manager.with_routes(&names::secure_routes(fqdn));
        chain(fqdn, filter, Some(self.context(tls, alpn(self.settings.listener.http_versions))))
    }

    /// Proxies bytes: of the TLS session itself, or of what is in it where `tls` terminates it. ALPN is left to the upstream.
    pub(crate) fn tcp(
        &self,
        fqdn: &str,
        tls: Option<&Termination>,
        proxy: &TcpProxy,
        clusters: &mut Clusters,
    ) -> Part {
        let context = tls.map(|tls| self.context(tls, Vec::new()));
        chain(fqdn, self.tcp_proxy(proxy, clusters), context)
    }

    fn context(&self, tls: &Termination, alpn_protocols: Vec<String>) -> tls::DownstreamTlsContext {
        let options = &self.settings.listener;
        let certificate = tls::SdsSecretConfig {
            name: names::secret(&tls.secret, &tls.pair).to_string(),
            sds_config: Some(ads()),
        };
        // Validation of client certificates belongs here: `validation_context_type` and `require_client_certificate`.
        let common = tls::CommonTlsContext {
            tls_params: Some(parameters(
                tls.minimum,
                tls.maximum,
                &options.cipher_suites,
                &options.ecdh_curves,
            )),
            tls_certificate_sds_secret_configs: vec![certificate],
            alpn_protocols,
            ..Default::default()
        };
        tls::DownstreamTlsContext { common_tls_context: Some(common), ..Default::default() }
    }

    fn tcp_proxy(&self, proxy: &TcpProxy, clusters: &mut Clusters) -> pb::Filter {
        let mut shares: Vec<_> = names_and_weights(&proxy.clusters, clusters)
            .into_iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(name, weight)| ClusterWeight { name: name.to_string(), weight, metadata_match: None })
            .collect();
        shares.sort_by(|a, b| a.name.cmp(&b.name).then(a.weight.cmp(&b.weight)));
        let destination = match shares.as_slice() {
            [only] => ClusterSpecifier::Cluster(only.name.clone()),
            _ => ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: shares }),
        };
        let proxy = tcp::TcpProxy {
            stat_prefix: names::INGRESS_HTTPS.to_owned(),
            access_log: accesslog::loggers(&self.settings.https_access_log, &self.settings),
            idle_timeout: Some(duration(TCP_IDLE)),
            cluster_specifier: Some(destination),
            ..Default::default()
        };
        pb::Filter {
            name: "envoy.filters.network.tcp_proxy".to_owned(),
            config_type: Some(pb::filter::ConfigType::TypedConfig(any(&proxy))),
        }
    }
}

fn alpn(versions: HttpVersions) -> Vec<String> {
    let protocols: &[&str] = match versions {
        HttpVersions::Both => &["h2", "http/1.1"],
        HttpVersions::Http1 => &["http/1.1"],
        HttpVersions::Http2 => &["h2"],
    };
    protocols.iter().map(|&p| p.to_owned()).collect()
}

/// Encodes `Listener { filter_chains: [the chain] }`. The default host `*` takes every TLS connection no other chain takes.
fn chain(fqdn: &str, filter: pb::Filter, tls: Option<tls::DownstreamTlsContext>) -> Part {
    let matches = if fqdn == "*" {
        pb::FilterChainMatch { transport_protocol: "tls".to_owned(), ..Default::default() }
    } else {
        pb::FilterChainMatch { server_names: vec![fqdn.to_owned()], ..Default::default() }
    };
    let chain = pb::FilterChain {
        name: fqdn.to_owned(),
        filter_chain_match: Some(matches),
        filters: vec![filter],
        transport_socket: tls.map(|context| tls_socket(&context)),
        ..Default::default()
    };
    let listener = pb::Listener { filter_chains: vec![chain], ..Default::default() };
    Part::new(fqdn, listener.encode_to_vec())
}

//! Where resources say that others come from. Ours say: over the aggregated stream. An Envoy with Contour's stock bootstrap has none, and refuses
//! that; what it is sent says instead that everything comes over a stream of its own, in the words of stock Contour, so that what such an Envoy
//! has from one is not something else when it comes from us.

use bytes::Bytes;
use contour_resource::ResourceType;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::api_config_source::ApiType;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType as SocketType;
use envoy_types::pb::envoy::config::core::v3::{
    ApiConfigSource, ApiVersion, ConfigSource, GrpcService, TransportSocket,
};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType as FilterType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::downstream_tls_context::SessionTicketKeysType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, UpstreamTlsContext,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

/// The cluster of a stock bootstrap that leads to us.
const CONTOUR: &str = "contour";

/// A resource for an Envoy that has a stream for each type. One that cannot be read is left as it is: there is nothing to be found in it.
pub(crate) fn for_own_streams(kind: ResourceType, body: Bytes) -> Bytes {
    match kind {
        ResourceType::Cluster => changed(body, cluster),
        ResourceType::Listener => changed(body, listener),
        // These refer to nothing.
        _ => body,
    }
}

fn changed<M: Message + Default>(body: Bytes, change: fn(&mut M)) -> Bytes {
    match M::decode(body.clone()) {
        Ok(mut message) => {
            change(&mut message);
            message.encode_to_vec().into()
        }
        Err(_) => body,
    }
}

fn cluster(cluster: &mut Cluster) {
    if let Some(eds) = &mut cluster.eds_cluster_config {
        source(&mut eds.eds_config);
    }
    let matched = cluster.transport_socket_matches.iter_mut();
    let sockets = matched.filter_map(|found| found.transport_socket.as_mut());
    cluster.transport_socket.iter_mut().chain(sockets).for_each(socket);
}

fn listener(listener: &mut Listener) {
    listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain).for_each(chain);
}

fn chain(chain: &mut FilterChain) {
    for Filter { config_type, .. } in &mut chain.filters {
        if let Some(FilterType::TypedConfig(config)) = config_type {
            typed(config, |manager: &mut HttpConnectionManager| {
                if let Some(RouteSpecifier::Rds(rds)) = &mut manager.route_specifier {
                    source(&mut rds.config_source);
                }
            });
        }
    }
    chain.transport_socket.iter_mut().for_each(socket);
}

fn socket(socket: &mut TransportSocket) {
    let Some(SocketType::TypedConfig(config)) = &mut socket.config_type else { return };
    typed(config, |tls: &mut UpstreamTlsContext| tls.common_tls_context.iter_mut().for_each(context));
    typed(config, |tls: &mut DownstreamTlsContext| {
        tls.common_tls_context.iter_mut().for_each(context);
        if let Some(SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(keys)) =
            &mut tls.session_ticket_keys_type
        {
            secret(keys);
        }
    });
}

fn context(tls: &mut CommonTlsContext) {
    tls.tls_certificate_sds_secret_configs.iter_mut().for_each(secret);
    match &mut tls.validation_context_type {
        Some(ValidationContextType::ValidationContextSdsSecretConfig(validation)) => secret(validation),
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            combined.validation_context_sds_secret_config.iter_mut().for_each(secret);
        }
        _ => {}
    }
}

fn secret(secret: &mut SdsSecretConfig) {
    source(&mut secret.sds_config);
}

/// Changes what is packed, if it is of this type.
fn typed<M: Message + Name + Default>(packed: &mut Any, change: impl FnOnce(&mut M)) {
    if packed.type_url == M::type_url()
        && let Ok(mut message) = M::decode(packed.value.as_slice())
    {
        change(&mut message);
        packed.value = message.encode_to_vec();
    }
}

/// Over a stream of its own, if it was to be over the aggregated one.
fn source(source: &mut Option<ConfigSource>) {
    let Some(found) = source else { return };
    if !matches!(found.config_source_specifier, Some(ConfigSourceSpecifier::Ads(_))) {
        return;
    }
    let contour =
        EnvoyGrpc { cluster_name: CONTOUR.to_owned(), authority: CONTOUR.to_owned(), ..EnvoyGrpc::default() };
    found.config_source_specifier = Some(ConfigSourceSpecifier::ApiConfigSource(ApiConfigSource {
        api_type: ApiType::Grpc.into(),
        transport_api_version: ApiVersion::V3.into(),
        grpc_services: vec![GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(contour)),
            ..GrpcService::default()
        }],
        ..ApiConfigSource::default()
    }));
}

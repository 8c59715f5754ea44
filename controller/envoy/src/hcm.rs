//! HTTP connection managers.

use contour_graph::model::Timeout;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::compression::brotli::compressor::v3::Brotli;
use envoy_types::pb::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use envoy_types::pb::envoy::extensions::compression::zstd::compressor::v3::Zstd;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3 as compressor;
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig as GrpcStats;
use envoy_types::pb::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::Any;
use pb::http_connection_manager::{CodecType, ServerHeaderTransformation};
use prost::{Message, Name};

use crate::proto::{ads, any, append, boolean, duration, extension, regex, string_matcher, timeout, uint32};
use crate::{Compression, HttpVersions, ServerHeader, Settings, accesslog};

/// What is compressed: Envoy's defaults and gRPC-Web. One expression, and not a matcher for each type: Envoy looks at every message of every
/// filter chain whenever one TLS host is added (bench/RESULTS.md).
const COMPRESSED: &str = "text/(html|plain|css|xml|(x-)?js|jscript|(x-)?javascript|ecmascript)\
    |application/((x-)?javascript|ecmascript|(x-)?json|(xhtml\\+)?xml|grpc-web(-text)?(\\+(proto|thrift))?|grpc-web\\+json)\
    |image/svg\\+xml";

/// Field `rds` of `HttpConnectionManager`.
const RDS: u32 = 3;

/// A connection manager without routes, encoded: the same for all hosts of a listener.
#[derive(Debug)]
pub(crate) struct Template(Vec<u8>);

impl Template {
    pub(crate) fn new(stat_prefix: &str, access_log: &str, settings: &Settings) -> Self {
        Self(manager(stat_prefix, access_log, settings).encode_to_vec())
    }

    /// The network filter of a connection manager that takes its routes from this RouteConfiguration.
    pub(crate) fn with_routes(&self, routes: &str) -> listener::Filter {
        let rds = pb::Rds { config_source: Some(ads()), route_config_name: routes.to_owned() };
        let mut value = self.0.clone();
        append(&mut value, RDS, &rds.encode_to_vec());
        network_filter(Any { type_url: pb::HttpConnectionManager::type_url(), value })
    }
}

fn manager(stat_prefix: &str, access_log: &str, settings: &Settings) -> pb::HttpConnectionManager {
    let (options, timeouts) = (&settings.listener, &settings.timeouts);
    pb::HttpConnectionManager {
        codec_type: codec(options.http_versions).into(),
        stat_prefix: stat_prefix.to_owned(),
        http_filters: filters(options.compression),
        access_log: accesslog::loggers(access_log, settings),
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: timeout(timeouts.connection_idle),
            // Unlike elsewhere zero would not mean "none" here, and none is the default.
            max_connection_duration: match timeouts.max_connection_duration {
                Timeout::After(time) => Some(duration(time)),
                Timeout::Default | Timeout::Disabled => None,
            },
            max_requests_per_connection: options.max_requests_per_connection.map(uint32),
            ..Default::default()
        }),
        http_protocol_options: Some(core::Http1ProtocolOptions {
            accept_http_10: true,
            allow_chunked_length: !options.disable_allow_chunked_length,
            ..Default::default()
        }),
        http2_protocol_options: options.http2_max_concurrent_streams.map(|streams| {
            core::Http2ProtocolOptions { max_concurrent_streams: Some(uint32(streams)), ..Default::default() }
        }),
        use_remote_address: Some(boolean(true)),
        xff_num_trusted_hops: options.trusted_hops,
        normalize_path: Some(boolean(true)),
        merge_slashes: !options.disable_merge_slashes,
        preserve_external_request_id: true,
        strip_trailing_host_dot: options.strip_trailing_host_dot,
        server_header_transformation: server_header(options.server_header).into(),
        request_timeout: timeout(timeouts.request),
        stream_idle_timeout: timeout(timeouts.stream_idle),
        drain_timeout: timeout(timeouts.shutdown_grace),
        delayed_close_timeout: timeout(timeouts.delayed_close),
        ..Default::default()
    }
}

/// The network filter of a packed connection manager.
/// A filter that does nothing but ask for a RouteConfiguration.
pub(crate) fn routes_only(stat_prefix: &str, routes: &str) -> listener::Filter {
    let rds = pb::Rds { config_source: Some(ads()), route_config_name: routes.to_owned() };
    let manager = pb::HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(pb::http_connection_manager::RouteSpecifier::Rds(rds)),
        http_filters: vec![router()],
        ..Default::default()
    };
    network_filter(any(&manager))
}

pub(crate) fn network_filter(manager: Any) -> listener::Filter {
    listener::Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(manager)),
    }
}

fn codec(versions: HttpVersions) -> CodecType {
    match versions {
        HttpVersions::Both => CodecType::Auto,
        HttpVersions::Http1 => CodecType::Http1,
        HttpVersions::Http2 => CodecType::Http2,
    }
}

fn server_header(policy: ServerHeader) -> ServerHeaderTransformation {
    match policy {
        ServerHeader::Overwrite => ServerHeaderTransformation::Overwrite,
        ServerHeader::AppendIfAbsent => ServerHeaderTransformation::AppendIfAbsent,
        ServerHeader::PassThrough => ServerHeaderTransformation::PassThrough,
    }
}

/// The HTTP filters, in order. CORS, local rate limits, RBAC, JWT, external authorization and global rate limits belong between
/// `grpc_stats` and the router, in this order.
fn filters(compression: Compression) -> Vec<pb::HttpFilter> {
    let grpc_stats = GrpcStats { emit_filter_state: true, enable_upstream_stats: true, ..Default::default() };
    let mut out: Vec<_> = compressor(compression).into_iter().collect();
    out.push(filter("envoy.filters.http.grpc_web", &GrpcWeb::default()));
    out.push(filter("envoy.filters.http.grpc_stats", &grpc_stats));
    out.push(router());
    out
}

/// The terminal HTTP filter.
pub(crate) fn router() -> pb::HttpFilter {
    filter("router", &Router::default())
}

fn compressor(compression: Compression) -> Option<pb::HttpFilter> {
    let library = match compression {
        Compression::Gzip => extension("gzip", &Gzip::default()),
        Compression::Brotli => extension("brotli", &Brotli::default()),
        Compression::Zstd => extension("zstd", &Zstd::default()),
        Compression::Disabled => return None,
    };
    let common = compressor::compressor::CommonDirectionConfig {
        content_type_matcher: vec![compressed()],
        ..Default::default()
    };
    let compressor = compressor::Compressor {
        compressor_library: Some(library),
        response_direction_config: Some(compressor::compressor::ResponseDirectionConfig {
            common_config: Some(common),
            ..Default::default()
        }),
        ..Default::default()
    };
    Some(filter("envoy.filters.http.compressor", &compressor))
}

fn compressed() -> StringMatcher {
    string_matcher(MatchPattern::SafeRegex(regex(COMPRESSED)), false)
}

fn filter<M: Message + Name>(name: &str, config: &M) -> pb::HttpFilter {
    pb::HttpFilter {
        name: name.to_owned(),
        config_type: Some(pb::http_filter::ConfigType::TypedConfig(any(config))),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::COMPRESSED;

    fn is_compressed(content_type: &str) -> bool {
        let whole = format!("^(?:{COMPRESSED})$");
        regex::Regex::new(&whole).expect("an expression").is_match(content_type)
    }

    #[rstest]
    #[case::text("text/ html plain css xml javascript x-javascript ecmascript js jscript x-js")]
    #[case::application("application/ javascript x-javascript ecmascript x-json json xml xhtml+xml")]
    #[case::grpc_web("application/ grpc-web grpc-web+proto grpc-web+json grpc-web+thrift")]
    #[case::grpc_web_text("application/ grpc-web-text grpc-web-text+proto grpc-web-text+thrift")]
    #[case::image("image/ svg+xml")]
    fn what_gains_is_compressed(#[case] types: &str) {
        let (class, types) = types.split_once(' ').expect("a class and its types");
        for subtype in types.split(' ') {
            assert!(is_compressed(&format!("{class}{subtype}")), "{class}{subtype}");
        }
    }

    #[rstest]
    #[case("image/png")]
    #[case("application/grpc")]
    #[case("application/octet-stream")]
    #[case("text/html; charset=utf-8")]
    #[case("text/htmlx")]
    fn all_else_is_not(#[case] content_type: &str) {
        assert!(!is_compressed(content_type));
    }
}

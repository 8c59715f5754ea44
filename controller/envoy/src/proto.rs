//! Small protobuf values used everywhere, and the messages whose maps must encode in one order.
//!
//! The generated types hold protobuf maps in `HashMap`s: a map of two entries would encode in another order in every process, and content
//! hashes would differ between replicas. Maps that can have more than one entry are written by the ordered messages below, which encode to
//! the same fields; [`append`] joins them to the generated message they belong to (concatenated encodings merge).

use std::collections::BTreeMap;
use std::time::Duration as StdDuration;

use contour_graph::limits::LONGEST_HEADER_VALUE;
use contour_graph::model::Timeout;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost::{Message, Name};

/// A message packed with its type URL.
pub(crate) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// A named extension with its configuration.
pub(crate) fn extension<M: Message + Name>(name: &str, message: &M) -> core::TypedExtensionConfig {
    core::TypedExtensionConfig { name: name.to_owned(), typed_config: Some(any(message)) }
}

/// `google.protobuf.UInt32Value`
pub(crate) fn uint32(value: u32) -> UInt32Value {
    UInt32Value { value }
}

/// `google.protobuf.BoolValue`
pub(crate) fn boolean(value: bool) -> BoolValue {
    BoolValue { value }
}

/// The longest duration sent. Envoy computes in 64-bit nanoseconds and refuses what does not fit (292 years).
const LONGEST: u64 = 9_000_000_000;

/// A positive duration. Envoy rounds down to milliseconds and takes zero for "never", so less than one millisecond becomes one.
pub(crate) fn duration(value: StdDuration) -> Duration {
    let value = value.clamp(StdDuration::from_millis(1), StdDuration::from_secs(LONGEST));
    Duration {
        seconds: i64::try_from(value.as_secs()).expect("clamped to LONGEST"),
        nanos: i32::try_from(value.subsec_nanos()).expect("less than a second of nanoseconds"),
    }
}

/// A timeout as Envoy's fields understand it: missing means its default, zero means none.
pub(crate) fn timeout(value: Timeout) -> Option<Duration> {
    match value {
        Timeout::Default => None,
        Timeout::Disabled => Some(Duration { seconds: 0, nanos: 0 }),
        Timeout::After(value) => Some(duration(value)),
    }
}

/// Whether Envoy takes this text where it asks for an HTTP header value (`well_known_regex: HTTP_HEADER_VALUE, strict: false`).
pub(crate) fn is_header_value(text: &str) -> bool {
    text.len() <= LONGEST_HEADER_VALUE && !text.contains(['\0', '\r', '\n'])
}

/// An RE2 expression over the whole input.
pub(crate) fn regex(expression: impl Into<String>) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: expression.into(), ..Default::default() }
}

/// A string condition.
pub(crate) fn string_matcher(
    pattern: matcher::string_matcher::MatchPattern,
    ignore_case: bool,
) -> matcher::StringMatcher {
    matcher::StringMatcher { ignore_case, match_pattern: Some(pattern) }
}

/// Text written into the configuration itself.
pub(crate) fn inline_text(text: impl Into<String>) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.into())),
        ..Default::default()
    }
}

/// Bytes written into the configuration itself.
pub(crate) fn inline_bytes(bytes: &[u8]) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineBytes(bytes.to_vec())),
        ..Default::default()
    }
}

/// The stream Envoy already has to us. Everything that is discovered comes over it, so that updates arrive in make-before-break order.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    }
}

/// A TCP address. `::` also accepts IPv4.
pub(crate) fn address(address: impl Into<String>, port: u16) -> core::Address {
    let address = address.into();
    let socket = core::SocketAddress {
        ipv4_compat: address == "::",
        address,
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

/// A TLS transport socket of this context.
pub(crate) fn tls_socket<M: Message + Name>(context: &M) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(context))),
    }
}

/// Writes an embedded message, already encoded, as field `tag`.
pub(crate) fn append(out: &mut Vec<u8>, tag: u32, message: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(message.len() as u64, out);
    out.extend_from_slice(message);
}

/// `google.protobuf.Struct`, ordered.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Struct {
    /// Values by name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) fields: BTreeMap<String, Value>,
}

/// `google.protobuf.Value` of an ordered [`Struct`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Value {
    /// The value.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub(crate) kind: Option<Kind>,
}

/// The kinds of [`Value`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Kind {
    /// `null`
    #[prost(int32, tag = "1")]
    Null(i32),
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// A string.
    #[prost(string, tag = "3")]
    Text(String),
    /// A boolean.
    #[prost(bool, tag = "4")]
    Bool(bool),
    /// An object.
    #[prost(message, tag = "5")]
    Struct(Struct),
    /// An array.
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.ListValue`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct List {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<Value>,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self { kind: Some(Kind::Text(text.to_owned())) }
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let kind = match json {
            Json::Null => Kind::Null(0),
            Json::Bool(value) => Kind::Bool(*value),
            Json::Number(value) => Kind::Number(value.as_f64().unwrap_or(f64::MAX)),
            Json::String(value) => Kind::Text(value.clone()),
            Json::Array(values) => Kind::List(List { values: values.iter().map(Self::from).collect() }),
            Json::Object(fields) => Kind::Struct(Struct {
                fields: fields.iter().map(|(name, value)| (name.clone(), Self::from(value))).collect(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

/// `envoy.config.core.v3.Metadata`, ordered.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    /// Values by filter name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) filter_metadata: BTreeMap<String, Struct>,
}

/// The map fields of `envoy.config.route.v3.Route`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RouteMaps {
    /// `metadata`
    #[prost(message, optional, tag = "4")]
    pub(crate) metadata: Option<Metadata>,
    /// `typed_per_filter_config`
    #[prost(btree_map = "string, message", tag = "13")]
    pub(crate) typed_per_filter_config: BTreeMap<String, Any>,
}

/// `envoy.service.runtime.v3.Runtime`, ordered.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Runtime {
    /// `name`
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// `layer`
    #[prost(message, optional, tag = "2")]
    pub(crate) layer: Option<Struct>,
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3 as route;
    use envoy_types::pb::envoy::service::runtime::v3 as runtime;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nanoseconds(StdDuration::from_nanos(1), 0, 1_000_000)]
    #[case::plain(StdDuration::from_millis(2500), 2, 500_000_000)]
    #[case::for_ever(StdDuration::MAX, 9_000_000_000, 0)]
    fn durations_stay_in_what_envoy_takes(
        #[case] value: StdDuration,
        #[case] seconds: i64,
        #[case] nanos: i32,
    ) {
        assert_eq!(duration(value), Duration { seconds, nanos });
    }

    #[test]
    fn zero_and_missing_timeouts_differ() {
        assert_eq!(timeout(Timeout::Default), None);
        assert_eq!(timeout(Timeout::Disabled), Some(Duration::default()));
    }

    #[test]
    fn ordered_messages_read_as_the_generated_ones() {
        let json = serde_json::json!({"b": 1, "a": [true, null, "x"], "c": {"d": 2.5}});
        let Some(Kind::Struct(layer)) = Value::from(&json).kind else { panic!("an object is a struct") };
        let bytes = Runtime { name: "dynamic".to_owned(), layer: Some(layer) }.encode_to_vec();
        let read = runtime::Runtime::decode(bytes.as_slice()).expect("the same fields");
        let fields = read.layer.expect("a layer").fields;
        assert_eq!(fields.len(), 3);
        assert_eq!(fields["a"].encode_to_vec(), Value::from(&json["a"]).encode_to_vec());

        let metadata = Metadata {
            filter_metadata: [(
                "f".to_owned(),
                Struct { fields: [("k".to_owned(), Value::from("v"))].into() },
            )]
            .into(),
        };
        let maps = RouteMaps {
            metadata: Some(metadata),
            typed_per_filter_config: [("filter".to_owned(), Any::default())].into(),
        };
        let mut bytes = route::Route { name: "r".to_owned(), ..Default::default() }.encode_to_vec();
        maps.encode(&mut bytes).expect("a Vec grows");
        let read = route::Route::decode(bytes.as_slice()).expect("concatenated encodings merge");
        assert_eq!(read.name, "r");
        assert_eq!(read.metadata.expect("metadata").filter_metadata["f"].fields.len(), 1);
        assert!(read.typed_per_filter_config.contains_key("filter"));
    }
}

//! The discovery messages as they travel.
//!
//! These are the messages of `envoy/service/discovery/v3/discovery.proto`, cut to the fields that are used. They are
//! written out here, rather than taken from `envoy-types`, for what a thousand streams of tens of thousands of resources cost:
//! a request that is read shares its bytes with the names and versions in it, and a response is made of pieces that all streams
//! share. That the bytes are the right ones is tested against `envoy-types`.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use contour_resource::{Resource, ResourceType};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;

use crate::message::{Asked, Mode, Request, Response, Text};
use crate::sources::for_own_streams;

/// `envoy.config.core.v3.Node`: who is asking.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

/// `google.rpc.Status`: why a response is refused.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ErrorDetail {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// `DiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DiscoveryRequest {
    #[prost(string, tag = "1")]
    pub(crate) version_info: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) node: Option<Node>,
    /// Texts.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(crate) resource_names: Vec<Bytes>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) response_nonce: String,
    #[prost(message, optional, tag = "6")]
    pub(crate) error_detail: Option<ErrorDetail>,
}

/// An entry of a `map<string, string>`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Entry {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// `DeltaDiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeltaDiscoveryRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) node: Option<Node>,
    #[prost(string, tag = "2")]
    pub(crate) type_url: String,
    /// Texts.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(crate) resource_names_subscribe: Vec<Bytes>,
    /// Texts.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub(crate) resource_names_unsubscribe: Vec<Bytes>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) initial_resource_versions: Vec<Entry>,
    #[prost(string, tag = "6")]
    pub(crate) response_nonce: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) error_detail: Option<ErrorDetail>,
}

/// A protocol: its request and response messages.
pub(crate) trait Protocol: Send + Sync + 'static {
    type Request: Message + Default + Send + 'static;
    const MODE: Mode;

    /// The type URL as it came, and the node where it was sent.
    fn envelope(request: &mut Self::Request) -> (String, Option<Node>);
    /// The request in the session's terms. An error if a name or version is not UTF-8.
    fn request(kind: ResourceType, request: Self::Request) -> Result<Request, Status>;
    /// The response as it travels, for a peer that has [streams of its own](for_own_streams) or not.
    fn response(response: &Response, own_streams: bool) -> Encoded;
}

/// Incremental xDS.
pub(crate) struct Delta;
/// State of the world.
pub(crate) struct Sotw;

fn error(detail: Option<ErrorDetail>) -> Option<String> {
    detail.map(|d| d.message)
}

fn text(bytes: Bytes) -> Result<Text, Status> {
    Text::new(bytes).ok_or_else(|| Status::invalid_argument("a name or version that is not UTF-8"))
}

fn texts(list: Vec<Bytes>) -> Result<Vec<Text>, Status> {
    list.into_iter().map(text).collect()
}

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    const MODE: Mode = Mode::Delta;

    fn envelope(request: &mut Self::Request) -> (String, Option<Node>) {
        (std::mem::take(&mut request.type_url), request.node.take())
    }

    fn request(kind: ResourceType, request: Self::Request) -> Result<Request, Status> {
        let initial = request.initial_resource_versions.into_iter();
        let initial = initial.map(|Entry { key, value }| Ok((text(key)?, text(value)?)));
        Ok(Request {
            kind,
            nonce: request.response_nonce,
            error: error(request.error_detail),
            asked: Asked::Delta {
                subscribe: texts(request.resource_names_subscribe)?,
                unsubscribe: texts(request.resource_names_unsubscribe)?,
                initial: initial.collect::<Result<_, Status>>()?,
            },
        })
    }

    /// `DeltaDiscoveryResponse`: `system_version_info` 1, `resources` 2, `type_url` 4, `nonce` 5, `removed_resources` 6.
    fn response(response: &Response, own_streams: bool) -> Encoded {
        let mut out = Encoded::default();
        out.text(1, &response.version);
        out.text(4, response.kind.url());
        out.text(5, &response.nonce);
        for name in &response.removed {
            out.text(6, name);
        }
        if own_streams {
            for resource in response.resources.iter() {
                out.delta_resource(response.kind, resource, for_own_streams(response.kind, resource.body()));
            }
            return out;
        }
        for shard in response.resources.shards() {
            out.piece(shard.wire(|| {
                let mut all = Encoded::default();
                shard
                    .iter()
                    .for_each(|resource| all.delta_resource(response.kind, resource, resource.body()));
                all.into_bytes()
            }));
        }
        let singles = response.resources.singles().iter();
        singles.for_each(|resource| out.delta_resource(response.kind, resource, resource.body()));
        out
    }
}

impl Protocol for Sotw {
    type Request = DiscoveryRequest;
    const MODE: Mode = Mode::Sotw;

    fn envelope(request: &mut Self::Request) -> (String, Option<Node>) {
        (std::mem::take(&mut request.type_url), request.node.take())
    }

    fn request(kind: ResourceType, request: Self::Request) -> Result<Request, Status> {
        Ok(Request {
            kind,
            nonce: request.response_nonce,
            error: error(request.error_detail),
            asked: Asked::Sotw { names: texts(request.resource_names)?, version: request.version_info },
        })
    }

    /// `DiscoveryResponse`: `version_info` 1, `resources` 2, `type_url` 4, `nonce` 5.
    fn response(response: &Response, own_streams: bool) -> Encoded {
        let mut out = Encoded::default();
        out.text(1, &response.version);
        out.text(4, response.kind.url());
        out.text(5, &response.nonce);
        for resource in response.resources.iter() {
            let body = resource.body();
            let body = if own_streams { for_own_streams(response.kind, body) } else { body };
            out.any(2, response.kind, body);
        }
        out
    }
}

/// What is shorter is copied, which costs less than a piece of its own.
const COPIED: usize = 4 * 1024;

/// An encoded message, in pieces: those that are large are shared with whoever else is sent them.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pieces: Vec<Bytes>,
    last: BytesMut,
    len: usize,
}

impl Encoded {
    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The pieces, in order.
    pub(crate) fn into_pieces(mut self) -> Vec<Bytes> {
        self.cut();
        self.pieces
    }

    #[cfg(test)]
    pub(crate) fn from_pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces: Vec<Bytes> = pieces.into_iter().collect();
        Self { len: pieces.iter().map(Bytes::len).sum(), pieces, last: BytesMut::new() }
    }

    /// All of it in one piece.
    fn into_bytes(self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len);
        self.into_pieces().iter().for_each(|piece| all.put_slice(piece));
        all.freeze()
    }

    fn cut(&mut self) {
        if !self.last.is_empty() {
            self.pieces.push(self.last.split().freeze());
        }
    }

    fn piece(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if bytes.len() <= COPIED {
            self.last.put_slice(&bytes);
        } else {
            self.cut();
            self.pieces.push(bytes);
        }
    }

    /// The head of a field with so many bytes.
    fn head(&mut self, tag: u32, len: usize) {
        self.len += head_len(tag, len);
        encode_key(tag, WireType::LengthDelimited, &mut self.last);
        encode_varint(len as u64, &mut self.last);
    }

    fn text(&mut self, tag: u32, text: &str) {
        self.head(tag, text.len());
        self.len += text.len();
        self.last.put_slice(text.as_bytes());
    }

    /// `google.protobuf.Any`: `type_url` 1, `value` 2.
    fn any(&mut self, tag: u32, kind: ResourceType, value: Bytes) {
        self.head(tag, any_len(kind, &value));
        self.text(1, kind.url());
        self.head(2, value.len());
        self.piece(value);
    }

    /// `Resource` of a delta response: `version` 1, `resource` 2, `name` 3.
    fn delta_resource(&mut self, kind: ResourceType, resource: &Arc<Resource>, value: Bytes) {
        let (version, name) = (resource.version_text(), resource.name());
        let any = any_len(kind, &value);
        let texts = text_len(1, &version) + text_len(3, name);
        self.head(2, texts + head_len(2, any) + any);
        self.text(1, &version);
        self.text(3, name);
        self.any(2, kind, value);
    }
}

fn head_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64)
}

fn text_len(tag: u32, text: &str) -> usize {
    head_len(tag, text.len()) + text.len()
}

fn any_len(kind: ResourceType, value: &Bytes) -> usize {
    text_len(1, kind.url()) + head_len(2, value.len()) + value.len()
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3 as envoy;

    use super::*;

    fn response() -> Response {
        Response {
            kind: ResourceType::Cluster,
            nonce: "7".to_owned(),
            version: "v".to_owned(),
            resources: vec![Arc::new(Resource::whole("a", "bytes")), Arc::new(Resource::whole("b", large()))]
                .into(),
            removed: vec!["c".into()],
        }
    }

    /// Too large to be copied.
    fn large() -> Vec<u8> {
        vec![7; COPIED + 1]
    }

    fn encoded(message: Encoded) -> Bytes {
        let len = message.len();
        let bytes = message.into_bytes();
        assert_eq!(bytes.len(), len);
        bytes
    }

    #[test]
    fn responses_are_what_envoy_reads() {
        let bytes = encoded(Delta::response(&response(), false));
        let delta = envoy::DeltaDiscoveryResponse::decode(bytes.clone()).unwrap();
        assert_eq!(delta.encoded_len(), bytes.len(), "no field is unknown to Envoy");
        assert_eq!((&*delta.nonce, &*delta.system_version_info), ("7", "v"));
        assert_eq!(delta.removed_resources, ["c"]);
        let resource = &delta.resources[0];
        assert_eq!((&*resource.name, resource.version.len()), ("a", 16));
        let any = resource.resource.as_ref().unwrap();
        assert_eq!((&*any.type_url, &*any.value), (ResourceType::Cluster.url(), b"bytes".as_slice()));

        assert_eq!(delta.resources[1].resource.as_ref().map(|any| any.value.len()), Some(COPIED + 1));

        let bytes = encoded(Sotw::response(&response(), false));
        let sotw = envoy::DiscoveryResponse::decode(bytes.clone()).unwrap();
        assert_eq!(sotw.encoded_len(), bytes.len(), "no field is unknown to Envoy");
        assert_eq!(
            (&*sotw.nonce, &*sotw.version_info, &*sotw.type_url),
            ("7", "v", ResourceType::Cluster.url())
        );
        assert_eq!(sotw.resources[0].value, b"bytes");
    }

    #[test]
    fn requests_are_read_as_envoy_writes_them() {
        let node =
            envoy_types::pb::envoy::config::core::v3::Node { id: "n".to_owned(), ..Default::default() };
        let status =
            envoy_types::pb::google::rpc::Status { code: 3, message: "no".to_owned(), details: vec![] };
        let delta = envoy::DeltaDiscoveryRequest {
            node: Some(node.clone()),
            type_url: "t".to_owned(),
            resource_names_subscribe: vec!["a".to_owned()],
            resource_names_unsubscribe: vec!["b".to_owned()],
            initial_resource_versions: [("c".to_owned(), "1".to_owned())].into(),
            response_nonce: "7".to_owned(),
            error_detail: Some(status.clone()),
            ..Default::default()
        };
        let mut read = DeltaDiscoveryRequest::decode(delta.encode_to_vec().as_slice()).unwrap();
        assert_eq!(Delta::envelope(&mut read), ("t".to_owned(), Some(Node { id: "n".to_owned() })));
        let request = Delta::request(ResourceType::Cluster, read).unwrap();
        assert_eq!((&*request.nonce, request.error.as_deref()), ("7", Some("no")));
        let Asked::Delta { subscribe, unsubscribe, initial } = request.asked else { panic!("not delta") };
        let text = |text: &str| Text::from(text.to_owned());
        assert_eq!((subscribe, unsubscribe), (vec![text("a")], vec![text("b")]));
        assert_eq!(initial, [(text("c"), text("1"))]);

        let sotw = envoy::DiscoveryRequest {
            version_info: "v".to_owned(),
            node: Some(node),
            resource_names: vec!["a".to_owned()],
            type_url: "t".to_owned(),
            response_nonce: "7".to_owned(),
            error_detail: Some(status),
            ..Default::default()
        };
        let mut read = DiscoveryRequest::decode(sotw.encode_to_vec().as_slice()).unwrap();
        assert_eq!(Sotw::envelope(&mut read), ("t".to_owned(), Some(Node { id: "n".to_owned() })));
        let request = Sotw::request(ResourceType::Cluster, read).unwrap();
        assert_eq!((&*request.nonce, request.error.as_deref()), ("7", Some("no")));
        let Asked::Sotw { names, version } = request.asked else { panic!("not SotW") };
        assert_eq!((names, &*version), (vec![text("a")], "v"));
    }
}

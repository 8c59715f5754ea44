//! The discovery messages as they travel, and the gRPC codec for them.
//!
//! These are the messages of `envoy/service/discovery/v3/discovery.proto`, cut to the fields that are used. They are
//! written out here, rather than taken from `envoy-types`, for one reason: there an `Any` owns its bytes, so that every
//! stream would copy every resource once more. Here it shares them. That the bytes are the right ones is tested against
//! `envoy-types`.

use std::collections::HashMap;
use std::marker::PhantomData;

use bytes::Bytes;
use contour_resource::ResourceType;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::message::{Asked, Mode, Request, Response};

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

/// `google.protobuf.Any`, sharing its bytes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// `DiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DiscoveryRequest {
    #[prost(string, tag = "1")]
    pub(crate) version_info: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) node: Option<Node>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) resource_names: Vec<String>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) response_nonce: String,
    #[prost(message, optional, tag = "6")]
    pub(crate) error_detail: Option<ErrorDetail>,
}

/// `DiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(crate) version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) resources: Vec<Any>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) nonce: String,
}

/// `DeltaDiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeltaDiscoveryRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) node: Option<Node>,
    #[prost(string, tag = "2")]
    pub(crate) type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) resource_names_subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) resource_names_unsubscribe: Vec<String>,
    #[prost(map = "string, string", tag = "5")]
    pub(crate) initial_resource_versions: HashMap<String, String>,
    #[prost(string, tag = "6")]
    pub(crate) response_nonce: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) error_detail: Option<ErrorDetail>,
}

/// `Resource` of a delta response.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeltaResource {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) resource: Option<Any>,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
}

/// `DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeltaDiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(crate) system_version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) resources: Vec<DeltaResource>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) nonce: String,
    #[prost(string, repeated, tag = "6")]
    pub(crate) removed_resources: Vec<String>,
}

/// A protocol: its request and response messages.
pub(crate) trait Protocol: Send + Sync + 'static {
    type Request: Message + Default + Send + 'static;
    type Response: Message + Send + 'static;
    const MODE: Mode;

    /// The type URL as it came, and the node where it was sent.
    fn envelope(request: &mut Self::Request) -> (String, Option<Node>);
    /// The request in the session's terms.
    fn request(kind: ResourceType, request: Self::Request) -> Request;
    /// The response as it travels.
    fn response(response: Response) -> Self::Response;
}

/// Incremental xDS.
pub(crate) struct Delta;
/// State of the world.
pub(crate) struct Sotw;

fn any(kind: ResourceType, value: Bytes) -> Any {
    Any { type_url: kind.url().to_owned(), value }
}

fn error(detail: Option<ErrorDetail>) -> Option<String> {
    detail.map(|d| d.message)
}

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const MODE: Mode = Mode::Delta;

    fn envelope(request: &mut Self::Request) -> (String, Option<Node>) {
        (std::mem::take(&mut request.type_url), request.node.take())
    }

    fn request(kind: ResourceType, request: Self::Request) -> Request {
        Request {
            kind,
            nonce: request.response_nonce,
            error: error(request.error_detail),
            asked: Asked::Delta {
                subscribe: request.resource_names_subscribe,
                unsubscribe: request.resource_names_unsubscribe,
                initial: request.initial_resource_versions,
            },
        }
    }

    fn response(response: Response) -> Self::Response {
        let kind = response.kind;
        let resources = response.resources.iter().map(|r| DeltaResource {
            version: r.version_text(),
            resource: Some(any(kind, r.body())),
            name: r.name().to_string(),
        });
        DeltaDiscoveryResponse {
            resources: resources.collect(),
            system_version_info: response.version,
            type_url: kind.url().to_owned(),
            nonce: response.nonce,
            removed_resources: response.removed.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Protocol for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const MODE: Mode = Mode::Sotw;

    fn envelope(request: &mut Self::Request) -> (String, Option<Node>) {
        (std::mem::take(&mut request.type_url), request.node.take())
    }

    fn request(kind: ResourceType, request: Self::Request) -> Request {
        Request {
            kind,
            nonce: request.response_nonce,
            error: error(request.error_detail),
            asked: Asked::Sotw { names: request.resource_names, version: request.version_info },
        }
    }

    fn response(response: Response) -> Self::Response {
        let kind = response.kind;
        DiscoveryResponse {
            version_info: response.version,
            resources: response.resources.iter().map(|r| any(kind, r.body())).collect(),
            type_url: kind.url().to_owned(),
            nonce: response.nonce,
        }
    }
}

/// The gRPC codec of a protocol.
pub(crate) struct DiscoveryCodec<P>(PhantomData<P>);

impl<P> Default for DiscoveryCodec<P> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<P: Protocol> Codec for DiscoveryCodec<P> {
    type Encode = P::Response;
    type Decode = P::Request;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<P: Protocol> Encoder for DiscoveryCodec<P> {
    type Item = P::Response;
    type Error = Status;

    fn encode(&mut self, item: P::Response, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<P: Protocol> Decoder for DiscoveryCodec<P> {
    type Item = P::Request;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<P::Request>, Status> {
        P::Request::decode(buffer).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use contour_resource::Resource;
    use envoy_types::pb::envoy::service::discovery::v3 as envoy;

    use super::*;

    fn response() -> Response {
        Response {
            kind: ResourceType::Cluster,
            nonce: "7".to_owned(),
            version: "v".to_owned(),
            resources: vec![Arc::new(Resource::whole("a", "bytes"))],
            removed: vec!["b".into()],
        }
    }

    #[test]
    fn responses_are_what_envoy_reads() {
        let bytes = Delta::response(response()).encode_to_vec();
        let delta = envoy::DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(delta.encode_to_vec(), bytes, "no field is unknown to Envoy");
        assert_eq!((&*delta.nonce, &*delta.system_version_info), ("7", "v"));
        assert_eq!(delta.removed_resources, ["b"]);
        let resource = &delta.resources[0];
        assert_eq!((&*resource.name, resource.version.len()), ("a", 16));
        let any = resource.resource.as_ref().unwrap();
        assert_eq!((&*any.type_url, &*any.value), (ResourceType::Cluster.url(), b"bytes".as_slice()));

        let bytes = Sotw::response(response()).encode_to_vec();
        let sotw = envoy::DiscoveryResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(sotw.encode_to_vec(), bytes, "no field is unknown to Envoy");
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
        let request = Delta::request(ResourceType::Cluster, read);
        assert_eq!((&*request.nonce, request.error.as_deref()), ("7", Some("no")));
        let Asked::Delta { subscribe, unsubscribe, initial } = request.asked else { panic!("not delta") };
        assert_eq!((subscribe, unsubscribe), (vec!["a".to_owned()], vec!["b".to_owned()]));
        assert_eq!(initial["c"], "1");

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
        let request = Sotw::request(ResourceType::Cluster, read);
        assert_eq!((&*request.nonce, request.error.as_deref()), ("7", Some("no")));
        let Asked::Sotw { names, version } = request.asked else { panic!("not SotW") };
        assert_eq!((names, &*version), (vec!["a".to_owned()], "v"));
    }
}

//! The answer to one request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use sha1::Digest as _;

use super::{Received, ReceivedTls, State, tcp};

/// The most that a request may send.
const MOST_BYTES: usize = 8 << 20;

/// The longest delay that a request may ask for.
const LONGEST_DELAY: Duration = Duration::from_mins(1);

type Body = BoxBody<Bytes, Infallible>;

/// The `sec-websocket-key` that this crate's client sends: the example of RFC 6455, section 1.3.
pub(crate) const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The `sec-websocket-accept` that answers a `sec-websocket-key` (RFC 6455, section 4.2.2).
pub(crate) fn websocket_accept(key: &str) -> String {
    let digest = sha1::Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(digest.finalize())
}

pub(super) async fn answer(
    state: Arc<State>,
    tls: Option<ReceivedTls>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    state.requests.fetch_add(1, Ordering::Relaxed);
    if request.headers().get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
    {
        return Ok(upgrade(&mut request));
    }
    let wanted = match Wanted::of(&request) {
        Ok(wanted) => wanted,
        Err(reason) => return Ok(plain(StatusCode::BAD_REQUEST, reason)),
    };
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MOST_BYTES).collect().await else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {MOST_BYTES} bytes, or cut off")));
    };
    let body = body.to_bytes();
    tokio::time::sleep(wanted.delay).await;
    if head.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        return Ok(grpc(body));
    }
    let received = Received {
        service: state.service.clone(),
        instance: state.instance.clone(),
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        host: host(&head.uri, &head.headers),
        protocol: if head.version == Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" }.to_owned(),
        headers: joined(&head.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
        tls,
    };
    let forced = StatusCode::from_u16(state.forced_status.load(Ordering::Relaxed)).ok();
    let json = serde_json::to_vec(&received).expect("strings and maps of strings always have a JSON form");
    let mut response = Response::new(full(json));
    *response.status_mut() = forced.unwrap_or(wanted.status);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().extend(wanted.headers);
    Ok(response)
}

/// What a request asks the echo for.
struct Wanted {
    status: StatusCode,
    delay: Duration,
    headers: HeaderMap,
}

impl Wanted {
    fn of(request: &Request<Incoming>) -> Result<Self, String> {
        let asked = |word: &str| {
            let header =
                request.headers().get(format!("x-echo-{word}")).and_then(|value| value.to_str().ok());
            let path = request.uri().path();
            header.or_else(|| path.strip_prefix('/')?.strip_prefix(word)?.strip_prefix('/'))
        };
        let status = match asked("status") {
            None => StatusCode::OK,
            Some(text) => text.parse().map_err(|_| format!("not a status: {text}"))?,
        };
        let delay = match asked("delay").map(str::parse) {
            None => Duration::ZERO,
            Some(Ok(milliseconds)) => Duration::from_millis(milliseconds).min(LONGEST_DELAY),
            Some(Err(_)) => return Err("the delay is a number of milliseconds".to_owned()),
        };
        let mut headers = HeaderMap::new();
        for line in request.headers().get_all("x-echo-header") {
            let pair = line.to_str().ok().and_then(|line| line.split_once(':'));
            let parsed = pair.and_then(|(name, value)| {
                Some((name.trim().parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
            });
            let (name, value) = parsed.ok_or_else(|| format!("not a `name: value`: {line:?}"))?;
            headers.append(name, value);
        }
        Ok(Self { status, delay, headers })
    }
}

fn host(uri: &hyper::Uri, headers: &HeaderMap) -> String {
    let authority = uri.authority().map(ToString::to_string);
    let header = || {
        headers.get(hyper::header::HOST).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    authority.or_else(header).unwrap_or_default()
}

fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut joined = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        joined
            .entry(name.to_string())
            .and_modify(|before| {
                before.push_str(", ");
                before.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    joined
}

/// Accepts a WebSocket handshake; then every byte comes back. Frames are not looked at.
fn upgrade(request: &mut Request<Incoming>) -> Response<Body> {
    let key = request.headers().get("sec-websocket-key").and_then(|key| key.to_str().ok());
    let Some(accept) = key.map(websocket_accept) else {
        return plain(
            StatusCode::BAD_REQUEST,
            "an upgrade to websocket without sec-websocket-key".to_owned(),
        );
    };
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(stream) = upgraded.await {
            let _ = tcp::repeat(TokioIo::new(stream), b"").await;
        }
    });
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, String::new());
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept.parse().expect("base64 is a valid header value"));
    response
}

/// A unary gRPC answer that sends the request's message back.
fn grpc(message: Bytes) -> Response<Body> {
    let trailers =
        HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let frames = [Ok(Frame::data(message)), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(stream::iter(frames)).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}

fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_that_of_the_rfc() {
        assert_eq!(websocket_accept(WEBSOCKET_KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

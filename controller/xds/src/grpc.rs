//! gRPC's framing of a stream of messages in an HTTP/2 body.
//!
//! Done here rather than by `tonic`, whose codec copies each response into a buffer of its stream and keeps for each stream a
//! buffer as large as its largest request: with a thousand Envoys that is most of the memory and much of the time.
//! Source: "gRPC over HTTP2", <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::sync::{Notify, mpsc};
use tonic::Status;
use tonic::codegen::http::HeaderMap;

use crate::wire::Encoded;

/// A flag for compression, and the length.
const HEAD: usize = 5;
/// The most that is given to the connection at once, so that what a slow reader has not taken is known.
const SLICE: usize = 64 * 1024;

/// The messages that a peer sends.
pub(crate) struct Requests<B> {
    body: Pin<Box<B>>,
    buffer: BytesMut,
    most: usize,
}

impl<B: Body<Data = Bytes>> Requests<B>
where
    B::Error: std::fmt::Display,
{
    /// Messages of at most so many bytes.
    pub(crate) fn new(body: B, most: usize) -> Self {
        Self { body: Box::pin(body), buffer: BytesMut::new(), most }
    }

    /// Waits for the head of the next message. Returns its length in bytes, or `None` at the end. Nothing is lost if the wait is given up.
    pub(crate) async fn announced(&mut self) -> Result<Option<usize>, Status> {
        if !self.fill(HEAD).await? {
            return if self.buffer.is_empty() { Ok(None) } else { Err(cut_off()) };
        }
        if self.buffer[0] != 0 {
            return Err(Status::unimplemented("compressed messages are not read"));
        }
        let len = (&self.buffer[1..HEAD]).get_u32() as usize;
        if len > self.most {
            let most = self.most;
            return Err(Status::resource_exhausted(format!(
                "a message of {len} bytes; at most {most} are read"
            )));
        }
        Ok(Some(len))
    }

    /// Waits for the next message. Nothing is lost if the wait is given up.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(len) = self.announced().await? else { return Ok(None) };
        if !self.fill(HEAD + len).await? {
            return Err(cut_off());
        }
        let mut message = std::mem::take(&mut self.buffer);
        // The rest does not keep the memory of the message.
        self.buffer.put_slice(&message[HEAD + len..]);
        message.truncate(HEAD + len);
        message.advance(HEAD);
        Ok(Some(message.freeze()))
    }

    /// Waits until so many bytes are there. Returns false if the body ends before.
    async fn fill(&mut self, len: usize) -> Result<bool, Status> {
        while self.buffer.len() < len {
            let frame = std::future::poll_fn(|cx| self.body.as_mut().poll_frame(cx)).await;
            match frame {
                None => return Ok(false),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.put_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(Status::unavailable(error.to_string())),
            }
        }
        Ok(true)
    }
}

fn cut_off() -> Status {
    Status::data_loss("the stream ended within a message")
}

/// How many responses the connection has not yet taken, in whole or in part.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    outstanding: AtomicUsize,
    taken: Notify,
}

impl Delivery {
    /// Whether the connection has taken everything.
    pub(crate) fn is_complete(&self) -> bool {
        self.outstanding.load(Ordering::Acquire) == 0
    }

    /// Waits until the connection has taken everything.
    pub(crate) async fn completed(&self) {
        loop {
            let taken = self.taken.notified();
            if self.is_complete() {
                return;
            }
            taken.await;
        }
    }
}

/// Where responses are put.
#[derive(Clone)]
pub(crate) struct Outbound {
    /// A channel has room for 32 of these, whatever waits in it.
    sender: mpsc::Sender<Result<Box<Encoded>, Status>>,
    delivery: Arc<Delivery>,
}

impl Outbound {
    /// Waits for room and puts a response there. Returns false if the connection is gone.
    pub(crate) async fn send(&self, response: Encoded) -> bool {
        self.delivery.outstanding.fetch_add(1, Ordering::AcqRel);
        self.sender.send(Ok(Box::new(response))).await.is_ok()
    }

    /// Ends the stream with a status, if there is room to say so.
    pub(crate) fn end(&self, status: Status) {
        // The peer may be gone, or slow; the end of the channel says the same.
        let _ = self.sender.try_send(Err(status));
    }

    /// Waits until the connection is gone.
    pub(crate) async fn closed(&self) {
        self.sender.closed().await;
    }

    pub(crate) fn delivery(&self) -> &Arc<Delivery> {
        &self.delivery
    }
}

/// The body of a response: messages, and a status at the end.
pub(crate) struct Responses {
    inbound: mpsc::Receiver<Result<Box<Encoded>, Status>>,
    delivery: Arc<Delivery>,
    current: VecDeque<Bytes>,
    ended: bool,
}

/// A body, and where its messages are put; at most so many wait.
pub(crate) fn channel(most: usize) -> (Outbound, Responses) {
    let (sender, inbound) = mpsc::channel(most);
    let delivery = Arc::<Delivery>::default();
    let outbound = Outbound { sender, delivery: Arc::clone(&delivery) };
    (outbound, Responses { inbound, delivery, current: VecDeque::new(), ended: false })
}

impl Responses {
    /// The next piece of the message under way.
    fn next_slice(&mut self) -> Option<Bytes> {
        let piece = self.current.front_mut()?;
        let slice = piece.split_to(piece.len().min(SLICE));
        if piece.is_empty() {
            self.current.pop_front();
        }
        if self.current.is_empty() {
            self.current = VecDeque::new();
            self.delivery.outstanding.fetch_sub(1, Ordering::AcqRel);
            self.delivery.taken.notify_waiters();
        }
        Some(slice)
    }
}

impl Body for Responses {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.current.is_empty() {
            let end = match std::task::ready!(self.inbound.poll_recv(cx)) {
                Some(Ok(message)) => {
                    self.current = framed(*message);
                    None
                }
                Some(Err(status)) => Some(status),
                None => Some(Status::ok("")),
            };
            if let Some(status) = end {
                self.ended = true;
                let mut trailers = HeaderMap::new();
                return Poll::Ready(Some(
                    status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)),
                ));
            }
        }
        Poll::Ready(self.next_slice().map(|slice| Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// The pieces of a message with its head in front.
fn framed(message: Encoded) -> VecDeque<Bytes> {
    let len = message.len();
    let mut pieces = VecDeque::from(message.into_pieces());
    let mut head = BytesMut::with_capacity(HEAD + pieces.front().map_or(0, Bytes::len));
    head.put_u8(0);
    head.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    if let Some(first) = pieces.front_mut().filter(|first| first.len() <= SLICE) {
        head.put_slice(first);
        *first = head.freeze();
    } else {
        pieces.push_front(head.freeze());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    fn frames(bytes: &[u8], size: usize) -> Requests<impl Body<Data = Bytes, Error = Status>> {
        let frames: Vec<_> =
            bytes.chunks(size).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
        Requests::new(StreamBody::new(tokio_stream::iter(frames)), 100)
    }

    #[tokio::test]
    async fn messages_are_found_however_they_are_cut() {
        let bytes = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 1], b"d"].concat();
        for size in 1..=bytes.len() {
            let mut requests = frames(&bytes, size);
            for expected in [&b"abc"[..], b"", b"d"] {
                assert_eq!(requests.message().await.unwrap().unwrap(), expected, "in pieces of {size}");
            }
            assert!(requests.message().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error() {
        for (bytes, code) in [
            (&[1, 0, 0, 0, 0][..], tonic::Code::Unimplemented),
            (&[0, 0, 0, 0, 101], tonic::Code::ResourceExhausted),
            (&[0, 0, 0, 0, 2, 7], tonic::Code::DataLoss),
            (&[0, 0], tonic::Code::DataLoss),
        ] {
            assert_eq!(frames(bytes, 1).message().await.unwrap_err().code(), code, "{bytes:?}");
        }
        let mut none = Requests::new(Full::new(Bytes::new()), 100);
        assert!(none.message().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn responses_are_framed_and_their_delivery_is_known() {
        let (outbound, mut responses) = channel(4);
        let large = Encoded::from_pieces([Bytes::from(vec![7; 3 * SLICE])]);
        assert!(outbound.send(Encoded::from_pieces([Bytes::from_static(b"abc")])).await);
        assert!(outbound.send(large).await);
        outbound.end(Status::unavailable("gone"));
        let first = responses.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, [&[0, 0, 0, 0, 3][..], b"abc"].concat());
        assert!(!outbound.delivery().is_complete());
        let mut len = 0;
        while let Ok(data) = responses.frame().await.unwrap().unwrap().into_data() {
            assert!(data.len() <= SLICE);
            len += data.len();
        }
        assert_eq!(len, HEAD + 3 * SLICE);
        outbound.delivery().completed().await;
        assert!(responses.frame().await.is_none());
    }
}

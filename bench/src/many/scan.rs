//! Reads delta responses off a stream without decoding, or even keeping, the resources in them.
//!
//! A thousand played Envoys share the processors with the server that is measured. All they need of a response is its type, its nonce and how
//! many resources it has: the top-level fields of its message. The rest is skipped where it lies in the connection's buffers.

/// Field numbers of `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
mod field {
    pub(super) const RESOURCES: u64 = 2;
    pub(super) const TYPE_URL: u64 = 4;
    pub(super) const NONCE: u64 = 5;
    pub(super) const REMOVED: u64 = 6;
}

/// What is worth knowing of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The type of its resources.
    pub type_url: String,
    /// What an answer refers to it by.
    pub nonce: String,
    /// How many resources it has.
    pub resources: u32,
    /// How many names it takes back.
    pub removed: u32,
    /// Its size.
    pub bytes: u64,
}

/// Where in a message the scanner is.
#[derive(Debug)]
enum At {
    /// In the tag of a field; bits so far.
    Tag(Number),
    /// In a number that is of no interest.
    Value,
    /// In the length of a field.
    Length(u64, Number),
    /// In a field whose bytes are of no interest; how many are left.
    Skipped(u64),
    /// In the text of a field; how many bytes are left.
    Text(u64, u64),
}

/// A varint that has not ended.
#[derive(Debug, Default)]
struct Number {
    value: u64,
    shift: u32,
}

impl Number {
    /// Takes in a byte. The number, once it has ended.
    fn push(&mut self, byte: u8) -> Option<u64> {
        self.value |= u64::from(byte & 0x7f).checked_shl(self.shift).unwrap_or_default();
        self.shift += 7;
        (byte < 0x80).then_some(self.value)
    }
}

/// Reads one message, in whatever pieces it comes.
#[derive(Debug)]
struct Scanner {
    at: At,
    summary: Summary,
    texts: [Vec<u8>; 2],
}

impl Default for Scanner {
    fn default() -> Self {
        Self { at: At::Tag(Number::default()), summary: Summary::default(), texts: [const { Vec::new() }; 2] }
    }
}

impl Scanner {
    fn push(&mut self, mut bytes: &[u8]) {
        while let Some(&byte) = bytes.first() {
            let taken = match &mut self.at {
                At::Tag(tag) => {
                    if let Some(tag) = tag.push(byte) {
                        self.begin(tag);
                    }
                    1
                }
                At::Value => {
                    if byte < 0x80 {
                        self.next();
                    }
                    1
                }
                At::Length(field, length) => {
                    let field = *field;
                    if let Some(length) = length.push(byte) {
                        self.at = match field {
                            field::TYPE_URL | field::NONCE => At::Text(field, length),
                            _ => At::Skipped(length),
                        };
                        self.end_if(length == 0);
                    }
                    1
                }
                At::Skipped(left) => {
                    let taken = (*left).min(bytes.len() as u64);
                    *left -= taken;
                    let ended = *left == 0;
                    self.end_if(ended);
                    usize::try_from(taken).unwrap_or(bytes.len())
                }
                At::Text(field, left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= taken as u64;
                    let (ended, which) = (*left == 0, usize::from(*field == field::NONCE));
                    self.texts[which].extend_from_slice(&bytes[..taken]);
                    self.end_if(ended);
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
    }

    fn begin(&mut self, tag: u64) {
        let field = tag >> 3;
        match field {
            field::RESOURCES => self.summary.resources += 1,
            field::REMOVED => self.summary.removed += 1,
            _ => {}
        }
        self.at = match tag & 7 {
            0 => At::Value,
            1 => At::Skipped(8),
            5 => At::Skipped(4),
            _ => At::Length(field, Number::default()),
        };
    }

    fn end_if(&mut self, ended: bool) {
        if ended {
            self.next();
        }
    }

    fn next(&mut self) {
        self.at = At::Tag(Number::default());
    }

    fn finish(self) -> Summary {
        let [type_url, nonce] = self.texts.map(|text| String::from_utf8_lossy(&text).into_owned());
        Summary { type_url, nonce, ..self.summary }
    }
}

/// Bytes before each gRPC message: whether it is compressed, and its length.
const HEADER: usize = 5;

/// Takes the gRPC messages out of a stream of bytes.
#[derive(Debug, Default)]
pub struct Messages {
    header: Vec<u8>,
    left: usize,
    size: usize,
    scanner: Scanner,
    kept: Option<Vec<u8>>,
}

impl Messages {
    /// Takes in bytes up to the end of a message, and takes them off `bytes`. Returns the message's summary and, where it has at most `keep`
    /// bytes, the message itself.
    pub fn next(&mut self, bytes: &mut &[u8], keep: usize) -> Option<(Summary, Option<Vec<u8>>)> {
        if self.header.len() < HEADER {
            let missing = (HEADER - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..missing]);
            *bytes = &bytes[missing..];
            if self.header.len() < HEADER {
                return None;
            }
            let length = [self.header[1], self.header[2], self.header[3], self.header[4]];
            self.size = u32::from_be_bytes(length) as usize;
            self.left = self.size;
            self.kept = (self.size <= keep).then(|| Vec::with_capacity(self.size));
        }
        let piece = &bytes[..self.left.min(bytes.len())];
        *bytes = &bytes[piece.len()..];
        self.left -= piece.len();
        self.scanner.push(piece);
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(piece);
        }
        if self.left > 0 {
            return None;
        }
        self.header.clear();
        let mut summary = std::mem::take(&mut self.scanner).finish();
        summary.bytes = self.size as u64;
        Some((summary, self.kept.take()))
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
    use envoy_types::pb::google::protobuf::Any;
    use prost::Message;

    use super::*;

    fn response(resources: u32, removed: u32) -> DeltaDiscoveryResponse {
        let resource = |i: u32| Resource {
            name: format!("name-{i}"),
            version: "v".repeat(i as usize),
            resource: Some(Any { type_url: "t".to_owned(), value: vec![0x22; 300 * i as usize] }),
            ..Resource::default()
        };
        DeltaDiscoveryResponse {
            system_version_info: "version".to_owned(),
            resources: (0..resources).map(resource).collect(),
            type_url: "type.googleapis.com/x".to_owned(),
            nonce: format!("nonce-{resources}"),
            removed_resources: (0..removed).map(|i| format!("gone-{i}")).collect(),
            ..DeltaDiscoveryResponse::default()
        }
    }

    #[test]
    fn messages_are_summed_up_whatever_pieces_they_come_in() {
        let sent = [response(0, 0), response(3, 1), response(1, 0), response(0, 2)];
        let bytes = sent.iter().map(crate::many::requests::framed).collect::<Vec<_>>().concat();
        for piece in [1, 2, 7, 100, bytes.len()] {
            let (mut messages, mut read) = (Messages::default(), Vec::new());
            for mut piece in bytes.chunks(piece) {
                while !piece.is_empty() {
                    read.extend(messages.next(&mut piece, 500));
                }
            }
            assert_eq!(read.len(), sent.len(), "in pieces of {piece}");
            for ((summary, kept), sent) in read.into_iter().zip(&sent) {
                let expected = Summary {
                    type_url: sent.type_url.clone(),
                    nonce: sent.nonce.clone(),
                    resources: u32::try_from(sent.resources.len()).unwrap(),
                    removed: u32::try_from(sent.removed_resources.len()).unwrap(),
                    bytes: sent.encoded_len() as u64,
                };
                assert_eq!(summary, expected);
                let whole = (sent.encoded_len() <= 500).then(|| sent.encode_to_vec());
                assert_eq!(kept, whole);
            }
        }
    }
}

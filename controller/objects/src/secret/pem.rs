//! Blocks of PEM, read as Envoy's TLS library reads them and written anew, so that nothing but a block ever travels.
//!
//! Errors tell places and types, never content: what stands in a file of a Secret may be a key that is not where it should be.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding as written by everybody; the last character's spare bits are of no interest.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// What begins a block.
const BEGIN: &[u8] = b"-----BEGIN";

/// A block of a PEM file.
pub(super) struct Block {
    /// Between `BEGIN` and the dashes. Text of the user: shown by [`shown`] only.
    pub(super) label: Vec<u8>,
    /// What is encoded in it; for an encrypted one, what is there.
    pub(super) der: Vec<u8>,
    /// Whether a header says that it is encrypted.
    pub(super) encrypted: bool,
}

/// All blocks of a file. What stands around them is of no interest, as long as it does not look like a block.
pub(super) fn blocks(text: &[u8]) -> Result<Vec<Block>, String> {
    let mut found = Vec::new();
    let mut lines = text.split(|&byte| byte == b'\n').map(trimmed);
    while let Some(line) = lines.next() {
        let Some(label) = label(line, b"-----BEGIN ") else {
            if line.windows(BEGIN.len()).any(|part| part == BEGIN) {
                return Err("has a line with -----BEGIN that begins no block: are line ends missing, indented or written as \\n?".to_owned());
            }
            continue;
        };
        let mut body = Vec::new();
        loop {
            let line = lines.next().ok_or_else(|| format!("has {} that does not end", shown(label)))?;
            if line.starts_with(b"-----END") {
                if self::label(line, b"-----END ") != Some(label) {
                    return Err(format!("has {} that ends as something else", shown(label)));
                }
                break;
            }
            body.push(line);
        }
        found.push(block(label, &body)?);
    }
    Ok(found)
}

fn block(label: &[u8], body: &[&[u8]]) -> Result<Block, String> {
    let encrypted = body.iter().any(|line| line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED"));
    let mut block = Block { label: label.to_vec(), der: Vec::new(), encrypted };
    if encrypted {
        return Ok(block);
    }
    let text: Vec<u8> = body.concat().into_iter().filter(|&byte| byte > b' ').collect();
    block.der = BASE64.decode(text).map_err(|_| format!("has {} that is not valid base64", shown(label)))?;
    Ok(block)
}

/// The label of a line that begins or ends a block.
fn label<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(start)?.strip_suffix(b"-----")
}

/// A line without what is white at its end, `\r` included.
fn trimmed(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&byte| byte > b' ').map_or(0, |last| last + 1);
    &line[..end]
}

/// A block by its type, or without it where it could be something else than a type: capitals and digits in short words are not a key.
pub(super) fn shown(label: &[u8]) -> String {
    let word =
        |word: &[u8]| word.len() <= 12 && word.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    match std::str::from_utf8(label) {
        Ok(text) if !text.is_empty() && label.len() <= 40 && label.split(|&b| b == b' ').all(word) => {
            format!("a block of type {text}")
        }
        _ => "a block of an unknown type".to_owned(),
    }
}

/// Writes a block.
pub(super) fn write(label: &str, der: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    let text = BASE64.encode(der);
    for line in text.as_bytes().chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
}

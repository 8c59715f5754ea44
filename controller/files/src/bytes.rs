//! Bytes as text, as the Kubernetes API writes them: base64.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;

/// Takes what the API server takes: bits of the last character that belong to no byte are ignored.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The same bytes as base64 in one line. As the API server does it, line ends are ignored wherever they are, and nothing else is. The
/// error says what is wrong and never quotes the text.
pub(crate) fn canonical(text: &str) -> Result<String, &'static str> {
    let line: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match LENIENT.decode(&line) {
        Ok(bytes) => Ok(BASE64_STANDARD.encode(bytes)),
        Err(_) if line.contains([' ', '\t']) => {
            Err("must be base64, and this has blanks in it, as a folded text (`>`) has: begin it with `|`")
        }
        Err(_) => Err("must be base64; plain text goes into stringData"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_what_the_decoder_of_the_api_server_takes() {
        // Go: base64.StdEncoding.DecodeString of each.
        for (text, expected) in [
            ("", Some("")),
            ("YQ==", Some("YQ==")),
            ("YWJj\nZGVm\n", Some("YWJjZGVm")),
            ("YWJj\r\nZGVm\r\n", Some("YWJjZGVm")),
            ("\n\nYW\nJj", Some("YWJj")),
            ("YQ=\n=\n", Some("YQ==")),
            ("YR==", Some("YQ==")),
            ("\n", Some("")),
            ("YQ", None),
            ("YQ=", None),
            ("YQ===", None),
            ("YQ==YQ==", None),
            ("YWJj ZGVm", None),
            ("YWJj\tZGVm", None),
            (" YWJj", None),
            ("YW-_", None),
            ("YWJj\u{b}", None),
            ("YWJj\u{2028}", None),
            ("hello, world", None),
        ] {
            assert_eq!(canonical(text).ok().as_deref(), expected, "{text:?}");
        }
    }
}

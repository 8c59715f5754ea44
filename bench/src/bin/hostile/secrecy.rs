//! Whether a text shows a part of a secret.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// So many bytes of a secret in a row are too many.
const WINDOW: usize = 16;

/// Whether 16 bytes of a secret are in a text: as they are, as the numbers of a list, or in base64, as Envoy tells bytes.
///
/// A key holds the public key, too, which its certificate (`public`) may show.
pub(crate) fn shows(text: &str, secret: &str, public: &str) -> bool {
    let lines = secret.lines().filter(|line| !line.starts_with("-----"));
    let mut windows: HashSet<&[u8]> = lines.flat_map(|line| line.as_bytes().windows(WINDOW)).collect();
    for window in public.as_bytes().windows(WINDOW) {
        windows.remove(window);
    }
    // Most bytes of a large text begin none of them, which a table tells quicker than a hash.
    let pair = |window: &[u8]| usize::from(window[0]) << 8 | usize::from(window[1]);
    let mut begins = vec![false; 1 << 16];
    for window in &windows {
        begins[pair(window)] = true;
    }
    let found =
        |bytes: &[u8]| bytes.windows(WINDOW).any(|window| begins[pair(window)] && windows.contains(window));
    found(text.as_bytes()) || found(&spelled(text)) || encoded(text).any(|bytes| found(&bytes))
}

/// The bytes that decimal numbers in a row spell, as `Debug` prints bytes.
fn spelled(text: &str) -> Vec<u8> {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().unwrap_or_default()).collect()
}

/// What the words of a text are as base64, where they are long enough to hold anything.
fn encoded(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '/');
    let words = words.filter(|word| word.len() > WINDOW);
    words.filter_map(|word| STANDARD_NO_PAD.decode(&word.as_bytes()[..word.len() / 4 * 4]).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----\n";

    #[test]
    fn sixteen_bytes_are_found_in_whatever_form() {
        assert!(shows("error near MIGHAgEAMBMGByqG!", SECRET, ""));
        assert!(shows(&format!("{:?}", &SECRET.as_bytes()[30..60]), SECRET, ""));
        assert!(shows(&format!("{{\"inline_bytes\":\"{}=\"}}", STANDARD_NO_PAD.encode(SECRET)), SECRET, ""));
        assert!(!shows("error near MIGHAgEAMBMGByq", SECRET, ""), "fifteen are none");
        assert!(!shows("MIGHAgEAMBMGByqG", SECRET, "xMIGHAgEAMBMGByqGx"), "the certificate has it");
        assert!(!shows("-----BEGIN PRIVATE KEY-----", SECRET, ""), "what every key has is no secret");
    }
}

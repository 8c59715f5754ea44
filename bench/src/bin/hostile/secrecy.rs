//! Whether a text shows a part of a secret.

use std::collections::HashSet;

/// So many bytes of a secret in a row are too many.
const WINDOW: usize = 16;

/// Whether 16 bytes of a secret are in a text: as they are, or as the numbers of a list.
pub(crate) fn shows(text: &str, secret: &str) -> bool {
    let lines = secret.lines().filter(|line| !line.starts_with("-----"));
    let windows: HashSet<&[u8]> = lines.flat_map(|line| line.as_bytes().windows(WINDOW)).collect();
    let found = |bytes: &[u8]| bytes.windows(WINDOW).any(|window| windows.contains(window));
    found(text.as_bytes()) || found(&spelled(text))
}

/// The bytes that decimal numbers in a row spell, as `Debug` prints bytes.
fn spelled(text: &str) -> Vec<u8> {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----\n";

    #[test]
    fn sixteen_bytes_are_found_in_whatever_form() {
        assert!(shows("error near MIGHAgEAMBMGByqG!", SECRET));
        assert!(shows(&format!("{:?}", &SECRET.as_bytes()[30..60]), SECRET));
        assert!(!shows("error near MIGHAgEAMBMGByq", SECRET), "fifteen are none");
        assert!(!shows("-----BEGIN PRIVATE KEY-----", SECRET), "what every key has is no secret");
    }
}

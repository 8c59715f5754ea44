//! Texts of others, such as a parser's error, that may quote what stands in a file with Secrets.

/// Shortest run of characters that is hidden for its length alone: nothing that is written to be read has it, each line of a key does.
const LONG: usize = 40;
/// Shortest run that is hidden if it has what words lack.
const SUSPECT: usize = 16;

/// The text without what could be a key: runs of base64 or hexadecimal, and lists of decimal octets.
pub fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = rest.find(|c: char| !is_base64(c)).unwrap_or(rest.len());
        let octets =
            rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, ',' | ' '))).unwrap_or(rest.len());
        if octets > SUSPECT && rest[..octets].matches(',').count() > 3 {
            out.push('…');
            rest = &rest[octets..];
        } else if run > 0 {
            out.push_str(if is_key_like(&rest[..run]) { "…" } else { &rest[..run] });
            rest = &rest[run..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')
}

fn is_key_like(run: &str) -> bool {
    let mixed = || run.contains(|c: char| c.is_ascii_digit() || matches!(c, '+' | '='));
    run.len() >= LONG || run.len() >= SUSPECT && mixed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_and_keys_go() {
        for (text, expected) in [
            ("could not find expected ':' while scanning a simple key", None),
            ("metadata.deletionGracePeriodSeconds: is not a known field", None),
            ("data[\"tls.key\"]: must be base64; plain text goes into stringData", None),
            ("duplicate key: MIIEvQIBADANBgkqhkiG9w0BAQ", Some("duplicate key: …")),
            ("unknown alias \"0011223344556677889900aabbccddeeff\"", Some("unknown alias \"…\"")),
            ("section end [45, 45, 45, 66, 69, 71, 73] missing", Some("section end […] missing")),
            ("a ä\u{fe0f}", None),
        ] {
            assert_eq!(redacted(text), expected.unwrap_or(text));
        }
    }
}

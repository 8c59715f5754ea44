//! How long the texts may be that a tenant writes, and that land in every Envoy. All of them are here.
//!
//! They are far above what people write and far below what harms: each is checked at the object, whose error names the limit and the size
//! and never repeats the text. Budgets for many such texts are a matter of whole objects and hosts, not of this module.

/// A path, its prefix, or what it is rewritten to, in bytes. Browsers and proxies on the way stop at 2,048 to 8,192 for a whole URL.
/// A path that includes put together counts as one.
pub const LONGEST_PATH: usize = 4096;

/// A regular expression, with the prefixes of includes before it. Those in use have a few dozen bytes.
pub const LONGEST_REGEX: usize = 4096;

/// The program of one regular expression, in RE2's instructions of eight bytes: 128 KiB in every Envoy. RE2 stops at 699,000, which costs it
/// 5 MiB and a tenth of a second each time it is compiled; `\w{1,1000}` has 9,000, and what Contour calls large 1,000.
pub const MOST_INSTRUCTIONS: u64 = 16_384;

/// The value in a condition on a header or a query parameter. A cookie, the longest thing that clients send, ends at 4,096.
pub const LONGEST_CONDITION: usize = 4096;

/// The name of a header.
pub const LONGEST_HEADER_NAME: usize = 256;

/// The name of a query parameter in a condition. This one is Envoy's.
pub const LONGEST_QUERY_NAME: usize = 1024;

/// The value of a header that is set, as it is sent to Envoy, whose limit this is.
pub const LONGEST_HEADER_VALUE: usize = 16_384;

/// The headers that one policy sets, and those that it removes. This one is Envoy's.
pub const MOST_HEADERS: usize = 1000;

/// The endpoints that an assignment shows, whatever the budget of their namespace.
pub const MOST_ENDPOINTS: usize = 16_384;

/// A host name that a request is sent or redirected to.
pub const LONGEST_HOST: usize = 255;

/// The body of a direct response: a page with its style and a picture.
pub const LONGEST_BODY: usize = 262_144;

/// How much of a text is repeated in a message, in characters.
const EXCERPT: usize = 80;

/// The text, or the start of a long one. Control characters are written out.
pub(crate) fn excerpt(text: &str) -> String {
    let escaped = |c: char| -> String { if c.is_control() { c.escape_debug().collect() } else { c.into() } };
    match text.char_indices().nth(EXCERPT) {
        None => text.chars().map(escaped).collect(),
        Some((end, _)) => text[..end].chars().map(escaped).chain(["…".to_owned()]).collect(),
    }
}

/// Checks the length of a text; `what` names it.
pub(crate) fn check_length(what: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most {
        return Err(format!("{what} has {} bytes; {most} are allowed", text.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_an_odd_one_is_written_out() {
        assert_eq!(excerpt("/plain é"), "/plain é");
        assert_eq!(excerpt("a\r\n\0"), r"a\r\n\0");
        let cut = excerpt(&"é".repeat(200_000));
        assert_eq!(cut, format!("{}…", "é".repeat(EXCERPT)));
    }

    #[test]
    fn a_limit_is_the_longest_that_is_allowed() {
        assert_eq!(check_length("prefix", "/ab", 3), Ok(()));
        assert_eq!(check_length("prefix", "/abc", 3), Err("prefix has 4 bytes; 3 are allowed".to_owned()));
    }
}

//! Regular expressions as Envoy's RE2 reads them, checked before Envoy sees them.
//!
//! The `regex` crate stands in for RE2. The two differ in what few expressions contain, and that difference is bridged here: what RE2 takes
//! literally is escaped before the check, and what only the crate knows is refused.

use regex::Regex;

/// The most often RE2 repeats anything in a counted repetition.
const MOST_REPETITIONS: u32 = 1000;

/// How far the end of a class name or a repetition can be, in bytes: no further is looked for it.
const LOOK_AHEAD: usize = 32;

/// Checks that a text is a regular expression that RE2 takes.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let refused = |why: &str| format!("regular expression \"{text}\" does not compile: {why}");
    let translated = translate(text).map_err(|why| refused(&why))?;
    Regex::new(&translated).map(drop).map_err(|error| {
        let cause = error.to_string();
        refused(cause.lines().last().unwrap_or_default().trim_start_matches("error: "))
    })
}

/// Writes for the crate what RE2 means.
fn translate(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut class = false;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '\\' => escape(rest)?,
            '[' if class => class_name(rest).unwrap_or_else(|| {
                // Literal in RE2; the start of a nested class in the crate.
                out.push('\\');
                1
            }),
            '&' | '~' if class => {
                out.push('\\');
                1
            }
            '[' => {
                class = true;
                // A `]` that comes first is literal, in both.
                ["[^]", "[]", "[^"].into_iter().find(|start| rest.starts_with(start)).map_or(1, str::len)
            }
            ']' if class => {
                class = false;
                1
            }
            '{' if !class => repetition(rest)?.unwrap_or_else(|| {
                out.push('\\');
                1
            }),
            '(' if !class => group(rest)?,
            _ => c.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Ok(out)
}

/// The length of an escape. `\u`, `\U`, `\<` and `\>` mean something in the crate alone.
fn escape(rest: &str) -> Result<usize, String> {
    match rest.chars().nth(1) {
        Some(c @ ('u' | 'U' | '<' | '>')) => Err(format!("\\{c} is not known")),
        Some('b' | 'B') if rest[2..].starts_with('{') => Err("\\b has no kinds".to_owned()),
        Some(c) => Ok(1 + c.len_utf8()),
        None => Ok(1),
    }
}

/// The length of `[:alpha:]` and the like.
fn class_name(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix("[:")?;
    let end = inside.as_bytes().windows(2).take(LOOK_AHEAD).position(|pair| pair == b":]")?;
    inside[..end].bytes().all(|b| b.is_ascii_alphabetic() || b == b'^').then_some(end + 4)
}

/// The length of a counted repetition, or `None` where a brace is literal.
fn repetition(rest: &str) -> Result<Option<usize>, String> {
    let Some(end) = rest.bytes().take(LOOK_AHEAD).position(|b| b == b'}') else { return Ok(None) };
    let (least, most) = rest[1..end].split_once(',').unwrap_or((&rest[1..end], ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if least.is_empty() || !digits(least) || !digits(most) {
        return Ok(None);
    }
    for count in [least, most].into_iter().filter(|count| !count.is_empty()) {
        if count.parse::<u32>().map_or(true, |count| count > MOST_REPETITIONS) {
            return Err(format!("nothing can be repeated more than {MOST_REPETITIONS} times"));
        }
    }
    Ok(Some(end + 1))
}

/// The length of the start of a group. RE2's flags are i, m, s and U.
fn group(rest: &str) -> Result<usize, String> {
    let Some(inside) = rest.strip_prefix("(?") else { return Ok(1) };
    let flags = inside.bytes().take_while(|b| b.is_ascii_alphabetic() || *b == b'-').count();
    let named = inside.starts_with("P<");
    match inside[..flags].chars().find(|c| !"imsU-".contains(*c)).filter(|_| !named) {
        Some(flag) => Err(format!("flag {flag} is not known")),
        None => Ok(2 + flags),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("")]
    #[case("/[a-z]+(/.*)?")]
    #[case("/a{2}/b{2,}/c{2,3}")]
    #[case("/users/{id}/{")]
    #[case("/[[]x[^[]*[]][^]]+")]
    #[case("/[[:alpha:]_&&~~--]+")]
    #[case(r"\d\pL\p{Greek}\x{41}\.\/\-\]\Q")]
    #[case("(?i)a(?:b)(?P<name>c)(?s-i:d)")]
    #[case("é+")]
    fn what_re2_takes_is_taken(#[case] text: &str) {
        // `\Q…\E` is the one thing RE2 takes and this does not.
        assert_eq!(check(text).is_ok(), !text.contains(r"\Q"), "{:?}", check(text));
    }

    #[rstest]
    #[case("(")]
    #[case("[")]
    #[case("*")]
    #[case("a{1001}")]
    #[case("a{2,99999999999}")]
    #[case("(?x) a")]
    #[case(r"\u0041")]
    #[case(r"\b{start}")]
    #[case("(?=a)")]
    #[case(r"(a)\1")]
    #[case("a\\")]
    #[case("((a{1000}){1000}){1000}")]
    fn what_re2_refuses_is_refused(#[case] text: &str) {
        assert!(check(text).is_err(), "{text}");
    }
}

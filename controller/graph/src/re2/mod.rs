//! Regular expressions as Envoy's RE2 reads them, judged before Envoy sees them.
//!
//! This is a parser of RE2's grammar, with the options that Envoy 1.40 uses: Perl syntax, at most 8 MiB, and Latin-1, so that a character is a
//! byte. It is no engine: it says whether RE2 takes an expression, what is wrong where it does not, and how large a program it makes of it.
//! One pass, no recursion, memory in proportion to the text. `controller/tests/regexes.rs` holds it equal to Envoy and to Go's `regexp`.

mod class;
mod cost;
mod cursor;
mod escape;
mod groups;
mod parser;

use crate::limits::{LONGEST_REGEX, MOST_INSTRUCTIONS, excerpt};

/// What became of an expression that RE2 takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The instructions of its program, at most: what it costs every Envoy, eight bytes each.
    pub instructions: u64,
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// RE2 does not take it.
    #[error("regular expression \"{text}\" does not compile: {why} at byte {at}")]
    Grammar {
        /// The expression, or the start of a long one.
        text: String,
        /// What is wrong, in RE2's words, and with what.
        why: String,
        /// Where that begins.
        at: usize,
    },
    /// It is longer than any that people write.
    #[error("regular expression \"{text}\" has {length} bytes; {LONGEST_REGEX} are allowed")]
    TooLong {
        /// The start of the expression.
        text: String,
        /// All of its bytes.
        length: usize,
    },
    /// RE2 would take it, but its program takes too much of every Envoy.
    #[error(
        "regular expression \"{text}\" becomes a program of about {instructions} instructions; {MOST_INSTRUCTIONS} are allowed: \
         repeat less, or a smaller class"
    )]
    TooLarge {
        /// The expression, or the start of a long one.
        text: String,
        /// The instructions of its program, at most.
        instructions: u64,
    },
}

/// Judges an expression.
pub fn check(text: &str) -> Result<Checked, Refused> {
    if text.len() > LONGEST_REGEX {
        return Err(Refused::TooLong { text: excerpt(text), length: text.len() });
    }
    let instructions = parser::parse(text).map_err(|found| Refused::Grammar {
        text: excerpt(text),
        why: found.describe(text),
        at: found.start,
    })?;
    if instructions > MOST_INSTRUCTIONS {
        return Err(Refused::TooLarge { text: excerpt(text), instructions });
    }
    Ok(Checked { instructions })
}

/// Judges the expression of a path, which is sent with an anchor before it: a path starts with a slash, so the anchor changes no match,
/// but keeps the program small.
pub fn check_path(text: &str) -> Result<Checked, Refused> {
    // Without it first, so that what is told is in the words of its owner.
    check(text)?;
    check(&anchored(text))
}

/// The expression of a path as it is sent.
pub fn anchored(text: &str) -> String {
    format!("^{text}")
}

/// The names that `\p{...}` takes.
pub fn group_names() -> impl Iterator<Item = &'static str> {
    groups::GROUPS.iter().map(|(name, _)| *name)
}

/// What is wrong with an expression, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    why: &'static str,
    start: usize,
    end: usize,
}

impl Flaw {
    fn describe(&self, text: &str) -> String {
        let piece = String::from_utf8_lossy(&text.as_bytes()[self.start..self.end]);
        if piece.is_empty() { self.why.to_owned() } else { format!("{} \"{}\"", self.why, excerpt(&piece)) }
    }
}

#[cfg(test)]
mod tests;

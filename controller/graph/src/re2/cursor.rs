//! A place in the text of an expression.
//!
//! Envoy gives RE2 the bytes of the text as Latin-1, so a character is a byte here: `\u{e9}` is two, in a class, too.

use super::Flaw;

/// What was read of a text, and what is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'t> {
    text: &'t [u8],
    /// The bytes that were read.
    pub(super) at: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text: text.as_bytes(), at: 0 }
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'t [u8] {
        &self.text[self.at..]
    }

    /// The character so many ahead.
    pub(super) fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Reads a character.
    pub(super) fn next(&mut self) -> Option<u8> {
        let c = self.peek(0)?;
        self.at += 1;
        Some(c)
    }

    /// Reads this text, if it comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text.as_bytes());
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Reads up to and including `end`, and returns what is before it; reads nothing where there is no `end`.
    pub(super) fn take_until(&mut self, end: u8) -> Option<&'t [u8]> {
        let rest = self.rest();
        let length = rest.iter().position(|&c| c == end)?;
        self.at += length + 1;
        Some(&rest[..length])
    }

    /// Something is wrong from `start` to here.
    pub(super) fn flaw(&self, why: &'static str, start: usize) -> Flaw {
        Flaw { why, start, end: self.at }
    }

    /// Something is wrong from `start` to the end.
    pub(super) fn flaw_to_end(&self, why: &'static str, start: usize) -> Flaw {
        Flaw { why, start, end: self.text.len() }
    }
}

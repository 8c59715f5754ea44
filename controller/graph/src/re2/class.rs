//! Character classes in brackets.

use super::cursor::Cursor;
use super::{Flaw, cost, escape, groups};

const BAD_RANGE: &str = "invalid character class range";
const MISSING: &str = "missing ]";

/// Reads a class, which comes next, and returns what it costs.
pub(super) fn parse(cursor: &mut Cursor<'_>, fold: bool) -> Result<u64, Flaw> {
    let start = cursor.at;
    Class { start, fold, members: [false; 256], groups: 0, no_more_names: false }.read(cursor)
}

/// A class that is being read.
struct Class {
    start: usize,
    fold: bool,
    members: [bool; 256],
    /// What the named groups in it cost.
    groups: u64,
    /// Nothing ends a name any more: not to be looked for again.
    no_more_names: bool,
}

impl Class {
    fn read(mut self, cursor: &mut Cursor<'_>) -> Result<u64, Flaw> {
        cursor.next();
        let negated = cursor.take("^");
        // A bracket that comes first is literal.
        let mut first = true;
        while let Some(c) = cursor.peek(0) {
            if c == b']' && !first {
                cursor.next();
                return Ok(self.cost(negated));
            }
            first = false;
            self.item(cursor)?;
        }
        Err(cursor.flaw_to_end(MISSING, self.start))
    }

    fn item(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        let group = match (cursor.peek(0), cursor.peek(1)) {
            (Some(b'['), Some(b':')) => self.posix(cursor)?,
            (Some(b'\\'), Some(b'p' | b'P')) if cursor.peek(2).is_some() => {
                Some(escape::unicode_group(cursor)?)
            }
            _ => escape::perl_class(cursor),
        };
        if let Some(cost) = group {
            self.groups += cost;
            return Ok(());
        }
        let start = cursor.at;
        let low = self.character(cursor)?;
        let mut high = low;
        // A dash before the end is literal.
        if cursor.peek(0) == Some(b'-') && cursor.peek(1).is_some_and(|c| c != b']') {
            cursor.next();
            high = self.character(cursor)?;
        }
        if high < low {
            return Err(cursor.flaw(BAD_RANGE, start));
        }
        for c in low..=high {
            self.members[usize::from(c)] = true;
            if self.fold && c.is_ascii_alphabetic() {
                self.members[usize::from(c ^ 0x20)] = true;
            }
        }
        Ok(())
    }

    /// Reads `[:name:]`. Without its end anywhere in what is left, a bracket is literal.
    fn posix(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<u64>, Flaw> {
        if self.no_more_names {
            return Ok(None);
        }
        let (start, inside) = (cursor.at, &cursor.rest()[2..]);
        let Some(length) = inside.windows(2).position(|pair| pair == b":]") else {
            self.no_more_names = true;
            return Ok(None);
        };
        cursor.at += length + 4;
        let name = &inside[..length];
        let cost = groups::posix(name.strip_prefix(b"^".as_slice()).unwrap_or(name));
        cost.map(Some).ok_or_else(|| cursor.flaw(BAD_RANGE, start))
    }

    fn character(&self, cursor: &mut Cursor<'_>) -> Result<u8, Flaw> {
        match cursor.peek(0) {
            Some(b'\\') => escape::character(cursor),
            _ => cursor.next().ok_or_else(|| cursor.flaw_to_end(MISSING, self.start)),
        }
    }

    fn cost(&self, negated: bool) -> u64 {
        let starts = self.members.windows(2).filter(|pair| pair[0] == negated && pair[1] != negated).count();
        let ranges = starts + usize::from(self.members[0] != negated);
        (cost::ranges(ranges) + self.groups).max(1)
    }
}

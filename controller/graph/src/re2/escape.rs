//! What a backslash begins.

use super::cursor::Cursor;
use super::{Flaw, cost, groups};

const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_RANGE: &str = "invalid character class range";

/// Reads the escape of one character.
pub(super) fn character(cursor: &mut Cursor<'_>) -> Result<u8, Flaw> {
    let start = cursor.at;
    cursor.next();
    let Some(c) = cursor.next() else { return Err(cursor.flaw("trailing \\ at end of expression", start)) };
    let found = match c {
        b'0' => octal(cursor, 0),
        // A single digit would refer back to a group.
        b'1'..=b'7' if matches!(cursor.peek(0), Some(b'0'..=b'7')) => octal(cursor, u32::from(c - b'0')),
        b'x' => hexadecimal(cursor),
        b'n' => Some(0x0A),
        b'r' => Some(0x0D),
        b't' => Some(0x09),
        b'a' => Some(0x07),
        b'f' => Some(0x0C),
        b'v' => Some(0x0B),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c),
        _ => None,
    };
    found.ok_or_else(|| cursor.flaw(BAD_ESCAPE, start))
}

/// Up to two more digits.
fn octal(cursor: &mut Cursor<'_>, first: u32) -> Option<u8> {
    let mut value = first;
    for _ in 0..2 {
        let Some(digit @ b'0'..=b'7') = cursor.peek(0) else { break };
        cursor.next();
        value = value * 8 + u32::from(digit - b'0');
    }
    u8::try_from(value).ok()
}

/// Two digits, or any number of them in braces.
fn hexadecimal(cursor: &mut Cursor<'_>) -> Option<u8> {
    let digit = |c: u8| char::from(c).to_digit(16);
    if !cursor.take("{") {
        let (high, low) = (cursor.next()?, cursor.next()?);
        return u8::try_from(digit(high)? * 16 + digit(low)?).ok();
    }
    let mut value = digit(cursor.next()?)?;
    loop {
        match cursor.next()? {
            b'}' => return u8::try_from(value).ok(),
            c => value = value * 16 + digit(c)?,
        }
        if value > 0xFF {
            return None;
        }
    }
}

/// Reads `\pN` or `\p{Name}`, which come next, and returns what the group costs.
pub(super) fn unicode_group(cursor: &mut Cursor<'_>) -> Result<u64, Flaw> {
    let start = cursor.at;
    cursor.at += 2;
    let name = if cursor.take("{") {
        cursor.take_until(b'}').ok_or_else(|| cursor.flaw_to_end(BAD_RANGE, start))?
    } else {
        let rest = cursor.rest();
        cursor.next();
        &rest[..rest.len().min(1)]
    };
    let name = name.strip_prefix(b"^".as_slice()).unwrap_or(name);
    groups::cost(name).ok_or_else(|| cursor.flaw(BAD_RANGE, start))
}

/// Reads one of `\d`, `\s`, `\w` and their negations, if it comes next, and returns what it costs.
pub(super) fn perl_class(cursor: &mut Cursor<'_>) -> Option<u64> {
    if cursor.peek(0) != Some(b'\\') {
        return None;
    }
    let ranges = match cursor.peek(1)? {
        b'd' => 1,
        b'D' => 2,
        b's' => 3,
        b'S' | b'w' => 4,
        b'W' => 5,
        _ => return None,
    };
    cursor.at += 2;
    Some(cost::ranges(ranges))
}

//! DER, as strictly as Envoy's TLS library reads it.

/// Tags of universal types.
pub(super) mod tag {
    pub(in super::super) const BOOLEAN: u8 = 1;
    pub(in super::super) const INTEGER: u8 = 2;
    pub(in super::super) const BITS: u8 = 3;
    pub(in super::super) const OCTETS: u8 = 4;
    pub(in super::super) const NULL: u8 = 5;
    pub(in super::super) const OBJECT: u8 = 6;
    pub(in super::super) const ENUMERATED: u8 = 10;
    pub(in super::super) const UTF8: u8 = 12;
    pub(in super::super) const UTC_TIME: u8 = 23;
    pub(in super::super) const GENERALIZED_TIME: u8 = 24;
    pub(in super::super) const UNIVERSAL_STRING: u8 = 28;
    pub(in super::super) const BMP_STRING: u8 = 30;
    pub(in super::super) const SEQUENCE: u8 = 0x30;
    pub(in super::super) const SET: u8 = 0x31;

    /// A context-specific tag with an element inside.
    pub(in super::super) const fn explicit(number: u8) -> u8 {
        0xA0 | number
    }

    /// A context-specific tag of a simple value.
    pub(in super::super) const fn implicit(number: u8) -> u8 {
        0x80 | number
    }
}

/// An element: its first octet, what it holds, and all of it.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// Reads one element after the other. `None` is an error everywhere: there are many, and nobody can do anything with which one it was.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element, whatever it is.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let all = self.0;
        let tag = *all.first()?;
        let mut at = 1;
        if tag & 0x1F == 0x1F {
            at += high_tag(&all[1..])?;
        } else if tag & 0xDF == 0 {
            return None; // The end of contents of another encoding.
        }
        let first = *all.get(at)?;
        at += 1;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let octets = all.get(at..at + usize::from(first & 0x7F))?;
            at += octets.len();
            long_length(octets)?
        };
        let whole = all.get(..at.checked_add(length)?)?;
        self.0 = &all[whole.len()..];
        Some(Element { tag, content: &whole[at..], whole })
    }

    /// The content of the next element, which must be of this kind.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|element| element.tag == tag).map(|element| element.content)
    }

    /// The content of the next element if it is of this kind.
    #[allow(clippy::option_option, reason = "what cannot be read, and what is not there")]
    pub(super) fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        if self.0.first() == Some(&tag) { self.take(tag).map(Some) } else { Some(None) }
    }

    /// A sequence, to read what it holds.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.take(tag::SEQUENCE).map(Self)
    }

    /// An integer in as few octets as it needs; negative ones as they are.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        self.take(tag::INTEGER).filter(|octets| is_integer(octets))
    }

    /// An integer that is not negative, without a leading zero.
    pub(super) fn unsigned(&mut self) -> Option<&'a [u8]> {
        let octets = self.integer().filter(|octets| octets[0] < 0x80)?;
        Some(octets.strip_prefix(&[0]).unwrap_or(octets))
    }

    /// An object identifier.
    pub(super) fn object(&mut self) -> Option<&'a [u8]> {
        self.take(tag::OBJECT).filter(|octets| is_object(octets))
    }

    /// The octets of a string of bits of which all are used.
    pub(super) fn whole_bits(&mut self) -> Option<&'a [u8]> {
        self.take(tag::BITS)?.strip_prefix(&[0])
    }

    /// Whether nothing follows.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// How many elements stand in these octets, with those inside of others. What an octet string holds counts where it can be read as elements.
pub(super) fn elements(octets: &[u8]) -> usize {
    let mut count = 0;
    let mut inside = vec![Reader(octets)];
    while let Some(mut reader) = inside.pop() {
        while let Some(element) = reader.any() {
            count += 1;
            if element.tag & 0x20 != 0 || element.tag == tag::OCTETS {
                inside.push(Reader(element.content));
            }
        }
    }
    count
}

/// Octets that a tag number of 31 or more takes after the first one.
fn high_tag(octets: &[u8]) -> Option<usize> {
    let count = octets.iter().position(|octet| octet & 0x80 == 0)? + 1;
    let number = octets[..count].iter().fold(0_u64, |sum, octet| (sum << 7) | u64::from(octet & 0x7F));
    (count <= 5 && octets[0] != 0x80 && (0x1F..1 << 29).contains(&number)).then_some(count)
}

/// A length in octets of its own: as few as it needs, and four at most.
fn long_length(octets: &[u8]) -> Option<usize> {
    let length = octets.iter().fold(0_usize, |sum, &octet| (sum << 8) | usize::from(octet));
    let fits = (1..=4).contains(&octets.len()) && octets[0] != 0 && length >= 0x80;
    fits.then_some(length)
}

fn is_integer(octets: &[u8]) -> bool {
    match octets {
        [] => false,
        [0x00, next, ..] => *next >= 0x80,
        [0xFF, next, ..] => *next < 0x80,
        _ => true,
    }
}

/// An object identifier in as few octets as it needs.
pub(super) fn is_object(octets: &[u8]) -> bool {
    let starts = std::iter::once(&0).chain(octets).zip(octets);
    let minimal = starts.clone().all(|(before, &octet)| before & 0x80 != 0 || octet != 0x80);
    minimal && octets.last().is_some_and(|last| last & 0x80 == 0)
}

/// A string of bits: how many are unused, and those are zero.
pub(super) fn is_bits(octets: &[u8]) -> bool {
    match octets {
        [0] => true,
        [unused @ 0..8, .., last] => last & ((1_u8 << unused) - 1) == 0,
        _ => false,
    }
}

/// A value of any type: of those that are known, the content is looked at, too.
pub(super) fn is_value(Element { tag, content, .. }: Element<'_>) -> bool {
    const STRUCTURED: [u8; 5] = [8, 11, 16, 17, 29];
    let number = tag & 0x1F;
    if tag & 0xC0 == 0 {
        // Higher numbers are of a few types of dates; no name or algorithm has them.
        if !matches!(number, 15 | 0x1F) && (tag & 0x20 != 0) != STRUCTURED.contains(&number) {
            return false;
        }
    }
    match tag {
        tag::BOOLEAN => matches!(content, [0x00 | 0xFF]),
        tag::INTEGER | tag::ENUMERATED => is_integer(content),
        tag::BITS => is_bits(content),
        tag::NULL => content.is_empty(),
        tag::OBJECT => is_object(content),
        tag::UTF8 => {
            std::str::from_utf8(content).is_ok_and(|text| text.chars().all(|c| is_character(c.into())))
        }
        tag::BMP_STRING => characters(content, 2),
        tag::UNIVERSAL_STRING => characters(content, 4),
        tag::UTC_TIME | tag::GENERALIZED_TIME => is_time(tag, content),
        _ => true,
    }
}

fn characters(content: &[u8], width: usize) -> bool {
    let chunks = content.chunks_exact(width);
    chunks.remainder().is_empty()
        && chunks
            .into_iter()
            .all(|octets| is_character(octets.iter().fold(0, |sum, &o| (sum << 8) | u32::from(o))))
}

/// Not a surrogate, and none of those that are reserved for ever.
fn is_character(code: u32) -> bool {
    char::from_u32(code).is_some() && code & 0xFFFE != 0xFFFE && !(0xFDD0..=0xFDEF).contains(&code)
}

/// A time as RFC 5280 has it, or, in the short form, with an offset.
pub(super) fn is_time(tag: u8, content: &[u8]) -> bool {
    let digits = if tag == tag::UTC_TIME { 12 } else { 14 };
    let Some((digits, zone)) = content.split_at_checked(digits) else { return false };
    let pairs = |octets: &[u8]| -> Option<Vec<u32>> {
        let pair = |pair: &[u8]| {
            let digit = |octet: u8| char::from(octet).to_digit(10);
            Some(digit(pair[0])? * 10 + digit(pair[1])?)
        };
        octets.chunks_exact(2).map(pair).collect()
    };
    let (year, rest) = match (tag, pairs(digits).as_deref()) {
        (tag::UTC_TIME, Some([year, rest @ ..])) => {
            (if *year < 50 { 2000 } else { 1900 } + year, rest.to_vec())
        }
        (tag::GENERALIZED_TIME, Some([century, year, rest @ ..])) => (century * 100 + year, rest.to_vec()),
        _ => return false,
    };
    let &[month, day, hour, minute, second] = rest.as_slice() else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    let in_utc = match zone {
        b"Z" => true,
        [b'+' | b'-', offset @ ..] if tag == tag::UTC_TIME && offset.len() == 4 => {
            pairs(offset).is_some_and(|offset| offset[0] < 24 && offset[1] < 60)
        }
        _ => false,
    };
    in_utc && (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_inside_of_others_count() {
        assert_eq!(elements(&[]), 0);
        assert_eq!(elements(&[0x30, 0x06, 0x02, 0x01, 0x05, 0x04, 0x01, 0x07]), 3);
        assert_eq!(elements(&[0x04, 0x04, 0x30, 0x02, 0x82, 0x00]), 3, "what an octet string holds");
        assert_eq!(elements(&[0x30, 0x03, 0x02, 0x01, 0x05, 0x30]), 2, "up to what cannot be read");
        // One in the other as deep as it goes: no recursion, and as many as there are.
        let deep = (0..10_000_u32).fold(Vec::new(), |inner, _| {
            let length = u32::try_from(inner.len()).expect("short").to_be_bytes();
            let minimal = length.into_iter().skip_while(|&octet| octet == 0).collect::<Vec<_>>();
            let header = match inner.len() {
                short @ 0..0x80 => vec![0x30, u8::try_from(short).expect("short")],
                _ => [&[0x30, 0x80 | u8::try_from(minimal.len()).expect("short")], &minimal[..]].concat(),
            };
            [header, inner].concat()
        });
        assert_eq!(elements(&deep), 10_000);
    }
}

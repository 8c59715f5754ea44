//! Certificates, taken and refused as Envoy's TLS library does (docs/envoy-accepts.md, "Certificates and keys").
//!
//! What is read is the structure alone. Dates, signatures and trust are the client's to judge: a certificate that has expired is served.

use super::der::{self, Element, Reader, tag};

/// Object identifiers, in DER.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1D, 0x11];
const KEY_USAGE: &[u8] = &[0x55, 0x1D, 0x0F];
const FEATURES: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18];
/// The feature by which a certificate promises an OCSP response with each handshake.
const MUST_STAPLE: &[u8] = &[0x30, 0x03, 0x02, 0x01, 0x05];
/// Envoy does not read longer names.
const LONGEST_NAME: usize = 1 << 20;

/// What is of interest in a certificate.
pub(super) struct Certificate<'a> {
    /// All of it, without what may follow in its block.
    pub(super) der: &'a [u8],
    /// The `SubjectPublicKeyInfo`.
    pub(super) public_key: &'a [u8],
    common_name: Option<&'a [u8]>,
    /// Identifier and value.
    extensions: Vec<(&'a [u8], &'a [u8])>,
}

/// Whether a certificate that stands first can be shown.
pub(super) enum Names {
    /// It names somebody.
    Some,
    /// It has neither common name nor alternative name.
    Nobody,
    /// Its common name is empty, which Envoy refuses whatever else it has.
    EmptyCommonName,
}

impl<'a> Certificate<'a> {
    /// Reads a certificate; `None` if it is none.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let whole = Reader(der).any().filter(|element| element.tag == tag::SEQUENCE)?;
        let mut outer = Reader(whole.content);
        let mut inner = outer.sequence()?;
        algorithm(&mut outer)?;
        outer.take(tag::BITS).filter(|bits| der::is_bits(bits))?;
        outer.end()?;

        let version = version(&mut inner)?;
        inner.integer()?;
        algorithm(&mut inner)?;
        name(&mut inner)?;
        let mut validity = inner.sequence()?;
        for _ in 0..2 {
            let time = validity.any()?;
            (matches!(time.tag, tag::UTC_TIME | tag::GENERALIZED_TIME)
                && der::is_time(time.tag, time.content))
            .then_some(())?;
        }
        validity.end()?;
        let common_name = name(&mut inner)?;
        let public_key = inner.any().filter(|element| element.tag == tag::SEQUENCE)?;
        let mut key = Reader(public_key.content);
        algorithm(&mut key)?;
        key.take(tag::BITS).filter(|bits| der::is_bits(bits))?;
        key.end()?;
        if version >= 1 {
            for number in [1, 2] {
                let id = inner.optional(tag::implicit(number))?;
                id.is_none_or(der::is_bits).then_some(())?;
            }
        }
        let extensions = if version >= 2 { extensions(&mut inner)? } else { Vec::new() };
        inner.end()?;
        Some(Self { der: whole.whole, public_key: public_key.whole, common_name, extensions })
    }

    /// Whom it names.
    pub(super) fn names(&self) -> Names {
        match self.common_name {
            Some([]) => Names::EmptyCommonName,
            None if !self.has_alternative_name() => Names::Nobody,
            _ => Names::Some,
        }
    }

    /// Whether it promises an OCSP response, which nobody could give.
    pub(super) fn must_staple(&self) -> bool {
        self.first(FEATURES) == Some(MUST_STAPLE)
    }

    /// Whether its key may sign, which is what a key on a curve does in a handshake.
    pub(super) fn may_sign(&self) -> bool {
        let Some(usage) = self.first(KEY_USAGE) else { return true };
        let mut reader = Reader(usage);
        let bits = reader.take(tag::BITS).filter(|bits| der::is_bits(bits));
        reader.0.is_empty() && bits.is_some_and(|bits| bits.get(1).is_some_and(|first| first & 0x80 != 0))
    }

    fn first(&self, identifier: &[u8]) -> Option<&'a [u8]> {
        self.extensions.iter().find(|(known, _)| *known == identifier).map(|(_, value)| *value)
    }

    /// Whether it names a DNS name, an IP address or a URI. An extension that is there twice, or cannot be read, names nothing.
    fn has_alternative_name(&self) -> bool {
        let mut found = self.extensions.iter().filter(|(known, _)| *known == ALTERNATIVE_NAMES);
        let (Some((_, value)), None) = (found.next(), found.next()) else { return false };
        let mut outer = Reader(value);
        let Some(mut names) = outer.sequence() else { return false };
        let mut somebody = false;
        while !names.0.is_empty() {
            let Some(name) = names.any().filter(|name| is_alternative_name(*name)) else { return false };
            somebody |= matches!(name.tag, 0x82 | 0x86 | 0x87);
        }
        somebody && outer.0.is_empty()
    }
}

/// A `GeneralName` that can be read: of DNS names, addresses and URIs the content is not looked at.
fn is_alternative_name(name: Element<'_>) -> bool {
    let mut content = Reader(name.content);
    let read = match name.tag {
        0x81 | 0x82 | 0x86 | 0x87 | 0xA3 => return true,
        0x88 => return der::is_object(name.content),
        0xA0 => other_name(&mut content),
        0xA4 => self::name(&mut content).map(drop),
        0xA5 => party_name(&mut content),
        _ => None,
    };
    read.and_then(|()| content.end()).is_some()
}

/// A type, and a value of it.
fn other_name(reader: &mut Reader<'_>) -> Option<()> {
    reader.object()?;
    let mut value = Reader(reader.take(tag::explicit(0))?);
    value.any().filter(|&value| der::is_value(value))?;
    value.end()
}

/// Of EDI: who assigned it, which may be left out, and the name.
fn party_name(reader: &mut Reader<'_>) -> Option<()> {
    let text = |text: &[u8]| {
        let mut text = Reader(text);
        text.any().filter(|&value| matches!(value.tag, 12 | 19 | 20 | 28 | 30) && der::is_value(value))?;
        text.end()
    };
    if let Some(assigner) = reader.optional(tag::explicit(0))? {
        text(assigner)?;
    }
    text(reader.take(tag::explicit(1))?)
}

/// 0, 1 or 2, for versions 1 to 3.
fn version(reader: &mut Reader<'_>) -> Option<u8> {
    let Some(version) = reader.optional(tag::explicit(0))? else { return Some(0) };
    let mut version = Reader(version);
    let number = version.integer()?;
    version.end()?;
    match number {
        [version @ 0..=2] => Some(*version),
        _ => None,
    }
}

/// An algorithm and, at most, one parameter.
fn algorithm(reader: &mut Reader<'_>) -> Option<()> {
    let mut algorithm = reader.sequence()?;
    algorithm.object()?;
    if !algorithm.0.is_empty() {
        algorithm.any().filter(|&parameter| der::is_value(parameter))?;
    }
    algorithm.end()
}

/// Reads a name; gives its first common name.
#[allow(clippy::option_option, reason = "a name that cannot be read, and one without a common name")]
fn name<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    let mut sets = reader.sequence().filter(|sets| sets.0.len() <= LONGEST_NAME)?;
    let mut common_name = None;
    while !sets.0.is_empty() {
        let mut set = Reader(sets.take(tag::SET).filter(|set| !set.is_empty())?);
        while !set.0.is_empty() {
            let mut attribute = set.sequence()?;
            let identifier = attribute.object()?;
            let value = attribute.any().filter(|&value| der::is_value(value))?;
            attribute.end()?;
            if identifier == COMMON_NAME && common_name.is_none() {
                // Of what is no text, Envoy has the whole element.
                common_name = Some(match value.tag {
                    tag::BITS => &value.content[1..],
                    // A zero has no digits.
                    tag::INTEGER | tag::ENUMERATED if value.content == [0] => &[],
                    tag::BOOLEAN | tag::NULL | tag::OBJECT | 0x20.. => value.whole,
                    _ => value.content,
                });
            }
        }
    }
    Some(common_name)
}

/// Identifier and value of each extension.
fn extensions<'a>(reader: &mut Reader<'a>) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    let mut found = Vec::new();
    let Some(wrapper) = reader.optional(tag::explicit(3))? else { return Some(found) };
    let mut wrapper = Reader(wrapper);
    let mut list = wrapper.sequence()?;
    wrapper.end()?;
    while !list.0.is_empty() {
        let mut extension = list.sequence()?;
        let identifier = extension.object()?;
        extension.optional(tag::BOOLEAN)?.is_none_or(|critical| critical.len() == 1).then_some(())?;
        found.push((identifier, extension.take(tag::OCTETS)?));
        extension.end()?;
    }
    Some(found)
}

//! Keys of certificates and what belongs to them: taken and refused as Envoy's TLS library does.

use num_bigint::BigUint;
use p256::elliptic_curve::sec1::{EncodedPoint, FromEncodedPoint, ModulusSize, ToEncodedPoint};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytes, FieldBytesSize, PublicKey, SecretKey};
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::der::{Reader, is_value, tag};

/// Object identifiers, in DER.
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A];
const EC: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const ED25519: &[u8] = &[0x2B, 0x65, 0x70];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x23];

/// What an RSA key may have. Envoy's own upper bound is 16384, with which one handshake takes a worker half a second from everybody.
const RSA_BITS: std::ops::RangeInclusive<u64> = 2048..=8192;
/// Of the public exponent of an RSA key.
const EXPONENT_BITS: std::ops::RangeInclusive<u64> = 2..=33;

/// A curve whose keys Envoy takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Public {
    /// Modulus and exponent.
    Rsa(BigUint, BigUint),
    /// The curve, and the point without compression.
    Ec(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Reads a `SubjectPublicKeyInfo`. The error says why Envoy would not take it, as the end of "has a first certificate …".
pub(super) fn public(info: &[u8]) -> Result<Public, String> {
    const UNREADABLE: &str = "with a public key that is none";
    let mut reader = Reader(info);
    let (identifier, parameters, bits) = (|| {
        let mut outer = reader.sequence()?;
        let (identifier, parameters) = algorithm(&mut outer)?;
        Some((identifier, parameters, outer.whole_bits()?))
    })()
    .ok_or(UNREADABLE)?;
    match identifier {
        RSA if parameters == NULL => {
            let key = rsa_public(bits).ok_or(UNREADABLE)?;
            let size = key.0.bits();
            if !RSA_BITS.contains(&size) {
                let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
                return Err(format!("with an RSA key of {size} bits; it must have {least} to {most}"));
            }
            is_sound(&key.0, &key.1).then_some(Public::Rsa(key.0, key.1)).ok_or_else(|| UNREADABLE.to_owned())
        }
        EC => {
            let curve = curve(parameters)
                .ok_or("with a key on a curve that Envoy does not take; it takes P-256, P-384 and P-521")?;
            point(curve, bits).map(|point| Public::Ec(curve, point)).ok_or_else(|| UNREADABLE.to_owned())
        }
        ED25519 if parameters.is_empty() && bits.len() == 32 => Ok(Public::Ed25519(bits.to_vec())),
        RSA | ED25519 => Err(UNREADABLE.to_owned()),
        RSA_PSS => {
            Err("with a key that is for RSA-PSS alone; Envoy takes RSA keys without that restriction"
                .to_owned())
        }
        _ => Err("with a key of a kind that Envoy does not take; it takes RSA, ECDSA and Ed25519".to_owned()),
    }
}

/// A private key: its octets, without what may follow them in their block, and what belongs to it.
pub(super) struct Private<'a> {
    pub(super) der: &'a [u8],
    pub(super) public: Public,
}

/// Reads a private key from a block with this label; `None` if Envoy would not take it.
pub(super) fn private<'a>(label: &[u8], der: &'a [u8]) -> Option<Private<'a>> {
    // What follows in the block is not read, and not passed on.
    let whole = Reader(der).any().filter(|element| element.tag == tag::SEQUENCE)?;
    let key = Reader(whole.content);
    let public = match label {
        b"PRIVATE KEY" => pkcs8(key),
        b"EC PRIVATE KEY" => ec(key, None).or_else(|| pkcs8(key).filter(|key| matches!(key, Public::Ec(..)))),
        b"RSA PRIVATE KEY" => rsa(key).or_else(|| pkcs8(key).filter(|key| matches!(key, Public::Rsa(..)))),
        _ => None,
    }?;
    Some(Private { der: whole.whole, public })
}

/// A parameter of an algorithm that has none, written out.
const NULL: &[u8] = &[tag::NULL, 0];

/// The identifier of an algorithm, and its parameters as they stand there.
fn algorithm<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let mut algorithm = reader.sequence()?;
    Some((algorithm.object()?, algorithm.0))
}

/// RFC 5208: version, algorithm, key, attributes.
fn pkcs8(mut key: Reader<'_>) -> Option<Public> {
    (key.integer()? == [0]).then_some(())?;
    let (identifier, parameters) = algorithm(&mut key)?;
    let body = key.take(tag::OCTETS)?;
    if let Some(attributes) = key.optional(tag::explicit(0))? {
        self::attributes(Reader(attributes))?;
    }
    key.end()?;
    let mut outer = Reader(body);
    match identifier {
        RSA if parameters == NULL => {
            let public = rsa(outer.sequence()?)?;
            outer.end()?;
            Some(public)
        }
        EC => {
            let public = ec(outer.sequence()?, Some(curve(parameters)?))?;
            outer.end()?;
            Some(public)
        }
        ED25519 if parameters.is_empty() => {
            let seed = outer.take(tag::OCTETS).filter(|seed| seed.len() == 32)?;
            outer.end()?;
            ed25519(seed)
        }
        _ => None,
    }
}

/// Each an identifier and a set of values.
fn attributes(mut list: Reader<'_>) -> Option<()> {
    while !list.0.is_empty() {
        let mut attribute = list.sequence()?;
        attribute.object()?;
        let mut values = Reader(attribute.take(tag::SET)?);
        while !values.0.is_empty() {
            values.any().filter(|&value| is_value(value))?;
        }
        attribute.end()?;
    }
    Some(())
}

/// RFC 8410, for the one library here that knows the curve.
fn ed25519(seed: &[u8]) -> Option<Public> {
    let head = [0x30, 0x2E, 2, 1, 0, 0x30, 5, 6, 3, 0x2B, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = PrivatePkcs8KeyDer::from([&head[..], seed].concat());
    let key = any_eddsa_type(&der).ok()?;
    public(&key.public_key()?).ok()
}

/// RFC 8017: version, modulus, both exponents, both primes, and what follows from them.
fn rsa(mut key: Reader<'_>) -> Option<Public> {
    (key.integer()? == [0]).then_some(())?;
    let mut numbers = Vec::with_capacity(8);
    for _ in 0..8 {
        numbers.push(BigUint::from_bytes_be(key.unsigned()?));
    }
    key.end()?;
    let [modulus, exponent, private, p, q, private_p, private_q, inverse] =
        <[BigUint; 8]>::try_from(numbers).ok()?;
    let one = BigUint::from(1_u8);
    // Not in constant time: it runs when a Secret changes, and nobody can measure it apart from all else that happens then.
    let belongs = is_sound(&modulus, &exponent)
        && private < modulus
        && p < modulus
        && q < modulus
        && &p * &q == modulus
        && [(&p, private_p), (&q, private_q)].into_iter().all(|(prime, part)| {
            let order = prime - &one;
            part < order && &private * &exponent % &order == one && part * &exponent % &order == one
        })
        && inverse < p
        && inverse * &q % &p == one;
    belongs.then_some(Public::Rsa(modulus, exponent))
}

/// RFC 8017: modulus and exponent.
fn rsa_public(bits: &[u8]) -> Option<(BigUint, BigUint)> {
    let mut outer = Reader(bits);
    let mut key = outer.sequence()?;
    outer.end()?;
    let [modulus, exponent] = [key.unsigned()?, key.unsigned()?].map(BigUint::from_bytes_be);
    key.end()?;
    Some((modulus, exponent))
}

/// Whether modulus and exponent can be those of a key.
fn is_sound(modulus: &BigUint, exponent: &BigUint) -> bool {
    modulus.bit(0)
        && RSA_BITS.contains(&modulus.bits())
        && exponent.bit(0)
        && EXPONENT_BITS.contains(&exponent.bits())
}

/// RFC 5915: version, key, curve, point. The curve must be told here or there, and twice the same; the point must be the key's.
fn ec(mut key: Reader<'_>, known: Option<Curve>) -> Option<Public> {
    (key.integer()? == [1]).then_some(())?;
    let scalar = key.take(tag::OCTETS)?;
    let inside = match key.optional(tag::explicit(0))? {
        Some(parameters) => Some(curve(parameters)?),
        None => None,
    };
    let stated = key.optional(tag::explicit(1))?;
    key.end()?;
    let curve = known.or(inside).filter(|&curve| inside.is_none_or(|inside| inside == curve))?;
    let own = match curve {
        Curve::P256 => multiply::<p256::NistP256>(scalar),
        Curve::P384 => multiply::<p384::NistP384>(scalar),
        Curve::P521 => multiply::<p521::NistP521>(scalar),
    }?;
    if let Some(stated) = stated {
        let mut stated = Reader(stated);
        let bits = stated.whole_bits()?;
        stated.end()?;
        (point(curve, bits)? == own).then_some(())?;
    }
    Some(Public::Ec(curve, own))
}

/// The curve that an object identifier names.
fn curve(parameters: &[u8]) -> Option<Curve> {
    let mut reader = Reader(parameters);
    let identifier = reader.object()?;
    reader.end()?;
    match identifier {
        P256 => Some(Curve::P256),
        P384 => Some(Curve::P384),
        P521 => Some(Curve::P521),
        _ => None,
    }
}

/// A point of the curve, without compression.
fn point(curve: Curve, octets: &[u8]) -> Option<Vec<u8>> {
    match curve {
        Curve::P256 => expand::<p256::NistP256>(octets),
        Curve::P384 => expand::<p384::NistP384>(octets),
        Curve::P521 => expand::<p521::NistP521>(octets),
    }
}

fn expand<C>(octets: &[u8]) -> Option<Vec<u8>>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
{
    matches!(octets.first(), Some(2..=4)).then_some(())?;
    let point = EncodedPoint::<C>::from_bytes(octets).ok()?;
    let key = Option::<PublicKey<C>>::from(PublicKey::<C>::from_encoded_point(&point))?;
    Some(key.to_encoded_point(false).as_bytes().to_vec())
}

/// The point of a private key.
fn multiply<C>(scalar: &[u8]) -> Option<Vec<u8>>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
{
    let start = scalar.iter().position(|&octet| octet != 0)?;
    let scalar = &scalar[start..];
    let mut field = FieldBytes::<C>::default();
    let at = field.len().checked_sub(scalar.len())?;
    field[at..].copy_from_slice(scalar);
    let key = SecretKey::<C>::from_bytes(&field).ok()?;
    Some(key.public_key().to_encoded_point(false).as_bytes().to_vec())
}

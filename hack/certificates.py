#!/usr/bin/env python3
"""Makes controller/objects/tests/secrets: every kind of certificate and key that a tenant may bring, and what damage they take on the way.

    hack/certificates.py controller/objects/tests/secrets

Needs Python 3 and OpenSSL 3 (the command). Cases that are there already are kept: keys are random, so a case is made once and then committed.
What becomes of them stands in verdicts.txt beside them, written by `UPDATE_GOLDEN=1 cargo test -p contour-envoy --test certificates`.

Envoy does not verify signatures when it loads a certificate, so most have a signature of zeros.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile

TMP = tempfile.mkdtemp()


def openssl(*args, data=None):
    done = subprocess.run(["openssl", *args], input=data, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(args)}: {done.stderr.decode()}")
    return done.stdout


# --- DER, written by hand so that it can be wrong ---------------------------------------------------------------------------------------

def tlv(tag, *content):
    body = b"".join(content)
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + body


def seq(*content):
    return tlv(0x30, *content)


def raw_int(octets):
    return tlv(2, octets)


def integer(value):
    return raw_int(value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(text):
    first, second, *rest = map(int, text.split("."))
    out = bytes([first * 40 + second])
    for number in rest:
        octets = [number & 127]
        while number := number >> 7:
            octets.insert(0, number & 127 | 128)
        out += bytes(octets)
    return tlv(6, out)


def bits(octets, unused=0):
    return tlv(3, bytes([unused]), octets)


def octet(*content):
    return tlv(4, *content)


NULL = b"\x05\x00"
RSA = "1.2.840.113549.1.1.1"
EC = "1.2.840.10045.2.1"
P256 = "1.2.840.10045.3.1.7"
ECDSA_SHA256 = seq(oid("1.2.840.10045.4.3.2"))


def name(common_name="a.example.com", tag=0x0C):
    text = common_name if isinstance(common_name, bytes) else common_name.encode()
    return seq(tlv(0x31, seq(oid("2.5.4.3"), tlv(tag, text))))


def utc(text):
    return tlv(0x17, text.encode())


def generalized(text):
    return tlv(0x18, text.encode())


def extension(identifier, value, critical=None):
    return seq(oid(identifier), critical or b"", octet(value))


def san(*names):
    return extension("2.5.29.17", seq(*(names or [tlv(0x82, b"a.example.com")])))


TRUE = b"\x01\x01\xff"
V3 = tlv(0xA0, integer(2))


def certificate(key, version=V3, serial=integer(7), algorithm=ECDSA_SHA256, outer=None, issuer=None, validity=None, subject=None,
                spki=None, between=b"", extensions=(san(),), raw_extensions=None, signature=None, after=b"", tail=b""):
    """A certificate of which every field can be replaced by bytes."""
    if raw_extensions is None:
        raw_extensions = tlv(0xA3, seq(*extensions)) if extensions is not None else b""
    tbs = seq(
        version, serial, algorithm, name("issuer") if issuer is None else issuer,
        validity if validity is not None else seq(utc("200101000000Z"), utc("491231235959Z")),
        name() if subject is None else subject,
        spki if spki is not None else public(key), between, raw_extensions, after,
    )
    return seq(tbs, outer if outer is not None else algorithm, bits(bytes(64)) if signature is None else signature, tail)


# --- keys -------------------------------------------------------------------------------------------------------------------------------

KEYS = {}


def key(kind):
    """PKCS #8, in DER; one of each kind."""
    if kind not in KEYS:
        algorithm, *options = kind.split(",")
        args = [arg for option in options for arg in ("-pkeyopt", option)]
        if algorithm == "DSA":
            openssl("genpkey", "-genparam", "-algorithm", "DSA", "-pkeyopt", "dsa_paramgen_bits:2048", "-out", f"{TMP}/dsa")
            pem = openssl("genpkey", "-paramfile", f"{TMP}/dsa")
        else:
            pem = openssl("genpkey", "-algorithm", algorithm, *args)
        KEYS[kind] = openssl("pkcs8", "-topk8", "-nocrypt", "-outform", "DER", data=pem)
    return KEYS[kind]


def public(der):
    return openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", data=der)


def traditional(der, label):
    text = openssl("pkey", "-inform", "DER", "-traditional", data=der).decode()
    body = text.split("-----")[2].strip()
    return base64.b64decode(body)


def rsa_numbers(der):
    """modulus, e, d, p, q, dp, dq, qinv of a PKCS #8 key."""
    body = traditional(der, "RSA")
    out, at = [], 0

    def head(at):
        size, width = body[at + 1], 0
        if size & 128:
            width = size & 127
            size = int.from_bytes(body[at + 2:at + 2 + width], "big")
        return at + 2 + width, size
    at, _ = head(0)
    while at < len(body):
        start, size = head(at)
        out.append(int.from_bytes(body[start:start + size], "big"))
        at = start + size
    return out[1:]


def pkcs1(*numbers, version=0):
    return seq(integer(version), *map(integer, numbers))


def rsa_public(modulus, exponent, parameters=NULL, identifier=RSA):
    return seq(seq(oid(identifier), parameters), bits(seq(integer(modulus), integer(exponent))))


def pkcs8(algorithm, body, version=0, tail=b""):
    return seq(integer(version), algorithm, octet(body), tail)


def rsa_with_exponent(modulus_key, exponent):
    """The same primes with another public exponent, if there is a private one for it."""
    _, _, _, p, q, *_ = rsa_numbers(modulus_key)
    d = pow(exponent, -1, (p - 1) * (q - 1))
    return pkcs1(p * q, exponent, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)), rsa_public(p * q, exponent)


# --- PEM --------------------------------------------------------------------------------------------------------------------------------

def pem(label, der, width=64, end="\n"):
    text = base64.b64encode(der).decode()
    lines = [text[at:at + width] for at in range(0, len(text), width)]
    return end.join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def crt(der):
    return pem("CERTIFICATE", der)


def private(der):
    return pem("PRIVATE KEY", der)


CASES = {}


def case(title, certificate=None, key=None, ca=None):
    files = {"tls.crt": certificate, "tls.key": key, "ca.crt": ca}
    assert title not in CASES, title
    CASES[title] = {file: text for file, text in files.items() if text is not None}


ec = key("EC,ec_paramgen_curve:P-256")
other = key("EC,ec_paramgen_curve:prime256v1")
rsa = key("RSA,rsa_keygen_bits:2048")
CERT = crt(certificate(ec))
KEY = private(ec)
RSA_NUMBERS = rsa_numbers(rsa)
RSA_CERT = crt(certificate(rsa))


def kinds_of_keys():
    for curve in ("P-256", "P-384", "P-521", "P-224", "P-192", "secp256k1", "brainpoolP256r1", "sect233k1"):
        made = key(f"EC,ec_paramgen_curve:{curve}")
        case(f"key-ec-{curve.lower()}", crt(certificate(made)), private(made))
    made = key("EC,ec_paramgen_curve:P-256,ec_param_enc:explicit")
    case("key-ec-explicit-parameters", crt(certificate(made)), private(made))
    case("key-ec-explicit-parameters-in-key-alone", CERT, private(openssl(
        "pkcs8", "-topk8", "-nocrypt", "-outform", "DER",
        data=openssl("ec", "-inform", "DER", "-param_enc", "explicit", data=ec))))
    compressed = openssl("ec", "-inform", "DER", "-pubout", "-conv_form", "compressed", "-outform", "DER", data=ec)
    case("key-ec-compressed-point", crt(certificate(ec, spki=compressed)), KEY)
    hybrid = openssl("ec", "-inform", "DER", "-pubout", "-conv_form", "hybrid", "-outform", "DER", data=ec)
    case("key-ec-hybrid-point", crt(certificate(ec, spki=hybrid)), KEY)
    for size in (512, 1024, 2040, 2047, 2048, 2049, 3072, 4096):
        made = key(f"RSA,rsa_keygen_bits:{size}")
        case(f"key-rsa-{size}", crt(certificate(made)), private(made))
    for size in (8192, 8193, 16384):
        if f"key-rsa-{size}" in KNOWN:  # These take minutes to make.
            CASES[f"key-rsa-{size}"] = {}
            continue
        made = key(f"RSA,rsa_keygen_bits:{size}")
        case(f"key-rsa-{size}", crt(certificate(made)), private(made))
    case("key-rsa-16385", crt(certificate(rsa, spki=rsa_public((1 << 16384) + 1, 65537))), private(rsa))
    for title, exponent in (("3", 3), ("1", 1), ("17", 17), ("33-bits", (1 << 32) + 15), ("34-bits", (1 << 33) + 29), ("64-bits", (1 << 63) + 29)):
        for shift in range(0, 2000, 2):
            try:
                body, spki = rsa_with_exponent(rsa, exponent)
                case(f"key-rsa-exponent-{title}", crt(certificate(rsa, spki=spki)), pem("RSA PRIVATE KEY", body))
                break
            except ValueError:
                if exponent < 100:
                    made = key(f"RSA,rsa_keygen_bits:2048,rsa_keygen_pubexp:{exponent}")
                    case(f"key-rsa-exponent-{title}", crt(certificate(made)), private(made))
                    break
                exponent += 2
    n = RSA_NUMBERS[0]
    case("key-rsa-exponent-even", crt(certificate(rsa, spki=rsa_public(n, 65536))), private(rsa))
    case("key-rsa-modulus-even", crt(certificate(rsa, spki=rsa_public(n + 1, 65537))), private(rsa))
    case("key-rsa-modulus-zero", crt(certificate(rsa, spki=rsa_public(0, 65537))), private(rsa))
    case("key-rsa-modulus-negative", crt(certificate(rsa, spki=rsa_public(-n, 65537))), private(rsa))
    case("key-rsa-exponent-negative", crt(certificate(rsa, spki=rsa_public(n, -65537))), private(rsa))
    case("key-rsa-exponent-larger-than-modulus", crt(certificate(rsa, spki=rsa_public(n, n + 2))), private(rsa))
    case("key-rsa-modulus-not-minimal", crt(certificate(rsa, spki=seq(seq(oid(RSA), NULL), bits(
        seq(raw_int(b"\0\0" + n.to_bytes(256, "big")), integer(65537)))))), private(rsa))
    case("key-rsa-without-null", crt(certificate(rsa, spki=rsa_public(n, 65537, b""))), private(rsa))
    case("key-rsa-junk-parameters", crt(certificate(rsa, spki=rsa_public(n, 65537, seq()))), private(rsa))
    case("key-rsa-oaep-identifier", crt(certificate(rsa, spki=rsa_public(n, 65537, b"", "1.2.840.113549.1.1.7"))), private(rsa))
    case("key-rsa-x500-identifier", crt(certificate(rsa, spki=rsa_public(n, 65537, integer(2048), "2.5.8.1.1"))), private(rsa))
    pss = key("RSA-PSS,rsa_keygen_bits:2048")
    case("key-rsa-pss", crt(certificate(pss)), private(pss))
    limited = key("RSA-PSS,rsa_keygen_bits:2048,rsa_pss_keygen_md:sha256,rsa_pss_keygen_mgf1_md:sha256,rsa_pss_keygen_saltlen:32")
    case("key-rsa-pss-sha256", crt(certificate(limited)), private(limited))
    case("key-rsa-pss-certificate-with-rsa-key", 
         crt(certificate(rsa, spki=rsa_public(n, 65537, b"", "1.2.840.113549.1.1.10"))), private(rsa))
    for algorithm in ("ED25519", "ED448", "X25519", "X448", "DSA"):
        made = key(algorithm)
        case(f"key-{algorithm.lower()}", crt(certificate(made)), private(made))
    case("key-ed25519-with-parameters", crt(certificate(key("ED25519"), spki=seq(seq(oid("1.3.101.112"), NULL), bits(public(key("ED25519"))[-32:])))),
         private(key("ED25519")))
    case("key-ml-dsa-44", crt(certificate(ec, spki=seq(seq(oid("2.16.840.1.101.3.4.3.17")), bits(bytes(1312))))), KEY)
    case("key-unknown", crt(certificate(ec, spki=seq(seq(oid("1.2.3.4.5.6")), bits(bytes(32))))), KEY)


def broken_public_keys():
    point = public(ec)[-65:]
    algorithm = seq(oid(EC), oid(P256))
    off = point[:-1] + bytes([point[-1] ^ 1])
    for title, spki in {
        "point-not-on-curve": seq(algorithm, bits(off)),
        "point-at-infinity": seq(algorithm, bits(b"\0")),
        "point-too-short": seq(algorithm, bits(point[:-1])),
        "point-too-long": seq(algorithm, bits(point + b"\0")),
        "point-empty": seq(algorithm, bits(b"")),
        "unused-bits": seq(algorithm, bits(point, 1)),
        "no-curve": seq(seq(oid(EC)), bits(point)),
        "null-curve": seq(seq(oid(EC), NULL), bits(point)),
        "unknown-curve": seq(seq(oid(EC), oid("1.2.3.4")), bits(point)),
        "trailing": seq(algorithm, bits(point), NULL),
        "trailing-parameters": seq(seq(oid(EC), oid(P256), NULL), bits(point)),
        "octets": seq(algorithm, octet(point)),
        "empty": seq(),
        "no-sequence": NULL,
        "rsa-of-ec-point": seq(seq(oid(RSA), NULL), bits(point)),
        "rsa-trailing": seq(seq(oid(RSA), NULL), bits(seq(integer(RSA_NUMBERS[0]), integer(65537)) + NULL)),
        "rsa-trailing-inside": seq(seq(oid(RSA), NULL), bits(seq(integer(RSA_NUMBERS[0]), integer(65537), integer(1)))),
    }.items():
        case(f"spki-{title}", crt(certificate(ec, spki=spki)), private(rsa) if title.startswith("rsa") else KEY)


def fields():
    for title, change in {
        "version-1": dict(version=b"", extensions=None),
        "version-1-written-out": dict(version=tlv(0xA0, integer(0)), extensions=None),
        "version-2": dict(version=tlv(0xA0, integer(1)), extensions=None),
        "version-4": dict(version=tlv(0xA0, integer(3))),
        "version-negative": dict(version=tlv(0xA0, integer(-1))),
        "version-1-with-extensions": dict(version=b""),
        "version-2-with-extensions": dict(version=tlv(0xA0, integer(1))),
        "version-3-without-extensions": dict(extensions=None),
        "version-1-with-unique-id": dict(version=b"", extensions=None, between=tlv(0x81, b"\0\1")),
        "unique-ids": dict(between=tlv(0x81, b"\0\1") + tlv(0x82, b"\0\1")),
        "unique-ids-swapped": dict(between=tlv(0x82, b"\0\1") + tlv(0x81, b"\0\1")),
        "serial-negative": dict(serial=integer(-7)),
        "serial-zero": dict(serial=integer(0)),
        "serial-21-octets": dict(serial=integer(1 << 160)),
        "serial-200-octets": dict(serial=integer(1 << 1590)),
        "serial-empty": dict(serial=raw_int(b"")),
        "serial-not-minimal": dict(serial=raw_int(b"\0\7")),
        "serial-negative-not-minimal": dict(serial=raw_int(b"\xff\x80")),
        "serial-octets": dict(serial=octet(b"\7")),
        "expired": dict(validity=seq(utc("000101000000Z"), utc("010101000000Z"))),
        "not-yet-valid": dict(validity=seq(utc("480101000000Z"), utc("490101000000Z"))),
        "validity-reversed": dict(validity=seq(utc("490101000000Z"), utc("200101000000Z"))),
        "time-without-seconds": dict(validity=seq(utc("2001010000Z"), utc("491231235959Z"))),
        "time-with-offset": dict(validity=seq(utc("200101000000+0100"), utc("491231235959Z"))),
        "time-without-zone": dict(validity=seq(utc("200101000000"), utc("491231235959Z"))),
        "time-generalized-too-early": dict(validity=seq(generalized("20200101000000Z"), generalized("20491231235959Z"))),
        "time-with-fraction": dict(validity=seq(generalized("20200101000000.5Z"), utc("491231235959Z"))),
        "time-for-ever": dict(validity=seq(utc("200101000000Z"), generalized("99991231235959Z"))),
        "time-year-0": dict(validity=seq(generalized("00000101000000Z"), utc("491231235959Z"))),
        "time-month-13": dict(validity=seq(utc("201301000000Z"), utc("491231235959Z"))),
        "time-february-30": dict(validity=seq(utc("200230000000Z"), utc("491231235959Z"))),
        "time-second-60": dict(validity=seq(utc("200101000060Z"), utc("491231235959Z"))),
        "time-1950": dict(validity=seq(utc("500101000000Z"), utc("491231235959Z"))),
        "time-empty": dict(validity=seq(utc(""), utc("491231235959Z"))),
        "time-text": dict(validity=seq(tlv(0x0C, b"200101000000Z"), utc("491231235959Z"))),
        "time-three": dict(validity=seq(utc("200101000000Z"), utc("491231235959Z"), utc("491231235959Z"))),
        "subject-empty": dict(subject=seq()),
        "subject-empty-no-san": dict(subject=seq(), extensions=None),
        "subject-without-common-name": dict(subject=seq(tlv(0x31, seq(oid("2.5.4.10"), tlv(0x0C, b"Org")))), extensions=None),
        "subject-without-common-name-uri-san": dict(subject=seq(), extensions=(san(tlv(0x86, b"spiffe://a/b")),)),
        "subject-bad-utf8": dict(subject=name(b"\xff\xfe")),
        "subject-printable-with-star": dict(subject=name("*.example.com", 0x13)),
        "subject-ia5-high": dict(subject=name(b"\xe4.example.com", 0x16)),
        "subject-teletex": dict(subject=name(b"\xe4.example.com", 0x14)),
        "subject-bmp": dict(subject=name("a.example.com".encode("utf-16-be"), 0x1E)),
        "subject-bmp-odd": dict(subject=name(b"abc", 0x1E)),
        "subject-universal": dict(subject=name("a.example.com".encode("utf-32-be"), 0x1C)),
        "subject-universal-odd": dict(subject=name(b"abcde", 0x1C)),
        "subject-numeric": dict(subject=name(b"12 34", 0x12)),
        "subject-visible": dict(subject=name(b"a.example.com", 0x1A)),
        "subject-integer": dict(subject=name(b"\7", 2)),
        "subject-boolean": dict(subject=name(b"\1", 1)),
        "subject-sequence": dict(subject=name(b"", 0x30)),
        "subject-octets": dict(subject=name(b"abc", 4)),
        "subject-bits": dict(subject=name(b"\0abc", 3)),
        "subject-null": dict(subject=name(b"", 5)),
        "subject-empty-text": dict(subject=name("")),
        "subject-nul": dict(subject=name("a.example.com\0.evil")),
        "subject-long": dict(subject=name("a" * 3000)),
        "subject-empty-set": dict(subject=seq(tlv(0x31))),
        "subject-no-set": dict(subject=seq(seq(oid("2.5.4.3"), tlv(0x0C, b"a")))),
        "subject-set-unsorted": dict(subject=seq(tlv(0x31, seq(oid("2.5.4.10"), tlv(0x0C, b"b")), seq(oid("2.5.4.3"), tlv(0x0C, b"a"))))),
        "subject-attribute-trailing": dict(subject=seq(tlv(0x31, seq(oid("2.5.4.3"), tlv(0x0C, b"a"), NULL)))),
        "subject-set": dict(subject=tlv(0x31)),
        "subject-boolean-true": dict(subject=name(b"\xff", 1)),
        "subject-boolean-empty": dict(subject=name(b"", 1)),
        "subject-integer-not-minimal": dict(subject=name(b"\0\7", 2)),
        "subject-integer-empty": dict(subject=name(b"", 2)),
        "subject-integer-zero": dict(subject=name(b"\0", 2)),
        "subject-integer-negative": dict(subject=name(b"\x80", 2)),
        "subject-enumerated-zero": dict(subject=name(b"\0", 10)),
        "subject-general-string": dict(subject=name(b"\xe4", 27)),
        "subject-general-string-empty": dict(subject=name(b"", 27)),
        "subject-videotex": dict(subject=name(b"a", 21)),
        "subject-enumerated": dict(subject=name(b"\7", 10)),
        "subject-octets-empty": dict(subject=name(b"", 4)),
        "subject-bits-empty": dict(subject=name(b"", 3)),
        "subject-bits-none": dict(subject=name(b"\0", 3)),
        "subject-bits-unused": dict(subject=name(b"\3\xff", 3)),
        "subject-null-long": dict(subject=name(b"a", 5)),
        "subject-object": dict(subject=name(b"\x2a\3", 6)),
        "subject-object-bad": dict(subject=name(b"\x80\1", 6)),
        "subject-relative-object": dict(subject=name(b"\3", 13)),
        "subject-type-15": dict(subject=name(b"a", 15)),
        "subject-type-14": dict(subject=name(b"a", 14)),
        "subject-type-0": dict(subject=name(b"a", 0)),
        "subject-type-29": dict(subject=name(b"a", 29)),
        "subject-type-29-constructed": dict(subject=name(NULL, 0x3D)),
        "subject-type-8": dict(subject=name(b"a", 8)),
        "subject-set-inside": dict(subject=name(b"", 0x31)),
        "subject-sequence-of-junk": dict(subject=name(b"junk", 0x30)),
        "subject-sequence-primitive": dict(subject=name(b"", 0x10)),
        "subject-context": dict(subject=name(b"a", 0x80)),
        "subject-context-empty": dict(subject=name(b"", 0x80)),
        "subject-context-constructed": dict(subject=name(b"junk", 0xA0)),
        "subject-application": dict(subject=name(b"a", 0x41)),
        "subject-private": dict(subject=name(b"a", 0xC1)),
        "subject-high-tag": dict(subject=seq(tlv(0x31, seq(oid("2.5.4.3"), b"\x9f\x21\x01a")))),
        "subject-high-tag-low-number": dict(subject=seq(tlv(0x31, seq(oid("2.5.4.3"), b"\x9f\x01\x01a")))),
        "subject-high-tag-universal": dict(subject=seq(tlv(0x31, seq(oid("2.5.4.3"), b"\x1f\x21\x01a")))),
        "subject-utc-time": dict(subject=name(b"200101000000Z", 23)),
        "subject-utc-time-bad": dict(subject=name(b"2001", 23)),
        "subject-generalized-time": dict(subject=name(b"20200101000000Z", 24)),
        "subject-generalized-time-offset": dict(subject=name(b"20200101000000+0100", 24)),
        "subject-utf8-surrogate": dict(subject=name(b"\xed\xa0\x80")),
        "subject-utf8-noncharacter": dict(subject=name("\ufffe")),
        "subject-utf8-reserved": dict(subject=name("\ufdd0")),
        "subject-utf8-high": dict(subject=name("\U0010fffd")),
        "subject-bmp-surrogates": dict(subject=name(b"\xd8\0\xdc\0", 0x1E)),
        "subject-bmp-noncharacter": dict(subject=name(b"\xff\xfe", 0x1E)),
        "subject-universal-surrogate": dict(subject=name(b"\0\0\xd8\0", 0x1C)),
        "subject-blank": dict(subject=name(" ")),
        "subject-empty-text-no-san": dict(subject=name(""), extensions=None),
        "subject-empty-printable": dict(subject=name("", 0x13)),
        "subject-empty-first-of-two": dict(subject=seq(tlv(0x31, seq(oid("2.5.4.3"), tlv(12))), tlv(0x31, seq(oid("2.5.4.3"), tlv(12, b"a"))))),
        "subject-empty-second-of-two": dict(subject=seq(tlv(0x31, seq(oid("2.5.4.3"), tlv(12, b"a"))), tlv(0x31, seq(oid("2.5.4.3"), tlv(12))))),
        "subject-common-name-no-san": dict(extensions=None),
        "subject-null-no-san": dict(subject=name(b"", 5), extensions=None),
        "subject-context-no-san": dict(subject=name(b"", 0x80), extensions=None),
        **{f"nameless-{title}": dict(subject=seq(), extensions=tuple(found)) for title, found in {
            "san-dns": [san(tlv(0x82, b"a"))], "san-ip": [san(tlv(0x87, b"\1\2\3\4"))], "san-uri": [san(tlv(0x86, b"a:b"))],
            "san-email": [san(tlv(0x81, b"a@b"))], "san-directory": [san(tlv(0xA4, name()))],
            "san-registered-id": [san(tlv(0x88, b"\x2a\3"))], "san-email-and-dns": [san(tlv(0x81, b"a@b"), tlv(0x82, b"a"))],
            "san-dns-empty": [san(tlv(0x82, b""))], "san-ip-empty": [san(tlv(0x87, b""))], "san-dns-high": [san(tlv(0x82, b"\xe4"))],
            "san-twice": [san(), san()], "san-garbage": [extension("2.5.29.17", b"garbage")],
            "san-trailing": [extension("2.5.29.17", seq(tlv(0x82, b"a")) + NULL)],
            "san-empty": [extension("2.5.29.17", seq())], "san-unknown-and-dns": [san(tlv(0x8F, b"a"), tlv(0x82, b"a"))],
            "san-dns-then-junk": [san(tlv(0x82, b"a"), b"\x82")], "san-registered-bad-and-dns": [san(tlv(0x88, b"\x80"), tlv(0x82, b"a"))],
            "san-other-bad-and-dns": [san(tlv(0xA0, b"junk"), tlv(0x82, b"a"))],
            "san-other-and-dns": [san(tlv(0xA0, oid("1.2.3"), tlv(0xA0, NULL)), tlv(0x82, b"a"))],
            "san-directory-bad-and-dns": [san(tlv(0xA4, b"junk"), tlv(0x82, b"a"))],
            "san-directory-and-dns": [san(tlv(0xA4, name()), tlv(0x82, b"a"))],
            "san-x400-and-dns": [san(tlv(0xA3, NULL), tlv(0x82, b"a"))], "san-edi-and-dns": [san(tlv(0xA5, tlv(0xA1, tlv(12, b"a"))), tlv(0x82, b"a"))],
            "san-edi-ia5-and-dns": [san(tlv(0xA5, tlv(0xA1, tlv(22, b"a"))), tlv(0x82, b"a"))],
            "san-edi-assigner-and-dns": [san(tlv(0xA5, tlv(0xA0, tlv(19, b"a")), tlv(0xA1, tlv(12, b"a"))), tlv(0x82, b"a"))],
            "san-edi-bad-utf8-and-dns": [san(tlv(0xA5, tlv(0xA1, tlv(12, b"\xff"))), tlv(0x82, b"a"))],
            "san-directory-trailing-and-dns": [san(tlv(0xA4, name(), NULL), tlv(0x82, b"a"))],
            "san-other-trailing-and-dns": [san(tlv(0xA0, oid("1.2.3"), tlv(0xA0, NULL, NULL)), tlv(0x82, b"a"))],
            "san-other-boolean-and-dns": [san(tlv(0xA0, oid("1.2.3"), tlv(0xA0, b"\1\1\1")), tlv(0x82, b"a"))],
            "san-x400-junk-and-dns": [san(tlv(0xA3, b"junk"), tlv(0x82, b"a"))],
            "san-edi-bad-and-dns": [san(tlv(0xA5, NULL), tlv(0x82, b"a"))],
            "san-dns-constructed": [san(tlv(0xA2, tlv(0x16, b"a")))],
            "san-in-issuer-extension": [extension("2.5.29.18", seq(tlv(0x82, b"a")))],
        }.items()},
        "issuer-empty": dict(issuer=seq()),
        "issuer-bad-utf8": dict(issuer=name(b"\xff")),
        "issuer-bmp-odd": dict(issuer=name(b"abc", 0x1E)),
        "algorithm-differs-outside": dict(outer=seq(oid("1.2.840.10045.4.3.3"))),
        "algorithm-unknown": dict(algorithm=seq(oid("1.2.3.4"))),
        "algorithm-md5": dict(algorithm=seq(oid("1.2.840.113549.1.1.4"), NULL)),
        "algorithm-pss": dict(algorithm=seq(oid("1.2.840.113549.1.1.10"), seq())),
        "algorithm-ecdsa-with-null": dict(algorithm=seq(oid("1.2.840.10045.4.3.2"), NULL)),
        "algorithm-trailing": dict(algorithm=seq(oid("1.2.840.10045.4.3.2"), NULL, NULL)),
        "algorithm-empty": dict(algorithm=seq()),
        "algorithm-bad-identifier": dict(algorithm=seq(tlv(6, b"\x80\x01"))),
        "algorithm-empty-identifier": dict(algorithm=seq(tlv(6))),
        "signature-empty": dict(signature=bits(b"")),
        "signature-unused-bits": dict(signature=bits(bytes(64), 3)),
        "signature-unused-bits-set": dict(signature=bits(b"\xff" * 64, 3)),
        "signature-8-unused-bits": dict(signature=bits(bytes(64), 8)),
        "signature-no-octets": dict(signature=tlv(3)),
        "signature-octets": dict(signature=octet(bytes(64))),
        "trailing-inside": dict(tail=NULL),
        "trailing-in-tbs": dict(after=NULL),
    }.items():
        case(f"field-{title}", crt(certificate(ec, **change)), KEY)
    good = certificate(ec)
    case("der-trailing", crt(good + b"\0"), KEY)
    case("der-trailing-certificate", crt(good + good), KEY)
    case("der-truncated", crt(good[:-1]), KEY)
    case("der-empty", crt(b""), KEY)
    case("der-indefinite-length", crt(b"\x30\x80" + good[4:] + b"\0\0"), KEY)
    case("der-long-length", crt(b"\x30\x83\0" + good[2:]), KEY)
    case("der-set", crt(b"\x31" + good[1:]), KEY)
    case("der-no-certificate", crt(b"not a certificate"), KEY)
    case("der-is-key", crt(ec), KEY)
    case("der-signature-indefinite", crt(certificate(ec, signature=b"\x23\x80" + bits(bytes(8)) + b"\0\0")), KEY)
    case("der-subject-constructed-text", crt(certificate(ec, subject=seq(tlv(0x31, seq(oid("2.5.4.3"), tlv(0x2C, tlv(4, b"a"))))))), KEY)


def extensions():
    basic = lambda value, critical=TRUE: extension("2.5.29.19", value, critical)
    for title, found in {
        "duplicate": (san(), san()),
        "duplicate-unknown": (extension("1.2.3.4", NULL), extension("1.2.3.4", NULL)),
        "unknown-critical": (san(), extension("1.2.3.4", NULL, TRUE)),
        "critical-false-written-out": (san(), extension("1.2.3.4", NULL, b"\x01\x01\x00")),
        "critical-not-ff": (san(), extension("1.2.3.4", NULL, b"\x01\x01\x01")),
        "critical-wide": (san(), extension("1.2.3.4", NULL, b"\x01\x02\xff\xff")),
        "value-empty": (san(), extension("1.2.3.4", b"")),
        "value-not-octets": (san(), seq(oid("1.2.3.4"), NULL)),
        "trailing": (san(), seq(oid("1.2.3.4"), octet(NULL), NULL)),
        "no-identifier": (san(), seq(octet(NULL))),
        "san-empty": (san(b""),),
        "san-garbage": (extension("2.5.29.17", b"garbage"),),
        "san-trailing": (extension("2.5.29.17", seq(tlv(0x82, b"a.example.com")) + NULL),),
        "san-ip-3-octets": (san(tlv(0x87, b"\1\2\3")),),
        "san-dns-high": (san(tlv(0x82, b"\xe4.example.com")),),
        "san-dns-nul": (san(tlv(0x82, b"a.example.com\0.evil")),),
        "san-dns-empty": (san(tlv(0x82, b"")),),
        "san-unknown-tag": (san(tlv(0x8F, b"a")),),
        "san-email": (san(tlv(0x81, b"a@example.com")),),
        "san-directory": (san(tlv(0xA4, name())),),
        "san-other-name": (san(tlv(0xA0, oid("1.2.3"), tlv(0xA0, NULL))),),
        "san-registered-id": (san(tlv(0x88, b"\x2a\x03")),),
        "san-500": (san(*(tlv(0x82, b"a%d.example.com" % n) for n in range(500))),),
        "basic-ca": (san(), basic(seq(TRUE))),
        "basic-garbage": (san(), basic(b"garbage")),
        "basic-path-negative": (san(), basic(seq(TRUE, integer(-1)))),
        "basic-false-written-out": (san(), basic(seq(b"\x01\x01\x00"))),
        "basic-trailing": (san(), basic(seq(TRUE) + NULL)),
        "basic-path-without-ca": (san(), basic(seq(integer(3)))),
        "usage-none": (san(), extension("2.5.29.15", bits(b"\0"), TRUE)),
        "usage-empty": (san(), extension("2.5.29.15", bits(b""), TRUE)),
        "usage-sign-certificates-only": (san(), extension("2.5.29.15", bits(b"\x04", 2), TRUE)),
        "usage-encipherment-only": (san(), extension("2.5.29.15", bits(b"\x20", 5), TRUE)),
        "usage-garbage": (san(), extension("2.5.29.15", b"garbage", TRUE)),
        "extended-usage-client": (san(), extension("2.5.29.37", seq(oid("1.3.6.1.5.5.7.3.2")))),
        "extended-usage-empty": (san(), extension("2.5.29.37", seq())),
        "extended-usage-garbage": (san(), extension("2.5.29.37", b"garbage")),
        "subject-key-garbage": (san(), extension("2.5.29.14", b"garbage")),
        "authority-key-garbage": (san(), extension("2.5.29.35", b"garbage")),
        "name-constraints": (san(), extension("2.5.29.30", seq(tlv(0xA0, seq(tlv(0x82, b"example.com")))), TRUE)),
        "name-constraints-garbage": (san(), extension("2.5.29.30", b"garbage", TRUE)),
        "policies-garbage": (san(), extension("2.5.29.32", b"garbage")),
        "crl-points-garbage": (san(), extension("2.5.29.31", b"garbage")),
        "proxy-information": (san(), extension("1.3.6.1.5.5.7.1.14", seq(seq(oid("1.3.6.1.5.5.7.21.1"))), TRUE)),
        "netscape-garbage": (san(), extension("2.16.840.1.113730.1.1", b"garbage")),
        "must-staple": (san(), extension("1.3.6.1.5.5.7.1.24", seq(integer(5)))),
        "must-staple-garbage": (san(), extension("1.3.6.1.5.5.7.1.24", b"garbage")),
        "poison": (san(), extension("1.3.6.1.4.1.11129.2.4.3", NULL, TRUE)),
        "none": (),
    }.items():
        case(f"extension-{title}", crt(certificate(ec, extensions=found)), KEY)
    usage = lambda octets, unused=0: extension("2.5.29.15", bits(octets, unused), TRUE)
    for title, found in {
        "sign": (usage(b"\x80", 7),), "sign-and-more": (usage(b"\xa0", 5),), "sign-9-bits": (usage(b"\x80\x80", 7),),
        "sign-not-minimal": (usage(b"\x80"),), "unused-set": (usage(b"\xff", 5),), "trailing": (extension("2.5.29.15", bits(b"\x80", 7) + NULL),),
        "empty-value": (extension("2.5.29.15", b""),), "twice-first-good": (usage(b"\x80", 7), usage(b"\x20", 5)),
        "twice-second-good": (usage(b"\x20", 5), usage(b"\x80", 7)),
    }.items():
        case(f"usage-{title}", crt(certificate(ec, extensions=(san(), *found))), KEY)
    for title, found in {"none": usage(b"\0"), "garbage": extension("2.5.29.15", b"garbage", TRUE), "encipherment": usage(b"\x20", 5)}.items():
        case(f"usage-rsa-{title}", crt(certificate(rsa, extensions=(san(), found))), private(rsa))
        case(f"usage-ed25519-{title}", crt(certificate(key("ED25519"), extensions=(san(), found))), private(key("ED25519")))
        case(f"usage-issuer-{title}", CERT + crt(certificate(other, extensions=(san(), found))), KEY)
    staple = extension("1.3.6.1.5.5.7.1.24", seq(integer(5)))
    for title, found in {
        "critical": (extension("1.3.6.1.5.5.7.1.24", seq(integer(5)), TRUE),), "and-more": (extension("1.3.6.1.5.5.7.1.24", seq(integer(5), integer(17))),),
        "twice": (staple, staple), "second": (extension("1.3.6.1.5.5.7.1.24", seq()), staple),
    }.items():
        case(f"must-staple-{title}", crt(certificate(ec, extensions=(san(), *found))), KEY)
    case("must-staple-issuer", CERT + crt(certificate(other, extensions=(staple,))), KEY)
    case("extension-identifier-bad", crt(certificate(ec, extensions=(san(), seq(tlv(6, b"\x80\1"), octet(NULL))))), KEY)
    case("extension-empty-sequence", crt(certificate(ec, extensions=(san(), seq()))), KEY)
    case("extension-critical-empty", crt(certificate(ec, extensions=(san(), extension("1.2.3.4", NULL, b"\1\0")))), KEY)
    case("extension-block-empty", crt(certificate(ec, raw_extensions=tlv(0xA3))), KEY)
    case("extension-block-twice", crt(certificate(ec, raw_extensions=tlv(0xA3, seq(san())) * 2)), KEY)
    case("extension-block-trailing", crt(certificate(ec, raw_extensions=tlv(0xA3, seq(san()), NULL))), KEY)
    case("extension-block-set", crt(certificate(ec, raw_extensions=tlv(0xA3, tlv(0x31, san())))), KEY)


def chains():
    weak = {
        "p-224": key("EC,ec_paramgen_curve:P-224"), "secp256k1": key("EC,ec_paramgen_curve:secp256k1"),
        "rsa-1024": key("RSA,rsa_keygen_bits:1024"), "rsa-pss": key("RSA-PSS,rsa_keygen_bits:2048"), "ed25519": key("ED25519"),
        "ed448": key("ED448"), "dsa": key("DSA"), "rsa": rsa, "explicit": key("EC,ec_paramgen_curve:P-256,ec_param_enc:explicit"),
    }
    for title, made in weak.items():
        case(f"chain-issuer-{title}", CERT + crt(certificate(made, subject=name("issuer"))), KEY)
    for title, second in {
        "itself": CERT,
        "unrelated": crt(certificate(other, subject=name("other"))),
        "version-1": crt(certificate(other, version=b"", extensions=None)),
        "expired": crt(certificate(other, validity=seq(utc("000101000000Z"), utc("010101000000Z")))),
        "garbage": crt(b"garbage"), "empty": crt(b""),
        "trailing": crt(certificate(other) + b"\0"),
        "truncated": crt(certificate(other)[:-1]),
        "serial-negative": crt(certificate(other, serial=integer(-7))),
        "duplicate-extension": crt(certificate(other, extensions=(san(), san()))),
        "point-not-on-curve": crt(certificate(other, spki=seq(seq(oid(EC), oid(P256)), bits(b"\4" + b"\1" * 64)))),
        "unknown-key": crt(certificate(other, spki=seq(seq(oid("1.2.3.4")), bits(b"abc")))),
        "spki-garbage": crt(certificate(other, spki=seq())),
        "rsa-exponent-even": crt(certificate(rsa, spki=rsa_public(RSA_NUMBERS[0], 65536))),
        "rsa-modulus-zero": crt(certificate(rsa, spki=rsa_public(0, 65537))),
        "algorithms-differ": crt(certificate(other, outer=seq(oid("1.2.3.4")))),
        "time-month-13": crt(certificate(other, validity=seq(utc("201301000000Z"), utc("491231235959Z")))),
    }.items():
        case(f"chain-{title}", CERT + second, KEY)
    case("chain-leaf-second", crt(certificate(other, subject=name("issuer"))) + CERT, KEY)
    case("chain-50", CERT + crt(certificate(other, subject=name("issuer"))) * 49, KEY)
    case("chain-two-leaves-second-matches", RSA_CERT + CERT, KEY)
    case("chain-rsa-and-ec", RSA_CERT + CERT, private(rsa))


def blocks():
    block = lambda label: pem(label, certificate(other))
    case("block-private-key-beside", CERT + private(other), KEY)
    case("block-own-key-beside", CERT + KEY, KEY)
    case("block-key-before-certificate", KEY + CERT, KEY)
    case("block-key-alone", KEY, KEY)
    case("block-swapped", KEY, CERT)
    crl = seq(seq(integer(1), ECDSA_SHA256, name("issuer"), utc("200101000000Z"), utc("491231235959Z")), ECDSA_SHA256, bits(bytes(64)))
    for label, text in {
        "x509-certificate": block("X509 CERTIFICATE"), "trusted-certificate": block("TRUSTED CERTIFICATE"),
        "crl": pem("X509 CRL", crl), "pkcs7": pem("PKCS7", seq()), "request": pem("CERTIFICATE REQUEST", seq()),
        "dh-parameters": pem("DH PARAMETERS", seq(integer(23), integer(5))), "public-key": pem("PUBLIC KEY", public(ec)),
        "label-key-text": pem("MIIEowIBAAKCAQEA" + "x" * 300, seq()), "no-label": pem("", seq()), "lower-case": block("certificate"),
        "new": pem("SOMETHING NEW", b"abc"),
    }.items():
        case(f"block-{label}-beside", CERT + text, KEY)
        if label in ("x509-certificate", "trusted-certificate", "lower-case"):
            case(f"block-{label}-alone", text.replace(block("x").split("\n")[1], CERT.split("\n")[1]), KEY)
    trusted = certificate(ec)
    case("block-own-x509-certificate", pem("X509 CERTIFICATE", trusted), KEY)
    case("block-own-trusted-certificate", pem("TRUSTED CERTIFICATE", trusted), KEY)


def damage(text):
    """Ways in which a PEM file is damaged on its way into a Secret."""
    lines = text.rstrip("\n").split("\n")
    head, body, foot = lines[0], lines[1:-1], lines[-1]
    yield "literal-line-ends", text.replace("\n", "\\n")
    yield "literal-line-ends-in-body", head + "\n" + "\\n".join(body) + "\n" + foot + "\n"
    yield "one-line", " ".join(lines) + "\n"
    yield "no-line-ends", "".join(lines) + "\n"
    yield "no-header", "\n".join(lines[1:]) + "\n"
    yield "no-footer", "\n".join(lines[:-1]) + "\n"
    yield "body-alone", "\n".join(body) + "\n"
    yield "footer-of-another", "\n".join([head, *body, "-----END SOMETHING-----"]) + "\n"
    yield "footer-cut", "\n".join([head, *body, foot[:-3]]) + "\n"
    yield "header-cut", "\n".join([head[1:], *body, foot]) + "\n"
    yield "header-long-dashes", "\n".join(["-" + head + "-", *body, foot]) + "\n"
    yield "header-again", head + "\n" + text
    yield "half", "\n".join([head, *body[:len(body) // 2], foot]) + "\n"
    yield "half-without-footer", "\n".join([head, *body[:len(body) // 2]]) + "\n"
    yield "base64-star", "\n".join([head, "*" + body[0][1:], *body[1:], foot]) + "\n"
    yield "base64-missing-character", "\n".join([head, body[0][1:], *body[1:], foot]) + "\n"
    yield "base64-url", "\n".join([head, *(line.replace("+", "-").replace("/", "_") for line in body), foot]) + "\n"
    yield "base64-padding-gone", "\n".join([head, *body[:-1], body[-1].rstrip("="), foot]) + "\n"
    yield "base64-padding-more", "\n".join([head, *body, "====", foot]) + "\n"
    yield "base64-after-padding", "\n".join([head, *body, "QUJD", foot]) + "\n"
    yield "base64-twice", base64.b64encode(text.encode()).decode()
    yield "base64-body-twice", "\n".join([head, base64.b64encode("".join(body).encode()).decode(), foot]) + "\n"
    yield "long-lines", "\n".join([head, "".join(body), foot]) + "\n"
    yield "short-lines", "\n".join([head, *(c for c in "".join(body)), foot]) + "\n"
    yield "uneven-lines", "\n".join([head, "".join(body)[:7], "".join(body)[7:90], "".join(body)[90:], foot]) + "\n"
    yield "crlf", text.replace("\n", "\r\n")
    yield "cr", text.replace("\n", "\r")
    yield "no-last-line-end", text.rstrip("\n")
    yield "blank-lines", text.replace("\n", "\n\n")
    yield "blank-line-after-header", "\n".join([head, "", *body, foot]) + "\n"
    yield "indented", "".join(f"  {line}\n" for line in lines)
    yield "body-indented", "\n".join([head, *("  " + line for line in body), foot]) + "\n"
    yield "trailing-spaces", "".join(f"{line}  \n" for line in lines)
    yield "tabs", "".join(f"{line}\t\n" for line in lines)
    yield "byte-order-mark", "\ufeff" + text
    yield "byte-order-mark-after-text", "text\n\ufeff" + text
    yield "nul-before", "\0" + text
    yield "nul-inside", "\n".join([head, body[0] + "\0", *body[1:], foot]) + "\n"
    yield "nul-after", text + "\0"
    yield "utf-16", "".join(c + "\0" for c in text)
    yield "quoted", f'"{text}"'
    yield "text-before", "Bag Attributes\n    localKeyID: 01\nsubject=CN = a\n" + text
    yield "text-after", text + "that was all\n"
    yield "text-before-same-line", "key: " + text
    yield "text-before-utf8", "# Schlüssel für a\n" + text
    yield "dashes-before", "-----\n" + text
    yield "begin-before", "-----BEGIN\n" + text
    yield "begin-text-before", "-----BEGIN of a certificate\n" + text
    yield "end-before", foot + "\n" + text
    yield "begin-after", text + "-----BEGIN\n"
    yield "header-unfinished-after", text + "-----BEGIN CERTIFICATE-----\n"
    yield "header-of-another-after", text + "-----BEGIN OTHER-----\n"
    yield "headers", "\n".join([head, "Comment: a", "", *body, foot]) + "\n"
    yield "headers-without-blank-line", "\n".join([head, "Comment: a", *body, foot]) + "\n"
    yield "comment-inside", "\n".join([head, body[0], "# comment", *body[1:], foot]) + "\n"
    yield "proc-type-clear", "\n".join([head, "Proc-Type: 4,MIC-CLEAR", "", *body, foot]) + "\n"
    yield "proc-type-encrypted", "\n".join([head, "Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC," + "0" * 32, "", *body, foot]) + "\n"
    yield "lower-case-begin", "\n".join([head.replace("BEGIN", "begin"), *body, foot.replace("END", "end")]) + "\n"
    yield "soft-hyphens", text.replace("-----", "\u2013\u2013\u2013")
    yield "comment-long", "#" + "x" * 5000 + "\n" + text
    yield "yaml-pipe", "|\n" + "".join(f"  {line}\n" for line in lines)


def files():
    for title, text in damage(CERT):
        case(f"pem-crt-{title}", text, KEY)
    for title, text in damage(KEY):
        case(f"pem-key-{title}", CERT, text)


def forms_of_keys():
    sec1 = traditional(ec, "EC")
    p1 = traditional(rsa, "RSA")
    n, e, d, p, q, dp, dq, qi = RSA_NUMBERS
    parameters = pem("EC PARAMETERS", oid(P256))
    scalar = sec1[7:39]
    point = public(ec)[-65:]
    algorithm = seq(oid(EC), oid(P256))

    def ec_key(scalar=scalar, version=1, curve=tlv(0xA0, oid(P256)), point=tlv(0xA1, bits(point)), tail=b""):
        return seq(integer(version), octet(scalar), curve, point, tail)
    pkcs8_ec = lambda body, **more: private(pkcs8(algorithm, body, **more))
    EC_LABEL, RSA_LABEL = "EC PRIVATE KEY", "RSA PRIVATE KEY"
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for title, text in {
        "sec1": pem(EC_LABEL, sec1),
        "sec1-with-parameters": parameters + pem(EC_LABEL, sec1),
        "sec1-with-other-parameters": pem("EC PARAMETERS", oid("1.3.132.0.34")) + pem(EC_LABEL, sec1),
        "sec1-parameters-after": pem(EC_LABEL, sec1) + parameters,
        "sec1-without-curve": pem(EC_LABEL, ec_key(curve=b"")),
        "sec1-without-curve-with-parameters": parameters + pem(EC_LABEL, ec_key(curve=b"")),
        "sec1-without-point": pem(EC_LABEL, ec_key(point=b"")),
        "sec1-version-0": pem(EC_LABEL, ec_key(version=0)),
        "sec1-version-2": pem(EC_LABEL, ec_key(version=2)),
        "sec1-scalar-zero": pem(EC_LABEL, ec_key(bytes(32))),
        "sec1-scalar-order": pem(EC_LABEL, ec_key(order.to_bytes(32, "big"))),
        "sec1-scalar-too-large": pem(EC_LABEL, ec_key(b"\xff" * 32)),
        "sec1-scalar-33-octets": pem(EC_LABEL, ec_key(b"\0" + scalar)),
        "sec1-scalar-31-octets": pem(EC_LABEL, ec_key(scalar[1:])),
        "sec1-point-of-another": pem(EC_LABEL, ec_key(point=tlv(0xA1, bits(public(other)[-65:])))),
        "sec1-point-compressed": pem(EC_LABEL, ec_key(point=tlv(0xA1, bits(bytes([2 + (point[-1] & 1)]) + point[1:33])))),
        "sec1-point-not-on-curve": pem(EC_LABEL, ec_key(point=tlv(0xA1, bits(point[:-1] + bytes([point[-1] ^ 1]))))),
        "sec1-trailing-inside": pem(EC_LABEL, ec_key(tail=NULL)),
        "sec1-trailing": pem(EC_LABEL, sec1 + b"\0"),
        "sec1-unknown-curve": pem(EC_LABEL, ec_key(curve=tlv(0xA0, oid("1.2.3")))),
        "sec1-other-curve": pem(EC_LABEL, ec_key(curve=tlv(0xA0, oid("1.3.132.0.34")))),
        "pkcs8-without-curve-inside": pkcs8_ec(ec_key(curve=b"")),
        "pkcs8-without-point": pkcs8_ec(ec_key(curve=b"", point=b"")),
        "pkcs8-other-curve-inside": pkcs8_ec(ec_key(curve=tlv(0xA0, oid("1.3.132.0.34")))),
        "pkcs8-point-of-another": pkcs8_ec(ec_key(curve=b"", point=tlv(0xA1, bits(public(other)[-65:])))),
        "pkcs8-scalar-zero": pkcs8_ec(ec_key(bytes(32))),
        "pkcs8-scalar-too-large": pkcs8_ec(ec_key(b"\xff" * 32)),
        "pkcs8-attributes": pkcs8_ec(sec1, tail=tlv(0xA0, seq(oid("1.2.3"), tlv(0x31)))),
        "pkcs8-version-1": pkcs8_ec(sec1, version=1),
        "pkcs8-version-1-public": pkcs8_ec(sec1, version=1, tail=tlv(0x81, b"\0", point)),
        "pkcs8-version-2": pkcs8_ec(sec1, version=2),
        "pkcs8-trailing": private(ec + b"\0"),
        "pkcs8-trailing-inside": pkcs8_ec(sec1, tail=NULL),
        "pkcs8-key-trailing": pkcs8_ec(sec1 + b"\0"),
        "pkcs8-no-curve": private(pkcs8(seq(oid(EC)), sec1)),
        "pkcs8-ec-identifier-rsa-body": private(pkcs8(algorithm, p1)),
        "pkcs8-unknown-algorithm": private(pkcs8(seq(oid("1.2.3.4")), sec1)),
        "pkcs8-labelled-sec1": pem(EC_LABEL, ec),
        "sec1-labelled-pkcs8": private(sec1),
        "sec1-labelled-rsa": pem(RSA_LABEL, sec1),
        "encrypted": openssl("pkcs8", "-topk8", "-inform", "DER", "-passout", "pass:secret", data=ec).decode(),
        "encrypted-empty-password": openssl("pkcs8", "-topk8", "-inform", "DER", "-passout", "pass:", data=ec).decode(),
        "encrypted-traditional": openssl("ec", "-inform", "DER", "-aes128", "-passout", "pass:secret", data=ec).decode(),
        "openssh": pem("OPENSSH PRIVATE KEY", b"openssh-key-v1\0" + bytes(64)),
        "public": pem("PUBLIC KEY", public(ec)),
        "any-label": pem("ANY PRIVATE KEY", ec),
        "lower-label": pem("private key", ec),
        "dsa-label": pem("DSA PRIVATE KEY", ec),
        "ed25519-label": pem("ED25519 PRIVATE KEY", ec),
        "twice": KEY + KEY,
        "then-another": KEY + private(other),
        "after-another": private(other) + KEY,
        "rsa-then-own": private(rsa) + KEY,
        "then-certificate": KEY + CERT,
        "after-certificate": CERT + KEY,
        "then-certificates": KEY + CERT + RSA_CERT,
        "then-dh-parameters": KEY + pem("DH PARAMETERS", seq(integer(23), integer(5))),
        "after-dh-parameters": pem("DH PARAMETERS", seq(integer(23), integer(5))) + KEY,
        "after-public": pem("PUBLIC KEY", public(ec)) + KEY,
        "after-garbage-block": pem("SOMETHING", b"abc") + KEY,
        "after-encrypted": openssl("pkcs8", "-topk8", "-inform", "DER", "-passout", "pass:secret", data=other).decode() + KEY,
        "after-broken": private(b"garbage") + KEY,
        "then-broken": KEY + private(b"garbage"),
        "garbage": private(b"garbage"),
        "empty-block": private(b""),
        "mismatch": private(other),
        "mismatch-kind": private(rsa),
        "no-pem": "not a key",
    }.items():
        case(f"form-{title}", CERT, text)
    for title, text in {
        "pkcs1": pem(RSA_LABEL, p1), "pkcs8": private(rsa), "pkcs1-labelled-pkcs8": private(p1), "pkcs8-labelled-pkcs1": pem(RSA_LABEL, rsa),
        "pkcs1-trailing": pem(RSA_LABEL, p1 + b"\0"),
        "pkcs1-trailing-inside": pem(RSA_LABEL, pkcs1(n, e, d, p, q, dp, dq, qi, 1)),
        "version-1": pem(RSA_LABEL, pkcs1(n, e, d, p, q, dp, dq, qi, version=1)),
        "version-2": pem(RSA_LABEL, pkcs1(n, e, d, p, q, dp, dq, qi, version=2)),
        "primes-swapped": pem(RSA_LABEL, pkcs1(n, e, d, q, p, dq, dp, pow(p, -1, q))),
        "wrong-d": pem(RSA_LABEL, pkcs1(n, e, d + 2, p, q, dp, dq, qi)),
        "wrong-dp": pem(RSA_LABEL, pkcs1(n, e, d, p, q, dp + 2, dq, qi)),
        "wrong-qinv": pem(RSA_LABEL, pkcs1(n, e, d, p, q, dp, dq, qi + 1)),
        "wrong-prime": pem(RSA_LABEL, pkcs1(n, e, d, p + 2, q, dp, dq, qi)),
        "wrong-modulus": pem(RSA_LABEL, pkcs1(n + 2, e, d, p, q, dp, dq, qi)),
        "wrong-exponent": pem(RSA_LABEL, pkcs1(n, 3, d, p, q, dp, dq, qi)),
        "without-primes": pem(RSA_LABEL, pkcs1(n, e, d, 0, 0, 0, 0, 0)),
        "zero": pem(RSA_LABEL, pkcs1(0, 0, 0, 0, 0, 0, 0, 0)),
        "negative": pem(RSA_LABEL, pkcs1(n, e, -d, p, q, dp, dq, qi)),
        "d-plus-order": pem(RSA_LABEL, pkcs1(n, e, d + (p - 1) * (q - 1), p, q, dp, dq, qi)),
        "pkcs8-without-null": private(pkcs8(seq(oid(RSA)), p1)),
        "pkcs8-junk-parameters": private(pkcs8(seq(oid(RSA), seq()), p1)),
        "pkcs8-pss": private(pkcs8(seq(oid("1.2.840.113549.1.1.10")), p1)),
        "mismatch": private(key("RSA,rsa_keygen_bits:2049")),
        "mismatch-kind": KEY,
    }.items():
        case(f"form-rsa-{title}", RSA_CERT, text)
    for title, d2 in {"d-of-phi": pow(e, -1, (p - 1) * (q - 1)), "d-zero": 0, "d-modulus": n}.items():
        case(f"form-rsa-{title}", RSA_CERT, pem(RSA_LABEL, pkcs1(n, e, d2, p, q, dp, dq, qi)))
    for title, text in {"dp-unreduced": pkcs1(n, e, d, p, q, dp + p - 1, dq, qi), "qinv-unreduced": pkcs1(n, e, d, p, q, dp, dq, qi + p),
                        "prime-one": pkcs1(n, e, d, 1, n, dp, dq, qi), "prime-even": pkcs1(n, e, d, p + 1, q, dp, dq, qi),
                        "seven-numbers": seq(*map(integer, (0, n, e, d, p, q, dp, dq))),
                        "not-minimal": seq(integer(0), raw_int(b"\0\0" + n.to_bytes(256, "big")), *map(integer, (e, d, p, q, dp, dq, qi)))}.items():
        case(f"form-rsa-{title}", RSA_CERT, pem(RSA_LABEL, text))
    while (short := key(f"EC,ec_paramgen_curve:P-256,ec_param_enc:named_curve"))[36] != 0 and KEYS.pop("EC,ec_paramgen_curve:P-256,ec_param_enc:named_curve"):
        pass
    zero = traditional(short, "EC")[7:39]
    at = lambda octets, with_point=True: seq(integer(1), octet(octets), tlv(0xA0, oid(P256)), tlv(0xA1, bits(public(short)[-65:])) if with_point else b"")
    case("form-sec1-scalar-short", crt(certificate(short)), pem(EC_LABEL, at(zero.lstrip(b"\0"))))
    case("form-sec1-scalar-long", crt(certificate(short)), pem(EC_LABEL, at(bytes(40) + zero)))
    case("form-sec1-scalar-empty", crt(certificate(short)), pem(EC_LABEL, at(b"", False)))
    case("form-sec1-point-unused-bits", CERT, pem(EC_LABEL, ec_key(point=tlv(0xA1, bits(point, 1)))))
    case("form-sec1-point-trailing", CERT, pem(EC_LABEL, ec_key(point=tlv(0xA1, bits(point), NULL))))
    case("form-sec1-point-infinity", CERT, pem(EC_LABEL, ec_key(point=tlv(0xA1, bits(b"\0")))))
    case("form-sec1-point-hybrid", CERT, pem(EC_LABEL, ec_key(point=tlv(0xA1, bits(bytes([6 + (point[-1] & 1)]) + point[1:])))))
    case("form-sec1-curve-trailing", CERT, pem(EC_LABEL, ec_key(curve=tlv(0xA0, oid(P256), NULL))))
    case("form-sec1-order-of-fields", CERT, pem(EC_LABEL, ec_key(curve=b"", tail=tlv(0xA0, oid(P256)))))
    case("form-pkcs8-attributes-garbage", CERT, pkcs8_ec(sec1, tail=tlv(0xA0, b"garbage")))
    for title, tail in {"set-of-junk": seq(oid("1.2.3"), tlv(0x31, b"junk")), "sequence": seq(oid("1.2.3"), seq()), "trailing": seq(oid("1.2.3"), tlv(0x31), NULL),
                        "values": seq(oid("1.2.3"), tlv(0x31, NULL, NULL)), "boolean": seq(oid("1.2.3"), tlv(0x31, b"\1\1\1")), "no-identifier": seq(tlv(0x31))}.items():
        case(f"form-pkcs8-attribute-{title}", CERT, pkcs8_ec(sec1, tail=tlv(0xA0, tail)))
    case("form-pkcs8-attributes-none", CERT, pkcs8_ec(sec1, tail=tlv(0xA0)))
    case("form-pkcs8-attributes-twice", CERT, pkcs8_ec(sec1, tail=tlv(0xA0) * 2))
    case("form-pkcs8-attributes-primitive", CERT, pkcs8_ec(sec1, tail=tlv(0x80, b"a")))
    case("form-pkcs8-curve-trailing", CERT, private(pkcs8(seq(oid(EC), oid(P256), NULL), sec1)))
    case("form-pkcs8-rsa-labelled-sec1", RSA_CERT, pem(EC_LABEL, rsa))
    case("form-pkcs8-ec-labelled-rsa", CERT, pem(RSA_LABEL, ec))
    case("form-pkcs8-ed25519-labelled-sec1", crt(certificate(key("ED25519"))), pem(EC_LABEL, key("ED25519")))
    case("form-rsa-pkcs8-key-trailing", RSA_CERT, private(pkcs8(seq(oid(RSA), NULL), p1 + b"\0")))
    case("form-rsa-pkcs8-attributes", RSA_CERT, private(pkcs8(seq(oid(RSA), NULL), p1, tail=tlv(0xA0, seq(oid("1.2.3"), tlv(0x31))))))
    for curve, identifier in (("P-384", "1.3.132.0.34"), ("P-521", "1.3.132.0.35")):
        made = key(f"EC,ec_paramgen_curve:{curve}")
        old = traditional(made, "EC")
        size = {"P-384": 48, "P-521": 66}[curve]
        scalar_of = old[8 if old[1] & 128 else 7:][:size] if old[1] & 128 == 0 or old[2] < 256 else b""
        scalar_of = old[old.index(b"\4" + bytes([size])) + 2:][:size]
        point_of = public(made)[-(2 * size + 1):]
        ec_of = lambda scalar=scalar_of, point=tlv(0xA1, bits(point_of)): pem(EC_LABEL, seq(integer(1), octet(scalar), tlv(0xA0, oid(identifier)), point))
        for title, text in {"without-point": ec_of(point=b""), "scalar-zero": ec_of(bytes(size)), "scalar-too-large": ec_of(b"\xff" * size),
                            "point-of-another": ec_of(point=tlv(0xA1, bits(point_of[:-1] + bytes([point_of[-1] ^ 1])))),
                            "scalar-changed": ec_of(scalar_of[:-1] + bytes([scalar_of[-1] ^ 1]))}.items():
            case(f"form-ec-{curve.lower()}-{title}", crt(certificate(made)), text)
        algorithm_of = seq(oid(EC), oid(identifier))
        for title, spki in {"off": point_of[:-1] + bytes([point_of[-1] ^ 1]), "compressed": bytes([2 + (point_of[-1] & 1)]) + point_of[1:size + 1]}.items():
            case(f"spki-{curve.lower()}-point-{title}", crt(certificate(made, spki=seq(algorithm_of, bits(spki)))), private(made))
    ed = key("ED25519")
    for title, spki in {"31-octets": public(ed)[-32:][1:], "33-octets": public(ed)[-32:] + b"\0", "another": bytes(32)}.items():
        case(f"spki-ed25519-{title}", crt(certificate(ed, spki=seq(seq(oid("1.3.101.112")), bits(spki)))), private(ed))
    case("form-ed25519-with-null", crt(certificate(ed)), private(pkcs8(seq(oid("1.3.101.112"), NULL), tlv(4, ed[-32:]))))
    case("form-ed25519-trailing-inside", crt(certificate(ed)), private(pkcs8(seq(oid("1.3.101.112")), tlv(4, ed[-32:]) + b"\0")))
    body = ed[-32:]
    for title, text in {
        "public-inside": private(pkcs8(seq(oid("1.3.101.112")), octet(body), version=1, tail=tlv(0x81, b"\0", public(ed)[-32:]))),
        "31-octets": private(pkcs8(seq(oid("1.3.101.112")), octet(body[1:]))),
        "mismatch": private(key("ED25519,")) if False else private(pkcs8(seq(oid("1.3.101.112")), octet(bytes(32)))),
    }.items():
        case(f"form-ed25519-{title}", crt(certificate(ed)), text)
    for curve in ("P-384", "P-521"):
        made = key(f"EC,ec_paramgen_curve:{curve}")
        again = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}").decode()
        case(f"form-ec-{curve.lower()}-sec1", crt(certificate(made)), pem(EC_LABEL, traditional(made, "EC")))
        case(f"form-ec-{curve.lower()}-mismatch", crt(certificate(made)), again)
        case(f"form-ec-{curve.lower()}-with-p-256-key", crt(certificate(made)), KEY)


def authorities():
    root = crt(certificate(other, subject=name("root"), extensions=(extension("2.5.29.19", seq(TRUE), TRUE),)))
    crl = lambda serials=b"": pem("X509 CRL", seq(seq(integer(1), ECDSA_SHA256, name("root"), utc("200101000000Z"), utc("491231235959Z")), ECDSA_SHA256, bits(bytes(64))))
    for title, text in {
        "one": root, "two": root + RSA_CERT, "twice": root + root, "leaf": CERT, "none": "no certificate\n", "empty-block": root + crt(b""),
        "garbage-block": root + crt(b"garbage"), "garbage-alone": crt(b"garbage"),
        "with-crl": root + crl(), "crl-alone": crl(), "crl-garbage": root + pem("X509 CRL", b"garbage"),
        "with-key": root + KEY, "with-sec1-key": root + pem("EC PRIVATE KEY", traditional(ec, "EC")),
        "with-rsa-key": root + pem("RSA PRIVATE KEY", traditional(rsa, "RSA")), "key-alone": KEY,
        "with-broken-rsa-key": root + pem("RSA PRIVATE KEY", b"garbage"), "with-encrypted-key": root + pem("ENCRYPTED PRIVATE KEY", b"abc"),
        "x509-certificate": root.replace("CERTIFICATE", "X509 CERTIFICATE"), "trusted-certificate": root.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        "with-other": root + pem("SOMETHING", b"abc"), "with-parameters": root + pem("DH PARAMETERS", seq(integer(23), integer(5))),
        "key-p-224": crt(certificate(key("EC,ec_paramgen_curve:P-224"))), "key-secp256k1": crt(certificate(key("EC,ec_paramgen_curve:secp256k1"))),
        "key-rsa-1024": crt(certificate(key("RSA,rsa_keygen_bits:1024"))), "key-rsa-pss": crt(certificate(key("RSA-PSS,rsa_keygen_bits:2048"))),
        "key-dsa": crt(certificate(key("DSA"))), "key-ed25519": crt(certificate(key("ED25519"))), "key-ed448": crt(certificate(key("ED448"))),
        "key-unknown": crt(certificate(ec, spki=seq(seq(oid("1.2.3.4")), bits(b"abc")))),
        "spki-not-on-curve": crt(certificate(ec, spki=seq(seq(oid(EC), oid(P256)), bits(b"\4" + b"\1" * 64)))),
        "spki-empty": crt(certificate(ec, spki=seq())),
        "expired": crt(certificate(ec, validity=seq(utc("000101000000Z"), utc("010101000000Z")))),
        "version-1": crt(certificate(ec, version=b"", extensions=None)), "version-1-with-extensions": crt(certificate(ec, version=b"")),
        "serial-negative": crt(certificate(ec, serial=integer(-7))), "serial-not-minimal": crt(certificate(ec, serial=raw_int(b"\0\7"))),
        "duplicate-extension": crt(certificate(ec, extensions=(san(), san()))),
        "subject-empty": crt(certificate(ec, subject=seq(), extensions=None)),
        "same-subject-other-key": crt(certificate(ec)) + crt(certificate(rsa)),
        "basic-garbage": crt(certificate(ec, extensions=(extension("2.5.29.19", b"garbage", TRUE),))),
        "san-garbage": crt(certificate(ec, extensions=(extension("2.5.29.17", b"garbage"),))),
        "name-constraints-garbage": crt(certificate(ec, extensions=(extension("2.5.29.30", b"garbage"),))),
        "time-month-13": crt(certificate(ec, validity=seq(utc("201301000000Z"), utc("491231235959Z")))),
        "algorithms-differ": crt(certificate(ec, outer=seq(oid("1.2.3.4")))),
        "trailing": crt(certificate(ec) + b"\0"), "truncated": crt(certificate(ec)[:-1]),
        "subject-bad-utf8": crt(certificate(ec, subject=name(b"\xff\xfe"))),
        "50": "".join(crt(certificate(ec, subject=name(f"root {n}"), serial=integer(n + 1))) for n in range(50)),
    }.items():
        case(f"ca-{title}", ca=text)
    for title, text in damage(root):
        case(f"pem-ca-{title}", ca=text)


target = sys.argv[1]
os.makedirs(target, exist_ok=True)
KNOWN = {}
for file in os.listdir(target):
    if file.endswith(".jsonl"):
        with open(os.path.join(target, file)) as lines:
            KNOWN.update((json.loads(line)["case"], line) for line in lines)
made = 0
for make in (kinds_of_keys, broken_public_keys, fields, extensions, chains, blocks, files, forms_of_keys, authorities):
    before = set(CASES)
    make()
    path = os.path.join(target, f"{make.__name__.replace('_', '-')}.jsonl")
    with open(path, "w") as out:
        for title in CASES:
            if title not in before:
                made += title not in KNOWN
                out.write(KNOWN.get(title) or json.dumps({"case": title, **CASES[title]}) + "\n")
print(f"{made} made, {len(CASES)} in all")

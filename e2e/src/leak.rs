//! Looks for key material where none may be: statuses, Events, logs, files, a dump of Envoy's configuration.

use std::collections::{BTreeSet, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// How much of a secret counts as having leaked, in octets.
const LEAK: usize = 16;

/// A secret that must not be seen.
pub struct Needle {
    /// Each run of so many octets: of the text, and of what it says in base64.
    runs: BTreeSet<Vec<u8>>,
    forms: Vec<Form>,
}

/// One way to write a secret.
struct Form {
    how: &'static str,
    parts: HashSet<Vec<u8>>,
    length: usize,
    /// Which beginnings occur, so that hardly any place of a text needs a closer look.
    starts: Vec<bool>,
}

impl Form {
    fn new(how: &'static str, parts: HashSet<Vec<u8>>) -> Self {
        let length = parts.iter().next().map_or(usize::MAX, Vec::len);
        let mut starts = vec![false; 1 << 16];
        for part in &parts {
            starts[start(part)] = true;
        }
        Self { how, parts, length, starts }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        text.len() >= self.length
            && text.windows(self.length).any(|run| self.starts[start(run)] && self.parts.contains(run))
    }
}

fn start(run: &[u8]) -> usize {
    let number = u32::from_le_bytes([run[0], run[1], run[2], run[3]]);
    (number.wrapping_mul(0x9E37_79B1) >> 16) as usize
}

impl Needle {
    /// A file in PEM, or what is left of one; its body, decoded, is looked for as well.
    pub fn new(text: &str) -> Self {
        Self::of(octets(text).iter().flat_map(|form| form.windows(LEAK)).map(<[u8]>::to_vec).collect())
    }

    /// Without what stands in this certificate, too: a private key holds the public one.
    #[must_use]
    pub fn without(self, certificate: &str) -> Self {
        let public = octets(certificate);
        let public: HashSet<&[u8]> = public.iter().flat_map(|form| form.windows(LEAK - 1)).collect();
        Self::of(self.runs.into_iter().filter(|run| !public.contains(&run[..LEAK - 1])).collect())
    }

    fn of(runs: BTreeSet<Vec<u8>>) -> Self {
        let form =
            |how, write: fn(&[u8]) -> Vec<u8>| Form::new(how, runs.iter().map(|run| write(run)).collect());
        let hexadecimal =
            |run: &[u8]| run.iter().flat_map(|octet| format!("{octet:02x}").into_bytes()).collect();
        let forms = vec![
            form("octets", <[u8]>::to_vec),
            form("hexadecimal digits", hexadecimal),
            // An octet less, so that what follows does not matter.
            form("base64", |run| STANDARD_NO_PAD.encode(&run[..LEAK - 1]).into_bytes()),
        ];
        Self { runs, forms }
    }

    /// The form in which 16 octets of the secret stand in a text: as they are, in hexadecimal, in base64, as decimal numbers, whatever is
    /// between the digits. `None` if they do not.
    pub fn found_in(&self, haystack: &[u8]) -> Option<&'static str> {
        let [octets, hexadecimal, base64] = self.forms.as_slice() else { return None };
        let digits = |octet: &&u8| octet.is_ascii_hexdigit();
        let hex: Vec<u8> = haystack.iter().filter(digits).map(u8::to_ascii_lowercase).collect();
        let packed: Vec<u8> = haystack.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
        let numbers = haystack.split(|octet| !octet.is_ascii_digit()).filter(|number| !number.is_empty());
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u8>().ok();
        let decimal: Vec<u8> = numbers.filter_map(number).collect();
        [(octets, haystack), (hexadecimal, &hex), (base64, &packed)]
            .into_iter()
            .find_map(|(form, text)| form.is_in(text).then_some(form.how))
            .or_else(|| octets.is_in(&decimal).then_some("decimal numbers"))
    }

    /// Fails where the secret stands in a text, without showing either.
    pub fn assert_hidden_in(&self, what: &str, haystack: impl AsRef<[u8]>) {
        let found = self.found_in(haystack.as_ref());
        assert!(found.is_none(), "{what} shows a secret as {}", found.unwrap_or_default());
    }
}

/// The octets of the body as they are, and those that they say in base64.
fn octets(text: &str) -> [Vec<u8>; 2] {
    let body: String = text
        .replace("\\n", "\n")
        .lines()
        .filter(|line| !line.contains("-----"))
        .flat_map(|line| line.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/')))
        .collect();
    let whole = body.len() - body.len() % 4;
    let decoded = STANDARD_NO_PAD.decode(&body[..whole]).unwrap_or_default();
    [body.into_bytes(), decoded]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_and_nothing_else() {
        let key = crate::certs::TestCa::new("ca").unwrap().leaf(&["a.example"]).unwrap().key_pem;
        let needle = Needle::new(&key);
        let body = octets(&key)[1].clone();
        let part = &body[20..60];
        let hex: String = part
            .iter()
            .flat_map(|octet| [octet >> 4, octet & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect();
        for (form, text) in [
            ("pem", key.clone()),
            ("decimal", format!("{:?}", key.as_bytes())),
            ("decimal of der", format!("{part:?}")),
            ("hex", hex.to_ascii_uppercase()),
            (
                "hex with colons",
                hex.as_bytes()
                    .chunks(2)
                    .map(|two| format!("{}{}", char::from(two[0]), char::from(two[1])))
                    .collect::<Vec<_>>()
                    .join(":"),
            ),
            ("base64", STANDARD_NO_PAD.encode(part)),
            ("base64 twice", STANDARD_NO_PAD.encode(&key)),
            ("one line with \\n", key.replace('\n', "\\n")),
        ] {
            assert!(needle.found_in(text.as_bytes()).is_some(), "{form}");
        }
        assert!(needle.found_in(&part[..LEAK]).is_some());
        assert_eq!(needle.found_in(b"it has no \"tls.key\""), None);
        assert_eq!(needle.found_in(format!("{:?}", [45_u8; 64]).as_bytes()), None);
    }
}

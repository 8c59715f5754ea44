//! References to images: `[registry[:port]/]path[:tag][@digest]`, as the distribution project defines them.

use std::fmt;

use thiserror::Error;

/// Longest name without tag and digest.
const LONGEST_NAME: usize = 255;

/// Longest tag.
const LONGEST_TAG: usize = 128;

/// A reference in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageReference<'a> {
    /// Registry and path.
    pub name: &'a str,
    /// Tag, if there is one.
    pub tag: Option<&'a str>,
    /// Digest such as `sha256:...`, if there is one.
    pub digest: Option<&'a str>,
}

/// Why a text is no reference.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ImageError {
    /// The name.
    #[error(
        "\"{0}\" is not the name of an image: write lower-case words, separated by slashes, such as registry.example:5000/team/contour"
    )]
    Name(String),
    /// The tag.
    #[error(
        "\"{0}\" is not a tag: write up to {LONGEST_TAG} letters, digits, `_`, `.` and `-`, the first a letter, a digit or `_`"
    )]
    Tag(String),
    /// The digest.
    #[error("\"{0}\" is not a digest: write sha256: and 64 hexadecimal digits in lower case")]
    Digest(String),
}

impl<'a> ImageReference<'a> {
    /// Reads a reference.
    ///
    /// # Errors
    /// Says which part is wrong, and how it would be right.
    pub fn parse(text: &'a str) -> Result<Self, ImageError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash is that of a registry's port.
        let path = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[path..].split_once(':') {
            Some((last, tag)) => (&rest[..path + last.len()], Some(tag)),
            None => (rest, None),
        };
        if name.len() > LONGEST_NAME || !is_name(name) {
            return Err(ImageError::Name(name.to_owned()));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ImageError::Tag(tag.to_owned()));
        }
        if let Some(digest) = digest.filter(|digest| !is_digest(digest)) {
            return Err(ImageError::Digest(digest.to_owned()));
        }
        Ok(Self { name, tag, digest })
    }

    /// What tells this image from others of its name, for people: the tag, else the start of the digest, else `latest`.
    pub fn version(&self) -> &'a str {
        let digest = self.digest.map(|digest| digest.get(..19).unwrap_or(digest));
        self.tag.or(digest).unwrap_or("latest")
    }
}

/// As it was read.
impl fmt::Display for ImageReference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.tag.map_or(Ok(()), |tag| write!(f, ":{tag}"))?;
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// The registry that a name begins with, if it does, and the path.
pub(crate) fn registry_and_path(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        // Only what cannot be a word of a path is a registry.
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, name),
    }
}

/// The image of a mirror: below this prefix in place of its registry.
pub fn mirrored(image: &str, prefix: &str) -> String {
    format!("{}/{}", prefix.trim_end_matches('/'), registry_and_path(image).1)
}

fn is_name(name: &str) -> bool {
    let (registry, path) = registry_and_path(name);
    registry.is_none_or(is_registry) && path.split('/').all(is_word)
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
            ("ipv6", port.strip_prefix(':').or((!port.is_empty()).then_some("none")))
        }
        Some(_) => return false,
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
    };
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Lower-case letters and digits, with one dot, one or two underscores, or any number of dashes between them.
fn is_word(word: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = word.split(alphanumeric).filter(|separator| !separator.is_empty());
    let allowed =
        |separator: &str| matches!(separator, "." | "_" | "__") || separator.bytes().all(|c| c == b'-');
    word.starts_with(alphanumeric) && word.ends_with(alphanumeric) && { separators }.all(allowed)
}

fn is_tag(tag: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.starts_with(first)
        && tag.len() <= LONGEST_TAG
        && tag.chars().all(|c| first(c) || c == '.' || c == '-')
}

fn is_digest(digest: &str) -> bool {
    let digits = |text: &str, length| {
        text.len() == length && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    match digest.split_once(':') {
        Some(("sha256", hex)) => digits(hex, 64),
        Some(("sha512", hex)) => digits(hex, 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_read() {
        let digest = format!("registry.example:5000/a/b@{DIGEST}");
        let both = format!("a/b:v1@{DIGEST}");
        for (text, name, version) in [
            ("contour", "contour", "latest"),
            ("contour:v1.2", "contour", "v1.2"),
            ("localhost:5000/contour", "localhost:5000/contour", "latest"),
            ("registry.example:5000/a/b:main", "registry.example:5000/a/b", "main"),
            ("127.0.0.1/a__b-c.d:1_2.3-4", "127.0.0.1/a__b-c.d", "1_2.3-4"),
            ("[::1]:5000/a:b", "[::1]:5000/a", "b"),
            (
                "docker.io/envoyproxy/envoy:distroless-v1.40.0",
                "docker.io/envoyproxy/envoy",
                "distroless-v1.40.0",
            ),
            (&digest, "registry.example:5000/a/b", "sha256:e3b0c44298fc"),
            (&both, "a/b", "v1"),
        ] {
            let read = ImageReference::parse(text).unwrap();
            assert_eq!((read.name, read.version(), read.to_string().as_str()), (name, version, text));
        }
    }

    #[test]
    fn a_mirror_has_all_below_its_prefix() {
        let digest = format!("ghcr.io/a/b:v1@{DIGEST}");
        for (image, prefix, expected) in [
            ("docker.io/envoyproxy/envoy:v1", "mirror.corp/proxy", "mirror.corp/proxy/envoyproxy/envoy:v1"),
            ("envoyproxy/envoy", "mirror.corp:5000/", "mirror.corp:5000/envoyproxy/envoy"),
            ("localhost:5000/a", "m.corp/x/y", "m.corp/x/y/a"),
            (&digest, "m.corp", &format!("m.corp/a/b:v1@{DIGEST}")),
        ] {
            let made = mirrored(image, prefix);
            assert_eq!(made, expected);
            assert!(ImageReference::parse(&made).is_ok(), "{made}");
        }
    }

    #[test]
    fn what_is_no_reference_is_told_by_its_part() {
        let name = |text: &str| ImageError::Name(text.to_owned());
        let long = format!("a/{}", "b".repeat(254));
        let upper = DIGEST.to_uppercase();
        for (text, error) in [
            ("", name("")),
            ("Contour", name("Contour")),
            ("a b", name("a b")),
            ("/a", name("/a")),
            ("a/", name("a/")),
            ("a//b", name("a//b")),
            ("a..b/c", name("a..b/c")),
            ("a___b", name("a___b")),
            ("-a", name("-a")),
            ("registry.example:99999/a", name("registry.example:99999/a")),
            ("registry.example:/a", name("registry.example:/a")),
            ("[::1]x/a", name("[::1]x/a")),
            (&long, name(&long)),
            ("a:", ImageError::Tag(String::new())),
            ("a:-b", ImageError::Tag("-b".to_owned())),
            ("a:b c", ImageError::Tag("b c".to_owned())),
            ("a@", ImageError::Digest(String::new())),
            ("a@sha256:12", ImageError::Digest("sha256:12".to_owned())),
            (&format!("a@{upper}"), ImageError::Digest(upper.clone())),
        ] {
            assert_eq!(ImageReference::parse(text), Err(error), "{text}");
        }
    }
}

//! Text of the configuration file to [`ConfigFile`], strictly.

use serde::Deserialize;
use serde_path_to_error::{Deserializer, Track};
use serde_saphyr::Error;

use super::{ConfigError, ConfigFile};

/// Keys that Contour once had, and what became of them.
const REMOVED: [(&str, &str); 1] = [(
    "server.xds-server-type",
    "Contour dropped it in 1.31 and there is only one xDS server here; delete it",
)];

/// Reads the file's text. A file without content is an empty configuration; a key that nothing reads is an error.
pub fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
    let mut track = Track::new();
    let parsed = serde_saphyr::with_deserializer_from_str(text, |yaml| {
        Option::<ConfigFile>::deserialize(Deserializer::new(yaml, &mut track))
    });
    match parsed {
        Ok(file) => Ok(file.unwrap_or_default()),
        Err(error) => match error.without_snippet() {
            Error::Eof { .. } => Ok(ConfigFile::default()),
            Error::AliasError { error, .. } => Err(explain(error, &track.path().to_string())),
            error => Err(explain(error, &track.path().to_string())),
        },
    }
}

/// The parser's error with the path of the key, in words of a configuration file.
fn explain(error: &Error, path: &str) -> ConfigError {
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let path = path.trim_end_matches('?').trim_end_matches('.');
    let at = |what: &str| if path.is_empty() { what.to_owned() } else { format!("key {path}: {what}") };
    let problem = match error {
        Error::SerdeUnknownField { expected, .. } => unknown_key(path, expected),
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("this key");
            at(&format!("{key} is set a second time; keep one of the two"))
        }
        Error::MultipleDocuments { .. } => {
            String::from("a second document begins here; delete it, or write its keys into the first")
        }
        Error::Unexpected { expected: "mapping start", .. } => at("this is no mapping; write keys below it"),
        Error::Unexpected { expected: "sequence start", .. } => at("this is no list; write items below it"),
        Error::InvalidScalar { ty, .. } => at(wanted(ty)),
        other => at(&plain(other)),
    };
    ConfigError::Parse { line, column, problem }
}

/// What a scalar of this Rust type should have been.
fn wanted(ty: &str) -> &'static str {
    match ty {
        "u32" => "this is no such number; write a whole number from 0 to 4294967295",
        "i64" => "this is no whole number; write digits",
        "f32" | "floating point" => "this is no number; write e.g. 20 or 12.5",
        "bool" | "boolean" => "this is no boolean; write true or false",
        _ => "this value is of the wrong type; write one single value",
    }
}

/// The first line of the message, without the position that the parser appends.
fn plain(error: &Error) -> String {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    match (error.location(), text.rfind(" at line ")) {
        (Some(_), Some(end)) => text[..end].to_owned(),
        _ => text.to_owned(),
    }
}

/// A message for a key that nothing reads.
fn unknown_key(path: &str, expected: &[&str]) -> String {
    if let Some((_, story)) = REMOVED.iter().find(|(key, _)| *key == path) {
        return format!("key {path}: {story}");
    }
    match expected {
        [] => format!("key {path} is unknown; delete it, no key is known here"),
        known => format!("key {path} is unknown; known here: {}", known.join(", ")),
    }
}

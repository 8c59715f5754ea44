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
            error => Err(explain(error, &track.path().to_string())),
        },
    }
}

/// The parser's error with the path of the key.
fn explain(error: &Error, path: &str) -> ConfigError {
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let within = if path == "." { "" } else { path };
    let problem = match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown_key(within, field, expected),
        other if within.is_empty() => plain(other),
        other => format!("key {within}: {}", plain(other)),
    };
    ConfigError::Parse { line, column, problem }
}

/// The message without the position that the parser appends.
fn plain(error: &Error) -> String {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    match (error.location(), text.rfind(" at line ")) {
        (Some(_), Some(end)) => text[..end].to_owned(),
        _ => text.to_owned(),
    }
}

/// A message for a key that nothing reads.
fn unknown_key(within: &str, field: &str, expected: &[&str]) -> String {
    let path = if within.is_empty() { field.to_owned() } else { format!("{within}.{field}") };
    if let Some((_, story)) = REMOVED.iter().find(|(key, _)| *key == path) {
        return format!("key {path}: {story}");
    }
    match expected {
        [] => format!("key {path} is unknown; no key is known here"),
        known => format!("key {path} is unknown; known here: {}", known.join(", ")),
    }
}

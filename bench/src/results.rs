//! `bench/RESULTS.md`, of which several programs write a section each.

use std::path::Path;

use anyhow::{Context as _, Result};

/// Writes a section, in place of the one of this name or after all others.
pub fn write(path: &Path, name: &str, section: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let (before, _, after) = split(&text, name);
    let text = format!("{}\n\n{}{after}", before.trim_end(), marked(name, section));
    std::fs::write(path, text.trim_start()).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes everything but this section, which stays as it is.
pub fn write_around(path: &Path, name: &str, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let kept = split(&old, name).1.map(|section| format!("\n{}", marked(name, section))).unwrap_or_default();
    std::fs::write(path, format!("{text}{kept}")).with_context(|| format!("cannot write {}", path.display()))
}

fn marks(name: &str) -> [String; 2] {
    [format!("<!-- begin {name} -->"), format!("<!-- end {name} -->")]
}

fn marked(name: &str, section: &str) -> String {
    let [begin, end] = marks(name);
    format!("{begin}\n{}\n{end}\n", section.trim())
}

/// What is before a section, the section, and what is after it.
fn split<'a>(text: &'a str, name: &str) -> (&'a str, Option<&'a str>, &'a str) {
    let [begin, end] = marks(name);
    let found = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
    match found {
        Some((before, (section, after))) => (before, Some(section), after.trim_start_matches('\n')),
        None => (text, None, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_writes_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("RESULTS.md");
        let read = || std::fs::read_to_string(&path).unwrap();
        write(&path, "a", "one\n").unwrap();
        assert_eq!(read(), "<!-- begin a -->\none\n<!-- end a -->\n");
        write_around(&path, "a", "# Title\n").unwrap();
        assert_eq!(read(), "# Title\n\n<!-- begin a -->\none\n<!-- end a -->\n");
        write(&path, "a", "two").unwrap();
        write(&path, "b", "three").unwrap();
        let both =
            "# Title\n\n<!-- begin a -->\ntwo\n<!-- end a -->\n\n<!-- begin b -->\nthree\n<!-- end b -->\n";
        assert_eq!(read(), both);
        write(&path, "b", "three").unwrap();
        assert_eq!(read(), both);
    }
}

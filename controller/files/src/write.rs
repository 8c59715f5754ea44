//! Files that are whole at any time.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Replaces the content of a file, so that a reader sees the old or the new content and never a part. Creates missing directories.
///
/// # Errors
/// The operating system's, with the old content still in place.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"));
    };
    fs::create_dir_all(parent)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let temporary = parent.join(hidden);
    let mut file = fs::File::create(&temporary)?;
    file.write_all(content)?;
    fs::rename(&temporary, path)
}

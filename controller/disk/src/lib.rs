//! Files that are whole at any time, and on the disk when they are said to be.
//!
//! Everything that is written to be read by another process, or by this one after a restart, is written here: into a new file beside
//! the old one, synced, renamed over it, and the directory synced. A crash or a loss of power leaves the old content or the new one,
//! and a link that somebody put in the way is replaced, never written through.

mod batch;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use batch::Batch;

/// The longest name of a file, on every file system in use.
pub const LONGEST_NAME: usize = 255;

/// The mode of a file that whoever the process' umask lets may read.
const PUBLIC: u32 = 0o666;
/// The mode of a file that only its owner may read.
const PRIVATE: u32 = 0o600;

/// Replaces the content of a file, so that a reader sees the old or the new content and never a part. Makes missing directories. Who
/// may read it is left to the process' umask.
///
/// # Errors
/// The operating system's, with the old content still in place.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, content, PUBLIC)
}

/// Replaces the content of a file as [`replace`] does; only its owner can read it then (0600), whatever it was before.
///
/// # Errors
/// The operating system's, with the old content still in place.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, content, PRIVATE)
}

/// Writes a file that must not exist yet and that only its owner can read (0600). The caller syncs the directory.
///
/// # Errors
/// The operating system's.
pub fn create_private(path: &Path, content: &[u8]) -> io::Result<()> {
    create(path, content, PRIVATE, true)
}

/// Makes `path` a symbolic link to `target`, replacing what was there in one step. The caller syncs the directory, as several links may
/// belong together.
///
/// # Errors
/// The operating system's, with what was there still in place.
pub fn replace_link(path: &Path, target: &Path) -> io::Result<()> {
    let temporary = cleared(path)?;
    symlink(target, &temporary)?;
    moved(&temporary, path)
}

/// Waits until the entries of a directory are on the disk.
///
/// # Errors
/// The operating system's, unless it is that the file system cannot sync a directory.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        outcome => outcome,
    }
}

fn replace_with(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let parent = parent(path)?;
    fs::create_dir_all(parent)?;
    let temporary = cleared(path)?;
    create(&temporary, content, mode, true)?;
    moved(&temporary, path)?;
    sync_directory(parent)
}

/// A new file with this content; with `sync`, on the disk. Never one that is there already, nor one that a link leads to.
fn create(path: &Path, content: &[u8], mode: u32, sync: bool) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(content).and_then(|()| if sync { file.sync_all() } else { Ok(()) });
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

fn moved(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path).inspect_err(|_| drop(fs::remove_file(temporary)))
}

/// The directory of a file.
fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(io::Error::new(ErrorKind::InvalidInput, "not the path of a file")),
    }
}

/// Where the new state of a file is made, with nothing there: what an interrupted attempt left is removed. The same name each time, so
/// that such remains do not gather.
fn cleared(path: &Path) -> io::Result<PathBuf> {
    let name =
        path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "not the path of a file"))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    if hidden.len() > LONGEST_NAME {
        hidden = format!(".{}.new", digest(name.as_bytes())).into();
    }
    let temporary = parent(path)?.join(hidden);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(temporary),
    }
}

/// `stem` with `suffix` as the name of a file. Where that is too long for one, the end of the stem gives way to `~` and 128 bits of a
/// hash of all of it: names differ wherever stems do.
pub fn file_name(stem: &str, suffix: &str) -> String {
    if stem.len() + suffix.len() <= LONGEST_NAME {
        return format!("{stem}{suffix}");
    }
    let digest = digest(stem.as_bytes());
    let room = LONGEST_NAME.saturating_sub(suffix.len() + digest.len() + 1);
    let end = (0..=room.min(stem.len())).rev().find(|&end| stem.is_char_boundary(end)).unwrap_or_default();
    format!("{}~{digest}{suffix}", &stem[..end])
}

/// 128 bits of SHA-256, in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..16].iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

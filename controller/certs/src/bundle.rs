//! The three files of one side, swapped at once.
//!
//! A directory is laid out as the kubelet lays out a mounted Secret: the files are symbolic links through `..data`, a
//! link to the directory that holds the present generation. One rename of `..data` swaps all three, and it is the event
//! that Envoy's `watched_directory` waits for.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::PrivateKey;

/// The trust bundle: CAs that the other side may be signed by.
pub const CA_FILE: &str = "ca.crt";
/// The certificate, with its chain.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// The private key.
pub const KEY_FILE: &str = "tls.key";

/// The link that is swapped.
const DATA: &str = "..data";

/// What one side of a TLS connection needs, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Content of [`CA_FILE`].
    pub ca: String,
    /// Content of [`CERTIFICATE_FILE`].
    pub certificate: String,
    /// Content of [`KEY_FILE`].
    pub key: PrivateKey,
}

/// Why files could not be read or written.
#[derive(Debug, Error)]
#[error("cannot {action} {}; see that it is a place this user may write to, with room left", path.display())]
pub struct BundleError {
    /// What was tried.
    action: &'static str,
    /// On which file or directory.
    path: PathBuf,
    /// What the operating system says.
    source: io::Error,
}

/// Turns the outcome of one file operation into one that says what and where.
pub(crate) fn at<T>(action: &'static str, path: &Path, outcome: io::Result<T>) -> Result<T, BundleError> {
    outcome.map_err(|source| BundleError { action, path: path.to_owned(), source })
}

/// Replaces the files of `directory` by those of `bundle`, all at once. The directory is made if needed (0700), the
/// files are 0600. Whoever reads while this happens, or after it was interrupted, sees one generation or the other.
pub fn write_bundle(directory: &Path, bundle: &Bundle) -> Result<(), BundleError> {
    make_directory(directory)?;
    let generations = generations(directory)?;
    let number = generations.iter().max().map_or(1, |last| last + 1);
    let target = format!("..{number}");
    let generation = directory.join(&target);
    make_directory(&generation)?;
    let files = [
        (CA_FILE, bundle.ca.as_str()),
        (CERTIFICATE_FILE, bundle.certificate.as_str()),
        (KEY_FILE, bundle.key.pem()),
    ];
    for (name, content) in files {
        write_private(&generation.join(name), content.as_bytes())?;
    }
    sync(&generation)?;
    link(directory, DATA, Path::new(&target))?;
    for (name, _) in files {
        let through = Path::new(DATA).join(name);
        if fs::read_link(directory.join(name)).ok().as_deref() != Some(&through) {
            link(directory, name, &through)?;
        }
    }
    sync(directory)?;
    for old in generations {
        let old = directory.join(format!("..{old}"));
        at("remove", &old, fs::remove_dir_all(&old))?;
    }
    Ok(())
}

/// Writes a new file that only its owner can read (0600), and waits until it is on the disk. Fails if it exists.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), BundleError> {
    at("write", path, contour_disk::create_private(path, content))
}

/// Makes a directory for its owner alone (0700), and its parents; leaves one that exists as it is.
pub(crate) fn make_directory(path: &Path) -> Result<(), BundleError> {
    at("make the directory", path, DirBuilder::new().recursive(true).mode(0o700).create(path))
}

/// What one of the three files holds; `None` if it does not exist.
pub(crate) fn read(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, BundleError> {
    let path = directory.join(name);
    match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        outcome => at("read", &path, outcome).map(Some),
    }
}

/// Numbers of the generations that are there: one, or more after an interruption.
fn generations(directory: &Path) -> Result<Vec<u64>, BundleError> {
    let mut numbers = Vec::new();
    for entry in at("list", directory, fs::read_dir(directory))? {
        let name = at("list", directory, entry)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_prefix("..")?.parse::<u64>().ok()));
    }
    Ok(numbers)
}

/// Makes `directory/name` a link to `target`, replacing what was there in one step.
fn link(directory: &Path, name: &str, target: &Path) -> Result<(), BundleError> {
    let path = directory.join(name);
    at("replace", &path, contour_disk::replace_link(&path, target))
}

fn sync(directory: &Path) -> Result<(), BundleError> {
    at("sync", directory, contour_disk::sync_directory(directory))
}

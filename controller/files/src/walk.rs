//! Which files there are.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// A larger file is a mistake, not configuration: 64 MiB are what `kubectl get -o yaml` writes about 15,000 objects.
const LARGEST: u64 = 64 << 20;

/// What a directory holds, by path relative to it.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Every file to be read.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Files and directories that exist but cannot be read.
    pub(crate) unreadable: BTreeMap<PathBuf, String>,
}

/// Device and inode: which file or directory a path leads to.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Finds all `*.yaml`, `*.yml` and `*.json` files below `root`, except hidden ones and those below `except`. Symbolic links are
/// followed; a directory that is reached twice is read once.
pub(crate) fn walk(root: &Path, except: Option<&Path>) -> Walk {
    let mut walk = Walk::default();
    let mut visited: HashSet<_> = except.and_then(identity).into_iter().collect();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = root.join(&relative);
        if identity(&path).is_some_and(|directory| !visited.insert(directory)) {
            continue;
        }
        match children(&path) {
            Ok(names) => names.iter().for_each(|name| walk.take(root, relative.join(name), &mut pending)),
            Err(error) => walk.refuse(relative, reason(&error)),
        }
    }
    walk
}

/// Names in a directory, without hidden ones, in reverse order: what is pushed last is visited first.
fn children(path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let names: io::Result<Vec<_>> =
        path.read_dir()?.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let mut names = names?;
    names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    names.sort_by(|a, b| b.cmp(a));
    Ok(names)
}

impl Walk {
    fn take(&mut self, root: &Path, relative: PathBuf, pending: &mut Vec<PathBuf>) {
        let path = root.join(&relative);
        let known = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => pending.push(relative),
            // Deleted since the directory was listed; a dangling link is still there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {}
            Err(error) => self.refuse(relative, reason(&error)),
            _ if !known => {}
            Ok(_) => drop(self.files.insert(relative)),
        }
    }

    fn refuse(&mut self, relative: PathBuf, why: impl Into<String>) {
        self.unreadable.insert(relative, why.into());
    }
}

/// Reads a file; `None` if it is not there any more. The error says why it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let read = || -> io::Result<(Vec<u8>, u64)> {
        // Opening a device can have effects, and opening a FIFO waits for a writer: it may have become one since it was looked at.
        let regular = |metadata: Metadata| if metadata.is_file() { Ok(metadata) } else { Err(irregular()) };
        regular(path.metadata()?)?;
        let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        let length = regular(file.metadata()?)?.len();
        let mut content = Vec::new();
        if length <= LARGEST {
            // It may grow while it is read.
            file.take(LARGEST + 1).read_to_end(&mut content)?;
        }
        Ok((content, length))
    };
    match read() {
        Ok((content, length)) if length.max(content.len() as u64) > LARGEST => Err(too_large(length)),
        Ok((content, _)) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(reason(&error)),
    }
}

fn irregular() -> io::Error {
    io::Error::other("is not a regular file")
}

fn too_large(length: u64) -> String {
    let mebibytes = length.max(LARGEST + 1).div_ceil(1 << 20);
    format!("has {mebibytes} MiB, and a file may have {} MiB: split it into several files", LARGEST >> 20)
}

/// Why something cannot be read, with the way out where it is known.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "cannot be read: permission denied; let the user that runs this process read it, and enter its directory".to_owned()
        }
        io::ErrorKind::Other => error.to_string(),
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_why() {
        let denied = reason(&io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(denied.contains("let the user that runs this process read it"), "{denied}");
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err(), "is not a regular file");
        assert_eq!(read(Path::new("/nowhere/x.yaml")).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_too_large_says_how_large_it_is() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.yaml");
        let file = File::create(&path).unwrap();
        file.set_len(LARGEST).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().len() as u64, LARGEST);
        file.set_len(100 << 20).unwrap();
        assert_eq!(
            read(&path).unwrap_err(),
            "has 100 MiB, and a file may have 64 MiB: split it into several files"
        );
    }
}

//! Which files there are.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A larger file is a mistake, not configuration.
const LARGEST: u64 = 64 << 20;

/// What a directory holds, by path relative to it.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Content of every file that can be read.
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    /// Files and directories that exist but cannot be read.
    pub(crate) unreadable: BTreeMap<PathBuf, String>,
}

/// Device and inode: which file or directory a path leads to.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Reads all `*.yaml`, `*.yml` and `*.json` files below `root`, except hidden ones and those below `except`. Symbolic links are
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
            Err(error) => {
                walk.unreadable.insert(relative, format!("cannot be read: {error}"));
            }
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
            Err(error) => self.refuse(relative, format!("cannot be read: {error}")),
            _ if !known => {}
            Ok(metadata) if !metadata.is_file() => self.refuse(relative, "is not a regular file"),
            Ok(metadata) if metadata.len() > LARGEST => self.refuse(relative, "is larger than 64 MiB"),
            Ok(_) => match std::fs::read(&path) {
                Ok(content) => {
                    self.files.insert(relative, content);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.refuse(relative, format!("cannot be read: {error}")),
            },
        }
    }

    fn refuse(&mut self, relative: PathBuf, why: impl Into<String>) {
        self.unreadable.insert(relative, why.into());
    }

    /// Whether a file that is not there may still exist, as the way to it cannot be read.
    pub(crate) fn hidden(&self, file: &Path) -> bool {
        self.unreadable.keys().any(|unreadable| file.starts_with(unreadable))
    }
}

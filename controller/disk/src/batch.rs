//! Many files at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{PUBLIC, cleared, create, moved, parent, sync_directory};

/// From here on, syncing the file system once is cheaper than syncing each file: a sync takes milliseconds.
const MANY: usize = 8;

/// Files to be replaced together, each as [`replace`](crate::replace) does it, but with few waits for the disk. Each file is whole
/// at any time; the batch as a whole is not one step.
#[derive(Debug, Default)]
pub struct Batch {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Batch {
    /// Adds a file. The last content counts where a file is added again.
    pub fn add(&mut self, path: PathBuf, content: Vec<u8>) {
        self.files.insert(path, content);
    }

    /// Replaces all files. Those that could not be, with the reason and their old content still in place.
    pub fn commit(self) -> Vec<(PathBuf, io::Error)> {
        let many = self.files.len() >= MANY && cfg!(target_os = "linux");
        let mut failed = Vec::new();
        let mut written = Vec::new();
        for (path, content) in self.files {
            match prepare(&path, &content, !many) {
                Ok(temporary) => written.push((temporary, path)),
                Err(error) => failed.push((path, error)),
            }
        }
        if many && let Err(error) = written.first().map_or(Ok(()), |(first, _)| sync_all(first)) {
            for (temporary, path) in written {
                let _ = fs::remove_file(temporary);
                failed.push((path, io::Error::new(error.kind(), error.to_string())));
            }
            return failed;
        }
        let mut directories = BTreeMap::new();
        for (temporary, path) in written {
            match moved(&temporary, &path).and_then(|()| Ok(parent(&path)?.to_owned())) {
                Ok(directory) => directories.entry(directory).or_insert_with(BTreeSet::new).insert(path),
                Err(error) => {
                    failed.push((path, error));
                    continue;
                }
            };
        }
        for (directory, paths) in directories {
            if let Err(error) = sync_directory(&directory) {
                failed
                    .extend(paths.into_iter().map(|p| (p, io::Error::new(error.kind(), error.to_string()))));
            }
        }
        failed
    }
}

/// Writes the new state of a file beside it.
fn prepare(path: &Path, content: &[u8], sync: bool) -> io::Result<PathBuf> {
    fs::create_dir_all(parent(path)?)?;
    let temporary = cleared(path)?;
    create(&temporary, content, PUBLIC, sync)?;
    Ok(temporary)
}

/// Waits until everything on the file system of a file is on the disk.
#[cfg(target_os = "linux")]
fn sync_all(file: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(file)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_all(file: &Path) -> io::Result<()> {
    File::open(file)?.sync_all()
}

//! `metadata.generation`, kept as a cluster keeps it: from 1, and one more whenever the spec changes, also across restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use contour_objects::NamespacedName;
use serde::{Deserialize, Serialize};

/// The generation of an object and the spec it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    generation: i64,
    digest: u64,
}

/// The generations of all HTTPProxies.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    /// Where they are kept; `None`: nowhere.
    file: Option<PathBuf>,
    entries: BTreeMap<String, Entry>,
    changed: bool,
}

impl Generations {
    /// Reads what an earlier process kept. A file that is missing or damaged starts over.
    pub(crate) fn open(file: Option<PathBuf>) -> Self {
        let read = |path: &Path| serde_json::from_slice(&fs::read(path).ok()?).ok();
        let entries = file.as_deref().and_then(read).unwrap_or_default();
        Self { file, entries, changed: false }
    }

    /// The generation of an object whose spec has this digest.
    pub(crate) fn of(&mut self, object: &NamespacedName, digest: u64) -> i64 {
        let entry = self.entries.entry(object.to_string()).or_insert(Entry { generation: 0, digest });
        if entry.generation == 0 || entry.digest != digest {
            *entry = Entry { generation: entry.generation + 1, digest };
            self.changed = true;
        }
        entry.generation
    }

    /// Forgets all but these objects, and keeps the rest on disk.
    pub(crate) fn settle(&mut self, objects: &BTreeSet<NamespacedName>) -> io::Result<()> {
        let names: BTreeSet<String> = objects.iter().map(ToString::to_string).collect();
        let before = self.entries.len();
        self.entries.retain(|name, _| names.contains(name));
        if !self.changed && before == self.entries.len() {
            return Ok(());
        }
        if let Some(file) = &self.file {
            contour_disk::replace(file, &serde_json::to_vec(&self.entries)?)?;
        }
        self.changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_spec_and_survives_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let file = Some(state.path().join("generations.json"));
        let name = NamespacedName::new("a", "b");
        let mut generations = Generations::open(file.clone());
        assert_eq!([generations.of(&name, 7), generations.of(&name, 7), generations.of(&name, 8)], [1, 1, 2]);
        generations.settle(&BTreeSet::from([name.clone()])).unwrap();
        let mut reopened = Generations::open(file.clone());
        assert_eq!([reopened.of(&name, 8), reopened.of(&name, 7)], [2, 3]);
        reopened.settle(&BTreeSet::new()).unwrap();
        assert_eq!(Generations::open(file).of(&name, 7), 1);
    }
}

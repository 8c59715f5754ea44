//! What is on the disk after each operation.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use contour_disk::{Batch, LONGEST_NAME, create_private, file_name, replace, replace_link, replace_private};

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn content_is_replaced_and_nothing_else_is_left() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep/below/file");
    for content in ["first", "second"] {
        replace(&path, content.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    assert_eq!(names(path.parent().unwrap()), ["file"]);
}

#[test]
fn what_is_private_is_so_whatever_was_there() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("key");
    fs::write(&path, "public").unwrap();
    replace_private(&path, b"key").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(create_private(&path, b"other").is_err(), "it exists");
    assert_eq!(fs::read_to_string(&path).unwrap(), "key");
}

#[test]
fn nothing_is_written_through_a_link() {
    let root = tempfile::tempdir().unwrap();
    let (victim, path) = (root.path().join("victim"), root.path().join("file"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &path).unwrap();
    symlink(&victim, root.path().join(".file.new")).unwrap();
    replace(&path, b"content").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(!path.is_symlink());
    assert_eq!(names(root.path()), ["file", "victim"]);
}

#[test]
fn a_failure_leaves_the_old_state_and_no_remains() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("taken");
    fs::create_dir_all(path.join("below")).unwrap();
    assert!(replace(&path, b"content").is_err());
    assert!(replace_link(&path, Path::new("elsewhere")).is_err());
    assert_eq!(names(root.path()), ["taken"]);
    for impossible in ["/", ".."] {
        assert!(replace(Path::new(impossible), b"content").is_err());
    }
}

#[test]
fn a_link_is_swapped() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("..data");
    for target in ["..1", "..2"] {
        replace_link(&path, Path::new(target)).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new(target));
    }
    assert_eq!(names(root.path()), ["..data"]);
}

#[test]
fn every_name_has_a_file_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    let mut batch = Batch::default();
    for length in 1..=253 {
        for last in ["a", "b"] {
            let name = file_name(&format!("{}{last}", "x".repeat(length - 1)), ".httpproxy.yaml");
            assert!(name.len() <= LONGEST_NAME && name.ends_with(".httpproxy.yaml"), "{name}");
            assert_eq!(name.contains('~'), length + ".httpproxy.yaml".len() > LONGEST_NAME, "{name}");
            batch.add(root.path().join(&name), name.clone().into_bytes());
            assert!(seen.insert(name));
        }
    }
    assert!(batch.commit().is_empty());
    assert_eq!(names(root.path()), seen.into_iter().collect::<Vec<_>>());
    assert!(file_name(&"é".repeat(200), ".yaml").len() <= LONGEST_NAME);
}

#[test]
fn a_batch_writes_what_it_can_and_names_the_rest() {
    for count in [3, 30] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("1/below")).unwrap();
        let mut batch = Batch::default();
        for number in 0..count {
            batch.add(root.path().join(number.to_string()), b"old".to_vec());
            batch.add(root.path().join(number.to_string()), b"new".to_vec());
        }
        let failed: Vec<_> = batch.commit().into_iter().map(|(path, _)| path).collect();
        assert_eq!(failed, [root.path().join("1")]);
        assert_eq!(names(root.path()).len(), count);
        assert_eq!(fs::read_to_string(root.path().join("2")).unwrap(), "new");
    }
}

/// A rename of one's own would be one without a sync.
#[test]
fn files_are_renamed_here_and_nowhere_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pending = vec![root.join("controller"), root.join("operator"), root.join("crds")];
    let mut found: Vec<PathBuf> = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.ends_with("tests");
            if path.is_dir() && !is_test {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "rs")
                && fs::read_to_string(&path).unwrap().contains("rename(")
            {
                found.push(path.strip_prefix(&root).unwrap().to_owned());
            }
        }
    }
    assert_eq!(found, [Path::new("controller/disk/src/lib.rs")]);
}

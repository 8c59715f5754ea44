//! The state directory, on a real file system.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use contour_certs::{Certificate, Ensured, Leaf, Outcome, Policy, ensure};
use jiff::{Timestamp, ToSpan};
use rstest::rstest;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn ensure_at(directory: &Path, now: Timestamp) -> Ensured {
    ensure(directory, now, &Policy::default()).unwrap()
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

/// Every file that can be reached by its name, with its content.
fn contents(directory: &Path) -> Vec<String> {
    ["ca", "contour", "envoy"]
        .iter()
        .flat_map(|side| {
            ["ca.crt", "tls.crt", "tls.key"].map(|file| read(directory, &format!("{side}/{file}")))
        })
        .collect()
}

/// Both leaves load, are valid, and are trusted by the bundle of the other side.
fn assert_usable(directory: &Path, now: Timestamp) {
    for (side, other) in [("contour", "envoy"), ("envoy", "contour")] {
        let leaf = Leaf::load(
            &read(directory, &format!("{side}/tls.crt")),
            &read(directory, &format!("{side}/tls.key")),
        );
        let leaf = leaf.unwrap();
        assert!(leaf.certificate().is_valid_at(now), "{side}: {:?} at {now}", leaf.certificate());
        let bundle = Certificate::parse_all(&read(directory, &format!("{other}/ca.crt"))).unwrap();
        assert!(bundle.iter().any(|ca| ca.is_valid_at(now) && leaf.certificate().is_signed_by(ca)), "{side}");
    }
}

#[test]
fn makes_what_is_missing_and_keeps_what_is_there() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("deep/state");
    let first = ensure_at(&directory, now());
    assert_eq!(first.outcome, Outcome::Created);
    assert_eq!(
        first.notes,
        [
            "made a CA, valid until 2029-02-28T12:00:00Z",
            "issued the certificate of contour, valid until 2027-03-01T12:00:00Z",
            "issued the certificate of envoy, valid until 2027-03-01T12:00:00Z",
        ]
    );
    assert_eq!(first.expires, "2027-03-01T12:00:00Z".parse().unwrap());
    assert_eq!(first.next, "2026-10-30T20:00:00Z".parse().unwrap());
    assert_usable(&directory, now());
    let before = contents(&directory);

    let second = ensure_at(&directory, now() + 1.hour());
    assert_eq!((second.outcome, second.notes, second.next), (Outcome::Kept, Vec::new(), first.next));
    assert_eq!(contents(&directory), before);
}

#[test]
fn only_the_owner_can_read() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("state");
    ensure_at(&directory, now());
    let mode = |path: &str| fs::metadata(directory.join(path)).unwrap().permissions().mode() & 0o777;
    for path in ["", "ca", "contour", "envoy", "envoy/..data"] {
        assert_eq!(mode(path), 0o700, "{path}");
    }
    for path in ["ca/tls.key", "contour/tls.key", "envoy/tls.key", "envoy/tls.crt", "contour/ca.crt"] {
        assert_eq!(mode(path), 0o600, "{path}");
    }
}

#[test]
fn leaves_are_renewed_at_two_thirds_of_their_life_by_the_same_ca() {
    let state = tempfile::tempdir().unwrap();
    let first = ensure_at(state.path(), now());
    let before = contents(state.path());
    assert_eq!(ensure_at(state.path(), first.next - 1.second()).outcome, Outcome::Kept);
    let renewed = ensure_at(state.path(), first.next);
    assert_eq!((renewed.outcome, renewed.notes.len()), (Outcome::Renewed, 2));
    assert_usable(state.path(), first.next);
    let after = contents(state.path());
    assert_eq!(before[..4], after[..4], "the CA and its trust bundle stay");
    for changed in [4, 5, 7, 8] {
        assert_ne!(before[changed], after[changed]);
    }
}

#[test]
fn a_new_ca_is_trusted_before_it_issues_and_the_old_one_until_nobody_needs_it() {
    let state = tempfile::tempdir().unwrap();
    let mut ensured = ensure_at(state.path(), now());
    let first_ca = read(state.path(), "ca/tls.crt");
    let mut at = now();
    while read(state.path(), "ca/tls.crt") == first_ca {
        at = ensured.next;
        ensured = ensure_at(state.path(), at);
        assert_usable(state.path(), at);
    }
    let second_ca = read(state.path(), "ca/tls.crt");
    let both = format!("{second_ca}{first_ca}");
    for side in ["ca", "contour", "envoy"] {
        assert_eq!(read(state.path(), &format!("{side}/ca.crt")), both);
    }
    let leaf = read(state.path(), "envoy/tls.crt");
    assert_eq!(ensured.next, at + 1.minute());

    ensured = ensure_at(state.path(), ensured.next);
    assert_eq!(read(state.path(), "envoy/ca.crt"), both);
    assert_ne!(read(state.path(), "envoy/tls.crt"), leaf);
    assert_eq!(ensured.next, at + 2.minutes());

    ensured = ensure_at(state.path(), ensured.next);
    assert_eq!(ensured.notes, ["a former CA is not trusted any more"]);
    assert_eq!(read(state.path(), "envoy/ca.crt"), second_ca);
    assert_usable(state.path(), at + 2.minutes());
}

#[rstest]
#[case::empty("")]
#[case::cut_off("-----BEGIN CERTIFICATE-----\nMIIB")]
#[case::other_text("hello")]
#[case::no_der("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n")]
fn a_damaged_file_is_replaced_and_the_rest_kept(#[case] damage: &str) {
    for file in
        ["ca/tls.crt", "ca/tls.key", "contour/tls.crt", "contour/tls.key", "envoy/ca.crt", "envoy/tls.key"]
    {
        let state = tempfile::tempdir().unwrap();
        ensure_at(state.path(), now());
        let before = contents(state.path());
        fs::write(state.path().join(file), damage).unwrap();
        let ensured = ensure_at(state.path(), now() + 1.hour());
        assert_usable(state.path(), now());
        let expected = if file.starts_with("ca/") { Outcome::Created } else { Outcome::Renewed };
        assert_eq!(ensured.outcome, expected, "{file}");
        let after = contents(state.path());
        let kept = before.iter().filter(|content| after.contains(content)).count();
        match file {
            // The other seven files; a trust bundle can be derived, so nothing is issued for it.
            "envoy/ca.crt" => assert_eq!((kept, ensured.notes.len()), (9, 0), "{file}"),
            // Leaves stay valid beside a new CA.
            file if file.starts_with("ca/") => assert_eq!(kept, 4, "{file}"),
            _ => assert_eq!(kept, 7, "{file}"),
        }
        if file.contains("tls.") {
            let aside = read(state.path(), &format!("unusable-1/{file}"));
            assert_eq!(aside, damage);
            let side = file.split_once('/').unwrap().0;
            let start = format!("{}/{side} is unusable: ", state.path().display());
            assert!(ensured.notes[0].starts_with(&start), "{:?}", ensured.notes);
        }
        let again = ensure_at(state.path(), now() + 2.hours());
        assert!(again.notes.iter().all(|note| !note.contains("unusable")), "{:?}", again.notes);
    }
}

#[test]
fn a_lost_file_is_made_again() {
    for file in
        ["ca/tls.key", "contour/tls.crt", "envoy/tls.key", "envoy/ca.crt", "contour/..data", "ca/..data"]
    {
        let state = tempfile::tempdir().unwrap();
        ensure_at(state.path(), now());
        fs::remove_file(state.path().join(file)).unwrap();
        assert_ne!(ensure_at(state.path(), now() + 1.hour()).outcome, Outcome::Kept, "{file}");
        assert_usable(state.path(), now());
    }
}

#[test]
fn a_key_of_another_pair_is_found_out() {
    let state = tempfile::tempdir().unwrap();
    ensure_at(state.path(), now());
    fs::write(state.path().join("contour/tls.key"), read(state.path(), "envoy/tls.key")).unwrap();
    let ensured = ensure_at(state.path(), now());
    assert!(ensured.notes[0].contains("the key does not belong to the certificate"), "{:?}", ensured.notes);
    assert_usable(state.path(), now());
}

#[test]
fn an_interrupted_write_leaves_the_old_generation_and_is_cleaned_up() {
    let state = tempfile::tempdir().unwrap();
    let first = ensure_at(state.path(), now());
    let before = contents(state.path());
    let half = state.path().join("envoy/..7");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("tls.key"), "half").unwrap();
    std::os::unix::fs::symlink("..7", state.path().join("envoy/...data.new")).unwrap();
    assert_eq!(ensure_at(state.path(), now()).outcome, Outcome::Kept);
    assert_eq!(contents(state.path()), before);

    ensure_at(state.path(), first.next);
    assert_usable(state.path(), first.next);
    let mut entries: Vec<_> =
        fs::read_dir(state.path().join("envoy")).unwrap().map(|e| e.unwrap().file_name()).collect();
    entries.sort();
    assert_eq!(entries, ["..8", "..data", "ca.crt", "tls.crt", "tls.key"]);
}

#[test]
fn plain_files_of_others_are_taken_over() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = ensure_at(ours.path(), now());
    for side in ["ca", "contour", "envoy"] {
        fs::create_dir(theirs.path().join(side)).unwrap();
        for file in ["ca.crt", "tls.crt", "tls.key"] {
            fs::copy(ours.path().join(side).join(file), theirs.path().join(side).join(file)).unwrap();
        }
    }
    assert_eq!(ensure_at(theirs.path(), now()).outcome, Outcome::Kept);
    assert_eq!(ensure_at(theirs.path(), first.next).outcome, Outcome::Renewed);
    assert_usable(theirs.path(), first.next);
}

#[test]
fn everything_expired_starts_anew() {
    let state = tempfile::tempdir().unwrap();
    ensure_at(state.path(), now());
    let later = now() + (24 * 365 * 4).hours();
    assert_eq!(ensure_at(state.path(), later).outcome, Outcome::Created);
    assert_usable(state.path(), later);
    assert_eq!(Certificate::parse_all(&read(state.path(), "envoy/ca.crt")).unwrap().len(), 1);
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_touched() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = ensure(&file, now(), &Policy::default()).unwrap_err().to_string();
    assert!(error.contains("cannot make the directory") && error.contains("/file; see that"), "{error}");

    ensure_at(&state.path().join("state"), now());
    let before = contents(&state.path().join("state"));
    let policy =
        Policy { leaf_lifetime: Duration::ZERO, namespace: String::from("other"), ..Policy::default() };
    let error = ensure(&state.path().join("state"), now(), &policy).unwrap_err().to_string();
    assert!(error.starts_with("a certificate cannot be valid for 0 days"), "{error}");
    assert_eq!(contents(&state.path().join("state")), before);
}

#[test]
fn two_processes_agree() {
    let state = tempfile::tempdir().unwrap();
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| ensure_at(state.path(), now()).outcome)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Created).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Kept).count(), 7);
    assert_usable(state.path(), now());
}

//! The command line of `hostile`. What it does is a step of `.ci/run`, which takes the binary that this test has built.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn hostile(arguments: &[&str]) -> Output {
    let catalogue = concat!(env!("CARGO_MANIFEST_DIR"), "/hostile");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostile"));
    command.args(["--catalogue", catalogue]).args(arguments).env("RUST_BACKTRACE", "0").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn attacks_are_listed_with_their_sources() {
    let all = text(&hostile(&["--list"]).stdout);
    let short = text(&hostile(&["--list", "--short"]).stdout);
    assert!(all.lines().count() >= 30, "{all}");
    assert!(all.lines().any(|line| line.starts_with("80-") && line.contains("CVE-2021-32783")), "{all}");
    assert!(short.lines().count() < all.lines().count() && short.lines().count() > 0, "{short}");
    assert!(short.lines().all(|line| all.contains(line)), "{short}");
}

#[test]
fn an_unknown_attack_is_told() {
    let output = hostile(&["--list", "--only", "99-nothing"]);
    assert!(!output.status.success());
    assert_eq!(text(&output.stderr), "Error: there is no attack 99-nothing: see --list\n");
}

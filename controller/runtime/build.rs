//! Tells `BuildInfo` which commit a release was built from.
//!
//! Only release builds ask git: a development build would otherwise be rebuilt after every commit. Nothing here can
//! fail the build: outside a checkout the values stay unset, and the environment (`CONTOUR_BUILD_SHA`,
//! `CONTOUR_BUILD_BRANCH`) wins over git.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    for (variable, arguments) in [
        ("CONTOUR_GIT_SHA", &["rev-parse", "HEAD"][..]),
        ("CONTOUR_GIT_BRANCH", &["rev-parse", "--abbrev-ref", "HEAD"]),
    ] {
        if let Some(value) = git(arguments) {
            println!("cargo::rustc-env={variable}={value}");
        }
    }
}

/// The first line that `git` prints; `None` without git, outside a checkout or on any failure.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

//! Golden states: `golden/<feature>/<case>/in.yaml` is the whole input; what it serves, what is told to its owners, and the Envoy resources
//! that come of it stand beside it in `out.txt`. A new case is a new directory; `UPDATE_GOLDEN=1 cargo test -p contour --test golden`
//! writes its output, which is then to be read before it is committed.

mod support;

use std::fmt::Write as _;
use std::path::Path;

use support::{Built, cases, golden_root};

#[test]
fn every_case_has_the_output_that_stands_beside_it() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differing = Vec::new();
    let cases = cases();
    assert!(!cases.is_empty(), "no case found in {}", golden_root().display());
    for case in &cases {
        let actual = render(&Built::from_directory(case));
        let path = case.join("out.txt");
        if update {
            std::fs::write(&path, &actual).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != actual {
            differing.push(difference(&path, &actual));
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {} cases differ:\n{}",
        differing.len(),
        cases.len(),
        differing.join("\n")
    );
}

fn difference(path: &Path, actual: &str) -> String {
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    let mut text = format!("--- {}\n", path.display());
    for line in expected.lines().filter(|l| !actual.lines().any(|a| a == *l)) {
        let _ = writeln!(text, "- {line}");
    }
    for line in actual.lines().filter(|l| !expected.lines().any(|e| e == *l)) {
        let _ = writeln!(text, "+ {line}");
    }
    text
}

/// What a person reads: hosts, statuses, notes, and the names of the resources.
fn render(built: &Built) -> String {
    let mut text = String::new();
    for host in &built.hosts {
        let _ = write!(text, "{host}");
    }
    for status in &built.statuses {
        let _ = writeln!(text, "HTTPProxy {} {}", status.object, status.state().as_str());
        for error in &status.errors {
            let _ = writeln!(text, "  error {error}");
        }
        for warning in &status.warnings {
            let _ = writeln!(text, "  warning {warning}");
        }
    }
    for note in &built.notes {
        let _ = writeln!(text, "Ingress {} ({}): {}", note.ingress, note.host, note.message);
    }
    for problem in &built.problems {
        let _ = writeln!(text, "problem {problem}");
    }
    for (kind, resource) in built.resources() {
        let parts: Vec<&str> = resource.parts().iter().map(|p| &*p.id).filter(|id| !id.is_empty()).collect();
        let parts = if parts.is_empty() { String::new() } else { format!(" [{}]", parts.join(" ")) };
        let _ = writeln!(text, "{} {}{parts}", kind.short(), resource.name());
    }
    text
}

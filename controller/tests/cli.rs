//! The binary as a shell sees it: exit status, standard output, standard error.

use std::process::{Command, Output};

fn contour(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_contour"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the binary under test runs")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_names_commands_and_variables() {
    let output = contour(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("serve") && text.contains("completion"), "{text}");
    let output = contour(&["serve", "--help"], &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("[env: CONTOUR_CAFILE=]") && text.contains("Examples:"), "{text}");
    assert!(contour(&["serve", "-h"], &[]).status.success());
}

#[test]
fn wrong_usage_exits_with_2() {
    let output = contour(&["serve", "--xds-prot=1"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("--xds-port"), "no suggestion: {}", told(&output));
}

#[test]
fn all_wrong_settings_are_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("contour.yaml");
    std::fs::write(&path, "timeouts: {request-timeout: soon}\ntracing: {extensionService: a/b}\n").unwrap();
    let flag = format!("--config-path={}", path.display());
    let output = contour(&["serve", &flag], &[("CONTOUR_CAFILE", "/ca"), ("CONTOUR_KEY_FILE", "")]);
    assert_eq!(output.status.code(), Some(2));
    let text = told(&output);
    for part in
        ["3 settings", "key timeouts.request-timeout", "key tracing", "--contour-cert-file", "contour.yaml"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let output = contour(&["serve", "-c", "/no/such/contour.yaml", "--insecure"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let text = told(&output);
    assert!(text.contains("/no/such/contour.yaml") && text.contains("No such file"), "{text}");
}

#[test]
fn completions_cover_the_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let output = contour(&["completion", shell], &[]);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("xds-address"), "{shell}");
    }
    assert_eq!(contour(&["completion", "tcsh"], &[]).status.code(), Some(2));
}

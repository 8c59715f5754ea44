//! Configuration as data: `config/accept/*.yaml` and `config/reject/*.yaml` with the settings or errors they make, and the flags
//! against the list in `config/flags.tsv`. A first line `# flags: ...` adds flags to `--insecure`. `config/objects` has the same for the spec
//! of a ContourConfiguration, without `--insecure`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use contour::cli::{Cli, Command, ServeArgs};
use contour::config::{
    ConfigError, ConfigFile, Environment, Settings, check_configuration, overruled, parse, resolve,
    resolve_object,
};
use contour_crds::contour_configuration::ContourConfigurationSpec;
use proptest::prelude::*;

fn serve(flags: &str) -> ServeArgs {
    if flags.contains("insecure") { serve_with(flags) } else { serve_with(&format!("--insecure {flags}")) }
}

fn serve_with(flags: &str) -> ServeArgs {
    let arguments = ["contour", "serve"].into_iter().chain(flags.split_whitespace());
    match Cli::of(arguments).map(|cli| cli.command) {
        Ok(Command::Serve(args)) => *args,
        other => panic!("{flags}: {other:?}"),
    }
}

fn environment() -> Environment {
    Environment { home: PathBuf::from("/home/operator"), contour_namespace: None }
}

/// What the file and the flags in its first line come to.
fn settings_of(path: &Path) -> Result<Settings, Vec<ConfigError>> {
    let (text, flags) = input(path);
    resolve(&serve(&flags), &parse(&text)?, &environment())
}

/// The text of a file, and the flags in its first line.
fn input(path: &Path) -> (String, String) {
    let text = std::fs::read_to_string(path).expect("test inputs are readable");
    let flags = text.lines().next().and_then(|line| line.strip_prefix("# flags: ")).unwrap_or_default();
    (text.clone(), flags.to_owned())
}

/// The spec in a file, as the API server would hand it out, and the flags.
fn object(path: &Path) -> (ContourConfigurationSpec, ServeArgs) {
    let (text, flags) = input(path);
    let value: serde_json::Value = serde_saphyr::from_str(&text).expect("test inputs are YAML");
    let spec: ContourConfigurationSpec = serde_json::from_value(value.clone()).expect("a spec");
    // A misspelt field would be dropped in silence, and test nothing.
    let known = serde_json::to_value(&spec).expect("specs are JSON");
    let lost = lost(&value, &known);
    assert!(lost.is_empty(), "{}: {lost:?}", path.display());
    (spec, serve_with(&flags))
}

/// Paths of what has a meaning in `value` and is not in `known`.
fn lost(value: &serde_json::Value, known: &serde_json::Value) -> Vec<String> {
    let Some(fields) = value.as_object() else { return Vec::new() };
    let below = fields.iter().flat_map(|(key, value)| {
        let zero = value.as_str() == Some("")
            || value.as_i64() == Some(0)
            || value.as_object().is_some_and(serde_json::Map::is_empty);
        match known.get(key) {
            None if zero => Vec::new(),
            None => vec![key.clone()],
            Some(known) => lost(value, known).into_iter().map(|rest| format!("{key}.{rest}")).collect(),
        }
    });
    below.collect()
}

/// `path: value` for each leaf of the settings, in order.
fn leaves(settings: &Settings) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    let mut leaves = Vec::new();
    for line in format!("{settings:#?}").lines() {
        let line = line.trim().trim_end_matches(',');
        let (name, value) = line.split_once(": ").unwrap_or(("", line));
        if matches!(value, "}" | ")" | "]") {
            path.pop();
        } else if let Some(kind) = value.strip_suffix(['{', '(', '[']) {
            let variant = if value.ends_with('(') { kind.trim().trim_start_matches("Some") } else { "" };
            path.push([name, variant].join(" ").trim().to_owned());
        } else {
            path.push(name.to_owned());
            let names: Vec<&str> = path.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
            leaves.push(format!("{}: {value}", names.join(".")));
            path.pop();
        }
    }
    leaves
}

/// Values by the path of their leaf; a list has several.
fn by_path(settings: &Settings) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for leaf in leaves(settings) {
        let (path, value) = leaf.split_once(": ").expect("every leaf has a value");
        values.entry(path.to_owned()).or_default().push(value.to_owned());
    }
    values
}

/// What the settings say otherwise than those without file and flags do.
fn difference(settings: &Settings) -> String {
    let default = resolve(&serve(""), &ConfigFile::default(), &environment()).expect("defaults are right");
    difference_of(settings, &default)
}

fn difference_of(settings: &Settings, default: &Settings) -> String {
    let default = by_path(default);
    let changed = by_path(settings).into_iter().filter(|(path, values)| default.get(path) != Some(values));
    let lines: Vec<String> = changed.map(|(path, values)| format!("{path}: {}", values.join(", "))).collect();
    lines.join("\n")
}

#[test]
fn accepted() {
    insta::glob!("config/accept/*.yaml", |path| {
        let settings = settings_of(path).unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
        insta::assert_snapshot!(difference(&settings));
    });
}

#[test]
fn rejected() {
    insta::glob!("config/reject/*.yaml", |path| {
        let errors = settings_of(path).err().unwrap_or_else(|| panic!("{} was accepted", path.display()));
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"));
    });
}

/// As Contour's: all but these few are those of flags and file.
#[test]
fn objects_have_defaults_of_their_own() {
    let settings = resolve_object(&serve_with(""), &ContourConfigurationSpec::default(), &environment());
    insta::assert_snapshot!(difference(&settings.expect("the defaults are right")));
}

#[test]
fn accepted_objects() {
    let default = resolve_object(&serve_with(""), &ContourConfigurationSpec::default(), &environment());
    let default = default.expect("the defaults are right");
    insta::glob!("config/objects/accept/*.yaml", |path| {
        let (spec, args) = object(path);
        let settings = resolve_object(&args, &spec, &environment());
        let settings = settings.unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
        let without_effect = overruled(&args, &spec)
            .into_iter()
            .map(|(flag, field)| format!("\n{flag} has no effect, {field} has"));
        let told = difference_of(&settings, &default) + &without_effect.collect::<String>();
        insta::assert_snapshot!(told);
    });
}

#[test]
fn rejected_objects() {
    insta::glob!("config/objects/reject/*.yaml", |path| {
        let (spec, args) = object(path);
        let errors = resolve_object(&args, &spec, &environment());
        let errors = errors.err().unwrap_or_else(|| panic!("{} was accepted", path.display()));
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"));
    });
}

/// The operator is told what the controller would say, field by field.
#[test]
fn an_object_is_checked_without_a_controller() {
    assert_eq!(check_configuration(&ContourConfigurationSpec::default()), []);
    let spec = serde_json::json!({"envoy": {"timeouts": {"requestTimeout": "soon"}, "http": {"port": -1}}});
    let problems = check_configuration(&serde_json::from_value(spec).unwrap());
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["spec.envoy.http.port", "spec.envoy.timeouts.requestTimeout"]);
    assert!(problems[1].message.contains("soon") && problems[1].message.contains("write a duration"));
    assert!(!problems[1].message.contains("spec."), "{}", problems[1].message);
}

#[test]
fn defaults_are_contours() {
    let settings = resolve(&serve(""), &ConfigFile::default(), &environment()).unwrap();
    insta::assert_snapshot!(leaves(&settings).join("\n"));
}

#[test]
fn the_namespace_of_the_environment_is_the_default() {
    let env = Environment { contour_namespace: Some(String::from("ours")), ..environment() };
    let settings = resolve(&serve(""), &ConfigFile::default(), &env).unwrap();
    assert_eq!(settings.leader_election.unwrap().namespace, "ours");
    assert_eq!(settings.kubernetes.envoy_service_namespace, "ours");
    let file = parse("envoy-service-namespace: theirs").unwrap();
    assert_eq!(resolve(&serve(""), &file, &env).unwrap().kubernetes.envoy_service_namespace, "theirs");
    let env = Environment { contour_namespace: Some(String::new()), ..environment() };
    let settings = resolve(&serve(""), &ConfigFile::default(), &env).unwrap();
    assert_eq!(settings.kubernetes.envoy_service_namespace, "projectcontour");
}

/// Each line of the list: flag, short form, variable, default. `-`: neither the flag nor its help has one.
#[test]
fn flags_are_contours() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    // Told in docs/differences.md.
    let mut listed = BTreeSet::from([
        "envoy-client-name",
        "namespace-memory",
        "share-httpproxy-hosts",
        "strict-host-ownership",
    ]);
    for line in include_str!("config/flags.tsv").lines() {
        let [flag, short, variable, default] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        listed.insert(flag);
        let arg = serve
            .get_arguments()
            .find(|arg| arg.get_long() == Some(flag))
            .unwrap_or_else(|| panic!("--{flag} is missing"));
        assert_eq!(arg.get_short(), short.chars().next(), "--{flag}");
        assert_eq!(arg.get_env().unwrap_or_default(), variable, "--{flag}");
        assert!(arg.get_help().is_some(), "--{flag} has no help");
        match arg.get_default_values() {
            [] if default == "-" => {}
            [] => {
                let help = arg.get_long_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains(&format!("Default: {default}")), "--{flag}: {help}");
            }
            values => assert_eq!(values, [default], "--{flag}"),
        }
    }
    let ours: BTreeSet<&str> = serve.get_arguments().filter_map(clap::Arg::get_long).collect();
    assert_eq!(ours, listed);
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn booleans_take_every_form() {
    for (text, expected) in [
        ("--debug", Some(true)),
        ("-d", Some(true)),
        ("--debug=true", Some(true)),
        ("--debug=false", Some(false)),
        ("--no-debug", Some(false)),
        ("", None),
    ] {
        assert_eq!(serve(text).base.debug, expected, "{text}");
    }
}

#[test]
fn wrong_usage_is_told() {
    for (arguments, cause) in [
        (vec!["serve", "--xds-port=many"], "--xds-port"),
        (vec!["serve", "--stats-port=0"], "--stats-port"),
        (vec!["serve", "--leader-election-retry-period=2"], "--leader-election-retry-period"),
        (vec!["serve", "--disable-feature=pods"], "extensionservices"),
        (vec!["serve", "--config-path=/a", "--contour-config-name=b"], "--contour-config-name"),
        (vec!["serve", "--no-such-flag"], "--no-such-flag"),
        (vec!["serve", "extra"], "extra"),
        (vec!["--log-format=xml", "serve"], "json"),
        (vec![], "Usage"),
    ] {
        let error = Cli::of(["contour"].into_iter().chain(arguments)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains(cause), "{cause}: {error}");
    }
}

/// Text that looks like a configuration: known and unknown keys, at odd depths, with odd values.
fn yaml_like() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "tls",
        "timeouts",
        "listener",
        "cluster",
        "network",
        "metrics",
        "contour",
        "policy",
        "set",
        "server",
        "cipher-suites",
        "request-timeout",
        "accesslog-format-string",
        "runtime-settings",
        "default-http-versions",
        "tracing",
        "customTags",
        "admin-port",
        "socket-options",
        "tos",
        "circuit-breakers",
        "<<",
        "- a",
        "? b",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "",
            "~",
            "[]",
            "{}",
            "[a, b",
            "{a: b}",
            "&a x",
            "*a",
            "!!int x",
            "1.2",
            "-1",
            "999999999999999999999",
            "infinity",
            "\"%REQ(\"",
            "'%'",
            "|",
            ">-",
            "# none",
            ".nan",
            "0x10",
            "!t {}",
            "\u{feff}",
            "\t",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
    ];
    prop::collection::vec((0..5_usize, key, value), 0..12).prop_map(|lines| {
        lines.iter().fold(String::new(), |text, (depth, key, value)| {
            format!("{text}{:indent$}{key}: {value}\n", "", indent = depth * 2)
        })
    })
}

proptest! {
    #[test]
    fn no_text_panics(text in prop_oneof![any::<String>(), "\\PC*", yaml_like()]) {
        if let Ok(file) = parse(&text) {
            let _ = resolve(&serve(""), &file, &environment());
        }
    }
    #[test]
    fn no_object_panics(
        text in prop_oneof!["\\PC{0,20}", "[-a-z.,:/%()\\[\\]|0-9]{0,20}"],
        number in prop_oneof![any::<i64>(), -2..70_000_i64],
        small in any::<i32>(),
    ) {
        let spec = serde_json::json!({
            "xdsServer": {"address": text, "port": number, "tls": {"caFile": text}},
            "ingress": {"classNames": [text], "statusAddress": text},
            "httpproxy": {"rootNamespaces": [text], "fallbackCertificate": {"namespace": text, "name": text}},
            "policy": {"requestHeaders": {"set": {(text.clone()): text}}},
            "tracing": {"extensionService": {"namespace": text, "name": text}, "customTags": [{"tagName": text, "literal": text}]},
            "envoy": {
                "http": {"address": text, "port": number}, "metrics": {"port": number},
                "logging": {"accessLogFormatString": text, "accessLogJSONFields": [text], "accessLogLevel": text},
                "listener": {"tls": {"cipherSuites": [text]}, "maxRequestsPerConnection": small, "socketOptions": {"tos": small}},
                "timeouts": {"requestTimeout": text, "connectTimeout": text},
                "network": {"numTrustedHops": small, "adminPort": number},
                "defaultHTTPVersions": [text],
            },
        });
        let spec = serde_json::from_value(spec).expect("a spec");
        for problem in check_configuration(&spec) {
            prop_assert!(problem.field.starts_with("spec."), "{problem:?}");
        }
    }
}

//! `contour standalone` as its users run it: the binary, a copy of `examples/standalone`, a real Envoy, and upstreams that answer.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use contour_e2e::certs::TestCa;
use contour_e2e::client::{Request, Tls, get};
use contour_e2e::echo::Echo;
use contour_e2e::process::Process;
use contour_e2e::wait::{SOON, eventually};
use contour_e2e::{envoy, ports};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// The upstreams of the example: the port in its files, and the name.
const UPSTREAMS: [(&str, &str); 4] =
    [("9101", "www"), ("9102", "blog-v1"), ("9103", "blog-v2"), ("9104", "shop")];

/// A running example. Dropping it ends everything.
struct Example {
    process: Process,
    home: TempDir,
    http: SocketAddr,
    https: SocketAddr,
    ca: TestCa,
    upstreams: Vec<Echo>,
}

fn copy(from: &Path, to: &Path, change: &impl Fn(String) -> String) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target, change);
        } else {
            fs::write(target, change(fs::read_to_string(entry.path()).unwrap())).unwrap();
        }
    }
}

fn command(directory: &Path, http: u16, https: u16, stats: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contour"));
    command.arg("standalone").arg(directory).args([
        "--output",
        "json",
        "--admin-port",
        "0",
        "--controller-port",
        "0",
    ]);
    command.arg("--envoy").arg(envoy::binary().unwrap());
    for (flag, port) in [("--http-port", http), ("--https-port", https), ("--stats-port", stats)] {
        command.args([flag, &port.to_string()]);
    }
    command
}

impl Example {
    async fn start() -> Self {
        let home = tempfile::Builder::new().prefix("contour-standalone-").tempdir().unwrap();
        let mut upstreams = Vec::new();
        for (_, name) in UPSTREAMS {
            upstreams.push(Echo::start(name).await.unwrap());
        }
        let ports: Vec<String> = upstreams.iter().map(|echo| echo.address().port().to_string()).collect();
        let moved = |text: String| {
            UPSTREAMS.iter().zip(&ports).fold(text, |text, ((given, _), port)| {
                text.replace(&format!("port: {given}"), &format!("port: {port}"))
            })
        };
        let directory = home.path().join("example");
        copy(&contour_e2e::repository_root().join("examples/standalone"), &directory, &moved);
        let ca = TestCa::new("example CA").unwrap();
        let leaf = ca.leaf(&["secure.example.com"]).unwrap();
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"namespace": "team-a", "name": "example-com"},
            "stringData": {"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem},
        });
        fs::write(directory.join("team-a/example-com.yaml"), secret.to_string()).unwrap();
        let [http, https, stats] = ports::free();
        let process = Process::spawn(
            "contour",
            command(&directory, http, https, stats),
            home.path().join("contour.log"),
        )
        .unwrap();
        let [http, https] = [http, https].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        Self { process, home, http, https, ca, upstreams }
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join("example")
    }

    /// Replaces text in a file of the example, which must be there.
    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.directory().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn get(&self, host: &str, path: &str) -> Request {
        get(self.http, host, path)
    }

    /// Everything told so far.
    fn told(&self) -> Vec<Value> {
        self.process.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until something is told that `wanted` finds, and answers with what that is.
    async fn until_told<T>(&self, what: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let told = eventually(SOON, || async {
            self.process.ensure_running()?;
            self.told().iter().find_map(&wanted).with_context(|| format!("nothing tells {what}"))
        });
        told.await.unwrap_or_else(|error| panic!("{error:#}\n{}", self.process.log()))
    }

    /// The process id of the Envoy started last, which is not `other`.
    async fn envoy(&self, other: Option<i64>) -> i64 {
        self.until_told("a start of Envoy", |line| {
            let pid = line["pid"].as_i64().filter(|_| line["event"] == "envoy-started");
            pid.filter(|pid| Some(*pid) != other)
        })
        .await
    }

    fn status(&self, object: &str) -> Result<Value> {
        let path = self.directory().join(format!(".contour/status/{object}.httpproxy.yaml"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(serde_saphyr::from_str(&text)?)
    }

    /// Waits until an HTTPProxy has this status, which is told after traffic shows it.
    async fn until_status(&self, object: &str, current: &str) -> Value {
        let found = eventually(SOON, || async {
            let found = self.status(object)?;
            ensure!(found["status"]["currentStatus"] == current, "{found}");
            Ok(found)
        });
        found.await.unwrap()
    }

    /// Waits until the process has ended, and answers with its exit status.
    async fn exit(&self) -> Option<i32> {
        let ended = eventually(SOON, || async { self.process.exited().context("it still runs") });
        ended.await.unwrap().code()
    }
}

fn pid(id: i64) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap())
}

/// Waits until there is no such process.
async fn until_gone(id: i64) {
    let gone = eventually(SOON, || async {
        ensure!(kill(pid(id), None) == Err(Errno::ESRCH), "process {id} still runs");
        Ok(())
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn the_example_is_served_and_its_statuses_explain_it() {
    let example = Example::start().await;
    let www = example.get("www.example.com", "/").until_status(200).await.unwrap();
    assert_eq!(www.received().unwrap().service, "www");
    let shop = example.get("shop.example.com", "/").until_status(200).await.unwrap();
    assert_eq!(shop.received().unwrap().service, "shop");

    let mut versions = BTreeSet::new();
    let blog = example.get("www.example.com", "/blog/post");
    while versions.len() < 2 {
        versions.insert(blog.until_status(200).await.unwrap().received().unwrap().service);
    }
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), ["blog-v1", "blog-v2"]);

    let secure = get(example.https, "secure.example.com", "/")
        .tls(Tls::trusting(&example.ca).sni("secure.example.com"));
    let answer = secure.until_status(200).await.unwrap();
    assert_eq!(answer.received().unwrap().service, "blog-v2");
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
    let redirect = example.get("secure.example.com", "/").send().await.unwrap();
    assert_eq!((redirect.status, redirect.header("location")), (301, Some("https://secure.example.com/")));
    // Who writes the port of HTTP is led to that of HTTPS.
    let written = format!("secure.example.com:{}", example.http.port());
    let redirect = example.get(&written, "/?a").send().await.unwrap();
    let location = format!("https://secure.example.com:{}/?a", example.https.port());
    assert_eq!((redirect.status, redirect.header("location")), (301, Some(location.as_str())));
    assert_eq!(example.get("broken.example.com", "/").send().await.unwrap().status, 503);

    for object in ["team-a/www", "team-b/blog", "team-b/secure"] {
        example.until_status(object, "valid").await;
    }
    let broken = example.until_status("team-b/broken", "invalid").await;
    let error = &broken["status"]["conditions"][0]["errors"][0];
    assert_eq!(error["reason"], "ServiceUnresolvedReference");
    assert!(error["message"].as_str().unwrap().contains("team-b/api"), "{error}");
    let urls = example
        .until_told("the host", |line| (line["host"] == "secure.example.com").then(|| line["urls"].clone()));
    assert_eq!(urls.await[1], format!("https://secure.example.com:{}", example.https.port()));
}

#[tokio::test]
async fn an_edit_is_live_and_a_mistake_leaves_the_last_good_state() {
    let example = Example::start().await;
    example.get("www.example.com", "/").until_status(200).await.unwrap();
    example.edit("team-a/www.yaml", "fqdn: www.example.com", "fqdn: neu.example.com");
    example.get("neu.example.com", "/").until_status(200).await.unwrap();
    example.get("www.example.com", "/").until_status(404).await.unwrap();

    example.edit("team-a/www.yaml", "spec:", "spec: [");
    let problem = |line: &Value| {
        (line["file"] == "team-a/www.yaml" && line["event"] == "problem").then(|| line.clone())
    };
    let told = example.until_told("the broken file", problem).await;
    assert_eq!((&told["kept"], told["line"].as_u64() > Some(1)), (&Value::Bool(true), true), "{told}");
    let problems = fs::read_to_string(example.directory().join(".contour/status/problems.yaml")).unwrap();
    assert!(problems.contains("team-a/www.yaml"), "{problems}");
    // Another object of another file still changes, and what is broken still serves.
    example.edit("team-a/shop.yaml", "shop.example.com", "laden.example.com");
    example.get("laden.example.com", "/").until_status(200).await.unwrap();
    assert_eq!(example.get("neu.example.com", "/").send().await.unwrap().status, 200);

    example.edit("team-a/www.yaml", "spec: [", "spec:");
    example.until_told("that the file is mended", |line| (line["event"] == "solved").then_some(())).await;
    example.edit("team-b/broken.yaml", "name: api", "name: blog-v1");
    example.get("broken.example.com", "/").until_status(200).await.unwrap();
    assert_eq!(example.until_status("team-b/broken", "valid").await["metadata"]["generation"], 2);
    fs::remove_file(example.directory().join("team-b/broken.yaml")).unwrap();
    example.get("broken.example.com", "/").until_status(404).await.unwrap();
    eventually(SOON, || async {
        ensure!(example.status("team-b/broken").is_err(), "the status is still there");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn envoy_comes_back_and_both_stop_without_losing_a_request() {
    let example = Example::start().await;
    example.get("www.example.com", "/").until_status(200).await.unwrap();
    let first = example.envoy(None).await;
    kill(pid(first), Signal::SIGKILL).unwrap();
    let second = example.envoy(Some(first)).await;
    example.get("www.example.com", "/").until_status(200).await.unwrap();
    let died = example
        .until_told("how Envoy died", |line| (line["event"] == "envoy-died").then(|| line.clone()))
        .await;
    assert!(died["status"].as_str().unwrap().contains("SIGKILL"), "{died}");

    let www = &example.upstreams[0];
    let before = www.requests();
    let slow = example.get("www.example.com", "/delay/1500");
    let asked = tokio::spawn(async move { slow.send().await });
    eventually(SOON, || async {
        ensure!(www.requests() > before, "the request has not arrived");
        Ok(())
    })
    .await
    .unwrap();
    example.process.signal(Signal::SIGTERM).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().status, 200, "an open request is answered");
    assert_eq!(example.exit().await, Some(0), "{}", example.process.log_tail());
    until_gone(second).await;
    for address in [example.http, example.https] {
        TcpListener::bind(address).unwrap();
    }
}

#[tokio::test]
async fn other_settings_are_applied_and_impossible_ones_are_not() {
    let example = Example::start().await;
    example.get("shop.example.com", "/").until_status(200).await.unwrap();
    let before = example.envoy(None).await;
    example.edit("settings.yaml", "listenAddress: 127.0.0.1", "listenAddress: 127.0.0.256");
    let stays =
        |line: &Value| line["message"].as_str()?.contains("the former settings stay").then(|| line.clone());
    let told = example.until_told("that the settings cannot be used", stays).await;
    assert!(told["message"].as_str().unwrap().contains("listenAddress: is not an IP address"), "{told}");
    assert_eq!(example.get("shop.example.com", "/").send().await.unwrap().status, 200);

    example.edit("team-a/www.yaml", "spec:", "spec:\n  ingressClassName: inner");
    example.get("www.example.com", "/").until_status(404).await.unwrap();
    let settings = example.directory().join("settings.yaml");
    let text = fs::read_to_string(&settings).unwrap().replace("127.0.0.256", "127.0.0.1");
    fs::write(settings, text.replace("spec:", "spec:\n  ingressClassName: inner")).unwrap();
    example.envoy(Some(before)).await;
    example.get("www.example.com", "/").until_status(200).await.unwrap();
    example.get("shop.example.com", "/").until_status(404).await.unwrap();
    until_gone(before).await;
}

#[tokio::test]
async fn envoy_does_not_outlive_a_controller_that_was_killed() {
    let example = Example::start().await;
    example.get("www.example.com", "/").until_status(200).await.unwrap();
    let envoy = example.envoy(None).await;
    example.process.signal(Signal::SIGKILL).unwrap();
    assert_eq!(example.exit().await, None);
    until_gone(envoy).await;
}

#[tokio::test]
async fn a_directory_or_a_port_in_use_is_told_before_anything_starts() {
    let example = Example::start().await;
    example.get("www.example.com", "/").until_status(200).await.unwrap();
    let [http, https, stats] = ports::free();
    let refused = |mut command: Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let held = refused(command(&example.directory(), http, https, stats));
    assert!(held.contains(&format!("process {}", example.process.pid())), "{held}");
    let mut other = command(&example.directory(), example.http.port(), https, stats);
    other.arg("--state-dir").arg(example.home.path().join("other"));
    let taken = refused(other);
    assert!(taken.contains(&format!("port {} is in use", example.http.port())), "{taken}");
    let mut nowhere = Command::new(env!("CARGO_BIN_EXE_contour"));
    nowhere.args(["standalone", "/nowhere"]);
    assert!(refused(nowhere).contains("/nowhere is not a directory"));
}

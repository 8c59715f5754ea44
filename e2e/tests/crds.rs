//! The custom resource definitions in a real kube-apiserver: objects that it must accept, with the defaults
//! that it fills in, and objects that it must reject, with the reason. The objects are in `crds/fixtures`.
//!
//! The same objects are also given to a server with Contour's own definitions, which must decide alike.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use contour_crds::status::{ConditionStatus, DetailedCondition, SubCondition};
use contour_crds::{CONTOUR_RELEASE, HTTPProxy, HTTPProxySpec, HTTPProxyStatus, all_crds};
use contour_e2e::apiserver::{self, ApiServer};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

/// The group that Contour serves too.
const GROUP: &str = "projectcontour.io";

/// An object, and what the server must make of it.
struct Fixture {
    file: PathBuf,
    object: Value,
    verdict: Verdict,
}

enum Verdict {
    /// The object is created, with these fields as they are stored, if they are told.
    Accepted { stored: Option<Value> },
    /// The object is not created, and this is part of the reason.
    Rejected { reason: String },
}

#[tokio::test]
async fn our_definitions_decide_as_told() {
    let Some(server) = apiserver::require().await else { return };
    server.install_crds(&all_crds()).await.unwrap();
    let fixtures = fixtures().unwrap();
    assert!(fixtures.len() > 140, "only {} fixtures are left", fixtures.len());
    decide(server, &fixtures).await.unwrap();
}

#[tokio::test]
async fn contours_own_definitions_decide_alike() {
    if without_go() {
        eprintln!(
            "left out: contours_own_definitions_decide_alike (needs Go to download Contour's definitions)"
        );
        return;
    }
    // Asked for its answer alone: this test changes what belongs to the whole cluster, so it has its own server.
    if apiserver::require().await.is_none() {
        return;
    }
    let definitions = contours_definitions().unwrap();
    let server = ApiServer::start().await.unwrap();
    server.install_crds(&definitions).await.unwrap();
    let mut fixtures = fixtures().unwrap();
    fixtures.retain(|fixture| group(&fixture.object) == GROUP);
    assert!(fixtures.len() > 120, "only {} fixtures are of both", fixtures.len());
    decide(&server, &fixtures).await.unwrap();
}

#[tokio::test]
async fn a_status_is_held_to_the_schema_too() {
    let Some(server) = apiserver::require().await else { return };
    server.install_crds(&all_crds()).await.unwrap();
    let namespace = server.namespace("crds-status").await.unwrap();
    let proxies: Api<HTTPProxy> = Api::namespaced(server.client().await.unwrap(), &namespace);
    proxies.create(&PostParams::default(), &HTTPProxy::new("p", HTTPProxySpec::default())).await.unwrap();

    let valid = condition("Valid", "ErrorPresent");
    let status = |conditions: &[&DetailedCondition]| HTTPProxyStatus {
        current_status: Some("invalid".to_owned()),
        description: Some("At least one error is present.".to_owned()),
        conditions: conditions.iter().map(|&condition| condition.clone()).collect(),
        ..HTTPProxyStatus::default()
    };
    let write = async |status: &HTTPProxyStatus| {
        let patch = Patch::Merge(json!({ "status": status }));
        proxies.patch_status("p", &PatchParams::default(), &patch).await
    };

    let wanted = status(&[&valid]);
    let written = write(&wanted).await.unwrap();
    assert_eq!(written.status, Some(wanted), "what is served reads as what was written");

    for (bad, reason) in [
        (status(&[&condition("Valid", "two words")]), "reason in body should match"),
        (status(&[&condition("not a type", "Valid")]), "type in body should match"),
        (
            status(&[&DetailedCondition { last_transition_time: "today".to_owned(), ..valid.clone() }]),
            "date-time",
        ),
        (status(&[&valid, &valid]), "Duplicate value"),
    ] {
        let error = write(&bad).await.expect_err("the status breaks a rule");
        assert!(error.to_string().contains(reason), "{reason} is not the reason: {error}");
    }
}

fn condition(type_: &str, reason: &str) -> DetailedCondition {
    DetailedCondition {
        type_: type_.to_owned(),
        status: ConditionStatus::False,
        observed_generation: 1,
        last_transition_time: "2026-01-02T03:04:05Z".to_owned(),
        reason: reason.to_owned(),
        message: "At least one error is present.".to_owned(),
        errors: vec![SubCondition {
            type_: "TLSError".to_owned(),
            status: ConditionStatus::True,
            reason: "SecretNotValid".to_owned(),
            message: "The Secret is missing.".to_owned(),
        }],
        warnings: Vec::new(),
    }
}

/// Gives every object to the server, and fails with a list of all wrong decisions.
async fn decide(server: &ApiServer, fixtures: &[Fixture]) -> Result<()> {
    let namespace = server.namespace("crds").await?;
    let client = server.client().await?;
    let mut wrong = Vec::new();
    for fixture in fixtures {
        if let Err(error) = decide_one(client.clone(), &namespace, fixture).await {
            wrong.push(format!("{}: {error:#}", fixture.file.display()));
        }
    }
    ensure!(wrong.is_empty(), "{} wrong decisions:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

async fn decide_one(client: kube::Client, namespace: &str, fixture: &Fixture) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(fixture.object.clone())?;
    let types = object.types.as_ref().context("an object without apiVersion and kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
    let is_of_cluster = |crd: &CustomResourceDefinition| {
        crd.spec.names.kind == resource.kind
            && crd.spec.group == resource.group
            && crd.spec.scope == "Cluster"
    };
    let api: Api<DynamicObject> = if all_crds().iter().any(is_of_cluster) {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, namespace, &resource)
    };
    let decision = api.create(&PostParams::default(), &object).await;
    match (&fixture.verdict, decision) {
        (Verdict::Accepted { stored: None }, Ok(_)) => Ok(()),
        (Verdict::Accepted { stored: Some(stored) }, Ok(created)) => ensure_stored(stored, &created),
        (Verdict::Accepted { .. }, Err(error)) => Err(error).context("rejected"),
        (Verdict::Rejected { .. }, Ok(_)) => anyhow::bail!("accepted"),
        (Verdict::Rejected { reason }, Err(kube::Error::Api(status))) => {
            ensure!(status.code == 422, "status code {}: {}", status.code, status.message);
            ensure!(status.message.contains(reason), "another reason: {}", status.message);
            Ok(())
        }
        (Verdict::Rejected { .. }, Err(error)) => Err(error).context("no decision"),
    }
}

fn ensure_stored(stored: &Value, created: &DynamicObject) -> Result<()> {
    for (field, value) in stored.as_object().context("the stored fields are not an object")? {
        let found = &created.data[field];
        ensure!(found == value, "`{field}` is stored as {found}, not as {value}");
    }
    Ok(())
}

fn fixtures() -> Result<Vec<Fixture>> {
    let root = contour_e2e::repository_root().join("crds/fixtures");
    let mut fixtures = Vec::new();
    for file in yaml_files(&root.join("accept"))? {
        let stored = file.with_extension("stored.yaml");
        let stored = if stored.exists() { Some(read_yaml(&stored)?) } else { None };
        let object = read_yaml(&file)?;
        fixtures.push(Fixture { file, object, verdict: Verdict::Accepted { stored } });
    }
    for file in yaml_files(&root.join("reject"))? {
        let text = std::fs::read_to_string(&file)?;
        let reason = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
        let reason =
            reason.with_context(|| format!("{} does not begin with `# expect: `", file.display()))?;
        let verdict = Verdict::Rejected { reason: reason.to_owned() };
        fixtures.push(Fixture { object: read_yaml(&file)?, file, verdict });
    }
    Ok(fixtures)
}

/// The files in the directories of a directory, in order, without those that tell what is stored.
fn yaml_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for kind in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        for file in std::fs::read_dir(kind?.path())? {
            files.push(file?.path());
        }
    }
    files.retain(|file| !file.to_string_lossy().ends_with(".stored.yaml"));
    files.sort();
    Ok(files)
}

fn read_yaml(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_saphyr::from_str(&text).with_context(|| file.display().to_string())
}

fn group(object: &Value) -> &str {
    object["apiVersion"].as_str().and_then(|version| version.split('/').next()).unwrap_or_default()
}

/// True where `CONTOUR_TEST_WITHOUT` names `go`: whoever runs the tests accepted to go without Contour's own
/// definitions.
fn without_go() -> bool {
    let setting = std::env::var("CONTOUR_TEST_WITHOUT").unwrap_or_default();
    setting.split(',').any(|part| part.trim() == "go")
}

fn contours_definitions() -> Result<Vec<CustomResourceDefinition>> {
    let module = format!("github.com/projectcontour/contour@v{CONTOUR_RELEASE}");
    let output = Command::new("go")
        .args(["mod", "download", "-json", &module])
        .output()
        .context("cannot run `go`: install it, or set CONTOUR_TEST_WITHOUT=go")?;
    let download: Value = serde_json::from_slice(&output.stdout).context("`go mod download` says nothing")?;
    let dir = download["Dir"].as_str().with_context(|| format!("`go mod download {module}`: {download}"))?;
    let text = std::fs::read_to_string(Path::new(dir).join("examples/contour/01-crds.yaml"))?;
    Ok(serde_saphyr::from_multiple(&text)?)
}

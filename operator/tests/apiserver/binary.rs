//! The program as it is run: its endpoints, its lease, its end.

use std::process::Command;

use anyhow::{Context as _, Result};
use contour_e2e::process::Process;
use contour_e2e::wait::{SOON, eventually};
use contour_e2e::{apiserver, client, ports};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn the_program_leads_works_tells_and_ends() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "program").await?;
    let dir = tempfile::tempdir()?;
    let [port] = ports::free();
    let mut command = Command::new(env!("CARGO_BIN_EXE_contour-operator"));
    command.arg("run").args([
        &format!("--kubeconfig={}", api.kubeconfig().display()),
        &format!("--watch-namespaces={}", world.namespace),
        &format!("--leader-election-resource-namespace={}", world.namespace),
        &format!("--metrics-address=127.0.0.1:{port}"),
        &format!("--health-address=127.0.0.1:{port}"),
        "--contour-image=example/contour:v7",
        "--policy=open",
        "--log-format=json",
    ]);
    let operator = Process::spawn("contour-operator", command, dir.path().join("log"))?;
    world.create("edge", json!({})).await?;
    let status = world.complete("edge").await.with_context(|| operator.log_tail())?;
    assert_eq!(status.contour.and_then(|contour| contour.version).as_deref(), Some("v7"));
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.namespace);
    let held =
        async || anyhow::Ok(leases.get("contour-operator").await?.spec.and_then(|spec| spec.holder_identity));
    assert!(held().await?.is_some_and(|holder| !holder.is_empty()));

    assert_eq!(get(port, "/readyz").await?, "OK");
    assert_eq!(get(port, "/healthz").await?, "OK");
    let metrics = get(port, "/metrics").await?;
    for line in [
        "contour_operator_leader 1",
        "contour_operator_reconciles_total{outcome=\"complete\"}",
        "contour_build_info",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    for line in operator.log().lines() {
        serde_json::from_str::<serde_json::Value>(line).with_context(|| line.to_owned())?;
    }
    let certificates = operator.log();
    assert!(!certificates.contains("PRIVATE KEY"));

    world.deployments().delete("edge", &DeleteParams::default()).await?;
    world.gone("edge").await?;
    operator.signal(Signal::SIGTERM)?;
    let ended = eventually(SOON, || async { operator.exited().context("it does not end") }).await?;
    assert!(ended.success(), "{ended}: {}", operator.log_tail());
    assert_eq!(held().await?.unwrap_or_default(), "", "the lease was not given back");
    Ok(())
}

async fn get(port: u16, path: &str) -> Result<String> {
    let answer = client::get(([127, 0, 0, 1], port).into(), "localhost", path).send().await?;
    anyhow::ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    Ok(answer.text())
}

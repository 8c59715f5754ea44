//! An operator that is measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use contour_e2e::apiserver::ApiServer;
use contour_e2e::ports;
use contour_e2e::process::Process;
use contour_e2e::relay::Relay;
use contour_e2e::wait::eventually;

use crate::many::observe::{get, memory, processor_time};

/// How long it may take to come to rest.
const PATIENCE: Duration = Duration::from_mins(2);

/// The counter of looks.
pub(super) const LOOKS: &str = "contour_operator_reconciles_total";

/// How long it does nothing where it has nothing left to do.
const STILL: Duration = Duration::from_secs(3);

/// An operator that runs.
pub struct Operator {
    process: Process,
    relay: Relay,
    http: SocketAddr,
}

impl Operator {
    /// Starts one; returns once it is ready.
    pub async fn start(binary: &Path, api: &ApiServer, log: &Path) -> Result<Self> {
        let relay = Relay::to(api).await?;
        let [http] = ports::free();
        let mut command = Command::new(binary);
        command
            .arg("run")
            .arg(format!("--kubeconfig={}", relay.kubeconfig().display()))
            .args(["--disable-leader-election", "--log-level=debug", "--log-format=json"])
            .args([
                format!("--metrics-address=127.0.0.1:{http}"),
                format!("--health-address=127.0.0.1:{http}"),
            ])
            .env_remove("RUST_LOG");
        let process = Process::spawn("contour-operator", command, log.to_owned())?;
        let operator = Self { process, relay, http: SocketAddr::from(([127, 0, 0, 1], http)) };
        eventually(PATIENCE, || async {
            if let Err(ended) = operator.process.ensure_running() {
                return Ok(Err(ended));
            }
            let answer = operator.answer("/readyz").await?;
            ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            Ok(Ok(()))
        })
        .await??;
        Ok(operator)
    }

    async fn answer(&self, path: &'static str) -> Result<String> {
        let address = self.http;
        tokio::task::spawn_blocking(move || get(address, path)).await?
    }

    /// The sum of a counter.
    pub async fn sum(&self, name: &str) -> Result<u64> {
        let answer = self.answer("/metrics").await?;
        let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        Ok(answer
            .lines()
            .filter(of)
            .filter_map(|line| line.rsplit(' ').next()?.trim().parse::<u64>().ok())
            .sum())
    }

    /// Waits until it does nothing.
    pub async fn rest(&self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let before = self.sum(LOOKS).await?;
            tokio::time::sleep(STILL).await;
            if self.sum(LOOKS).await? == before {
                return Ok(());
            }
        }
        bail!("it does not come to rest; its log ends:\n{}", self.log_tail())
    }

    /// Waits until it has looked since it had looked so often.
    pub async fn until_looked(&self, before: u64) -> Result<()> {
        eventually(PATIENCE, || async {
            ensure!(self.sum(LOOKS).await? > before, "it does not look");
            Ok(())
        })
        .await
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Bytes that the API server has sent it.
    pub fn received(&self) -> u64 {
        self.relay.received()
    }

    /// Its resident memory now, and at most.
    pub fn memory(&self) -> Result<(u64, u64)> {
        memory(self.process.pid())
    }

    /// How long it ran on a processor.
    pub fn processor_time(&self) -> Result<Duration> {
        processor_time(self.process.pid())
    }

    /// How long each look took, in milliseconds, by its log.
    pub fn looks(&self) -> Result<Vec<f64>> {
        let log = self.process.log();
        let took = log.lines().filter(|line| line.contains("\"looked\"")).map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).context("its log is JSON")?;
            let found = line.get("took").or_else(|| line.get("fields")?.get("took"));
            milliseconds(found.and_then(|took| took.as_str()).context("a look tells how long it took")?)
        });
        took.collect()
    }
}

/// A duration as Rust's `Debug` has it.
fn milliseconds(text: &str) -> Result<f64> {
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[number.len()..] {
        "s" => 1e3,
        "ms" => 1.0,
        "µs" => 1e-3,
        unit => anyhow::bail!("{unit} is no unit of time"),
    };
    Ok(number.parse::<f64>()? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let read = ["1.5s", "12.25ms", "830µs"].map(|text| milliseconds(text).unwrap());
        assert!(
            read.iter().zip([1_500.0, 12.25, 0.83]).all(|(read, due)| (read - due).abs() < 1e-9),
            "{read:?}"
        );
        assert!(milliseconds("3 weeks").is_err());
    }
}

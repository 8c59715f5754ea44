//! What is measured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver::ApiServer;

use super::cluster::Cluster;
use super::operator::{LOOKS, Operator};

/// How large the fleet is, and how much happens.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Nodes, each with a pod of Envoy.
    pub nodes: usize,
    /// Looks at a cluster in which nothing happens.
    pub looks: usize,
    /// How often one pod becomes not ready, and ready again.
    pub flips: usize,
    /// Pods that become not ready at once, and ready again.
    pub many: usize,
    /// Pods that are replaced at once.
    pub restarted: usize,
}

/// What happened, and what the operator did of it.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What happened.
    pub what: &'static str,
    /// How often.
    pub times: usize,
    /// Looks.
    pub looks: u64,
    /// Requests to the API server but watches.
    pub requests: u64,
    /// Children written.
    pub children: u64,
    /// Statuses written.
    pub statuses: u64,
    /// Bytes that the API server sent.
    pub bytes: u64,
    /// Processor time.
    pub processor: Duration,
}

/// The figures of one operator.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// As it is called in the table.
    pub name: String,
    /// Resident bytes with an empty cluster.
    pub empty: u64,
    /// Resident bytes with all nodes and pods, and the peak until then.
    pub full: (u64, u64),
    /// How long looks took, in milliseconds, ascending.
    pub looks: Vec<f64>,
    /// The processor time of one of them, with what it waits for.
    pub a_look: Duration,
    /// What happened.
    pub told: Vec<Told>,
}

/// A cluster and the operators that are measured in it.
pub struct Bench {
    cluster: Cluster,
    api: ApiServer,
    size: Size,
    logs: tempfile::TempDir,
    /// What resident memory each had before anything was there.
    rows: Vec<(PathBuf, Row)>,
}

impl Bench {
    /// Starts the cluster, and has the last of these operators make the installation. Each is given as it is called, and its binary.
    pub async fn start(operators: &[(String, PathBuf)], size: Size) -> Result<Self> {
        let api = ApiServer::start().await?;
        let mut cluster = Cluster::new(&api, size.nodes).await?;
        let logs = tempfile::tempdir()?;
        let mut rows = Vec::new();
        for (name, binary) in operators {
            let operator = Operator::start(binary, &api, &logs.path().join("empty.log")).await?;
            operator.rest().await?;
            let empty = operator.memory()?.0;
            rows.push((binary.clone(), Row { name: name.clone(), empty, ..Row::default() }));
        }
        cluster.make_nodes().await?;
        let (_, binary) = operators.last().context("there is no operator")?;
        let operator = Operator::start(binary, &api, &logs.path().join("first.log")).await?;
        cluster.install().await.with_context(|| operator.log_tail())?;
        cluster.complete().await.with_context(|| operator.log_tail())?;
        drop(operator);
        Ok(Self { cluster, api, size, logs, rows })
    }

    /// Measures each operator.
    pub async fn run(&mut self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (binary, row) in std::mem::take(&mut self.rows) {
            println!("{}:", row.name);
            let log = self.logs.path().join(format!("{}.log", rows.len()));
            rows.push(self.measure(&binary, row, &log).await?);
        }
        Ok(rows)
    }

    async fn measure(&mut self, binary: &Path, mut row: Row, log: &Path) -> Result<Row> {
        let Size { looks, flips, many, restarted, .. } = self.size;
        let operator = Operator::start(binary, &self.api, log).await?;
        // What another version wants otherwise is written.
        operator.rest().await?;
        self.cluster.complete().await?;
        operator.rest().await?;
        row.full = operator.memory()?;
        println!("  resident: {} MiB, at most {}", row.full.0 >> 20, row.full.1 >> 20);

        let known = operator.looks()?.len();
        let before = self.counters(&operator).await?;
        for n in 0..looks {
            let before = operator.sum(LOOKS).await?;
            self.cluster.poke(n).await?;
            operator.until_looked(before).await?;
        }
        let after = self.counters(&operator).await?;
        let made = u32::try_from(after.looks - before.looks).unwrap_or(u32::MAX).max(1);
        row.a_look = after.processor.saturating_sub(before.processor) / made;
        row.looks = operator.looks()?.split_off(known);
        row.looks.sort_by(f64::total_cmp);

        for (what, nodes, times) in [
            ("one pod not ready, and ready again", 1, flips),
            ("many pods not ready, and ready again", many, 1),
        ] {
            let before = self.counters(&operator).await?;
            for _ in 0..times {
                self.cluster.flip(0..nodes, false).await?;
                operator.rest().await?;
                self.cluster.flip(0..nodes, true).await?;
                operator.rest().await?;
            }
            before.told(what, times, self.counters(&operator).await?, &mut row);
        }
        let before = self.counters(&operator).await?;
        self.cluster.restart(0..restarted).await?;
        operator.rest().await?;
        before.told("pods replaced at once", 1, self.counters(&operator).await?, &mut row);
        self.cluster.complete().await?;
        Ok(row)
    }

    async fn counters(&self, operator: &Operator) -> Result<Counters> {
        let metrics = self.cluster.metrics().await?;
        let requests = metrics.lines().filter(|line| is_of_operator(line)).filter_map(value);
        let statuses = metrics
            .lines()
            .filter(|line| is_of_operator(line) && line.contains(r#"resource="contourdeployments""#))
            .filter_map(value);
        Ok(Counters {
            looks: operator.sum(LOOKS).await?,
            requests: requests.sum(),
            children: operator.sum("contour_operator_writes_total").await?
                + operator.sum("contour_operator_deletes_total").await?,
            statuses: statuses.sum(),
            bytes: operator.received(),
            processor: operator.processor_time()?,
        })
    }
}

/// What was counted so far.
#[derive(Clone, Copy)]
struct Counters {
    looks: u64,
    requests: u64,
    children: u64,
    statuses: u64,
    bytes: u64,
    processor: Duration,
}

impl Counters {
    /// Notes what came since.
    fn told(self, what: &'static str, times: usize, now: Self, row: &mut Row) {
        let told = Told {
            what,
            times,
            looks: now.looks - self.looks,
            requests: now.requests - self.requests,
            children: now.children - self.children,
            statuses: now.statuses - self.statuses,
            bytes: now.bytes - self.bytes,
            processor: now.processor.saturating_sub(self.processor),
        };
        println!("  {told:?}");
        row.told.push(told);
    }
}

fn value(line: &str) -> Option<u64> {
    line.rsplit(' ').next()?.parse().ok()
}

/// Whether a counter of kube-apiserver is of requests that the operator makes: neither the bench nor kube-apiserver itself makes such.
fn is_of_operator(line: &str) -> bool {
    let label = |name: &str| {
        let (_, rest) = line.split_once(&format!(r#"{name}=""#))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    let (resource, verb, part) =
        (label("resource").unwrap_or(""), label("verb").unwrap_or(""), label("subresource").unwrap_or(""));
    line.starts_with("apiserver_request_total{")
        && verb != "WATCH"
        && match resource {
            "contourdeployments" => part == "status",
            "secrets" => verb == "GET",
            "events" => true,
            "services" | "daemonsets" => matches!(verb, "PATCH" | "APPLY") && part.is_empty(),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_the_operator_are_told_from_others() {
        let line = |resource: &str, part: &str, verb: &str| {
            format!(
                r#"apiserver_request_total{{code="200",resource="{resource}",subresource="{part}",verb="{verb}"}} 7"#
            )
        };
        for (resource, part, verb, ours) in [
            ("contourdeployments", "status", "APPLY", true),
            ("contourdeployments", "", "PATCH", false),
            ("secrets", "", "GET", true),
            ("secrets", "", "WATCH", false),
            ("daemonsets", "status", "PATCH", false),
            ("daemonsets", "", "APPLY", true),
            ("pods", "status", "PATCH", false),
        ] {
            let line = line(resource, part, verb);
            assert_eq!(is_of_operator(&line), ours, "{line}");
            assert_eq!(value(&line), Some(7));
        }
    }
}

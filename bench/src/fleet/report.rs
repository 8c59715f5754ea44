//! The table.

use std::fmt::Write as _;

use super::phases::{Row, Size, Told};

/// The name of the section of `bench/RESULTS.md`.
pub const SECTION: &str = "fleet";

/// The section.
pub fn section(rows: &[Row], size: Size) -> String {
    let mut text = format!(
        "## The operator and a large fleet\n\nWritten by `make bench-fleet`: one ContourDeployment with Envoy on the host network of {} nodes, which are \
         objects in a kube-apiserver without kubelets; nodes, DaemonSet and pods are written by the bench. Operator, bench and kube-apiserver share \
         this machine.\n\n",
        size.nodes
    );
    text.push_str(&crate::machine::describe());
    let heads: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    // Writing to a String does not fail.
    let _ = writeln!(text, "\n| | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()));
    let mut line = |name: &str, cell: &dyn Fn(&Row) -> String| {
        let cells: Vec<String> = rows.iter().map(cell).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    };
    line("resident with an empty cluster, MiB", &|row| mib(row.empty));
    line("resident with all nodes and pods / peak, MiB", &|row| {
        format!("{} / {}", mib(row.full.0), mib(row.full.1))
    });
    line("of that a node and its pod, KiB", &|row| {
        let more = row.full.0.saturating_sub(row.empty) >> 10;
        (more / size.nodes.max(1) as u64).to_string()
    });
    line("a look where nothing happens, p50 / p99, ms", &|row| {
        format!("{:.1} / {:.1}", share(&row.looks, 50), share(&row.looks, 99))
    });
    line("processor time of such a look, ms", &|row| format!("{:.1}", row.a_look.as_secs_f64() * 1e3));
    for (n, told) in rows.first().map(|row| &row.told[..]).unwrap_or_default().iter().enumerate() {
        let name = match n {
            1 => format!("{} pods not ready, and ready again", size.many),
            2 => format!("{} {}", size.restarted, told.what),
            _ => told.what.to_owned(),
        };
        line(&format!("{name}: looks / requests / children / statuses written"), &|row| {
            row.told.get(n).map(counts).unwrap_or_default()
        });
        line(&format!("{name}: KiB received / processor ms"), &|row| {
            row.told.get(n).map(costs).unwrap_or_default()
        });
    }
    text.push_str("\nFigures of changes are of one: twice a change of readiness, or one restart.\n");
    text
}

fn mib(bytes: u64) -> String {
    (bytes >> 20).to_string()
}

/// The time that so many of 100 looks kept.
fn share(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

fn counts(told: &Told) -> String {
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let each = |sum: u64| number(sum) / number(told.times.max(1) as u64);
    format!(
        "{:.1} / {:.1} / {:.1} / {:.1}",
        each(told.looks),
        each(told.requests),
        each(told.children),
        each(told.statuses)
    )
}

fn costs(told: &Told) -> String {
    let times = told.times.max(1);
    let processor = told.processor.as_millis() / times as u128;
    format!("{} / {processor}", (told.bytes / times as u64) >> 10)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_table_has_a_column_for_each_operator() {
        let told = |what| Told {
            what,
            times: 2,
            looks: 4,
            requests: 7,
            bytes: 8192,
            processor: Duration::from_millis(9),
            ..Told::default()
        };
        let row = |name: &str| Row {
            name: name.to_owned(),
            empty: 10 << 20,
            full: (30 << 20, 40 << 20),
            looks: (1..=100).map(f64::from).collect(),
            a_look: Duration::from_micros(2_500),
            told: vec![told("a"), told("b"), told("c")],
        };
        let size = Size { nodes: 20, looks: 100, flips: 2, many: 5, restarted: 3 };
        let text = section(&[row("before"), row("now")], size);
        for line in [
            "| | before | now |",
            "| resident with all nodes and pods / peak, MiB | 30 / 40 | 30 / 40 |",
            "| of that a node and its pod, KiB | 1024 | 1024 |",
            "| a look where nothing happens, p50 / p99, ms | 50.0 / 99.0 | 50.0 / 99.0 |",
            "| processor time of such a look, ms | 2.5 | 2.5 |",
            "| a: looks / requests / children / statuses written | 2.0 / 3.5 / 0.0 / 0.0 | 2.0 / 3.5 / 0.0 / 0.0 |",
            "| 3 c: KiB received / processor ms | 4 / 4 | 4 / 4 |",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}

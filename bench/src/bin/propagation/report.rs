//! The table.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use crate::measure::{Figures, Times};

/// One line for whoever watches.
pub(crate) fn row(kind: &str, size: usize, figures: &Figures) -> String {
    format!(
        "{kind} {size}: add {} ms, under load {} ms, remove {} ms, endpoint {} ms, {} answers 503",
        pair(&figures.add),
        pair(&figures.add_under_load),
        pair(&figures.remove),
        pair(&figures.endpoint),
        figures.unavailable
    )
}

fn pair(times: &Times) -> String {
    format!("{:.1} / {:.1}", times.percentile(0.5), times.percentile(0.99))
}

type Line<'a> = (&'a str, Box<dyn Fn(&Figures) -> String>);

/// The whole of `bench/RESULTS.md`.
pub(crate) fn table(all: &[(&str, usize, Figures)], samples: usize, criterion: &Path) -> Result<String> {
    let mut text = String::from("# What was measured\n\n");
    writeln!(
        text,
        "Written by `make bench`. Everything (kube-apiserver, etcd, controller, Envoy with two workers, upstream and client) shares this machine; compare ratios within one run.\n"
    )?;
    text.push_str(&contour_bench::machine::describe());
    writeln!(text, "\n## From an object in kube-apiserver to an answer through Envoy\n")?;
    writeln!(
        text,
        "One Service, EndpointSlice and HTTPProxy a host; {samples} samples a figure; p50 / p99 in ms.\n"
    )?;
    let heads: Vec<String> = all.iter().map(|(kind, size, _)| format!("{kind} {size}")).collect();
    writeln!(text, "| | {} |\n|---|{}", heads.join(" | "), "---|".repeat(all.len()))?;
    for (name, cell) in lines() {
        let cells: Vec<String> = all.iter().map(|(_, _, figures)| cell(figures)).collect();
        writeln!(text, "| {name} | {} |", cells.join(" | "))?;
    }
    writeln!(text, "\n## The controller's own work (criterion, mean)\n\n| | |\n|---|---|")?;
    for (name, nanoseconds) in own_work(criterion) {
        writeln!(text, "| {name} | {} |", human(nanoseconds))?;
    }
    Ok(text)
}

fn lines() -> Vec<Line<'static>> {
    vec![
        ("create HTTPProxy to first 200", Box::new(|f| pair(&f.add))),
        ("of that, until kube-apiserver has answered", Box::new(|f| pair(&f.add_write))),
        ("create to first 200, 10 other edits a second", Box::new(|f| pair(&f.add_under_load))),
        ("delete HTTPProxy to first 404 (TLS: refused handshake)", Box::new(|f| pair(&f.remove))),
        ("endpoint swap to first answer from it", Box::new(|f| pair(&f.endpoint))),
        ("of that, until kube-apiserver has answered", Box::new(|f| pair(&f.endpoint_write))),
        ("answers 503 on the way", Box::new(|f| f.unavailable.to_string())),
        (
            "processor time for a host added and removed, controller / Envoy's main thread, ms",
            Box::new(|f| format!("{:.1} / {:.1}", f.work_per_add.0, f.work_per_add.1)),
        ),
        ("xDS bytes per added host", Box::new(|f| format!("{:.0}", f.bytes_per_add))),
        (
            "xDS resources / bytes per endpoint swap",
            Box::new(|f| format!("{:.2} / {:.0}", f.resources_per_endpoint, f.bytes_per_endpoint)),
        ),
        ("500 statuses written after one change, ms", Box::new(|f| format!("{:.0}", f.statuses))),
        ("create HTTPProxy to first 200 meanwhile, ms", Box::new(|f| format!("{:.1}", f.add_under_statuses))),
        (
            "controller / Envoy resident, MiB",
            Box::new(|f| format!("{} / {}", f.controller_memory >> 20, f.envoy_memory >> 20)),
        ),
        (
            "xDS resources / bytes after a restart with nothing changed",
            Box::new(|f| format!("{:.0} / {:.0}", f.restart_resources, f.restart_bytes)),
        ),
    ]
}

/// Mean times of criterion's last run, by name.
fn own_work(criterion: &Path) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    let mut pending = vec![criterion.to_owned()];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        pending.extend(entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.is_dir()));
        if !directory.ends_with("new") {
            continue;
        }
        let read = |name: &str| {
            let text = std::fs::read_to_string(directory.join(name)).ok()?;
            serde_json::from_str::<serde_json::Value>(&text).ok()
        };
        if let (Some(id), Some(estimates)) = (read("benchmark.json"), read("estimates.json"))
            && let (Some(name), Some(mean)) =
                (id["full_id"].as_str(), estimates["mean"]["point_estimate"].as_f64())
        {
            found.push((name.to_owned(), mean));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn human(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e6 => format!("{:.0} µs", n / 1e3),
        n if n < 1e9 => format!("{:.1} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

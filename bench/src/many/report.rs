//! The table.

use std::fmt::Write as _;
use std::time::Duration;

use clap::ValueEnum as _;

use super::phases::{Figures, Phase, Row, Size};

/// The name of the section of `bench/RESULTS.md`.
pub const SECTION: &str = "many";

/// A phase as it is called on the command line.
pub fn name(phase: Phase) -> String {
    phase.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// One line for whoever watches.
pub fn line(row: &Row) -> String {
    let cells = lines().into_iter().filter(|(_, cell)| !cell(row).is_empty());
    let cells: Vec<String> = cells.map(|(name, cell)| format!("  {name}: {}", cell(row))).collect();
    let note = if row.note.is_empty() { String::new() } else { format!(" ({})", row.note) };
    format!("{}{note}\n{}", name(row.phase), cells.join("\n"))
}

/// Memory, for whoever watches.
pub fn memory(figures: &Figures) -> Option<String> {
    let streams = figures.rows.iter().find(|row| row.phase == Phase::Cold)?.streams;
    let together = figures.together?;
    Some(format!(
        "{} MiB with one stream, {} MiB with {streams} more: {} KiB a stream; {} files open",
        figures.alone >> 20,
        together >> 20,
        (together.saturating_sub(figures.alone) >> 10) / streams.max(1) as u64,
        figures.open_files,
    ))
}

/// The section.
pub fn section(figures: &Figures, size: Size) -> String {
    let mut text = format!(
        "## Many Envoys\n\nWritten by `make bench-many`: {} played Envoys at {} hosts, over TLS, and one that decodes what it is told. Players, \
         controller and kube-apiserver share this machine.\n\n",
        size.streams, size.hosts
    );
    text.push_str(&crate::machine::describe());
    let heads: Vec<String> = figures.rows.iter().map(|row| head(row.phase).to_owned()).collect();
    // Writing to a String does not fail.
    let _ = writeln!(text, "\n| | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()));
    for (name, cell) in lines() {
        let cells: Vec<String> = figures.rows.iter().map(cell).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    if let Some(memory) = memory(figures) {
        let _ = writeln!(text, "\nResident: {memory}.");
    }
    for row in figures.rows.iter().filter(|row| !row.note.is_empty()) {
        let _ = writeln!(text, "\n{}: {}.", head(row.phase), row.note);
    }
    text
}

fn head(phase: Phase) -> &'static str {
    match phase {
        Phase::Cold => "cold",
        Phase::Host => "a host more",
        Phase::Endpoint => "an endpoint",
        Phase::Reconnect => "reconnect",
        Phase::Restart => "restart",
        Phase::Slow => "cold beside slow readers",
        Phase::Leave => "all leave",
    }
}

type Line = (&'static str, fn(&Row) -> String);

/// Figures of more than one change are of one.
fn lines() -> Vec<Line> {
    vec![
        ("until half have everything, s", |row| seconds(row.usual.unwrap_or(row.times).median)),
        ("until all have everything, s", |row| seconds(row.usual.unwrap_or(row.times).last)),
        ("worst change, s", |row| row.usual.map(|_| seconds(row.times.last)).unwrap_or_default()),
        ("processor time of the controller, s", |row| seconds(row.work / row.changes())),
        ("processor time of the players, s", |row| seconds(row.own_work / row.changes())),
        ("controller resident, peak / after, MiB", |row| {
            format!("{} / {}", row.memory.0 >> 20, row.memory.1 >> 20)
        }),
        ("`/healthz` worst / p99, ms", |row| format!("{:.1} / {:.1}", row.health.worst(), row.health.p99())),
        ("answers of `/healthz` other than 200", |row| row.health.unhealthy.to_string()),
        ("looks without the lease", |row| row.health.without_lease.to_string()),
        ("streams given routes before clusters", |row| row.faults.early.to_string()),
        ("streams that waited 15 s for something", |row| row.faults.impatient.to_string()),
        ("connections broken", |row| row.faults.broken.to_string()),
        ("resources a stream", |row| each(row, row.told.resources)),
        ("bytes a stream", |row| each(row, row.told.bytes)),
    ]
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

fn each(row: &Row, sum: u64) -> String {
    (sum / row.streams.max(1) as u64 / u64::from(row.changes())).to_string()
}

//! The table.

use std::fmt::Write as _;

use anyhow::Result;

use crate::attempt::{Row, Run};
use crate::changes::{Kind, middle_and_last, times};
use crate::judge::Size;

/// The text before the table.
const ABOUT: &str = "\
Written by `make hostile`: the attacks of [bench/hostile](hostile), each made by the owner of one namespace against `contour serve` with a real
kube-apiserver and two real Envoys, while another tenant asks for its hosts all the time (new connections and kept ones, plain and TLS, over
both Envoys) and changes them one after another. First without the attacker, then with; everything shares this machine, so compare within a row.

Times are the middle / the longest in ms from when kube-apiserver delivers a change to a watch of the victim's namespace until *both* Envoys
show it, without → with the attacker. *Delivered*: the longest that kube-apiserver took for that; it shares the two processors. *Failed*: requests of the other tenant
that got anything but its own answer. *Peak*: resident memory. *Recovered*: seconds from the deletion of the attacker's objects until hosts,
clusters and held-back resources are as before and further changes are seen.
";

/// One line for whoever watches.
pub(crate) fn line(row: &Row) -> String {
    let verdict = if row.broken.is_empty() { "ok" } else { "BROKEN" };
    let traffic = &row.attacked.traffic;
    let mut text = format!(
        "{verdict:7} {}: {} of {} requests failed, add {}, {:.0} s of {:.0} s",
        row.name,
        traffic.failed,
        traffic.requests,
        pairs(row, Kind::Add),
        row.attacked.seconds,
        row.took,
    );
    for broken in &row.broken {
        text += "\n        - ";
        text += broken;
    }
    for told in &row.told {
        text += "\n        told: ";
        text += told;
    }
    text
}

/// The whole of `bench/HOSTILE.md`.
pub(crate) fn table(rows: &[Row], size: Size, command: &str) -> Result<String> {
    let mut text = format!("# What one tenant can do to another\n\n{ABOUT}\n");
    text.push_str(&contour_bench::machine::describe());
    let Size { hosts, tls } = size;
    writeln!(text, "{hosts} hosts of the other tenant, {tls} of them with TLS. Command: `{command}`.\n")?;
    let kept = rows.iter().filter(|row| row.broken.is_empty()).count();
    writeln!(text, "{kept} of {} attacks harm nobody beyond what is stated.\n", rows.len())?;
    text.push_str(
        "| attack | failed / requests | add | add with TLS | remove | endpoint | delivered | controller, Envoy: peak MiB | NACKs | xDS MiB | \
         /healthz ms | recovered s | harm |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let recovered = row.recovered.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1}"));
        let harm = match (&row.stated, row.broken.is_empty()) {
            (None, true) => "none",
            (Some(_), true) => "as stated",
            (_, false) => "**see below**",
        };
        let cells = [
            row.name.clone(),
            format!("{} / {}", row.attacked.traffic.failed, row.attacked.traffic.requests),
            pairs(row, Kind::Add),
            pairs(row, Kind::AddTls),
            pairs(row, Kind::Remove),
            pairs(row, Kind::Swap),
            format!("{:.0} → {:.0}", until_delivered(&row.quiet), until_delivered(&row.attacked)),
            format!("{}, {}", memory(row, |run| run.seen.controller), memory(row, |run| run.seen.envoy)),
            format!("{:.0}", row.attacked.nacks),
            format!("{:.1}", row.attacked.sent / f64::from(1 << 20)),
            format!("{:.0} → {:.0}", row.quiet.seen.healthz, row.attacked.seen.healthz),
            recovered,
            harm.to_owned(),
        ];
        writeln!(text, "| {} |", cells.join(" | "))?;
    }
    text.push_str("\n## What was tried, and what the attacker was told\n");
    for row in rows {
        details(&mut text, row)?;
    }
    Ok(text)
}

fn details(text: &mut String, row: &Row) -> Result<()> {
    let (written, refused) = row.written;
    writeln!(text, "\n### {}\n\n{} Source: {}.", row.name, row.title, row.source)?;
    writeln!(
        text,
        "{written} objects written, {refused} refused by kube-apiserver; {:.0} s, {:.1} s of processor time of the controller.\n",
        row.attacked.seconds, row.attacked.controller_work
    )?;
    if let Some(stated) = &row.stated {
        writeln!(text, "- Stated in [docs/security.md](../docs/security.md): {stated}.")?;
    }
    for broken in &row.broken {
        writeln!(text, "- **Harm**: {}", quoted(broken))?;
    }
    for told in &row.told {
        writeln!(text, "- Told: {}", quoted(told))?;
    }
    Ok(())
}

/// A text without what has a meaning in Markdown, on one line.
fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = line.char_indices().nth(600).map_or(line.len(), |(at, _)| at);
    format!("`{}`", line[..end].replace('`', "'"))
}

fn pairs(row: &Row, kind: Kind) -> String {
    let pair = |run: &Run| match middle_and_last(&times(&run.changes, kind)) {
        Some((middle, last)) => format!("{middle:.0} / {last:.0}"),
        None => "-".to_owned(),
    };
    format!("{} → {}", pair(&row.quiet), pair(&row.attacked))
}

fn until_delivered(run: &Run) -> f64 {
    run.changes.iter().map(|change| change.until_delivered).fold(0.0, f64::max)
}

fn memory(row: &Row, of: impl Fn(&Run) -> u64) -> String {
    format!("{} → {}", of(&row.quiet) >> 20, of(&row.attacked) >> 20)
}

//! What of the promise a row broke.

use crate::attempt::Row;
use crate::catalogue::Bounds;
use crate::changes::{Kind, middle_and_last, times};

/// How much is measured and what is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In a pipeline: few hosts, and nothing is judged by the clock.
    Short,
    /// Everything.
    Long,
}

/// How large the victim is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Its hosts.
    pub(crate) hosts: usize,
    /// The first so many of them have TLS.
    pub(crate) tls: usize,
}

/// Memory that comes and goes with anything, in bytes.
const SLACK: [u64; 2] = [256 << 20, 32 << 20];

impl Form {
    /// How many changes a run has at least; every turn has three.
    pub(crate) fn changes(self) -> usize {
        match self {
            Self::Short => 9,
            Self::Long => 45,
        }
    }

    /// How many requests are sent during an attack at least.
    pub(crate) fn requests(self) -> u64 {
        match self {
            Self::Short => 500,
            Self::Long => 2_000,
        }
    }

    /// The victim's size, where nobody asks for another.
    pub(crate) fn size(self) -> Size {
        match self {
            Self::Short => Size { hosts: 200, tls: 10 },
            Self::Long => Size { hosts: 3_000, tls: 100 },
        }
    }

    fn slack(self) -> u64 {
        SLACK[usize::from(self == Self::Long)]
    }
}

/// Adds what is broken.
pub(crate) fn judge(row: &mut Row, form: Form, bounds: &Bounds) {
    let mut broken = Vec::new();
    let (quiet, attacked) = (&row.quiet, &row.attacked);
    for (when, run) in [("the quiet run", quiet), ("the attack", attacked)] {
        let failed = &run.traffic;
        if failed.failed > 0 {
            let first = failed.first.first().map_or("", String::as_str);
            broken
                .push(format!("{} of {} requests failed in {when}: {first}", failed.failed, failed.requests));
        }
        let unseen = run.changes.iter().filter(|change| !change.seen).count();
        if unseen > 0 {
            broken.push(format!("{unseen} changes were not seen within a minute in {when}"));
        }
        if run.seen.unhealthy > 0 {
            broken.push(format!("/healthz failed {} times in {when}", run.seen.unhealthy));
        }
        if run.seen.without_lease > 0 {
            broken.push(format!("the leader was without its lease in {when}"));
        }
    }
    for (who, before, now, paid) in [
        ("the controller", quiet.seen.controller, attacked.seen.controller, bounds.controller << 20),
        ("an Envoy", quiet.seen.envoy, attacked.seen.envoy, 0),
    ] {
        if now > before + before / 2 + form.slack() + paid {
            broken.push(format!("{who} took {} MiB instead of {}", now >> 20, before >> 20));
        }
    }
    if form == Form::Long {
        let slower: Vec<String> = Kind::ALL.iter().filter_map(|kind| slower(row, *kind, bounds)).collect();
        row.slow_alone = row.broken.is_empty() && broken.is_empty() && !slower.is_empty();
        broken.extend(slower);
    }
    row.broken.extend(broken);
}

/// What is said of changes of a kind that took longer than the bounds.
fn slower(row: &Row, kind: Kind, bounds: &Bounds) -> Option<String> {
    let (middle, last) = middle_and_last(&times(&row.quiet.changes, kind))?;
    let (middle_now, last_now) = middle_and_last(&times(&row.attacked.changes, kind))?;
    let slower = middle_now > bounds.times * middle || last_now > bounds.longest.max(bounds.times * last);
    slower.then(|| {
        format!("{kind:?} took {middle_now:.0} / {last_now:.0} ms instead of {middle:.0} / {last:.0}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Run;
    use crate::changes::Change;
    use crate::observer::Seen;
    use crate::traffic::Counted;

    fn run(took: f64) -> Run {
        let changes = Kind::ALL.map(|kind| Change { kind, took, until_delivered: 3.0, seen: true }).to_vec();
        let seen = Seen { controller: 100 << 20, envoy: 200 << 20, ..Seen::default() };
        Run { changes, seen, ..Run::default() }
    }

    fn broken(row: Row, form: Form) -> Vec<String> {
        let mut row = row;
        judge(&mut row, form, &Bounds::default());
        row.broken
    }

    #[test]
    fn a_row_that_keeps_the_promise() {
        let row = Row { quiet: run(40.0), attacked: run(79.0), ..Row::default() };
        assert_eq!(broken(row, Form::Long), [""; 0]);
    }

    #[test]
    fn the_clock_judges_the_long_form_alone() {
        let row = Row { quiet: run(40.0), attacked: run(2_000.0), ..Row::default() };
        assert_eq!(broken(row.clone(), Form::Short), [""; 0]);
        let told = broken(row, Form::Long);
        assert_eq!(told.len(), Kind::ALL.len());
        assert_eq!(told[0], "Add took 2000 / 2000 ms instead of 40 / 40");
    }

    #[test]
    fn a_known_delay_excuses_one_change_and_not_the_middle() {
        let mut row = Row { quiet: run(40.0), attacked: run(40.0), ..Row::default() };
        row.attacked.changes.extend([40.0, 2_400.0].map(|took| Change {
            kind: Kind::Add,
            took,
            until_delivered: 3.0,
            seen: true,
        }));
        let mut excused = row.clone();
        let bounds = Bounds { longest: 2_500.0, ..Bounds::default() };
        judge(&mut excused, Form::Long, &bounds);
        assert_eq!(excused.broken, [""; 0]);
        row.attacked.changes.push(Change {
            kind: Kind::Add,
            took: 2_600.0,
            until_delivered: 3.0,
            seen: true,
        });
        judge(&mut row, Form::Long, &bounds);
        assert_eq!(row.broken.len(), 1, "{:?}", row.broken);
        assert!(row.slow_alone, "nothing else speaks against it");
    }

    #[test]
    fn what_counts_is_judged_always() {
        let mut row = Row { quiet: run(40.0), attacked: run(40.0), ..Row::default() };
        row.attacked.traffic = Counted { requests: 9, failed: 2, first: vec!["GET / status 404".to_owned()] };
        row.attacked.changes[0].seen = false;
        row.attacked.seen.unhealthy = 3;
        row.attacked.seen.without_lease = 1;
        row.attacked.seen.controller = 2 << 30;
        let expected = [
            "2 of 9 requests failed in the attack: GET / status 404",
            "1 changes were not seen within a minute in the attack",
            "/healthz failed 3 times in the attack",
            "the leader was without its lease in the attack",
            "the controller took 2048 MiB instead of 100",
        ];
        assert_eq!(broken(row, Form::Short), expected);
    }
}

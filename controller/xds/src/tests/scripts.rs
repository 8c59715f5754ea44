//! Runs `tests/scripts/*.yaml`: each step does one thing and lists all that the session must say to it.
//!
//! Steps: `commit` (lines `cds a=text>endpoints`, `rds r=head|host:text`, `-cds a`), `ask` (`cds`, `eds +a -b`),
//! `ack` and `nack` (`cds`, or `cds: message`), `reconnect` (`to-same-server`, `after-restart`), `wait` (seconds), and `settle`, which answers until nothing
//! more comes, refusing what has the given text in it. `expect` lists responses and facts; `has` all the peer then has;
//! `within` bounds the number of responses of a `settle`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contour_resource::{ResourceType, Transaction};
use serde::Deserialize;

use super::peer::{Peer, resource, show};
use crate::cache::Cache;
use crate::message::{Mode, Output};
use crate::sharded::SHARDS;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    /// What is shown.
    #[allow(dead_code)]
    about: String,
    /// Both protocols unless one is named.
    mode: Option<String>,
    /// So many refusals are taken of one origin, if not as many as usual, and one after each pause.
    most: Option<u32>,
    steps: Vec<Step>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Step {
    commit: Option<Vec<String>>,
    ask: Vec<String>,
    ack: Option<String>,
    nack: Option<String>,
    reconnect: Option<Reconnect>,
    wait: Option<u64>,
    settle: Option<String>,
    expect: Vec<String>,
    has: Option<Vec<String>>,
    within: Option<usize>,
}

/// To the server it knows, or to one that has just started.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reconnect {
    ToSameServer,
    AfterRestart,
}

fn kind(short: &str) -> ResourceType {
    ResourceType::ALL.into_iter().find(|k| k.short() == short).unwrap_or_else(|| panic!("no type `{short}`"))
}

fn transaction(lines: &[String]) -> Transaction {
    let mut transaction = Transaction::default();
    for line in lines {
        let (short, rest) = line.split_once(' ').expect("a type and a resource");
        match short.strip_prefix('-') {
            Some(short) => transaction.remove.push((kind(short), rest.into())),
            None => transaction.set.push((kind(short), resource(rest))),
        }
    }
    transaction
}

fn line(output: &Output) -> Option<String> {
    Some(match output {
        Output::Send(response) => {
            let mut words = vec![response.kind.short().to_owned()];
            words.extend(response.resources.sorted().iter().map(|r| show(r)));
            words.extend(response.removed.iter().map(|name| format!("-{name}")));
            words.join(" ")
        }
        Output::Acked { .. } | Output::Nacked { .. } => return None,
        Output::Rejected { kind, resource, part, message, .. } => {
            format!("rejected {} {resource}/{part}: {message}", kind.short())
        }
        Output::GaveUp { waited_for } => format!("gave up {}", waited_for.join(" ")),
        Output::Recovered { kind, resource, part } => format!("recovered {} {resource}/{part}", kind.short()),
    })
}

struct Run {
    cache: Cache,
    peer: Peer,
    now: Instant,
}

impl Run {
    fn step(&mut self, step: &Step) -> Vec<Output> {
        let now = self.now;
        if let Some(lines) = &step.commit
            && self.cache.commit_at(transaction(lines), now)
        {
            self.peer.session.update(self.cache.snapshot());
        }
        for ask in &step.ask {
            let mut words = ask.split_whitespace();
            let kind = kind(words.next().expect("a type"));
            let add: Vec<&str> = words.clone().filter_map(|w| w.strip_prefix('+')).collect();
            let drop: Vec<&str> = words.filter_map(|w| w.strip_prefix('-')).collect();
            self.peer.ask(kind, &add, &drop);
        }
        if let Some(short) = &step.ack {
            self.peer.ack(kind(short));
        }
        if let Some(nack) = &step.nack {
            let (short, message) = nack.split_once(": ").expect("a type and a message");
            self.peer.nack(kind(short), message);
        }
        if let Some(reconnect) = &step.reconnect {
            if matches!(reconnect, Reconnect::AfterRestart) {
                self.peer.restart();
            }
            self.peer.reconnect(self.cache.snapshot(), now);
        }
        let mut said = Vec::new();
        if let Some(seconds) = step.wait {
            let end = self.now + Duration::from_secs(seconds);
            let due = self.peer.session.deadline().expect("the session waits for something");
            assert!(due <= end, "nothing is due within {seconds} s");
            while let Some(due) = self.peer.session.deadline().filter(|due| *due <= end) {
                self.now = due;
                said.extend(self.peer.poll(due));
            }
            self.now = end;
        }
        said.extend(match &step.settle {
            Some(refused) => self.peer.settle(refused, self.now),
            None => self.peer.poll(self.now),
        });
        said
    }
}

fn run(path: &Path, script: &Script, mode: Mode) {
    let now = Instant::now();
    let cache = Cache::new();
    let peer = Peer::new(mode, cache.snapshot(), now);
    let mut run = Run { cache, peer, now };
    script.most.into_iter().for_each(|most| run.peer.take_few(most, 1));
    for (at, step) in script.steps.iter().enumerate() {
        let place = format!("{} ({}), step {}", path.display(), mode.label(), at + 1);
        let before = run.peer.responses;
        let said: Vec<String> = run.step(step).iter().filter_map(line).collect();
        assert_eq!(said, step.expect, "{place}: what was said (left) is not what was expected (right)");
        if let Some(has) = &step.has {
            assert_eq!(&run.peer.inventory(), has, "{place}: what the peer has");
        }
        if let Some(within) = step.within {
            let sent = run.peer.responses - before;
            assert!(sent <= within, "{place}: {sent} responses");
        }
    }
}

#[test]
fn transition_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let script: Script =
            serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let modes = match script.mode.as_deref() {
            Some("delta") => vec![Mode::Delta],
            Some("sotw") => vec![Mode::Sotw],
            None => vec![Mode::Delta, Mode::Sotw],
            Some(other) => panic!("{}: no mode `{other}`", path.display()),
        };
        for mode in modes {
            run(&path, &script, mode);
        }
    }
}

/// A peer that has all of so many Clusters and Endpoints.
fn loaded(cache: &Cache, number: usize, now: Instant) -> Peer {
    let many = (0..number).flat_map(|i| {
        [(ResourceType::Cluster, format!("c{i}=x>e{i}")), (ResourceType::Endpoints, format!("e{i}=x"))]
    });
    let set = many.map(|(kind, text)| (kind, resource(&text))).collect();
    cache.commit(Transaction { set, remove: vec![] });
    let mut peer = Peer::new(Mode::Delta, cache.snapshot(), now);
    let names: Vec<String> = (0..number).map(|i| format!("e{i}")).collect();
    peer.ask(ResourceType::Cluster, &[], &[]);
    peer.ask(ResourceType::Endpoints, &names.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    peer.settle("!", now);
    assert_eq!(peer.has.len(), 2 * number);
    peer
}

/// How many shards of what a stream knows of a type, and of what it wants by name, are its own.
fn own_shards(peer: &Peer, cache: &Cache, kind: ResourceType) -> (usize, usize) {
    let (lane, snapshot) = (peer.session.lane(kind), cache.snapshot());
    let table = snapshot.table(kind);
    let own = |shares: &dyn Fn(usize) -> bool| (0..SHARDS).filter(|index| !shares(*index)).count();
    let names = lane.subscription.names();
    let wanted = if lane.subscription.wildcard() { 0 } else { own(&|i| names.shares(table.names(), i)) };
    (own(&|i| lane.known.all_sent().shares(table.resources(), i)), wanted)
}

/// One change sends that change, whatever the stream has. `make bench` measures what it costs.
#[test]
fn a_change_sends_a_stream_what_it_touches() {
    let (now, cache) = (Instant::now(), Cache::new());
    let mut peer = loaded(&cache, 10_000, now);
    for i in 0..100 {
        cache.commit(transaction(&[format!("eds e7={i}")]));
        peer.session.update(cache.snapshot());
        let said = peer.poll(now);
        assert_eq!(said.iter().filter_map(line).collect::<Vec<_>>(), [format!("eds e7={i}")]);
        peer.ack(ResourceType::Endpoints);
        peer.poll(now);
    }
    let kept = Arc::clone(&peer.has[&(ResourceType::Endpoints, "e7".into())]);
    assert_eq!(show(&kept), "e7=99");
}

/// A stream that has what the cache has keeps nothing of its own, however it came to it: a thousand of them cost no more than one.
#[test]
fn a_stream_that_keeps_up_shares_all_it_knows() {
    let (now, cache) = (Instant::now(), Cache::new());
    let mut peer = loaded(&cache, 5_000, now);
    let both = [ResourceType::Cluster, ResourceType::Endpoints];
    assert_eq!(both.map(|kind| own_shards(&peer, &cache, kind)), [(0, 0); 2], "after the first load");
    for step in ["eds e7=y", "cds c7=y>e7", "cds new=x>new", "eds new=x", "-cds c8"] {
        cache.commit(transaction(&[step.to_owned()]));
        peer.session.update(cache.snapshot());
        if step == "cds new=x>new" {
            peer.ask(ResourceType::Endpoints, &["new"], &[]);
        }
        peer.settle("!", now + crate::session::GRACE);
        let known = both.map(|kind| own_shards(&peer, &cache, kind).0);
        assert_eq!(known, [0, 0], "after `{step}`");
    }
    peer.reconnect(cache.snapshot(), now);
    let responses = peer.responses;
    peer.settle("!", now);
    assert_eq!(peer.responses, responses, "it has everything");
    assert_eq!(both.map(|kind| own_shards(&peer, &cache, kind).0), [0, 0], "after it was back");
}

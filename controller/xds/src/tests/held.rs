//! Whose changes are refused again and again.

use std::time::{Duration, Instant};

use contour_resource::{ResourceType, Transaction};

use super::peer::{Peer, resource};
use crate::cache::Cache;
use crate::facts::{Facts, Piece};
use crate::message::{Mode, Output};

use ResourceType::{Cluster, Route};

/// What one namespace may cost a stream in ten minutes in which it changes something ten times a second, all of it refused.
struct Bill {
    refused: usize,
    responses: usize,
}

struct World {
    facts: Facts,
    cache: Cache,
    peer: Peer,
    now: Instant,
    aside: bool,
    bill: Bill,
}

impl World {
    fn new(mode: Mode, aside: bool) -> Self {
        let (now, cache) = (Instant::now(), Cache::new());
        let peer = Peer::new(mode, cache.snapshot(), now);
        let facts = Facts::default();
        let mut world = Self { facts, cache, peer, now, aside, bill: Bill { refused: 0, responses: 0 } };
        world.peer.ask(Cluster, &[], &[]);
        world.peer.ask(ResourceType::Listener, &[], &[]);
        world.peer.ask(Route, &["r", "t"], &[]);
        world.commit(Route, "t=trial");
        world
    }

    fn commit(&mut self, kind: ResourceType, text: &str) {
        let text = if self.aside && text.starts_with("r=") { format!("{text}~t") } else { text.to_owned() };
        self.cache.commit(Transaction { set: vec![(kind, resource(&text))], remove: vec![] });
        self.peer.session.update(self.cache.snapshot());
    }

    /// Answers everything, and returns what the session said to it.
    fn settle(&mut self) -> Vec<Output> {
        let before = self.peer.responses;
        let said = self.peer.settle("!", self.now);
        self.bill.responses += self.peer.responses - before;
        for output in &said {
            match output.clone() {
                Output::Rejected { kind, resource, part, hash, message } => {
                    self.facts.refused(1, "envoy", Piece { kind, resource, part }, hash, &message);
                }
                Output::Recovered { kind, resource, part } => {
                    self.facts.recovered(1, &Piece { kind, resource, part });
                }
                _ => {}
            }
        }
        self.bill.refused += said.iter().filter(|output| matches!(output, Output::Nacked { .. })).count();
        said
    }

    fn has(&self, text: &str) -> bool {
        self.peer.inventory().iter().any(|line| line == text)
    }
}

/// Ten minutes, ten changes a second, of two hosts at once, among hosts that are good.
fn attack(mode: Mode, aside: bool) -> Bill {
    let mut world = World::new(mode, aside);
    world.commit(Route, "r=head|a@bad:1|b@bad:1|c@bad:1|d@other:1");
    world.settle();
    for step in 0..6_000_u32 {
        let seconds = step / 10;
        world.now += Duration::from_millis(100);
        let bad = format!("r=head|a@bad:{step}!|b@bad:{step}!!|c@bad:{seconds}");
        world.commit(Route, &format!("{bad}|d@other:{seconds}"));
        let responses = world.peer.responses;
        world.settle();
        assert!(world.peer.inventory().iter().any(|line| line.contains(&format!("|d:{seconds}"))), "{step}");
        if step % 10 == 0 && world.peer.session.lane(Route).probation.holds_any() {
            let most = if aside { 2 } else { 1 };
            assert!(
                world.peer.responses - responses <= most,
                "another's change is one response, and its trial"
            );
        }
    }
    // What is removed goes, although nothing else of it does.
    assert!(world.peer.session.lane(Route).probation.holds_any());
    world.commit(Route, "r=head|b@bad:2|c@bad:2|d@other:1");
    world.settle();
    let inventory = world.peer.inventory();
    let table = inventory.iter().find(|line| line.starts_with("rds r=")).unwrap();
    assert_eq!(world.facts.counts()[&Route], 2);
    assert!(!table.contains("|a:") && table.contains("|b:1|") && !table.contains("|c:2"), "{table}");
    // And what is mended heals when the pause is over, with no other event.
    let end = world.peer.session.deadline().expect("the pause has an end");
    assert!(end <= world.now + crate::probation::LONGEST);
    world.now = end;
    let said = world.settle();
    assert!(world.has("rds r=head|b:2|c:2|d:1"), "{:?}", world.peer.inventory());
    let recovered = |part: &str| {
        said.iter().any(|output| matches!(output, Output::Recovered { part: p, .. } if **p == *part))
    };
    assert!(recovered("b") && recovered("c"), "{said:?}");
    assert_eq!(world.facts.counts()[&Route], 0, "what is told, and the gauge");
    assert_eq!(world.peer.session.lane(Route).probation.iter().count(), 0);
    world.bill
}

#[test]
fn an_origin_that_is_refused_for_ever_is_tried_a_bounded_number_of_times() {
    for (mode, aside) in [(Mode::Delta, true), (Mode::Delta, false), (Mode::Sotw, false)] {
        let Bill { refused, responses } = attack(mode, aside);
        // 64, and 16 for each of six pauses, and what was forgotten meanwhile.
        assert!(refused <= 300, "{mode:?}, aside: {aside}: {refused} refusals");
        // The other's 600 changes, with a trial each where there are trials aside.
        assert!(responses <= 1_500 + refused, "{mode:?}, aside: {aside}: {responses} responses");
    }
}

/// Of what an Envoy brings from an earlier process it is not known what it is: held back all the same, if nothing is sent in its place.
#[test]
fn what_a_peer_brings_from_elsewhere_is_no_way_round() {
    let mut world = World::new(Mode::Delta, true);
    world.peer.take_few(4, 1);
    world.commit(Cluster, "a@bad=1");
    world.settle();
    world.peer.restart();
    world.commit(Cluster, "a@bad=2!");
    world.peer.reconnect(world.cache.snapshot(), world.now);
    world.settle();
    for step in 3..100 {
        world.commit(Cluster, &format!("a@bad={step}!"));
        world.settle();
    }
    assert_eq!(world.bill.refused, 4);
    assert!(world.has("cds a=1"), "{:?}", world.peer.inventory());
}

/// A search that never ends, as what is tried has changed before it is found, is counted all the same.
#[test]
fn who_changes_faster_than_it_is_found_is_held_too() {
    let mut world = World::new(Mode::Delta, true);
    world.commit(Route, "r=head|a@bad:1|b@bad:1|c@bad:1|d@other:1");
    world.settle();
    let (mut refused, mut answers) = (0, 0);
    for step in 0..4_000_u32 {
        // Not while a response is on its way: whenever one was answered.
        world.commit(Route, &format!("r=head|a@bad:{step}!|b@bad:{step}!!|c@bad:1|d@other:{}", step / 100));
        let said = world.peer.poll(world.now);
        refused += said.iter().filter(|output| matches!(output, Output::Nacked { .. })).count();
        if world.peer.received.contains_key(&Route) {
            world.peer.judge(Route, "!");
            answers += 1;
        }
    }
    assert!(refused <= 100, "{refused} of {answers} refused");
    assert!(world.peer.session.lane(Route).probation.holds_any());
    world.settle();
    assert!(
        world.peer.inventory().iter().any(|line| line.ends_with("|d:39")),
        "{:?}",
        world.peer.inventory()
    );
}

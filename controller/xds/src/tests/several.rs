//! Several peers of one server that do not agree.

use std::time::Instant;

use contour_resource::{ResourceType, Transaction};

use super::peer::{Peer, resource};
use crate::cache::Cache;
use crate::message::{Mode, Output};

/// What one Envoy refuses and another serves stays with the other, whatever else changes.
#[test]
fn what_a_peer_serves_is_not_taken_away_because_another_refused_it() {
    let (now, cache) = (Instant::now(), Cache::new());
    let commit = |text: &str| {
        let set = [text, "t=trial"].map(|text| (ResourceType::Route, resource(text)));
        cache.commit(Transaction { set: set.into(), remove: vec![] });
    };
    commit("r=head|a:1|b:1|c:odd~t");
    let mut old = Peer::new(Mode::Delta, cache.snapshot(), now);
    let mut new = old.beside(cache.snapshot(), now);
    for (peer, refuses) in [(&mut new, "nothing"), (&mut old, "odd")] {
        peer.ask(ResourceType::Route, &["r", "t"], &[]);
        peer.settle(refuses, now);
    }
    assert_eq!(old.inventory(), ["rds r=head|a:1|b:1", "rds t=trial"]);
    assert_eq!(new.inventory(), ["rds r=head|a:1|b:1|c:odd", "rds t=trial"]);
    commit("r=head|a:2|b:1|c:odd~t");
    new.session.update(cache.snapshot());
    let sent = new.poll(now).into_iter().filter_map(|output| match output {
        Output::Send(response) => Some(response.resources),
        _ => None,
    });
    let bodies: Vec<_> = sent.flatten().map(|resource| resource.body()).collect();
    assert_eq!(bodies, ["head2".to_owned() + "1odd"], "the change, and nothing is left out");
}

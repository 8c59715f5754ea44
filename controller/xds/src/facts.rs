//! What Envoys hold against what they are sent: state, for the owner of the objects behind it.
//!
//! A stream notes what is held back from it and takes it back; whoever tells the owners looks when something has changed. In between, changes of
//! one piece are one change, so nothing is lost however late the look is, and what is kept is bounded by the open streams and what they refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contour_resource::ResourceType;
use tokio::sync::Notify;

/// Longest error of an Envoy that is kept, in bytes.
const LONGEST_MESSAGE: usize = 512;
/// Longest name of an Envoy that is kept, in bytes.
const LONGEST_NODE: usize = 128;
/// The most Envoys named of those that say the same.
const MOST_NAMED: usize = 3;
/// The most different errors told of one piece.
const MOST_ERRORS: usize = 8;

/// The smallest unit that is held back: one part of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Piece {
    /// The type of the resource.
    pub kind: ResourceType,
    /// The resource's name.
    pub resource: Arc<str>,
    /// The part's id: empty for the head or for a resource of one part.
    pub part: Arc<str>,
}

/// One error, and the Envoys that say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What they say: one line of bounded length.
    pub message: Arc<str>,
    /// How many they are.
    pub envoys: usize,
    /// The names that the first few gave themselves.
    pub some: Vec<Arc<str>>,
}

/// What is true of a piece now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The piece.
    pub piece: Piece,
    /// All that is held against it, the most frequent error first. Empty: it is gone, or every Envoy takes it.
    pub refusals: Vec<Refusal>,
    /// What of that was not told by an earlier look.
    pub new: Vec<Refusal>,
}

/// What one stream says of a piece.
#[derive(Debug)]
struct Said {
    node: Arc<str>,
    /// The content that was refused.
    hash: u64,
    message: Arc<str>,
    told: bool,
}

#[derive(Debug, Default)]
struct State {
    pieces: BTreeMap<Piece, BTreeMap<u64, Said>>,
    /// What each stream is in `pieces` with.
    streams: BTreeMap<u64, BTreeSet<Piece>>,
    /// Pieces that differ from what the last look showed.
    changed: BTreeSet<Piece>,
    /// Pieces that the last look at them showed as refused.
    shown: BTreeSet<Piece>,
}

/// The facts of a server. A clone is another handle to the same ones.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
}

impl Facts {
    /// What has changed since the last look; waits until something has. Meant for one reader.
    pub async fn changed(&self) -> Vec<Fact> {
        loop {
            let news = self.news.notified();
            let facts = self.take();
            if !facts.is_empty() {
                return facts;
            }
            news.await;
        }
    }

    /// What has changed since the last look.
    pub fn take(&self) -> Vec<Fact> {
        let mut state = self.lock();
        let changed = std::mem::take(&mut state.changed);
        changed.into_iter().map(|piece| state.show(piece)).collect()
    }

    /// All that is held back at present. Not a look: what has changed stays to be told.
    pub fn present(&self) -> Vec<Fact> {
        let state = self.lock();
        let fact = |(piece, said): (&Piece, &BTreeMap<u64, Said>)| Fact {
            piece: piece.clone(),
            refusals: grouped(said.values()),
            new: grouped(said.values().filter(|s| !s.told)),
        };
        state.pieces.iter().map(fact).collect()
    }

    /// How many parts of resources of each type are held back, each counted once for every stream.
    pub(crate) fn counts(&self) -> BTreeMap<ResourceType, usize> {
        let mut counts: BTreeMap<_, _> = ResourceType::ALL.into_iter().map(|kind| (kind, 0)).collect();
        for (piece, said) in &self.lock().pieces {
            *counts.entry(piece.kind).or_default() += said.len();
        }
        counts
    }

    /// A piece is held back from a stream from now on, because of what its Envoy said.
    pub(crate) fn refused(&self, stream: u64, node: &str, piece: Piece, hash: u64, message: &str) {
        let message = one_line(message, LONGEST_MESSAGE);
        let mut state = self.lock();
        let said = state.pieces.entry(piece.clone()).or_default();
        if said.get(&stream).is_some_and(|s| s.hash == hash && *s.message == *message) {
            return;
        }
        // Most say the same, which then is kept once.
        let same = said.values().next().filter(|s| *s.message == *message);
        let message = same.map_or_else(|| message.as_str().into(), |s| Arc::clone(&s.message));
        let node = one_line(node, LONGEST_NODE).into();
        said.insert(stream, Said { node, hash, message, told: false });
        state.streams.entry(stream).or_default().insert(piece.clone());
        state.changed.insert(piece);
        drop(state);
        self.news.notify_one();
    }

    /// A piece is not held back from a stream any more.
    pub(crate) fn recovered(&self, stream: u64, piece: &Piece) {
        let mut state = self.lock();
        if let Some(pieces) = state.streams.get_mut(&stream)
            && pieces.remove(piece)
        {
            if pieces.is_empty() {
                state.streams.remove(&stream);
            }
            state.withdraw(stream, piece);
            drop(state);
            self.news.notify_one();
        }
    }

    /// A stream ended: nobody knows any more what its Envoy would say.
    pub(crate) fn closed(&self, stream: u64) {
        let mut state = self.lock();
        let Some(pieces) = state.streams.remove(&stream) else { return };
        for piece in &pieces {
            state.withdraw(stream, piece);
        }
        drop(state);
        self.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets what a stream said of a piece.
    fn withdraw(&mut self, stream: u64, piece: &Piece) {
        let Some(said) = self.pieces.get_mut(piece) else { return };
        said.remove(&stream);
        if said.is_empty() {
            self.pieces.remove(piece);
        }
        if self.pieces.contains_key(piece) || self.shown.contains(piece) {
            self.changed.insert(piece.clone());
        } else {
            // It came and went between two looks.
            self.changed.remove(piece);
        }
    }

    fn show(&mut self, piece: Piece) -> Fact {
        let Some(said) = self.pieces.get_mut(&piece) else {
            self.shown.remove(&piece);
            return Fact { piece, refusals: Vec::new(), new: Vec::new() };
        };
        let refusals = grouped(said.values());
        let new = grouped(said.values().filter(|s| !s.told));
        for said in said.values_mut() {
            said.told = true;
        }
        self.shown.insert(piece.clone());
        Fact { piece, refusals, new }
    }
}

/// The errors with their Envoys, the most frequent first, and the rest together as one.
fn grouped<'a>(said: impl Iterator<Item = &'a Said>) -> Vec<Refusal> {
    let mut nodes: BTreeMap<&Arc<str>, Vec<&Arc<str>>> = BTreeMap::new();
    for Said { node, message, .. } in said {
        nodes.entry(message).or_default().push(node);
    }
    let mut groups: Vec<_> = nodes.into_iter().collect();
    groups.sort_by_key(|(_, nodes)| std::cmp::Reverse(nodes.len()));
    let rest = groups.split_off(groups.len().min(MOST_ERRORS));
    let mut refusals: Vec<Refusal> =
        groups.into_iter().map(|(message, nodes)| refusal(Arc::clone(message), nodes)).collect();
    if !rest.is_empty() {
        let nodes = rest.into_iter().flat_map(|(_, nodes)| nodes).collect();
        refusals.push(refusal("other errors".into(), nodes));
    }
    refusals
}

fn refusal(message: Arc<str>, mut nodes: Vec<&Arc<str>>) -> Refusal {
    let envoys = nodes.len();
    nodes.sort();
    Refusal { message, envoys, some: nodes.into_iter().take(MOST_NAMED).cloned().collect() }
}

/// A text of somebody else as one line of at most so many bytes.
fn one_line(text: &str, most: usize) -> String {
    const CUT: &str = "...";
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() > most {
        line.truncate(line.floor_char_boundary(most - CUT.len()));
        line.push_str(CUT);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(part: &str) -> Piece {
        Piece { kind: ResourceType::Route, resource: "ingress_http".into(), part: part.into() }
    }

    /// Part, Envoys in all, Envoys that are new.
    fn told(facts: &[Fact]) -> Vec<(&str, usize, usize)> {
        let envoys = |refusals: &[Refusal]| refusals.iter().map(|r| r.envoys).sum();
        facts.iter().map(|f| (&*f.piece.part, envoys(&f.refusals), envoys(&f.new))).collect()
    }

    fn held(facts: &Facts) -> usize {
        facts.counts().values().sum()
    }

    #[test]
    fn nothing_is_lost_however_late_the_look_is() {
        let facts = Facts::default();
        facts.refused(1, "n", piece("a"), 0, "no");
        assert_eq!(told(&facts.take()), [("a", 1, 1)]);
        // More changes than any queue would hold, the end of the first among them.
        facts.recovered(1, &piece("a"));
        for round in 0..10_000 {
            facts.refused(2, "m", piece("b"), round, "no");
            facts.recovered(2, &piece("b"));
            facts.refused(3, "o", piece("c"), round, "no");
        }
        assert_eq!(told(&facts.take()), [("a", 0, 0), ("c", 1, 1)]);
        assert_eq!(told(&facts.take()), []);
        let state = facts.lock();
        assert_eq!((state.pieces.len(), state.streams.len(), state.shown.len()), (1, 1, 1));
    }

    #[test]
    fn a_thousand_envoys_are_one_refusal() {
        let facts = Facts::default();
        for stream in 0..1_000 {
            facts.refused(stream, &format!("envoy-{stream:04}"), piece("a"), 7, "no");
        }
        let taken = facts.take();
        assert_eq!(told(&taken), [("a", 1_000, 1_000)]);
        let some: Vec<&str> = taken[0].refusals[0].some.iter().map(|n| &**n).collect();
        assert_eq!(some, ["envoy-0000", "envoy-0001", "envoy-0002"]);
        // The same again is no news; other content is, also with the same error.
        facts.refused(5, "envoy-0005", piece("a"), 7, "no");
        assert_eq!(told(&facts.take()), []);
        facts.refused(5, "envoy-0005", piece("a"), 8, "no");
        assert_eq!(told(&facts.take()), [("a", 1_000, 1)]);
    }

    #[test]
    fn a_stream_that_ends_takes_back_all_it_said() {
        let facts = Facts::default();
        for stream in [1, 2] {
            facts.refused(stream, "n", piece("a"), 0, "no");
            facts.refused(stream, "n", piece("b"), 0, "no");
        }
        facts.take();
        facts.closed(1);
        assert_eq!((held(&facts), told(&facts.take())), (2, vec![("a", 1, 0), ("b", 1, 0)]));
        facts.closed(2);
        assert_eq!((held(&facts), told(&facts.take())), (0, vec![("a", 0, 0), ("b", 0, 0)]));
        facts.closed(2);
        assert_eq!(told(&facts.take()), []);
    }

    #[test]
    fn errors_are_grouped_and_bounded() {
        let facts = Facts::default();
        for stream in 0..100 {
            let long = format!("error {}\n\u{1b}[1m{}", stream % 20, "ü".repeat(10_000));
            facts.refused(stream, &"n".repeat(10_000), piece("a"), 0, &long);
        }
        let refusals = &facts.take()[0].refusals;
        assert_eq!(refusals.len(), MOST_ERRORS + 1);
        assert_eq!(refusals.iter().map(|r| r.envoys).sum::<usize>(), 100);
        for refusal in refusals {
            assert!(refusal.message.len() <= LONGEST_MESSAGE && !refusal.message.contains(char::is_control));
            assert!(refusal.some.iter().all(|node| node.len() <= LONGEST_NODE));
        }
    }

    #[tokio::test]
    async fn a_change_wakes_the_reader() {
        let facts = Facts::default();
        let reader = facts.clone();
        let waiting = tokio::spawn(async move { reader.changed().await });
        facts.refused(1, "n", piece("a"), 0, "no");
        assert_eq!(told(&waiting.await.unwrap()), [("a", 1, 1)]);
    }
}

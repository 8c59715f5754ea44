//! A model of an Envoy at the other end of a session.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use contour_resource::{Part, Resource, ResourceType, Trial};

use crate::cache::Snapshot;
use crate::message::{Asked, Mode, Output, Request, Response, Text};
use crate::recall::Recall;
use crate::session::Session;

/// Adds white space that is different for every number.
fn vary(bytes: &[u8], number: u32) -> bytes::Bytes {
    [bytes, format!(" {number}").as_bytes()].concat().into()
}

/// Reads `name=head|id:text|id:text`, for a Cluster also `name=text>endpoints`. A part uses the Cluster that its text names.
/// What ends in `~trial` can be tried aside under this name; what ends in `^` has variants; a Cluster that ends in `%` warms slowly.
pub(super) fn resource(text: &str) -> Arc<Resource> {
    let (text, trial) = text.split_once('~').map_or((text, None), |(text, trial)| (text, Some(trial)));
    let (text, varies) = text.strip_suffix('^').map_or((text, false), |text| (text, true));
    let (text, slow) = text.strip_suffix('%').map_or((text, false), |text| (text, true));
    let (name, content) = text.split_once('=').unwrap_or_else(|| panic!("`{text}` is not name=content"));
    let (content, needs) = match content.split_once('>') {
        Some((content, needs)) if !content.contains('|') => (content, Some(needs)),
        _ => (content, None),
    };
    let parts = content.split('|').enumerate().map(|(at, piece)| {
        let (id, text) =
            if at == 0 { ("", piece) } else { piece.split_once(':').expect("a part is id:text") };
        let used = (!id.is_empty()).then(|| (ResourceType::Cluster, text.into()));
        Arc::new(Part::new(id, text.to_owned()).using(used))
    });
    let mut resource = Resource::new(name, parts.collect());
    if let Some(trial) = trial {
        let head = Arc::new(Part::new("", "trial"));
        resource = resource.tried_as(Arc::new(Trial { name: trial.into(), head }));
    }
    if varies {
        resource = resource.varying(vary);
    }
    if slow {
        resource = resource.warming_slowly();
    }
    Arc::new(match needs {
        Some(needs) => resource.needing(needs),
        None => resource,
    })
}

/// Writes what [`resource`] reads, without what it needs.
pub(super) fn show(resource: &Resource) -> String {
    let parts = resource.parts().iter().map(|part| {
        let text = String::from_utf8_lossy(&part.bytes);
        if part.id.is_empty() { text.into_owned() } else { format!("{}:{text}", part.id) }
    });
    format!("{}={}", resource.name(), parts.collect::<Vec<_>>().join("|"))
}

fn texts(list: Vec<String>) -> Vec<Text> {
    list.into_iter().map(Text::from).collect()
}

/// A peer: its session, what it has, and what it has received and not answered.
pub(super) struct Peer {
    pub(super) session: Session,
    recall: Recall,
    pub(super) mode: Mode,
    pub(super) has: BTreeMap<(ResourceType, Arc<str>), Arc<Resource>>,
    /// What it has not answered yet, the oldest first.
    pub(super) received: BTreeMap<ResourceType, VecDeque<Response>>,
    names: BTreeMap<ResourceType, BTreeSet<String>>,
    nonces: BTreeMap<ResourceType, String>,
    versions: BTreeMap<ResourceType, String>,
    pub(super) responses: usize,
    restarts: u32,
    /// Secrets whose search ended with the process.
    pub(super) confused: BTreeSet<Arc<str>>,
    /// The Secrets it looked at last, good or bad: it does not look again at the same.
    looked_at: BTreeMap<Arc<str>, u64>,
    /// The Secrets that work: what it looked at last, if that was good.
    pub(super) works: BTreeMap<Arc<str>, String>,
    /// Every version of a resource that was in a refused response.
    pub(super) refused: BTreeSet<(ResourceType, Arc<str>, u64)>,
}

impl Peer {
    pub(super) fn new(mode: Mode, snapshot: Snapshot, now: Instant) -> Self {
        let recall = Recall::default();
        Self {
            session: Session::new(mode, None, recall.clone(), snapshot, now),
            recall,
            mode,
            has: BTreeMap::new(),
            received: BTreeMap::new(),
            names: BTreeMap::new(),
            nonces: BTreeMap::new(),
            versions: BTreeMap::new(),
            responses: 0,
            restarts: 0,
            confused: BTreeSet::new(),
            looked_at: BTreeMap::new(),
            works: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Another peer of the same server.
    pub(super) fn beside(&self, snapshot: Snapshot, now: Instant) -> Self {
        let mut other = Self::new(self.mode, snapshot.clone(), now);
        other.recall = self.recall.clone();
        other.session = Session::new(self.mode, None, self.recall.clone(), snapshot, now);
        other
    }

    /// Makes the server forget, as a restart does.
    pub(super) fn restart(&mut self) {
        self.restarts += 1;
        self.recall = Recall::numbering_from(self.restarts * 1_000_000);
        // A process that ends in the middle of a search leaves a peer that takes what it has refused without a word. It harms
        // nobody but its owner, and ends with the next change.
        let convicted = &self.session.lane(ResourceType::Secret).rejections;
        let broken: Vec<Arc<str>> =
            self.looked_at.keys().filter(|name| !self.works.contains_key(*name)).cloned().collect();
        self.looked_at.retain(|name, _| self.works.contains_key(name) || convicted.contains(name));
        self.confused.extend(broken);
    }

    /// Opens a new stream, keeping what it has, and asks for the same again.
    pub(super) fn reconnect(&mut self, snapshot: Snapshot, now: Instant) {
        self.session = Session::new(self.mode, None, self.recall.clone(), snapshot, now);
        self.received.clear();
        self.nonces.clear();
        for (kind, names) in self.names.clone() {
            let initial = self.has.iter().filter(|((k, _), _)| *k == kind);
            let initial = initial.map(|((_, name), r)| (name.to_string(), r.version_text())).collect();
            self.request(kind, Vec::from_iter(names), Vec::new(), initial, None);
        }
    }

    /// Subscribes and unsubscribes.
    pub(super) fn ask(&mut self, kind: ResourceType, add: &[&str], drop: &[&str]) {
        let names = self.names.entry(kind).or_default();
        names.extend(add.iter().map(|n| (*n).to_owned()));
        for name in drop {
            names.remove(*name);
            self.has.remove(&(kind, (*name).into()));
            if kind == ResourceType::Secret {
                self.looked_at.remove(*name);
                self.works.remove(*name);
            }
        }
        let owned = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect();
        self.request(kind, owned(add), owned(drop), HashMap::new(), None);
    }

    fn request(
        &mut self,
        kind: ResourceType,
        subscribe: Vec<String>,
        unsubscribe: Vec<String>,
        initial: HashMap<String, String>,
        answer: Option<(String, Option<String>)>,
    ) {
        let (nonce, error) = answer.unwrap_or_default();
        if !nonce.is_empty() {
            // What was received and not yet answered is not spoken of in other requests.
            self.nonces.insert(kind, nonce.clone());
        }
        let (nonce, asked) = match self.mode {
            Mode::Delta => {
                let initial = initial.into_iter().map(|(name, version)| (name.into(), version.into()));
                let (subscribe, unsubscribe) = (texts(subscribe), texts(unsubscribe));
                (nonce, Asked::Delta { subscribe, unsubscribe, initial: initial.collect() })
            }
            Mode::Sotw => {
                let names = self.names.get(&kind).into_iter().flatten().cloned().collect();
                let version = self.versions.get(&kind).cloned().unwrap_or_default();
                let asked = Asked::Sotw { names: texts(names), version };
                (self.nonces.get(&kind).cloned().unwrap_or_default(), asked)
            }
        };
        self.session.request(Request { kind, nonce, error, asked });
    }

    /// Lets the session act. Returns what it said; responses are kept as received.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Output> {
        let outputs = self.session.poll(now);
        for output in &outputs {
            if let Output::Send(response) = output {
                self.responses += 1;
                let waiting = self.received.entry(response.kind).or_default();
                let several = response.kind == ResourceType::Cluster;
                assert!(several || waiting.is_empty(), "two {} responses in flight", response.kind.short());
                waiting.push_back(response.clone());
            }
        }
        outputs
    }

    /// Takes the oldest response of a type.
    fn next(&mut self, kind: ResourceType) -> Option<Response> {
        let waiting = self.received.get_mut(&kind)?;
        let response = waiting.pop_front();
        if waiting.is_empty() {
            self.received.remove(&kind);
        }
        response
    }

    /// Accepts the oldest response of a type.
    pub(super) fn ack(&mut self, kind: ResourceType) {
        let response = self.next(kind).expect("a response to accept");
        let full = matches!(kind, ResourceType::Cluster | ResourceType::Listener);
        if self.mode == Mode::Sotw && full {
            self.has.retain(|(k, _), _| *k != kind);
        }
        let names = &self.names[&kind];
        let wants = |r: &Arc<Resource>| full || names.contains(&**r.name());
        for resource in response.resources.iter().filter(|r| wants(r)).cloned() {
            self.has.insert((kind, Arc::clone(resource.name())), resource);
        }
        for name in response.removed {
            self.has.remove(&(kind, name));
        }
        self.versions.insert(kind, response.version);
        self.request(kind, vec![], vec![], HashMap::new(), Some((response.nonce, None)));
    }

    /// Refuses the response of a type: nothing of it is taken.
    pub(super) fn nack(&mut self, kind: ResourceType, message: &str) {
        let response = self.next(kind).expect("a response to refuse");
        let refused = response.resources.iter().map(|r| (kind, Arc::clone(r.name()), r.version()));
        self.refused.extend(refused);
        let answer = Some((response.nonce, Some(message.to_owned())));
        self.request(kind, vec![], vec![], HashMap::new(), answer);
    }

    /// Answers a response: refuses it if any part of it has this text.
    pub(super) fn judge(&mut self, kind: ResourceType, refused: &str) {
        let bad =
            |r: &Arc<Resource>| r.parts().iter().any(|p| String::from_utf8_lossy(&p.bytes).contains(refused));
        let mut resources = self.received[&kind][0].resources.sorted();
        if kind == ResourceType::Secret {
            resources.retain(|r| self.looked_at.get(r.name()) != Some(&r.version()));
            // It stops at the first bad one.
            let end = resources.iter().position(bad).map_or(resources.len(), |at| at + 1);
            for resource in &resources[..end] {
                self.looked_at.insert(Arc::clone(resource.name()), resource.version());
                self.works.remove(resource.name());
                if !bad(resource) {
                    self.works.insert(Arc::clone(resource.name()), resource.version_text());
                }
            }
        }
        if resources.iter().any(bad) {
            self.nack(kind, "Proto constraint validation failed");
        } else {
            self.ack(kind);
        }
    }

    /// Answers everything until nothing more comes. Returns what the session said, responses left out.
    pub(super) fn settle(&mut self, refused: &str, now: Instant) -> Vec<Output> {
        let mut said = self.poll(now);
        for _ in 0..2_000 {
            let Some(kind) = self.received.keys().next().copied() else {
                said.retain(|output| !matches!(output, Output::Send(_)));
                return said;
            };
            self.judge(kind, refused);
            said.extend(self.poll(now));
        }
        panic!("the conversation does not end: {:?}", &said[said.len().saturating_sub(8)..]);
    }

    /// What the peer has of a type, one resource a line.
    pub(super) fn inventory(&self) -> Vec<String> {
        self.has.iter().map(|((kind, _), r)| format!("{} {}", kind.short(), show(r))).collect()
    }
}

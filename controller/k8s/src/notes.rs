//! What Ingresses have to tell, as Events: an Ingress has no conditions to say it in. [`Notes`] is pure; [`NoteWriter`] does the IO.
//!
//! A note is one Event, whose name follows from the Ingress and the message: replicas, and a controller that starts again, find it there
//! and add none. What one Ingress or one namespace has to tell is bounded, and namespaces take turns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contour_graph::IngressNote;
use contour_objects::{NamespacedName, Turns};
use k8s_openapi::api::core::v1::{Event, EventSource};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::innermost;

/// The most Events that one Ingress has at a time; the log has the rest.
const MOST_EVENTS: usize = 8;
/// The most bytes of a message that the API server takes.
const LONGEST_MESSAGE: usize = 1024;
/// Between two Events: whatever happens, they are no load.
const PAUSE: Duration = Duration::from_millis(100);
/// After one that must not be written: rights are not given every moment.
const FORBIDDEN_PAUSE: Duration = Duration::from_mins(1);
/// When what still holds is told again: the API server forgets Events after an hour.
const AGAIN: Duration = Duration::from_mins(30);
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// An Event to write.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    ingress: NamespacedName,
    digest: u64,
    message: Arc<str>,
}

/// What an Ingress has to tell.
#[derive(Debug, Default)]
struct Told {
    /// How many hosts say so, by the digest of the message.
    hosts: HashMap<u64, usize>,
    /// What has an Event, or is about to get one.
    events: BTreeMap<u64, Arc<str>>,
}

#[derive(Debug, Default)]
struct State {
    hosts: HashMap<Arc<str>, Vec<(NamespacedName, u64)>>,
    ingresses: BTreeMap<NamespacedName, Told>,
    queue: Turns<Job>,
}

/// The notes of all Ingresses, shared by the engine and the writer.
#[derive(Debug, Default)]
pub struct Notes {
    state: Mutex<State>,
    offered: Notify,
}

impl Notes {
    /// Nothing to tell yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what these hosts, which were built again, have to tell of Ingresses now, and nothing else. Never waits.
    pub fn offer<'a>(&self, hosts: impl IntoIterator<Item = &'a Arc<str>>, notes: &[IngressNote]) {
        let mut by_host: BTreeMap<&Arc<str>, Vec<&IngressNote>> = BTreeMap::new();
        by_host.extend(hosts.into_iter().map(|host| (host, Vec::new())));
        for note in notes {
            by_host.entry(&note.host).or_default().push(note);
        }
        let mut state = self.state();
        for (host, notes) in by_host {
            state.replace(host, &notes);
        }
        drop(state);
        self.offered.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn replace(&mut self, host: &Arc<str>, notes: &[&IngressNote]) {
        let before = self.hosts.remove(host).unwrap_or_default();
        let mut now = Vec::with_capacity(notes.len());
        for note in notes {
            let digest = digest(&note.message);
            let told = self.ingresses.entry(note.ingress.clone()).or_default();
            *told.hosts.entry(digest).or_default() += 1;
            if told.events.len() < MOST_EVENTS && !told.events.contains_key(&digest) {
                let message: Arc<str> = cut(&note.message).into();
                told.events.insert(digest, Arc::clone(&message));
                let job = Job { ingress: note.ingress.clone(), digest, message };
                self.queue.push(&note.ingress.namespace, job);
            }
            now.push((note.ingress.clone(), digest));
        }
        if !now.is_empty() {
            self.hosts.insert(Arc::clone(host), now);
        }
        for (ingress, digest) in before {
            let Some(told) = self.ingresses.get_mut(&ingress) else { continue };
            let Some(count) = told.hosts.get_mut(&digest) else { continue };
            *count -= 1;
            if *count == 0 {
                told.hosts.remove(&digest);
                told.events.remove(&digest);
            }
            if told.hosts.is_empty() {
                self.ingresses.remove(&ingress);
            }
        }
    }

    /// The next Event, of the next namespace that has any; what does not hold any more is left out.
    fn take(&mut self) -> Option<Job> {
        while let Some(job) = self.queue.pop() {
            let holds = |told: &Told| told.events.contains_key(&job.digest);
            if self.ingresses.get(&job.ingress).is_some_and(holds) {
                return Some(job);
            }
        }
        None
    }

    /// Puts everything that holds into the queue again.
    fn again(&mut self) {
        self.queue.clear();
        for (ingress, told) in &self.ingresses {
            for (digest, message) in &told.events {
                let job = Job { ingress: ingress.clone(), digest: *digest, message: Arc::clone(message) };
                self.queue.push(&ingress.namespace, job);
            }
        }
    }
}

/// Writes the notes as Events, while leading.
pub struct NoteWriter {
    client: Client,
    notes: Arc<Notes>,
    leading: watch::Receiver<bool>,
    /// Why Events cannot be written, as last told.
    complaints: BTreeSet<String>,
}

impl NoteWriter {
    /// Writes what is offered to `notes` while `leading` holds.
    pub fn new(client: Client, notes: Arc<Notes>, leading: watch::Receiver<bool>) -> Self {
        Self { client, notes, leading, complaints: BTreeSet::new() }
    }

    /// Writes until the token is cancelled. What cannot be written is told once, and tried again with everything else, later.
    pub async fn run(mut self, token: CancellationToken) {
        token.run_until_cancelled(self.write()).await;
    }

    async fn write(&mut self) {
        let mut again = interval_at(Instant::now() + AGAIN, AGAIN);
        loop {
            // Who does not lead keeps what there is to tell for when it does.
            if self.leading.wait_for(|leading| *leading).await.is_err() {
                return std::future::pending().await;
            }
            let job = self.notes.state().take();
            let Some(job) = job else {
                tokio::select! {
                    () = self.notes.offered.notified() => {}
                    _ = again.tick() => self.notes.state().again(),
                }
                continue;
            };
            let told = timeout(REQUEST_LIMIT, tell(&self.client, &job)).await;
            sleep(self.judge(&job, told.unwrap_or(Err(Refusal::Silent)))).await;
        }
    }

    /// How long to wait after this.
    fn judge(&mut self, job: &Job, told: Result<(), Refusal>) -> Duration {
        let Err(refusal) = told else {
            self.complaints.clear();
            return PAUSE;
        };
        let (cause, pause) = match refusal {
            Refusal::Forbidden => {
                let way_out = "let a Role or ClusterRole give this service account create and patch of events; \
                               what Ingresses have to tell is in this log";
                (format!("not allowed to write Events: {way_out}"), FORBIDDEN_PAUSE)
            }
            Refusal::Silent => {
                (format!("no Event could be written: no answer within {REQUEST_LIMIT:?}"), PAUSE)
            }
            Refusal::Other(cause) => (format!("no Event could be written: {cause}"), PAUSE),
        };
        // Messages of the server may name the object: a bounded number of them is told.
        if self.complaints.len() < MOST_EVENTS && self.complaints.insert(cause.clone()) {
            tracing::warn!(ingress = %job.ingress, "{cause}");
        }
        pause
    }
}

/// Why an Event was not written.
enum Refusal {
    Forbidden,
    Silent,
    Other(String),
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.is_forbidden() => Self::Forbidden,
            _ => Self::Other(innermost(&error)),
        }
    }
}

/// Creates the Event, or says of the one that is there that it still holds.
async fn tell(client: &Client, job: &Job) -> Result<(), Refusal> {
    let namespace = &job.ingress.namespace;
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    // `kubectl describe` asks for Events of this very object, not of any of its name.
    let Some(ingress) = ingresses.get_opt(&job.ingress.name).await? else { return Ok(()) };
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let event = event(&ingress, job);
    match events.create(&PostParams::default(), &event).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let seen = json!({"lastTimestamp": event.last_timestamp});
            events.patch(&event.name_any(), &PatchParams::default(), &Patch::Merge(&seen)).await?;
            Ok(())
        }
        // The namespace is on its way out.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        created => Ok(created.map(drop)?),
    }
}

/// A core Event, as that about the leader is ([`crate::lease_event`]).
fn event(ingress: &Ingress, job: &Job) -> Event {
    let now = k8s_openapi::jiff::Timestamp::now();
    let digest = digest(&(ingress.uid(), &job.message));
    let stem: String = job.ingress.name.chars().take(200).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{digest:016x}", stem.trim_end_matches(['.', '-']))),
            namespace: Some(job.ingress.namespace.to_string()),
            ..ObjectMeta::default()
        },
        involved_object: ingress.object_ref(&()),
        reason: Some("NotServedAsWritten".to_owned()),
        message: Some(job.message.to_string()),
        type_: Some("Warning".to_owned()),
        source: Some(EventSource { component: Some("contour".to_owned()), host: None }),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

fn digest(value: &impl Hash) -> u64 {
    // Keys that are not random: every replica finds the same name.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// As much of a message as fits.
fn cut(message: &str) -> &str {
    let end = (0..=LONGEST_MESSAGE.min(message.len())).rev().find(|&at| message.is_char_boundary(at));
    &message[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(ingress: &str, host: &str, message: &str) -> IngressNote {
        let ingress = NamespacedName::parse(ingress, &"".into());
        IngressNote { ingress, host: host.into(), message: message.to_owned() }
    }

    fn taken(notes: &Notes) -> Vec<String> {
        let mut state = notes.state();
        std::iter::from_fn(|| state.take()).map(|job| format!("{} {}", job.ingress, job.message)).collect()
    }

    #[test]
    fn a_message_is_told_once_whatever_the_hosts_and_builds() {
        let notes = Notes::new();
        let both = [note("a/www", "x", "bad"), note("a/www", "y", "bad")];
        notes.offer(&[], &both);
        assert_eq!(taken(&notes), ["a/www bad"]);
        notes.offer(&[], &both[..1]);
        notes.offer(&["x".into()], &[]);
        notes.offer(&[], &both[..1]);
        assert_eq!(taken(&notes), Vec::<String>::new(), "one host says so all the while");
        notes.offer(&["x".into(), "y".into()], &[]);
        assert!(notes.state().ingresses.is_empty() && notes.state().hosts.is_empty());
        notes.offer(&[], &both);
        assert_eq!(taken(&notes), ["a/www bad"], "it is told anew when it holds anew");
    }

    #[test]
    fn what_does_not_hold_any_more_is_not_told() {
        let notes = Notes::new();
        notes.offer(&[], &[note("a/www", "x", "bad")]);
        notes.offer(&["x".into()], &[]);
        assert_eq!(taken(&notes), Vec::<String>::new());
    }

    #[test]
    fn namespaces_take_turns_and_ingresses_are_bounded() {
        let notes = Notes::new();
        let many: Vec<_> = (0..1000).map(|n| note("a/www", &format!("h{n}"), &format!("bad {n}"))).collect();
        notes.offer(&[], &many);
        notes.offer(&[], &[note("b/www", "b", "first"), note("b/www", "b", "second")]);
        let taken = taken(&notes);
        assert_eq!(taken.len(), MOST_EVENTS + 2);
        assert!(taken[1] == "b/www first" && taken[3] == "b/www second", "{taken:?}");
    }

    #[test]
    fn everything_is_told_again_now_and_then() {
        let notes = Notes::new();
        notes.offer(&[], &[note("a/www", "x", "bad"), note("b/www", "x", "worse")]);
        assert_eq!(taken(&notes).len(), 2);
        notes.state().again();
        assert_eq!(taken(&notes), ["a/www bad", "b/www worse"]);
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let long = "\u{e9}".repeat(LONGEST_MESSAGE);
        assert_eq!(cut(&long).len(), LONGEST_MESSAGE);
        assert_eq!(cut(&format!("a{long}")).len(), LONGEST_MESSAGE - 1);
        assert_eq!(cut("short"), "short");
    }
}

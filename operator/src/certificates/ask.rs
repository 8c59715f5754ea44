//! Asks pods which certificates they work with: `GET /certificates` of the controller, and of the agent beside Envoy.
//!
//! This goes on beside the reconciles, which take the answers that are there by then: pods that do not answer, however many they are, keep
//! none of them waiting.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contour_certs::{Credentials, Party, Peer};
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use kube::ResourceExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::nothing;
use crate::observe::Trigger;
use crate::pod::Pod;

/// The longest time one pod is waited for.
pub const LIMIT: Duration = Duration::from_secs(2);

/// The longest answer, in bytes: a few fingerprints.
const SIZE: usize = 64 * 1024;

/// Pods that are asked at the same time, of all installations. Each takes one connection, which ends with the answer.
pub const AT_ONCE: usize = 64;

/// Of them, those of one installation.
pub const AT_ONCE_OF_ONE: usize = 32;

/// After how long a round through the pods of one installation ends. Those that were not asked by then come first in the next.
const ROUND: Duration = Duration::from_mins(1);

/// When to ask a pod again that has not read its Secret yet.
const READING: Duration = Duration::from_secs(1);

/// When to ask a pod again that has read it, or never answers.
const LONGEST: Duration = Duration::from_mins(1);

/// What is asked of one pod.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which side it is on.
    pub party: Party,
    /// Whom to ask.
    pub pod: Arc<Pod>,
    /// On which port.
    pub port: u16,
    /// What its Secret holds now: who works with that has nothing else to say for a while.
    pub current: Option<Credentials>,
}

/// Asks pods, and keeps their answers. What is under way ends with this.
pub struct Asker {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    limit: Duration,
    permits: Semaphore,
    known: Mutex<HashMap<Trigger, Known>>,
    triggers: mpsc::Sender<Trigger>,
    token: CancellationToken,
}

/// What is known of one installation.
#[derive(Default)]
struct Known {
    /// By the UID of the pod.
    answers: HashMap<String, Answer>,
    /// A round is under way.
    asking: bool,
}

struct Answer {
    /// `None`: there was no answer.
    credentials: Option<Credentials>,
    at: Instant,
    /// How often in a row there was none.
    failures: u32,
}

impl Answer {
    /// When to ask again.
    fn due(&self, current: Option<&Credentials>) -> Instant {
        let pause = match &self.credentials {
            None => READING.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST),
            Some(credentials) if Some(credentials) == current => LONGEST,
            Some(_) => READING,
        };
        self.at + pause
    }
}

impl Asker {
    /// Waits at most so long for one pod, and tells `triggers` whose pods were asked.
    pub fn new(limit: Duration, triggers: mpsc::Sender<Trigger>) -> Self {
        let token = CancellationToken::new();
        let shared = Shared {
            limit,
            permits: Semaphore::new(AT_ONCE),
            known: Mutex::default(),
            triggers,
            token: token.clone(),
        };
        Self { shared: Arc::new(shared), _stop: token.drop_guard() }
    }

    /// What each of these pods, which are ready, is known to work with, as of the last answer. One that was not asked yet is known to have
    /// nothing. Does not wait: who is to be asked now is asked from now on, and `whose` is told when that came to its end.
    pub fn peers(&self, whose: &Trigger, questions: &[Question]) -> Vec<Peer> {
        let mut all = self.shared.known();
        let known = all.entry(whose.clone()).or_default();
        let uids: HashSet<String> = questions.iter().filter_map(|question| question.pod.uid()).collect();
        known.answers.retain(|uid, _| uids.contains(uid));
        let answer = |question: &Question| known.answers.get(&question.pod.uid()?);
        let peer = |question: &Question| Peer {
            party: question.party,
            credentials: answer(question)
                .map_or_else(|| Some(nothing()), |answer| answer.credentials.clone()),
        };
        let peers = questions.iter().map(peer).collect();
        if known.asking {
            return peers;
        }
        let now = Instant::now();
        let is_due = |question: &Question| {
            answer(question).is_none_or(|answer| answer.due(question.current.as_ref()) <= now)
        };
        let mut due: Vec<Question> = questions.iter().filter(|question| is_due(question)).cloned().collect();
        // Whoever was never asked comes first, and who never answers last.
        due.sort_by_key(|question| answer(question).map(|answer| (answer.failures, answer.at)));
        if !due.is_empty() {
            known.asking = true;
            tokio::spawn(Arc::clone(&self.shared).round(whose.clone(), due));
        }
        peers
    }

    /// Forgets what pods of an installation said.
    pub fn forget(&self, whose: &Trigger) {
        let mut all = self.shared.known();
        if let Some(known) = all.get_mut(whose) {
            known.answers.clear();
            // A round that is under way ends by itself, and is waited for.
            if !known.asking {
                all.remove(whose);
            }
        }
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, HashMap<Trigger, Known>> {
        // Nothing is half done where it could panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks these pods.
    async fn round(self: Arc<Self>, whose: Trigger, due: Vec<Question>) {
        let asked =
            stream::iter(due).for_each_concurrent(AT_ONCE_OF_ONE, |question| self.ask(&whose, question));
        tokio::select! {
            () = self.token.cancelled() => return,
            _ = tokio::time::timeout(ROUND, asked) => {}
        }
        if let Some(known) = self.known().get_mut(&whose) {
            known.asking = false;
        }
        // Fails only when the controller ended.
        let _ = self.triggers.send(whose).await;
    }

    async fn ask(&self, whose: &Trigger, question: Question) {
        // It is never closed.
        let Ok(_permit) = self.permits.acquire().await else { return };
        let answer = tokio::time::timeout(self.limit, one(&question.pod, question.port)).await;
        let answer = answer.unwrap_or_else(|_| Err("it does not answer".to_owned()));
        if let Err(why) = &answer {
            let pod = question.pod.name_any();
            tracing::debug!(pod, why, "a pod does not say which certificates it works with");
        }
        let (Some(uid), credentials) = (question.pod.uid(), answer.ok()) else { return };
        if let Some(known) = self.known().get_mut(whose) {
            let before = known.answers.get(&uid).map_or(0, |answer| answer.failures);
            let failures = if credentials.is_some() { 0 } else { before.saturating_add(1) };
            known.answers.insert(uid, Answer { credentials, at: Instant::now(), failures });
        }
    }
}

/// Asks one pod, without TLS, as what is asked for is public. When this is dropped, the connection is.
async fn one(pod: &Pod, port: u16) -> Result<Credentials, String> {
    let address =
        pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).ok_or("it has no address")?;
    let address: IpAddr = address.parse().map_err(|_| "its address is none")?;
    let address = SocketAddr::new(address, port);
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::get("/certificates").header(HOST, address.to_string());
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), SIZE).collect().await;
        serde_json::from_slice(&body.map_err(|error| error.to_string())?.to_bytes())
            .map_err(|error| error.to_string())
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // What came before it ended may be an answer.
        _ = connection => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::pod::PodStatus;
    use kube::runtime::reflector::ObjectRef;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;

    fn question(uid: usize, port: u16) -> Question {
        let mut pod = Pod::default();
        pod.metadata.uid = Some(uid.to_string());
        let address = Some("127.0.0.1".to_owned());
        pod.status = Some(PodStatus { pod_ip: address, ..PodStatus::default() });
        Question { party: Party::Envoy, pod: Arc::new(pod), port, current: None }
    }

    /// Pods behind one port. They accept and never answer, but for those that are let go one by one.
    struct Pods {
        port: u16,
        /// Connections that were accepted.
        accepted: watch::Receiver<usize>,
        /// Connections that are open.
        open: Arc<AtomicUsize>,
        /// Has one of them answer.
        answers: Arc<Semaphore>,
    }

    impl Pods {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let (count, accepted) = watch::channel(0);
            let (open, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
            let (counted, allowed) = (Arc::clone(&open), Arc::clone(&answers));
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    count.send_modify(|count| *count += 1);
                    let (counted, allowed) = (Arc::clone(&counted), Arc::clone(&allowed));
                    tokio::spawn(async move {
                        allowed.acquire().await.unwrap().forget();
                        counted.fetch_sub(1, Ordering::SeqCst);
                        let body = serde_json::to_string(&nothing()).unwrap();
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                        // Until the other side ends it.
                        while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
                    });
                }
            });
            Self { port, accepted, open, answers }
        }

        async fn accepted(&mut self, count: usize) {
            self.accepted.wait_for(|accepted| *accepted >= count).await.unwrap();
        }
    }

    #[tokio::test]
    async fn pods_that_never_answer_keep_nobody_waiting_and_are_asked_a_few_at_a_time() {
        let (triggers, mut triggered) = mpsc::channel(8);
        let asker = Asker::new(Duration::from_hours(1), triggers);
        let whose = ObjectRef::new("edge").within("n");
        let mut pods = Pods::start().await;
        let questions: Vec<_> = (0..200).map(|uid| question(uid, pods.port)).collect();
        // This is no future: nothing is waited for.
        let peers = asker.peers(&whose, &questions);
        assert!(peers.len() == 200 && peers.iter().all(|peer| peer.credentials == Some(nothing())));
        pods.accepted(AT_ONCE_OF_ONE).await;
        // Nor does another look ask anyone else.
        assert_eq!(asker.peers(&whose, &questions).len(), 200);
        // Another one comes when one ends, and no sooner.
        for more in 1..=50 {
            assert_eq!(pods.open.load(Ordering::SeqCst), AT_ONCE_OF_ONE);
            pods.answers.add_permits(1);
            pods.accepted(AT_ONCE_OF_ONE + more).await;
        }
        assert!(triggered.try_recv().is_err(), "the round is not over");
        pods.answers.add_permits(150);
        assert_eq!(triggered.recv().await, Some(whose));
        assert_eq!(*pods.accepted.borrow(), 200);
    }

    #[tokio::test]
    async fn all_installations_together_have_a_bound_too() {
        let (triggers, _triggered) = mpsc::channel(8);
        let asker = Asker::new(Duration::from_hours(1), triggers);
        let mut pods = Pods::start().await;
        for name in ["a", "b", "c"] {
            let questions: Vec<_> = (0..AT_ONCE_OF_ONE).map(|uid| question(uid, pods.port)).collect();
            asker.peers(&ObjectRef::new(name).within("n"), &questions);
        }
        pods.accepted(AT_ONCE).await;
        pods.answers.add_permits(1);
        pods.accepted(AT_ONCE + 1).await;
        assert_eq!(pods.open.load(Ordering::SeqCst), AT_ONCE);
    }

    #[tokio::test]
    async fn an_answer_is_kept_and_its_object_told() {
        let (triggers, mut triggered) = mpsc::channel(8);
        let asker = Asker::new(Duration::from_hours(1), triggers);
        let whose = ObjectRef::new("edge").within("n");
        let pods = Pods::start().await;
        pods.answers.add_permits(8);
        let mut questions = vec![question(1, pods.port), question(2, 0)];
        questions[0].current = Some(nothing());
        asker.peers(&whose, &questions);
        assert_eq!(triggered.recv().await, Some(whose.clone()));
        let peers = asker.peers(&whose, &questions);
        let said: Vec<_> = peers.into_iter().map(|peer| peer.credentials).collect();
        assert_eq!(said, [Some(nothing()), None], "who cannot be asked does not say");
        assert_eq!(*pods.accepted.borrow(), 1, "who has read its Secret is not asked again at once");
    }

    #[test]
    fn who_never_answers_is_asked_ever_less() {
        let at = Instant::now();
        let pause = |credentials: Option<Credentials>, failures, current: Option<Credentials>| {
            (Answer { credentials, at, failures }.due(current.as_ref()) - at).as_secs()
        };
        let said = || Some(nothing());
        assert_eq!([1, 2, 5, 6, u32::MAX].map(|failures| pause(None, failures, said())), [2, 4, 32, 60, 60]);
        assert_eq!((pause(said(), 0, None), pause(said(), 0, said())), (1, 60));
    }
}

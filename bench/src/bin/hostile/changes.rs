//! Changes of the victim, one after another, and how long each takes until every Envoy shows it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use contour_e2e::client::{Connection, Request};
use futures::future::join_all;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::notice::Notices;
use crate::victim::{SWAPPED, Victim};
use crate::world::World;

/// Pause between two polls of an answer: the resolution of the times.
const POLL: Duration = Duration::from_millis(2);

/// A change that is not seen after so long counts as never seen.
const NEVER: Duration = Duration::from_mins(1);

/// What is changed, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Kind {
    /// An HTTPProxy is created, with a Service of its own, and its host answers 200.
    Add,
    /// The same with a certificate of its own.
    AddTls,
    /// An HTTPProxy is deleted and its host answers 404.
    Remove,
    /// An endpoint is replaced, and the new one answers.
    Swap,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Add, Self::AddTls, Self::Remove, Self::Swap];
}

/// One change.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Change {
    /// What was changed.
    pub(crate) kind: Kind,
    /// From when kube-apiserver delivered the event to a watch to the last Envoy that shows it, in milliseconds.
    pub(crate) took: f64,
    /// From the write until kube-apiserver delivered the event, in milliseconds.
    pub(crate) until_delivered: f64,
    /// Whether it was seen at all.
    pub(crate) seen: bool,
}

/// Changes that go on until this is told to stop.
pub(crate) struct Changes {
    done: mpsc::UnboundedReceiver<Change>,
    count: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Changes {
    /// Begins; `prefix` begins the names of the hosts.
    pub(crate) fn start(world: Arc<World>, victim: Arc<Victim>, prefix: &str) -> Self {
        let (record, done) = mpsc::unbounded_channel();
        let (counter, count) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let prefix = prefix.to_owned();
        let task = tokio::spawn(async move {
            let (notices, _watches) = Notices::watch(&world.client);
            let changer = Changer { world, victim, notices, record, counter };
            for turn in 0_usize.. {
                if *stopped.borrow() {
                    break;
                }
                changer.turn(&format!("{prefix}-{turn}"), turn).await?;
            }
            Ok(())
        });
        Self { done, count, stop, task }
    }

    /// Waits until there were so many more.
    pub(crate) async fn after(&self, more: usize) -> Result<()> {
        let mut count = self.count.clone();
        let goal = *count.borrow() + more;
        count.wait_for(|count| *count >= goal).await.context("the victim's changes have ended")?;
        Ok(())
    }

    /// Lets the last one end and tells all.
    pub(crate) async fn stop(mut self) -> Result<Vec<Change>> {
        self.stop.send_replace(true);
        self.task.await?.context("the victim's changes")?;
        let mut all = Vec::new();
        while let Ok(change) = self.done.try_recv() {
            all.push(change);
        }
        Ok(all)
    }
}

struct Changer {
    world: Arc<World>,
    victim: Arc<Victim>,
    notices: Notices,
    record: mpsc::UnboundedSender<Change>,
    counter: watch::Sender<usize>,
}

impl Changer {
    /// Adds a host, swaps an endpoint and removes the host again.
    async fn turn(&self, host: &str, turn: usize) -> Result<()> {
        // The TLS listener is the dearest part of Envoy, and the other tenant's changes of it are fewer in life, too.
        let tls = turn % 3 == 1;
        self.victim.prepare(host, tls).await?;
        let kind = if tls { Kind::AddTls } else { Kind::Add };
        let own = |seen: &Seen| seen.status == 200 && seen.is_victims();
        self.timed(kind, self.victim.publish(host, tls), own, host, tls).await?;

        let upstream = (turn + 1) % 2;
        let wanted = self.world.upstreams[upstream].instance().to_owned();
        let swapped = self.victim.point(SWAPPED, upstream);
        let from_new = |seen: &Seen| seen.status == 200 && seen.body.contains(&wanted);
        self.timed(Kind::Swap, async { swapped.await.map(drop) }, from_new, SWAPPED, false).await?;

        // What is the victim's no more may be somebody's: a wildcard takes what nobody else has. TLS without a certificate has no answer.
        let gone = |seen: &Seen| match seen.status {
            0 => tls,
            200 => !seen.is_victims(),
            status => status != 503,
        };
        self.timed(Kind::Remove, self.victim.unpublish(host), gone, host, tls).await?;
        self.victim.clear(host, tls).await
    }

    async fn timed(
        &self,
        kind: Kind,
        write: impl Future<Output = Result<()>>,
        accept: impl Fn(&Seen) -> bool,
        host: &str,
        tls: bool,
    ) -> Result<()> {
        let object = if kind == Kind::Swap { format!("{host}-x") } else { host.to_owned() };
        self.notices.expect(&object);
        let started = Instant::now();
        write.await?;
        let requests = self.world.proxies().iter().map(|proxy| self.victim.request(proxy, host, "/", tls));
        let all = join_all(requests.map(|request| until(request, tls, &accept)));
        let seen = tokio::time::timeout(NEVER, all).await;
        // An Envoy may show it before the watch here receives it.
        let (now, delivered) = (Instant::now(), self.notices.of(&object));
        let delivered = delivered.map_or(started, |delivered| delivered.clamp(started, now));
        let millis = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        let (took, until_delivered) = (millis(delivered, now), millis(started, delivered));
        let change = Change { kind, took, until_delivered, seen: seen.is_ok() };
        let _ = self.record.send(change);
        self.counter.send_modify(|count| *count += 1);
        Ok(())
    }
}

struct Seen {
    /// 0: no answer.
    status: u16,
    body: String,
}

impl Seen {
    fn is_victims(&self) -> bool {
        self.body.contains("\"victim\"")
    }
}

/// Polls until an answer is accepted. Without TLS over one connection; with TLS every time anew, because the certificate is what changes.
async fn until(request: Request, tls: bool, accept: impl Fn(&Seen) -> bool) {
    let mut open: Option<Connection> = None;
    loop {
        let answer = async {
            let mut connection = match open.take().filter(|_| !tls) {
                Some(connection) => connection,
                None => request.connect().await?,
            };
            let answer = connection.send(&request).await?;
            anyhow::Ok((connection, answer))
        };
        let seen = match answer.await {
            Ok((connection, answer)) => {
                open = Some(connection);
                Seen { status: answer.status, body: answer.text() }
            }
            Err(_) => Seen { status: 0, body: String::new() },
        };
        if accept(&seen) {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Sorted times of one kind, in milliseconds.
pub(crate) fn times(changes: &[Change], kind: Kind) -> Vec<f64> {
    let mut times: Vec<f64> = changes.iter().filter(|c| c.kind == kind).map(|c| c.took).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The middle and the last of sorted times.
pub(crate) fn middle_and_last(times: &[f64]) -> Option<(f64, f64)> {
    Some((*times.get(times.len() / 2)?, *times.last()?))
}

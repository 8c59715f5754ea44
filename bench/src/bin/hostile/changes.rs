//! Changes of the victim, one after another, and how long each takes until every Envoy shows it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use contour_e2e::client::{Connection, Request};
use futures::future::try_join_all;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

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
    /// From the write to the last Envoy that shows it, in milliseconds.
    pub(crate) took: f64,
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
            let changer = Changer { world, victim, record, counter };
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
        self.timed(kind, self.victim.publish(host, tls), |seen| seen.status == 200, host, tls).await?;

        let upstream = (turn + 1) % 2;
        let wanted = self.world.upstreams[upstream].instance().to_owned();
        let swapped = self.victim.point(SWAPPED, upstream);
        let from_new = |seen: &Seen| seen.status == 200 && seen.body.contains(&wanted);
        self.timed(Kind::Swap, async { swapped.await.map(drop) }, from_new, SWAPPED, false).await?;

        // What is the victim's no more may be somebody's: a wildcard takes what nobody else has.
        let gone =
            |seen: &Seen| seen.status == 404 || (seen.status == 200 && !seen.body.contains("\"victim\""));
        self.timed(Kind::Remove, self.victim.unpublish(host), gone, host, false).await?;
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
        let started = Instant::now();
        write.await?;
        let requests = self.world.proxies().iter().map(|proxy| self.victim.request(proxy, host, "/", tls));
        let all = try_join_all(requests.map(|request| until(request, &accept)));
        let seen = tokio::time::timeout(NEVER, all).await;
        let change = Change { kind, took: started.elapsed().as_secs_f64() * 1e3, seen: seen.is_ok() };
        let _ = self.record.send(change);
        self.counter.send_modify(|count| *count += 1);
        Ok(())
    }
}

struct Seen {
    status: u16,
    body: String,
}

/// Polls until an answer is accepted. Over one connection where that can be.
async fn until(request: Request, accept: impl Fn(&Seen) -> bool) -> Result<()> {
    let mut open: Option<Connection> = None;
    loop {
        let answer = async {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => request.connect().await?,
            };
            let answer = connection.send(&request).await?;
            anyhow::Ok((connection, answer))
        };
        // What cannot connect yet, as TLS without its certificate, has not been seen yet.
        if let Ok((connection, answer)) = answer.await {
            if accept(&Seen { status: answer.status, body: answer.text() }) {
                return Ok(());
            }
            open = Some(connection);
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

//! One attack from a quiet run to the state after it, and what of the promise it broke.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use contour_e2e::client::{self, Request, Tls};
use contour_e2e::wait::eventually;
use serde::Serialize;

use crate::attacker::Attacker;
use crate::catalogue::{AnswerIs, Attack};
use crate::changes::{Change, Changes};
use crate::events;
use crate::judge::{self, Form};
use crate::observer::{Observer, Seen};
use crate::secrecy;
use crate::traffic::{Counted, Traffic};
use crate::victim::Victim;
use crate::world::{PATIENCE, Proxy, World};

/// The longest that an attack may take; one that takes longer holds something up.
const LONGEST: Duration = Duration::from_mins(4);

/// What was measured in one of the two runs.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Run {
    /// How long it was, in seconds.
    pub(crate) seconds: f64,
    /// The victim's requests.
    pub(crate) traffic: Counted,
    /// The victim's changes.
    pub(crate) changes: Vec<Change>,
    /// Memory and health.
    pub(crate) seen: Seen,
    /// Processor time of the controller, in seconds.
    pub(crate) controller_work: f64,
    /// Refused xDS responses.
    pub(crate) nacks: f64,
    /// Bytes of xDS responses.
    pub(crate) sent: f64,
}

/// A row of the table.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// The attack.
    pub(crate) name: String,
    /// What was tried.
    pub(crate) title: String,
    /// Where the idea is from.
    pub(crate) source: String,
    /// Without the attacker.
    pub(crate) quiet: Run,
    /// With it.
    pub(crate) attacked: Run,
    /// What docs/security.md says that it can cost others.
    pub(crate) stated: Option<String>,
    /// Objects that the attacker wrote, and those that kube-apiserver refused.
    pub(crate) written: (usize, usize),
    /// What the attacker's statuses said.
    pub(crate) told: Vec<String>,
    /// Seconds from the deletion of the attacker's objects until all was as before; none: it never was.
    pub(crate) recovered: Option<f64>,
    /// Seconds of the whole attempt, its quiet run included.
    pub(crate) took: f64,
    /// Whether nothing but the clock speaks against it, which a busy machine does, too.
    pub(crate) slow_alone: bool,
    /// What of the promise was broken; empty: nothing.
    pub(crate) broken: Vec<String>,
}

/// What is compared before and after.
#[derive(Debug, PartialEq)]
struct Rest {
    hosts: usize,
    clusters: Vec<u64>,
}

/// The parts of an attempt.
pub(crate) struct Attempt<'a> {
    /// The installation.
    pub(crate) world: &'a Arc<World>,
    /// The other tenant.
    pub(crate) victim: &'a Arc<Victim>,
    /// What is tried.
    pub(crate) attack: &'a Attack,
    /// Certificates and keys.
    pub(crate) certificates: &'a Path,
    /// Short or long.
    pub(crate) form: Form,
    /// A quiet run of this installation, where one will do for several attacks.
    pub(crate) quiet: Option<Run>,
}

impl Attempt<'_> {
    /// The row before anything was measured.
    pub(crate) fn row(&self) -> Row {
        let about = &self.attack.about;
        Row {
            name: self.attack.name.clone(),
            title: about.title.clone(),
            source: about.source.clone(),
            stated: about.expect.bounds.stated(),
            ..Row::default()
        }
    }

    /// Makes the attempt, whatever comes of it.
    pub(crate) async fn row_of_run(&self) -> Row {
        let told = |error| Row { broken: vec![format!("it cannot be told: {error:#}")], ..self.row() };
        self.run().await.unwrap_or_else(told)
    }

    /// Makes the attempt. An error is one of ours: what the attack does is in the row.
    async fn run(&self) -> Result<Row> {
        let (about, started) = (&self.attack.about, Instant::now());
        let mut row = self.row();
        self.world.narrow(about.narrow).await?;
        self.world.settle().await.context("before the attack")?;
        row.quiet = match &self.quiet {
            Some(run) => run.clone(),
            None => self.quiet().await.context("the quiet run")?,
        };
        let before = self.rest().await?;
        let attacker = Attacker::arrive(self.world, self.victim, self.attack, self.certificates).await?;
        let contour = self.world.contour().await.pid();
        row.attacked = self.attacked(&attacker, &mut row.broken).await.context("the attack")?;
        row.written = attacker.written();
        row.told = attacker.told().await?;
        let restarts = self.attack.steps.iter().any(|step| step.installation.is_some());
        if !restarts && self.world.contour().await.pid() != contour {
            row.broken.push("the controller restarted".to_owned());
        }
        self.survivors(&mut row.broken).await;
        let left = Instant::now();
        attacker.leave().await?;
        match self.recover(&before).await {
            Ok(()) => row.recovered = Some(left.elapsed().as_secs_f64()),
            Err(error) => row.broken.push(format!("no recovery: {error:#}")),
        }
        let most = about.expect.nacks.map(f64::from);
        if most.is_some_and(|most| row.attacked.nacks > most) {
            row.broken
                .push(format!("Envoys were sent {:.0} responses that they refused", row.attacked.nacks));
        }
        judge::judge(&mut row, self.form, &about.expect.bounds);
        row.took = started.elapsed().as_secs_f64();
        Ok(row)
    }

    /// A number of changes without an attacker. What befalls the installation in the attack befalls it here, too, where times are compared.
    async fn quiet(&self) -> Result<Run> {
        let meter = Meter::start(self).await?;
        if self.form == Form::Long {
            for event in self.attack.steps.iter().filter_map(|step| step.installation) {
                events::happen(self.world, self.victim, event).await.with_context(|| format!("{event:?}"))?;
            }
        }
        meter.changes.after(self.form.changes()).await?;
        meter.stop(self.world).await
    }

    /// The steps, and as many changes as in the quiet run; then what has to come true meanwhile.
    async fn attacked(&self, attacker: &Attacker<'_>, broken: &mut Vec<String>) -> Result<Run> {
        let meter = Meter::start(self).await?;
        let strike = async {
            attacker.strike(&meter.changes).await?;
            meter.changes.after(self.form.changes()).await?;
            meter.traffic.until(self.form.requests()).await?;
            attacker.until_statuses(&self.attack.about.expect.statuses).await?;
            self.answers(attacker).await?;
            self.hidden(attacker).await
        };
        match tokio::time::timeout(LONGEST, strike).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => broken.push(format!("{error:#}")),
            Err(_) => broken.push(format!("not done after {LONGEST:?}")),
        }
        meter.stop(self.world).await
    }

    async fn answers(&self, attacker: &Attacker<'_>) -> Result<()> {
        for proxy in self.world.proxies() {
            for wanted in &self.attack.about.expect.answers {
                let host = attacker.scope().text(&wanted.host)?;
                let sni = wanted.sni.as_deref().map(|sni| attacker.scope().text(sni)).transpose()?;
                let request = request(proxy, &host, sni.as_deref(), wanted);
                let answered = eventually(PATIENCE, || is(&request, wanted)).await;
                answered.with_context(|| format!("{} of {host}{}", proxy.name, wanted.path))?;
            }
        }
        Ok(())
    }

    async fn hidden(&self, attacker: &Attacker<'_>) -> Result<()> {
        let files = &self.attack.about.expect.hidden;
        if files.is_empty() {
            return Ok(());
        }
        let mut places = vec![("a status or Event".to_owned(), attacker.readable().await?)];
        places.push(("the controller's log".to_owned(), self.world.contour().await.log()));
        for proxy in self.world.proxies() {
            places.push((
                format!("the configuration of {}", proxy.name),
                proxy.envoy.get("/config_dump").await?,
            ));
            places.push((format!("the log of {}", proxy.name), proxy.envoy.process().log()));
        }
        for file in files {
            let path = self.certificates.join(file);
            let secret = std::fs::read_to_string(&path)?;
            let public = std::fs::read_to_string(path.with_extension("crt"))?;
            for (place, text) in &places {
                ensure!(!secrecy::shows(text, &secret, &public), "{place} shows a part of {file}");
            }
        }
        Ok(())
    }

    /// Whoever must be running still.
    async fn survivors(&self, broken: &mut Vec<String>) {
        let contour = self.world.contour().await;
        let envoys = self.world.proxies().iter().map(|proxy| proxy.envoy.process().ensure_running());
        let all = std::iter::once(contour.ensure_running()).chain(envoys);
        broken.extend(all.filter_map(Result::err).map(|error| format!("{error:#}")));
    }

    async fn rest(&self) -> Result<Rest> {
        let mut clusters = Vec::new();
        for proxy in self.world.proxies() {
            clusters.push(proxy.envoy.stat("cluster_manager.active_clusters").await?);
        }
        Ok(Rest { hosts: self.world.hosts().await?, clusters })
    }

    /// Waits until nothing is left of the attack, and one more change of each kind is seen.
    async fn recover(&self, before: &Rest) -> Result<()> {
        eventually(PATIENCE, || async {
            let held = self.world.metric("contour_xds_held_back_resources").await?;
            ensure!(held < 0.5, "{held} resources are held back");
            let now = self.rest().await?;
            ensure!(now == *before, "{now:?} and not {before:?}");
            Ok(())
        })
        .await?;
        let changes = Changes::start(Arc::clone(self.world), Arc::clone(self.victim), "after");
        let after = changes.after(6).await;
        let seen = changes.stop().await?;
        after?;
        ensure!(seen.iter().all(|change| change.seen), "a later change of the victim is not seen");
        Ok(())
    }
}

/// Everything that is watched in one run.
struct Meter {
    started: Instant,
    traffic: Traffic,
    changes: Changes,
    observer: Observer,
    work: f64,
    nacks: f64,
    sent: f64,
}

impl Meter {
    async fn start(attempt: &Attempt<'_>) -> Result<Self> {
        let (world, victim) = (attempt.world, attempt.victim);
        Ok(Self {
            started: Instant::now(),
            work: world.contour().await.processor_time()?.as_secs_f64(),
            nacks: world.metric("contour_xds_nacks_total").await?,
            sent: world.metric("contour_xds_bytes_sent_total").await?,
            traffic: Traffic::start(world, victim),
            changes: Changes::start(Arc::clone(world), Arc::clone(victim), "change"),
            observer: Observer::start(world),
        })
    }

    async fn stop(self, world: &World) -> Result<Run> {
        let changes = self.changes.stop().await?;
        let (traffic, seen) = (self.traffic.counted(), self.observer.seen());
        // A controller that was restarted begins to count anew.
        let since = |now: f64, then: f64| if now < then { now } else { now - then };
        let work = world.contour().await.processor_time().unwrap_or_default().as_secs_f64();
        let metric = async |name| world.metric(name).await.unwrap_or_default();
        Ok(Run {
            seconds: self.started.elapsed().as_secs_f64(),
            traffic,
            changes,
            seen,
            controller_work: since(work, self.work),
            nacks: since(metric("contour_xds_nacks_total").await, self.nacks),
            sent: since(metric("contour_xds_bytes_sent_total").await, self.sent),
        })
    }
}

/// The request that an answer is expected to.
fn request(proxy: &Proxy, host: &str, sni: Option<&str>, wanted: &AnswerIs) -> Request {
    let request = client::get(proxy.at(wanted.tls), host, &wanted.path);
    match sni {
        _ if !wanted.tls => request,
        None => request.tls(Tls::trusting_anyone()),
        Some(name) => request.tls(Tls::trusting_anyone().sni(name)),
    }
}

/// Whether the answer is like this.
async fn is(request: &Request, wanted: &AnswerIs) -> Result<()> {
    let answer = request.send().await;
    let status = answer.as_ref().map_or(0, |answer| answer.status);
    ensure!(wanted.is.contains(&status), "status {status}, and not one of {:?}", wanted.is);
    if let (Some(text), Ok(answer)) = (&wanted.without, &answer) {
        ensure!(!answer.text().contains(text.as_str()), "it has \"{text}\"");
    }
    Ok(())
}

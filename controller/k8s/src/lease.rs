//! Leader election by a Lease.
//!
//! There is no maintained crate that fits (kubert 0.25 binds kube 1, kube-leader-election 0.44 binds kube 4), and little of it is left over once
//! the API server compares resource versions: a write either is the next one of its Lease, or fails with a conflict.
//!
//! Clocks of other machines are not trusted. A Lease has expired when it did not change for its duration *as seen from here*.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::client::innermost;
use crate::lease_event::tell;
use crate::metrics::Metrics;

/// How long giving the lease back, or telling an Event, may take.
const COURTESY: Duration = Duration::from_secs(2);
/// How often a conflict is answered at once by reading the Lease again.
const CONFLICTS: usize = 3;

/// The Lease and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// `--leader-election-resource-namespace`
    pub namespace: String,
    /// `--leader-election-resource-name`
    pub name: String,
    /// Who we are: see [`identity`].
    pub identity: String,
    /// `--leader-election-lease-duration`: how long others wait for a holder that says nothing.
    pub lease_duration: Duration,
    /// `--leader-election-renew-deadline`: how long the holder may fail to renew before it gives up.
    pub renew_deadline: Duration,
    /// `--leader-election-retry-period`: time between two attempts.
    pub retry_period: Duration,
}

impl LeaseSettings {
    /// Contour's defaults: Lease `leader-elect`, 15 s, 10 s, 2 s.
    pub fn new(namespace: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: "leader-elect".to_owned(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Times that cannot work together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "leader election needs lease duration > renew deadline > retry period > 0, not {lease_duration:?}, {renew_deadline:?}, {retry_period:?}: \
     change --leader-election-lease-duration, --leader-election-renew-deadline or --leader-election-retry-period"
)]
pub struct LeaseTimesError {
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// A name for this process: `<pod name>_<uuid>`, from `POD_NAME` or the host name.
pub fn identity() -> String {
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{}_{}", pod.or_else(host).unwrap_or_else(|| "contour".to_owned()), Uuid::new_v4())
}

/// `--disable-leader-election`: leads, always.
pub fn always_leading() -> watch::Receiver<bool> {
    watch::channel(true).1
}

/// Takes part in the election.
pub struct Election {
    client: Client,
    settings: LeaseSettings,
    leading: watch::Sender<bool>,
    metrics: Metrics,
    /// The Lease as last seen, and when it was first seen so.
    seen: Option<(Lease, Instant)>,
    /// Last time a write made or kept us leader.
    renewed: Instant,
    /// What was last told to be wrong.
    told: Option<String>,
}

/// What an attempt learned about who leads.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    Us,
    Other(String),
}

impl Election {
    /// Not leading yet. The receiver tells from now on whether this process leads.
    ///
    /// Fails if the times cannot work together: a leader must have given up before others may follow it.
    pub fn new(
        client: Client,
        settings: LeaseSettings,
        metrics: Metrics,
    ) -> Result<(Self, watch::Receiver<bool>), LeaseTimesError> {
        let LeaseSettings { lease_duration, renew_deadline, retry_period, .. } = settings;
        if lease_duration <= renew_deadline || renew_deadline <= retry_period || retry_period.is_zero() {
            return Err(LeaseTimesError { lease_duration, renew_deadline, retry_period });
        }
        let (leading, receiver) = watch::channel(false);
        let election =
            Self { client, settings, leading, metrics, seen: None, renewed: Instant::now(), told: None };
        Ok((election, receiver))
    }

    /// Acquires the lease, renews it, acquires it again when it was lost. When the token is cancelled, gives it back, so that the next one takes
    /// it over at once.
    pub async fn run(mut self, token: CancellationToken) {
        loop {
            let started = Instant::now();
            let attempt = timeout_at(self.give_up(started), self.attempt());
            let attempt = tokio::select! {
                () = token.cancelled() => break,
                attempt = attempt => attempt,
            };
            match attempt {
                Ok(Ok(holder)) => self.learned(holder).await,
                Ok(Err(error)) => self.failed(innermost(&error)).await,
                Err(_) => self.failed("the API server does not answer".to_owned()).await,
            }
            tokio::select! {
                () = token.cancelled() => break,
                () = sleep_until(self.next_attempt(started)) => {}
            }
        }
        self.release().await;
    }

    fn leads(&self) -> bool {
        *self.leading.borrow()
    }

    /// When an attempt that began then takes too long: there has to be time for another one, on another connection, and a leader must know in
    /// time that it is one no more.
    fn give_up(&self, started: Instant) -> Instant {
        let limit = started + self.settings.renew_deadline / 2;
        if self.leads() { limit.min(self.renewed + self.settings.renew_deadline) } else { limit }
    }

    /// When the attempt after the one that began then is due.
    fn next_attempt(&self, started: Instant) -> Instant {
        let next = started + self.settings.retry_period;
        if self.leads() { next.min(self.renewed + self.settings.renew_deadline) } else { next }
    }

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    /// Reads the Lease, unless it is ours as far as we know, and writes it, if it is ours to write.
    async fn attempt(&mut self) -> kube::Result<Holder> {
        let mut known = self.leads() && self.seen.is_some();
        for _ in 0..CONFLICTS {
            if !known {
                match self.api().get_opt(&self.settings.name).await? {
                    Some(lease) => self.see(lease),
                    None => self.seen = None,
                }
            }
            let lease = match &self.seen {
                None => Lease::default(),
                Some((lease, since)) => match self.held_by_other(lease, *since) {
                    Some(other) => return Ok(Holder::Other(other)),
                    None => lease.clone(),
                },
            };
            if self.write(lease).await? {
                return Ok(Holder::Us);
            }
            known = false;
        }
        Ok(Holder::Other("somebody who keeps changing the Lease".to_owned()))
    }

    /// Notes what the Lease looks like, and since when.
    fn see(&mut self, lease: Lease) {
        let same = self.seen.as_ref().is_some_and(|(seen, _)| seen.spec == lease.spec);
        match &mut self.seen {
            Some((seen, _)) if same => *seen = lease,
            _ => self.seen = Some((lease, Instant::now())),
        }
    }

    /// Who holds the Lease, if that is somebody else and it has not expired.
    fn held_by_other(&self, lease: &Lease, since: Instant) -> Option<String> {
        let spec = lease.spec.as_ref()?;
        let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())?;
        let duration = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
        let duration = duration.map_or(self.settings.lease_duration, Duration::from_secs);
        (holder != self.settings.identity && since.elapsed() < duration).then(|| holder.to_owned())
    }

    /// Writes the Lease with us as its holder. `false`: it changed since we saw it.
    async fn write(&mut self, mut lease: Lease) -> kube::Result<bool> {
        let exists = lease.metadata.resource_version.is_some();
        lease.metadata.name = Some(self.settings.name.clone());
        lease.metadata.namespace = Some(self.settings.namespace.clone());
        lease.metadata.managed_fields = None;
        lease.spec = Some(self.spec(lease.spec.take().unwrap_or_default()));
        let params = PostParams::default();
        let written = if exists {
            self.api().replace(&self.settings.name, &params, &lease).await
        } else {
            self.api().create(&params, &lease).await
        };
        match written {
            Ok(lease) => {
                self.renewed = Instant::now();
                self.see(lease);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
            // Deleted since we saw it. A missing namespace is told as the error that it is.
            Err(kube::Error::Api(status)) if exists && status.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The specification that says we hold the Lease, given what it says now.
    fn spec(&self, before: LeaseSpec) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours = before.holder_identity.as_ref() == Some(&self.settings.identity);
        let first = before.holder_identity.is_none() && before.lease_transitions.is_none();
        let transitions = before.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: Some(whole_seconds(self.settings.lease_duration)),
            acquire_time: if ours { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if ours || first { transitions } else { transitions.saturating_add(1) }),
            ..before
        }
    }

    async fn learned(&mut self, holder: Holder) {
        if self.told.take().is_some() {
            tracing::info!("leader election works again");
        }
        match holder {
            Holder::Us => self.lead(true).await,
            Holder::Other(other) => {
                tracing::debug!("the leader is {other:?}");
                self.lead(false).await;
            }
        }
    }

    async fn failed(&mut self, cause: String) {
        if self.told.as_ref() != Some(&cause) {
            let LeaseSettings { namespace, name, .. } = &self.settings;
            tracing::warn!("lease {namespace}/{name} can neither be read nor written, trying again: {cause}");
            self.told = Some(cause);
        }
        if self.leads() && self.renewed.elapsed() >= self.settings.renew_deadline {
            self.lead(false).await;
        }
    }

    /// From now on we lead, or do not. Says so if it is news.
    async fn lead(&mut self, leading: bool) {
        // A write of the same value would wake up everyone who waits for news.
        let news = self.leading.send_if_modified(|now| std::mem::replace(now, leading) != leading);
        if !news {
            return;
        }
        self.metrics.leading.set(i64::from(leading));
        let what = if leading { "became leader" } else { "stopped leading" };
        tracing::info!("{} {what}", self.settings.identity);
        // Not while out of touch with the API server: an Event would only hold up the next attempt.
        if let (Some((lease, _)), None) = (&self.seen, &self.told) {
            let told = tell(&self.client, lease, &self.settings.identity, what);
            if timeout(COURTESY, told).await.is_err() {
                tracing::warn!("no Event \"{what}\" could be created: no answer within {COURTESY:?}");
            }
        }
    }

    /// Gives the lease back.
    async fn release(&mut self) {
        if !self.leads() {
            return;
        }
        self.leading.send_replace(false);
        self.metrics.leading.set(0);
        let Some((lease, _)) = self.seen.take() else { return };
        match timeout(COURTESY, self.give_back(lease)).await {
            Ok(Ok(())) => tracing::info!("{} gave up the lease", self.settings.identity),
            Ok(Err(error)) => tracing::info!("the lease could not be given back: {}", innermost(&error)),
            Err(_) => tracing::info!("the lease could not be given back: no answer within {COURTESY:?}"),
        }
    }

    /// Writes the Lease without a holder. It may have changed since it was seen: by a last renewal too, whose answer nobody waited for any more.
    async fn give_back(&self, mut lease: Lease) -> kube::Result<()> {
        for _ in 0..CONFLICTS {
            if let Some(spec) = &mut lease.spec {
                let now = MicroTime(Timestamp::now());
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
                spec.acquire_time = Some(now.clone());
                spec.renew_time = Some(now);
            }
            match self.api().replace(&self.settings.name, &PostParams::default(), &lease).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                written => return written.map(drop),
            }
            lease = self.api().get(&self.settings.name).await?;
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
            if holder != Some(&self.settings.identity) {
                break;
            }
        }
        Ok(())
    }
}

/// At least one second, as the API demands.
fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)
}

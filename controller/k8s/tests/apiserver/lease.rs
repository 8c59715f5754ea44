//! One leads; when it goes, the next one does.

use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::{Election, LeaseSettings};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Line, Measured, create};

/// Takes part in the election until the guard is dropped.
struct Candidate {
    leading: watch::Receiver<bool>,
    measured: Measured,
    token: CancellationToken,
    _stop: DropGuard,
}

/// Times that let nothing expire while a test runs.
fn patient(namespace: &str, identity: &str) -> LeaseSettings {
    LeaseSettings {
        lease_duration: Duration::from_hours(1),
        renew_deadline: Duration::from_mins(30),
        retry_period: Duration::from_millis(50),
        ..LeaseSettings::new(namespace, identity)
    }
}

impl Candidate {
    fn start(client: Client, settings: LeaseSettings) -> Result<Self> {
        let measured = Measured::new();
        let (election, leading) = Election::new(client, settings, measured.metrics.clone())?;
        let token = CancellationToken::new();
        tokio::spawn(election.run(token.clone()));
        Ok(Self { leading, measured, _stop: token.clone().drop_guard(), token })
    }

    async fn wait(&mut self, leading: bool) -> Result<()> {
        let waiting = timeout(SOON, self.leading.wait_for(|&now| now == leading)).await;
        waiting.with_context(|| format!("did not become leading={leading}"))??;
        Ok(())
    }

    fn leads(&self) -> bool {
        *self.leading.borrow()
    }
}

async fn holder(leases: &Api<Lease>) -> Result<String> {
    let spec = leases.get("leader-elect").await?.spec.context("a Lease without spec")?;
    Ok(spec.holder_identity.unwrap_or_default())
}

#[tokio::test]
async fn the_first_leads_and_hands_over_when_it_goes() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let client = api.client().await?;
    let namespace = api.namespace("handover").await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let mut first = Candidate::start(client.clone(), patient(&namespace, "first_1"))?;
    first.wait(true).await?;
    let mut second = Candidate::start(client.clone(), patient(&namespace, "second_2"))?;
    // It has looked at the lease when the first one renewed it again, often.
    let renewed = || async {
        let spec = leases.get("leader-elect").await?.spec.context("a Lease without spec")?;
        anyhow::Ok(spec.renew_time.context("never renewed")?.0)
    };
    let start = renewed().await?;
    eventually(SOON, || async {
        anyhow::ensure!((renewed().await? - start).get_milliseconds() > 500);
        Ok(())
    })
    .await?;
    assert_eq!((first.leads(), second.leads()), (true, false));
    assert_eq!(holder(&leases).await?, "first_1");
    assert_eq!(first.measured.value("contour_leader"), 1);

    first.token.cancel();
    second.wait(true).await?;
    assert!(!first.leads());
    assert_eq!(holder(&leases).await?, "second_2");
    assert_eq!(leases.get("leader-elect").await?.spec.and_then(|s| s.lease_transitions), Some(1));

    let events: Api<Event> = Api::namespaced(client, &namespace);
    eventually(SOON, || async {
        let all = events.list(&ListParams::default()).await?;
        for id in ["first_1", "second_2"] {
            let told = all.iter().find(|e| e.message.as_deref() == Some(&format!("{id} became leader")));
            let told = told.with_context(|| format!("no Event says that {id} leads"))?;
            assert_eq!(told.reason.as_deref(), Some("LeaderElection"));
            assert_eq!(told.source.as_ref().and_then(|s| s.component.as_deref()), Some(id));
            assert_eq!(told.involved_object.kind.as_deref(), Some("Lease"));
            assert_eq!(told.involved_object.name.as_deref(), Some("leader-elect"));
        }
        Ok(())
    })
    .await
}

/// It may have been renewed by a request whose answer nobody waited for any more, or somebody labelled it.
#[tokio::test]
async fn a_lease_that_changed_is_given_back_all_the_same() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let client = api.client().await?;
    let namespace = api.namespace("given-back").await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let seldom = LeaseSettings { retry_period: Duration::from_mins(10), ..patient(&namespace, "first_1") };
    let mut first = Candidate::start(client, seldom)?;
    first.wait(true).await?;
    let label = json!({"metadata": {"labels": {"seen": "yes"}}});
    leases.patch("leader-elect", &PatchParams::default(), &Patch::Merge(&label)).await?;
    first.token.cancel();
    eventually(SOON, || async {
        let holder = holder(&leases).await?;
        anyhow::ensure!(holder.is_empty(), "{holder} has it");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_is_overruled_stops_and_comes_back() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let client = api.client().await?;
    let namespace = api.namespace("overruled").await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let mut candidate = Candidate::start(client, patient(&namespace, "us_1"))?;
    candidate.wait(true).await?;
    let intruder = json!({"spec": {"holderIdentity": "intruder"}});
    leases.patch("leader-elect", &PatchParams::default(), &Patch::Merge(&intruder)).await?;
    candidate.wait(false).await?;
    assert_eq!(holder(&leases).await?, "intruder");
    leases.delete("leader-elect", &DeleteParams::default()).await?;
    candidate.wait(true).await?;
    assert_eq!(holder(&leases).await?, "us_1");

    // Changes that are none of the holder's business do not end its term.
    let label = json!({"metadata": {"labels": {"seen": "yes"}}});
    leases.patch("leader-elect", &PatchParams::default(), &Patch::Merge(&label)).await?;
    let acquired = leases.get("leader-elect").await?.spec.and_then(|s| s.renew_time);
    eventually(SOON, || async {
        let now = leases.get("leader-elect").await?.spec.and_then(|s| s.renew_time);
        anyhow::ensure!(now != acquired, "not renewed yet");
        Ok(())
    })
    .await?;
    assert!(candidate.leads() && !candidate.leading.has_changed()?);
    Ok(())
}

#[tokio::test]
async fn a_silent_holder_is_followed_whatever_its_clock_says() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let client = api.client().await?;
    let namespace = api.namespace("silent").await?;
    let dead = json!({"metadata": {"name": "leader-elect"}, "spec": {
        "holderIdentity": "dead_0", "leaseDurationSeconds": 1, "leaseTransitions": 6,
        "acquireTime": "2099-01-01T00:00:00.000000Z", "renewTime": "2099-01-01T00:00:00.000000Z",
    }});
    create::<Lease>(&client, &namespace, dead).await?;
    let mut candidate = Candidate::start(client.clone(), patient(&namespace, "alive_1"))?;
    candidate.wait(true).await?;
    let leases: Api<Lease> = Api::namespaced(client, &namespace);
    let spec = leases.get("leader-elect").await?.spec.context("a Lease without spec")?;
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("alive_1"), Some(7)));
    Ok(())
}

#[tokio::test]
async fn who_cannot_renew_stops_before_others_start() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let namespace = api.namespace("cut-off").await?;
    let line = Line::to(api).await?;
    let settings = LeaseSettings {
        lease_duration: Duration::from_hours(1),
        renew_deadline: Duration::from_millis(500),
        retry_period: Duration::from_millis(50),
        ..LeaseSettings::new(&namespace, "far_1")
    };
    let mut candidate = Candidate::start(line.client(api).await?, settings)?;
    candidate.wait(true).await?;
    line.cut();
    candidate.wait(false).await?;
    assert_eq!(candidate.measured.value("contour_leader"), 0);
    line.mend();
    candidate.wait(true).await
}

#[tokio::test]
async fn times_that_cannot_work_are_refused() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let client = api.client().await?;
    let times = LeaseSettings { renew_deadline: Duration::from_secs(15), ..LeaseSettings::new("n", "i") };
    let Err(error) = Election::new(client, times, Measured::new().metrics) else {
        panic!("15 s is not less than 15 s")
    };
    assert!(error.to_string().contains("--leader-election-renew-deadline"), "{error}");
    Ok(())
}

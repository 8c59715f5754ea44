//! Statuses are written when they differ, by the leader, over nobody else's work.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contour_crds::{HTTPProxy, HTTPProxyStatus, all_crds};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_graph::status::{Issue, ProxyStatus};
use contour_k8s::{StatusWriter, Statuses, always_leading};
use contour_objects::{Held, Kind};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Measured, Watching, proxy, valid};

/// A running writer, until the guard is dropped.
fn write(
    client: Client,
    statuses: &Arc<Statuses>,
    leading: watch::Receiver<bool>,
    measured: &Measured,
) -> DropGuard {
    let token = CancellationToken::new();
    let writer = StatusWriter::new(client, Arc::clone(statuses), leading, measured.metrics.clone());
    tokio::spawn(writer.run(token.clone()));
    token.drop_guard()
}

async fn settled(measured: &Measured, updates: u64) -> Result<()> {
    eventually(SOON, || async {
        let done = measured.updates("success") + measured.updates("failed");
        anyhow::ensure!(done >= updates, "{done} of {updates} updates have ended");
        Ok(())
    })
    .await
}

async fn status(proxies: &Api<HTTPProxy>, name: &str) -> Result<HTTPProxyStatus> {
    proxies.get(name).await?.status.context("no status")
}

/// With the API server's own checks of the record's form.
#[tokio::test]
async fn who_has_a_host_is_recorded_and_read_again() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("holder").await?;
    let proxies: Api<HTTPProxy> = Api::namespaced(client.clone(), &namespace);
    proxies.create(&PostParams::default(), &proxy("site")).await?;
    let measured = Measured::new();
    let mut watching = Watching::start(client.clone(), &[&namespace], &measured.metrics);
    watching.synced_with(&[(Kind::HttpProxy, "site")]).await?;
    let _writer = write(client, &watching.statuses, always_leading(), &measured);

    let holds = Some("this HTTPProxy has the host \"site.example.com\"".to_owned());
    watching.statuses.offer([ProxyStatus { holds, ..valid(&namespace, "site") }]);
    settled(&measured, 1).await?;
    let written = status(&proxies, "site").await?;
    assert_eq!(
        written.conditions.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(),
        ["Valid", "HostOwner"]
    );
    assert!(Held::recorded(&written.conditions).is_some());

    // Only who has the host keeps the record.
    watching.statuses.offer([valid(&namespace, "site")]);
    settled(&measured, 2).await?;
    assert_eq!(Held::recorded(&status(&proxies, "site").await?.conditions), None);
    Ok(())
}

#[tokio::test]
async fn what_the_server_already_says_is_not_written() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("noop").await?;
    let proxies: Api<HTTPProxy> = Api::namespaced(client.clone(), &namespace);
    let made = proxies.create(&PostParams::default(), &proxy("site")).await?;
    let measured = Measured::new();
    let mut watching = Watching::start(client.clone(), &[&namespace], &measured.metrics);
    watching.synced_with(&[(Kind::HttpProxy, "site")]).await?;
    let _writer = write(client, &watching.statuses, always_leading(), &measured);

    watching.statuses.offer([valid(&namespace, "site")]);
    settled(&measured, 1).await?;
    let written = proxies.get("site").await?;
    let first = written.status.clone().unwrap();
    assert_eq!(first.current_status.as_deref(), Some("valid"));
    assert_eq!(first.conditions.len(), 1);
    assert_eq!((written.spec.clone(), written.metadata.generation), (made.spec, Some(1)));

    watching.statuses.offer([valid(&namespace, "site")]);
    settled(&measured, 2).await?;
    assert_eq!((measured.updates("noop"), measured.updates("conflict")), (1, 0));
    assert_eq!(proxies.get("site").await?.resource_version(), written.resource_version());

    let mut broken = valid(&namespace, "site");
    broken.errors.push(Issue::new("RouteError", "TimeoutPolicyNotValid", "no such duration"));
    watching.statuses.offer([broken]);
    settled(&measured, 3).await?;
    let now = status(&proxies, "site").await?;
    assert_eq!(now.current_status.as_deref(), Some("invalid"));
    assert_eq!(now.conditions[0].errors[0].reason, "TimeoutPolicyNotValid");
    Ok(())
}

#[tokio::test]
async fn what_others_wrote_meanwhile_stays() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("conflict").await?;
    let proxies: Api<HTTPProxy> = Api::namespaced(client.clone(), &namespace);
    for name in ["contested", "deleted"] {
        proxies.create(&PostParams::default(), &proxy(name)).await?;
    }
    let measured = Measured::new();
    let mut watching = Watching::start(client.clone(), &[&namespace], &measured.metrics);
    watching.synced_with(&[(Kind::HttpProxy, "contested"), (Kind::HttpProxy, "deleted")]).await?;
    // From here on nobody tells us what happens.
    let statuses = watching.stop().await?;
    let foreign = json!({"status": {
        "loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]},
        "conditions": [{
            "type": "Certified", "status": "True", "reason": "Issued", "message": "by another controller",
            "lastTransitionTime": "2024-01-01T00:00:00Z",
        }],
    }});
    proxies.patch_status("contested", &PatchParams::default(), &Patch::Merge(&foreign)).await?;
    proxies.delete("deleted", &DeleteParams::default()).await?;

    let _writer = write(client, &statuses, always_leading(), &measured);
    statuses.offer([valid(&namespace, "contested")]);
    settled(&measured, 1).await?;
    assert_eq!((measured.updates("conflict"), measured.updates("failed")), (1, 0));
    let now = status(&proxies, "contested").await?;
    assert_eq!(now.current_status.as_deref(), Some("valid"));
    let types: Vec<_> = now.conditions.iter().map(|c| (c.type_.as_str(), c.message.as_str())).collect();
    assert_eq!(types, [("Certified", "by another controller"), ("Valid", "Valid HTTPProxy")]);
    assert_eq!(now.load_balancer.unwrap().ingress[0].ip.as_deref(), Some("192.0.2.1"));

    statuses.offer([valid(&namespace, "deleted")]);
    settled(&measured, 2).await?;
    assert_eq!(measured.updates("failed"), 0);
    assert!(proxies.get_opt("deleted").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn only_the_leader_writes_and_it_writes_all_that_is_missing() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("leader").await?;
    let proxies: Api<HTTPProxy> = Api::namespaced(client.clone(), &namespace);
    for name in ["a", "b"] {
        proxies.create(&PostParams::default(), &proxy(name)).await?;
    }
    let (follower, leader) = (Measured::new(), Measured::new());
    let mut following = Watching::start(client.clone(), &[&namespace], &follower.metrics);
    let both = [(Kind::HttpProxy, "a"), (Kind::HttpProxy, "b")];
    following.synced_with(&both).await?;
    let mut leading = Watching::start(client.clone(), &[&namespace], &leader.metrics);
    leading.synced_with(&both).await?;
    let (promote, promoted) = watch::channel(false);
    let _follower = write(client.clone(), &following.statuses, promoted, &follower);
    let _leader = write(client, &leading.statuses, always_leading(), &leader);

    following.statuses.offer([valid(&namespace, "a"), valid(&namespace, "b")]);
    leading.statuses.offer([valid(&namespace, "a")]);
    settled(&leader, 1).await?;
    assert_eq!(status(&proxies, "a").await?.current_status.as_deref(), Some("valid"));
    assert_eq!(status(&proxies, "b").await?.current_status.as_deref(), Some("NotReconciled"));
    assert_eq!(follower.updates(""), 0);

    promote.send(true)?;
    settled(&follower, 2).await?;
    assert_eq!(status(&proxies, "b").await?.current_status.as_deref(), Some("valid"));
    assert_eq!((follower.updates("noop"), follower.updates("failed")), (1, 0));
    Ok(())
}

#[tokio::test]
async fn five_hundred_statuses_are_five_hundred_writes() -> Result<()> {
    const COUNT: u64 = 500;
    let Some(api) = apiserver::require().await else { return Ok(()) };
    api.install_crds(&all_crds()).await?;
    let client = api.client().await?;
    let namespace = api.namespace("many").await?;
    let proxies: Api<HTTPProxy> = Api::namespaced(client.clone(), &namespace);
    let names: Vec<String> = (0..COUNT).map(|n| format!("site-{n}")).collect();
    let making = stream::iter(&names).map(|name| {
        let proxies = proxies.clone();
        async move { proxies.create(&PostParams::default(), &proxy(name)).await }
    });
    making.buffer_unordered(32).try_collect::<Vec<_>>().await?;
    let measured = Measured::new();
    let mut watching = Watching::start(client.clone(), &[&namespace], &measured.metrics);
    let all: Vec<_> = names.iter().map(|name| (Kind::HttpProxy, name.as_str())).collect();
    watching.synced_with(&all).await?;
    let _writer = write(client, &watching.statuses, always_leading(), &measured);

    let started = std::time::Instant::now();
    watching.statuses.offer(names.iter().map(|name| valid(&namespace, name)));
    settled(&measured, COUNT).await?;
    println!("{COUNT} statuses in {:?}", started.elapsed());
    for (outcome, expected) in [("", COUNT), ("success", COUNT), ("failed", 0), ("conflict", 0), ("noop", 0)]
    {
        assert_eq!(measured.updates(outcome), expected, "{outcome}");
    }
    let listed = proxies.list(&ListParams::default()).await?;
    let is_valid =
        |p: &HTTPProxy| p.status.as_ref().and_then(|s| s.current_status.as_deref()) == Some("valid");
    assert_eq!(listed.iter().filter(|p| is_valid(p)).count(), names.len());
    Ok(())
}

//! Certificates change step by step, each when every pod has read the last, whoever the operator is by then.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::routing::get;
use axum::{Json, Router};
use contour_certs::{Authority, Certificate, Credentials, KeyAlgorithm, LeafRequest, Party};
use contour_crds::contour_deployment::{CertificatesStatus, ContourDeploymentStatus};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_k8s::always_leading;
use contour_operator::build::COMPONENT;
use contour_operator::child::{Child, ChildKind};
use contour_operator::metrics::Metrics;
use contour_operator::names::Names;
use contour_operator::ownership::Owner;
use contour_operator::status::condition;
use contour_operator::writer::Writer;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::lifecycle::told;
use crate::support::{Operator, World, clock};

/// A pod that tells which certificates it has read.
struct Reader {
    component: String,
    read: Arc<Mutex<Credentials>>,
    /// How often it was asked.
    asked: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl Reader {
    /// Serves in the place of this pod.
    async fn of(world: &World, pod: &Pod, shutdown: u16) -> Result<Self> {
        let component = pod.labels().get(COMPONENT).context("a pod of a component")?.clone();
        let port = if component == "contour" { 8000 } else { shutdown };
        let address: IpAddr =
            pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).context("no address")?.parse()?;
        let read = Arc::new(Mutex::new(credentials(world, &component).await?));
        let listener = tokio::net::TcpListener::bind((address, port)).await?;
        let told = Arc::clone(&read);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let answer = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let told = told.lock().expect("nobody panics with it").clone();
            async { Json(told) }
        };
        let serving = axum::serve(listener, Router::new().route("/certificates", get(answer)));
        let serving = tokio::spawn(async move {
            let _ = serving.await;
        });
        Ok(Self { component, read, asked, _serving: AbortOnDropHandle::new(serving) })
    }

    /// The kubelet brings it what its Secret holds now.
    async fn reads(&self, world: &World) -> Result<()> {
        let now = credentials(world, &self.component).await?;
        *self.read.lock().expect("nobody panics with it") = now;
        Ok(())
    }
}

/// What a component's Secret holds.
async fn credentials(world: &World, component: &str) -> Result<Credentials> {
    let secret = secret(world, &format!("{component}cert-edge")).await?;
    let trusted = Certificate::parse_all(&text(&secret, "ca.crt")?)?;
    Ok(Credentials::of(&trusted, &Certificate::parse(&text(&secret, "tls.crt")?)?))
}

async fn secret(world: &World, name: &str) -> Result<Secret> {
    Ok(Api::<Secret>::namespaced(world.client.clone(), &world.namespace).get(name).await?)
}

fn text(secret: &Secret, key: &str) -> Result<String> {
    let data = secret.data.as_ref().and_then(|data| data.get(key)).with_context(|| format!("no {key}"))?;
    Ok(String::from_utf8(data.0.clone())?)
}

/// Fingerprints of the authority and of both leaves.
fn fingerprints(status: &CertificatesStatus) -> [Option<String>; 3] {
    [&status.authority, &status.contour, &status.envoy]
        .map(|state| state.as_ref().and_then(|state| state.sha256.clone()))
}

/// Waits until the rotation is in this phase.
async fn phase(world: &World, expected: &str) -> Result<CertificatesStatus> {
    eventually(SOON, || async {
        let status = world.status("edge").await?.certificates.context("nothing is told of certificates")?;
        anyhow::ensure!(status.phase.as_deref() == Some(expected), "{status:?}");
        Ok(status)
    })
    .await
}

async fn trusted(world: &World) -> Result<[usize; 2]> {
    let mut count = [0; 2];
    for (n, component) in ["contour", "envoy"].iter().enumerate() {
        count[n] = credentials(world, component).await?.authorities.len();
    }
    Ok(count)
}

#[tokio::test]
async fn an_authority_is_followed_by_another_with_nobody_left_behind() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "rotation").await?;
    let (clock, second) = clock();
    let start = || Operator::start(&world.client, &[&world.namespace], always_leading(), clock.clone());
    let operator = start();
    let made = world.create("edge", json!({"certificates": {"lifetime": "3h", "caLifetime": "3h"}})).await?;
    world.complete("edge").await?;
    let first = phase(&world, "Steady").await?;
    assert_eq!(trusted(&world).await?, [1, 1]);
    let shutdown = made.spec.envoy.ports.shutdown.context("the test's own port")?;
    let pods =
        Api::<Pod>::namespaced(world.client.clone(), &world.namespace).list(&ListParams::default()).await?;
    let mut readers = Vec::new();
    for pod in &pods {
        readers.push(Reader::of(&world, pod, shutdown).await?);
        let spec = serde_json::to_string(&pod.spec)?;
        assert!(!spec.contains("contour-ca-edge"), "a pod mounts the key of the authority: {spec}");
    }
    assert_eq!(readers.len(), 4);
    operator.look_again(&world, "edge").await?;
    assert_eq!(fingerprints(&phase(&world, "Steady").await?), fingerprints(&first));

    // Two thirds of the life of all: a new authority, that issues nothing yet.
    second.fetch_add(Duration::from_mins(121).as_secs().try_into()?, Ordering::SeqCst);
    world.poke("edge").await?;
    let distributing = phase(&world, "Distributing").await?;
    let ([old, contour, envoy], [new, same_contour, same_envoy]) =
        (fingerprints(&first), fingerprints(&distributing));
    assert_ne!(old, new);
    assert_eq!((contour.clone(), envoy.clone()), (same_contour, same_envoy));
    assert_eq!(trusted(&world).await?, [2, 2]);
    world.condition("edge", condition::CERTIFICATES_READY, true, "Distributing").await?;
    world.condition("edge", condition::UPGRADEABLE, false, "Distributing").await?;

    // As long as one pod has not read it, nothing goes on; not for another operator either.
    for reader in &readers[1..] {
        reader.reads(&world).await?;
    }
    operator.look_again(&world, "edge").await?;
    operator.stop().await?;
    let operator = start();
    operator.look_again(&world, "edge").await?;
    assert_eq!(fingerprints(&phase(&world, "Distributing").await?), fingerprints(&distributing));
    assert_eq!(operator.changes(), 0);

    readers[0].reads(&world).await?;
    let retiring = phase(&world, "Retiring").await?;
    let [authority, new_contour, new_envoy] = fingerprints(&retiring);
    assert_eq!(authority, new);
    assert!(new_contour != contour && new_envoy != envoy);
    assert_eq!(trusted(&world).await?, [2, 2]);
    for reader in &readers[..3] {
        reader.reads(&world).await?;
    }
    operator.look_again(&world, "edge").await?;
    assert_eq!(
        trusted(&world).await?,
        [2, 2],
        "the old authority was dropped while a pod shows its certificate"
    );

    readers[3].reads(&world).await?;
    let steady = phase(&world, "Steady").await?;
    assert_eq!(fingerprints(&steady), fingerprints(&retiring));
    assert_eq!(trusted(&world).await?, [1, 1]);
    told(&world, "edge", &["CertificatesDistributing", "CertificatesRetiring", "CertificatesReady"]).await?;
    let ends: Timestamp = steady.contour.and_then(|state| state.not_after).context("no end")?.parse()?;
    let series = format!(
        "contour_operator_certificate_expiry_timestamp_seconds{{namespace=\"{}\",name=\"edge\",certificate=\"contour\"}}",
        world.namespace
    );
    assert_eq!(operator.sum(&series), u64::try_from(ends.as_second())?);
    Ok(())
}

/// A pod that is called one of ours by its labels, and becomes ready.
async fn pretender(world: &World, like: &Pod, name: &str) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": like.labels()},
        "spec": {"containers": [{"name": "c", "image": "example/liar:v1"}]},
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    let status = json!({"status": {
        "podIP": format!("127.{}.0.9", 64 + std::process::id() % 63), "phase": "Running", "hostIP": "198.51.100.66",
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    Ok(pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?)
}

#[tokio::test]
async fn a_pod_that_only_has_our_labels_is_not_asked_and_holds_nothing_up() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "liar").await?;
    let (clock, second) = clock();
    let operator = Operator::start(&world.client, &[&world.namespace], always_leading(), clock);
    let made = world.create("edge", json!({"certificates": {"lifetime": "3h", "caLifetime": "3h"}})).await?;
    world.complete("edge").await?;
    let shutdown = made.spec.envoy.ports.shutdown.context("the test's own port")?;
    let pods = Api::<Pod>::namespaced(world.client.clone(), &world.namespace);
    let mut readers = Vec::new();
    let all = pods.list(&ListParams::default()).await?;
    for pod in &all {
        readers.push(Reader::of(&world, pod, shutdown).await?);
    }
    let envoy = all.iter().find(|pod| pod.labels().get(COMPONENT).is_some_and(|label| label == "envoy"));
    let liar = pretender(&world, envoy.context("an Envoy")?, "liar").await?;
    // It answers, and what it says never changes.
    let liar = Reader::of(&world, &liar, shutdown).await?;
    told(&world, "edge", &["NotAChild"]).await?;

    second.fetch_add(Duration::from_mins(121).as_secs().try_into()?, Ordering::SeqCst);
    world.poke("edge").await?;
    for step in ["Distributing", "Retiring"] {
        phase(&world, step).await?;
        for reader in &readers {
            reader.reads(&world).await?;
        }
    }
    phase(&world, "Steady").await?;
    assert!(readers.iter().all(|reader| reader.asked.load(Ordering::SeqCst) > 0));
    assert_eq!(liar.asked.load(Ordering::SeqCst), 0);
    operator.look_again(&world, "edge").await
}

/// The user's Secret for one side.
pub(crate) fn own(authority: &Authority, party: Party, namespace: &str) -> Result<Value> {
    let request = LeafRequest::for_party(party, namespace, "cluster.local");
    let leaf =
        authority.issue(&request, Timestamp::now(), Duration::from_hours(1), KeyAlgorithm::default())?;
    Ok(json!({
        "metadata": {"name": format!("my-{}", party.name())}, "type": "kubernetes.io/tls",
        "stringData": {
            "ca.crt": authority.certificate().pem(), "tls.crt": leaf.chain(), "tls.key": leaf.key().pem(),
        },
    }))
}

#[tokio::test]
async fn secrets_of_the_user_are_asked_for_used_and_left() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "own").await?;
    let operator = world.operator();
    let refs = json!({"certificates": {"secretRefs": {"contour": "my-contour", "envoy": "my-envoy"}}});
    world.create("edge", refs).await?;
    let degraded = world.condition("edge", condition::DEGRADED, true, "CertificateNotUsable").await?;
    assert!(
        degraded.message.contains("there is no Secret my-contour in this namespace"),
        "{}",
        degraded.message
    );
    assert_eq!(world.children("edge").await?.len(), 0);

    let authority = Authority::create(Timestamp::now(), Duration::from_hours(2), KeyAlgorithm::default())?;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let mut versions = BTreeMap::new();
    for party in Party::ALL {
        let secret = serde_json::from_value(own(&authority, party, &world.namespace)?)?;
        let made = secrets.create(&PostParams::default(), &secret).await?;
        versions.insert(made.name_any(), made.resource_version());
    }
    let status = world.complete("edge").await?;
    let certificates = status.certificates.context("nothing is told of certificates")?;
    assert_eq!((certificates.phase.as_deref(), certificates.authority), (Some("UserProvided"), None));
    operator.look_again(&world, "edge").await?;
    let all = secrets.list(&ListParams::default()).await?;
    let now: BTreeMap<_, _> =
        all.into_iter().map(|secret| (secret.name_any(), secret.resource_version())).collect();
    assert_eq!(now, versions, "Secrets were made or changed");
    Ok(())
}

#[tokio::test]
async fn certificates_live_on_when_their_object_becomes_impossible() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "impossible-certificates").await?;
    let (clock, second) = clock();
    let operator = Operator::start(&world.client, &[&world.namespace], always_leading(), clock);
    world.create("edge", json!({"certificates": {"lifetime": "24h"}})).await?;
    world.complete("edge").await?;
    let before = fingerprints(&phase(&world, "Steady").await?);
    world.change("edge", json!({"envoy": {"image": "Not An Image"}})).await?;
    world.condition("edge", condition::DEGRADED, true, "Invalid").await?;
    let workload = world.child(ChildKind::DaemonSet, "envoy-edge");
    let running = world.api(&workload).get("envoy-edge").await?;

    second.fetch_add(17 * 3600, Ordering::SeqCst);
    operator.look_again(&world, "edge").await?;
    let after = eventually(SOON, || async {
        let status = world.status("edge").await?.certificates.context("nothing is told of certificates")?;
        let now = fingerprints(&status);
        anyhow::ensure!(now != before, "nothing was renewed");
        Ok(now)
    })
    .await?;
    assert_eq!(after[0], before[0], "the authority lives ten years");
    assert!(after[1] != before[1] && after[2] != before[2]);
    assert_eq!(world.api(&workload).get("envoy-edge").await?, running);
    world.condition("edge", condition::DEGRADED, true, "Invalid").await?;
    Ok(())
}

#[tokio::test]
async fn a_former_leader_that_wakes_up_puts_no_old_secret_back() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "former").await?;
    let operator = world.operator();
    let deployment = world.create("edge", json!({})).await?;
    world.settled(&operator, "edge").await?;
    operator.stop().await?;

    let reference = world.child(ChildKind::Secret, "contour-ca-edge");
    let secrets = world.api(&reference);
    let old = secrets.get(&reference.name).await?;
    // It was about to write this when it was stopped; the next leader wrote meanwhile.
    let mut wanted = old.clone();
    wanted.metadata.resource_version = None;
    wanted.metadata.managed_fields = None;
    wanted.metadata.labels.get_or_insert_default().insert("old".to_owned(), "true".to_owned());
    let next = json!({"metadata": {"labels": {"next": "true"}}});
    secrets.patch(&reference.name, &PatchParams::default(), &Patch::Merge(next)).await?;

    let names = Names::of(&deployment).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let owner = Owner::of(&deployment, &names, &ContourDeploymentStatus::default());
    let metrics = Metrics::register(&mut Registry::default());
    let writer = Writer::new(world.client.clone(), always_leading(), metrics);
    let child = Child { kind: ChildKind::Secret, object: wanted };
    let error = writer.apply(&child, Some(Arc::new(old)), &owner).await.err().context("it was written")?;
    assert_eq!(error.category(), "Conflict", "{error}");
    assert!(!secrets.get(&reference.name).await?.labels().contains_key("old"));
    Ok(())
}
